#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""format.py - all C looks as clang-format writes it by .clang-format (`bazel run //tools:format` does so).

Versions of clang-format differ in what they write, so there is one that counts: Debian 12's.
"""
import itertools
import re
import shutil
import subprocess
import sys

import tree as t


VERSION = "14"


def problems(tree, root=t.ROOT):
    """The first difference of each file, in clang-format's words."""
    files = [path for path, text in tree.items() if t.is_c(path) and text is not None]
    out = []
    for path in files:
        run = subprocess.run(
            ["clang-format", "--style=file", "--assume-filename=" + path],
            input=tree[path], cwd=root, capture_output=True, text=True, check=True,
        )
        lines = itertools.zip_longest(tree[path].split("\n"), run.stdout.split("\n"))
        for number, (is_now, should) in enumerate(lines, 1):
            if is_now != should:
                out.append("%s:%d: clang-format writes: %s" % (path, number, "nothing" if should is None else should))
                break
    return out


def skip_without_clang_format():
    if shutil.which("clang-format") is None:
        print("SKIPPED: clang-format is not installed (Debian: apt-get install clang-format)")
        sys.exit(0)
    said = subprocess.run(["clang-format", "--version"], capture_output=True, text=True, check=True).stdout
    if re.search(r"version (\d+)", said).group(1) != VERSION:
        print("SKIPPED: clang-format %s is the one that counts, and this is %s" % (VERSION, said.strip()))
        sys.exit(0)


if __name__ == "__main__":
    skip_without_clang_format()
    t.main(problems)
