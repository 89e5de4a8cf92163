"""The templates of whole files and of C functions, as Jinja has translated them."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import sys
import zlib
from typing import Any

import jinja2

from symgrad.errors import CacheError
from symgrad.resources import template_folder
from symgrad.runtime.cache import open_cache

_SYNTAX: dict[str, Any] = dict(
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
)


class _Translations(jinja2.BytecodeCache):
    """Templates as Jinja translated them, in notes: to translate them takes it a tenth of a second.

    They are code, as the libraries beside them are, and believed like those: in a directory that
    only this user can write, and with the hash that they were stored with.
    """

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        try:
            text = open_cache().read_note(_translation(bucket))
            if isinstance(text, str):
                bucket.bytecode_from_string(zlib.decompress(base64.b64decode(text)))
        except Exception:  # whatever is wrong with it, the template is translated anew
            bucket.reset()

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        text = base64.b64encode(zlib.compress(bucket.bytecode_to_string())).decode()
        with contextlib.suppress(CacheError):
            open_cache().write_note(_translation(bucket), text)


def _translation(bucket: jinja2.bccache.Bucket) -> str:
    """The name of a note, from everything that decides what a template becomes."""
    seen = (jinja2.__version__, sys.version, sorted(_SYNTAX.items()), bucket.key, bucket.checksum)
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]


@functools.cache
def environment(target: str) -> jinja2.Environment:
    """The templates of a target, by its name: the folder of that name."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_folder() / target),
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        bytecode_cache=_Translations(),
        cache_size=-1,  # all are kept, and without a lock, which a fork could find held
        **_SYNTAX,
    )


def translate(target: str) -> None:
    """Translate all templates, those of every function first, unless the cache has them."""
    found = environment(target)
    first = ["function.c.jinja", "function.h.jinja", "signature.c.jinja"]
    for name in dict.fromkeys([*first, *found.list_templates(extensions=["jinja"])]):
        found.get_template(name)
