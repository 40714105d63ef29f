#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs_test.py - the faults that docs.py must find."""
import docs
import faults

README = """
See [the design](docs/design.md#life), `lib/pool.c`, `pool.c`, lib/*.h and `lib/pool`; not `Objects/obmalloc.c`.
`PyObject_{Malloc,Free}` and gi_pool_* use `GI_POOL_SIZE` and GILLOC_RESERVE; files like `DIR/lib/libgilloc.so`.

    bazel run //lib:pool

```sh
apt-get install gcc && bazel run -c opt //lib
bazel test //... # https://example.org/lib/x
```
"""
GOOD = {
    "README.md": README,
    "docs/design.md": "Back to [the start](../README.md).\n",
    "lib/BUILD": 'cc_library(name = "lib")\ncc_library(name = "pool")\n',
    "lib/pool.c": 'int GI_POOL_SIZE; void gi_pool_init(void); /* gi_comment */ const char *x = "GILLOC_RESERVE";\n',
    "lib/pool.h": "void *PyObject_Malloc(int); void PyObject_Free(void *);\n",
}
R = "README.md"
FAULTS = [
    ("a path", R, "`lib/pool.c`", "`lib/gone.c`", "README.md:2: the path lib/gone.c"),
    ("a path, no backticks", R, "lib/*.h", "lib/gone.h", "the path lib/gone.h"),
    ("a pattern of paths", R, "lib/*.h", "lib/*.cc", "the path lib/*.cc"),
    ("a file", R, "`pool.c`", "`gone.c`", "the file gone.c"),
    ("a link", R, "docs/design.md#life", "docs/gone.md", "the link's docs/gone.md"),
    ("a link from docs/", "docs/design.md", "../README.md", "README.md", "docs/design.md:1: the link's README.md"),
    ("a name", R, "GI_POOL_SIZE", "GI_POOL_GONE", "the name GI_POOL_GONE"),
    ("a name in a comment alone", R, "GI_POOL_SIZE", "gi_comment", "the name gi_comment"),
    ("a name in braces", R, "{Malloc,Free}", "{Malloc,Gone}", "the name PyObject_Gone"),
    ("a beginning of names", R, "gi_pool_*", "gi_gone_*", "the name gi_gone_*"),
    ("a variable of the environment", R, "GILLOC_RESERVE", "GILLOC_GONE", "the name GILLOC_GONE"),
    ("a target in a command", R, "opt //lib\n", "opt //gone\n", "the target //gone"),
    ("a removed function", "lib/pool.h", "void *PyObject_Malloc(int);", "", "the name PyObject_Malloc"),
]

if __name__ == "__main__":
    faults.run(docs.problems, GOOD, FAULTS)
