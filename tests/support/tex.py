"""What LaTeX may not have, without a LaTeX."""

import re


def check_latex(text):
    """Braces, environments and \\left … \\right match; no token that math mode refuses."""
    bare = re.sub(r"\\[\\{}$&#_%]", " ", text)
    depth = 0
    for ch in bare:
        depth += (ch == "{") - (ch == "}")
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"\\left(?![a-z])", text)) == len(re.findall(r"\\right(?![a-z])", text))
    starts, ends = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(starts) == sorted(ends)
    assert not re.search(r"[#$%]", bare)
    # Two superscripts or subscripts on one base do not compile.
    group = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
    assert not re.search(rf"\^{group}\^|_{group}_", bare), text
