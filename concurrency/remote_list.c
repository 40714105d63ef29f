/* SPDX-License-Identifier: MIT */
/*
 * remote_list.c [L1] - a list of blocks that many threads push and one takes.  All but its key is in remote_list.h.
 */
#include "concurrency/remote_list.h"

uintptr_t gi_link_key __attribute__((aligned(GI_CACHE_LINE)));
