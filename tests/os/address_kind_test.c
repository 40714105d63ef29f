/* SPDX-License-Identifier: MIT */
/*
 * address_kind_test.c - each kind of place that an address may be in, in words, and words that are cut.
 */
#include "lib/os/address_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/os/layout.h"
#include "lib/os/os_memory.h"
#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

static int data = 1, zeroed[100000]; /* zeroed: large enough for pages of its own */
static const char constant[] = "constant";

static void expect_kind(const void *address, const char *words) {
    char buffer[GI_ADDRESS_KIND_SIZE];
    errno = EDOM;
    const char *got = gi_address_kind(address, buffer, sizeof(buffer));
    EXPECT_EQ(errno, EDOM);
    EXPECT(got == buffer);
    if (strcmp(got, words) != 0) {
        expect_failed(__FILE__, __LINE__, "%p is \"%s\", not \"%s\"", address, got, words);
    }
}

/* The words, with the file of this program behind them, as far as a name is kept. */
static void expect_of_program(const void *address, const char *words) {
    char file[4096], buffer[GI_ADDRESS_KIND_SIZE];
    ssize_t length = readlink("/proc/self/exe", file, sizeof(file) - 1);
    EXPECT(length > 0);
    file[length] = '\0';
    const char *got = gi_address_kind(address, buffer, sizeof(buffer));
    size_t head = strlen(words), rest = strlen(got) - head;
    EXPECT(strncmp(got, words, head) == 0);
    EXPECT(rest > 50 || file[rest] == '\0');
    EXPECT(strncmp(got + head, file, rest) == 0);
}

static void what_a_program_consists_of(void) {
    expect_of_program(&data, "in the data of ");
    expect_of_program(&zeroed[LENGTH(zeroed) / 2], "in the data of ");
    expect_of_program(constant, "in the code or constants of ");
    expect_of_program((const void *)(uintptr_t)expect_of_program, "in the code or constants of ");
    expect_kind((const void *)getauxval(AT_SYSINFO_EHDR), "in the system's [vdso]");
}

static void *look_from_another_thread(void *frame_of_main) {
    expect_kind(__builtin_frame_address(0), "on the stack of this thread");
    expect_kind(frame_of_main, "on the stack of the main thread");
    return NULL;
}

static void stacks(void) {
    expect_kind(__builtin_frame_address(0), "on the stack of this thread");
    threads_run(1, look_from_another_thread, __builtin_frame_address(0), 0);
}

static void memory_of_others(void) {
    char *block = malloc(100);
    EXPECT(block != NULL);
    block[0] = 'x';
    /* a sanitizer's allocator maps its own */
    expect_kind(block, UNDER_ASAN || UNDER_TSAN ? "in anonymous memory" : "in the C library's heap");
    free(block);
    char *anonymous = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(anonymous != MAP_FAILED);
    EXPECT_EQ(mprotect(anonymous + 4096, 4096, PROT_NONE), 0);
    EXPECT_EQ(munmap(anonymous + 2 * 4096, 4096), 0);
    expect_kind(anonymous + 4095, "in anonymous memory");
    expect_kind(anonymous + 4096, "in memory that must not be touched");
    expect_kind(anonymous + 2 * 4096, "not mapped");
    expect_kind((const void *)(uintptr_t)16, "not mapped");
    expect_kind((const void *)UINTPTR_MAX, "not mapped");
}

static void mappings_of_files(void) {
    int file = open("/proc/self/exe", O_RDONLY);
    EXPECT(file >= 0);
    char *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    EXPECT(shared != MAP_FAILED);
    close(file);
    expect_of_program(shared, "in a mapping of ");
    char name[] = "/tmp/address_kind_XXXXXX", words[100];
    file = mkstemp(name);
    EXPECT(file >= 0 && ftruncate(file, 4096) == 0);
    char *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    EXPECT(private != MAP_FAILED);
    close(file);
    snprintf(words, sizeof(words), "in a mapping of %s", name);
    expect_kind(private, words);
    unlink(name);
}

static void the_reservation(void) {
    expect_kind(NULL, "not mapped");
    gi_os_reserve((size_t)64 * GI_ARENA_SIZE + ((size_t)8 << 20));
    const gi_reservation *ours = gi_os_reservation();
    EXPECT(ours->base != NULL);
    expect_kind(ours->base, "in gilloc's own memory");
    expect_kind(ours->descriptors, "in gilloc's own memory");
    expect_kind(ours->slots, "in gilloc's arenas");
    expect_kind(ours->base + ours->pages * GI_POOL_SIZE - 1, "in gilloc's arenas");
    expect_kind(NULL, "not mapped");
}

static void words_that_do_not_fit_are_cut(void) {
    char buffer[] = "xxxxxxxxxx";
    EXPECT(strcmp(gi_address_kind(NULL, buffer, 6), "not m") == 0);
    EXPECT_EQ(buffer[6], 'x');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(what_a_program_consists_of), IN_CHILD(stacks),          IN_CHILD(memory_of_others),
        IN_CHILD(mappings_of_files),          IN_CHILD(the_reservation), IN_CHILD(words_that_do_not_fit_are_cut),
    };
    return cmocka_run_group_tests_name("address kind", tests, NULL, NULL);
}
