#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""words.py - what must stand in each file, and what must stand in none.

Each source has its SPDX line at the top.  No file has a mark for work left over, the path of somebody's machine, or an
order to a sanitizer to look away; no file is a list of suppressions.  C and Python stay within the 120 columns of
.clang-format, which leaves comments alone.
"""
import re

import tree as t

SPDX = "SPDX-License-Identifier: MIT"
NO_SPDX = re.compile(r"(\.md|\.svg|\.txt|\.json|(^|/)LICENSE)$")
# Each is written so that it does not find itself.
FORBIDDEN = {
    "work left over": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b"),
    "the path of a machine": re.compile(r"(?<![\w.~*$}/-])/(?:work|home|root|farm|Users)/"),
    "an order to a sanitizer to look away": re.compile(
        r"no_" r"sanitize|__tsan_" r"ignore|Annotate" r"Ignore|disable_sanitizer_" r"instrumentation|supp" r"ressions="
    ),
}
SUPPRESSIONS = re.compile(r"(\.supp|supp(ression)?s?\.txt|[^/]*suppress[^/]*)$")
COLUMNS = 120


def problems(tree):
    out = []
    for path, text in tree.items():
        if SUPPRESSIONS.search(path):
            out.append("%s: a list of suppressions" % path)
        if text is None:
            continue
        lines = text.split("\n")
        if not NO_SPDX.search(path) and text.strip() and not any(SPDX in line for line in lines[:2]):
            out.append("%s:1: no line with %s" % (path, SPDX))
        for number, line in enumerate(lines, 1):
            for what, pattern in FORBIDDEN.items():
                match = pattern.search(line)
                if match:
                    out.append("%s:%d: %s: %s" % (path, number, what, match.group()))
            if (t.is_c(path) or path.endswith(".py")) and len(line) > COLUMNS:
                out.append("%s:%d: %d columns, %d allowed" % (path, number, len(line), COLUMNS))
    return out


if __name__ == "__main__":
    t.main(problems)
