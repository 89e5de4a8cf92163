"""The gate for names and text on their way into C: hostile input, and the C compiler as judge."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symgrad.errors import ExportError, UnsafeNameError
from symgrad.names import c_identifier, comment_text, mangle, safe_path, unique

HOSTILE = [
    'x; system("id")', "*/ int z; /*", "*/ int stray_symbol = 42; /*", "x\ny", "x\n", "\nx", 'x"',
    "x'", "_Complex", "_x", "x__y", "__x", "", " ", "x ", " x", "x" * 300, "x" * 32, "1x", "x-y",
    "x.y", "x[0]", "x,y", "x=1", "x\\", "x??/", "x\x00", "\x00", "%s", "{{ x }}", "{% raw %}", "x#",
    "#define x", "x//y", "é", "x²", "\u202ex", "\uff58", "ı", "x\u200b", "<lambda>", "../x", "x\r",
    "x\tx", "$x", "@x", "\ud800",
    # reserved words
    "int", "for", "double", "restrict", "inline", "typeof", "nullptr", "constexpr", "asm", "class",
    "new", "template", "namespace", "co_await", "xor_eq", "bool", "true", "complex", "thread_local",
    # library
    "NULL", "main", "printf", "errno", "M_PI", "M_PIf", "I", "INFINITY", "NAN", "DBL_MAX",
    "FLT_EPSILON", "sin", "sinf", "sinl", "expm1", "fmaximum_numf64x", "j0", "y0", "y1", "yn", "jn",
    "gamma", "lgamma_r", "int64_t", "uint_fast8_t", "size_t", "INT64_C", "UINT32_MAX", "memcpy",
    "strlen", "malloc", "exit", "time", "index", "read", "system", "FILE", "linux", "unix", "min",
    "offsetof", "DEC_NAN", "f32addf64",
    # generated code
    "sg_x", "SG_X", "symgrad", "t0", "s3", "i0", "j12", "k1", "a0", "c99",
]  # fmt: skip

GOOD = """
    x y w X i j k l m n t s a c e E theta loss x_t grad_w alpha2 b0 x0 w12 d2x state total
    strike tolerance memory iso size data mask step norm out rem quot i0_ sgx my_sg_x log_p x_l
    isomap tonic T2m M K1 FEE SIZE
""".split()


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names(name):
    with pytest.raises(UnsafeNameError, match="^argument name: ") as caught:
        c_identifier(name, what="argument name")
    message = str(caught.value)
    assert "Allowed" in message and len(message) < 600 and "\n" not in message
    for index in (0, 12):
        c_identifier(mangle(name, index), what="mangled name")


@pytest.mark.parametrize("name", [None, 3, b"x", ("x",), ["x"]], ids=repr)
def test_names_that_are_no_text(name):
    with pytest.raises(UnsafeNameError, match="not text"):
        c_identifier(name, what="name")
    assert mangle(name, 3) == "v3"


@pytest.mark.parametrize("name", GOOD)
def test_good_names_are_kept(name):
    assert c_identifier(name, what="name") == mangle(name, 0) == name


def test_a_subclass_of_str_cannot_say_something_else():
    class Liar(str):
        def __str__(self):
            return "*/"

        __repr__ = __format__ = __str__

    assert type(c_identifier(Liar("x"), what="name")) is str
    assert f"{c_identifier(Liar('x'), what='name')}" == "x"
    assert type(mangle(Liar("x"), 0)) is str


def test_mangle_stays_readable():
    before = ["θ", "Δx", "_w", "x__y", "lambda_", "int", "gamma", "t0", "<lambda>", "a b", "σ²", ""]
    after = [
        "theta",
        "Deltax",
        "w",
        "x_y",
        "lambda_",
        "int_",
        "gamma_",
        "t0_",
        "f",
        "v9",
        "v9",
        "v9",
    ]
    assert [mangle(name, 9) for name in before] == after
    assert (
        mangle("regularisation_strength_per_class_weight", 0) == "regularisation_strength_per_cla"
    )


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_mangle_is_always_safe(name, index):
    c_identifier(mangle(name, index), what="name")


def test_unique():
    assert unique([]) == []
    assert unique(["x", "y"]) == ["x", "y"]
    assert unique(["x", "x", "x"]) == ["x", "x_2", "x_3"]
    assert unique(["x", "X", "x_2", "x"]) == ["x", "X_3", "x_2", "x_4"]
    assert unique(["M", "M"]) == ["M", "Mv2"]  # M_2 looks like a macro of math.h
    assert unique(["x" * 31, "x" * 31]) == ["x" * 31, "x" * 29 + "_2"]
    assert unique(["x_", "x_"]) == ["x_", "x_2"]
    with pytest.raises(UnsafeNameError):
        unique(["int"])


@given(st.lists(st.sampled_from(["x", "X", "x_2", "X_2", "xv2", "M", "m", "y" * 31, "x_3"])))
def test_unique_is_unique_safe_and_keeps_first_names(names):
    result = unique(names)
    assert len({name.lower() for name in result}) == len(names)
    assert result == unique(names)
    for index, (before, after) in enumerate(zip(names, result, strict=True)):
        c_identifier(after, what="name")
        if before.lower() not in [name.lower() for name in names[:index]]:
            assert after == before


def gcc() -> str:
    path = shutil.which("gcc")
    if path is None:
        pytest.skip("needs gcc")
    return path


def test_every_name_of_the_headers_is_refused():
    """Whatever the headers declare or define here, apart from members and tags, is refused."""
    headers = "math stdint stddef string stdlib float limits".split()
    source = "".join(f"#include <{header}.h>\n" for header in headers)
    found: set[str] = set()
    for flags in (["-std=c99"], ["-std=gnu2x", "-D_GNU_SOURCE"]):
        for mode in (["-E", "-P"], ["-E", "-dM"]):
            command = [gcc(), *flags, *mode, "-x", "c", "-"]
            text = subprocess.run(command, input=source, capture_output=True, text=True).stdout
            if mode[-1] == "-P":
                found.update(re.findall(r"\b[A-Za-z]\w*\b", re.sub(r'"[^"]*"', "", text)))
            else:
                found.update(re.findall(r"^#define ([A-Za-z]\w*)", text, re.MULTILINE))
    if "__GLIBC__" not in text:
        pytest.skip("members and tags are listed for glibc")
    harmless = set(
        """drand48_data end_ptr fds_bits fptr quot rand_deg rand_sep rand_type random_data rem rptr
        state tv_nsec tv_sec tv_usec""".split()
    )
    assert len(found) > 500
    accepted = {name for name in found if name == mangle(name, 0)}
    assert accepted <= harmless


COMMENTS = [
    "*/ int stray; /*", "/* nested", "// line", "ends with \\", "ends with \\ ", "\\\n int x;",
    "a\nb", "??/", "????/", "??/\n", "**//**//", "/", "*", "/*/", "*/*", "\u202egnirts", "é²",
    "\x00", "\x7f", "tab\there", "x" * 5000, "*/" * 300, "\\" * 300, "{{ 7*7 }}", "", "/" * 5,
    "\u2028 x", "?\u202e?/", "*" * 199 + "/", "a*" + "\u2066" + "/",
]  # fmt: skip


def check_comment(text: str, limit: int) -> None:
    assert len(text) <= limit
    assert all(" " <= char <= "~" for char in text)
    assert not text.rstrip().endswith("\\")
    for mark in ("*/", "/*", "//", "??"):
        assert mark not in text
    # Nor does it form a mark with what stands around it.
    assert not text.startswith(("*", "/")) and not text.endswith(("*", "/", "?"))


@pytest.mark.parametrize("text", COMMENTS, ids=lambda text: ascii(text)[:20])
def test_comment_text(text):
    check_comment(comment_text(text), 200)


@pytest.mark.slow
@given(st.text(st.sampled_from("*/?\\ \nxé")) | st.text(), st.integers(10, 60))
def test_comment_text_is_always_safe(text, limit):
    check_comment(comment_text(text, limit), limit)


def test_comment_text_keeps_formulas():
    assert comment_text("sum(x[i]**2, axis=0) / n") == "sum(x[i]**2, axis=0) / n"


def test_hostile_comments_compile(tmp_path):
    source = ""
    for i, text in enumerate(map(comment_text, COMMENTS)):
        source += f"/*{text}*/\n/** {text} */\n// {text}\nint x{i};\n"
    command = [gcc(), "-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Werror", "-S", "-xc", "-o"]
    command += [str(tmp_path / "out.s"), "-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    symbols = re.findall(r"^(\w+):", (tmp_path / "out.s").read_text(), re.MULTILINE)
    assert sorted(symbols) == sorted(f"x{i}" for i in range(len(COMMENTS)))


PATH_NAMES = [
    "../x", "..", ".", "../../etc/passwd", "/etc/passwd", "/x", "//x", "a/b", "a\\b", "..\\x",
    "C:\\x", "C:x", "c:/x", "\\\\host\\x", "x\x00", "x\x00.c", "x.", "x..", "x...", ".x", "x.c/..",
    "~", "~root", "x" * 300, "", " ", "x ", "x\n", "con", "NUL", "aux", "Com1", "lpt9", "file:x",
    "x:y", "-rf", "$HOME", "%2e%2e%2fx", "\u2025/x", "..\u2215x", "x|y", "x>y", "*",
]  # fmt: skip


@pytest.mark.parametrize("name", PATH_NAMES, ids=ascii)
def test_names_cannot_leave_the_directory(tmp_path, name):
    with pytest.raises(UnsafeNameError):
        safe_path(tmp_path, name, ".c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "suffix", ["", "c", ".", "..", "/x", ".c/x", ".c\x00", ".c\n", ".tar.gz", ".ccccccccc", None]
)
def test_bad_suffix(tmp_path, suffix):
    with pytest.raises(ExportError, match="suffix"):
        safe_path(tmp_path, "x", suffix)


@pytest.mark.parametrize("directory", ["", " ", "a\x00b", "a\nb", "a\u202eb", b"a", None, 3])
def test_bad_directory(directory):
    with pytest.raises(ExportError, match="directory"):
        safe_path(directory, "x", ".c")


def test_good_paths(tmp_path, monkeypatch):
    assert safe_path(tmp_path, "loss", ".c") == tmp_path / "loss.c"
    assert safe_path(str(tmp_path / "not" / "there"), "loss", ".h").name == "loss.h"
    (tmp_path / "loss.c").write_text("")
    assert safe_path(tmp_path, "loss", ".c") == tmp_path / "loss.c"
    monkeypatch.chdir(tmp_path)
    assert safe_path("out", "loss", ".c") == Path.cwd() / "out" / "loss.c"
    assert safe_path(".", "loss", ".c").is_absolute()


def test_links_and_directories_in_the_way(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (inside / "x.c").symlink_to(outside / "x.c")
    (inside / "y.c").mkdir()
    (tmp_path / "file").write_text("")
    for directory in ("link", "link/", "dangling", "file", "file/sub"):
        with pytest.raises(ExportError):
            safe_path(os.path.join(tmp_path, directory), "x", ".c")
    for name in "xy":
        with pytest.raises(ExportError, match="not an ordinary file"):
            safe_path(inside, name, ".c")
    assert list(outside.iterdir()) == []
