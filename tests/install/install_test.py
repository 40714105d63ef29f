#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""install_test.py INSTALL - what `bazel run //:install` leaves behind is what a program outside the tree needs.

A program of ten lines compiles with what pkg-config says, and in a project of CMake, as C and as C++, against the
shared and against the static library, and runs.  The shared library exports what the public headers declare, no more
and no less, and the manual page has all of them and all variables of the environment.  What few programs need is there
with either, and a library for it that cannot be loaded is told, and loses nothing else.

gilloc-python, the library to preload and the module run where they are installed, and where all of it has been moved
to; the other manual page is as gilloc-python describes itself.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

INSTALL = os.path.abspath(sys.argv.pop(1))
HERE = pathlib.Path("tests/install")
WARNINGS = "-Wall -Wextra -Wundef -pedantic -Werror".split()
COMPILERS = {"c": ["cc", "-std=c11", "-Wstrict-prototypes"], "c++": ["c++", "-std=c++11"]}
HEADERS = ("gilloc.h", "inline.h", "lua.h", "pymem.h", "pystate.h", "sqlite.h", "trace.h")
# What the library defines beside public names; the last two are of static probes.
OUR_NAME = re.compile(r"gi_|\w+_semaphore$|_$")
DECLARATION = re.compile(r"^GILLOC_API\s[^;]*?(\w+)\(", re.M)
VARIABLE = re.compile(r"^extern GILLOC_API\s[^;(\[]*?(\w+)(?:\[\d+\])?(?:;| __attribute__)", re.M)


# The lines of late.c.
LATE = ("one frame", "frames", "stack", "samples", "pprof", "text", "json", "figures")
STOCK = "/usr/bin/python3.11"
PYTHON_FILES = {"bin/gilloc-python", "lib/libgilloc-python.so"}
KEEPS = "kept = [str(i) for i in range(40000)]; print(len(kept))"


def run(*command, ok=True, cwd=None, **environment):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **environment), cwd=cwd
    )
    if ok and done.returncode != 0:
        raise AssertionError("%s: %d\n%s%s" % (shlex.join(command), done.returncode, done.stdout, done.stderr))
    return done


def symbols(*command):
    """The global names that nm prints, versions cut off."""
    return {name for kind, name in re.findall(r" ([A-Z]) (\w+)", run("nm", *command).stdout) if kind != "A"}


def missing(program):
    return subprocess.run(["sh", "-c", "command -v " + program], stdout=subprocess.DEVNULL).returncode != 0


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.prefix = pathlib.Path(cls.folder.name) / "prefix"
        run(INSTALL, "--prefix=%s" % cls.prefix)
        cls.declared, cls.variables = set(), set()
        for header in (cls.prefix / "include/gilloc").glob("*.h"):
            text = header.read_text()
            cls.declared |= set(DECLARATION.findall(text)) | set(VARIABLE.findall(text))
            cls.variables |= set(VARIABLE.findall(text))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def pkg_config(self, *options):
        answer = run("pkg-config", *options, "gilloc", PKG_CONFIG_PATH=str(self.prefix / "lib/pkgconfig"))
        return shlex.split(answer.stdout)

    def build_and_run(self, language, *flags, **environment):
        program = "%s/ten_lines" % self.folder.name
        source = str(HERE / "ten_lines.c")
        run(*COMPILERS[language], *WARNINGS, "-x", language, source, "-x", "none", "-o", program, *flags)
        self.assertEqual(run(program, **environment).stdout, "intact\n")
        return program

    def test_files(self):
        found = {str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*") if not path.is_dir()}
        headers = {"include/gilloc/" + name for name in HEADERS}
        gdb = {"share/gdb/auto-load%s/%s-gdb.py" % (self.prefix, binary)
               for binary in PYTHON_FILES | {"lib/libgilloc.so.0"}}
        python = PYTHON_FILES | {"lib/python3.11/site-packages/_gilloc.abi3.so"}
        manual = {"share/man/man3/gilloc.3", "share/man/man1/gilloc-python.1"}
        libraries = {"lib/libgilloc.so", "lib/libgilloc.so.0", "lib/libgilloc.a", "lib/pkgconfig/gilloc.pc"}
        cmake = {"lib/cmake/gilloc/" + name for name in ("gillocConfig.cmake", "gillocConfigVersion.cmake")}
        self.assertEqual(found, headers | libraries | cmake | gdb | python | manual)
        self.assertEqual(os.readlink(self.prefix / "lib/libgilloc.so"), "libgilloc.so.0")

    def test_shared(self):
        for language in COMPILERS:
            with self.subTest(language):
                if language == "c++" and missing("c++"):
                    print("SKIPPED: there is no C++ compiler (Debian: apt-get install g++)")
                    continue
                flags = self.pkg_config("--cflags", "--libs")
                program = self.build_and_run(language, *flags, LD_LIBRARY_PATH=str(self.prefix / "lib"))
                self.assertIn("[libgilloc.so.0]", run("readelf", "-d", program).stdout)

    def test_static(self):
        program = self.build_and_run("c", "-static", *self.pkg_config("--cflags", "--libs", "--static"))
        self.assertNotIn("NEEDED", run("readelf", "-d", program).stdout)

    def test_static_in_a_dynamic_program(self):
        flags = [flag for flag in self.pkg_config("--libs", "--static") if flag != "-lgilloc"]
        program = self.build_and_run(
            "c", *self.pkg_config("--cflags"), str(self.prefix / "lib/libgilloc.a"), *flags
        )
        self.assertNotIn("libgilloc", run("readelf", "-d", program).stdout)

    def late(self, *flags, arguments=(), **environment):
        """What a program says that needs the libraries of lib/late, and its stderr."""
        program = "%s/late" % self.folder.name
        source = str(HERE / "late.c")
        run(*COMPILERS["c"], *WARNINGS, "-D_DEFAULT_SOURCE", "-O2", "-rdynamic", source, "-o", program, *flags)
        done = run(program, *arguments, **environment)
        return done.stdout, done.stderr

    def told(self, broken, file):
        """What is said of a file of lib/late that is in the folder `broken`."""
        package = re.search(r'"%s", "(\S+)"' % file, pathlib.Path("lib/late/loaded.c").read_text()).group(1)
        return "gilloc: %s: cannot be loaded: %s/%s: file too short\n  do       apt-get install %s\n" % (
            file, broken, file, package)

    def test_late_libraries(self):
        good = "".join("%s good\n" % word for word in LATE)
        self.assertEqual(self.late("-static", *self.pkg_config("--cflags", "--libs", "--static")), (good, ""))
        shared, environment = self.pkg_config("--cflags", "--libs"), {"LD_LIBRARY_PATH": str(self.prefix / "lib")}
        self.assertEqual(self.late(*shared, **environment), (good, ""))

    def broken(self, *files):
        """A folder in which they are no libraries."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        for file in files:
            (folder / file).touch()
        return folder

    def test_late_libraries_that_the_environment_asks_for(self):
        """They are told as missing at the first use, and not when all is lost at exit."""
        broken = self.broken("libjansson.so.4", "libz.so.1")
        said = self.late(*self.pkg_config("--cflags", "--libs"), arguments=["end"], GILLOC_STATS="json",
                         GILLOC_PROFILE="%s/x.pb.gz" % broken, LD_LIBRARY_PATH="%s/lib:%s" % (self.prefix, broken))
        self.assertEqual(said[0], "")
        self.assertEqual(sorted(said[1].splitlines()), sorted(
            "".join(self.told(broken, file) for file in ("libjansson.so.4", "libz.so.1")).splitlines()))

    def test_late_libraries_that_cannot_be_loaded(self):
        needs = {"frames": "libunwind.so.8", "samples": "libm.so.6", "pprof": "libz.so.1", "json": "libjansson.so.4"}
        broken = self.broken(*needs.values())
        lines = ("%s %s\n" % (word, "cannot" if word in needs else "good") for word in LATE if word != "stack")
        told = "".join(self.told(broken, file) for file in needs.values())
        said = self.late(*self.pkg_config("--cflags", "--libs"), LD_LIBRARY_PATH="%s/lib:%s" % (self.prefix, broken))
        self.assertEqual(said, ("".join(lines), told))

    def test_each_header_alone(self):
        compilers = list(COMPILERS.items()) + [("c++", ["c++", "-std=c++%d" % year]) for year in (17, 20)]
        for header in HEADERS:
            for language, compiler in compilers:
                if language == "c++" and missing("c++"):
                    continue
                source = pathlib.Path(self.folder.name) / "alone.c"
                source.write_text("#include <gilloc/%s>\n" % header)
                run(*compiler, *WARNINGS, "-x", language, "-fsyntax-only", *self.pkg_config("--cflags"), str(source))

    def test_exports_are_the_declarations(self):
        exported = symbols("-D", "--defined-only", str(self.prefix / "lib/libgilloc.so.0"))
        self.assertGreater(len(self.declared), 40)
        self.assertEqual(sorted(exported), sorted(self.declared))

    def test_static_names_are_ours(self):
        names = symbols("-g", "--defined-only", str(self.prefix / "lib/libgilloc.a"))
        self.assertEqual(self.declared - names, set())
        self.assertEqual([name for name in names - self.declared if not OUR_NAME.match(name)], [])

    def test_shared_library(self):
        tags = run("readelf", "-dW", str(self.prefix / "lib/libgilloc.so.0")).stdout
        self.assertIn("Library soname: [libgilloc.so.0]", tags)
        self.assertIn("NODELETE", tags)
        self.assertNotIn("TEXTREL", tags)
        self.assertIn("STATIC_TLS", tags)  # initial-exec: one instruction to the thread's cache
        for needed in re.findall(r"NEEDED.*\[(.*)\]", tags):
            self.assertRegex(needed, r"^(liburcu-qsbr|libc|ld-linux.*)\.so\.\d+$")

    def test_its_own_calls_stay_inside(self):
        relocations = run("readelf", "-rW", str(self.prefix / "lib/libgilloc.so.0")).stdout
        self.assertIn("JUMP_SLO", relocations)
        functions = self.declared - self.variables
        self.assertEqual(functions & set(re.findall(r"\w+", relocations)), set())

    def cmake(self, prefix, version="0.1"):
        """Builds the project with what is under `prefix`; what CMake said, and the folder of the programs."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        lists = (HERE / "CMakeLists.txt").read_text()
        self.assertEqual(lists.count("find_package(gilloc 0.1 "), 1)
        (folder / "CMakeLists.txt").write_text(lists.replace("gilloc 0.1 ", "gilloc %s " % version))
        for name in ("ten_lines.c", "ten_lines.cc"):
            (folder / name).write_text((HERE / "ten_lines.c").read_text())
        done = run("cmake", "-S", str(folder), "-B", str(folder), "-DCMAKE_PREFIX_PATH=%s" % prefix, ok=False)
        if done.returncode == 0:
            done = run("cmake", "--build", str(folder), ok=False)
        return done, folder

    def test_cmake(self):
        """As it was installed, and moved as a whole, with libraries in a folder of Debian's."""
        if missing("cmake") or missing("c++"):
            self.skipTest("there is no CMake or no C++ compiler (Debian: apt-get install cmake g++ make)")
        moved = pathlib.Path(self.folder.name) / "moved"
        run(INSTALL, "--prefix=/opt/gilloc", "--libdir=lib/x86_64-linux-gnu", "--destdir=%s/stage" % self.folder.name)
        (pathlib.Path(self.folder.name) / "stage/opt/gilloc").rename(moved)
        for prefix in (self.prefix, moved):
            done, folder = self.cmake(prefix)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for program in ("c-gilloc", "cxx-gilloc", "c-gilloc-static", "cxx-gilloc-static"):
                with self.subTest("%s/%s" % (prefix, program)):
                    self.assertEqual(run(str(folder / program)).stdout, "intact\n")
                    tags = run("readelf", "-d", str(folder / program)).stdout
                    self.assertEqual("[libgilloc.so.0]" in tags, not program.endswith("static"))

    def test_cmake_versions(self):
        if missing("cmake") or missing("c++"):
            self.skipTest("there is no CMake or no C++ compiler (Debian: apt-get install cmake g++ make)")
        for version in ("1.0", "0.99"):
            done, _ = self.cmake(self.prefix, version)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("version: 0.1.0", done.stderr)

    def test_manual(self):
        page = (self.prefix / "share/man/man3/gilloc.3").read_text()
        synopsis = page.partition("\n.Sh SYNOPSIS\n")[2].partition("\n.Sh ")[0]
        self.assertEqual(sorted(re.findall(r"^\.Fn (\w+)", synopsis, re.M)), sorted(self.declared - self.variables))
        table = pathlib.Path("lib/api/options.c").read_text()
        variables = re.findall(r'\[GI_OPTION_\w+\] =\s*\{"(\w+)"', table)
        self.assertGreater(len(variables), 8)
        self.assertEqual(re.findall(r"^\.It Ev (\w+)", page, re.M), variables)

    def test_manuals_are_well_formed(self):
        if missing("groff"):
            self.skipTest("there is no groff (Debian: apt-get install groff-base)")
        for page in ("man3/gilloc.3", "man1/gilloc-python.1"):
            done = run("groff", "-mdoc", "-Tutf8", "-ww", "-z", str(self.prefix / "share/man" / page))
            self.assertEqual(done.stderr, "")

    def moved(self):
        """All that is installed, in another folder than it was installed for."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        run(INSTALL, "--prefix=/opt/gilloc", "--libdir=lib/x86_64-linux-gnu", "--destdir=%s/stage" % folder)
        (folder / "stage/opt/gilloc").rename(folder / "moved")
        return folder / "moved"

    def assert_figures(self, text):
        """gilloc's, of a process that runs KEEPS."""
        blocks = re.search(r"^# small blocks in use += +([\d,]+)$", text, re.M)
        self.assertGreater(int(blocks.group(1).replace(",", "")), 40000, text)

    def test_gilloc_python(self):
        script = pathlib.Path(self.folder.name) / "script.py"
        script.write_text(KEEPS)
        for prefix in (self.prefix, self.moved()):
            done = run(str(prefix / "bin/gilloc-python"), "--stats", str(script))
            self.assertEqual(done.stdout, "40000\n")
            self.assert_figures(done.stderr)
            tags = run("readelf", "-dW", str(prefix / "bin/gilloc-python")).stdout
            self.assertNotRegex(tags, r"RPATH|RUNPATH")
            for needed in re.findall(r"NEEDED.*\[(.*)\]", tags):
                ours = "libpython3.11|liburcu-qsbr|liblzma"
                self.assertRegex(needed, r"^(%s|libc|ld-linux.*)\.so(\.\d+)+$" % ours)

    def test_gilloc_python_makes_a_virtual_environment(self):
        environment = self.folder.name + "/of_gilloc"
        run(str(self.moved() / "bin/gilloc-python"), "-m", "venv", "--without-pip", environment)
        done = run(environment + "/bin/python", "--stats", "-c", "import sys; print(sys.prefix); " + KEEPS)
        self.assertEqual(done.stdout, environment + "\n40000\n")
        self.assert_figures(done.stderr)

    def test_preloaded_into_a_virtual_environment(self):
        environment = self.folder.name + "/of_python"
        run(STOCK, "-m", "venv", "--without-pip", environment)
        code = "import _gilloc, sys; print(sys.prefix, _gilloc.is_installed()); %s; print(_gilloc.stats())" % KEEPS
        for prefix in (self.prefix, self.moved()):
            (library,) = prefix.rglob("libgilloc-python.so")
            modules = str(prefix / "lib/python3.11/site-packages")
            done = run(environment + "/bin/python", "-c", code, LD_PRELOAD=str(library), PYTHONPATH=modules)
            self.assertTrue(done.stdout.startswith(environment + " True\n40000\n"), done.stdout)
            self.assert_figures(done.stdout)

    def test_installed_into_a_virtual_environment(self):
        environment = self.folder.name + "/with_gilloc"
        run(STOCK, "-m", "venv", "--without-pip", environment)
        run(INSTALL, "--prefix=" + environment)
        code = "import _gilloc, sys; _gilloc.install(); print(sys.prefix, _gilloc.is_installed())"
        for program in ("python", "gilloc-python"):
            done = run("%s/bin/%s" % (environment, program), "-c", code)
            self.assertEqual((done.stdout, done.stderr), (environment + " True\n", ""))

    def test_where_modules_are(self):
        """Debian's python3.11 looks into the first two; each link leads to the library."""
        for prefix, libdir, folder in [
            ("/usr", "lib/x86_64-linux-gnu", "python3/dist-packages"),
            ("/usr/local", "lib", "python3.11/dist-packages"),
            ("/opt/x", "lib64", "python3.11/site-packages"),
        ]:
            stage = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
            run(INSTALL, "--prefix=" + prefix, "--libdir=" + libdir, "--destdir=%s" % stage)
            module = stage / prefix[1:] / "lib" / folder / "_gilloc.abi3.so"
            self.assertFalse(os.path.isabs(os.readlink(module)))
            self.assertEqual(module.resolve(), stage / prefix[1:] / libdir / "libgilloc-python.so")

    def test_gilloc_python_manual(self):
        """The options, what each does, and the synopsis are those of --help."""
        done = run(str(self.prefix / "bin/gilloc-python"), "--help")
        own, _, pythons = done.stdout.partition("\n\n")
        self.assertTrue(pythons.startswith("usage: %s/bin/gilloc-python [option] ... " % self.prefix))
        described = {head.strip(): " ".join(text.split())
                     for head, text in re.findall(r"^(--.*?) +: (.*(?:\n .*)*)", own, re.M)}
        self.assertEqual(len(described), 5)

        page = (self.prefix / "share/man/man1/gilloc-python.1").read_text()
        sections = dict(re.findall(r"^\.Sh (.*)\n((?:(?!\.Sh ).*\n)*)", page, re.M))
        self.assertEqual(list(sections), ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS",
                                          "FILES", "EXAMPLES", "SEE ALSO"])

        def plain(flag):
            return flag.replace("-", "--", 1).replace(" Ns Op = Ns Ar N", "[=N]").replace(" Ar ", " ")

        items = {plain(head): " ".join(text.split())
                 for head, text in re.findall(r"^\.It Fl (.*)\n((?:[^.].*\n)*)", sections["OPTIONS"], re.M)}
        self.assertEqual(items, described)
        flags = [plain(flag) for flag in re.findall(r"^\.Op Fl (.*)$", sections["SYNOPSIS"], re.M)]
        self.assertEqual(flags, [head for head in described if head != "--help"])
        for flag in flags:
            self.assertIn(" [%s]" % flag, own.partition("\n")[0])

        table = pathlib.Path("lib/api/options.c").read_text()
        known = set(re.findall(r'\[GI_OPTION_\w+\] =\s*\{"(\w+)"', table)) | {"PYTHONDEVMODE"}
        self.assertLessEqual(set(re.findall(r"^\.It Ev (\w+)", sections["ENVIRONMENT"], re.M)), known)
        files = re.findall(r"^\.It Pa (.*)$", sections["FILES"], re.M)
        self.assertEqual(len(files), 3)
        for file in files:
            self.assertTrue(os.path.exists(file), file)

    def test_without_libpython(self):
        """As Bazel leaves the tree where pkg-config does not know it."""
        tree = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        (tree / "lib").mkdir()
        for name in ("MODULE.bazel", "tools", "lib/include", "lib/libgilloc.a", "lib/libgilloc.so.0"):
            (tree / name).symlink_to(os.path.abspath(name))
        done = run(INSTALL, "--prefix=%s/prefix" % tree, cwd=tree)
        self.assertEqual(done.stderr, (
            "install: without gilloc-python, since pkg-config did not know python-3.11-embed (Debian: apt-get install "
            "libpython3.11-dev; then bazel shutdown, so that it is looked for again)\n"
        ))
        self.assertTrue((tree / "prefix/lib/libgilloc.so.0").exists())
        self.assertEqual([path for path in (tree / "prefix").rglob("*") if "python" in path.name], [])

    def test_destdir(self):
        stage = pathlib.Path(self.folder.name) / "stage"
        run(INSTALL, "--prefix=/opt/gilloc", "--destdir=%s" % stage)
        pc = (stage / "opt/gilloc/lib/pkgconfig/gilloc.pc").read_text()
        self.assertIn("prefix=/opt/gilloc\n", pc)
        self.assertNotIn(str(stage), pc)
        self.assertTrue((stage / "opt/gilloc/lib/libgilloc.so.0").exists())

    def test_again(self):
        """Over an older one."""
        run(INSTALL, "--prefix=%s" % self.prefix)

    def test_relative_prefix(self):
        run(INSTALL, "--prefix=here", BUILD_WORKING_DIRECTORY=self.folder.name)
        pc = (pathlib.Path(self.folder.name) / "here/lib/pkgconfig/gilloc.pc").read_text()
        self.assertIn("prefix=%s/here\n" % self.folder.name, pc)

    def test_bad_arguments(self):
        usage = "\nusage: bazel run -c opt //:install -- --prefix=DIR [--libdir=DIR] [--destdir=DIR]\n"
        for arguments, message in {
            (): "the following arguments are required: --prefix",
            ("--prefix=",): "argument --prefix: a folder is wanted, not an empty name",
            ("--prefix=/a b",): "argument --prefix: '/a b' has a space in it, which pkg-config cannot hand on",
            ("--prefix=/a", "--libdir=/b"): "argument --libdir: '/b' is no folder below the prefix",
            ("--prefix=/a", "--libdir=../b"): "argument --libdir: '../b' is no folder below the prefix",
            ("--prefix=/a", "--frob"): "unrecognized arguments: --frob",
            ("--prefix=/a", "more"): "unrecognized arguments: more",
            ("--pref=/a",): "the following arguments are required: --prefix",
        }.items():
            with self.subTest(arguments):
                done = run(INSTALL, *arguments, ok=False)
                self.assertEqual((done.returncode, done.stderr), (2, "install: " + message + usage))

    def test_what_cannot_be_written(self):
        done = run(INSTALL, "--prefix=/proc/gilloc", ok=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "install: /proc/gilloc: No such file or directory\n")


if __name__ == "__main__":
    unittest.main()
