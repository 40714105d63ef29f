#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""misuse_test.py MISUSE CHILD LIBRARY STRESS - gilloc's outcomes are those of expected.txt, and the program that says
so finds what is planted.

A change that makes an outcome better, or a text plainer, records it:

    bazel run -c opt //stress:misuse -- --contender=gilloc,hardened,debug --expected > tests/misuse/expected.txt
"""
import difflib
import json
import os
import platform
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM, CHILD, LIBRARY, STRESS = (os.path.abspath(sys.argv.pop(1)) for _ in range(4))
CONTENDERS = "gilloc,hardened,debug"
LIBC = "2.36"  # whose texts are recorded: large blocks and the raw domain are its business


def copy_alone(program, folder):
    """Somewhere beside which nothing else is."""
    path = os.path.join(folder, "alone")
    with open(program, "rb") as source, open(path, "wb") as copy:
        copy.write(source.read())
    os.chmod(path, 0o755)
    return path


class Misuse(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        """The program finds the others where `bazel run` puts them."""
        cls.folder = tempfile.TemporaryDirectory()
        for target, place in (
            (CHILD, "stress/misuse/misuse_child"),
            (LIBRARY, "lib/libgilloc.so.0"),
            (STRESS, "stress/stress"),
        ):
            path = os.path.join(cls.folder.name, place)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(os.path.realpath(target), path)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_program(self, *options, status=0):
        environment = {name: value for name, value in os.environ.items() if name != "BUILD_WORKING_DIRECTORY"}
        done = subprocess.run(
            (PROGRAM,) + options, cwd=self.folder.name, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def test_planted_faults_are_found(self):
        done = self.run_program("--selftest")
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        self.assertEqual(lines[-1], "Each planted fault was found.")
        letters = {line.split()[0]: line.split()[1][0] for line in lines[:-1]}
        self.assertEqual(
            letters,
            {
                "planted-sound": "T",
                "planted-overlapping": "S",
                "planted-shifted": "S",
                "planted-writing": "S",
                "planted-dirty": "S",
                "planted-crashing": "U",
                "planted-wordless": "U",
                "planted-hanging": "U",
            },
        )

    def test_outcomes(self):
        if platform.libc_ver() != ("glibc", LIBC):
            print("SKIPPED: the recorded outcomes are those with glibc %s" % LIBC)
            self.skipTest("another libc")
        with open(os.path.join(HERE, "expected.txt")) as file:
            expected = file.read()
        done = self.run_program("--contender=" + CONTENDERS, "--expected")
        self.assertEqual(done.stderr, "")
        difference = difflib.unified_diff(
            expected.splitlines(True), done.stdout.splitlines(True), "expected.txt", "what came of it", n=1
        )
        self.assertEqual("".join(difference), "", __doc__)

    def test_kinds(self):
        kinds = [line.split()[0] for line in self.run_program("--kinds").stdout.splitlines()]
        self.assertGreaterEqual(len(kinds), 65)
        self.assertEqual(len(kinds), len(set(kinds)))

    def test_table_and_json_agree(self):
        path = os.path.join(self.folder.name, "out.json")
        options = ("--contender=gilloc-gil,glibc", "--only=free-null,free-stack,detached-free-null", "--json=" + path)
        table = self.run_program(*options).stdout.splitlines()
        rows = {row.split()[0]: row.split()[1:] for row in table[2:5]}
        self.assertEqual(rows["free-null"], ["TTT", "T", "T"])
        self.assertEqual(rows["detached-free-null"], ["CC", "-", "-"])
        with open(path) as file:
            all_of_it = json.load(file)
        names = [kind["name"] for kind in all_of_it["kinds"]]
        self.assertEqual(names, ["free-stack", "free-null", "detached-free-null"])
        for kind in all_of_it["kinds"]:
            for name, letters in zip(("gilloc-gil", "glibc", "glibc-check"), rows[kind["name"]]):
                cases = kind["results"][name]
                self.assertEqual("".join(case["letter"] for case in cases) or "-", letters)
        case = all_of_it["kinds"][2]["results"]["gilloc-gil"][0]
        self.assertEqual(case["end"], "SIGABRT")
        self.assertIn("called without holding the GIL", case["text"])
        counts = {contender["name"]: contender["counts"] for contender in all_of_it["contenders"]}
        self.assertEqual(counts["gilloc-gil"]["object"], {"C": 2, "T": 1, "K": 0, "N": 0, "U": 0, "S": 0})
        self.assertEqual(counts["glibc"]["cases"], {"C": 1, "T": 1, "K": 0, "N": 0, "U": 0, "S": 0})

    def test_text(self):
        out = self.run_program("--contender=gilloc-gil", "--text=detached-free-null").stdout
        self.assertIn("detached-free-null: free of NULL\n  gilloc-gil, mem: C, SIGABRT\n", out)
        self.assertIn("    | Fatal gilloc error: PyMem_Free: Python memory allocator called without holding", out)

    def test_command_line(self):
        self.assertTrue(self.run_program("--help").stdout.startswith("Usage: misuse [OPTION]...\n"))
        for option, error in (
            ("--only=nothing", "misuse: --only=nothing: there is no nothing; see --help\n"),
            ("--contender=gil", "misuse: --contender=gil: there is no gil; see --help\n"),
            ("--json=/nowhere/file", "misuse: --json=/nowhere/file: cannot write: No such file or directory\n"),
        ):
            self.assertEqual(self.run_program(option, status=2).stderr, error)

    def test_a_missing_program_is_told(self):
        child = os.path.join(self.folder.name, "stress/misuse/misuse_child")
        os.rename(child, child + "_")
        try:
            options = ("--contender=glibc-check", "--only=free-null")
            done = subprocess.run(
                (copy_alone(PROGRAM, self.folder.name),) + options, cwd=self.folder.name, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )
        finally:
            os.rename(child + "_", child)
        self.assertEqual(done.returncode, 1)
        self.assertIn("misuse_child, which comes with the bench, is not beside it", done.stderr)


if __name__ == "__main__":
    unittest.main()
