"""The one place that states the version: packaging, cache key and C preamble read it here."""

__version__ = "0.1.0"
