/* SPDX-License-Identifier: MIT */
/*
 * ledger_test.c - one word for each address: in the reservation, elsewhere, without a reservation, by several threads,
 *                 around a fork, when memory is out.
 */
#include "lib/domain/ledger.h"

#include <gilloc/gilloc.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/threads.h"

static gi_ledger ledger;

/* A block of a pool, in the reservation if there is one; of a live one, so that its page is visited. */
static char *block_of_pool(void) {
    PyGILState_Ensure();
    return PyMem_Malloc(48);
}

static void put_get_take(const char *address) {
    EXPECT(gi_ledger_get(&ledger, address) == 0);
    EXPECT(gi_ledger_put(&ledger, address, 7));
    EXPECT(gi_ledger_get(&ledger, address) == 7);
    EXPECT(gi_ledger_get(&ledger, address + 16) == 0);
    EXPECT(gi_ledger_put(&ledger, address, UINT64_MAX));
    EXPECT(gi_ledger_take(&ledger, address) == UINT64_MAX);
    EXPECT(gi_ledger_get(&ledger, address) == 0);
    EXPECT(gi_ledger_take(&ledger, address) == 0);
}

static void a_word_is_put_got_and_taken(void) {
    char *small = block_of_pool();
    EXPECT(!gi_ledger_is_open(&ledger));
    gi_ledger_open(&ledger);
    EXPECT(gi_ledger_is_open(&ledger));
    gi_ledger_open(&ledger);
    EXPECT(gi_ledger_shadow_word(&ledger, small) != NULL);
    EXPECT(gi_ledger_shadow_word(&ledger, &ledger) == NULL);
    put_get_take(small);
    put_get_take((char *)&ledger);
    EXPECT(gi_ledger_entries(&ledger) == 0);
}

static void an_unaligned_address_has_no_word_of_its_block(void) {
    char *small = block_of_pool();
    gi_ledger_open(&ledger);
    EXPECT(gi_ledger_put(&ledger, small, 1));
    EXPECT(gi_ledger_get(&ledger, small + 1) == 0);
    EXPECT(gi_ledger_get(&ledger, small + 8) == 0);
    EXPECT(gi_ledger_get(&ledger, small) == 1);
}

static void without_a_reservation_all_are_in_the_table(void) {
    EXPECT(setenv("GILLOC_RESERVE", "0", 1) == 0);
    char *small = block_of_pool();
    gi_ledger_open(&ledger);
    EXPECT(gi_ledger_shadow_word(&ledger, small) == NULL);
    put_get_take(small);
}

/* --- all of it -------------------------------------------------------------------------------- */

struct sum {
    uint64_t count, values;
};

static void add(const void *address, uint64_t value, void *arg) {
    struct sum *sum = arg;
    EXPECT(address != NULL);
    sum->count++;
    sum->values += value;
}

static struct sum sum_up(void) {
    struct sum sum = {0, 0};
    gi_ledger_each(&ledger, add, &sum);
    return sum;
}

enum { MANY = 20000 };
static char outside[MANY];

static void each_is_visited_and_cleared(void) {
    PyGILState_Ensure();
    static char *blocks[MANY];
    gi_ledger_open(&ledger);
    for (uint64_t i = 0; i < MANY; i++) {
        blocks[i] = PyObject_Malloc(i % 512);
        EXPECT(gi_ledger_put(&ledger, blocks[i], i + 1));
        EXPECT(gi_ledger_put(&ledger, &outside[i], i + 1));
    }
    uint64_t values = (uint64_t)MANY * (MANY + 1) / 2;
    struct sum sum = sum_up();
    EXPECT(sum.count == 2 * MANY);
    EXPECT(sum.values == 2 * values);
    EXPECT(gi_ledger_entries(&ledger) == MANY);
    EXPECT(gi_ledger_bytes(&ledger) >= MANY * sizeof(uint64_t));
    for (uint64_t i = 0; i < MANY; i++) {
        EXPECT(gi_ledger_get(&ledger, &outside[i]) == i + 1);
        EXPECT(gi_ledger_get(&ledger, blocks[i]) == i + 1);
    }
    gi_ledger_clear(&ledger);
    sum = sum_up();
    EXPECT(sum.count == 0);
    EXPECT(gi_ledger_entries(&ledger) == 0);
    EXPECT(gi_ledger_get(&ledger, &outside[5]) == 0);
    EXPECT(gi_ledger_get(&ledger, blocks[5]) == 0);
}

/* Many come and go in an order without one: whatever is removed, the others are still found. */
static void any_may_be_removed_among_others(void) {
    enum { PLACES = 4096, STEPS = 100000 };
    EXPECT(gilloc_get_mode() == GILLOC_MODE_GIL);
    gi_ledger_open(&ledger);
    static uint64_t words[PLACES];
    uint64_t random = 1, there = 0;
    for (uint64_t step = 1; step <= STEPS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t place = random >> 52; /* one of PLACES */
        uint64_t word = words[place] == 0 ? step : 0;
        if (word != 0) {
            EXPECT(gi_ledger_put(&ledger, &outside[place], word));
            there++;
        } else {
            EXPECT(gi_ledger_take(&ledger, &outside[place]) == words[place]);
            there--;
        }
        words[place] = word;
        if (step % 1000 == 0) {
            for (size_t i = 0; i < PLACES; i++) {
                EXPECT(gi_ledger_get(&ledger, &outside[i]) == words[i]);
            }
            EXPECT(gi_ledger_entries(&ledger) == there);
        }
    }
}

/* --- threads, forks --------------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 2000 };

static void *put_and_take(void *arg) {
    char *mine = arg;
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < EACH; i++) {
            EXPECT(gi_ledger_put(&ledger, mine + i, i + 1));
        }
        for (uint64_t i = 0; i < EACH; i++) {
            EXPECT(gi_ledger_take(&ledger, mine + i) == i + 1);
        }
    }
    return NULL;
}

static void threads_put_and_take_at_once(void) {
    EXPECT(gilloc_get_mode() == GILLOC_MODE_GIL);
    gi_ledger_open(&ledger);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = thread_start(put_and_take, outside + i * EACH);
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
    }
    EXPECT(gi_ledger_entries(&ledger) == 0);
}

static struct shared enough;

static void *put_until_enough(void *arg) {
    (void)arg;
    while (shared_get(&enough) == 0) {
        put_and_take(outside);
    }
    return NULL;
}

static void a_child_of_a_fork_finds_its_shards_free(void) {
    EXPECT(gilloc_get_mode() == GILLOC_MODE_GIL);
    gi_ledger_open(&ledger);
    pthread_t thread = thread_start(put_until_enough, NULL);
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0) {
            put_and_take(outside + EACH);
            _exit(0);
        }
        int status = -1;
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    shared_set(&enough, 1);
    thread_join(thread);
}

/* --- when memory is out ----------------------------------------------------------------------- */

static void a_refused_shadow_leaves_the_table(void) {
    system_install();
    char *small = block_of_pool();
    system_refuse_all();
    gi_ledger_open(&ledger);
    system_refuse(NULL);
    EXPECT(ledger.shadow == NULL);
    put_get_take(small);
}

/* Half of the places are taken when it would grow, and cannot: the rest are taken as well, but for one of a shard. */
static void a_table_that_cannot_grow_is_filled(void) {
    enum { LEAST = 8 * 64 + 1, MOST = 8 * 127 };
    system_install();
    EXPECT(gilloc_get_mode() == GILLOC_MODE_GIL);
    gi_ledger_open(&ledger);
    for (unsigned i = 0; i < GI_LEDGER_SHARDS * 16; i++) { /* each shard has its first table */
        EXPECT(gi_ledger_put(&ledger, &outside[i], 1));
    }
    system_refuse_all();
    uint64_t added = GI_LEDGER_SHARDS * 16;
    while (gi_ledger_put(&ledger, &outside[added], added)) {
        added++;
    }
    EXPECT(LEAST <= added && added <= MOST);
    EXPECT(gi_ledger_get(&ledger, &outside[added]) == 0);
    EXPECT(gi_ledger_take(&ledger, &outside[added - 1]) == added - 1);
    system_refuse(NULL);
    EXPECT(gi_ledger_put(&ledger, &outside[added], added));
    for (uint64_t i = GI_LEDGER_SHARDS * 16; i < added - 1; i++) {
        EXPECT(gi_ledger_get(&ledger, &outside[i]) == i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_word_is_put_got_and_taken),
        IN_CHILD(an_unaligned_address_has_no_word_of_its_block),
        IN_CHILD(without_a_reservation_all_are_in_the_table),
        IN_CHILD(each_is_visited_and_cleared),
        IN_CHILD(any_may_be_removed_among_others),
        IN_CHILD(threads_put_and_take_at_once),
        IN_CHILD(a_child_of_a_fork_finds_its_shards_free),
        IN_CHILD(a_refused_shadow_leaves_the_table),
        IN_CHILD(a_table_that_cannot_grow_is_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
