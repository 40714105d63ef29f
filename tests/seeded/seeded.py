#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""seeded.py - bugs planted in the library, one at a time; which test sees each?

    tests/seeded/seeded.py [--only=WORD] [--list] [--rows=FILE]     in a clean checkout

Each seed replaces one piece of text: a memory order made relaxed, or a step left out.  Tests are then run in the
configurations that can see it, the likely ones first, until one fails: its name, and that of its case, is the row.
SURVIVED means that none did, DOES NOT COMPILE that the seed is no bug.  The checkout is as before afterwards.
Rows are added to FILE, and a seed that has one there is left alone: so a run that was cut goes on, and a row that was
deleted is made again.
"""
import argparse
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from seeds import SEEDS

ROOT = Path(__file__).resolve().parents[2]
RESULT = re.compile(r"^(//\S+)\s+(FAILED|TIMEOUT)", re.M)
FAILED_CASE = re.compile(r"^\[  FAILED  \] ([a-z]\w*[^\n]*)$", re.M)
BEGUN_CASE = re.compile(r"^\[ RUN      \] (\w+[^\n]*)$", re.M)
ROW = re.compile(r"^\| (.+) \| (.+) \|$", re.M)
SURVIVED, DOES_NOT_COMPILE = "SURVIVED", "DOES NOT COMPILE"


def run(configuration, targets):
    """The first test that failed, in words, or None; a build that fails is a fault of the seed."""
    options = ["--notest_keep_going", *(["--config=%s" % configuration] if configuration else [])]
    done = subprocess.run(["bazel", "test", *options, *targets], cwd=ROOT, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    failed = RESULT.search(done.stdout)
    if done.returncode != 0 and failed is None or "FAILED TO BUILD" in done.stdout:
        print(done.stdout[-3000:], file=sys.stderr, flush=True)
        return DOES_NOT_COMPILE
    if failed is None:
        return None
    hangs = failed.group(2) == "TIMEOUT"
    cases = BEGUN_CASE.findall(done.stdout)[-1:] if hangs else FAILED_CASE.findall(done.stdout)[:1]
    words = "`%s`" % failed.group(1)
    words += ", `--config=%s`" % configuration if configuration else ""
    words += ": `%s`" % cases[0].split(" ")[0] if cases else ""
    return words + (" hangs" if hangs else "")


def try_seed(seed):
    path = ROOT / seed.path
    good = path.read_text()
    if good.count(seed.old) != 1:
        sys.exit("%s: %d times there: %s" % (seed.path, good.count(seed.old), seed.old))
    try:
        path.write_text(good.replace(seed.old, seed.new))
        for configuration, targets in seed.tests:
            caught = run(configuration, targets)
            if caught:
                return caught
        return None
    finally:
        path.write_text(good)


def main():
    parser = argparse.ArgumentParser(description="Plants bugs and says which test sees each.")
    parser.add_argument("--only", default="", help="seeds whose name has this in it")
    parser.add_argument("--list", action="store_true", help="names alone")
    parser.add_argument("--rows", type=Path, help="a file of rows, which is gone on with")
    arguments = parser.parse_args()
    chosen = [seed for seed in SEEDS if arguments.only in seed.name]
    if arguments.list:
        print("\n".join(seed.name for seed in chosen))
        return 0
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT).returncode != 0:
        sys.exit("the checkout has changes: commit them first")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    rows = dict(ROW.findall(arguments.rows.read_text())) if arguments.rows and arguments.rows.exists() else {}
    for seed in chosen:
        if seed.name not in rows:
            start = time.time()
            rows[seed.name] = try_seed(seed) or SURVIVED
            print("%s: %d s" % (seed.name, time.time() - start), file=sys.stderr, flush=True)
            if arguments.rows:
                with arguments.rows.open("a") as file:
                    file.write("| %s | %s |\n" % (seed.name, rows[seed.name]))
        print("| %s | %s |" % (seed.name, rows[seed.name]), flush=True)
    survived = sum(rows[seed.name] in (SURVIVED, DOES_NOT_COMPILE) for seed in chosen)
    print("%d seeded, %d caught" % (len(chosen), len(chosen) - survived))
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
