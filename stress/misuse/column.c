/* SPDX-License-Identifier: MIT */
/*
 * column.c - the contenders, and where each one's library is.
 *   Owner   constant.  Locks: none.
 */
#include "stress/misuse/column.h"

#include "stress/bench/contender.h"

enum {
    PYTHON = HAS_DOMAINS | HAS_OWN_HEAP | HAS_DESCRIPTOR,
    GILLOC = PYTHON | HAS_PURGE | HAS_SIZED | HAS_USABLE_SIZE | IS_OURS,
    LIBC = HAS_PURGE | HAS_USABLE_SIZE,
    MIMALLOC = HAS_OWN_HEAP | HAS_PURGE | HAS_SIZED | HAS_USABLE_SIZE | HAS_DESCRIPTOR,
};

#define OURS "libgilloc.so.0", NULL
#define LIBPYTHON "libpython3.11.so.1.0", "libpython3.11"

const struct column columns[] = {
    {"gilloc-gil", "gilloc-gil", OURS, NULL, NULL, GILLOC, "gilloc as it is installed, gil mode"},
    {"gilloc-free", "gilloc-free", OURS, NULL, NULL, GILLOC, "the same, GIL-free mode"},
    {"hardened-gil", "gilloc-gil", OURS, "GILLOC_HARDEN=1", NULL, GILLOC, "gilloc with GILLOC_HARDEN=1, gil mode"},
    {"hardened-free", "gilloc-free", OURS, "GILLOC_HARDEN=1", NULL, GILLOC, "the same, GIL-free mode"},
    {"debug-gil", "gilloc-gil", OURS, "PYTHONMALLOC=debug", NULL, GILLOC, "gilloc with PYTHONMALLOC=debug, gil mode"},
    {"debug-free", "gilloc-free", OURS, "PYTHONMALLOC=debug", NULL, GILLOC, "the same, GIL-free mode"},
    {"pymalloc", "pymalloc", LIBPYTHON, NULL, NULL, PYTHON, "CPython 3.11"},
    {"pymalloc-debug", "pymalloc", LIBPYTHON, "PYTHONMALLOC=debug", NULL, PYTHON, "CPython 3.11, PYTHONMALLOC=debug"},
    {"glibc", "linked", NULL, NULL, NULL, NULL, LIBC, "malloc of the C library"},
    {"glibc-check", "linked", NULL, NULL, "GLIBC_TUNABLES=glibc.malloc.check=3", "libc_malloc_debug.so.0", LIBC,
     "the same with libc_malloc_debug.so.0 and glibc.malloc.check=3"},
    {"mimalloc", "mimalloc-own", "libmimalloc.so.2", "libmimalloc2.0", NULL, NULL, MIMALLOC,
     "mimalloc 2, as Debian has it"},
    {"planted-sound", "planted-sound", NULL, NULL, NULL, NULL, LIBC, "the C library's"},
    {"planted-overlapping", "planted-overlapping", NULL, NULL, NULL, NULL, LIBC, "a block is given twice"},
    {"planted-shifted", "planted-shifted", NULL, NULL, NULL, NULL, LIBC, "half over the one before"},
    {"planted-writing", "planted-writing", NULL, NULL, NULL, NULL, LIBC, "a live block is written to"},
    {"planted-dirty", "planted-dirty", NULL, NULL, NULL, NULL, LIBC, "calloc gives a byte that is not zero"},
    {"planted-crashing", "planted-crashing", NULL, NULL, NULL, NULL, LIBC, "SIGSEGV"},
    {"planted-wordless", "planted-wordless", NULL, NULL, NULL, NULL, LIBC, "abort() without a word"},
    {"planted-hanging", "planted-hanging", NULL, NULL, NULL, NULL, LIBC, "a call that never returns"},
};
const size_t column_all = sizeof columns / sizeof *columns;
const size_t column_count = 11;

bool column_can(const struct column *column, const struct kind *kind) { return (kind->needs & ~column->has) == 0; }

bool column_has_domains(const struct column *column) { return (column->has & HAS_DOMAINS) != 0; }

bool column_is_ours(const struct column *column) { return (column->has & IS_OURS) != 0; }

char *column_library(const struct column *column, char *problem, size_t problem_size) {
    const struct contender contender = {.name = column->name, .library = column->library, .package = column->package};
    return contender_library(&contender, NULL, problem, problem_size);
}
