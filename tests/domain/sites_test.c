/* SPDX-License-Identifier: MIT */
/*
 * sites_test.c - call sites: each stack once, by number and back; a runtime's frames; several threads; no memory.
 */
#include "lib/domain/sites.h"

#include <stdlib.h>
#include <string.h>

#include "tests/concurrency/unit.h"
#include "tests/domain/refusing.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static const gi_site *intern(unsigned domain, const gi_frame *frames, uint32_t count) {
    return gi_site_intern(gi_site_hash(domain, frames, count), domain, frames, count);
}

static void a_stack_is_one_site(void) {
    gi_frame frames[] = {1, 2, 3};
    const gi_site *site = intern(0, frames, 3);
    EXPECT(site != NULL && site->number != 0 && site->number < gi_site_numbers());
    EXPECT(site->count == 3 && site->domain == 0 && memcmp(site->frames, frames, sizeof(frames)) == 0);
    EXPECT(intern(0, frames, 3) == site);
    EXPECT(gi_site_of(site->number) == site);
}

static void others_are_other_sites(void) {
    gi_frame frames[] = {1, 2, 3}, last[] = {1, 2, 4};
    const gi_site *site = intern(0, frames, 3);
    EXPECT(intern(0, frames, 2) != site);
    EXPECT(intern(1, frames, 3) != site);
    EXPECT(intern(0, last, 3) != site);
    /* One hash for all: what is compared is what they are. */
    const gi_site *same_hash = gi_site_intern(site->hash, 0, last, 3);
    EXPECT(same_hash != site && same_hash->frames[2] == 4);
    EXPECT(gi_site_intern(site->hash, 7, frames, 3) != site);
    EXPECT(gi_site_intern(site->hash, 0, frames, 1) != site);
}

static void no_number_is_no_site(void) {
    EXPECT(gi_site_of(0) == NULL);
    EXPECT(gi_site_of(gi_site_numbers()) == NULL);
    EXPECT(gi_site_of((1u << GI_SITE_BITS) - 1) == NULL);
}

static void the_longest_stack_fits(void) {
    gi_frame frames[GI_SITE_FRAMES_MAX];
    for (unsigned i = 0; i < GI_SITE_FRAMES_MAX; i++) {
        frames[i] = i;
    }
    const gi_site *site = intern(0, frames, GI_SITE_FRAMES_MAX);
    EXPECT(site->count == GI_SITE_FRAMES_MAX && site->frames[GI_SITE_FRAMES_MAX - 1] == GI_SITE_FRAMES_MAX - 1);
}

static void a_runtimes_frame_is_one_record(void) {
    gi_frame frame = gi_frame_intern("f", "a.py", 3);
    const gi_frame_record *record = gi_frame_record_of(frame);
    EXPECT(record != NULL && record->line == 3);
    EXPECT(strcmp(record->function, "f") == 0 && strcmp(record->file, "a.py") == 0);
    char function[] = "f", file[] = "a.py";
    EXPECT(gi_frame_intern(function, file, 3) == frame);
    EXPECT(gi_frame_intern("f", "a.py", 4) != frame);
    EXPECT(gi_frame_intern("g", "a.py", 3) != frame);
    EXPECT(gi_frame_intern("fa", ".py", 3) != frame);
    EXPECT(gi_frame_intern("f", "", 3) == gi_frame_intern("f", NULL, 3));
    EXPECT(strcmp(gi_frame_record_of(gi_frame_intern(NULL, "b", 0))->function, "") == 0);
    EXPECT(gi_frame_record_of(0x7fffffff1234) == NULL);
}

static void a_long_name_is_cut(void) {
    char name[1000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    const gi_frame_record *record = gi_frame_record_of(gi_frame_intern(name, name, 1));
    EXPECT(strlen(record->function) == 255 && strlen(record->file) == 255);
}

/* --- threads ---------------------------------------------------------------------------------- */

enum { THREADS = 4, SITES = 10000 };

static const gi_site *found[THREADS][SITES];
static struct shared next_thread;

static void *intern_all(void *arg) {
    (void)arg;
    size_t mine = shared_add(&next_thread, 1);
    for (gi_frame i = 0; i < SITES; i++) {
        found[mine][i] = intern(0, &i, 1);
        EXPECT(found[mine][i] != NULL && gi_site_of(found[mine][i]->number) == found[mine][i]);
    }
    return NULL;
}

static void threads_find_the_same_sites(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = thread_start(intern_all, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
    }
    for (int i = 0; i < SITES; i++) {
        for (int j = 1; j < THREADS; j++) {
            EXPECT(found[j][i] == found[0][i]);
        }
    }
    EXPECT(gi_site_numbers() == SITES + 1);
    EXPECT(gi_site_bytes() >= SITES * sizeof(gi_site));
}

/* --- when memory is out ----------------------------------------------------------------------- */

static void without_memory_there_is_no_site(void) {
    for (gi_frame i = 0; i < 200; i++) {
        refuse_from(1);
        const gi_site *none = intern(0, &i, 1);
        gi_frame no_frame = gi_frame_intern("f", "a", (int)i);
        refuse_nothing();
        EXPECT(none == NULL && no_frame == 0);
        const gi_site *site = intern(0, &i, 1);
        EXPECT(site != NULL && gi_site_of(site->number) == site);
        gi_frame frame = gi_frame_intern("f", "a", (int)i);
        refuse_from(1); /* what is there needs none */
        EXPECT(intern(0, &i, 1) == site);
        EXPECT(gi_frame_intern("f", "a", (int)i) == frame);
        refuse_nothing();
    }
}

static void each_refusal_leaves_the_table_whole(void) {
    for (gi_frame i = 0; i < 3000; i++) {
        refuse_at(1 + i % 4);
        const gi_site *site = intern(0, &i, 1);
        refuse_nothing();
        const gi_site *again = intern(0, &i, 1);
        EXPECT(again != NULL && (site == NULL || site == again));
        EXPECT(gi_site_of(again->number) == again);
    }
    for (gi_frame i = 0; i < 3000; i++) {
        const gi_site *site = intern(0, &i, 1);
        EXPECT(site->frames[0] == i && gi_site_of(site->number) == site);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_stack_is_one_site),
        IN_CHILD(others_are_other_sites),
        IN_CHILD(no_number_is_no_site),
        IN_CHILD(the_longest_stack_fits),
        IN_CHILD(a_runtimes_frame_is_one_record),
        IN_CHILD(a_long_name_is_cut),
        IN_CHILD(threads_find_the_same_sites),
        IN_CHILD(without_memory_there_is_no_site),
        IN_CHILD(each_refusal_leaves_the_table_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
