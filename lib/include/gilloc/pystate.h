/* SPDX-License-Identifier: MIT */
/*
 * gilloc/pystate.h - threads and the lock.
 *
 * Names, signatures and meaning are those of CPython's "Thread State and the
 * Global Interpreter Lock" C API (Doc/c-api/init.rst).  A thread is *attached*
 * while a thread state is current in it.  In gil mode (the default) attaching
 * takes the lock, so one thread at a time is attached; in GIL-free mode any
 * number is.  Attached threads call gilloc_safepoint() (gilloc/gilloc.h) often,
 * and detach around everything that blocks.
 *
 * Nothing needs to be initialised: the first call of any function does it.
 * Misuse is a fatal error: a line on stderr that names the function and what
 * to do, then abort().  errno survives every function here.
 */
#ifndef GILLOC_PYSTATE_H
#define GILLOC_PYSTATE_H

#include <gilloc/pymem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A thread as gilloc sees it.  Opaque. */
typedef struct _ts PyThreadState;
/* A heap with its lock: the main interpreter, and others that are made.  Opaque. */
typedef struct _is PyInterpreterState;

/* --- any thread, one call in, one call out ---------------------------------- */

typedef enum {
    PyGILState_LOCKED = 0,  /* was attached before */
    PyGILState_UNLOCKED = 1 /* was detached before */
} PyGILState_STATE;

/* Attaches this thread, whatever its state; creates a thread state if it has
   none; a fatal error if its state has been handed to another thread and is
   attached there.  Nestable; each result goes to one PyGILState_Release().  Waits for the
   lock in gil mode.  Memory out is a fatal error. */
GILLOC_API PyGILState_STATE PyGILState_Ensure(void);
/* Undoes the matching PyGILState_Ensure(): detaches if that one attached, and
   deletes the thread state if the outermost one created it. */
GILLOC_API void PyGILState_Release(PyGILState_STATE state);
/* 1 if this thread is attached, else 0.  Never waits. */
GILLOC_API int PyGILState_Check(void);
/* The state that PyGILState_Ensure() uses in this thread (attached or not), or NULL. */
GILLOC_API PyThreadState *PyGILState_GetThisThreadState(void);

/* --- thread states ---------------------------------------------------------- */

/* A new, detached thread state of `interp`, or NULL when memory is out or some
   262,000 exist.  Any thread, attached or not. */
GILLOC_API PyThreadState *PyThreadState_New(PyInterpreterState *interp);
/* Empties `tstate` before its deletion: its free blocks go back to the shared
   heap.  The caller must be attached. */
GILLOC_API void PyThreadState_Clear(PyThreadState *tstate);
/* Deletes `tstate`, which must be current in no thread.  Any thread.  Its live
   blocks stay usable, and any thread may free them. */
GILLOC_API void PyThreadState_Delete(PyThreadState *tstate);
/* Deletes the current thread state and so detaches (drops the lock). */
GILLOC_API void PyThreadState_DeleteCurrent(void);
/* The current thread state; a fatal error when detached. */
GILLOC_API PyThreadState *PyThreadState_Get(void);
/* The current thread state, or NULL when detached. */
GILLOC_API PyThreadState *PyThreadState_GetUnchecked(void);
/* Detaches the current state (if any), attaches `tstate` (if not NULL), returns
   the former.  The lock is dropped and taken on the way where that changes. */
GILLOC_API PyThreadState *PyThreadState_Swap(PyThreadState *tstate);

/* --- interpreters ------------------------------------------------------------ */

/* Each interpreter has a lock and a heap of its own (PEP 684's own_gil): in gil mode
   one thread of each is attached, so threads of different interpreters run at once.
   The mode is the same for all.  A thread attaches to the interpreter of its thread
   state; PyGILState_Ensure() to the main one, unless it is attached already.  A block must be freed under the
   interpreter that allocated it: otherwise a fatal error in builds with assertions,
   and safe but slow in others. */

/* The main interpreter; never NULL. */
GILLOC_API PyInterpreterState *PyInterpreterState_Main(void);
/* A new interpreter, or NULL when memory is out, some 262,000 heaps exist, or the
   runtime has a lock of its own.  Any thread, no lock needed. */
GILLOC_API PyInterpreterState *PyInterpreterState_New(void);
/* Empties `interp` before its deletion: what the caches of its detached thread states
   hold goes back, and what was retired there is freed.  The caller must be attached
   to `interp`. */
GILLOC_API void PyInterpreterState_Clear(PyInterpreterState *interp);
/* Deletes `interp`, which is not the main one, with its thread states, none of which
   may be attached.  Any thread that is not attached to it.  Blocks that are still
   alive stay as they are.  Stops the world if something waits to be freed there. */
GILLOC_API void PyInterpreterState_Delete(PyInterpreterState *interp);
/* The interpreter of the current thread state; a fatal error when detached. */
GILLOC_API PyInterpreterState *PyInterpreterState_Get(void);

/* --- attach and detach ------------------------------------------------------- */

/* Detaches this thread and returns its state; a fatal error when detached. */
GILLOC_API PyThreadState *PyEval_SaveThread(void);
/* Attaches this thread with `tstate`, which must not be NULL, nor attached
   anywhere; this thread must be detached. */
GILLOC_API void PyEval_RestoreThread(PyThreadState *tstate);
/* The same two under their other names; `tstate` must be the current one to be
   released. */
GILLOC_API void PyEval_AcquireThread(PyThreadState *tstate);
GILLOC_API void PyEval_ReleaseThread(PyThreadState *tstate);

/* Detached between the two, in one block of C (Include/ceval.h). */
#define Py_BEGIN_ALLOW_THREADS \
    {                          \
        PyThreadState *_save;  \
        _save = PyEval_SaveThread();
#define Py_BLOCK_THREADS PyEval_RestoreThread(_save);
#define Py_UNBLOCK_THREADS _save = PyEval_SaveThread();
#define Py_END_ALLOW_THREADS     \
    PyEval_RestoreThread(_save); \
    }

/* --- fork -------------------------------------------------------------------- */

/* Call PyOS_BeforeFork() attached, then fork(), then PyOS_AfterFork_Parent() in
   the parent and PyOS_AfterFork_Child() in the child.  The first stops the world
   (so it is a safepoint of the caller, and waits for those of others), the second
   and third start it again.  The child has this one
   thread, attached; it may allocate, free what any thread of the parent
   allocated, attach and start threads.  Thread states of the parent's other
   threads are gone in the child: do not touch them.  A plain fork() gets the
   same by handlers, also in a detached thread.  Between Before and After call
   nothing else of gilloc. */
GILLOC_API void PyOS_BeforeFork(void);
GILLOC_API void PyOS_AfterFork_Parent(void);
GILLOC_API void PyOS_AfterFork_Child(void);

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_PYSTATE_H */
