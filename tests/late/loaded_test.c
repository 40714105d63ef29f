/* SPDX-License-Identifier: MIT */
/*
 * loaded_test.c - libraries that are loaded when they are needed: those there are, and those that are not there.
 */
#include "lib/late/loaded.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "lib/late/late_json.h"
#include "lib/late/late_math.h"
#include "lib/late/late_unwind.h"
#include "lib/late/late_zlib.h"
#include "tests/concurrency/unit.h"
#include "tests/support/threads.h"

static const char *const names[] = {"deflate", "deflateEnd"};

static gi_loaded one(const char *file, const char *const *its_names, size_t count) {
    return (gi_loaded){.file = file, .package = "its-package", .names = its_names, .count = count};
}

/* --- those there are -------------------------------------------------------------------------- */

static void each_member_is_its_function(void) {
    double result = gi_late_get_math()->log(1.0) + gi_late_get_math()->expm1(0.0);
    EXPECT(result == 0.0);
    void *addresses[4] = {0};
    EXPECT(gi_late_get_unwind()->backtrace(addresses, 4) > 1);
    z_stream stream = {0};
    const gi_late_zlib *zlib = gi_late_get_zlib();
    EXPECT_EQ(
        zlib->deflate_init(&stream, 1, Z_DEFLATED, MAX_WBITS, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, (int)sizeof(stream)),
        Z_OK);
    EXPECT_EQ(zlib->deflate_end(&stream), Z_OK);
    const gi_late_json *json = gi_late_get_json();
    json_t *array = json->array();
    EXPECT_EQ(json->array_append_new(array, json->integer(7)), 0);
    json->destroy(array);
}

static void it_is_loaded_once_and_errno_stays(void) {
    errno = EDOM;
    const gi_late_zlib *first = gi_late_get_zlib();
    EXPECT_EQ(errno, EDOM);
    EXPECT(first != NULL && gi_late_get_zlib() == first);
    EXPECT(dlopen("libz.so.1", RTLD_NOW | RTLD_NOLOAD) != NULL);
}

enum { THREADS = 2, ROUNDS = 1000 };
static gi_loaded shared[ROUNDS];
static uint32_t here; /* how often threads have come to a round */

static void *get(void *arg) {
    const void **got = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        __atomic_add_fetch(&here, 1, __ATOMIC_SEQ_CST);
        for (uint32_t turn = 0; __atomic_load_n(&here, __ATOMIC_SEQ_CST) < (i + 1) * THREADS; turn++) {
            if (turn % 1024 == 1023) { /* a barrier would wake one after the other */
                sched_yield();
            }
        }
        got[i] = gi_loaded_get(&shared[i]);
        EXPECT(((void *const *)got[i])[1] != NULL);
    }
    return NULL;
}

static void threads_get_one_table(void) {
    static const void *got[THREADS][ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        shared[i] = one("libz.so.1", names, LENGTH(names));
    }
    threads_run(THREADS, get, got, sizeof(got[0]));
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        EXPECT(got[0][i % ROUNDS] != NULL && got[i / ROUNDS][i % ROUNDS] == got[0][i % ROUNDS]);
    }
}

/* --- those that are not ----------------------------------------------------------------------- */

static void expect_refused(gi_loaded *library, const char *text) {
    said_begin();
    for (int i = 0; i < 3; i++) {
        errno = 0;
        EXPECT(gi_loaded_get(library) == NULL);
        EXPECT_EQ(errno, ELIBACC);
    }
    const char *said = said_end();
    if (strcmp(said, text) != 0) {
        expect_failed(__FILE__, __LINE__, "said \"%s\", not \"%s\"", said, text);
    }
}

static void a_file_that_is_not_there(void) {
    gi_loaded library = one("libnowhere.so.7", names, LENGTH(names));
    expect_refused(&library,
                   "gilloc: libnowhere.so.7: cannot be loaded: libnowhere.so.7: cannot open shared object file: "
                   "No such file or directory\n  do       apt-get install its-package\n");
}

static void a_function_that_is_not_there(void) {
    static const char *const wrong[] = {"deflate", "inflate_a_balloon"};
    gi_loaded library = one("libz.so.1", wrong, LENGTH(wrong));
    said_begin();
    EXPECT(gi_loaded_get(&library) == NULL);
    EXPECT_EQ(errno, ELIBACC);
    const char *said = said_end();
    EXPECT(strstr(said, "undefined symbol: inflate_a_balloon\n  do       apt-get install its-package\n") != NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(each_member_is_its_function),  IN_CHILD(it_is_loaded_once_and_errno_stays),
        IN_CHILD(threads_get_one_table),        IN_CHILD(a_file_that_is_not_there),
        IN_CHILD(a_function_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
