/* SPDX-License-Identifier: MIT */
/*
 * act.h - one wrong act, in a process of its own, and the bodies of all kinds.
 *   Owner   the main thread, which is attached where threads attach.
 *   Locks   none.
 * Before the act some blocks like the victim are alive; bodies say what they free
 * and allocate (probe.h).  What the library lacks ends the process as "not
 * applicable".
 */
#ifndef STRESS_MISUSE_ACT_H
#define STRESS_MISUSE_ACT_H

#include <gilloc/gilloc.h>
#include <stddef.h>

#include "stress/bench/allocator.h"
#include "stress/misuse/kind.h"

#define NEIGHBOURS 1000 /* blocks alive beside the victim, in the order of their allocation */
#define VICTIM 500      /* which of them it is: blocks on both sides of it */

#define ARRAY_SIZE 256
#define ARRAY_POINTER 128 /* on_stack and in_data stand here in their arrays */

struct act {
    enum allocator_domain domain;
    size_t size;  /* of each block */
    char *victim; /* alive, as its neighbours are */
    char **neighbours;
    char *on_stack, *in_data; /* inside arrays of the program that are zero and alive */
};

/* How an act ended, if the process lives. */
enum act_end {
    ACT_DONE,  /* nothing was said: what comes of it, the probe will see */
    ACT_RIGHT, /* the answer is the documented one */
    ACT_WRONG, /* the answer is a wrong one */
};

#define ACT_BODY(identifier, name, group, axes, needs, environment, text) \
    enum act_end act_##identifier(struct act *act);
KINDS(ACT_BODY)

/* The library's function of that name, with gilloc's type of it. */
#define SUBJECT(function) ((__typeof__(&(function)))act_function(#function))
/* The same by name; ends the process as not applicable if there is none. */
void *act_function(const char *name);

/* Ends the process: the case cannot be tried, for the reason given. */
__attribute__((noreturn, format(printf, 1, 2))) void act_not_applicable(const char *format, ...);

/* --- helpers of bodies ------------------------------------------------------------------------ */

/* Writes `byte` to `size` bytes, one by one, whatever is there. */
void act_fill(void *from, int byte, size_t size);

void act_free(const struct act *act, void *block);
/* A new block like the victim, which is not in the map yet. */
char *act_malloc(const struct act *act);
/* Frees the victim, as it should be. */
void act_free_victim(struct act *act);
/* Frees every third of the neighbours that stand 100 to 400 after the victim; allocates `count`. */
void act_free_others(struct act *act);
void act_allocate(struct act *act, size_t count);

/* Whose functions those below are: "gilloc", "python", "mimalloc", "glibc". */
extern const char *act_family;
/* Gives free memory back to the system. */
void act_purge(void);
void act_free_sized(const struct act *act, void *block, size_t size);
size_t act_usable_size(const struct act *act, const void *block);

/* Runs `body` in a thread that is attached, while this one is not; or in one that was never attached, beside this. */
void act_elsewhere(void (*body)(struct act *act, void *argument), struct act *act, void *argument);
void act_stranger(void (*body)(struct act *act, void *argument), struct act *act, void *argument);

/* The second, while this thread stays attached and reaches safepoints. */
void act_stranger_beside(void (*body)(struct act *act, void *argument), struct act *act, void *argument);

/* A private domain that is not the victim's. */
enum allocator_domain act_other_domain(const struct act *act);
PyMemAllocatorDomain act_python_domain(enum allocator_domain domain);

#endif /* STRESS_MISUSE_ACT_H */
