/* SPDX-License-Identifier: MIT */
/*
 * deferral.h - deferred frees for allocators that have none, as CPython 3.13 had
 * them: a queue of blocks for each thread, looked through whenever 254 more have
 * come, whatever their bytes.
 *
 *              retire          quiescent       begin, end
 *   retire     each its own    reads others'   the registry's
 *   quiescent                  each its own    lock
 *
 *   Owner   each thread its queue; what ended threads leave is everybody's.
 *   Locks   deferral's own, over the registry and what is left; free() is called
 *           under none.
 */
#ifndef STRESS_SCENARIOS_DEFERRAL_H
#define STRESS_SCENARIOS_DEFERRAL_H

/* A thread comes and goes; between the two it is online. */
void deferral_begin(void);
void deferral_end(void);
/* Frees `block` once every thread that is online has been quiescent. */
void deferral_retire(void *block);
void deferral_quiescent(void);
void deferral_offline(void);
void deferral_online(void);
/* Frees all that is left, when no thread is there. */
void deferral_flush(void);

#endif /* STRESS_SCENARIOS_DEFERRAL_H */
