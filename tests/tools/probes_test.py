#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""probes_test.py LIBRARY - the static probes are in the library, with their arguments; a tracer counts what they say.

gdb is the tracer: it reads the notes as all of them do, and counts up the semaphores of a process that it runs.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.path.abspath(sys.argv.pop(1))
SOURCE = pathlib.Path("tests/tools/probed.c")
POINTER, SIZE, INT = "8", "8", "-4"
# Provider, name: the sizes of the arguments, below 0 if they are signed, and whether there is a semaphore.
PROBES = {
    ("gilloc", "alloc"): ([POINTER, SIZE, INT], True),
    ("gilloc", "free"): ([POINTER, INT], True),
    ("gilloc", "arena_map"): ([POINTER, SIZE], False),
    ("gilloc", "arena_unmap"): ([POINTER, SIZE], False),
    ("gilloc", "lock_wait_begin"): ([POINTER], False),
    ("gilloc", "lock_wait_end"): ([POINTER], False),
    ("gilloc", "grace_period_begin"): ([], False),
    ("gilloc", "grace_period_end"): ([], False),
    ("otel_memory", "alloc"): ([POINTER, SIZE, SIZE], True),
    ("otel_memory", "free"): ([POINTER], True),
}
NOTE = re.compile(
    r"Provider: (\w+)\s+Name: (\w+)\s+Location: \S+ Base: \S+ Semaphore: (0x[0-9a-f]+)\s+Arguments: *(.*)"
)
HITS = re.compile(r"-probe-stap gilloc:(\w+)\n\s+breakpoint already hit (\d+) time")


def run(*command, **environment):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **environment)
    )
    if done.returncode != 0:
        raise AssertionError("%s: %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


class Probes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.program = cls.folder.name + "/probed"
        run("gcc", "-g", "-O1", "-pthread", "-Ilib/include", str(SOURCE), "-o", cls.program, LIBRARY,
            "-Wl,-rpath," + os.path.dirname(LIBRARY))
        text = SOURCE.read_text()
        cls.counts = {name: int(n) for name, n in re.findall(r"(\w+) = (\d+)[,}\s]", text.split("enum {")[1])}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_notes(self):
        found = {}
        for provider, name, semaphore, arguments in NOTE.findall(run("readelf", "-n", LIBRARY)):
            sizes = [argument.partition("@")[0] for argument in arguments.split()]
            found[provider, name] = (sizes, int(semaphore, 16) != 0)
        self.assertEqual(found, PROBES)

    def count(self, names, mode):
        """How often each of the probes was hit, by gdb."""
        if shutil.which("gdb") is None:
            self.skipTest("there is no gdb (Debian: apt-get install gdb)")
        script = ["set pagination off", "break main", "run"]
        for number, name in enumerate(names, 2):
            script += ["break -probe-stap gilloc:" + name, "ignore %d 1000000" % number]
        script += ["delete 1", "break _exit", "continue", "info breakpoints"]
        options = [word for line in script for word in ("-ex", line)]
        output = run("gdb", "-q", "-nx", "-batch", *options, self.program, PYTHON_GIL=mode)
        hits = dict.fromkeys(names, 0)
        hits.update((name, int(count)) for name, count in HITS.findall(output))
        self.assertIn("\nend\n", output)
        return hits

    def test_each_block_is_seen(self):
        """A large one twice: as raw, too; a resized one goes and comes."""
        c = self.counts
        for mode in ("1", "0"):
            with self.subTest(mode=mode):
                comes = c["BLOCKS"] + 2 * c["LARGE"] + c["RESIZED"] + c["RAW"]
                self.assertEqual(self.count(["alloc", "free"], mode), {"alloc": comes, "free": comes})

    def test_the_rest(self):
        names = ["arena_map", "arena_unmap", "lock_wait_begin", "lock_wait_end", "grace_period_begin",
                 "grace_period_end"]
        gil, free = self.count(names, "1"), self.count(names, "0")
        for hits in (gil, free):
            self.assertGreater(hits["arena_map"], 0)
            self.assertEqual(hits["arena_unmap"], hits["arena_map"])
            self.assertEqual(hits["lock_wait_end"], hits["lock_wait_begin"])
            self.assertEqual(hits["grace_period_end"], hits["grace_period_begin"])
        self.assertGreater(gil["lock_wait_begin"], 0)
        self.assertEqual(gil["grace_period_begin"], 0)
        self.assertEqual(free["lock_wait_begin"], 0)
        self.assertEqual(free["grace_period_begin"], self.counts["RECLAIMS"])


if __name__ == "__main__":
    with open(LIBRARY, "rb") as file:
        if b"stapsdt" not in file.read():
            print("SKIPPED: the library was built without <sys/sdt.h> (Debian: apt-get install systemtap-sdt-dev)")
            sys.exit(0)
    unittest.main()
