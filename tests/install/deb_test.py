#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""deb_test.py RUNTIME.deb DEVELOPMENT.deb DEB LIBRARY ARCHIVE - the packages that `bazel build //:deb` makes.

dpkg installs both into a root of their own, beside what they depend on, as far as dpkg's database goes (the entries of
this system).  A program compiles with what is there, and runs; then dpkg purges both, and nothing is left.  The same
inputs make the same packages.
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

RUNTIME_DEB, DEVELOPMENT_DEB, DEB, LIBRARY, ARCHIVE = (os.path.abspath(argument) for argument in sys.argv[1:6])
del sys.argv[1:]
PACKAGES = {"libgilloc0": RUNTIME_DEB, "libgilloc-dev": DEVELOPMENT_DEB}


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
        needs = field(RUNTIME_DEB, "Depends").split(", ")
        needed = re.findall(r"NEEDED.*\[(lib.*)\]", run("readelf", "-d", LIBRARY).stdout)
        triplet = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").stdout.strip()
        found = [run("dpkg-query", "--search", "*/%s/%s" % (triplet, name)).stdout for name in needed]
        owners = {line.partition(":")[0] for line in found}
        self.assertEqual({need.partition(" ")[0] for need in needs}, owners)
        version = field(RUNTIME_DEB, "Version")
        self.assertIn("libgilloc0 (= %s)" % version, field(DEVELOPMENT_DEB, "Depends"))
        for name, deb in PACKAGES.items():
            self.assertEqual(field(deb, "Package"), name)
            for path in re.findall(r"^-.{9}.*? \./(\S+)$", run("dpkg-deb", "--contents", deb).stdout, re.M):
                self.assertTrue(path.startswith("usr/"), path)

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
        root.dpkg("--install", RUNTIME_DEB, DEVELOPMENT_DEB)
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

        refused = root.dpkg("--remove", "libgilloc0", ok=False)
        self.assertRegex(refused.stderr, r"libgilloc-dev\S* depends on libgilloc0")
        root.dpkg("--purge", *PACKAGES)
        self.assertEqual(root.files() - root.before, set())
        self.assertNotIn("libgilloc", (root.path / "var/lib/dpkg/status").read_text())

    def test_what_it_needs(self):
        """Without its dependencies dpkg does not configure it."""
        root = Root(self.folder, "libc6")
        refused = root.dpkg("--install", RUNTIME_DEB, ok=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"libgilloc0\S* depends on liburcu8")

    def test_equal_inputs_make_equal_packages(self):
        again = [str(self.folder / name) for name in ("a.deb", "b.deb")]
        run(DEB, LIBRARY, ARCHIVE, *again)
        for one, other in zip((RUNTIME_DEB, DEVELOPMENT_DEB), again):
            self.assertEqual(pathlib.Path(one).read_bytes(), pathlib.Path(other).read_bytes())


if __name__ == "__main__":
    if shutil.which("dpkg-shlibdeps") is None:
        print("SKIPPED: there are no tools for packages (Debian: apt-get install dpkg-dev)")
        sys.exit(0)
    unittest.main()
