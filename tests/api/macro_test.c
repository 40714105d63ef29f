/* SPDX-License-Identifier: MIT */
/*
 * macro_test.c - the typed macros and CPython's older names.
 */
#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/shadow.h"

struct item {
    int number;
    char name[20];
};

static void new_resize_del(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    struct item *items = PyMem_New(struct item, 10);
    EXPECT(items != NULL);
    EXPECT(gilloc_usable_size(PYMEM_DOMAIN_MEM, items) >= 10 * sizeof(struct item));
    pattern_fill(items, 10 * sizeof(struct item), 1);
    PyMem_Resize(items, struct item, 100);
    EXPECT(items != NULL);
    EXPECT(gilloc_usable_size(PYMEM_DOMAIN_MEM, items) >= 100 * sizeof(struct item));
    pattern_check(items, 10 * sizeof(struct item), 1);
    PyMem_Del(items);

    /* None is one. */
    items = PyMem_New(struct item, 0);
    EXPECT(items != NULL);
    PyMem_Resize(items, struct item, 0);
    EXPECT(items != NULL);
    PyMem_Del(items);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void overflow_gives_null_and_keeps_the_block(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    const size_t too_many = (size_t)PY_SSIZE_T_MAX / sizeof(struct item) + 1;
    EXPECT(PyMem_New(struct item, too_many) == NULL);
    EXPECT(PyMem_New(struct item, SIZE_MAX) == NULL);
    EXPECT(PyMem_New(char, (size_t)PY_SSIZE_T_MAX + 1) == NULL);

    struct item *items = PyMem_New(struct item, 3);
    EXPECT(items != NULL);
    pattern_fill(items, 3 * sizeof(struct item), 2);
    struct item *kept = items;
    PyMem_Resize(items, struct item, too_many);
    EXPECT(items == NULL);
    EXPECT_EQ(gilloc_allocated_blocks(), 1);
    pattern_check(kept, 3 * sizeof(struct item), 2);
    items = kept;
    PyMem_Resize(items, struct item, (size_t)PY_SSIZE_T_MAX / sizeof(struct item)); /* no system has it */
    EXPECT(items == NULL);
    pattern_check(kept, 3 * sizeof(struct item), 2);
    PyMem_Del(kept);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void arguments_are_expressions(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    size_t n = 4;
    long *numbers = PyMem_New(long, n + 1);
    EXPECT(gilloc_usable_size(PYMEM_DOMAIN_MEM, numbers) >= 5 * sizeof(long));
    PyMem_Resize(numbers, long, n + 60);
    EXPECT(gilloc_usable_size(PYMEM_DOMAIN_MEM, numbers) >= 64 * sizeof(long));
    PyMem_Del(numbers);
    PyGILState_Release(was);
}

static void older_names_are_the_same_functions(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    char *block = PyMem_MALLOC(10);
    EXPECT(block != NULL);
    block = PyMem_REALLOC(block, 100);
    EXPECT(block != NULL);
    PyMem_FREE(block);
    int *numbers = PyMem_NEW(int, 10);
    EXPECT(numbers != NULL);
    PyMem_RESIZE(numbers, int, 20);
    EXPECT(numbers != NULL);
    PyMem_DEL(numbers);

    /* These are object-like: usable where a function is wanted. */
    void (*frees[])(void *) = {PyMem_Del, PyObject_Del, PyObject_DEL, PyObject_FREE};
    void *(*allocate)(size_t) = PyObject_MALLOC;
    void *(*resize)(void *, size_t) = PyObject_REALLOC;
    EXPECT(frees[0] == PyMem_Free);
    for (size_t i = 1; i < sizeof(frees) / sizeof(frees[0]); i++) {
        EXPECT(frees[i] == PyObject_Free);
        frees[i](resize(allocate(10), 200));
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static void constants_are_cpythons(void) {
    EXPECT_EQ(sizeof(Py_ssize_t), sizeof(size_t));
    EXPECT((Py_ssize_t)-1 < 0);
    EXPECT_EQ(PY_SSIZE_T_MAX, INT64_MAX);
    EXPECT_EQ(PYMEM_DOMAIN_RAW, 0);
    EXPECT_EQ(PYMEM_DOMAIN_MEM, 1);
    EXPECT_EQ(PYMEM_DOMAIN_OBJ, 2);
    EXPECT_EQ(PyGILState_LOCKED, 0);
    EXPECT_EQ(PyGILState_UNLOCKED, 1);
    EXPECT_EQ(sizeof(PyMemAllocatorEx), 5 * sizeof(void *));
    EXPECT_EQ(sizeof(PyObjectArenaAllocator), 3 * sizeof(void *));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(new_resize_del),
        IN_BOTH_MODES(overflow_gives_null_and_keeps_the_block),
        IN_BOTH_MODES(arguments_are_expressions),
        IN_BOTH_MODES(older_names_are_the_same_functions),
        IN_OPEN_MODE(constants_are_cpythons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
