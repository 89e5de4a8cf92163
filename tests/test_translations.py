"""What Jinja has made is kept in the cache: translations, and texts; anew if in any doubt."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest

from symgrad.emit import templates
from symgrad.emit import translations as module
from symgrad.emit.c99 import C99
from symgrad.emit.functions import functions_of
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


# ---- texts of functions --------------------------------------------------------------------------


@pytest.fixture
def asked(root: Path, monkeypatch: pytest.MonkeyPatch):
    """The texts that C needs for some functions, and for which of them Jinja was asked."""
    monkeypatch.setattr(templates, "generator_name", lambda: "0" * 64)
    seen: list[str] = []
    made = templates.environment("c99")

    class Asked:
        @staticmethod
        def get_template(file: str):
            seen.append(file)
            return made.get_template(file)

    monkeypatch.setattr(templates, "environment", lambda target: Asked)

    def look(dtype: str = "float64", carrying=(), target=C99):
        seen.clear()
        found = functions_of([("sg_mod", dtype, "helpers"), CARRIED], carrying, target)
        return found, list(seen)

    return look


CARRIED = ("sg_add_lanes", "float64", "helpers")


def test_texts_are_made_once(root, asked):
    found, seen = asked()
    assert seen == ["helpers/sg_mod.c.jinja", "helpers/sg_add_lanes.c.jinja"]
    assert asked() == (found, [])
    other, seen = asked("float32")
    assert seen == ["helpers/sg_mod.c.jinja"] and other != found
    other, seen = asked(carrying={CARRIED[:2]})
    assert seen == ["helpers/sg_add_lanes.c.jinja"] and other != found
    assert asked() == (found, [])


def test_texts_of_another_symgrad_or_of_unknown_files_are_made_anew(asked, monkeypatch):
    asked()
    monkeypatch.setattr(templates, "generator_name", lambda: "1" * 64)
    assert len(asked()[1]) == 2
    monkeypatch.setattr(templates, "generator_name", lambda: None)
    assert len(asked()[1]) == 2
    assert len(asked()[1]) == 2


@pytest.mark.parametrize("harm", [damage, writable, linked, symbolic, old])
def test_doubt_means_made_anew(root, asked, harm):
    found, _ = asked()
    for note in [n for n in root.glob("note-*") if b"sg_mod" in n.read_bytes()]:
        harm(note)
    again, seen = asked()
    assert again == found and "helpers/sg_mod.c.jinja" in seen


def test_texts_of_a_target_that_is_not_listed_are_not_kept(asked):
    """Its numbers may be spelled in another way than those of the one with its name."""
    found, _ = asked()
    hexadecimal = replace(C99, literal=lambda value, dtype: float(value).hex())
    assert asked(target=hexadecimal)[1] and asked(target=hexadecimal)[1]
    assert asked() == (found, [])


@pytest.mark.quick(4)
def test_a_function_without_helpers_needs_no_jinja(tmp_path):
    text = """
import sys
import numpy as np
import symgrad as sg
assert sg.grad(lambda x: np.sum(x[1:] * np.sin(x[:-1])))(np.arange(1.0, {n})).shape == ({n} - 1,)
assert "symgrad.generate" in sys.modules
print("jinja2" in sys.modules)
"""
    environment_ = {**os.environ, "SYMGRAD_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.check_output(
            [sys.executable, "-c", text.format(n=n)], env=environment_, text=True
        ).strip()
        for n in (4, 5)
    ]
    assert said[1] == "False"  # the first process of all prepares what others will need
