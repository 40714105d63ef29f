#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""words_test.py - the faults that words.py must find."""
import faults
import words

SPDX = "/* SPDX-License-Identifier: MIT */\n"
GOOD = {
    "lib/pool.c": SPDX + "int gi_pool; /* mktemp XXXXXX, $HOME/home/x, todo */\n",
    "tools/run": "#!/bin/sh\n# SPDX-License-Identifier: MIT\ncc x\n",
    "README.md": "no such line\n",
    "trace.xz": None,
}
C = "lib/pool.c"
FAULTS = [
    ("no SPDX line", C, SPDX, "", "lib/pool.c:1: no line with"),
    ("no SPDX line in a script", "tools/run", "# SPDX-License-Identifier: MIT\n", "", "tools/run:1: no line with"),
    ("work left over", C, "todo", "TO" "DO", "work left over"),
    ("work left over, 2", C, "todo", "FIX" "ME: x", "work left over"),
    ("work left over, 3", C, "todo", "XX" "X", "work left over"),
    ("somebody's path", C, "todo", "see /" "home/me/x", "the path of a machine"),
    ("somebody's path in a document", "README.md", "no such line", "`/" "work/x`", "the path of a machine"),
    ("a function hidden", C, "int", '__attribute__((no_' 'sanitize("thread"))) int', "to look away"),
    ("a read hidden", C, "int", "void __tsan_" "ignore_thread_begin(void); int", "to look away"),
    ("suppressions by option", "tools/run", "cc x", "TSAN_OPTIONS=supp" "ressions=x", "to look away"),
    ("a file of suppressions", "tests/tsan.supp", None, "x\n", "a list of suppressions"),
    ("a long line", C, "todo", "x" * 120, "120 allowed"),
]

if __name__ == "__main__":
    faults.run(words.problems, GOOD, FAULTS)
