"""The templates of C functions, and the texts that they give, as the cache keeps them.

Jinja is imported where a text is made that the cache does not have.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from symgrad.errors import CacheError
from symgrad.resources import template_folder
from symgrad.runtime.cache import open_cache
from symgrad.runtime.record import generator_name

if TYPE_CHECKING:
    import jinja2


@functools.cache
def plain_text(target: str, name: str) -> str:
    """A file of a target for compilers, as it is."""
    return (template_folder() / target / "compilers" / f"{name}.h").read_text("ascii")


@functools.cache
def environment(target: str) -> jinja2.Environment:
    """The templates of a target, by its name: the folder of that name."""
    from symgrad.emit.translations import made

    return made(template_folder() / target)


def rendered(
    target: str,
    file: str,
    names: Mapping[str, str | bool],
    functions: Mapping[str, Any],
    keep: bool,
) -> tuple[str, list[str]]:
    """The text of a function, and what its template says that it uses.

    names : variables of the template, which decide the text together with its file
    functions : that it may call
    keep : whether these follow from the name of the target and from `names`

    The text is then kept in the cache beside the libraries that were made of it, and believed like
    them: with its hash, from a file that only this user can write.
    """
    note = _note(target, file, names) if keep else None
    if note is not None:
        match open_cache().read_note(note):
            case [str(text), str(uses)]:
                return text, uses.split()
    module = environment(target).get_template(file).make_module({**names, **functions})
    text, uses = str(module), str(module.uses)  # type: ignore[attr-defined]
    if note is not None:
        with contextlib.suppress(CacheError):
            open_cache().write_note(note, [text, uses])
    return text, uses.split()


def _note(target: str, file: str, names: Mapping[str, str | bool]) -> str | None:
    """The name of a note, from everything that decides the text; None if files change meanwhile."""
    try:
        generator = generator_name()
    except CacheError:
        return None
    if generator is None:
        return None
    seen = (generator, target, file, sorted(names.items()))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]
