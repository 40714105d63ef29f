/* SPDX-License-Identifier: MIT */
/*
 * check_test.c - how the library dies, and how a check reports: one line or more, whole or cut, by one write(2).
 */
#include "concurrency/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/concurrency/unit.h"
#include "tests/support/child.h"

/* --- the form of a fatal text ----------------------------------------------------------------- */

static void fatal(const void *arg) {
    (void)arg;
    gi_fatal("PyMem_Free", "double free" GI_FACT("domain  ", "%s") GI_FACT("size    ", "%zu bytes") GI_DO("stop %c%%"),
             "mem", (size_t)48, '5');
}

static void fatal_without_facts(const void *arg) {
    (void)arg;
    gi_fatal("first use", "nothing is left");
}

static void failed_assertion(const void *arg) {
    (void)arg;
    gi_assert_failed("a == b", "lib/x.c", 12);
}

/* --- bad input -------------------------------------------------------------------------------- */

static void at_exit_must_not_run(void) { abort(); }

static void fatal_input(void *arg) {
    (void)arg;
    EXPECT_EQ(atexit(at_exit_must_not_run), 0);
    gi_fatal_input("PYTHON_GIL", "must be \"0\" or \"1\", not \"%s\"", "2");
}

static void bad_input_exits_with_1(void **state) {
    (void)state;
    struct child_end end;
    child_run(&end, fatal_input, NULL);
    assert_int_equal(end.status, 1);
    assert_string_equal(end.text, "Fatal gilloc error: PYTHON_GIL: must be \"0\" or \"1\", not \"2\"\n");
    child_end_fini(&end);
}

/* --- too long --------------------------------------------------------------------------------- */

/* More than any report holds. */
static char long_text[1 << 16];

static void fatal_too_long(void *arg) {
    (void)arg;
    gi_fatal("PyMem_Free", "%s", long_text);
}

static void fatal_too_long_function(void *arg) {
    (void)arg;
    gi_fatal(long_text, "message");
}

static void fatal_input_too_long(void *arg) {
    (void)arg;
    gi_fatal_input("GILLOC_RESERVE", "%s", long_text);
}

/* `text` is `start`, then as many a as fitted, then the newline: at least 600 characters, the longest real text. */
static void assert_cut(const char *text, const char *start) {
    size_t length = strlen(text);
    assert_in_range(length, 600, 4096);
    assert_memory_equal(text, start, strlen(start));
    assert_int_equal(strspn(text + strlen(start), "a"), length - strlen(start) - 1);
    assert_int_equal(text[length - 1], '\n');
}

static void long_texts_are_cut(void **state) {
    (void)state;
    memset(long_text, 'a', sizeof(long_text) - 1);
    static const struct {
        void (*body)(void *arg);
        int status;
        const char *start;
    } cases[] = {
        {fatal_too_long, -1, "Fatal gilloc error: PyMem_Free: "},
        {fatal_too_long_function, -1, "Fatal gilloc error: "},
        {fatal_input_too_long, 1, "Fatal gilloc error: GILLOC_RESERVE: "},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct child_end end;
        child_run(&end, cases[i].body, NULL);
        assert_int_equal(end.status, cases[i].status);
        assert_int_equal(end.signal, cases[i].status == -1 ? SIGABRT : 0);
        assert_cut(end.text, cases[i].start);
        child_end_fini(&end);
    }
}

/* Each length around the limit, so that the byte of the newline and that of the end are never one too many: run under
   AddressSanitizer this is a test of the buffer too. */
static void every_length_is_cut_at_the_same_place(void) {
    memset(long_text, 'a', sizeof(long_text) - 1);
    said_begin();
    EXPECT_EQ(gi_report_broken("P1", "%s", long_text), -1);
    size_t longest = strlen(said_end());
    EXPECT(longest >= 600);
    size_t head = strlen("gilloc_check: P1: ");
    for (size_t length = longest - head - 4; length < longest - head + 4; length++) {
        said_begin();
        EXPECT_EQ(gi_report_broken("P1", "%.*s", (int)length, long_text), -1);
        const char *text = said_end();
        size_t expected = head + length + 1 < longest ? head + length + 1 : longest;
        EXPECT_EQ(strlen(text), expected);
        EXPECT_EQ(text[expected - 1], '\n');
        EXPECT_EQ(strspn(text + head, "a"), expected - head - 1);
    }
}

/* --- a broken invariant ----------------------------------------------------------------------- */

static void a_broken_invariant_is_one_line(void) {
    said_begin();
    int result = gi_report_broken("A4", "%llu arenas, %u free", 7ull, 3u);
    const char *text = said_end();
    EXPECT_EQ(result, -1);
    EXPECT(strcmp(text, "gilloc_check: A4: 7 arenas, 3 free\n") == 0);
}

/* --- one write -------------------------------------------------------------------------------- */

/* A socket of datagrams keeps writes apart. */
static void a_report_is_one_write(void) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
    int kept = dup(STDERR_FILENO);
    EXPECT_EQ(dup2(ends[0], STDERR_FILENO), STDERR_FILENO);
    gi_report_broken("P2", "first" GI_FACT("domain  ", "%s"), "mem");
    gi_report_broken("P3", "second");
    EXPECT_EQ(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    static const char *const texts[] = {"gilloc_check: P2: first\n  domain   mem\n", "gilloc_check: P3: second\n"};
    for (size_t i = 0; i < LENGTH(texts); i++) {
        char text[256] = {0};
        EXPECT_EQ(recv(ends[1], text, sizeof(text) - 1, MSG_DONTWAIT), strlen(texts[i]));
        EXPECT(strcmp(text, texts[i]) == 0);
    }
}

/* --- assertions ------------------------------------------------------------------------------- */

static void assertions_are_evaluated_where_they_are_on(void) {
    int evaluated = 0;
    gi_assert(++evaluated != 0);
#ifdef NDEBUG
    EXPECT_EQ(evaluated, 0);
#else
    EXPECT_EQ(evaluated, 1);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DIES(fatal,
             "Fatal gilloc error: PyMem_Free: double free\n  domain   mem\n  size     48 bytes\n  do       stop 5%\n"),
        DIES(fatal_without_facts, "Fatal gilloc error: first use: nothing is left\n"),
        DIES(failed_assertion,
             "Fatal gilloc error: internal check: a == b\n"
             "  at       lib/x.c:12\n"
             "  do       report this as a defect of gilloc\n"),
        cmocka_unit_test(bad_input_exits_with_1),
        cmocka_unit_test(long_texts_are_cut),
        IN_CHILD(every_length_is_cut_at_the_same_place),
        IN_CHILD(a_broken_invariant_is_one_line),
        IN_CHILD(a_report_is_one_write),
        IN_CHILD(assertions_are_evaluated_where_they_are_on),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
