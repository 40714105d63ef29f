#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""workspace_test.py - somebody else's workspace builds with gilloc as docs/embedding.md says, and its program runs.

Bazel runs in Bazel here: alone (--batch), with all its files in the test's own folder.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from documents import ROOT, blocks

DOCUMENT = "docs/embedding.md"


class Workspace(unittest.TestCase):
    def test_workspace(self):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as name:
            folder = pathlib.Path(name)
            (folder / "gilloc").symlink_to(ROOT)
            (folder / "yours").mkdir()
            written = set()
            for block in blocks(DOCUMENT, "python"):
                for file in ("WORKSPACE", "BUILD"):
                    if "Your `%s`:" % file in block.before:
                        (folder / "yours" / file).write_text(block.text)
                        written.add(file)
            self.assertEqual(written, {"WORKSPACE", "BUILD"})
            (folder / "yours/program.c").write_text(blocks(DOCUMENT, "c")[0].text)
            done = subprocess.run(
                ["bazel", "--batch", "--output_user_root=%s/bazel" % folder]
                + ["build", "--spawn_strategy=local", "-c", "opt", "//:program"],
                cwd=folder / "yours", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            self.assertEqual(done.returncode, 0, done.stdout)
            done = subprocess.run([str(folder / "yours/bazel-bin/program")], stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            subprocess.run(["chmod", "-R", "u+w", name])  # Bazel makes its outputs read-only


if __name__ == "__main__":
    if os.environ.get("TEST_WORKSPACE") == "_main":
        print("SKIPPED: this Bazel reads MODULE.bazel, the example is a WORKSPACE for Bazel 4")
        sys.exit(0)
    unittest.main()
