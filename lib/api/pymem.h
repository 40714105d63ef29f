/* SPDX-License-Identifier: MIT */
/*
 * pymem.h [L6] - the public functions of mem and object in the form of a table, for a runtime that has tables itself:
 *   without the jump that a function with one more parameter costs.
 */
#ifndef GI_PYMEM_H
#define GI_PYMEM_H

#include <gilloc/pymem.h>

#include "concurrency/check.h"

extern const PyMemAllocatorEx gi_pymem_mem_table GI_INTERNAL;
extern const PyMemAllocatorEx gi_pymem_object_table GI_INTERNAL;

#endif /* GI_PYMEM_H */
