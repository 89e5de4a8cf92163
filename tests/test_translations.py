"""Templates that Jinja translated are kept in the cache, and translated anew if in any doubt."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path

import jinja2
import pytest

from symgrad.emit import templates as module
from symgrad.emit.templates import environment
from symgrad.runtime.cache import open_cache

TEMPLATES = environment("c99")
NAME = "helpers/sg_mod.c.jinja"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def translated(monkeypatch: pytest.MonkeyPatch):
    """Whether a process that has not seen the template yet translates it; it can use it anyway."""
    source = TEMPLATES.loader.get_source(TEMPLATES, NAME)[0]
    text = TEMPLATES.from_string(source).render(name="sg_mod", real="double", f="")
    seen: list[str] = []
    compile_ = TEMPLATES.compile

    def note(source, name=None, *rest, **more):
        seen.append(name)
        return compile_(source, name, *rest, **more)

    monkeypatch.setattr(TEMPLATES, "compile", note)

    def look() -> bool:
        seen.clear()
        TEMPLATES.cache.clear()
        assert TEMPLATES.get_template(NAME).render(name="sg_mod", real="double", f="") == text
        return bool(seen)

    return look


def only_note(root: Path) -> Path:
    (note,) = root.glob("note-*")
    return note


def test_translated_once(root, translated):
    assert translated()
    assert not translated()
    assert not translated()


def test_another_version_of_anything_is_another_translation(root, translated, monkeypatch):
    assert translated()
    with monkeypatch.context() as m:
        m.setattr(jinja2, "__version__", "0")
        assert translated()
    with monkeypatch.context() as m:
        m.setattr(module.sys, "version", "0")
        assert translated()
    with monkeypatch.context() as m:
        m.setitem(module._SYNTAX, "trim_blocks", False)
        assert translated()
    with monkeypatch.context() as m:
        source = TEMPLATES.loader.get_source(TEMPLATES, NAME)
        m.setattr(TEMPLATES.loader, "get_source", lambda *_: ("{# #}" + source[0], *source[1:]))
        assert translated()
    assert not translated()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def another(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"e', b'"f', 1))


def writable(path: Path) -> None:
    path.chmod(0o666)


def linked(path: Path) -> None:
    os.link(path, path.with_name("second"))


def symbolic(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def old(path: Path) -> None:
    os.utime(path, (0, 0))


@pytest.mark.quick(2)
@pytest.mark.parametrize("harm", [damage, another, writable, linked, symbolic, old])
def test_doubt_means_translated_anew(root, translated, harm):
    assert translated()
    harm(only_note(root))
    assert translated()


@pytest.mark.quick(3)
@pytest.mark.parametrize("text", [
    None, 3, [], "", "!", "AAAA",
    base64.b64encode(zlib.compress(b"")).decode(),
    base64.b64encode(zlib.compress(b"j2")).decode(),
    base64.b64encode(zlib.compress(jinja2.bccache.bc_magic)).decode(),
    base64.b64encode(zlib.compress(jinja2.bccache.bc_magic + b"N.")).decode(),
])  # fmt: skip
def test_notes_of_another_form_are_ignored(root, translated, text):
    assert translated()
    open_cache().write_note(only_note(root).name.removeprefix("note-"), text)
    assert translated()
    assert not translated()


def test_translation_needs_no_cache(tmp_path, translated, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "file"))
    assert translated()
    assert translated()
