#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bazel run -c opt //:install -- --prefix=DIR [--destdir=DIR]

Installs the public headers, libgilloc.so.0 (and libgilloc.so, which names it), libgilloc.a, gilloc.pc and the commands
for gdb under DIR.
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


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, "install: %s\nusage: bazel run -c opt //:install -- --prefix=DIR [--destdir=DIR]\n" % message)


def folder(name):
    """An absolute path; a relative one is meant from where the user called Bazel."""
    if not name:
        raise argparse.ArgumentTypeError("a folder is wanted, not an empty name")
    if re.search(r"\s", name):
        raise argparse.ArgumentTypeError("%r has a space in it, which pkg-config cannot hand on" % name)
    return pathlib.Path(os.path.normpath(os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd()), name)))


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


def gdb_script(prefix):
    """Where gdb looks for what belongs to the library, below its own data folder: that of --prefix=/usr is found."""
    return pathlib.Path("share/gdb/auto-load") / (prefix / "lib/libgilloc.so.0-gdb.py").relative_to("/")


def link(target, path):
    if path.is_symlink() or path.exists():
        path.unlink()
    path.symlink_to(target)
    print(path)


def main():
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--prefix", type=folder, required=True, metavar="DIR", help="where to install; /usr/local, say")
    parser.add_argument("--destdir", type=folder, metavar="DIR", help="a folder that stands for / while installing")
    options = parser.parse_args()
    if not HEADERS.is_dir():
        sys.exit("install: run it as: bazel run -c opt //:install -- --prefix=DIR")
    root = options.prefix
    if options.destdir:
        root = options.destdir / root.relative_to("/")

    version = re.search(r'version = "([^"]+)"', pathlib.Path("MODULE.bazel").read_text()).group(1)
    pc = pathlib.Path("tools/gilloc.pc.in").read_text()
    pc = pc.replace("@PREFIX@", str(options.prefix)).replace("@VERSION@", version)
    try:
        for header in sorted(HEADERS.glob("*.h")):
            put(header.read_bytes(), root / "include/gilloc" / header.name)
        put(pathlib.Path("lib/libgilloc.so.0").read_bytes(), root / "lib/libgilloc.so.0", 0o755)
        link("libgilloc.so.0", root / "lib/libgilloc.so")
        put(pathlib.Path("lib/libgilloc.a").read_bytes(), root / "lib/libgilloc.a")
        put(pc.encode(), root / "lib/pkgconfig/gilloc.pc")
        put(pathlib.Path("tools/gdb/gilloc-gdb.py").read_bytes(), root / gdb_script(options.prefix))
    except OSError as error:
        sys.exit("install: %s: %s" % (error.filename, error.strerror))


if __name__ == "__main__":
    main()
