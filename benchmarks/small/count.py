"""Operations that stand in C: each + - * / is one, each sign, comparison, selection and call.

Loads, stores, copies and constants are none. What is counted is the text, before any compiler: of
symgrad's C and of CasADi's alike.
"""

from __future__ import annotations

import re

_NUMBER = r"(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?f?"
_TOKEN = re.compile(rf"{_NUMBER}|[A-Za-z_]\w*|<=|>=|==|!=|&&|\|\||[-+*/<>?!()\[\]=]")
_OPERATORS = {"+", "-", "*", "/", "<", ">", "<=", ">=", "==", "!=", "&&", "||", "?", "!"}


def of_function(c: str, name: str) -> int:
    """The operations of a function with a body that has no loops."""
    body = re.search(rf"int {name}\([^;{{]*\)\s*\{{(.*?)\n\}}", c, re.S)
    assert body is not None, name
    text = re.sub(r"/\*.*?\*/", "", body[1], flags=re.S)
    text = re.sub(r"for \([^{]*\) \{\s*\w+\[\w+\] = 0;\s*\}", "", text)  # stores alone
    sines = re.findall(r"\bsg_sines\((\d+), ", text)  # a sine and a cosine of each angle
    text = re.sub(r"\bsg_sines\([^)]*\)", "", text)
    return sum(2 * int(n) for n in sines) + sum(_of_line(line) for line in re.split(r"[;{}]", text))


def _of_line(line: str) -> int:
    line = re.sub(r"arg\[(\d+)\]\s*\?\s*(arg\[\1\]\[\d+\])\s*:\s*0", r"\2", line)
    line = re.sub(r"if\s*\(res\[\d+\]\s*!=\s*0\)", "", line)
    line = re.sub(r"\bcasadi_real\b[^=]*$|\bdouble\b|\bfloat\b|\bconst\b|\bbool\b", "", line)
    line = line.replace("return", "").replace("*restrict", "")
    line = re.sub(r"\bif\b", "", line)
    line = re.sub(r"\[[^\[\]]*\]", "", line)
    count, before = 0, ""
    tokens = _TOKEN.findall(line)
    for token, after in zip(tokens, [*tokens[1:], ""], strict=False):
        if (
            token == "-"
            and (before in _OPERATORS or before in ("", "(", "="))
            and (re.fullmatch(_NUMBER, after))
        ):
            pass  # the sign of a number
        elif token in _OPERATORS:
            count += 1
        elif re.match(r"[A-Za-z_]", token) and after == "(":
            count += 1
        before = token
    return count
