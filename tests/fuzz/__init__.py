"""A generator of user-level NumPy programs, and oracles for them. See run.py."""
