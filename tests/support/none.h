/* SPDX-License-Identifier: MIT */
/*
 * none.h - the words of an allocator that has nothing: NULL, whatever is asked of it, and no free.
 */
#ifndef TESTS_SUPPORT_NONE_H
#define TESTS_SUPPORT_NONE_H

#include <stddef.h>

void *none_malloc(void *ctx, size_t size);
void *none_calloc(void *ctx, size_t count, size_t size);
void *none_realloc(void *ctx, void *block, size_t size);
void none_free(void *ctx, void *block);

#endif /* TESTS_SUPPORT_NONE_H */
