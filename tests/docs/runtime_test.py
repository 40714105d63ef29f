#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""runtime_test.py RUNTIME - the runtime of docs/tutorial.md in both modes, with debug hooks, and hardened.

It checks itself, and says on stderr what is wrong; no time is looked at.
"""
import os
import re
import subprocess
import sys
import unittest

RUNTIME = os.path.abspath(sys.argv.pop(1))
RIGHT = "each run: the dictionary right, all circles collected, no object left, the heap whole"


def run(*options, **environment):
    done = subprocess.run([RUNTIME, *options], env=dict(os.environ, **environment), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


class Runtime(unittest.TestCase):
    def rows(self, *options, **environment):
        """(mode, threads) of each row of the table, and all it printed."""
        status, out, err = run("--rounds=1", "--steps=90000", *options, **environment)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("\n%s\n" % RIGHT, out)
        return re.findall(r"^(gil|free) +(\d+) +[\d.]+ +[\d.]+ to +[\d.]+ +\d+ ns +[\d.]+$", out, re.M), out

    def test_both(self):
        rows, out = self.rows()
        self.assertEqual(rows, [("gil", "1"), ("gil", "2"), ("free", "1"), ("free", "2")])
        self.assertEqual(len(re.findall(r"^\d threads? without the lock: [\d.]+ times the work$", out, re.M)), 2)

    def test_each_mode(self):
        for mode in ("gil", "free"):
            for environment in ({}, {"PYTHONMALLOC": "debug"}, {"GILLOC_HARDEN": "1"}, {"GILLOC_RETIRE_LIMIT": "0"}):
                with self.subTest(mode, **environment):
                    rows, out = self.rows("--mode=" + mode, "--threads=3", **environment)
                    self.assertEqual(rows, [(mode, "3")])
                    self.assertNotIn("times the work", out)

    def test_few_keys(self):
        """Threads count at the same objects, and find them ended, all the time."""
        for mode in ("gil", "free"):
            self.rows("--mode=" + mode, "--threads=3", "--keys=3", "--rounds=5")

    def test_stats(self):
        self.assertNotIn("arenas", self.rows("--mode=free")[1])
        self.assertRegex(self.rows("--mode=free", "--stats")[1], r"(?s)%s\n.*\bretired\b" % RIGHT)

    def test_options(self):
        status, out, err = run("--help")
        self.assertEqual((status, err), (0, ""))
        for option in ("--mode=", "--threads=", "--steps=", "--keys=", "--rounds=", "--stats", "PYTHON_GIL"):
            self.assertIn(option, out)
        for option in ("--mode=none", "--threads=0", "--threads=65", "--steps=1x", "--keys=4097", "--rounds=", "more"):
            text = "runtime: %s is no option, or no value of it; see --help\n" % option
            self.assertEqual(run(option), (2, "", text))


if __name__ == "__main__":
    unittest.main()
