#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""deb_test.py RUNTIME.deb DEVELOPMENT.deb PYTHON.deb DEB LIBRARY ARCHIVE PROGRAM PRELOADED - the packages that
`bazel build //:deb` makes.

dpkg installs them into a root of their own, beside what they depend on, as far as dpkg's database goes (the entries of
this system).  A program compiles with what is there, and runs, and so does one of Python's on gilloc; then dpkg purges
all of them, and nothing is left.  The same inputs make the same packages.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

RUNTIME_DEB, DEVELOPMENT_DEB, PYTHON_DEB, DEB, *BUILT = (os.path.abspath(argument) for argument in sys.argv[1:])
LIBRARY, _, *PYTHON = BUILT
del sys.argv[1:]
PACKAGES = {"libgilloc0": RUNTIME_DEB, "libgilloc-dev": DEVELOPMENT_DEB, "gilloc-python": PYTHON_DEB}
STOCK = "/usr/bin/python3.11"


def run(*command, ok=True, **environment):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **environment)
    )
    if ok and done.returncode != 0:
        raise AssertionError("%s: %d\n%s%s" % (shlex.join(command), done.returncode, done.stdout, done.stderr))
    return done


def field(deb, name):
    return run("dpkg-deb", "--field", deb, name).stdout.strip()


class Root:
    """A root of dpkg's own."""

    def __init__(self, folder, *packages):
        self.path = folder / "root"
        database = self.path / "var/lib/dpkg"
        for name in ("info", "updates", "triggers"):
            (database / name).mkdir(parents=True)
        entries = [run("dpkg-query", "--status", name).stdout.strip() for name in packages]
        # Their own dependencies are no matter here.
        entries = [re.sub(r"^(Pre-Depends|Depends|Conffiles):.*\n( .*\n)*", "", entry + "\n", flags=re.M)
                   for entry in entries]
        (database / "status").write_text("\n".join(entries) + "\n")
        self.before = self.files()

    def files(self):
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*")
                if not str(path.relative_to(self.path)).startswith("var")}

    def dpkg(self, *arguments, ok=True):
        as_root = [] if os.getuid() == 0 else ["fakeroot"]
        return run(*as_root, "dpkg", "--root=%s" % self.path, "--force-not-root", "--force-script-chrootless",
                   "--log=/dev/null", *arguments, ok=ok, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")


class Deb(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        if os.getuid() != 0 and shutil.which("fakeroot") is None:
            self.skipTest("the user is not root, and there is no fakeroot (Debian: apt-get install fakeroot)")

    def dependencies(self):
        names = [re.match(r"\S+", part).group() for deb in PACKAGES.values()
                 for part in field(deb, "Depends").split(", ")]
        return [name for name in names if name not in PACKAGES]

    def test_fields(self):
        """The packages that have what the library needs."""
        triplet = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").stdout.strip()
        for deb, binaries in ((RUNTIME_DEB, [LIBRARY]), (PYTHON_DEB, PYTHON)):
            needs = field(deb, "Depends").split(", ")
            needed = re.findall(r"NEEDED.*\[(lib.*)\]", run("readelf", "-d", *binaries).stdout)
            found = [run("dpkg-query", "--search", "*/%s/%s" % (triplet, name)).stdout for name in needed]
            owners = {line.partition(":")[0] for line in found}
            self.assertEqual({need.partition(" ")[0] for need in needs}, owners)
        self.assertRegex(field(PYTHON_DEB, "Depends"), r"libpython3\.11 \(>= 3\.11")
        late = "libjansson4, libunwind8, zlib1g"
        self.assertEqual(field(RUNTIME_DEB, "Recommends"), late)
        self.assertEqual(field(PYTHON_DEB, "Recommends"), "python3.11, " + late)
        version = field(RUNTIME_DEB, "Version")
        self.assertIn("libgilloc0 (= %s)" % version, field(DEVELOPMENT_DEB, "Depends"))
        for name, deb in PACKAGES.items():
            self.assertEqual(field(deb, "Package"), name)
            for path in re.findall(r"^-.{9}.*? \./(\S+)$", run("dpkg-deb", "--contents", deb).stdout, re.M):
                self.assertTrue(path.startswith("usr/"), path)

    def test_whose_files_are_pythons(self):
        listing = run("dpkg-deb", "--contents", PYTHON_DEB).stdout
        names = sorted(pathlib.PurePath(path).name for path in re.findall(r"^[-l].{9}.*? \./(\S+)", listing, re.M))
        self.assertEqual(names, [
            "_gilloc.abi3.so", "changelog.Debian.gz", "changelog.gz", "copyright", "gilloc-python",
            "gilloc-python-gdb.py", "gilloc-python.1.gz", "libgilloc-python.so", "libgilloc-python.so-gdb.py",
        ])
        self.assertIn(" -> ../../", listing)

    def test_symbols(self):
        """Every name that the library exports is in the list that others' dependencies are made from."""
        listing = subprocess.run("dpkg-deb --ctrl-tarfile %s | tar -xO ./symbols ./shlibs" % shlex.quote(RUNTIME_DEB),
                                 shell=True, stdout=subprocess.PIPE, text=True, check=True).stdout
        listed = set(re.findall(r"^ (\w+)@GILLOC_0 ", listing, re.M)) - {"GILLOC_0"}
        exported = set(re.findall(r" [TDBRV] (\w+)", run("nm", "-D", "--defined-only", LIBRARY).stdout))
        self.assertGreater(len(listed), 60)
        self.assertEqual(listed, exported)
        self.assertRegex(listing, r"(?m)^libgilloc 0 libgilloc0 \(>= ")

    def test_install_use_purge(self):
        root = Root(self.folder, *self.dependencies())
        root.dpkg("--install", *PACKAGES.values())
        for name in PACKAGES:
            self.assertIn("Status: install ok installed", root.dpkg("--status", name).stdout)
        self.assertEqual(root.dpkg("--verify", *PACKAGES).stdout, "")

        (pc,) = root.path.rglob("gilloc.pc")
        flags = shlex.split(run("pkg-config", "--cflags", "--libs", "gilloc", PKG_CONFIG_PATH=str(pc.parent),
                                PKG_CONFIG_SYSROOT_DIR=str(root.path)).stdout)
        # /usr's own folders need no flag, which pkg-config knows.
        flags += ["-I%s/usr/include" % root.path, "-L%s" % pc.parent.parent]
        program = str(self.folder / "ten_lines")
        run("cc", "-o", program, "tests/install/ten_lines.c", *flags)
        self.assertEqual(run(program, LD_LIBRARY_PATH=str(pc.parent.parent)).stdout, "intact\n")

        self.use_python(root.path)
        refused = root.dpkg("--remove", "libgilloc0", ok=False)
        self.assertRegex(refused.stderr, r"libgilloc-dev\S* depends on libgilloc0")
        root.dpkg("--purge", *PACKAGES)
        self.assertEqual(root.files() - root.before, set())
        self.assertNotIn("gilloc", (root.path / "var/lib/dpkg/status").read_text())

    def use_python(self, root):
        """gilloc-python, also in a virtual environment, the library preloaded, and the module."""
        script = self.folder / "script.py"
        script.write_text("import _gilloc\nkept = [str(i) for i in range(40000)]\nprint(_gilloc.is_installed())\n")
        run(str(root / "usr/bin/gilloc-python"), "-m", "venv", "--without-pip", str(self.folder / "environment"))
        for program in (root / "usr/bin/gilloc-python", self.folder / "environment/bin/python"):
            done = run(str(program), "--stats", str(script))
            self.assertEqual(done.stdout, "True\n")
            blocks = re.search(r"^# small blocks in use += +([\d,]+)$", done.stderr, re.M)
            self.assertGreater(int(blocks.group(1).replace(",", "")), 40000)
        (library,) = root.glob("usr/lib/*/libgilloc-python.so")
        modules = str(root / "usr/lib/python3/dist-packages")
        self.assertEqual(run(STOCK, str(script), LD_PRELOAD=str(library), PYTHONPATH=modules).stdout, "True\n")
        self.assertEqual(run(STOCK, str(script), PYTHONPATH=modules).stdout, "False\n")
        for binary in PYTHON:
            name = os.path.basename(binary)
            self.assertEqual(len(list(root.glob("usr/share/gdb/auto-load/usr/**/%s-gdb.py" % name))), 1)

    def test_what_it_needs(self):
        """Without its dependencies dpkg does not configure it."""
        root = Root(self.folder, "libc6")
        refused = root.dpkg("--install", RUNTIME_DEB, ok=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"libgilloc0\S* depends on liburcu8")

    def test_equal_inputs_make_equal_packages(self):
        run(DEB, str(self.folder), *BUILT)
        for name, deb in PACKAGES.items():
            self.assertEqual((self.folder / (name + ".deb")).read_bytes(), pathlib.Path(deb).read_bytes())

    def test_without_libpython(self):
        """Two packages, the same."""
        run(DEB, str(self.folder), *BUILT[:2])
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"libgilloc0.deb", "libgilloc-dev.deb"})
        self.assertEqual((self.folder / "libgilloc0.deb").read_bytes(), pathlib.Path(RUNTIME_DEB).read_bytes())


if __name__ == "__main__":
    if shutil.which("dpkg-shlibdeps") is None:
        print("SKIPPED: there are no tools for packages (Debian: apt-get install dpkg-dev)")
        sys.exit(0)
    unittest.main()
