#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bazel run -c opt //stress/python:suite -- [OPTION]... [FILE]...

CPython's own test suite, on python3.11 and on gilloc: each file in a process of its own on the one and then on the
other, and the two side by side: files passed, skipped and failed, total time of the processor, largest memory.

A file that fails is run again, alone, since some depend on how busy the machine is.  Exit status: 0 if all files that
pass on python3.11 pass on gilloc, but for the tests that assert pymalloc's identity; 1 if not; 2 if it cannot run.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

STOCK = "/usr/bin/python3.11"
SUITE = pathlib.Path("/usr/lib/python3.11/test")
HERE = pathlib.Path("stress/python")  # in the folder of the runfiles, which is like the root of the tree
# They look for pymalloc's own debug table, for its count of blocks, or for its name.
IDENTITY = {
    "test_cmd_line": {"test_pythonmalloc", "test_xdev"},
    "test_sys": {"test_getallocatedblocks", "test_debugmallocstats"},
}
SKIPPED = re.compile(r"^\S+ skipped|^Result: NO TESTS RAN|^\d+ tests? skipped:", re.M)
BROKEN = re.compile(r"^(?:FAIL|ERROR): (\w+)", re.M)
Row = collections.namedtuple("Row", "result broken cpu rss text")


def run_file(python, name, limit, environment):
    """One file on one interpreter: Row.  `cpu` in seconds and `rss` in KiB are those of all its processes."""
    # A group of its own, so that what it leaves behind ends with it; a folder of its own, since names in it are fixed.
    with tempfile.TemporaryDirectory(prefix="gilloc-suite-") as folder, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [python, "-m", "test", "-W", name], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env=dict(os.environ, TMPDIR=folder, **environment),
        )
        timer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode in (0, 3, 4, 5):
        result = "skipped" if SKIPPED.search(text) and process.returncode != 3 else "passed"
    else:
        result = "failed"
    broken = sorted(set(BROKEN.findall(text))) if result == "failed" else []
    if result == "failed" and not broken:
        broken = ["exit status %d" % process.returncode]
    return Row(result, broken, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, text if result == "failed" else "")


def read_rows(path):
    if not path or not os.path.exists(path):
        return {}
    with open(path) as file:
        return {(side, name): Row(*row) for side, name, row in map(json.loads, file)}


class Run:
    """`sides` are shown; python3.11 is tried too where gilloc fails."""

    def __init__(self, options, sides, shown):
        self.options, self.every, self.sides = options, sides, {side: sides[side] for side in shown}
        self.rows = read_rows(options.rows)
        self.lock = threading.Lock()

    def one(self, side, name):
        if (side, name) in self.rows:
            return
        python, environment = self.every[side]
        row = run_file(python, name, self.options.limit, environment)
        with self.lock:
            self.rows[side, name] = row
            if self.options.rows:
                with open(self.options.rows, "a") as file:
                    file.write(json.dumps([side, name, row]) + "\n")
            if self.options.verbose:
                broken = " ".join(row.broken)
                print("%-8s %-30s %-8s %7.2f s %s" % (side, name, row.result, row.cpu, broken), flush=True)

    def all(self, names):
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            # One side right after the other, so that a busy machine is so for both.
            list(pool.map(lambda name: [self.one(side, name) for side in self.sides], names))
        for name in names:
            for side in self.sides:
                if self.rows[side, name].result == "failed" and not self.excused(side, name):
                    del self.rows[side, name]
                    self.one(side, name)

    def excused(self, side, name):
        return side == "gilloc" and set(self.rows[side, name].broken) <= IDENTITY.get(name, set())


def table(run, names):
    lines = ["%-22s" % "" + "".join("%12s" % side for side in run.sides)]
    columns = {side: [run.rows[side, name] for name in names] for side in run.sides}
    for words, figure in [
        ("files passed", lambda rows: "%d" % sum(row.result == "passed" for row in rows)),
        ("files skipped", lambda rows: "%d" % sum(row.result == "skipped" for row in rows)),
        ("files failed", lambda rows: "%d" % sum(row.result == "failed" for row in rows)),
        ("user+sys time, s", lambda rows: "%.1f" % sum(row.cpu for row in rows)),
        ("peak RSS, MiB", lambda rows: "%.1f" % (max(row.rss for row in rows) / 1024)),
    ]:
        lines.append("%-22s" % words + "".join("%12s" % figure(rows) for rows in columns.values()))
    return "\n".join(lines)


def verdict(run, names):
    """Prints what failed; whether gilloc is to blame for any."""
    blamed = False
    for name in names:
        row = run.rows["gilloc", name]
        if row.result != "failed":
            continue
        if run.excused("gilloc", name):
            why = "asserts pymalloc's identity"
        elif run.one("python", name) or run.rows["python", name].result == "failed":
            why = "fails on python3.11 too (%s)" % " ".join(run.rows["python", name].broken)
        else:
            why, blamed = "FAILED ON GILLOC ALONE", True
        print("%s: %s: %s" % (name, " ".join(row.broken), why))
        if why.isupper():
            print("".join("    %s\n" % line for line in row.text.strip().split("\n")[-40:]))
    return blamed


def arguments():
    parser = argparse.ArgumentParser(
        prog="suite", usage="bazel run -c opt //stress/python:suite -- [OPTION]... [FILE]...",
        description="CPython's own test suite, on python3.11 and on gilloc.",
    )
    parser.add_argument("names", nargs="*", metavar="FILE", help="test_list, say (default: all there are)")
    parser.add_argument("--quarter", action="store_true", help="those of quarter.txt, which allocate most")
    parser.add_argument("--without", default="", metavar="LIST", help="files to leave out, with commas")
    parser.add_argument("--only", choices=["python", "gilloc"], help="on one of the two")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                        help="files at once (default: processors)")
    parser.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="for one file (default 900)")
    parser.add_argument("--rows", metavar="FILE", help="keeps what is done there, and goes on from it")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="on gilloc")
    parser.add_argument("--verbose", action="store_true", help="a line for each file")
    parser.add_argument("--program", default="lib/embed/cpython/gilloc-python", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    for path, package in [(STOCK, "python3.11"), (SUITE / "test_list.py", "libpython3.11-testsuite")]:
        if not os.path.exists(path):
            print("suite: %s is missing (Debian: apt-get install %s)" % (path, package), file=sys.stderr)
            return 2
    # Ignored in a job of a shell, and then by who is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith(("PYTHON", "GILLOC", "LD_"))]:
        del os.environ[name]
    os.environ.setdefault("HOME", tempfile.gettempdir())
    names = options.names
    if options.quarter:
        names = (HERE / "quarter.txt").read_text().split()
    elif not names:
        listed = subprocess.run([STOCK, "-m", "test", "--list-tests"], stdout=subprocess.PIPE, text=True, check=True)
        names = [line.strip() for line in listed.stdout.split("\n") if line.strip()]
    names = [name for name in names if name not in options.without.split(",")]
    program = os.path.abspath(options.program)
    environment = dict(pair.split("=", 1) for pair in options.env)
    sides = {"python": (STOCK, {}), "gilloc": (program, environment)}
    shown = [options.only] if options.only else list(sides)
    if "gilloc" in shown and not shutil.which(sides["gilloc"][0]):
        print("suite: %s is missing; run it by bazel" % sides["gilloc"][0], file=sys.stderr)
        return 2
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    run = Run(options, sides, shown)
    run.all(names)
    print("\nCPython's test suite, %d files\n\n%s\n" % (len(names), table(run, names)))
    return 1 if "gilloc" in shown and verdict(run, names) else 0


if __name__ == "__main__":
    sys.exit(main())
