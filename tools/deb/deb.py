#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""deb.py FOLDER LIBRARY ARCHIVE [PROGRAM PRELOADED] - makes Debian's packages, PACKAGE.deb in FOLDER.

They are libgilloc0, libgilloc-dev and, where gilloc-python and the library to preload are given, gilloc-python.
What they hold is what tools/install.py installs under /usr.  Debian's own tools do the rest: dpkg-shlibdeps says what
the binaries depend on, dpkg-gensymbols which symbols it has, dpkg-deb packs.  Run in the root of the tree, as
`bazel build //:deb` does; equal inputs make equal packages: all times are that of tools/deb/changelog.txt.
"""
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

RUNTIME, DEVELOPMENT, PYTHON = "libgilloc0", "libgilloc-dev", "gilloc-python"
MAINTAINER = "The gilloc authors <gilloc@localhost>"
SUMMARY = {
    RUNTIME: "memory allocator for language runtimes",
    DEVELOPMENT: "memory allocator for language runtimes, to compile with",
    PYTHON: "Python 3.11 on the memory allocator gilloc",
}
DESCRIPTION = """\
 gilloc has the memory interface of CPython as a library for multithreaded
 runtimes: three domains, thread states, and a lock whose absence is told at
 no cost; a mode without the lock, deferred frees, hooks and statistics.
"""
WHAT = {
    RUNTIME: " .\n This package has the shared library.\n",
    DEVELOPMENT: " .\n This package has the headers, the static library, and what pkg-config and\n CMake read.\n",
    PYTHON: " .\n This package has gilloc-python, which runs any program of Python 3.11, a library\n"
            " to preload into python3.11, and the module _gilloc.  Each has gilloc in it.\n",
}


def run(*command, cwd=None, **environment):
    done = subprocess.run(
        command, cwd=cwd, env=dict(os.environ, **environment), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if done.returncode != 0:
        sys.exit("deb: %s: exit status %d\n%s%s" % (command[0], done.returncode, done.stdout, done.stderr))
    return done.stdout


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)


def squeezed(data):
    """As gzip -9n: no name, no time."""
    return gzip.compress(data, 9, mtime=0)


def copyright_text():
    text = pathlib.Path("LICENSE").read_text().strip()
    holder = re.search(r"^Copyright \(c\) (.*)$", text, re.M).group(1)
    body = text.partition(holder)[2].strip()
    indented = "".join(" %s\n" % (line or ".") for line in body.split("\n"))
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: gilloc\n\n"
        "Files: *\nCopyright: %s\nLicense: MIT\n%s" % (holder, indented)
    )


def install(folder, library, archive, python, libdir):
    """What tools/install.py leaves, in `folder`/stage: it is run in a tree with what is built at its places."""
    tree = folder / "tree"
    shutil.copytree("lib/include", tree / "lib/include")
    shutil.copytree("tools", tree / "tools")
    shutil.copy("MODULE.bazel", tree)
    shutil.copy(archive, tree / "lib/libgilloc.a")
    built = {"lib/libgilloc.so.0": library, **{"lib/embed/cpython/" + os.path.basename(path): path for path in python}}
    for place, path in built.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tree / place)
        (tree / place).chmod(0o755)
        run("strip", "--strip-unneeded", str(tree / place))
    run(sys.executable, "tools/install.py", "--prefix=/usr", "--libdir=" + libdir, "--destdir=%s" % (folder / "stage"),
        cwd=tree)
    return folder / "stage"


def package_of(path):
    if "gilloc-python" in path.name or path.name.startswith("_gilloc."):
        return PYTHON
    return RUNTIME if path.name == "libgilloc.so.0" or path.name.endswith("-gdb.py") else DEVELOPMENT


def depends(folder, package, *binaries):
    """By dpkg-shlibdeps, which wants a source package's control file."""
    write(folder / "source/debian/control", "Source: gilloc\n\nPackage: %s\nArchitecture: any\n" % package)
    said = run("dpkg-shlibdeps", "-O", *("-e%s" % binary for binary in binaries), cwd=folder / "source")
    return re.search(r"^shlibs:Depends=(.*)$", said, re.M).group(1)


def libraries_of_archive():
    """Debian's packages to link the static library with: what gilloc.pc requires, by the names in MODULE.bazel."""
    required = re.search(r"^Requires.private: (.*)$", pathlib.Path("tools/gilloc.pc.in").read_text(), re.M).group(1)
    known = dict(re.findall(r'debian = "(\S+)", pc = "(\S+)"', pathlib.Path("MODULE.bazel").read_text()))
    packages = {pc: debian for debian, pc in known.items()}
    return ", ".join(packages[pc] for pc in required.split(", "))


def late_libraries():
    """Debian's packages of what the library loads when it is needed; the C library is there."""
    found = re.findall(r'^LOADED\(.*"(\S+)"\)$', pathlib.Path("lib/late/loaded.c").read_text(), re.M)
    return ", ".join(sorted(package for package in found if package != "libc6"))


def pack(folder, fields, epoch, output):
    name = fields["Package"]
    root = folder / name
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    sums = ["%s  %s\n" % (hashlib.md5(path.read_bytes()).hexdigest(), path.relative_to(root)) for path in files
            if path.relative_to(root).parts[0] != "DEBIAN"]
    size = sum(1 + path.stat().st_size // 1024 for path in files)
    fields["Installed-Size"] = str(size)
    description = fields.pop("Description")
    control = "".join("%s: %s\n" % item for item in fields.items()) + "Description: " + description
    write(root / "DEBIAN/control", control)
    write(root / "DEBIAN/md5sums", "".join(sums))
    for path in [root] + sorted(root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), "%s/%s.deb" % (output, name),
        SOURCE_DATE_EPOCH=str(epoch))


def main():
    output, library, archive, *python = (os.path.abspath(argument) for argument in sys.argv[1:])
    os.umask(0o022)
    changelog = pathlib.Path("tools/deb/changelog.txt").read_text()
    version = re.match(r"gilloc \((\S+)\)", changelog).group(1)
    upstream = re.search(r'version = "([^"]+)"', pathlib.Path("MODULE.bazel").read_text()).group(1)
    if version.rpartition("-")[0] != upstream:
        sys.exit("deb: tools/deb/changelog.txt is of %s, MODULE.bazel of %s" % (version, upstream))
    date = re.search(r"^ -- .*  (.*)$", changelog, re.M).group(1)
    epoch = int(run("date", "--date", date, "+%s"))
    architecture = run("dpkg", "--print-architecture").strip()
    libdir = "lib/" + run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        stage = install(folder, library, archive, python, libdir)
        packages = [RUNTIME, DEVELOPMENT] + ([PYTHON] if python else [])
        for path in sorted(stage.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                continue
            target = folder / package_of(path) / path.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.name in ("man1", "man3"):
                write(target.with_name(target.name + ".gz"), squeezed(path.read_bytes()))
            else:
                path.rename(target)
        for package in packages:
            doc = folder / package / "usr/share/doc" / package
            write(doc / "copyright", copyright_text())
            write(doc / "changelog.Debian.gz", squeezed(changelog.encode()))
            write(doc / "changelog.gz", squeezed(pathlib.Path("docs/CHANGELOG.md").read_bytes()))

        shared = folder / RUNTIME / "usr" / libdir / "libgilloc.so.0"
        shared.chmod(0o644)  # as Debian has it: a library is not run
        debian = folder / RUNTIME / "DEBIAN"
        write(debian / "shlibs", "libgilloc 0 %s (>= %s)\n" % (RUNTIME, upstream))
        write(debian / "triggers", "activate-noawait ldconfig\n")
        needs = depends(folder, RUNTIME, shared)
        run("dpkg-gensymbols", "-q", "-p" + RUNTIME, "-P%s" % (folder / RUNTIME), "-v" + upstream,
            "-O%s" % (debian / "symbols"), "-e%s" % shared, cwd=folder / "source")

        def fields(package, section, needs, **more):
            return {
                "Package": package, "Source": "gilloc", "Version": version, "Architecture": architecture,
                "Maintainer": MAINTAINER, "Depends": needs, **more, "Section": section, "Priority": "optional",
                "Description": SUMMARY[package] + "\n" + DESCRIPTION + WHAT[package],
            }

        same = {"Multi-Arch": "same"}
        pack(folder, fields(RUNTIME, "libs", needs, Recommends=late_libraries(), **same), epoch, output)
        own = "%s (= %s), %s" % (RUNTIME, version, libraries_of_archive())
        pack(folder, fields(DEVELOPMENT, "libdevel", own, **same), epoch, output)
        if python:
            shared = folder / PYTHON / "usr" / libdir / "libgilloc-python.so"
            shared.chmod(0o644)
            write(folder / PYTHON / "DEBIAN/triggers", "activate-noawait ldconfig\n")
            needs = depends(folder, PYTHON, folder / PYTHON / "usr/bin/gilloc-python", shared)
            pack(folder, fields(PYTHON, "python", needs, Recommends="python3.11, " + late_libraries()), epoch, output)


if __name__ == "__main__":
    main()
