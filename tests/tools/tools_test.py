#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools_test.py TOOL LIBRARY - the tool finds each bug of bugs.c in a block of gilloc's, and is silent about right use.

TOOL is asan, tsan, memcheck or helgrind; LIBRARY the libgilloc.so.0 that is installed, which knows nothing of the tool
before it runs: only the program is built with -fsanitize.  A report must be of the right kind and name the line of the
bug; beside it there may be none.
"""
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOL, LIBRARY = sys.argv.pop(1), os.path.abspath(sys.argv.pop(1))
SOURCE = pathlib.Path("tests/tools/bugs.c")
FLAGS = "-g -O1 -fno-inline -fno-optimize-sibling-calls -Ilib/include -pthread".split()
SANITIZERS = {"asan": "address", "tsan": "thread"}
VALGRIND = {"memcheck": ["--leak-check=full"], "helgrind": ["--tool=helgrind"]}
GIL, FREE = "1", "0"

# For each bug: what is in the report, the marks of the lines that are, and the modes in which it is one.
BOTH = (GIL, FREE)
POISON = "AddressSanitizer: use-after-poison"
RACE = "ThreadSanitizer: data race"
AFTER = r"Invalid %s of size 1[^@]* 0 bytes after a block of size %d alloc'd"
INSIDE = r"Invalid %s of size 1[^@]* %d bytes inside a block of size 40 free'd"
FOUND = {
    "asan": {
        "overflow": (POISON, ["overflows"], BOTH),
        "overflow_full": (POISON, ["overflows what is full"], BOTH),
        "overflow_odd": (POISON, ["overflows by a byte"], BOTH),
        "underflow": (POISON, ["underflows"], BOTH),
        "use_after_free": (POISON, ["reads what is free"], BOTH),
        "write_after_free": (POISON, ["writes what is free"], BOTH),
        "use_after_realloc": (POISON, ["reads what has moved"], BOTH),
        "use_after_reclaim": (POISON, ["reads what was retired"], BOTH),
    },
    "memcheck": {
        "overflow": (AFTER % ("write", 40), ["overflows"], BOTH),
        "overflow_full": (AFTER.replace(" 0", " 7") % ("write", 56), ["overflows what is full"], BOTH),
        "overflow_odd": (AFTER % ("read", 13), ["overflows by a byte"], BOTH),
        "underflow": (r"Invalid read of size 1[^@]* a block of size 40 alloc'd", ["underflows"], BOTH),
        "use_after_free": (INSIDE % ("read", 8), ["reads what is free"], BOTH),
        "write_after_free": (INSIDE % ("write", 0), ["writes what is free"], BOTH),
        "use_after_realloc": (INSIDE % ("read", 0), ["reads what has moved"], BOTH),
        "use_after_reclaim": (INSIDE % ("read", 0), ["reads what was retired"], BOTH),
        "leak": ("40 bytes in 1 blocks are definitely lost", ["is lost"], BOTH),
        "uninitialised": ("depends on uninitialised value", ["looks at what nobody wrote"], BOTH),
    },
    "tsan": {
        "racing_access": (RACE, ["reads", "writes"], BOTH),
        "racing_free": (RACE, ["reads", "frees"], BOTH),
        "no_grace_period": (RACE, ["reads without a reference", "frees at once"], (FREE,)),
        "inversion": ("ThreadSanitizer: lock-order-inversion", ["mutex", "lock"], (GIL,)),
    },
    "helgrind": {"inversion": ("lock order .* violated", ["mutex", "lock"], (GIL,))},
}[TOOL]
# Errors that are gilloc's own.
FATAL = {"double_free": "double free", "interior_free": "invalid pointer"}
RIGHT = "right threads_right lock_right world_right belt_right retire_right inversion_right holds_right".split()
RIGHT = RIGHT if TOOL != "helgrind" else ["inversion_right"]  # it reports atomic operations
REPORT = re.compile(
    r"ERROR: AddressSanitizer|WARNING: ThreadSanitizer|Invalid |Conditional |lock order \"|bytes in \d+ blocks"
)
# The domains and modes in which each program runs.
SITES = [("mem", GIL), ("kind", FREE)] + [("object", FREE), ("kind", GIL)] * (TOOL in SANITIZERS)


def line_of(mark):
    """The number of the line with that bug."""
    lines = [n for n, text in enumerate(SOURCE.read_text().splitlines(), 1) if text.endswith("/* bug: %s */" % mark)]
    if len(lines) != 1:
        raise AssertionError("%d lines are marked '%s'" % (len(lines), mark))
    return lines[0]


def build(folder, compiler):
    """The program, or None with a line that says why not."""
    if shutil.which(compiler) is None:
        print("SKIPPED: there is no %s (Debian: apt-get install %s)" % (compiler, compiler))
        return None
    sanitize = ["-fsanitize=" + SANITIZERS[TOOL]] if TOOL in SANITIZERS else []
    program = "%s/%s" % (folder, compiler)
    command = [compiler, *FLAGS, *sanitize, str(SOURCE), "-o", program, LIBRARY,
               "-Wl,-rpath," + os.path.dirname(LIBRARY)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0 and compiler == "clang" and "libclang_rt" in done.stdout:
        print("SKIPPED: clang lacks its sanitizers (Debian: apt-get install libclang-rt-14-dev)")
        return None
    if done.returncode != 0:
        raise AssertionError(done.stdout)
    return program


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        compilers = ["gcc", "clang"] if TOOL in SANITIZERS else ["gcc"]
        cls.programs = {compiler: build(cls.folder.name, compiler) for compiler in compilers}
        cls.valgrind = shutil.which("valgrind")
        if TOOL in VALGRIND and cls.valgrind is None:
            raise unittest.SkipTest("there is no valgrind (Debian: apt-get install valgrind)")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_one(self, program, bug, domain, mode, **environment):
        command = [program, bug, domain]
        if TOOL in VALGRIND:
            command = [self.valgrind, "-q", *VALGRIND[TOOL], *command]
        environment = dict(os.environ, PYTHON_GIL=mode, ASAN_OPTIONS="detect_leaks=1",
                           TSAN_OPTIONS="second_deadlock_stack=1", **environment)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        return re.sub(r"^==\d+== ?", "", done.stdout, flags=re.M)

    def each(self, check, bugs, modes=(GIL, FREE)):
        """check(bug, output) for each of the bugs, compilers and sites."""
        for (compiler, program), bug, (domain, mode) in itertools.product(self.programs.items(), bugs, SITES):
            if program and mode in modes:
                with self.subTest(compiler=compiler, bug=bug, domain=domain, mode=mode):
                    check(bug, self.run_one(program, bug, domain, mode))

    def found(self, bug, output):
        kind, marks, _ = FOUND[bug]
        self.assertRegex(output, kind)
        self.assertEqual(len(REPORT.findall(output)), 1, output)
        for mark in marks:
            self.assertRegex(output, r"bugs\.c:%d\b" % line_of(mark))

    def test_bugs_are_found(self):
        for bug, (_, _, modes) in FOUND.items():
            self.each(self.found, [bug], modes)

    def silent(self, _, output):
        self.assertEqual(output, "done\n")

    def test_right_use_is_silent(self):
        self.each(self.silent, RIGHT)

    def fatal(self, bug, output):
        before, _, message = output.partition("Fatal gilloc error")
        self.assertIn(": %s\n" % FATAL[bug], message)
        self.assertNotRegex(before, REPORT)

    def test_wrong_frees_are_gillocs_errors(self):
        if TOOL != "helgrind":
            self.each(self.fatal, FATAL)

    def test_of_a_type_stable_kind_a_freed_block_may_be_used(self):
        if TOOL == "helgrind":
            self.skipTest("it is told of no blocks")
        program = self.programs["gcc"]
        for bug in ("use_after_free", "write_after_free", "right", "threads_right"):
            self.assertEqual(self.run_one(program, bug, "stable", GIL), "done\n")

    def test_it_can_be_left_out(self):
        """And then the tool sees nothing of a block: so the tests above see what gilloc tells it."""
        program = self.programs["gcc"]
        bug = {"asan": "use_after_free", "memcheck": "use_after_free"}.get(TOOL, "inversion")
        self.assertEqual(self.run_one(program, bug, "mem", GIL, GILLOC_WATCH="0"), "done\n")
        if TOOL == "asan":  # of a leak either
            self.assertIn("100 byte(s) leaked", self.run_one(program, "holds_right", "mem", GIL, GILLOC_WATCH="0"))


if __name__ == "__main__":
    unittest.main()
