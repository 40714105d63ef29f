# SPDX-License-Identifier: MIT
"""documents.py - the documents of the source tree: their blocks of code and their tables."""
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

Block = collections.namedtuple("Block", "document line language text before")  # before: the paragraph above it
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(document, language):
    """The fenced blocks of a language, in order."""
    text = (ROOT / document).read_text()
    found = []
    for match in FENCE.finditer(text):
        if match.group(1) == language:
            before = text[: match.start()].rstrip("\n").rpartition("\n\n")[2]
            found.append(Block(document, text.count("\n", 0, match.start()) + 1, language, match.group(2), before))
    return found


def tables(text):
    """[(heading above, [rows of cells])]: every table of a document."""
    found, heading, rows = [], "", []
    for line in text.split("\n") + [""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append((heading, rows))
            rows = []
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
    return found
