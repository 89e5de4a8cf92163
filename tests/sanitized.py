"""Python with all compiled functions under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/sanitized.py -m pytest -q -m "not slow"
    python tests/sanitized.py tests/fuzz/run.py --minutes 10

Arrays are exact blocks of the heap then, and an access beside one ends the process with a report.
Needs gcc on Linux; takes two to four times as long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

FLAGS = "-fsanitize=address -fsanitize=undefined -fno-sanitize-recover"


def environment(cache: str) -> Mapping[str, str]:
    """Variables for such a process, with a cache of its own."""

    def library(name: str) -> str:
        answer = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True)
        return answer.stdout.strip()

    return {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "SYMGRAD_CFLAGS": FLAGS,
        "SYMGRAD_CACHE_DIR": cache,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, env=environment(cache)).returncode)
