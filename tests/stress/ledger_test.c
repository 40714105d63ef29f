/* SPDX-License-Identifier: MIT */
/*
 * ledger_test.c - a walk that visits what is not alive, or not what is, is seen.
 */
#include "stress/torture/ledger.h"

#include <string.h>

#include "tests/stress/files.h"

struct fixture {
    struct trial trial;
    struct task task;
    struct ledgers ledgers;
    PyGILState_STATE state;
};

static void begin(struct fixture *fixture) {
    *fixture = (struct fixture){.trial = {.threads = 2}, .task = {.trial = &fixture->trial}};
    faults_init(&fixture->trial.faults, NULL, NULL);
    task_seed(&fixture->task, 1);
    fixture->state = PyGILState_Ensure();
    assert_true(ledgers_init(&fixture->ledgers, &fixture->trial));
    for (int i = 0; i < 400; i++) {
        ledger_turn(&fixture->ledgers, &fixture->ledgers.at[i % 2], &fixture->task);
    }
}

static void end(struct fixture *fixture) {
    for (int i = 0; i < 2; i++) assert_true(ledger_free_all(&fixture->ledgers.at[i], NULL));
    ledgers_fini(&fixture->ledgers);
    gilloc_reclaim();
    PyGILState_Release(fixture->state);
}

/* An entry with a small block of the first domain. */
static uint32_t some_entry(const struct fixture *fixture) {
    const struct ledger *ledger = &fixture->ledgers.at[1];
    for (uint32_t i = 0; i < LEDGER_ENTRIES; i++) {
        if (ledger->entries[i].block != NULL && ledger->entries[i].domain == fixture->ledgers.domains[0] &&
            ledger->entries[i].size <= LEDGER_SMALL) {
            return i;
        }
    }
    fail_msg("no entry");
    return 0;
}

static void assert_fault(struct fixture *fixture, const char *part) {
    assert_true(faults_count(&fixture->trial.faults) > 0);
    if (strstr(fixture->trial.faults.first, part) == NULL) fail_msg("%s", fixture->trial.faults.first);
}

static void test_sound(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    ledgers_visit(&fixture.ledgers, &fixture.trial);
    ledgers_visit(&fixture.ledgers, &fixture.trial);
    end(&fixture);
    assert_int_equal(faults_count(&fixture.trial.faults), 0);
}

static void test_visits_what_is_not_alive(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    uint32_t entry = some_entry(&fixture);
    struct ledger_block *block = fixture.ledgers.at[1].entries[entry].block;
    fixture.ledgers.at[1].entries[entry].block = NULL;
    ledgers_visit(&fixture.ledgers, &fixture.trial);
    fixture.ledgers.at[1].entries[entry].block = block;
    assert_fault(&fixture, ", which is not alive");
    end(&fixture);
}

static void test_visits_what_is_of_another_domain(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    uint32_t entry = some_entry(&fixture);
    fixture.ledgers.at[1].entries[entry].domain = fixture.ledgers.domains[1];
    ledgers_visit(&fixture.ledgers, &fixture.trial);
    fixture.ledgers.at[1].entries[entry].domain = fixture.ledgers.domains[0];
    assert_fault(&fixture, " of domain 1");
    end(&fixture);
}

/* A large block that the ledger takes for a small one is visited by nobody. */
static void test_does_not_visit_what_is_alive(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    uint32_t entry = 0;
    struct ledger *ledger = &fixture.ledgers.at[0];
    while (ledger->entries[entry].block == NULL || ledger->entries[entry].size <= LEDGER_SMALL ||
           ledger->entries[entry].domain != fixture.ledgers.domains[0]) {
        ledger_turn(&fixture.ledgers, ledger, &fixture.task);
        entry = (entry + 1) % LEDGER_ENTRIES;
    }
    uint32_t size = ledger->entries[entry].size;
    ledger->entries[entry].size = LEDGER_SMALL;
    ledgers_visit(&fixture.ledgers, &fixture.trial);
    ledger->entries[entry].size = size;
    assert_fault(&fixture, "of thread 0, which is alive");
    end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_visits_what_is_not_alive),
        cmocka_unit_test(test_visits_what_is_of_another_domain),
        cmocka_unit_test(test_does_not_visit_what_is_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
