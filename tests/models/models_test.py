#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""models_test.py MODEL... - spin searches each model whole; the model as it is holds, each broken one does not.

Two searches: one for assertions that do not hold and for threads that wait for ever, one for runs that do not end.  A
line that no run reaches proves nothing, so there may be none in the model as it is.  A model is broken by each of the
switches that its head lists under "Broken by", one at a time; the list and the #if lines must agree.
"""
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

MODELS = [pathlib.Path(argument) for argument in sys.argv[1:]]
del sys.argv[1:]

DEPTH = 10000
MEGABYTES = 3000
SAFETY, ENDS = ("-DSAFETY", ()), ("-DNP", ("-l",))  # how a search is built, and what its program is told
LEAST_SWITCHES = 3

Search = collections.namedtuple("Search", "errors states reason incomplete unreached")


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def build(folder, *command):
    status, said = run(folder, *command)
    if status != 0:
        raise AssertionError("%s: %d\n%s" % (" ".join(map(str, command)), status, said))


def listed(text):
    """The switches in the list at the head of a model."""
    head = text.split("*/")[1]  # after the licence
    return re.findall(r"^ \* {15}(BREAK_\w+)  ", head.replace("Broken by", " " * 9), re.M)


def used(text):
    """The switches that a model asks for."""
    return {name for line in re.findall(r"^#.*if.*$", text, re.M) for name in re.findall(r"BREAK_\w+", line)}


def lines_unreached(folder, said):
    """The statements that are reached in no copy of the inline that they stand in, by `said`, a search's report."""
    missed, process = set(), None
    for line in said.split("\n"):
        match = re.match(r"unreached in (?:proctype )?(\w+)|\t.*\.pml:\d+, state (\d+),", line)
        if match and match[1]:
            process = match[1]
        elif match:
            missed.add((process, match[2]))
    copies = collections.defaultdict(set)  # of each statement; two copies differ in the names that stand in them
    for line in run(folder, "./pan", "-d")[1].split("\n"):
        match = re.match(r"(?:proctype )?(\w+)$|\s*state +(\d+) .*\.pml:(\d+) => (.*)", line)
        if match and match[1]:
            process = match[1]
        elif match:
            copies[int(match[3]), re.sub(r"\w+", "x", match[4])].add((process, match[2], match[4]))
    return [
        "line %d: %s" % (line, min(there)[2])
        for (line, _), there in sorted(copies.items())
        if all((process, state) in missed for process, state, _ in there)
    ]


def search(model, kind, switch=None):
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
        looks = kind is SAFETY and switch is None  # for lines: then no statement is merged with the next
        options = ["-D" + switch] if switch else ["-o3"] if looks else []
        build(folder, "spin", *options, "-a", str(model.resolve()))
        flags = ["-O0" if switch else "-O1", "-w", "-DNOFAIR", "-DMEMLIM=%d" % MEGABYTES, kind[0]]
        build(folder, "cc", *flags, "-o", "pan", "pan.c")
        said = run(folder, "./pan", "-m%d" % DEPTH, *kind[1])[1]
        errors, states = re.search(r"errors: (\d+)\n +(\S+) states", said).groups()
        reason = re.search(r"^pan:\d+: (.*?)(?: \(at depth \d+\))?$", said, re.M)
        incomplete = "too small" in said or "not completed" in said or "MEMLIM" in said
        unreached = lines_unreached(folder, said) if looks else []
    return Search(int(errors), int(float(states)), reason and reason[1], incomplete, unreached)


def break_it(model, switch):
    """What catches it, or None: most break an assertion or leave a thread waiting, some only never end."""
    return search(model, SAFETY, switch).reason or search(model, ENDS, switch).reason


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            whole = {(model, kind): pool.submit(search, model, kind) for kind in (ENDS, SAFETY) for model in MODELS}
            switches = [(model, name) for model in MODELS for name in sorted(used(model.read_text()))]
            broken = {pair: pool.submit(break_it, *pair) for pair in switches}
            cls.whole = {key: job.result() for key, job in whole.items()}
            cls.broken = {key: job.result() for key, job in broken.items()}

    def test_switches(self):
        for model in MODELS:
            with self.subTest(model.name):
                text = model.read_text()
                names = listed(text)
                self.assertEqual(len(names), len(set(names)), "one is listed twice")
                self.assertEqual(set(names), used(text), "the list at the head is not what the model asks for")
                self.assertGreaterEqual(len(names), LEAST_SWITCHES)

    def test_whole(self):
        for (model, kind), found in self.whole.items():
            print("%-16s %-8s %8d states" % (model.name, "ends" if kind is ENDS else "safety", found.states))
            with self.subTest(model.name, search=kind[0]):
                self.assertEqual((found.errors, found.reason), (0, None))
                self.assertFalse(found.incomplete, "not searched whole")
                self.assertGreater(found.states, 1000)
                self.assertEqual(found.unreached, [])

    def test_broken(self):
        for (model, switch), reason in sorted(self.broken.items()):
            print("%-16s %-22s %s" % (model.name, switch, reason))
            with self.subTest(model.name, switch=switch):
                self.assertIsNotNone(reason, "the model holds although it is broken")


if __name__ == "__main__":
    for program, package in (("spin", "spin"), ("cc", "gcc")):
        if shutil.which(program) is None:
            print("SKIPPED: %s is not installed (Debian: apt-get install %s)" % (program, package))
            sys.exit(0)
    unittest.main()
