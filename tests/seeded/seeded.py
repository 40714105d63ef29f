#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""seeded.py - bugs planted in the library, one at a time; which test sees each?

    tests/seeded/seeded.py [--only=WORD] [--list]     in a clean checkout; it takes an hour or two

Each seed replaces one piece of text: a memory order made relaxed, or a step left out.  Its tests are then run in the
configurations that should see it, until one fails.  The row says which; SURVIVED means that none did.  The checkout is
as before afterwards.  The last table stands in docs/testing.md.
"""
import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from seeds import SEEDS

ROOT = Path(__file__).resolve().parents[2]
FAILED = re.compile(r"^(//\S+)\s+(?:FAILED|TIMEOUT)", re.M)


def run(configuration, targets):
    """The first test that failed, or None; a build that fails is a fault of the seed."""
    config = ["--config=%s" % configuration] if configuration else []
    command = ["bazel", "test", "--notest_keep_going", "--test_output=errors", "--test_timeout=300", *config, *targets]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if "FAILED TO BUILD" in done.stdout or "Compiling" in done.stdout and " failed: " in done.stdout:
        sys.exit("the seed does not compile:\n" + done.stdout[-3000:])
    failed = FAILED.search(done.stdout)
    return failed.group(1) if failed else None


def try_seed(seed):
    path = ROOT / seed.path
    good = path.read_text()
    if good.count(seed.old) < 1:
        sys.exit("%s: not there: %s" % (seed.path, seed.old))
    try:
        path.write_text(good.replace(seed.old, seed.new) if seed.all else good.replace(seed.old, seed.new, 1))
        for configuration, targets in seed.tests:
            caught = run(configuration, targets)
            if caught:
                return "%s%s" % (caught, " (%s)" % configuration if configuration else "")
        return None
    finally:
        path.write_text(good)


def main():
    parser = argparse.ArgumentParser(description="Plants bugs and says which test sees each.")
    parser.add_argument("--only", default="", help="seeds whose name has this in it")
    parser.add_argument("--list", action="store_true", help="names alone")
    arguments = parser.parse_args()
    chosen = [seed for seed in SEEDS if arguments.only in seed.name]
    if arguments.list:
        print("\n".join(seed.name for seed in chosen))
        return 0
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT).returncode != 0:
        sys.exit("the checkout has changes: commit them first")
    survived = 0
    for seed in chosen:
        start = time.time()
        caught = try_seed(seed)
        survived += caught is None
        print("| %s | %s |" % (seed.name, "`%s`" % caught if caught else "SURVIVED"), flush=True)
        print("%s: %d s" % (seed.name, time.time() - start), file=sys.stderr, flush=True)
    print("%d seeded, %d caught" % (len(chosen), len(chosen) - survived))
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
