/* SPDX-License-Identifier: MIT */
/*
 * probes.c [L5] - static probes on blocks.  Who sees what: probes.h.
 *   Owner   the semaphore: tracers.
 */
#include "lib/domain/probes.h"

#ifdef GI_HAVE_SDT
/* Each probe of this file names a semaphore.  Those of `gilloc` are one word under two names; the sampler does not look
   at its own, since its probes cost nothing beside its work. */
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#define SEMAPHORE __attribute__((section(".probes"), used))
SEMAPHORE unsigned short gilloc_alloc_semaphore;
extern unsigned short gilloc_free_semaphore GI_INTERNAL __attribute__((alias("gilloc_alloc_semaphore")));
SEMAPHORE GI_INTERNAL unsigned short otel_memory_alloc_semaphore, otel_memory_free_semaphore;
#else
#define STAP_PROBE1(provider, name, a) ((void)(a))
#define STAP_PROBE2(provider, name, a, b) ((void)(a), (void)(b))
#define STAP_PROBE3(provider, name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

/* In one section: where the linker leaves out what nobody calls, a note must not be left without its code. */
#define TOGETHER __attribute__((section(".text.gi_probes"), noinline))

TOGETHER void gi_probe_alloc(const void *block, size_t size, int domain) {
    STAP_PROBE3(gilloc, alloc, block, size, domain);
}

TOGETHER void gi_probe_free(const void *block, int domain) { STAP_PROBE2(gilloc, free, block, domain); }

TOGETHER void gi_probe_sampled_alloc(const void *block, size_t size, size_t weight) {
    STAP_PROBE3(otel_memory, alloc, block, size, weight);
}

TOGETHER void gi_probe_sampled_free(const void *block) { STAP_PROBE1(otel_memory, free, block); }
