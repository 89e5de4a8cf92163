"""The cache directory: who may own it, what counts as damage, what is evicted."""

from __future__ import annotations

import errno
import json
import os
import stat
import warnings
from pathlib import Path

import pytest

from symgrad.errors import CacheError, SymgradWarning
from symgrad.runtime import cache as module
from symgrad.runtime.cache import Cache, open_cache, read_entry, seal_entry, size_limit, write_file

KEY, OTHER = "a" * 64, "0" * 64


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def store(cache: Cache, key: str = KEY, data: bytes = b"library") -> Path:
    with cache.workspace() as place:
        made = place / "entry"
        made.mkdir(mode=0o700)
        write_file(made / "src.c", b"source")
        write_file(made / "mod.so", data)
        seal_entry(made, key)
        cache.publish(key, made)
    return cache.root / key


def names(root: Path) -> set[str]:
    return {item.name for item in root.iterdir()}


def loaded(cache: Cache, key: str = KEY) -> bytes | None:
    found = cache.load(key)
    if found is None:
        return None
    os.close(found.fd)
    return found.data


def test_store_and_load(root):
    cache = open_cache()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    entry = store(cache)
    assert loaded(cache) == b"library"
    assert {stat.S_IMODE(file.stat().st_mode) for file in entry.iterdir()} == {0o600}
    assert names(root) == {KEY}
    assert loaded(cache, OTHER) is None


def test_first_store_wins(root):
    cache = open_cache()
    store(cache, data=b"first")
    store(cache, data=b"second")
    assert loaded(cache) == b"first"
    assert names(root) == {KEY}


# --- places that are refused --------------------------------------------------------------------


def unsafe_symlink(path):
    (path.parent / "real").mkdir(mode=0o700)
    path.symlink_to("real")


def unsafe_dangling_symlink(path):
    path.symlink_to("nowhere")


def unsafe_file(path):
    path.write_text("")


def unsafe_fifo(path):
    os.mkfifo(path)


def unsafe_group_writable(path):
    path.mkdir()
    path.chmod(0o720)


def unsafe_world_writable(path):
    path.mkdir()
    path.chmod(0o702)


def unsafe_world_writable_sticky(path):
    path.mkdir()
    path.chmod(0o1777)


def unsafe_parent(path):
    path.mkdir(mode=0o700)
    path.parent.chmod(0o777)


def unsafe_parent_is_a_file(path):
    path.parent.rmdir()
    path.parent.write_text("")


UNSAFE = [value for name, value in sorted(globals().items()) if name.startswith("unsafe_")]


@pytest.mark.parametrize("make", UNSAFE, ids=lambda make: make.__name__)
def test_unsafe_place_is_refused(make, tmp_path, monkeypatch):
    place = tmp_path / "above" / "cache"
    place.parent.mkdir()
    make(place)
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(place))
    with pytest.raises(CacheError, match="SYMGRAD_CACHE_DIR"):
        open_cache()


def test_foreign_owner_is_refused(root, monkeypatch):
    open_cache()
    monkeypatch.setattr(module.os, "geteuid", lambda: root.stat().st_uid + 1)
    with pytest.raises(CacheError, match="belongs to user"):
        open_cache()


def test_unwritable_is_refused(root, monkeypatch):
    open_cache()
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    with pytest.raises(CacheError, match="cannot be written"):
        open_cache()


def test_read_only_file_system_is_named(root, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(module.Path, "mkdir", refuse)
    with pytest.raises(CacheError, match=f"{root}.*Read-only file system"):
        open_cache()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EMFILE])
@pytest.mark.parametrize("call", ["open", "rename"])
def test_failed_write_names_the_place_and_leaves_nothing(root, monkeypatch, number, call):
    cache = open_cache()
    original = getattr(os, call)

    def refuse(path, *args, **kwargs):
        if Path(path).name == {"open": "mod.so", "rename": "entry"}[call]:
            raise OSError(number, os.strerror(number))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(module.os, call, refuse)
    with pytest.raises(CacheError, match=f"{root}.*{os.strerror(number)}"):
        store(cache)
    assert names(root) == set()


def test_default_place_falls_back_with_one_warning(tmp_path, monkeypatch):
    monkeypatch.delenv("SYMGRAD_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    path = open_cache().root
    assert tmp_path in path.parents
    path.chmod(0o777)
    module._private_root.cache_clear()
    with pytest.warns(SymgradWarning, match="until this process ends"):
        private = open_cache().root
    assert private != path
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_cache().root == private
    module._remove_private(private, os.getpid() + 1)
    assert private.exists()
    module._remove_private(private, os.getpid())
    assert not private.exists()
    module._private_root.cache_clear()


# --- damage is a miss, never an exception -------------------------------------------------------


def edit(**changes):
    def damage(entry: Path) -> None:
        manifest = json.loads((entry / "manifest.json").read_text())
        manifest.update(changes)
        (entry / "manifest.json").write_text(json.dumps(manifest))

    return damage


def write(name: str, data: bytes):
    return lambda entry: (entry / name).write_bytes(data)


def swap(name: str, make):
    def damage(entry: Path) -> None:
        (entry / name).rename(entry.parent / "kept")
        make(entry / name, entry.parent / "kept")

    return damage


def swap_entry(make):
    def damage(entry: Path) -> None:
        entry.rename(entry.parent / "kept")
        make(entry, entry.parent / "kept")

    return damage


GOOD = {"size": 7, "sha256": "0" * 64}
DAMAGE = {
    "library flipped": write("mod.so", b"librarz"),
    "library short": write("mod.so", b"libr"),
    "library empty": write("mod.so", b""),
    "library long": write("mod.so", b"library!"),
    "source flipped": write("src.c", b"sourcf"),
    "manifest empty": write("manifest.json", b""),
    "manifest binary": write("manifest.json", b"\xff\x00"),
    "manifest nested": write("manifest.json", b"[" * 60000),
    "manifest large": write("manifest.json", b" " * 100000),
    "manifest huge number": write("manifest.json", b'{"format": ' + b"9" * 50000 + b"}"),
    "manifest a list": write("manifest.json", b"[]"),
    "manifest other key": edit(key=OTHER),
    "manifest other format": edit(format="symgrad-cache-0"),
    "manifest extra field": edit(more=1),
    "manifest files": edit(files=[]),
    "manifest file missing": edit(files={"mod.so": GOOD}),
    "manifest path": edit(files={"src.c": GOOD, "../mod.so": GOOD}),
    "manifest sizes": edit(files={"src.c": {"size": 1e300, "sha256": ""}, "mod.so": GOOD}),
    "library missing": lambda entry: (entry / "mod.so").unlink(),
    "library symlinked": swap("mod.so", lambda path, kept: path.symlink_to(kept)),
    "library hard linked": swap("mod.so", lambda path, kept: path.hardlink_to(kept)),
    "library a directory": swap("mod.so", lambda path, kept: path.mkdir()),
    "library a fifo": swap("mod.so", lambda path, kept: os.mkfifo(path)),
    "library writable": lambda entry: (entry / "mod.so").chmod(0o666),
    "manifest a fifo": swap("manifest.json", lambda path, kept: os.mkfifo(path)),
    "entry symlinked": swap_entry(lambda path, kept: path.symlink_to(kept)),
    "entry a file": swap_entry(lambda path, kept: path.write_text("")),
    "entry a fifo": swap_entry(lambda path, kept: os.mkfifo(path)),
    "entry empty": swap_entry(lambda path, kept: path.mkdir()),
    "entry writable": lambda entry: entry.chmod(0o777),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_a_miss_and_heals(root, damage):
    cache = open_cache()
    entry = store(cache)
    damage(entry)
    assert cache.load(KEY) is None
    assert not os.path.lexists(entry)
    store(cache)
    assert loaded(cache) == b"library"
    assert names(root) <= {KEY, "kept"}


def test_every_bit_of_a_library_counts(root):
    cache = open_cache()
    entry = store(cache)
    for position in range(7 * 8):
        data = bytearray(b"library")
        data[position // 8] ^= 1 << position % 8
        (entry / "mod.so").write_bytes(data)
        with pytest.raises(OSError, match="hash"):
            read_entry(entry, KEY)


def test_library_swapped_between_entries(root):
    cache = open_cache()
    first, second = store(cache), store(cache, OTHER, b"another")
    (first / "mod.so").rename(first / "x")
    (second / "mod.so").rename(first / "mod.so")
    (first / "x").rename(second / "mod.so")
    assert cache.load(KEY) is None
    assert cache.load(OTHER) is None


def test_whole_entries_swapped(root):
    cache = open_cache()
    first, second = store(cache), store(cache, OTHER, b"another")
    first.rename(root / "x")
    second.rename(first)
    (root / "x").rename(second)
    assert cache.load(KEY) is None
    assert cache.load(OTHER) is None


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE, errno.EIO])
def test_network_file_system_errors_are_misses(root, monkeypatch, number):
    cache = open_cache()
    store(cache)
    original = os.open

    def fail(path, *args, **kwargs):
        if Path(path).name == "mod.so":
            raise OSError(number, os.strerror(number))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(module.os, "open", fail)
    assert cache.load(KEY) is None


# --- size, leftovers, notes, locks --------------------------------------------------------------


def test_least_recently_used_goes_first(root):
    cache = open_cache()
    keys = [digit * 64 for digit in "1234"]
    for age, key in enumerate(keys):
        os.utime(store(cache, key, b"x" * 10000), (age, age))
    assert loaded(cache, keys[0])  # now the youngest
    cache.shrink(25000)
    assert names(root) == {keys[0], keys[3]}


def test_old_leftovers_go_and_strangers_stay(root):
    cache = open_cache()
    for name in ("symgrad-tmp.1.x", "note-x", f"{KEY}.lock", "thesis.txt", "tmp.mine"):
        (root / name).write_text("")
        os.utime(root / name, (0, 0))
    (root / "symgrad-tmp.2.y").mkdir()
    cache.shrink(0)
    assert names(root) == {"symgrad-tmp.2.y", "thesis.txt", "tmp.mine"}


def test_size_limit(monkeypatch):
    monkeypatch.delenv("SYMGRAD_CACHE_SIZE_MB", raising=False)
    assert size_limit() == 1 << 30
    monkeypatch.setenv("SYMGRAD_CACHE_SIZE_MB", "2")
    assert size_limit() == 2 << 20
    for wrong in ("-1", "many", "1e3", "9" * 30):
        monkeypatch.setenv("SYMGRAD_CACHE_SIZE_MB", wrong)
        with pytest.raises(CacheError):
            size_limit()


def test_notes(root):
    cache = open_cache()
    assert cache.read_note("x") is None
    cache.write_note("x", {"a": [1]})
    assert cache.read_note("x") == {"a": [1]}
    path = root / "note-x"
    path.write_bytes(path.read_bytes().replace(b"1]", b"2]"))
    assert cache.read_note("x") is None
    cache.write_note("x", 1)
    os.utime(path, (0, 0))
    assert cache.read_note("x") is None, "a note is good for a day"


def test_lock_is_released_and_bounded(root):
    cache = open_cache()
    with cache.lock(KEY, 10.0):
        with cache.lock(KEY, 0.02):  # held elsewhere: the block runs when the time is up
            pass
    with cache.lock(KEY, 10.0):
        pass
    assert names(root) == set()
