#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bazel run -c opt //stress/python:bench -- [OPTION]... [PROGRAM]...

Python programs end to end, on python3.11 with its own pymalloc and on the same python3.11 with gilloc preloaded: user
and system time and peak memory, the two in turns, so that a busy machine is so for both.  Of the rounds the median is
shown, and of the ratios of the two in the same round the median too.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

STOCK = "/usr/bin/python3.11"
HERE = pathlib.Path("stress/python").absolute()  # in the folder of the runfiles, which is like the root of the tree
PROGRAMS = (
    "jsonre compiled trees words walked compared table "
    "test_pickle test_itertools test_difflib test_statistics test_long test_deque test_set test_decimal"
).split()


def measure(command, environment):
    """(seconds of the processor, KiB at most)"""
    with tempfile.TemporaryDirectory(prefix="gilloc-bench-") as folder, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                                   env=dict(os.environ, PYTHONHASHSEED="0", **environment))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            sys.exit("bench: %s: exit status %d\n%s" % (" ".join(command), process.returncode,
                                                        output.read().decode(errors="replace")[-2000:]))
        output.seek(0)
        return usage.ru_utime + usage.ru_stime, int(output.read().split()[-1])


def compare(name, rounds, library):
    command = [STOCK, str(HERE / "programs.py"), name]
    sides = [{}, {"LD_PRELOAD": library}]
    rows = [[], []]
    for round_number in range(rounds):
        for side in (0, 1) if round_number % 2 == 0 else (1, 0):
            rows[side].append(measure(command, sides[side]))
    stock, ours = rows
    return (
        statistics.median(row[0] for row in stock), statistics.median(row[0] for row in ours),
        statistics.median(b[0] / a[0] for a, b in zip(stock, ours)),
        statistics.median(row[1] for row in stock) / 1024, statistics.median(row[1] for row in ours) / 1024,
        statistics.median(b[1] / a[1] for a, b in zip(stock, ours)),
    )


def main():
    parser = argparse.ArgumentParser(
        prog="bench", usage="bazel run -c opt //stress/python:bench -- [OPTION]... [PROGRAM]...",
        description="Python programs end to end, on pymalloc and on gilloc.",
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="of: " + " ".join(PROGRAMS))
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default 5")
    parser.add_argument("--library", default="lib/embed/cpython/libgilloc-python.so", help=argparse.SUPPRESS)
    options = parser.parse_args()
    wrong = [name for name in options.programs if name not in PROGRAMS]
    if wrong or options.rounds < 1:
        parser.error("no such program: %s" % wrong[0] if wrong else "--rounds must be 1 or more")
    for path, package in [(STOCK, "python3.11"), ("/usr/lib/python3.11/test/test_list.py", "libpython3.11-testsuite")]:
        if not os.path.exists(path):
            print("bench: %s is missing (Debian: apt-get install %s)" % (path, package), file=sys.stderr)
            return 2
    for name in [name for name in os.environ if name.startswith(("PYTHON", "GILLOC", "LD_"))]:
        del os.environ[name]
    library = os.path.realpath(options.library)
    print("%-16s %9s %9s %7s   %9s %9s %7s" % ("", "python", "gilloc", "", "python", "gilloc", ""))
    print("%-16s %9s %9s %7s   %9s %9s %7s" % ("program", "s", "s", "ratio", "MiB", "MiB", "ratio"))
    times, sizes = [], []
    for name in options.programs or PROGRAMS:
        row = compare(name, options.rounds, library)
        print("%-16s %9.3f %9.3f %7.3f   %9.1f %9.1f %7.3f" % (name, *row), flush=True)
        times.append(row[2])
        sizes.append(row[5])
    print("%-16s %9s %9s %7.3f   %9s %9s %7.3f" % ("geometric mean", "", "", statistics.geometric_mean(times), "", "",
                                                   statistics.geometric_mean(sizes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
