#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compare_test.py LUA SQLITE - the two programs that compare, as their user sees them.

One round of the quickest load of each, whose results they check themselves; then wrong command lines.
"""
import re
import subprocess
import sys
import unittest

PROGRAMS = {"lua": (sys.argv[1], "life"), "sqlite": (sys.argv[2], "json")}
del sys.argv[1:]


def run(program, *arguments):
    return subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Compare(unittest.TestCase):
    def test_one_round(self):
        for name, (program, load) in PROGRAMS.items():
            with self.subTest(name):
                done = run(program, "--rounds=1", "--load=" + load)
                self.assertEqual(done.returncode, 0, done.stderr)
                lines = done.stdout.split("\n")
                self.assertRegex(lines[2], r"^%s +threads +gilloc +glibc" % name)
                for line, threads in ((lines[3], 1), (lines[4], 2)):
                    self.assertRegex(line, r"^%s +%d( +\d+\.\d{3} +\d+\.\d){2}" % (load, threads))
                self.assertRegex(lines[5], r"^gilloc / it +1\.00 +1\.00 ")

    def test_every_load_gives_what_it_must(self):
        for name, (program, _) in PROGRAMS.items():
            loads = re.search(r"one of: (.*);", run(program, "--help").stdout).group(1).split()
            self.assertGreater(len(loads), 5)
            for number, load in enumerate(loads):
                with self.subTest(load):
                    done = run(program, "--row", str(number), "1", "1")
                    self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_wrong_command_lines(self):
        for name, (program, _) in PROGRAMS.items():
            for argument, text in (
                ("--rounds=0", "--rounds"), ("--load=nothing", 'there is no load "nothing"'), ("--frob", "frob")
            ):
                with self.subTest("%s %s" % (name, argument)):
                    done = run(program, argument)
                    self.assertEqual((done.returncode, done.stdout), (2, ""))
                    self.assertTrue(done.stderr.startswith(name + ": "), done.stderr)
                    self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
