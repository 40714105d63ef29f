#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""profile_test.py PROGRAM - what the environment says of tracing and sampling, and the profiles written at exit.

Each format is read as its readers do: the flame graph as XML, pprof's as gzip and Protocol Buffers, of which the few
parts that it has are decoded here.
"""
import gzip
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM = os.path.abspath(sys.argv.pop(1))
VARIABLES = ("PYTHONTRACEMALLOC", "GILLOC_SAMPLE", "GILLOC_PROFILE")
# What program.c leaves alive, and what it had at most.
CURRENT, PEAK = 1000 + 5 * 100 + 5000, 1000 + 10 * 100 + 5000


def run(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment.update(variables)
    return subprocess.run(
        [PROGRAM, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def number(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def numbers(data):
    """A packed list of numbers, as signed ones of 64 bits."""
    found, at = [], 0
    while at < len(data):
        value, at = number(data, at)
        found.append(value - (1 << 64) if value >> 63 else value)
    return found


def message(data):
    """{field: [values]}: numbers, or bytes."""
    fields, at = {}, 0
    while at < len(data):
        key, at = number(data, at)
        value, at = number(data, at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
            assert len(value) <= len(data)
        else:
            assert key & 7 == 0, key
        fields.setdefault(key >> 3, []).append(value)
    return fields


class Profile:
    """profile.proto, as far as it is used."""

    def __init__(self, data):
        profile = message(data)
        self.strings = [text.decode() for text in profile[6]]
        self.types = [self.value_type(part) for part in profile[1]]
        self.functions = {part[1][0]: part for part in map(message, profile[5])}
        self.locations = {part[1][0]: part for part in map(message, profile[4])}
        self.mappings = {part[1][0]: part for part in map(message, profile[3])}
        self.samples = []
        for part in map(message, profile[2]):
            stack = [self.name(location) for location in numbers(part[1][0])]
            self.samples.append((stack, numbers(part[2][0])))
        self.period = (self.value_type(profile[11][0]), profile[12][0]) if 12 in profile else None

    def value_type(self, data):
        part = message(data)
        return self.strings[part[1][0]], self.strings[part[2][0]]

    def name(self, location):
        part = self.locations[location]
        line = message(part[4][0])
        return self.strings[self.functions[line[1][0]][2][0]]


class Tests(unittest.TestCase):
    def profile(self, suffix, *arguments, **variables):
        """What the program leaves in the file."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "profile" + suffix)
            done = run(*arguments, GILLOC_PROFILE=path, **variables)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with open(path, "rb") as file:
                return file.read()

    def test_tracing_starts_before_everything(self):
        done = run(PYTHONTRACEMALLOC="3")
        self.assertEqual(done.stdout, "frames 3 mean 0 current %d peak %d\n" % (CURRENT, PEAK))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_nothing_starts_by_itself(self):
        for variables in ({}, {"PYTHONTRACEMALLOC": "0"}, {"PYTHONTRACEMALLOC": ""}, {"GILLOC_SAMPLE": "0"}):
            with self.subTest(variables), tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "profile.svg")
                done = run(GILLOC_PROFILE=path, **variables)
                self.assertEqual(done.stdout, "frames 0 mean 0 current 0 peak 0\n")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertFalse(os.path.exists(path))

    def test_sampling(self):
        done = run(GILLOC_SAMPLE="4096")
        self.assertEqual(done.stdout, "frames 0 mean 4096 current 0 peak 0\n")

    def test_what_cannot_be(self):
        for value in ("abc", "-1", "1x", "65536", "99999999999999999999", " 1", "1.5"):
            with self.subTest(value):
                done = run(PYTHONTRACEMALLOC=value)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stderr, "Fatal gilloc error: PYTHONTRACEMALLOC: invalid number of frames\n")
        done = run(GILLOC_SAMPLE="1k")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, 'Fatal gilloc error: GILLOC_SAMPLE: must be a number of bytes, not "1k"\n')
        done = run(GILLOC_SAMPLE="1", PYTHONTRACEMALLOC="1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "Fatal gilloc error: GILLOC_SAMPLE: tracing is on, by PYTHONTRACEMALLOC\n")

    def test_a_file_that_cannot_be_written(self):
        done = run(PYTHONTRACEMALLOC="1", GILLOC_PROFILE="/gone/x.svg")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "gilloc: GILLOC_PROFILE: cannot write /gone/x.svg: No such file or directory\n")

    def test_folded(self):
        lines = self.profile(".folded", PYTHONTRACEMALLOC="20").decode().splitlines()
        stacks = [line.rpartition(" ") for line in lines]
        self.assertEqual(sum(int(size) for _, _, size in stacks), CURRENT)
        self.assertEqual(sum(int(size) for stack, _, size in stacks if stack.endswith(";main;outer;inner")), 5500)
        self.assertEqual([int(size) for stack, _, size in stacks if stack.endswith(";before_main")], [1000])

    def test_text(self):
        text = self.profile(".txt", PYTHONTRACEMALLOC="2").decode()
        self.assertRegex(text, r"\A%d bytes in 7 blocks of \d call sites\n" % CURRENT)
        self.assertRegex(text, r"\n5500 bytes in 6 blocks, .*\n    inner\+0x\w+ \(.*program\)\n    outer\+0x\w+ \(")

    def test_svg(self):
        root = xml.etree.ElementTree.fromstring(self.profile(".svg", PYTHONTRACEMALLOC="20"))
        name = "{http://www.w3.org/2000/svg}"
        self.assertEqual(root.tag, name + "svg")
        titles = [title.text for title in root.iter(name + "title")]
        self.assertIn("all: %d bytes in 7 blocks, 100.00 %%" % CURRENT, titles)
        self.assertTrue(any(title.startswith("inner: 5500 bytes in 6 blocks, ") for title in titles), titles)
        boxes = [box for box in root.iter(name + "rect") if "x" in box.attrib]
        self.assertEqual(len(boxes), len(titles))
        width = float(root.attrib["width"])
        for box in boxes:
            self.assertGreaterEqual(float(box.attrib["x"]), 0)
            self.assertLessEqual(float(box.attrib["x"]) + float(box.attrib["width"]), width)
            self.assertGreaterEqual(float(box.attrib["y"]), 0)

    def test_pprof(self):
        profile = Profile(gzip.decompress(self.profile(".pb.gz", PYTHONTRACEMALLOC="20")))
        self.assertEqual(profile.strings[0], "")
        names = "alloc_objects alloc_space inuse_objects inuse_space"
        self.assertEqual([name for name, _ in profile.types], names.split())
        self.assertEqual([unit for _, unit in profile.types], ["count", "bytes", "count", "bytes"])
        self.assertIsNone(profile.period)
        self.assertEqual(sum(values[3] for _, values in profile.samples), CURRENT)
        self.assertEqual(sum(values[2] for _, values in profile.samples), 7)
        of_inner = [values for stack, values in profile.samples if stack[:3] == ["inner", "outer", "main"]]
        self.assertEqual([sum(column) for column in zip(*of_inner)], [6, 5500, 6, 5500])
        for location in profile.locations.values():
            mapping = profile.mappings[location[2][0]]
            self.assertTrue(mapping[2][0] <= location[3][0] < mapping[3][0])
        files = [profile.strings[mapping[5][0]] for mapping in profile.mappings.values()]
        self.assertEqual(os.path.realpath(files[0]), os.path.realpath(PROGRAM))

    def test_pprof_of_samples(self):
        """With a mean of one byte all blocks are samples, but for one in some millions."""
        profile = Profile(gzip.decompress(self.profile(".pb.gz", GILLOC_SAMPLE="1")))
        self.assertEqual(profile.period, (("space", "bytes"), 1))
        of_inner = [values for stack, values in profile.samples if stack[:3] == ["inner", "outer", "main"]]
        self.assertEqual([sum(column) for column in zip(*of_inner)], [11, 6000, 6, 5500])

    def test_folded_of_samples_is_of_all_that_was_allocated(self):
        lines = self.profile(".folded", GILLOC_SAMPLE="1").decode().splitlines()
        self.assertEqual(sum(int(re.search(r" (\d+)$", line)[1]) for line in lines if "inner" in line), 6000)

    def test_a_child_writes_none(self):
        self.profile(".svg", "fork", PYTHONTRACEMALLOC="2")


if __name__ == "__main__":
    unittest.main()
