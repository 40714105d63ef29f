#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""page_test.py MISUSE - docs/safety.md has the kinds of the program, each with its text, and its letters."""
import os
import pathlib
import re
import subprocess
import sys
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1))
ROOT = pathlib.Path(__file__).resolve().parents[2]


def says(option):
    return subprocess.run((PROGRAM, option), stdout=subprocess.PIPE, text=True, check=True).stdout


class Page(unittest.TestCase):
    def setUp(self):
        self.page = (ROOT / "docs/safety.md").read_text()

    def test_kinds(self):
        kinds = [re.match(r"(\S+) +[^:]+: (.*)", line).groups() for line in says("--kinds").splitlines()]
        self.assertGreaterEqual(len(kinds), 65)
        rows = re.findall(r"^\| ([a-z0-9-]+): (.*?) \|", self.page, re.M)
        self.assertEqual(rows, kinds)

    def test_letters(self):
        part = re.search(r"^Letters:\n(.*?)\n\n", says("--help"), re.M | re.S).group(1)
        letters = [tuple(line.split(None, 1)) for line in part.splitlines()]
        self.assertEqual(len(letters), 7)
        rows = re.findall(r"^\| (\S) \| (.*) \|$", self.page, re.M)
        self.assertEqual([(letter, text.replace("`", "")) for letter, text in rows], letters)


if __name__ == "__main__":
    unittest.main()
