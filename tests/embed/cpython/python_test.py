#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""python_test.py GILLOC-PYTHON LIBRARY MODULE STRESS - CPython on gilloc, as its users run it.

gilloc-python does what python3.11 does; the preloaded library works on python3.11 itself and in virtual environments;
the module takes over a running interpreter; a recorded program is replayed by the main job.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM, LIBRARY, MODULE, STRESS = map(os.path.abspath, sys.argv[1:5])
del sys.argv[1:5]
STOCK = "/usr/bin/python3.11"
SUM = "print(sum(len(str(i)) for i in range(100000)))"
REPLACED = (
    "gilloc: CPython does without gilloc here: PYTHONMALLOC, PYTHONDEVMODE or -X dev chose another allocator "
    "(leave them out, or use gilloc-python, which has debug hooks of its own for them)\n"
)
# Small blocks come and go, some are resized across 512 bytes, threads have their own.
CHURN = """
import threading
def churn():
    kept = []
    for i in range(20000):
        kept.append({'a': [i] * (i % 90), i: bytearray(i % 700)})
        if len(kept) > 500: del kept[::2]
    grown = bytearray()
    for i in range(3000): grown.append(i % 256)
threads = [threading.Thread(target=churn) for i in range(4)]
for thread in threads: thread.start()
churn()
for thread in threads: thread.join()
"""


def run(*command, stdin="", cwd=None, **environment):
    """(exit status, stdout, stderr)"""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GILLOC", "LD_"))}
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env=dict(given, **environment),
    )
    return done.returncode, done.stdout, done.stderr


def preload(*command, **environment):
    return run(*command, LD_PRELOAD=LIBRARY, **environment)


def figure(text, words):
    return int(re.search(r"^# %s += +([\d,]+)$" % re.escape(words), text, re.M).group(1).replace(",", ""))


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(STOCK):
            raise AssertionError("%s is missing (Debian: apt-get install python3.11)" % STOCK)

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)

    def tearDown(self):
        self.temporary.cleanup()

    def script(self, text, name="script.py"):
        path = self.folder / name
        path.write_text(text)
        return str(path)


class Program(Case):
    def test_it_does_what_python_does(self):
        module = self.script("import sys; print(__name__, sys.argv[1:], sys.flags.optimize)", "m.py")
        self.script("raise SystemExit(3)", "__main__.py")
        for arguments, stdin in [
            (["-c", "import sys; print(sys.argv, sys.orig_argv[1:])", "a", "--stats", "-x"], ""),
            (["-O", "-m", "m", "b"], ""),
            ([module, "c"], ""),
            ([], "print(1 + 1)"),
            (["-", "d"], "import sys; print(sys.argv)"),
            (["-i", "-q"], "2 + 2"),
            ([str(self.folder)], ""),
            (["-c", "import sys; sys.exit(7)"], ""),
            (["-c", "import os; os._exit(5)"], ""),
            (["-c", "1 / 0"], ""),
            (["-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"], ""),
            (["-I", "-S", "-c", "import sys; print(sys.flags, sys.path)"], ""),
            (["-c", "import sys; print(sys.prefix, sys.base_prefix, sys.path[1:], sys.version)"], ""),
            (["-V"], ""),
            (["--no-such-option"], ""),
            (["no-such-file.py"], ""),
            (["-X", "utf8", "-c", "import sys; print(sys.flags.utf8_mode)"], ""),
        ]:
            with self.subTest(arguments=arguments):
                expected = run(STOCK, *arguments, stdin=stdin, cwd=self.folder)
                found = run(PROGRAM, *arguments, stdin=stdin, cwd=self.folder)
                self.assertEqual(found, tuple(str(part).replace(STOCK, PROGRAM) if i else part
                                              for i, part in enumerate(expected)))

    def test_the_executable_is_itself(self):
        inner = "import _gilloc; print(_gilloc.is_installed())"
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', '%s'])" % inner
        self.assertEqual(run(PROGRAM, "-c", code), (0, "True\n", ""))

    def test_the_blocks_are_gillocs(self):
        status, out, err = run(PROGRAM, "-c", "import sys; kept = [str(i) for i in range(50000)]", GILLOC_STATS="text")
        self.assertEqual((status, out), (0, ""))
        self.assertGreater(figure(err, "arenas, at most"), 10)

    def test_no_choice_of_the_users_undoes_it(self):
        code = "import _gilloc, sys; print(_gilloc.is_installed(), sys.flags.dev_mode)"
        for arguments, environment, dev in [
            ([], {}, False),
            (["-X", "dev"], {}, True),
            ([], {"PYTHONDEVMODE": "1"}, True),
            ([], {"PYTHONMALLOC": "malloc"}, False),
            ([], {"PYTHONMALLOC": "debug"}, False),
            ([], {"PYTHONMALLOC": "pymalloc_debug"}, False),
            ([], {"PYTHONMALLOC": "malloc_debug"}, False),
            ([], {"PYTHON_GIL": "0"}, False),
            ([], {"GILLOC_HARDEN": "1"}, False),
        ]:
            with self.subTest(arguments=arguments, environment=environment):
                found = run(PROGRAM, *arguments, "-c", code, **environment)
                self.assertEqual(found, (0, "True %s\n" % dev, ""))
                found = run(PROGRAM, *arguments, self.script(CHURN), **environment)
                self.assertEqual(found, (0, "", ""))

    def test_debug_hooks_are_gillocs(self):
        code = "import ctypes; f = ctypes.pythonapi; f.PyMem_Malloc.restype = ctypes.c_void_p; " \
               "p = f.PyMem_Malloc(ctypes.c_size_t(40)); ctypes.memset(p, 0, 48); f.PyMem_Free(ctypes.c_void_p(p))"
        for arguments, environment in [(["-X", "dev"], {}), ([], {"PYTHONMALLOC": "debug"})]:
            status, out, err = run(PROGRAM, *arguments, "-c", code, **environment)
            self.assertEqual((status, out), (-6, ""))
            self.assertIn("Fatal gilloc error: PyMem_Free: bad trailing pad byte", err)

    def test_a_call_without_the_lock_is_told(self):
        """ctypes.CDLL drops CPython's lock around the call."""
        code = "import ctypes; ctypes.CDLL(None).PyObject_Malloc(ctypes.c_size_t(100000))"
        status, out, err = run(PROGRAM, "-c", code)
        self.assertEqual((status, out), (-6, ""))
        message = "Fatal gilloc error: PyObject_Malloc: Python memory allocator called without holding the GIL"
        self.assertIn(message, err)

    def test_threads_and_forks(self):
        code = CHURN + """
import os, sys
thread = threading.Thread(target=churn); thread.start()
for i in range(5):
    child = os.fork()
    if child == 0:
        churn(); os._exit(0)
    if os.waitpid(child, 0)[1] != 0: sys.exit(1)
thread.join()
import multiprocessing
with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(len, ['a' * i for i in range(4)]))
"""
        self.assertEqual(run(PROGRAM, self.script(code)), (0, "[0, 1, 2, 3]\n", ""))

    def test_subinterpreters_and_tracemalloc(self):
        code = "import _xxsubinterpreters as s; i = s.create(); s.run_string(i, 'x = [str(n) for n in range(999)]'); " \
               "s.destroy(i); import tracemalloc; tracemalloc.start(); x = [bytes(50)] * 2; " \
               "print(tracemalloc.get_traced_memory()[0] > 0)"
        self.assertEqual(run(PROGRAM, "-c", code), (0, "True\n", ""))

    def test_a_virtual_environment_of_it(self):
        environment = str(self.folder / "environment")
        self.assertEqual(run(PROGRAM, "-m", "venv", "--without-pip", environment), (0, "", ""))
        code = "import sys, _gilloc; print(sys.prefix, _gilloc.is_installed())"
        self.assertEqual(run(environment + "/bin/python", "-c", code), (0, "%s True\n" % environment, ""))

    def test_it_has_none_of_cpythons_names(self):
        for file, allowed in [(PROGRAM, {"gilloc_python_main"}), (LIBRARY, {"PyInit__gilloc"})]:
            _, out, _ = run("nm", "-D", "--defined-only", file)
            self.assertEqual({name for kind, name in re.findall(r" ([A-Z]) (\w+)", out) if kind in "TDR"}, allowed)


class Options(Case):
    def test_statistics_are_printed_as_the_program_ends(self):
        code = "import os\nkept = [str(i) for i in range(30000)]\n" \
               "if os.fork() == 0: raise SystemExit\nos.wait()\nprint('end')"
        status, out, err = run(PROGRAM, "--stats", self.script(code))
        self.assertEqual((status, out), (0, "end\n"))
        self.assertGreater(figure(err, "small blocks in use"), 30000)
        self.assertEqual(len(re.findall(r"^raw blocks: [1-9]\d* now, [1-9]\d* ever$", err, re.M)), 1)

    KEEPER = "class Keeper:\n    def keep(self):\n        return [str(i) for i in range(40000)]\n" \
             "kept = Keeper().keep()\n"
    STACK = ["Keeper.keep.<locals>.<listcomp>", "Keeper.keep", "<module>"]

    def test_a_trace_has_pythons_stack(self):
        script = self.script(self.KEEPER)
        for option, depth in [("--trace", 3), ("--trace=2", 2)]:
            status, out, err = run(PROGRAM, option, script)
            self.assertEqual((status, out), (0, ""))
            largest = re.search(r"^(\d+) bytes in (\d+) blocks, allocated at.*\n((?:    .*\n)+)", err, re.M)
            self.assertGreaterEqual(int(largest.group(2)), 40000)
            frames = [frame.strip() for frame in largest.group(3).split("\n")[:-1]]
            expected = ["%s (%s:%d)" % (name, script, line) for name, line in zip(self.STACK, [3, 3, 4])]
            self.assertEqual(frames, expected[:depth])

    def test_a_profile_has_pythons_stack(self):
        script = self.script(self.KEEPER)
        for name, begin in [("out.svg", "<?xml"), ("out.folded", "<module>"), ("out.txt", ""), ("out.pb.gz", "\x1f")]:
            profile = self.folder / name
            self.assertEqual(run(PROGRAM, "--profile", str(profile), script), (0, "", ""))
            data = profile.read_bytes().decode("latin-1")
            self.assertTrue(data.startswith(begin) or name == "out.folded", name)
            if name == "out.folded":
                # Samples: a list and 40,000 strings are 2.5 MB, and one in 64 KiB is a sample.
                estimate = re.search(r"^%s (\d+)$" % re.escape(";".join(reversed(self.STACK))), data, re.M)
                self.assertTrue(1000000 < int(estimate.group(1)) < 6000000, data)

    def test_nothing_is_printed_by_a_forked_child(self):
        code = "import os\nif os.fork() == 0: raise SystemExit\nos.wait()"
        status, out, err = run(PROGRAM, "--trace", "--stats", "-c", code)
        heads = len(re.findall(r"blocks of \d+ call sites$", err, re.M))
        self.assertEqual((status, out, heads, err.count("raw blocks:")), (0, "", 1, 1))

    def test_wrong_ones(self):
        for arguments, message in [
            (["--trace=0"], "--trace: a number of frames from 1 to 128 is wanted: --trace=16"),
            (["--trace=129"], "--trace: a number of frames from 1 to 128 is wanted: --trace=16"),
            (["--trace="], "--trace: a number of frames from 1 to 128 is wanted: --trace=16"),
            (["--profile", ""], "--profile: the name of a file is wanted"),
            (["--profile=/no/such/folder/x", "-c", "1"], "/no/such/folder/x: No such file or directory"),
            (["--trace", "-c", "1"], None),
        ]:
            with self.subTest(arguments=arguments):
                status, out, err = run(PROGRAM, *arguments)
                self.assertEqual((status, out), (2 if message else 0, ""))
                self.assertTrue(message is None or err == "gilloc-python: %s\n" % message, err)
        self.assertEqual(
            run(PROGRAM, "--record"), (2, "", "gilloc-python: --record: the name of a file is wanted\n")
        )
        self.assertEqual(
            run(PROGRAM, "--record", "/no/such/folder/x", "-c", "1"),
            (2, "", "gilloc-python: /no/such/folder/x: No such file or directory\n"),
        )

    def replay(self, trace):
        status, out, err = run(STRESS, "--trace=" + trace, "--passes=1", "--threads=2")
        self.assertEqual(status, 0, out + err)
        return out

    def test_a_recorded_program_is_replayed(self):
        trace = str(self.folder / "out.trc")
        code = self.script(CHURN + "import os\nif os.fork() == 0: churn(); raise SystemExit\nos.wait()\nprint('end')")
        self.assertEqual(run(PROGRAM, "--record", trace, code), (0, "end\n", ""))
        self.replay(trace)
        data = __import__("lzma").open(trace).read()
        records = int.from_bytes(data[8:16], "little")
        self.assertEqual(len(data), 24 + 12 * records)
        self.assertGreater(records, 300000)
        whats = [int.from_bytes(data[at : at + 4], "little") for at in range(24, len(data), 12)]
        self.assertEqual({what & 7 for what in whats}, {0, 1, 2, 3})
        self.assertEqual({what >> 3 & 3 for what in whats}, {0, 1, 2})
        self.assertGreaterEqual({what >> 5 for what in whats}, set(range(5)))

    def test_a_recording_that_cannot_be_written(self):
        status, out, err = run(PROGRAM, "--record=/dev/full", "-c", SUM)
        self.assertEqual((status, out), (0, "488890\n"))
        self.assertEqual(err, "gilloc-python: --record: /dev/full: No space left on device; the trace is not whole\n")


class Preloaded(Case):
    def test_it_serves_python(self):
        status, out, err = preload(STOCK, self.script(CHURN + SUM), GILLOC_STATS="text")
        self.assertEqual((status, out), (0, "488890\n"))
        self.assertGreater(figure(err, "arenas, at most"), 2)
        self.assertEqual(preload(STOCK, "-c", SUM), (0, "488890\n", ""))

    def test_in_a_virtual_environment(self):
        environment = str(self.folder / "environment")
        self.assertEqual(run(STOCK, "-m", "venv", "--without-pip", environment), (0, "", ""))
        code = "import sys; print(sys.prefix)"
        status, out, err = preload(environment + "/bin/python", "-c", code, GILLOC_STATS="text")
        self.assertEqual((status, out), (0, environment + "\n"))
        self.assertGreater(figure(err, "small blocks in use") + figure(err, "arenas, at most"), 0)

    def test_other_programs_run_as_ever(self):
        self.assertEqual(preload("/bin/sh", "-c", "echo here; exit 4"), (4, "here\n", ""))

    def test_it_says_once_that_it_was_replaced(self):
        for arguments, environment in [
            (["-X", "dev"], {}),
            ([], {"PYTHONDEVMODE": "1"}),
            ([], {"PYTHONMALLOC": "debug"}),
            ([], {"PYTHONMALLOC": "malloc"}),
            ([], {"PYTHONMALLOC": "pymalloc"}),
        ]:
            with self.subTest(arguments=arguments, environment=environment):
                self.assertEqual(preload(STOCK, *arguments, "-c", SUM, **environment), (0, "488890\n", REPLACED))
        self.assertEqual(preload(STOCK, "-E", "-c", SUM, PYTHONMALLOC="malloc"), (0, "488890\n", ""))

    def test_the_module_is_that_of_the_preloaded_library(self):
        os.symlink(MODULE, self.folder / "_gilloc.so")
        code = "import _gilloc; print(_gilloc.is_installed()); _gilloc.install()"
        self.assertEqual(preload(STOCK, "-c", code, PYTHONPATH=str(self.folder)), (0, "True\n", ""))

    def test_gilloc_python_sees_to_it_by_itself(self):
        self.assertEqual(preload(PROGRAM, "-X", "dev", "-c", SUM), (0, "488890\n", ""))


class Module(Case):
    def late(self, code, **environment):
        os.path.lexists(self.folder / "_gilloc.so") or os.symlink(MODULE, self.folder / "_gilloc.so")
        return run(STOCK, "-c", code, PYTHONPATH=str(self.folder), **environment)

    def test_it_takes_over_a_running_interpreter(self):
        code = (
            "import _gilloc, json, threading\n"
            "old = [bytearray(i % 600) for i in range(20000)]\n"
            "print(_gilloc.is_installed()); _gilloc.install(); _gilloc.install(); print(_gilloc.is_installed())\n"
            "for block in old[::2]: block.extend(b'x' * 300)\n"  # foreign blocks are resized, and then freed
            "old = None\n" + CHURN + "kept = [str(i) for i in range(10000)]\n"
            "print(json.loads(_gilloc.stats('json'))['totals']['small_blocks'] > 10000, _gilloc.purge() >= 0)\n"
            "print('raw blocks: 0 now' in _gilloc.stats())"
        )
        self.assertEqual(self.late(code), (0, "False\nTrue\nTrue True\nTrue\n", ""))

    def test_large_blocks_are_not_counted(self):
        code = (
            "import _gilloc, json; _gilloc.install()\n"
            "kept = [bytearray(600 + i) for i in range(1000)]; grown = bytearray(100); grown.extend(bytes(5000))\n"
            "print(json.loads(_gilloc.stats('json'))['totals']['large_blocks'])"
        )
        self.assertEqual(self.late(code), (0, "0\n", ""))

    def test_around_cpythons_debug_hooks(self):
        code = "import _gilloc; _gilloc.install()\n" + CHURN
        self.assertEqual(self.late(code, PYTHONDEVMODE="1"), (0, "", ""))

    def test_with_hooks_of_gillocs_it_must_be_there_from_the_start(self):
        status, out, err = self.late("import _gilloc; _gilloc.install()", PYTHONMALLOC="debug")
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.endswith(
            "RuntimeError: PYTHONMALLOC asks for debug hooks or for the system's allocator, for which gilloc must be "
            "there from the start: use gilloc-python\n"
        ), err)


if __name__ == "__main__":
    unittest.main()
