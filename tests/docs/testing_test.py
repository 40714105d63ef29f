#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""testing_test.py - docs/testing.md names each configuration of .bazelrc and each folder of tests, and no other one."""
import re
import unittest

from documents import ROOT, tables

CODE = re.compile(r"`([^`]+)`")


def column(text, header):
    """What stands in backticks in the first column of the table with that header."""
    rows = next(rows for _, rows in tables(text) if rows[0][0] == header)
    return {name for row in rows[2:] for name in CODE.findall(row[0])}


class Testing(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "docs/testing.md").read_text()

    def test_configurations(self):
        bazelrc = (ROOT / ".bazelrc").read_text()
        there = set(re.findall(r"^(?:build|common):([\w-]+)", bazelrc, re.M))
        there = {name for name in there if not name.endswith("-flags")} - {"sanitizer"}  # parts of the others
        self.assertGreater(len(there), 10)
        self.assertEqual(column(self.text, "configuration") - {"-c opt", "--config"}, there)

    def test_folders(self):
        mirrored = {"concurrency"} | {path.name for path in (ROOT / "lib").iterdir() if path.is_dir()} - {"api"}
        there = {path.parent.name for path in (ROOT / "tests").glob("*/BUILD")} - mirrored
        self.assertGreater(len(there), 5)
        self.assertEqual(column(self.text, "folder"), {"tests/" + name for name in there})


if __name__ == "__main__":
    unittest.main()
