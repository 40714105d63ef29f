# SPDX-License-Identifier: MIT
"""programs.py NAME - programs for bench.py, each half a second or so of what Python programs do; test_X is a file of
CPython's test suite.  The last line says how much memory it had at most, in KiB: of its own, which the figure that a
parent gets is not, since that one has the memory of the parent's fork in it."""
import ast
import collections
import difflib
import itertools
import json
import pathlib
import random
import re
import sys


def jsonre():
    """Documents written, read, searched and rewritten."""
    chance = random.Random(1)
    for _ in range(120):
        document = {
            "key%d" % i: {"id": i, "tags": ["t%d" % chance.randrange(99) for _ in range(5)], "mean": chance.random()}
            for i in range(500)
        }
        text = json.dumps(document, indent=1)
        assert json.loads(text) == document
        words = re.findall(r'"(t\d+)"', text)
        re.sub(r"\d+", lambda match: match.group()[::-1], text)
        assert len(words) == 2500


def compiled():
    """The standard library compiled, as compileall does, with nothing written."""
    for path in sorted(pathlib.Path("/usr/lib/python3.11").glob("[a-z]*.py")):
        compile(path.read_bytes(), str(path), "exec")


def trees():
    """Trees of objects with slots, made, walked and dropped."""

    class Node:
        __slots__ = "left", "right"

        def __init__(self, depth):
            self.left = Node(depth - 1) if depth else None
            self.right = Node(depth - 1) if depth else None

        def count(self):
            return 1 + (self.left.count() + self.right.count() if self.left else 0)

    kept = Node(14)
    for _ in range(60):
        assert Node(13).count() == 2**14 - 1
    assert kept.count() == 2**15 - 1


def words():
    """Words split, counted, sorted and joined."""
    text = pathlib.Path("/usr/lib/python3.11/argparse.py").read_text() * 3
    for _ in range(100):
        counts = collections.Counter(word.lower() for line in text.split("\n") for word in line.split())
        "".join("%s: %d\n" % pair for pair in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def walked():
    """Syntax trees made, walked and written back."""
    for name in ["argparse", "ast", "typing", "inspect", "tarfile", "zipfile", "turtle", "pickle", "enum"]:
        tree = ast.parse(pathlib.Path("/usr/lib/python3.11/%s.py" % name).read_text())
        collections.Counter(type(node).__name__ for node in ast.walk(tree))
        ast.unparse(tree)


def compared():
    """Two versions of a text compared."""
    lines = pathlib.Path("/usr/lib/python3.11/argparse.py").read_text().split("\n")[:1200]
    chance = random.Random(2)
    other = [line for line in lines if chance.random() > 0.1]
    for _ in range(30):
        list(difflib.unified_diff(lines, other))
        difflib.SequenceMatcher(None, "".join(lines[:60]), "".join(other[:60])).ratio()


def table():
    """Rows of a table, grouped and summed."""
    chance = random.Random(3)
    rows = [{"who": "n%d" % chance.randrange(500), "what": chance.randrange(9), "much": chance.random()}
            for _ in range(60000)]
    for _ in range(8):
        rows.sort(key=lambda row: (row["who"], row["what"]))
        sums = {key: sum(row["much"] for row in group)
                for key, group in itertools.groupby(rows, key=lambda row: (row["who"], row["what"]))}
        assert len(sums) > 4000


if __name__ == "__main__":
    if sys.argv[1].startswith("test_"):
        from test.libregrtest import main

        try:
            main([sys.argv[1]], quiet=True)
        except SystemExit as end:
            if end.code:
                raise
    else:
        globals()[sys.argv[1]]()
    print("VmHWM", re.search(r"^VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text(), re.M).group(1))
