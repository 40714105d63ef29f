/* SPDX-License-Identifier: MIT */
/*
 * os_memory_test.c - memory of the system: what is mapped is zero, the reservation is laid out as it says, slots come
 *                    and go, and everything that the system may refuse is refused here.
 */
#include "lib/os/os_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/os/layout.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

/* Arenas of the reservations below: large enough for the least reservation that is taken, small enough to use up. */
#define ARENAS 256
#define RESERVE (ARENAS * GI_ARENA_SIZE)

static size_t made(unsigned call) { return shared_get(&system_counts.made[call]); }

/* All of it is `value`; not byte by byte, which takes a sanitizer long. */
static void expect_bytes(const void *memory, size_t size, unsigned char value) {
    const unsigned char *bytes = memory;
    if (bytes[0] != value || memcmp(bytes, bytes + 1, size - 1) != 0) {
        expect_failed(__FILE__, __LINE__, "%zu bytes at %p are not all %#x", size, memory, value);
    }
}

/* --- map, unmap, decommit --------------------------------------------------------------------- */

static void mapped_memory_is_zero_and_writable(void) {
    static const size_t sizes[] = {4096, 65536, GI_ARENA_SIZE, 4 * GI_ARENA_SIZE};
    system_install();
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        char *memory = gi_os_map(sizes[i]);
        EXPECT(memory != NULL);
        EXPECT_EQ((uintptr_t)memory % 4096, 0);
        expect_bytes(memory, sizes[i], 0);
        memset(memory, 0xA5, sizes[i]);
        EXPECT_EQ(shared_get(&system_counts.mapped), sizes[i]);
        gi_os_unmap(memory, sizes[i]);
        EXPECT_EQ(shared_get(&system_counts.mapped), 0);
    }
}

static void a_map_that_is_refused_is_null(void) {
    system_install();
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true}, .at = 2});
    void *first = gi_os_map(4096), *second = gi_os_map(4096), *third = gi_os_map(4096);
    EXPECT(first != NULL && second == NULL && third != NULL);
    gi_os_unmap(first, 4096);
    gi_os_unmap(third, 4096);
}

static void decommitted_memory_is_zero(void) {
    char *memory = gi_os_map(4 * 4096);
    EXPECT(memory != NULL);
    memset(memory, 0xA5, 4 * 4096);
    EXPECT(gi_os_decommit(memory + 4096, 2 * 4096));
    expect_bytes(memory, 4096, 0xA5);
    expect_bytes(memory + 4096, 2 * 4096, 0);
    expect_bytes(memory + 3 * 4096, 4096, 0xA5);
    memset(memory + 4096, 0x5A, 4096);
    gi_os_unmap(memory, 4 * 4096);
}

static void a_decommit_that_is_refused_changes_nothing(void) {
    system_install();
    char *memory = gi_os_map(4096);
    EXPECT(memory != NULL);
    memset(memory, 0xA5, 4096);
    system_refuse_all();
    EXPECT(!gi_os_decommit(memory, 4096));
    expect_bytes(memory, 4096, 0xA5);
    gi_os_unmap(memory, 4096);
}

/* --- descriptors ------------------------------------------------------------------------------ */

static void descriptors_are_zero_apart_and_on_lines_of_their_own(void) {
    static const size_t sizes[] = {1, 64, 65, 100, 4096, 5000, 40000, 65536, 65537, 300000, 24};
    enum { ROUNDS_OF_SIZES = 20 };
    char *got[ROUNDS_OF_SIZES * LENGTH(sizes)];
    system_install();
    for (size_t i = 0; i < LENGTH(got); i++) {
        size_t size = sizes[i % LENGTH(sizes)];
        got[i] = gi_os_meta_alloc(size);
        EXPECT(got[i] != NULL);
        EXPECT_EQ((uintptr_t)got[i] % GI_CACHE_LINE, 0);
        expect_bytes(got[i], size, 0);
        memset(got[i], (int)(i & 0x7F) + 1, size);
    }
    for (size_t i = 0; i < LENGTH(got); i++) {
        expect_bytes(got[i], sizes[i % LENGTH(sizes)], (unsigned char)((i & 0x7F) + 1));
    }
}

static void small_descriptors_share_a_mapping(void) {
    system_install();
    for (int i = 0; i < 100; i++) {
        EXPECT(gi_os_meta_alloc(64) != NULL);
    }
    EXPECT_EQ(made(SYSTEM_MAP), 1);
    EXPECT_EQ(made(SYSTEM_UNMAP), 0);
}

static void descriptors_that_are_refused_are_null(void) {
    system_install();
    system_refuse_all();
    EXPECT(gi_os_meta_alloc(64) == NULL);
    EXPECT(gi_os_meta_alloc(1 << 20) == NULL);
    system_refuse(NULL);
    char *small = gi_os_meta_alloc(64);
    EXPECT(small != NULL);
    system_refuse_all();
    EXPECT(gi_os_meta_alloc(1 << 20) == NULL); /* and the chunk that there is goes on */
    char *next = gi_os_meta_alloc(64);
    EXPECT(next == small + 64);
}

/* --- the reservation -------------------------------------------------------------------------- */

static const gi_reservation *reserve(size_t size) {
    gi_os_reserve(size);
    return gi_os_reservation();
}

/* Words, descriptors and links can be written and read as zero; what is between one part and the next cannot be
   touched: the system refuses to read from there. */
static void expect_part(char *part, size_t size, char *next) {
    expect_bytes(part, size, 0);
    part[0] = part[size - 1] = 1;
    part[0] = part[size - 1] = 0;
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    for (char *guard = next - 4096; guard >= next - 16384; guard -= 4096) {
        EXPECT(write(ends[1], guard, 1) < 0 && errno == EFAULT);
    }
    close(ends[0]);
    close(ends[1]);
}

/* All of the picture in os_memory.h, for a reservation of `size` bytes. */
static void expect_layout(const gi_reservation *r, size_t size) {
    EXPECT(r->base != NULL);
    EXPECT_EQ((uintptr_t)r->base % GI_ARENA_SIZE, 0);
    EXPECT_EQ(r->pages * GI_POOL_SIZE, size);
    EXPECT(r->descriptors >= r->base + r->pages * GI_PAGE_WORD_SIZE);
    EXPECT_EQ((uintptr_t)r->descriptors % GI_CACHE_LINE, 0);
    char *links = (char *)r->free_links;
    EXPECT(links >= r->descriptors + r->pages * GI_POOL_DESCRIPTOR_SIZE);
    EXPECT(r->slots >= links + r->slot_count * sizeof(uint32_t));
    EXPECT_EQ((uintptr_t)r->slots % GI_ARENA_SIZE, 0);
    EXPECT(r->slots + r->slot_count * GI_ARENA_SIZE == r->base + size);
    EXPECT(r->slot_count > 0);
    expect_part(r->base, r->pages * GI_PAGE_WORD_SIZE, r->descriptors);
    expect_part(r->descriptors, r->pages * GI_POOL_DESCRIPTOR_SIZE, links);
    expect_part(links, (size >> GI_ARENA_SHIFT) * sizeof(uint32_t), r->slots);
    EXPECT_EQ(r->fresh, 0);
    EXPECT_EQ(r->committed, 0);
    EXPECT_EQ(r->first_free, 0);
}

static void a_reservation_is_laid_out_as_it_says(void) {
    system_install();
    expect_layout(reserve(RESERVE), RESERVE);
    EXPECT_EQ(shared_get(&system_counts.mapped), RESERVE); /* what is too much goes back */
}

static void a_size_is_cut_to_whole_arenas(void) { expect_layout(reserve(RESERVE + GI_ARENA_SIZE - 1), RESERVE); }

static void none_is_reserved_below_the_least(void) {
    static const size_t sizes[] = {0, 1, GI_ARENA_SIZE - 1, (size_t)1 << 20};
    system_install();
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        const gi_reservation *r = reserve(sizes[i]);
        EXPECT(r->base == NULL);
        EXPECT_EQ(r->pages, 0);
        EXPECT_EQ(r->slot_count, 0);
    }
    EXPECT_EQ(made(SYSTEM_MAP), 0);
    EXPECT(gi_os_slot_acquire() == NULL);
    void *memory = gi_os_map(GI_ARENA_SIZE);
    EXPECT(!gi_os_slot_release(memory));
    EXPECT(!gi_os_slot_release(NULL));
    gi_os_unmap(memory, GI_ARENA_SIZE);
}

static void a_reservation_that_is_refused_is_halved_until_it_fits(void) {
    system_install();
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_MAP] = true}, .above = RESERVE / 2 + GI_ARENA_SIZE});
    expect_layout(reserve(4 * RESERVE), RESERVE / 2);
    EXPECT_EQ(made(SYSTEM_MAP), 4);
    EXPECT_EQ(shared_get(&system_counts.mapped), RESERVE / 2);
}

static void expect_halved_when_refused(unsigned part) {
    system_install();
    system_refuse(&(struct system_refusals){.calls = {[SYSTEM_PROTECT] = true}, .at = part});
    expect_layout(reserve(4 * RESERVE), 2 * RESERVE);
    EXPECT_EQ(shared_get(&system_counts.mapped), 2 * RESERVE);
}

static void a_reservation_whose_first_part_is_refused_is_halved_and_goes_back(void) { expect_halved_when_refused(1); }

static void a_reservation_whose_last_part_is_refused_is_halved_and_goes_back(void) { expect_halved_when_refused(3); }

static void a_reservation_that_never_fits_is_none(void) {
    static const unsigned calls[] = {SYSTEM_MAP, SYSTEM_PROTECT};
    system_install();
    for (size_t i = 0; i < LENGTH(calls); i++) {
        struct system_refusals refusals = {.calls = {false}, .from = 1};
        refusals.calls[calls[i]] = true;
        system_refuse(&refusals);
        EXPECT(reserve((size_t)1 << 40)->base == NULL);
        EXPECT(shared_get(&system_counts.refused) > 10);
        EXPECT_EQ(shared_get(&system_counts.mapped), 0);
        EXPECT_EQ(gi_os_reservation()->pages, 0);
        EXPECT(gi_os_slot_acquire() == NULL);
    }
}

#if !UNDER_ASAN && !UNDER_TSAN
static size_t address_space_in_use(void) {
    FILE *statm = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    EXPECT(statm != NULL);
    EXPECT_EQ(fscanf(statm, "%lu", &pages), 1);
    fclose(statm);
    return pages * 4096;
}

static void limit_address_space(size_t bytes) {
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    EXPECT_EQ(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = bytes;
    EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

/* A reservation leaves most of a limited address space to the rest of the program. */
static void a_limit_on_address_space_is_shared(void) {
    size_t room = (size_t)1 << 30, limit = address_space_in_use() + room;
    limit_address_space(limit);
    const gi_reservation *r = reserve((size_t)64 << 30);
    EXPECT(r->base != NULL);
    EXPECT_AT_MOST(r->pages * GI_POOL_SIZE, limit / 4);
    EXPECT(r->pages * GI_POOL_SIZE > limit / 16);
    void *rest = gi_os_map(room / 2);
    EXPECT(rest != NULL);
    expect_layout(r, r->pages * GI_POOL_SIZE);
}

static void a_tight_limit_leaves_no_reservation(void) {
    limit_address_space(address_space_in_use());
    EXPECT(reserve((size_t)64 << 30)->base == NULL);
    EXPECT(gi_os_slot_acquire() == NULL);
    EXPECT(gi_os_map(1 << 20) == NULL);
}
#endif

/* --- slots ------------------------------------------------------------------------------------ */

static void slots_are_aligned_distinct_zero_and_come_to_an_end(void) {
    const gi_reservation *r = reserve(RESERVE);
    const size_t count = r->slot_count;
    char **slots = calloc(count, sizeof(slots[0]));
    EXPECT(slots != NULL);
    for (size_t i = 0; i < count; i++) {
        slots[i] = gi_os_slot_acquire();
        EXPECT(slots[i] != NULL);
        EXPECT(slots[i] >= r->slots && slots[i] < r->base + RESERVE);
        EXPECT_EQ((uintptr_t)slots[i] % GI_ARENA_SIZE, 0);
        expect_bytes(slots[i], GI_ARENA_SIZE, 0);
        memset(slots[i], (int)(i % 255) + 1, GI_ARENA_SIZE);
    }
    EXPECT(gi_os_slot_acquire() == NULL);
    EXPECT_EQ(r->fresh, count);
    EXPECT_EQ(r->committed, count);
    for (size_t i = 0; i < count; i++) {
        expect_bytes(slots[i], GI_ARENA_SIZE, (unsigned char)(i % 255 + 1)); /* nobody has touched another's */
    }
    /* Any of them may come back, and is zero again. */
    for (size_t i = 0; i < count; i += 7) {
        EXPECT(gi_os_slot_release(slots[i]));
    }
    for (size_t i = 0; i < count; i += 7) {
        char *again = gi_os_slot_acquire();
        EXPECT(again != NULL);
        EXPECT_EQ((size_t)(again - slots[0]) / GI_ARENA_SIZE % 7, 0);
        expect_bytes(again, GI_ARENA_SIZE, 0);
        memset(again, 0xFF, GI_ARENA_SIZE);
    }
    EXPECT(gi_os_slot_acquire() == NULL);
    free(slots);
}

static void a_slot_that_came_back_is_used_first(void) {
    reserve(RESERVE);
    char *slots[6];
    for (size_t i = 0; i < LENGTH(slots); i++) {
        slots[i] = gi_os_slot_acquire();
        EXPECT(slots[i] != NULL);
    }
    size_t fresh = gi_os_reservation()->fresh;
    EXPECT(gi_os_slot_release(slots[1]));
    EXPECT(gi_os_slot_release(slots[4]));
    EXPECT(gi_os_slot_acquire() == slots[4]);
    EXPECT(gi_os_slot_acquire() == slots[1]);
    EXPECT_EQ(gi_os_reservation()->fresh, fresh);
}

static void only_slots_are_taken_back(void) {
    const gi_reservation *r = reserve(RESERVE);
    EXPECT(gi_os_slot_acquire() != NULL);
    void *mapped = gi_os_map(GI_ARENA_SIZE);
    EXPECT(!gi_os_slot_release(NULL));
    EXPECT(!gi_os_slot_release(&mapped));
    EXPECT(!gi_os_slot_release(mapped));
    EXPECT(!gi_os_slot_release(r->base));
    EXPECT(!gi_os_slot_release(r->slots - GI_ARENA_SIZE));
    EXPECT(!gi_os_slot_release(r->base + RESERVE));
    EXPECT_EQ(r->first_free, 0);
    gi_os_unmap(mapped, GI_ARENA_SIZE);
}

static void a_slot_that_is_refused_is_null_and_not_lost(void) {
    system_install();
    reserve(RESERVE);
    system_refuse_all();
    EXPECT(gi_os_slot_acquire() == NULL);
    EXPECT(gi_os_slot_acquire() == NULL);
    system_refuse(NULL);
    char *slot = gi_os_slot_acquire();
    EXPECT(slot == gi_os_reservation()->slots); /* the first one */
    expect_bytes(slot, GI_ARENA_SIZE, 0);
    memset(slot, 1, GI_ARENA_SIZE);
    /* The rest of what was committed at once needs no call. */
    size_t calls = made(SYSTEM_PROTECT);
    system_refuse_all();
    size_t count = 1;
    while (gi_os_slot_acquire() != NULL) {
        count++;
    }
    EXPECT_EQ(count, gi_os_reservation()->committed);
    EXPECT_EQ(made(SYSTEM_PROTECT), calls + 1);
}

static void a_slot_that_the_system_will_not_take_back_is_zero_all_the_same(void) {
    system_install();
    reserve(RESERVE);
    char *slot = gi_os_slot_acquire();
    EXPECT(slot != NULL);
    memset(slot, 0xA5, GI_ARENA_SIZE);
    system_refuse_all();
    EXPECT(gi_os_slot_release(slot));
    EXPECT(gi_os_slot_acquire() == slot);
    expect_bytes(slot, GI_ARENA_SIZE, 0);
}

/* vm.max_map_count bounds mappings, not memory. */
static void a_reservation_is_a_few_mappings_however_many_slots_are_used(void) {
    const gi_reservation *r = reserve(RESERVE);
    for (size_t i = 0; i < r->slot_count / 2; i++) {
        char *slot = gi_os_slot_acquire();
        EXPECT(slot != NULL);
        memset(slot, 1, 4096);
        if (i % 3 == 0) {
            EXPECT(gi_os_slot_release(slot));
        }
    }
    FILE *maps = fopen("/proc/self/maps", "r");
    EXPECT(maps != NULL);
    size_t count = 0;
    char line[512];
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t start = 0, end = 0;
        EXPECT_EQ(sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end), 2);
        count += start < (uintptr_t)r->base + RESERVE && end > (uintptr_t)r->base;
    }
    fclose(maps);
    EXPECT_EQ(count, 8); /* three parts and their guards, slots, and what is not yet used */
}

/* --- many threads ----------------------------------------------------------------------------- */

static void *use_slots(void *arg) {
    int value = *(const int *)arg;
    char *held[8] = {NULL};
    for (size_t i = 0; i < ROUNDS(4000); i++) {
        size_t at = i % LENGTH(held);
        if (held[at] != NULL) {
            EXPECT_EQ(held[at][0], value);
            EXPECT_EQ(held[at][GI_ARENA_SIZE - 1], value);
            EXPECT(gi_os_slot_release(held[at]));
            held[at] = NULL;
        } else {
            held[at] = gi_os_slot_acquire();
            EXPECT(held[at] != NULL);
            EXPECT_EQ(held[at][0], 0);
            EXPECT_EQ(held[at][GI_ARENA_SIZE - 1], 0);
            held[at][0] = held[at][GI_ARENA_SIZE - 1] = (char)value;
        }
        char *descriptor = i % 16 == 0 ? gi_os_meta_alloc(64) : NULL;
        if (descriptor != NULL) {
            EXPECT_EQ(descriptor[0], 0);
            descriptor[0] = (char)value;
        }
    }
    for (size_t at = 0; at < LENGTH(held); at++) {
        if (held[at] != NULL) {
            EXPECT(gi_os_slot_release(held[at]));
        }
    }
    return NULL;
}

static void slots_come_and_go_in_many_threads(void) {
    static int values[4] = {1, 2, 3, 4};
    const gi_reservation *r = reserve(RESERVE);
    threads_run(LENGTH(values), use_slots, values, sizeof(values[0]));
    size_t free_slots = 0;
    for (uint32_t next = r->first_free; next != 0; next = r->free_links[next - 1]) {
        free_slots++;
    }
    EXPECT_EQ(free_slots, r->fresh); /* every one came back, once */
    EXPECT_AT_MOST(r->fresh, LENGTH(values) * 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(mapped_memory_is_zero_and_writable),
        IN_CHILD(a_map_that_is_refused_is_null),
        IN_CHILD(decommitted_memory_is_zero),
        IN_CHILD(a_decommit_that_is_refused_changes_nothing),
        IN_CHILD(descriptors_are_zero_apart_and_on_lines_of_their_own),
        IN_CHILD(small_descriptors_share_a_mapping),
        IN_CHILD(descriptors_that_are_refused_are_null),
        IN_CHILD(a_reservation_is_laid_out_as_it_says),
        IN_CHILD(a_size_is_cut_to_whole_arenas),
        IN_CHILD(none_is_reserved_below_the_least),
        IN_CHILD(a_reservation_that_is_refused_is_halved_until_it_fits),
        IN_CHILD(a_reservation_whose_first_part_is_refused_is_halved_and_goes_back),
        IN_CHILD(a_reservation_whose_last_part_is_refused_is_halved_and_goes_back),
        IN_CHILD(a_reservation_that_never_fits_is_none),
#if !UNDER_ASAN && !UNDER_TSAN
        /* Not under a sanitizer that keeps a shadow of all addresses: a limit would count its terabytes, and end it. */
        IN_CHILD(a_limit_on_address_space_is_shared),
        IN_CHILD(a_tight_limit_leaves_no_reservation),
#endif
        IN_CHILD(slots_are_aligned_distinct_zero_and_come_to_an_end),
        IN_CHILD(a_slot_that_came_back_is_used_first),
        IN_CHILD(only_slots_are_taken_back),
        IN_CHILD(a_slot_that_is_refused_is_null_and_not_lost),
        IN_CHILD(a_slot_that_the_system_will_not_take_back_is_zero_all_the_same),
        IN_CHILD(a_reservation_is_a_few_mappings_however_many_slots_are_used),
        IN_CHILD(slots_come_and_go_in_many_threads),
    };
    return cmocka_run_group_tests_name("os memory", tests, NULL, NULL);
}
