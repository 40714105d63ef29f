# SPDX-License-Identifier: MIT
"""Compiler options of all code of this project.  .bazelrc makes warnings errors here, not where the library is embedded.

These come last on the command line; for options beside them use --copt.
"""

_WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wundef"]

COPTS = ["-std=gnu11", "-Wstrict-prototypes", "-Wmissing-prototypes", "-fvisibility=hidden"] + _WARNINGS + select({
    # Bazel's toolchain keeps the frame pointer, which costs four instructions in a call of one screen of code.
    # There a call at the end of a function is a jump, which lib/api/pymem.c makes use of.
    "//tools:optimized": [
        "-fomit-frame-pointer",
        "-DGI_TAIL_CALLS=1",
    ],
    "//conditions:default": [],
}) + select({
    # Sanitizers walk the stack by it.
    "//tools:sanitizer": ["-fno-omit-frame-pointer"],
    "//conditions:default": [],
})
