#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""programs_test.py INSTALL - each program in README.md and docs/*.md compiles, as the documents say, and runs.

The library is installed into a folder as somebody would install it.  In the tutorial a block without main() is a part,
and a program is compiled with the parts above it.  A program must exit with 0 and say nothing on
stderr; it does so in both modes, unless it has a lock of its own.  gilloc-python runs as its document says.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

from documents import ROOT, blocks, tables

INSTALL = os.path.abspath(sys.argv.pop(1))
DOCUMENTS = ["README.md"] + sorted("docs/" + path.name for path in (ROOT / "docs").glob("*.md"))
TUTORIAL, EXAMPLE = "docs/tutorial.md", "docs/examples"
MAIN = "int main(void) {"
WARNINGS = "-Wall -Wextra -Wundef -Wstrict-prototypes -pedantic -Werror".split()


def run(*command, cwd=None, **environment):
    return subprocess.run(
        command, cwd=cwd, env=dict(os.environ, **environment), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def after(heading, document):
    """The part of a document under a heading."""
    text = (ROOT / document).read_text()
    return text.partition("\n## %s\n" % heading)[2].partition("\n## ")[0]


def command_of(document, start):
    """The one line of its sh blocks that begins with `start`."""
    lines = [line for block in blocks(document, "sh") for line in block.text.split("\n") if line.startswith(start)]
    assert len(lines) == 1, "%s: %d commands begin with %r" % (document, len(lines), start)
    return lines[0]


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.prefix = cls.folder / "prefix"
        done = run(INSTALL, "--prefix=%s" % cls.prefix)
        assert done.returncode == 0, done.stderr
        cls.environment = {
            "PKG_CONFIG_PATH": str(cls.prefix / "lib/pkgconfig"),
            "LD_LIBRARY_PATH": str(cls.prefix / "lib"),
        }

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def compile(self, text, command, *more):
        """By a command of a document, in a folder of its own; the path of the program."""
        words = shlex.split(command.split("$(")[0])
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (folder / next(word for word in words if word.endswith(".c"))).write_text(text)
        done = run("sh", "-c", command + " " + shlex.join(more), cwd=folder, **self.environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        return str(folder / words[words.index("-o") + 1])

    def run_well(self, program, **environment):
        done = run(program, **self.environment, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def flags_of_others(self, text):
        """What pkg-config says of the runtimes that a program includes, as the document says; None: one is missing."""
        flags = []
        for package, debian in (("lua5.4", "liblua5.4-dev"), ("sqlite3", "libsqlite3-dev")):
            if "#include <%s.h>" % package.rstrip(".0123456789") in text or "#include <%s.h>" % package in text:
                done = run("pkg-config", "--cflags", "--libs", package)
                if done.returncode != 0:
                    print("SKIPPED: %s is missing (Debian: apt-get install %s)" % (package, debian))
                    return None
                flags += shlex.split(done.stdout)
        return flags

    def test_every_program(self):
        command = command_of("docs/embedding.md", "cc ")
        found = 0
        for document in DOCUMENTS:
            parts = ""
            for block in blocks(document, "c"):
                with self.subTest("%s:%d" % (document, block.line)):
                    if document == TUTORIAL and MAIN not in block.text:
                        parts += block.text + "\n"  # the programs below stand on it
                        continue
                    self.assertIn(MAIN, block.text, "a piece that cannot be run")
                    more = self.flags_of_others(block.text)
                    if more is None:
                        continue
                    program = self.compile(parts + block.text, command, "-std=gnu11", *WARNINGS, *more)
                    self.run_well(program, PYTHON_GIL="1")
                    if "gilloc_set_lock" not in block.text:
                        self.run_well(program, PYTHON_GIL="0")
                    found += 1
        self.assertGreater(found, 4)

    def test_tutorial(self):
        """Its parts are those of the example, and all of it but declarations and main.c."""
        paths = [path for path in (ROOT / EXAMPLE).glob("*.[ch]") if path.name != "main.c"]
        example = "\n\n".join(path.read_text().rstrip("\n") for path in paths)
        paragraphs = set(example.split("\n\n"))
        quoted = [paragraph for block in blocks(TUTORIAL, "c") if MAIN not in block.text
                  for paragraph in block.text.rstrip("\n").split("\n\n")]
        self.assertEqual(quoted[0], "\n".join(line for line in quoted[0].split("\n") if line.startswith("#include <")))
        self.assertEqual([paragraph for paragraph in quoted[1:] if paragraph not in paragraphs], [])
        defined = set(re.findall(r"^[a-z][\w *]*?(\w+)\([^;{]*\) \{", example, re.M))
        self.assertGreater(len(defined), 25)
        self.assertEqual(defined - set(re.findall(r"(\w+)\([^;{]*\) \{", "\n".join(quoted))), set())

    def test_static(self):
        """As embedding.md says, with pkg-config's --static."""
        command = command_of("docs/embedding.md", "cc ").replace("pkg-config", "pkg-config --static")
        program = self.compile(blocks("docs/embedding.md", "c")[0].text, command, "-static")
        self.run_well(program)

    def test_readme(self):
        """Its command, its ten lines, what they print, and how they end without the lock."""
        command = command_of("README.md", "cc ")
        (block,) = blocks("README.md", "c")
        self.assertEqual(len([line for line in block.text.split("\n") if line.strip()]), 10)
        printed = self.run_well(self.compile(block.text, command))
        self.assertIn("\nIt prints `%s`." % printed.rstrip("\n"), after("Use it", "README.md"))

        wrong = "".join(line for line in block.text.splitlines(True) if "PyGILState_" not in line)
        self.assertEqual(len(wrong.splitlines()), len(block.text.splitlines()) - 2)
        for mode in ("1", "0"):
            done = run(self.compile(wrong, command), PYTHON_GIL=mode, **self.environment)
            (text,) = blocks("README.md", "text")
            self.assertEqual(done.returncode, -6)
            self.assertEqual(re.sub(r"thread   \d+", "thread   12345", done.stderr), text.text)

    def test_gilloc_python(self):
        """The steps of the document are the README's one command, whose end runs; its options are the program's."""
        document = "docs/python.md"
        (command,) = [block.text.strip() for block in blocks("README.md", "sh") if "gilloc-python" in block.text]
        steps = blocks(document, "sh")[0].text.strip()
        self.assertEqual(steps.replace("\n", " && "), command)
        name, *arguments = shlex.split(steps.split("\n")[-1])
        program = str(self.prefix / "bin" / name)
        done = run(program, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"(?m)^# small blocks in use += +[\d,]{5,}$")
        own = run(program, "--help").stdout.partition("\n\n")[0]
        (rows,) = [rows for heading, rows in tables((ROOT / document).read_text()) if heading == "gilloc-python"]
        described = {option for row in rows[2:] for option in re.findall(r"`(--\w+)", row[0])}
        self.assertEqual(described, set(re.findall(r"^(--\w+)", own, re.M)))


if __name__ == "__main__":
    unittest.main()
