/* SPDX-License-Identifier: MIT */
/*
 * record.h [L7] - writes each call of CPython's to its domains into a trace, which the main job replays
 * (stress/traces/README.md has the format).
 *
 *   Records gather in memory, go to a file without a name, and at exit(), when their number is known, packed to the one
 *   that was asked for.  A block's slot stands in a ledger.  The order of the records is one that can be replayed: an
 *   allocation is recorded after it was made, a free before.  Calls that fail, blocks from before, and blocks of 4 GiB
 *   and above are left out.
 *   Owner   the process that started it: a forked child records nothing.
 *   Locks   record (GI_RANK_RECORD), with which nothing but the system is called; a child makes it anew.
 */
#ifndef GI_CPYTHON_RECORD_H
#define GI_CPYTHON_RECORD_H

/* Writes all calls from now until exit() to the file.  After gi_cpython_install(), before other threads.  NULL, or why
   not. */
const char *gi_cpython_record(const char *path);

#endif /* GI_CPYTHON_RECORD_H */
