#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""format_test.py - the faults that format.py must find."""
import faults
import format as lint

GOOD = {"lib/pool.c": "int gi_pool(int a) {\n    if (a == 0) {\n        return 1;\n    }\n    return 2;\n}\n"}
C = "lib/pool.c"
FAULTS = [
    ("two columns", C, "    return 2", "  return 2", "lib/pool.c:5: clang-format writes:     return 2;"),
    ("a brace on its own line", C, ") {\n    if", ")\n{\n    if", "lib/pool.c:1:"),
    ("no space", C, "a == 0", "a==0", "lib/pool.c:2:"),
    ("a line at the end", C, "2;\n}\n", "2;\n}\n\n", "lib/pool.c:8: clang-format writes: nothing"),
]

if __name__ == "__main__":
    lint.skip_without_clang_format()
    faults.run(lint.problems, GOOD, FAULTS)
