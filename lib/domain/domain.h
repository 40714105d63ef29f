/* SPDX-License-Identifier: MIT */
/*
 * domain.h [L5] - the three domains and their allocators.
 *
 *   A domain's allocator is one immutable table of five words.  Installing one publishes a pointer to it by one release
 *   store, so that a call sees one table whole; tables are kept for ever (and found again when they come back), since a
 *   call may be inside one.  No table (NULL) means the default allocator, whose fast path is open then.
 *
 *   Owner   the tables.  Locks   domain (GI_RANK_DOMAIN) for installing.
 *   Orders  domain-table: a table's words are seen by whoever sees the pointer.
 */
#ifndef GI_DOMAIN_H
#define GI_DOMAIN_H

#include <gilloc/pymem.h>
#include <stdbool.h>

enum { GI_DOMAINS = 3 };

static inline bool gi_domain_is_known(PyMemAllocatorDomain domain) { return (unsigned)domain < GI_DOMAINS; }

/* The calls of a domain, by its table or by default.  They refuse sizes above PY_SSIZE_T_MAX before anything else. */
void *gi_domain_malloc(PyMemAllocatorDomain domain, size_t size);
void *gi_domain_calloc(PyMemAllocatorDomain domain, size_t count, size_t size);
void *gi_domain_realloc(PyMemAllocatorDomain domain, void *block, size_t size);
void gi_domain_free(PyMemAllocatorDomain domain, void *block);

/* Whether the domain has another allocator than the default one. */
bool gi_domain_is_replaced(PyMemAllocatorDomain domain);

void gi_domain_get(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);
void gi_domain_set(PyMemAllocatorDomain domain, const PyMemAllocatorEx *allocator);

/* The library is ready: opens the fast path of each domain that has its default allocator. */
void gi_domain_ready(void);
/* Whether a runtime's own lock takes the place of ours: large blocks are then for the slow path, which asks it. */
void gi_domain_lock_is_theirs(bool theirs);

void gi_domain_before_fork(void);
void gi_domain_after_fork(void);

#endif /* GI_DOMAIN_H */
