#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gdb_test.py LIBRARY SCRIPT - the commands of tools/gdb, on a live process and on its core dump, in both modes.

LIBRARY has debug information.  The process is that of heap.c; what is asked of the live one is asked of the core too,
and answered alike.  It reserves little, since gdb's own core dumps hold what is reserved too; the kernel's do not.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY, SCRIPT = os.path.abspath(sys.argv.pop(1)), os.path.abspath(sys.argv.pop(1))
SOURCE = pathlib.Path("tests/tools/heap.c")
ADDRESS = r"0x[0-9a-f]+"
GIL, FREE = "1", "0"
BLOCKS = {  # what is asked: what is answered in both modes
    "live": r"block    {0}, of 48 bytes\nkind     mem\nstate    live\npool     {0}, of {heap}\n",
    "live + 8": r"block    {0}, of 48 bytes; the address is 8 bytes into it\nkind     mem\nstate    live\n",
    "live + 4096": r"state    not carved: it has never been handed out\n",
    "freed": r"block    {0}, of 64 bytes\nkind     object\nstate    free, in the bin \(free\) of {mine}\n",
    "freed + 64": r"block    {0}, of 64 bytes\nkind     object\nstate    free, in the bin \(alloc\) of {mine}\n",
    "retired": r"block    {0}, of 80 bytes\nkind     mem\nstate    retired by {mine}: it waits for a grace period\n",
    "kind": r"block    {0}, of 160 bytes\nkind     planted\nstate    live\n",
    "large": r"{0} is in no arena: a block of more than 512 bytes, one of the raw domain, or none of gilloc's\n",
    "retired_large": r"is in no arena: .*\nstate    retired by {mine}: it waits for a grace period\n",
    "theirs": r"block    {0}, of 112 bytes\nkind     mem\nstate    live\n",
}
ALSO = {
    GIL: {
        "stashed": r"block    {0}, of 208 bytes\nkind     mem\nstate    free, in the stash\npool     {0}, of shared",
    },
    FREE: {
        "theirs": r"pool     {0}, of heap \d+ of {other}\n",
        "in_slot": r"kind     mem\nstate    free, in the remote slot of {mine}\npool     {0}, of heap \d+ of {other}\n",
        "in_list[3]": r"state    free, in the remote list of {other}\npool     {0}, of heap \d+ of {other}\n",
    },
}


class Gdb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.program = cls.folder.name + "/heap"
        command = ["gcc", "-g", "-O1", "-pthread", "-Ilib/include", str(SOURCE), "-o", cls.program, LIBRARY,
                   "-Wl,-rpath," + os.path.dirname(LIBRARY)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stdout)
        cls.answers = {}
        for mode in (GIL, FREE):
            asked = ["arenas", "pools", "pools 48", "threads", "lock", "block main"]
            asked += ["block " + name for name in {**BLOCKS, **ALSO[mode]}]
            core = "%s/core%s" % (cls.folder.name, mode)
            where = "wait_turn" if mode == GIL else "stop"
            start = ["set breakpoint pending on", "break " + where, "run"]
            cls.answers[mode, "live"] = cls.ask(mode, start, asked, ["generate-core-file " + core])
            cls.answers[mode, "core"] = cls.ask(mode, ["core-file " + core], asked, [])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def ask(cls, mode, before, asked, after):
        """{command: answer}"""
        lines = ["set pagination off", "source " + SCRIPT, *before]
        for command in asked:
            lines += ["echo \\n<<%s>>\\n" % command, "gilloc " + command]
        for name in ("*mine", "*other", "*(gi_pool *)gi_os_reserved.descriptors"):
            lines += ["echo \\n<<print %s>>\\n" % name, "print " + name]
        lines += ["echo \\n<<>>\\n", *after]
        options = [word for line in lines for word in ("-ex", line)]
        done = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", *options, cls.program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=dict(os.environ, PYTHON_GIL=mode, GILLOC_RESERVE=str(16 << 20)),
        )
        parts = re.split(r"\n<<(.*)>>\n", done.stdout)
        if len(parts) < 2 * len(asked):
            raise AssertionError(done.stdout)
        return dict(zip(parts[1::2], parts[2::2]))

    def each(self, check):
        for (mode, of), answers in self.answers.items():
            with self.subTest(mode=mode, of=of):
                check(mode, answers)

    def test_blocks(self):
        def check(mode, answers):
            words = {}
            for name in ("mine", "other"):
                thread = re.search(r", thread (\d+)", answers["print *" + name]).group(1)
                words[name] = r"state %s \(thread %s\)" % (ADDRESS, thread)
            words["heap"] = "shared heap 1" if mode == GIL else r"heap \d+ of " + words["mine"]
            for names in (BLOCKS, ALSO[mode]):
                for name, wanted in names.items():
                    self.assertRegex(answers["block " + name] + "\n", wanted.format(ADDRESS, **words), name)
            self.assertIn("is in no arena", answers["block main"])

        self.each(check)

    def test_arenas_and_pools(self):
        def check(mode, answers):
            head, *rows = answers["arenas"].splitlines()
            self.assertEqual(head.split(), "arena pools in use free dirty from".split())
            self.assertEqual([row.split()[1] for row in rows], ["16"] * len(rows))
            self.assertEqual({row.split()[-1] for row in rows}, {"gilloc"})
            head, *pools = answers["pools"].splitlines()
            self.assertEqual(head.split(), "pool size kind taken free carved capacity of".split())
            in_use = sum(int(row.split()[2]) for row in rows)
            self.assertEqual(len(pools), in_use)
            kinds = {(row.split()[1], row.split()[2]) for row in pools}
            self.assertLessEqual({("48", "mem"), ("64", "object"), ("160", "planted")}, kinds)
            of_48 = [row for row in pools if row.split()[1] == "48"]
            self.assertEqual([" ".join(row.split()) for row in answers["pools 48"].splitlines()[1:]],
                             [" ".join(row.split()) for row in of_48])

        self.each(check)

    def test_threads(self):
        def check(mode, answers):
            first, head, *rows = answers["threads"].splitlines()
            self.assertEqual(first, "gil mode" if mode == GIL else "GIL-free mode")
            self.assertEqual(head.split(), "state interpreter status thread gdb heap pools retired asked".split())
            states = [row.split()[2] for row in rows]
            self.assertEqual(states.count("attached"), 1 if mode == GIL else len(rows) - 1, rows)
            self.assertEqual([row.split()[7] for row in rows].count("0"), len(rows) - 1, "one has retired something")
            self.assertRegex(answers["print *mine"], r"= \{attached, thread \d+, heap \d+\}")
            self.assertRegex(answers["print *other"], r"= \{detached, thread \d+, heap \d+\}")
            self.assertIn("{not in use}", answers["print *(gi_pool *)gi_os_reserved.descriptors"])

        self.each(check)

    def test_lock(self):
        def check(mode, answers):
            if mode == FREE:
                self.assertRegex(answers["lock"], r"^interpreter 0: free\n  taken 0 times, waited for 0 times")
                return
            mine = re.search(r"thread (\d+)", answers["print *mine"]).group(1)
            self.assertRegex(
                answers["lock"],
                r"^interpreter 0: held\+waiters\n  held by state %s \(thread %s\)\n  taken \d+ times, "
                r"waited for 1 times, handed over 0 times\n  waits \(late\): state %s" % (ADDRESS, mine, ADDRESS),
            )

        self.each(check)

    def test_the_document(self):
        """What docs/tools.md shows is what is answered, but for addresses and threads."""

        def shape(text):
            return re.sub(r"thread \d+", "thread N", re.sub(ADDRESS, "ADDRESS", text)).strip()

        text = pathlib.Path("docs/tools.md").read_text()
        (sample,) = re.findall(r"^```text\n(\(gdb\) gilloc .*?)^```$", text, re.M | re.S)
        _, *parts = re.split(r"^\(gdb\) gilloc (.*)\n", sample, flags=re.M)
        self.assertEqual(len(parts), 4)
        for command, answer in zip(parts[::2], parts[1::2]):
            self.assertEqual(shape(answer), shape(self.answers[GIL, "live"][command]))

    def test_names(self):
        """Another script, in the same namespace, may have any name that does not begin with gi."""
        names = "python names = set(dir())", "source " + SCRIPT, "python print(sorted(set(dir()) - names))"
        options = [word for line in names for word in ("-ex", line)]
        done = subprocess.run(["gdb", "-q", "-nx", "-batch", *options], stdout=subprocess.PIPE, text=True, check=True)
        new = set(re.findall(r"\w+", done.stdout)) - {"names", "struct"}
        self.assertGreater(len(new), 20)
        self.assertEqual([name for name in new if not name.lower().startswith("gi")], [])

    def test_without_the_library(self):
        done = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", "-ex", "source " + SCRIPT, "-ex", "gilloc arenas", "/bin/true"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.assertIn("gilloc is not loaded, or has no debug information (build it with --copt=-g)", done.stdout)


if __name__ == "__main__":
    if shutil.which("gdb") is None:
        print("SKIPPED: there is no gdb (Debian: apt-get install gdb)")
        sys.exit(0)
    unittest.main()
