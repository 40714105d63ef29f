#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""performance_test.py - docs/performance.md has the figures that were measured, those of docs/plots."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from documents import ROOT

sys.path.insert(0, str(ROOT / "stress/bench"))
import page

PAGE = [sys.executable, str(ROOT / "stress/bench/page.py"), "--check"]


class Performance(unittest.TestCase):
    def check(self, *files):
        done = subprocess.run([*PAGE, *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def test_tables_are_those_of_the_files(self):
        self.assertEqual(self.check(), (0, ""))

    def test_one_other_figure_is_seen(self):
        files = [ROOT / "docs/plots" / name for name in page.FILES]
        with tempfile.TemporaryDirectory() as folder:
            other = json.loads(files[0].read_text())
            rounds = other["workloads"][0]["results"][0]["rounds"]
            rounds[:] = [[2 * number for number in numbers] for numbers in rounds]
            path = Path(folder) / "other.json"
            path.write_text(json.dumps(other))
            self.assertEqual(
                self.check(path, *files[1:]),
                (1, "docs/performance.md is not what stress/bench/page.py makes of docs/plots\n"),
            )


if __name__ == "__main__":
    unittest.main()
