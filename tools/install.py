#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bazel run -c opt //:install -- --prefix=DIR [--libdir=DIR] [--destdir=DIR]

Installs the public headers, libgilloc.so.0 (and libgilloc.so, which names it), libgilloc.a, what pkg-config and CMake
read, the commands for gdb and the manual pages under DIR.  --libdir is where the libraries go in it: lib, or
lib/x86_64-linux-gnu, say.
gilloc-python, the library to preload and the module _gilloc come with them if Bazel found libpython3.11-dev.
--destdir goes before every path that is written, and into none that is written down (for packages).
"""
import argparse
import os
import pathlib
import re
import shutil
import sys
import tempfile

# Bazel runs this in the folder of its runfiles, which is like the root of the tree.
HEADERS = pathlib.Path("lib/include/gilloc")
PYTHON = pathlib.Path("lib/embed/cpython")
USAGE = "bazel run -c opt //:install -- --prefix=DIR [--libdir=DIR] [--destdir=DIR]"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, "install: %s\nusage: %s\n" % (message, USAGE))


def folder(name):
    """An absolute path; a relative one is meant from where the user called Bazel."""
    if not name:
        raise argparse.ArgumentTypeError("a folder is wanted, not an empty name")
    if re.search(r"\s", name):
        raise argparse.ArgumentTypeError("%r has a space in it, which pkg-config cannot hand on" % name)
    return pathlib.Path(os.path.normpath(os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd()), name)))


def below(name):
    """A path below the prefix."""
    path = pathlib.PurePath(os.path.normpath(name))
    if path.is_absolute() or not path.parts or ".." in path.parts or re.search(r"\s", name):
        raise argparse.ArgumentTypeError("%r is no folder below the prefix" % name)
    return path


def put(data, path, mode=0o644):
    """Writes `path` whole or not at all: a running program may have the old file mapped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    print(path)


def gdb_script(binary):
    """Where gdb looks for what belongs to a binary, below its own data folder: that of --prefix=/usr is found."""
    return pathlib.Path("share/gdb/auto-load") / (str(binary).lstrip("/") + "-gdb.py")


def modules(prefix):
    """Where python3.11 looks for modules: Debian's own in the first two, a virtual environment's in any other."""
    return {"/usr": "lib/python3/dist-packages", "/usr/local": "lib/python3.11/dist-packages"}.get(
        str(prefix), "lib/python3.11/site-packages"
    )


def link(target, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        path.unlink()
    path.symlink_to(target)
    print(path)


def main():
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--prefix", type=folder, required=True, metavar="DIR", help="where to install; /usr/local, say")
    parser.add_argument("--libdir", type=below, default="lib", metavar="DIR", help="below the prefix; default: lib")
    parser.add_argument("--destdir", type=folder, metavar="DIR", help="a folder that stands for / while installing")
    options = parser.parse_args()
    if not HEADERS.is_dir():
        sys.exit("install: run it as: %s" % USAGE)
    root = options.prefix
    if options.destdir:
        root = options.destdir / root.relative_to("/")

    words = {
        "PREFIX": str(options.prefix),
        "LIBDIR": str(options.libdir),
        "UP": "/".join(".." for _ in (options.libdir / "cmake/gilloc").parts),
        "MODULES": modules(options.prefix),
        "VERSION": re.search(r'version = "([^"]+)"', pathlib.Path("MODULE.bazel").read_text()).group(1),
    }

    def filled(template):
        text = (pathlib.Path("tools") / template).read_text()
        return re.sub("@([A-Z]+)@", lambda match: words[match.group(1)], text).encode()

    libraries = root / options.libdir
    try:
        for header in sorted(HEADERS.glob("*.h")):
            put(header.read_bytes(), root / "include/gilloc" / header.name)
        put(pathlib.Path("lib/libgilloc.so.0").read_bytes(), libraries / "libgilloc.so.0", 0o755)
        link("libgilloc.so.0", libraries / "libgilloc.so")
        put(pathlib.Path("lib/libgilloc.a").read_bytes(), libraries / "libgilloc.a")
        put(filled("gilloc.pc.in"), libraries / "pkgconfig/gilloc.pc")
        put(filled("cmake/gillocConfig.cmake.in"), libraries / "cmake/gilloc/gillocConfig.cmake")
        put(filled("cmake/gillocConfigVersion.cmake.in"), libraries / "cmake/gilloc/gillocConfigVersion.cmake")
        put(filled("man/gilloc.3"), root / "share/man/man3/gilloc.3")
        binaries = [options.libdir / "libgilloc.so.0"]
        if (PYTHON / "gilloc-python").exists():
            preloaded = options.libdir / "libgilloc-python.so"
            binaries += [pathlib.PurePath("bin/gilloc-python"), preloaded]
            put((PYTHON / "gilloc-python").read_bytes(), root / "bin/gilloc-python", 0o755)
            put((PYTHON / "libgilloc-python.so").read_bytes(), root / preloaded, 0o755)
            # One file, so that the module is the preloaded library where there is one; for every CPython from 3.11 on.
            module = root / modules(options.prefix) / "_gilloc.abi3.so"
            link(os.path.relpath(root / preloaded, module.parent), module)
            put(filled("man/gilloc-python.1"), root / "share/man/man1/gilloc-python.1")
        script = pathlib.Path("tools/gdb/gilloc-gdb.py").read_bytes()
        for binary in binaries:
            put(script, root / gdb_script(options.prefix / binary))
        if not (PYTHON / "gilloc-python").exists():
            print("install: without gilloc-python, since pkg-config did not know python-3.11-embed (Debian: apt-get "
                  "install libpython3.11-dev; then bazel shutdown, so that it is looked for again)", file=sys.stderr)
    except OSError as error:
        sys.exit("install: %s: %s" % (error.filename, error.strerror))


if __name__ == "__main__":
    main()
