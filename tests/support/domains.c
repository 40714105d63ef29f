/* SPDX-License-Identifier: MIT */
/*
 * domains.c - the table of domains.h.
 */
#include "tests/support/domains.h"

const struct domain domains[DOMAINS] = {
    {"raw", PYMEM_DOMAIN_RAW, PyMem_RawMalloc, PyMem_RawCalloc, PyMem_RawRealloc, PyMem_RawFree},
    {"mem", PYMEM_DOMAIN_MEM, PyMem_Malloc, PyMem_Calloc, PyMem_Realloc, PyMem_Free},
    {"object", PYMEM_DOMAIN_OBJ, PyObject_Malloc, PyObject_Calloc, PyObject_Realloc, PyObject_Free},
};
