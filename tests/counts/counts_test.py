#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""counts_test.py LIBRARY - what a pair of PyObject_Malloc(32) and PyObject_Free() costs, by callgrind.

The count is the difference of two lengths, so start and end are not in it; the loop and its calls are.  Then the
instructions that each pair went through are looked up in the disassembly: the fast path calls nothing and reads
thread-local storage once.  So there is no check for an attached thread on it: what a detached thread finds behind that
one read sends it to the slow path, and attached threads pay nothing for it.
"""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.path.abspath(sys.argv.pop(1))
LIMIT = 40
SHORT, LONG = 20000, 120000
MODES = {"gil mode": "1", "GIL-free mode": "0"}
FUNCTIONS = ("PyObject_Malloc", "PyObject_Free")


def run(*command, **environment):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **environment)
    )
    if done.returncode != 0:
        raise AssertionError("%s: %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


class Profile:
    """A callgrind file: the total, and how often each address of each function of the library was executed."""

    def __init__(self, path):
        self.executed = collections.defaultdict(collections.Counter)
        function, skip = None, False
        with open(path) as lines:
            for line in lines:
                key, _, value = line.strip().partition("=")
                if key == "ob":
                    inside = os.path.basename(value) == os.path.basename(LIBRARY)
                elif key == "fn":
                    function = value
                elif key == "calls":
                    skip = True  # the next line is the cost of the callee
                elif line.startswith("summary:") or line.startswith("totals:"):
                    self.total = int(line.split()[1])
                elif line.startswith("0x"):
                    if not skip and inside:
                        address, _, count = line.split()
                        self.executed[function][int(address, 16)] += int(count)
                    skip = False

    def per_function(self):
        return collections.Counter({name: sum(at.values()) for name, at in self.executed.items()})

    def hot(self, times):
        """{function: addresses executed by each pair}"""
        found = {name: sorted(a for a, n in at.items() if n >= times) for name, at in self.executed.items()}
        return {name: addresses for name, addresses in found.items() if addresses}


class Counts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.program = cls.folder.name + "/pair"
        run("cc", "-O2", "-fno-plt", "-Ilib/include", "tests/counts/pair.c", "-o", cls.program, LIBRARY)
        folder = os.path.dirname(LIBRARY)
        cls.profiles = {
            (mode, length): cls.profile(length, PYTHON_GIL=value, LD_LIBRARY_PATH=folder)
            for mode, value in MODES.items()
            for length in (SHORT, LONG)
        }

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def profile(cls, length, **environment):
        out = cls.folder.name + "/callgrind.out"
        options = ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no", "--callgrind-out-file=" + out]
        run("valgrind", "--tool=callgrind", *options, cls.program, str(length), **environment)
        return Profile(out)

    def disassembly(self, function):
        """[(offset from the start of the function, instruction)]"""
        text = run("objdump", "-d", "--no-show-raw-insn", "--disassemble=" + function, LIBRARY)
        found = re.findall(r"^\s*([0-9a-f]+):\t(.*)$", text, re.M)
        self.assertTrue(found, "%s is not in %s" % (function, LIBRARY))
        start = int(found[0][0], 16)
        return [(int(address, 16) - start, instruction.strip()) for address, instruction in found]

    def test_instructions_a_pair(self):
        for mode in MODES:
            long, short = self.profiles[mode, LONG], self.profiles[mode, SHORT]
            cost = (long.total - short.total) / (LONG - SHORT)
            print("%s: %.2f instructions a pair, %d allowed" % (mode, cost, LIMIT))
            for name, count in (long.per_function() - short.per_function()).most_common(8):
                print("    %6.2f  %s" % (count / (LONG - SHORT), name))
            with self.subTest(mode):
                self.assertLessEqual(cost, LIMIT)
                self.assertGreater(cost, 8)  # less would be no allocator

    def test_fast_path(self):
        for mode in MODES:
            hot = self.profiles[mode, LONG].hot(LONG * 9 // 10)
            with self.subTest(mode):
                self.assertEqual(set(hot), set(FUNCTIONS), "the fast path leaves its function")
            for function in FUNCTIONS:
                start = min(self.profiles[mode, LONG].executed[function], default=0)
                addresses = {address - start for address in hot.get(function, [])}
                path = [text for offset, text in self.disassembly(function) if offset in addresses]
                print("%s: %s, %d instructions\n    %s" % (mode, function, len(path), "\n    ".join(path)))
                with self.subTest(mode + ": " + function):
                    self.assertEqual(len(path), len(addresses), "the addresses are not those of the disassembly")
                    self.assertEqual([text for text in path if re.match(r"(notrack )?call", text)], [])
                    self.assertEqual(sum("%fs:" in text for text in path), 1, "reads of thread-local storage")
                    self.assertEqual([text for text in path if text.startswith("lock")], [])


if __name__ == "__main__":
    for program in ("valgrind", "objdump"):
        if shutil.which(program) is None:
            print("SKIPPED: %s is not installed (Debian: apt-get install valgrind binutils)" % program)
            sys.exit(0)
    if os.uname().machine != "x86_64":
        print("SKIPPED: this reads x86-64 instructions")
        sys.exit(0)
    unittest.main()
