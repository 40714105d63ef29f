/* SPDX-License-Identifier: MIT */
/*
 * probe.h [L0] - static probes for tracers (USDT): perf, bpftrace, SystemTap, gdb.
 *
 *   A probe is one instruction without effect, and a note in the file that says where it is and where its arguments
 *   are; a tracer puts a breakpoint there.  So probes stand where time is spent anyway, never on a fast path.  The
 *   provider is `gilloc`; docs/tools.md lists the probes.
 *   Compiled in if <sys/sdt.h> was there when the library was built.
 *   Owner   none.
 */
#ifndef GI_PROBE_H
#define GI_PROBE_H

#ifdef GI_HAVE_SDT
#include <sys/sdt.h>
#define GI_PROBE0(name) DTRACE_PROBE(gilloc, name)
#define GI_PROBE1(name, a) DTRACE_PROBE1(gilloc, name, a)
#define GI_PROBE2(name, a, b) DTRACE_PROBE2(gilloc, name, a, b)
#else
#define GI_PROBE0(name) ((void)0)
#define GI_PROBE1(name, a) ((void)(a))
#define GI_PROBE2(name, a, b) ((void)(a), (void)(b))
#endif

#endif /* GI_PROBE_H */
