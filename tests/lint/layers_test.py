#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""layers_test.py - the faults that layers.py must find."""
import faults
import layers

GOOD = {
    "lib/README.md": "| layer | modules |\n|---|---|\n| L0 | `concurrency/atomic` |\n| L1 | `concurrency/` |\n"
    "| L2 | `lib/os/` |\n| L3 | `lib/arena/` |\n",
    "concurrency/atomic.h": "/* atomic.h [L0] - orders. */\n#include <stdatomic.h>\n",
    "concurrency/rcu.h": "int gi_rcu;\n",
    "concurrency/rcu.c": '#include "concurrency/rcu.h"\n#include <urcu/urcu-qsbr.h>\n',
    "lib/include/gilloc/pymem.h": "#include <stddef.h>\n",
    "lib/os/raw.c": '/* raw.c [L2] - raw. */\n#include "concurrency/atomic.h"\n#include <gilloc/pymem.h>\n',
    "lib/os/map.h": "int gi_map;\n",
    "lib/arena/pool.h": '#include "lib/os/map.h"\n/* #include "lib/gone.h" */\n',
    "lib/arena/arena.h": '#include "lib/arena/pool.h"\n',
}
RAW, POOL = "lib/os/raw.c", "lib/arena/pool.h"
FAULTS = [
    ("up", RAW, "concurrency/atomic.h", POOL, 'L2 includes "lib/arena/pool.h" of L3'),
    (
        "up within concurrency/", "concurrency/atomic.h",
        "<stdatomic.h>", '"concurrency/rcu.h"', 'L0 includes "concurrency/rcu.h" of L1',
    ),
    (
        "concurrency/ to lib/", "concurrency/rcu.h",
        "int gi_rcu;", '#include "lib/os/map.h"', 'L1 includes "lib/os/map.h" of L2',
    ),
    (
        "concurrency/ to the public", "concurrency/rcu.h", "int gi_rcu;", "#include <gilloc/pymem.h>",
        "knows nothing of the public",
    ),
    ("two modules", POOL, "lib/os/map.h", "lib/arena/arena.h", "lib/arena/arena -> lib/arena/pool -> lib/arena/arena"),
    (
        "a second <stdatomic.h>", RAW, '"concurrency/atomic.h"', "<stdatomic.h>",
        "only concurrency/atomic includes <stdatomic.h>",
    ),
    (
        "a second <urcu/...>", RAW, '"concurrency/atomic.h"', "<urcu/urcu-qsbr.h>",
        "only concurrency/rcu includes <urcu/urcu-qsbr.h>",
    ),
    ("a .c", RAW, "concurrency/atomic.h", "concurrency/rcu.c", "is not a header"),
    ("not from the root", "lib/arena/arena.h", "lib/arena/pool.h", "pool.h", '"pool.h" does not exist'),
    ("a public header that is not there", RAW, "gilloc/pymem.h", "gilloc/gone.h", "<gilloc/gone.h> does not exist"),
    (
        "public includes internal", "lib/include/gilloc/pymem.h", "<stddef.h>", '"lib/os/map.h"',
        "a public header includes",
    ),
    ("another layer in the head", RAW, "[L2]", "[L3]", "its head says L3"),
    ("a folder without a layer", "lib/new/new.h", None, "int gi_new;\n", "has no layer"),
    (
        "a layer without a folder", "lib/README.md", "| L3 | `lib/arena/` |", "| L3 | `lib/arena/`, `lib/gone/` |",
        "lib/gone/ does not exist",
    ),
    ("no table", "lib/README.md", None, None, "has no table"),
]

if __name__ == "__main__":
    faults.run(layers.problems, GOOD, FAULTS)
