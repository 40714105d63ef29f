/* SPDX-License-Identifier: MIT */
/*
 * slots_test.c - what a reader must not see is seen: an element that is freed
 * under it, that others write to, that is too old.
 */
#include "stress/torture/slots.h"

#include <string.h>

#include "tests/stress/files.h"

#define SLOTS 4

struct fixture {
    struct trial trial;
    struct task task;
    struct slots slots;
    PyGILState_STATE state;
};

static void begin(struct fixture *fixture, PyMemAllocatorDomain domain) {
    *fixture = (struct fixture){.task = {.trial = &fixture->trial, .number = 7}};
    faults_init(&fixture->trial.faults, NULL, NULL);
    task_seed(&fixture->task, 1);
    fixture->state = PyGILState_Ensure();
    assert_true(slots_init(&fixture->slots, &fixture->trial, SLOTS, &domain, 1, &fixture->task));
}

static void end(struct fixture *fixture) {
    slots_fini(&fixture->slots);
    gilloc_reclaim();
    PyGILState_Release(fixture->state);
}

static void assert_fault(struct fixture *fixture, const char *part) {
    assert_true(faults_count(&fixture->trial.faults) > 0);
    if (strstr(fixture->trial.faults.first, part) == NULL) fail_msg("%s", fixture->trial.faults.first);
}

static void test_sound(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture, PYMEM_DOMAIN_OBJ);
    struct slots_view view = {.slots = &fixture.slots, .task = &fixture.task};
    for (int i = 0; i < 1000; i++) {
        slots_read(&view);
        slots_replace(&view);
        if (i % 10 == 0) slots_replace_and_keep(&view);
        slots_let_go(&view);
        gilloc_safepoint();
    }
    slots_age(&view);
    slots_view_fini(&view);
    end(&fixture);
    assert_int_equal(faults_count(&fixture.trial.faults), 0);
    assert_true(fixture.task.ages[0] > 0 && fixture.task.ages[1] > 0);
    for (int age = TRIAL_AGE_LIMIT; age < TRIAL_AGES; age++) assert_int_equal(fixture.task.ages[age], 0);
}

static void test_freed_under_a_reader(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture, PYMEM_DOMAIN_OBJ);
    struct slots_view view = {.slots = &fixture.slots, .task = &fixture.task};
    slots_read(&view);
    assert_int_equal(view.held, 1);
    slots_freed((void *)view.hold[0].element);
    slots_let_go(&view);
    assert_fault(&fixture, "has a broken seal");
    slots_freed((void *)view.hold[0].element); /* the seal is what it was */
    end(&fixture);
}

static void test_written_under_a_reader(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture, PYMEM_DOMAIN_OBJ);
    struct slots_view view = {.slots = &fixture.slots, .task = &fixture.task};
    slots_read(&view);
    unsigned char *last = (unsigned char *)view.hold[0].element + view.hold[0].size - 1;
    *last ^= 1;
    slots_let_go(&view);
    *last ^= 1;
    assert_fault(&fixture, "thread 7, before its safepoint: block 0x");
    assert_fault(&fixture, "not 0x");
    end(&fixture);
}

static void test_reused_under_a_reader(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture, PYMEM_DOMAIN_OBJ);
    struct slots_view view = {.slots = &fixture.slots, .task = &fixture.task};
    slots_read(&view);
    view.hold[0].id ^= 1u << 16; /* it was another one */
    slots_let_go(&view);
    assert_fault(&fixture, "it was reused");
    end(&fixture);
}

/* A reader that holds an element over two grace periods, as no reader can. */
static void test_too_old(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture, PYMEM_DOMAIN_OBJ);
    struct slots_view reader = {.slots = &fixture.slots, .task = &fixture.task}, updater = reader;
    while (updater.aging < SLOTS_PIPE) slots_replace_and_keep(&updater);
    reader.held = 1;
    reader.hold[0].element = updater.pipe[0];
    memcpy(&reader.hold[0].id, updater.pipe[0], sizeof reader.hold[0].id);
    memcpy(&reader.hold[0].size, (char *)updater.pipe[0] + 2 * sizeof(uint64_t), sizeof reader.hold[0].size);
    slots_age(&updater);
    slots_let_go(&reader);
    assert_fault(&fixture,
                 "at age 2: it has survived 1 grace periods since it was unlinked, and could have been freed");
    assert_int_equal(fixture.task.ages[2], 1);
    slots_view_fini(&updater);
    end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_freed_under_a_reader),
        cmocka_unit_test(test_written_under_a_reader),
        cmocka_unit_test(test_reused_under_a_reader),
        cmocka_unit_test(test_too_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
