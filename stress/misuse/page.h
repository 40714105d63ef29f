/* SPDX-License-Identifier: MIT */
/*
 * page.h - a page of the documents, a part of which this program writes.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_MISUSE_PAGE_H
#define STRESS_MISUSE_PAGE_H

#include <stddef.h>

#include "stress/misuse/document.h"

/* Lines that the part stands between. */
#define PAGE_BEGIN "<!-- begin: bazel run -c opt //stress:misuse -- --document=docs/safety.md -->\n"
#define PAGE_END "<!-- end -->\n"

/* Replaces the part in the file `name`, which is relative to where the user is; 0, or -1 with a line in `error`. */
int page_update(const char *name, const struct document *document, char *error, size_t error_size);

#endif /* STRESS_MISUSE_PAGE_H */
