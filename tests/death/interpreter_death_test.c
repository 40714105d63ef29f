/* SPDX-License-Identifier: MIT */
/*
 * interpreter_death_test.c - interpreters that are none, or in use; blocks of another one.
 */
#include <sched.h>

#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static PyInterpreterState *new_one(void) {
    PyInterpreterState *made = PyInterpreterState_New();
    EXPECT(made != NULL);
    return made;
}

static PyThreadState *attach_to(PyInterpreterState *interpreter) {
    PyThreadState *state = PyThreadState_New(interpreter);
    EXPECT(state != NULL);
    PyEval_RestoreThread(state);
    return state;
}

/* --- no interpreter --------------------------------------------------------------------------- */

#define NO_INTERPRETER(function, it)        \
    "Fatal gilloc error: " function ": " it \
    " is no interpreter\n"                  \
    "  do       pass PyInterpreterState_Main(), or what PyInterpreterState_New() returned\n"

static void new_state_of_null(const void *unused) {
    (void)unused;
    PyThreadState_New(NULL);
}
static void new_state_of_nothing(const void *unused) {
    (void)unused;
    PyThreadState_New((PyInterpreterState *)(size_t)0x1000);
}
static void new_state_of_a_deleted_one(const void *unused) {
    (void)unused;
    PyInterpreterState *made = new_one();
    PyInterpreterState_Delete(made);
    PyThreadState_New(made);
}
static void delete_null(const void *unused) {
    (void)unused;
    PyInterpreterState_Delete(NULL);
}
static void delete_twice(const void *unused) {
    (void)unused;
    PyInterpreterState *made = new_one();
    PyInterpreterState_Delete(made);
    PyInterpreterState_Delete(made);
}
static void clear_null(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyInterpreterState_Clear(NULL);
}
static void clear_a_deleted_one(const void *unused) {
    (void)unused;
    PyInterpreterState *made = new_one();
    PyInterpreterState_Delete(made);
    PyGILState_Ensure();
    PyInterpreterState_Clear(made);
}

/* --- in use ----------------------------------------------------------------------------------- */

#define IN_USE(which)                                                          \
    "Fatal gilloc error: PyInterpreterState_Delete: interpreter X is in use\n" \
    "  interp   the " which                                                    \
    " one\n"                                                                   \
    "  do       delete one that was made, detached\n"

static void delete_the_main_one(const void *unused) {
    (void)unused;
    PyInterpreterState_Delete(PyInterpreterState_Main());
}
static void delete_the_main_one_attached(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyInterpreterState_Delete(PyInterpreterState_Main());
}
static void delete_the_current_one(const void *unused) {
    (void)unused;
    PyInterpreterState *made = new_one();
    attach_to(made);
    PyInterpreterState_Delete(made);
}

static struct shared attached;

static void *stay_attached(void *arg) {
    attach_to(arg);
    shared_set(&attached, 1);
    for (;;) {
        gilloc_safepoint();
    }
    return NULL;
}
static void delete_one_to_which_a_thread_is_attached(const void *unused) {
    (void)unused;
    PyInterpreterState *made = new_one();
    thread_start(stay_attached, made);
    while (!shared_get(&attached)) {
        sched_yield();
    }
    PyInterpreterState_Delete(made);
}

#define ANOTHER                                                                                     \
    "Fatal gilloc error: PyInterpreterState_Clear: the thread is attached to another interpreter\n" \
    "  interp   X\n"                                                                                \
    "  do       attach by a thread state of the interpreter\n"

static void clear_another_one(const void *unused) {
    (void)unused;
    PyInterpreterState *made = new_one();
    PyGILState_Ensure();
    PyInterpreterState_Clear(made);
}
static void clear_the_main_one_from_another(const void *unused) {
    (void)unused;
    attach_to(new_one());
    PyInterpreterState_Clear(PyInterpreterState_Main());
}

/* --- detached --------------------------------------------------------------------------------- */

#define DETACHED(function)                                                                                          \
    "Fatal gilloc error: " function                                                                                 \
    ": the function must be called with the GIL held, after Python initialization and before Python finalization, " \
    "but the GIL is released (the current Python thread state is NULL)\n"                                           \
    "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"

static void get_detached(const void *unused) {
    (void)unused;
    PyInterpreterState_Get();
}
static void clear_detached(const void *unused) {
    (void)unused;
    PyInterpreterState_Clear(PyInterpreterState_Main());
}

/* --- a block of another one ------------------------------------------------------------------- */

#define FOREIGN(function, domain)                  \
    "Fatal gilloc error: " function                \
    ": the block belongs to another interpreter\n" \
    "  domain   " domain                           \
    "\n"                                           \
    "  block    X\n"                               \
    "  do       free a block in a thread that is attached to the interpreter that allocated it\n"

static void *block_of_another(PyMemAllocatorDomain domain, size_t size) {
    attach_to(new_one());
    void *block = gilloc_malloc(domain, size);
    EXPECT(block != NULL);
    PyEval_SaveThread();
    attach_to(PyInterpreterState_Main());
    return block;
}

#ifndef NDEBUG

static void free_mem_of_another(const void *unused) {
    (void)unused;
    PyMem_Free(block_of_another(PYMEM_DOMAIN_MEM, 16));
}
static void free_object_of_another(const void *unused) {
    (void)unused;
    PyObject_Free(block_of_another(PYMEM_DOMAIN_OBJ, 512));
}
static void free_kind_of_another(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = (PyMemAllocatorDomain)gilloc_new_kind("nodes", 0, 24);
    gilloc_free(kind, block_of_another(kind, 0));
}
static void free_sized_of_another(const void *unused) {
    (void)unused;
    gilloc_free_sized(PYMEM_DOMAIN_OBJ, block_of_another(PYMEM_DOMAIN_OBJ, 40), 40);
}
static void realloc_of_another(const void *unused) {
    (void)unused;
    PyObject_Realloc(block_of_another(PYMEM_DOMAIN_OBJ, 40), 400);
}
static void retire_of_another(const void *unused) {
    (void)unused;
    gilloc_retire(PYMEM_DOMAIN_OBJ, block_of_another(PYMEM_DOMAIN_OBJ, 40));
}
static void free_of_a_block_of_the_main_one(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    void *block = PyObject_Malloc(40);
    PyEval_SaveThread();
    attach_to(new_one());
    PyObject_Free(block);
}

/* Its thread has ended: the block is the shared heap's. */
static void *make_block(void *arg) {
    attach_to(PyInterpreterState_Main());
    *(void **)arg = PyObject_Malloc(40);
    PyThreadState_DeleteCurrent();
    return NULL;
}
static void free_of_an_orphan_of_the_main_one(const void *unused) {
    (void)unused;
    void *block;
    threads_run(1, make_block, &block, 0);
    attach_to(new_one());
    PyObject_Free(block);
}

#else

static void free_of_another_is_a_free(const void *unused) {
    (void)unused;
    PyObject_Free(block_of_another(PYMEM_DOMAIN_OBJ, 40));
    PyMem_Free(PyObject_Malloc(40)); /* a death test dies */
}

#endif

#define BOTH(name, body, text) \
    {name " (gil)", body, NULL, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, NULL, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("PyThreadState_New of NULL", new_state_of_null, NO_INTERPRETER("PyThreadState_New", "(nil)")),
    BOTH("PyThreadState_New of no interpreter", new_state_of_nothing, NO_INTERPRETER("PyThreadState_New", "X")),
    BOTH("PyThreadState_New of a deleted one", new_state_of_a_deleted_one, NO_INTERPRETER("PyThreadState_New", "X")),
    BOTH("PyInterpreterState_Delete of NULL", delete_null, NO_INTERPRETER("PyInterpreterState_Delete", "(nil)")),
    BOTH("PyInterpreterState_Delete twice", delete_twice, NO_INTERPRETER("PyInterpreterState_Delete", "X")),
    BOTH("PyInterpreterState_Clear of NULL", clear_null, NO_INTERPRETER("PyInterpreterState_Clear", "(nil)")),
    BOTH("PyInterpreterState_Clear of a deleted one", clear_a_deleted_one,
         NO_INTERPRETER("PyInterpreterState_Clear", "X")),
    BOTH("PyInterpreterState_Delete of the main one", delete_the_main_one, IN_USE("main")),
    BOTH("PyInterpreterState_Delete of the main one, attached", delete_the_main_one_attached, IN_USE("main")),
    BOTH("PyInterpreterState_Delete of the current one", delete_the_current_one, IN_USE("current")),
    BOTH("PyInterpreterState_Delete, a thread is attached", delete_one_to_which_a_thread_is_attached,
         "Fatal gilloc error: PyInterpreterState_Delete: thread state X is attached in another thread\n"
         "  do       detach it there first\n"),
    BOTH("PyInterpreterState_Clear of another one", clear_another_one, ANOTHER),
    BOTH("PyInterpreterState_Clear of the main one from another", clear_the_main_one_from_another, ANOTHER),
    BOTH("PyInterpreterState_Get, detached", get_detached, DETACHED("PyInterpreterState_Get")),
    BOTH("PyInterpreterState_Clear, detached", clear_detached, DETACHED("PyInterpreterState_Clear")),
#ifndef NDEBUG
    BOTH("PyMem_Free of a block of another", free_mem_of_another, FOREIGN("PyMem_Free", "mem")),
    BOTH("PyObject_Free of a block of another", free_object_of_another, FOREIGN("PyObject_Free", "object")),
    BOTH("gilloc_free of a block of another", free_kind_of_another, FOREIGN("gilloc_free", "nodes")),
    BOTH("gilloc_free_sized of a block of another", free_sized_of_another, FOREIGN("gilloc_free_sized", "object")),
    BOTH("PyObject_Realloc of a block of another", realloc_of_another, FOREIGN("PyObject_Realloc", "object")),
    BOTH("gilloc_retire of a block of another", retire_of_another, FOREIGN("gilloc_retire", "object")),
    BOTH("PyObject_Free of a block of the main one", free_of_a_block_of_the_main_one,
         FOREIGN("PyObject_Free", "object")),
    BOTH("PyObject_Free of an orphan of the main one", free_of_an_orphan_of_the_main_one,
         FOREIGN("PyObject_Free", "object")),
#else
    BOTH("without assertions a free of a block of another is a free", free_of_another_is_a_free,
         "Fatal gilloc error: PyMem_Free: bad ID: Allocated using API 'o', verified using API 'm'\n"
         "  domain   mem, but the block is of object\n"
         "  block    X\n"
         "  do       free a block by the family of functions that allocated it\n"),
#endif
};

int main(void) { return death_run_group("interpreters", cases, sizeof(cases) / sizeof(cases[0])); }
