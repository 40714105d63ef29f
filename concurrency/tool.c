/* SPDX-License-Identifier: MIT */
/*
 * tool.c [L0] - the tool that watches the process, and what it must be told.  Who is told what: tool.h.
 *   Owner   gi_tool_now is constant once ready.  Locks none.
 */
#include "concurrency/tool.h"

#include <execinfo.h>

#include "concurrency/atomic.h"

#ifdef GI_HAVE_VALGRIND
#include <valgrind/helgrind.h>
#include <valgrind/memcheck.h>
#endif

/* --- the sanitizers' functions ---------------------------------------------------------------- */

/* X(result, name, arguments): as gcc knows them, whose headers differ from that in signs; NULL where the program
   is built without them. */
#define SANITIZER_FUNCTIONS(X)                                                         \
    X(void, __asan_poison_memory_region, (const volatile void *memory, size_t size))   \
    X(void, __asan_unpoison_memory_region, (const volatile void *memory, size_t size)) \
    X(void, __lsan_register_root_region, (const void *memory, size_t size))            \
    X(void, __lsan_unregister_root_region, (const void *memory, size_t size))          \
    X(void, __tsan_write_range, (void *memory, long size))                             \
    X(void, __tsan_func_entry, (void *caller))                                         \
    X(void, __tsan_func_exit, (void *unused))                                          \
    X(void, __tsan_acquire, (void *tag))                                               \
    X(void, __tsan_release, (void *tag))                                               \
    X(void, __tsan_mutex_pre_lock, (void *mutex, unsigned flags))                      \
    X(void, __tsan_mutex_post_lock, (void *mutex, unsigned flags, int recursion))      \
    X(int, __tsan_mutex_pre_unlock, (void *mutex, unsigned flags))                     \
    X(void, __tsan_mutex_post_unlock, (void *mutex, unsigned flags))

#define DECLARE(result, name, arguments) extern __attribute__((weak)) result name arguments;
SANITIZER_FUNCTIONS(DECLARE)
#undef DECLARE

/* __tsan_mutex_try_lock of <sanitizer/tsan_interface.h>. */
#define TRY_LOCK (1u << 4)

/* --- which tool ------------------------------------------------------------------------------- */

gi_tool gi_tool_now;

#ifdef GI_HAVE_VALGRIND
static gi_tool valgrinds_tool(void) {
    if (RUNNING_ON_VALGRIND == 0) {
        return GI_TOOL_NONE;
    }
    char byte = 0, bits = 0;
    if (VALGRIND_GET_VBITS(&byte, &bits, 1) == 1) { /* memcheck alone answers */
        return GI_TOOL_MEMCHECK;
    }
    return VALGRIND_HG_GET_ABITS(&byte, NULL, 1) == 1 ? GI_TOOL_HELGRIND : GI_TOOL_NONE;
}
#else
static gi_tool valgrinds_tool(void) { return GI_TOOL_NONE; }
#endif

gi_tool gi_tool_find(void) {
    if (__asan_poison_memory_region != NULL && __asan_unpoison_memory_region != NULL) {
        return GI_TOOL_ASAN;
    }
#ifndef GI_TSAN
    if (__tsan_acquire != NULL && __tsan_release != NULL && __tsan_write_range != NULL && __tsan_func_entry != NULL &&
        __tsan_mutex_pre_lock != NULL) {
        return GI_TOOL_TSAN;
    }
#endif
    return valgrinds_tool();
}

/* --- memory ----------------------------------------------------------------------------------- */

void gi_tool_hide(const void *memory, size_t size) {
    if (gi_tool_now == GI_TOOL_ASAN) {
        __asan_poison_memory_region(memory, size);
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_MEMCHECK) {
        (void)VALGRIND_MAKE_MEM_NOACCESS(memory, size);
    }
#endif
}

void gi_tool_own(const void *memory, size_t size) {
    if (gi_tool_now == GI_TOOL_ASAN) {
        __asan_unpoison_memory_region(memory, size);
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_MEMCHECK) {
        (void)VALGRIND_MAKE_MEM_DEFINED(memory, size);
    }
#endif
}

void gi_tool_alloc(const void *block, size_t size) {
    if (gi_tool_now == GI_TOOL_ASAN) {
        __asan_unpoison_memory_region(block, size);
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_MEMCHECK) {
        VALGRIND_MALLOCLIKE_BLOCK(block, size, 0, 0);
    }
#endif
}

void gi_tool_free(const void *block, size_t size, size_t kept) {
    const char *rest = (const char *)block + kept;
    if (gi_tool_now == GI_TOOL_ASAN && kept < size) {
        __asan_poison_memory_region(rest, size - kept);
    } else if (gi_tool_now == GI_TOOL_TSAN && kept < size) {
        __tsan_write_range((void *)(uintptr_t)rest, (long)(size - kept));
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_MEMCHECK) {
        VALGRIND_FREELIKE_BLOCK(block, 0);
        (void)VALGRIND_MAKE_MEM_DEFINED(block, kept < size ? kept : size);
    }
#endif
}

void gi_tool_root_for_ever(const void *memory, size_t size) {
    if (__lsan_register_root_region != NULL) {
        __lsan_register_root_region(memory, size);
    }
}

void gi_tool_roots(const void *memory, size_t size, bool are) {
    if (gi_tool_now != GI_TOOL_ASAN || __lsan_register_root_region == NULL || __lsan_unregister_root_region == NULL) {
        return;
    }
    (are ? __lsan_register_root_region : __lsan_unregister_root_region)(memory, size);
}

/* --- threads ---------------------------------------------------------------------------------- */

void gi_tool_release(const void *tag) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        __tsan_release((void *)(uintptr_t)tag);
    }
}

void gi_tool_acquire(const void *tag) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        __tsan_acquire((void *)(uintptr_t)tag);
    }
}

void gi_tool_enter(const void *caller) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        __tsan_func_entry((void *)(uintptr_t)caller);
    }
}

void gi_tool_leave(void) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        __tsan_func_exit(NULL);
    }
}

/* Who called the library; NULL if that cannot be told, as where the library is part of the program's own file. */
static const void *caller_of_library(void) {
    extern const char __ehdr_start GI_INTERNAL, etext GI_INTERNAL; /* the linker's: of the file that this is in */
    enum { DEPTH = 16 };
    void *frames[DEPTH];
    int count = backtrace(frames, DEPTH); /* of the tool first, which stands before it */
    bool inside = false;
    for (int i = 0; i < count; i++) {
        bool ours = (uintptr_t)frames[i] >= (uintptr_t)&__ehdr_start && (uintptr_t)frames[i] < (uintptr_t)&etext;
        if (inside && !ours) {
            return frames[i];
        }
        inside |= ours;
    }
    return NULL;
}

void gi_tool_lock_begin(void *lock, bool try) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        gi_tool_enter(caller_of_library());
        __tsan_mutex_pre_lock(lock, try ? TRY_LOCK : 0);
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_HELGRIND) {
        VALGRIND_HG_MUTEX_LOCK_PRE(lock, try);
    }
#endif
}

void gi_tool_lock_end(void *lock, bool try) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        __tsan_mutex_post_lock(lock, try ? TRY_LOCK : 0, 0);
        gi_tool_leave();
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_HELGRIND) {
        VALGRIND_HG_MUTEX_LOCK_POST(lock);
    }
#endif
}

void gi_tool_unlock_begin(void *lock) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        (void)__tsan_mutex_pre_unlock(lock, 0);
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_HELGRIND) {
        VALGRIND_HG_MUTEX_UNLOCK_PRE(lock);
    }
#endif
}

void gi_tool_unlock_end(void *lock) {
    if (gi_tool_now == GI_TOOL_TSAN) {
        __tsan_mutex_post_unlock(lock, 0);
    }
#ifdef GI_HAVE_VALGRIND
    if (gi_tool_now == GI_TOOL_HELGRIND) {
        VALGRIND_HG_MUTEX_UNLOCK_POST(lock);
    }
#endif
}
