/* SPDX-License-Identifier: MIT */
/*
 * gilloc/pymem.h - memory: three domains, their hooks, the arena allocator.
 *
 * Names, signatures and meaning are those of CPython's "Memory Management"
 * C API (Doc/c-api/memory.rst); where gilloc differs, the function says so.
 *
 *   domain   functions       memory                        may be called
 *   raw      PyMem_Raw*      the system's allocator        anywhere, always
 *   mem      PyMem_*         gilloc's private heap         by an attached thread
 *   object   PyObject_*      gilloc's private heap         by an attached thread
 *
 * "Attached" means: between PyGILState_Ensure() and PyGILState_Release(), or
 * between PyEval_RestoreThread() and PyEval_SaveThread() (gilloc/pystate.h).
 * In gil mode an attached thread holds the lock.  A mem or object call of a
 * thread that is not attached, a free of NULL included, is a fatal error in
 * every build; where an allocator has been installed over the default one, the
 * default one says so when it is called.
 *
 * All functions: a request of 0 bytes is served as one of 1 byte, so the
 * result is distinct and not NULL.  Blocks are aligned to 16 bytes.  NULL
 * means that memory is out, or that the size is above PY_SSIZE_T_MAX or its
 * product overflows; errno is then unspecified and nothing else has changed.
 */
#ifndef GILLOC_PYMEM_H
#define GILLOC_PYMEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef GILLOC_API
#if defined(__GNUC__)
#define GILLOC_API __attribute__((visibility("default")))
#else
#define GILLOC_API
#endif
#endif

/* CPython's signed size (Include/pyport.h). */
typedef ssize_t Py_ssize_t;
/* The largest request that any function serves, in bytes: 2^63-1 on 64 bits. */
#define PY_SSIZE_T_MAX ((Py_ssize_t)(((size_t)-1) >> 1))

/* --- raw domain: legal without the lock, in any thread, at any time -------- */

/* Allocates `size` bytes from the system's allocator. */
GILLOC_API void *PyMem_RawMalloc(size_t size);
/* Allocates `count` * `size` bytes, all zero. */
GILLOC_API void *PyMem_RawCalloc(size_t count, size_t size);
/* Resizes `block` (NULL: allocates) to `size` bytes; 0 is 1 and does not free.
   On NULL the old block is untouched and still owned by the caller. */
GILLOC_API void *PyMem_RawRealloc(void *block, size_t size);
/* Frees `block` of the raw domain; NULL does nothing. */
GILLOC_API void PyMem_RawFree(void *block);

/* --- mem domain: the caller must be attached ------------------------------- */

/* Allocates `size` bytes.  Up to 512 bytes come from pools of the private
   heap; more is forwarded to PyMem_RawMalloc(), so that hooks of the raw
   domain see it.  Unlike CPython, 0 bytes come from a pool too. */
GILLOC_API void *PyMem_Malloc(size_t size);
/* Allocates `count` * `size` bytes, all zero. */
GILLOC_API void *PyMem_Calloc(size_t count, size_t size);
/* Resizes `block` (NULL: allocates) to `size` bytes.  A small block stays where
   it is while the size class is the same, or while `size` is above 3/4 of the
   block (CPython's pymalloc_realloc); a large block stays in the raw domain.
   On NULL the old block is untouched and still owned by the caller. */
GILLOC_API void *PyMem_Realloc(void *block, size_t size);
/* Frees `block` of the mem domain, allocated by any thread; NULL does nothing. */
GILLOC_API void PyMem_Free(void *block);

/* --- object domain: the caller must be attached; same rules as mem --------- */

GILLOC_API void *PyObject_Malloc(size_t size);
GILLOC_API void *PyObject_Calloc(size_t count, size_t size);
GILLOC_API void *PyObject_Realloc(void *block, size_t size);
GILLOC_API void PyObject_Free(void *block);

/* --- CPython's typed macros (Include/pymem.h) ------------------------------ */

/* An array of `n` TYPE in the mem domain; NULL if its size overflows. */
#define PyMem_New(TYPE, n) \
    (((size_t)(n) > (size_t)PY_SSIZE_T_MAX / sizeof(TYPE)) ? NULL : ((TYPE *)PyMem_Malloc((n) * sizeof(TYPE))))
/* Resizes array `p` to `n` TYPE and assigns the result to `p`, NULL included:
   keep a copy of `p` to free the old block when it fails. */
#define PyMem_Resize(p, TYPE, n)                                        \
    ((p) = ((size_t)(n) > (size_t)PY_SSIZE_T_MAX / sizeof(TYPE)) ? NULL \
                                                                 : (TYPE *)PyMem_Realloc((p), (n) * sizeof(TYPE)))
#define PyMem_Del PyMem_Free

/* CPython's older names for the same functions. */
#define PyMem_MALLOC(n) PyMem_Malloc(n)
#define PyMem_NEW(type, n) PyMem_New(type, n)
#define PyMem_REALLOC(p, n) PyMem_Realloc((p), (n))
#define PyMem_RESIZE(p, type, n) PyMem_Resize((p), type, (n))
#define PyMem_FREE(p) PyMem_Free((p))
#define PyMem_DEL(p) PyMem_Free((p))
#define PyObject_MALLOC PyObject_Malloc
#define PyObject_REALLOC PyObject_Realloc
#define PyObject_FREE PyObject_Free
#define PyObject_Del PyObject_Free
#define PyObject_DEL PyObject_Free

/* --- replacing a domain's allocator ---------------------------------------- */

typedef enum {
    PYMEM_DOMAIN_RAW = 0,   /* PyMem_RawMalloc() and its family */
    PYMEM_DOMAIN_MEM = 1,   /* PyMem_Malloc() and its family */
    PYMEM_DOMAIN_OBJ = 2,   /* PyObject_Malloc() and its family */
    GILLOC_DOMAIN_LAST = 14 /* 3 and up: kinds of a runtime's own (gilloc_new_kind()) */
} PyMemAllocatorDomain;

/* The five words of an allocator; `ctx` is handed to each function. */
typedef struct {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t nelem, size_t elsize); /* not multiplied */
    void *(*realloc)(void *ctx, void *ptr, size_t new_size);
    void (*free)(void *ctx, void *ptr); /* called with NULL too */
} PyMemAllocatorEx;

/* Copies the allocator of `domain` to `*allocator`; an unknown domain gives five
   NULL.  Any thread, no lock needed. */
GILLOC_API void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);

/* Makes `*allocator` (copied) the allocator of `domain`; an unknown domain is
   ignored.  Any thread, no lock needed, also while other threads allocate: a
   call sees the old five words or the new five, never a mixture.  A NULL
   function is a fatal error.  The new
   allocator must accept the blocks that are alive, so either wrap the old one
   or install it before the first block.  It must return distinct non-NULL
   pointers for 0 bytes.  Sizes above PY_SSIZE_T_MAX never reach it.  Memory
   out while publishing is a fatal error (the call has no result to say it). */
GILLOC_API void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);

/* --- debug hooks ------------------------------------------------------------ */

/* Installs debug hooks on all three domains, around the allocators in place; a domain whose
   allocator they are already is left alone.  As PYTHONMALLOC=debug, which does it before
   the first block is made.  Any thread, no lock needed; memory out is a fatal error.
     A block of N bytes has 24 more: N (8 bytes, big-endian), the domain's id ('r', 'm',
   'o'), 7 pad bytes 0xFD; then the N bytes, 0xCD when new, calloc's 0; then 8 pad bytes.
   A freed block is filled with 0xDD, and not used again before some 240 KiB (GILLOC_QUARANTINE)
   more have been freed in its thread (CPython's layout and bytes: _PyMem_DebugRawAlloc).
     A fatal error, with a dump of the block and who allocated and freed it, are: a free, a
   realloc or a sized free of what is no live block of the domain; bytes written before or
   past a block, found when it is freed or resized; bytes written after its free, found when
   it leaves the quarantine; and what is one without hooks.  Blocks from before the call are
   known as such.  A realloc that does not fit its block moves it, always. */
GILLOC_API void PyMem_SetupDebugHooks(void);

/* --- the arena allocator ---------------------------------------------------- */

/* Where the private heap gets its arenas.  `alloc` is called with 262144 and
   may return NULL (the request then goes to the raw domain); memory need be
   neither aligned nor zero.  `free` gets each arena back once, with 262144, by
   the allocator that gave it, whatever is installed by then.  Both are called
   without any lock of gilloc's own taken for it, by a thread that is attached,
   has just detached to end or to delete a thread state, or calls gilloc_purge();
   they may call the raw domain, and had better not call mem or object, which may
   ask for an arena again. */
typedef struct {
    void *ctx;
    void *(*alloc)(void *ctx, size_t size);
    void (*free)(void *ctx, void *ptr, size_t size);
} PyObjectArenaAllocator;

/* Copies the arena allocator to `*allocator`.  Any thread, no lock needed. */
GILLOC_API void PyObject_GetArenaAllocator(PyObjectArenaAllocator *allocator);
/* Makes `*allocator` (copied) the source of all arenas from now on; a NULL
   function is a fatal error.  Any thread, no lock needed. */
GILLOC_API void PyObject_SetArenaAllocator(PyObjectArenaAllocator *allocator);

/* --- blocks of other allocators, for tracing (gilloc/trace.h) ----------------- */

/* Records a block that another allocator made, under a domain of the caller's; a
   block recorded already is replaced.  Domain 0 is gilloc's own.  0, -1 (no
   memory), or -2 (tracing is off).  Any thread, attached or not; never waits for
   the lock (CPython's takes it). */
GILLOC_API int PyTraceMalloc_Track(unsigned int domain, uintptr_t ptr, size_t size);
/* Forgets it; one that is not known is none the worse.  0, or -2 (tracing is off). */
GILLOC_API int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t ptr);

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_PYMEM_H */
