/* SPDX-License-Identifier: MIT */
/*
 * late.h [L2] - libraries that few programs need, and those not at once: for stacks, profiles, figures as JSON, chance.
 *
 *   To be linked with them would cost every program their pages: 0.6 MiB, more than twice what the library itself has
 *   (docs/performance.md, "A trivial program").  So there are two ways to the same tables of functions:
 *     loaded.c   libgilloc.so.0 and //lib:gilloc: a library is loaded as it is first needed.
 *     linked.c   libgilloc.a: programs that are linked statically cannot load anything, and are linked with all.
 *   A header for each library lists the functions that are used of it, makes a table of them, and declares the function
 *   that gets it: NULL, with errno ELIBACC, where it cannot be loaded; why has been told, once.  Any thread; who may
 *   need it while a block is allocated gets it before, as the loader allocates.
 *   Owner   nobody: a table that has been got is constant.  Locks none of its own: the loader's.
 */
#ifndef GI_LATE_H
#define GI_LATE_H

/* FUNCTION(member, function) as a member of a table. */
#define GI_LATE_MEMBER(member, function) __typeof__(function) *member;

#endif /* GI_LATE_H */
