/* SPDX-License-Identifier: MIT */
/*
 * deadline_test.c - gilloc_set_stop_deadline() and GILLOC_STOP_DEADLINE: a stop says once of each late thread who it is
 *   and where it passed its last safepoint, and goes on.
 *   A late thread passes none until something has been said, however long that takes: nothing here is timed.
 */
#define _GNU_SOURCE /* dladdr(), pthread_setname_np() */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/concurrency/unit.h"
#include "tests/support/case.h"
#include "tests/support/expect.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define AN_HOUR 3600000000ul

/* --- late threads ----------------------------------------------------------------------------- */

struct late {
    PyInterpreterState *interpreter;
    const char *name;
    void (*pass)(void); /* its last safepoint; NULL: none */
    size_t reports;     /* it is late until so many have been written */
    PyThreadState *state;
    struct shared id; /* of the thread, when it is in place */
    pthread_t thread;
};

static struct shared stopped; /* the stop has ended */

/* Exported, so that its name is known. */
__attribute__((visibility("default"), noinline)) void pass_in_a_known_function(void);
void pass_in_a_known_function(void) {
    gilloc_safepoint();
    __asm__(""); /* no tail call: the safepoint returns to here */
}

static __attribute__((noinline)) void pass_in_an_unknown_function(void) {
    gilloc_safepoint();
    __asm__("");
}

static size_t said(void) {
    struct stat stat;
    EXPECT_EQ(fstat(STDERR_FILENO, &stat), 0);
    return (size_t)stat.st_size;
}

static size_t reports_said(void) {
    static const char end[] = "around what blocks\n";
    char text[8192];
    ssize_t length = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
    EXPECT(length >= 0);
    text[length] = '\0';
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, end)) != NULL; at++) {
        count++;
    }
    return count;
}

static void *be_late(void *arg) {
    struct late *late = arg;
    EXPECT_EQ(pthread_setname_np(pthread_self(), late->name), 0);
    late->state = PyThreadState_New(late->interpreter);
    EXPECT(late->state != NULL);
    PyEval_RestoreThread(late->state);
    if (late->pass != NULL) {
        late->pass();
    }
    shared_set(&late->id, (size_t)unit_thread_id());
    while (reports_said() < late->reports) {
        EXPECT_EQ(shared_get(&stopped), 0);
        sched_yield();
    }
    /* It is late for longer, and is not reported again. */
    for (int i = 0; i < 2000; i++) {
        sched_yield();
    }
    EXPECT_EQ(shared_get(&stopped), 0);
    PyEval_SaveThread();
    return NULL;
}

static void join_late(struct late *late) {
    thread_join(late->thread);
    PyThreadState_Delete(late->state); /* not by its thread: it could be late at that */
}

static void start_late(struct late *late) {
    late->thread = thread_start(be_late, late);
    while (shared_get(&late->id) == 0) {
        sched_yield();
    }
}

/* --- what is said ----------------------------------------------------------------------------- */

static const char *file_name(void) {
    static Dl_info info;
    EXPECT(dladdr((void *)(uintptr_t)pass_in_a_known_function, &info) != 0);
    return info.dli_fname;
}

/* Numbers with 0x become X. */
static void blot_addresses(char *text) {
    for (char *at = text; (at = strstr(at, "0x")) != NULL; at++) {
        size_t length = 2 + strspn(at + 2, "0123456789abcdef");
        *at = 'X';
        memmove(at + 1, at + length, strlen(at + length) + 1);
    }
}

/* The whole text is of this thread, and of no other. */
static void append_report(char *text, size_t room, const char *function, const struct late *late, const char *place) {
    size_t length = strlen(text);
    snprintf(text + length, room - length,
             "gilloc: %s: a thread is late\n"
             "  waited   1000 us\n"
             "  thread   %d, named \"%s\"\n"
             "  state    %p\n"
             "  last     %s\n"
             "  do       call gilloc_safepoint() more often there, or detach around what blocks\n",
             function, (int)shared_get(&late->id), late->name, (void *)late->state, place);
}

static const char *known_place(void) {
    static char place[400];
    snprintf(place, sizeof(place), "safepoint at 0x0, pass_in_a_known_function+0x0 of %.100s", file_name());
    return place;
}
static const char *unknown_place(void) {
    static char place[400];
    snprintf(place, sizeof(place), "safepoint at 0x0, %.100s+0x0", file_name());
    return place;
}

/* In either order, since the states are listed as they come. */
static void expect_reports(const char *function, const struct late *first, const char *first_place,
                           const struct late *other, const char *other_place) {
    static char got[8192], ways[2][8192];
    snprintf(got, sizeof(got), "%s", said_end());
    ways[0][0] = ways[1][0] = '\0';
    append_report(ways[0], sizeof(ways[0]), function, first, first_place);
    if (other != NULL) {
        append_report(ways[0], sizeof(ways[0]), function, other, other_place);
        append_report(ways[1], sizeof(ways[1]), function, other, other_place);
        append_report(ways[1], sizeof(ways[1]), function, first, first_place);
    }
    char state[32];
    snprintf(state, sizeof(state), "%p\n", (void *)first->state);
    EXPECT(strstr(got, state) != NULL);
    blot_addresses(got);
    blot_addresses(ways[0]);
    blot_addresses(ways[1]);
    if (strcmp(got, ways[0]) != 0 && strcmp(got, ways[1]) != 0) {
        expect_failed(__FILE__, __LINE__, "said:\n%sexpected:\n%s", got, ways[0]);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static void stop_and_look(void) {
    gilloc_stop_the_world();
    shared_set(&stopped, 1);
    gilloc_start_the_world();
}

static void stop_beside(const char *function, void (*stop)(void), struct late *late, const char *place, int attached) {
    shared_set(&stopped, 0);
    shared_set(&late->id, 0);
    late->reports = 1;
    said_begin();
    start_late(late);
    PyThreadState *state = NULL;
    if (attached) {
        state = PyThreadState_New(PyInterpreterState_Main());
        PyEval_RestoreThread(state);
    }
    stop();
    if (attached) {
        PyThreadState_DeleteCurrent();
    }
    join_late(late);
    expect_reports(function, late, place, NULL, NULL);
}

static struct late in_main(void (*pass)(void)) {
    return (struct late){.interpreter = PyInterpreterState_Main(), .name = "worker-3", .pass = pass};
}

static void a_late_thread_is_reported_once(void) {
    gilloc_set_stop_deadline(1000);
    for (int i = 0; i < 3; i++) {
        struct late late = in_main(pass_in_a_known_function);
        stop_beside("gilloc_stop_the_world", stop_and_look, &late, known_place(), 0);
    }
    EXPECT_EQ(PyGILState_Check(), 0);
}

static void its_last_safepoint_is_in_a_function_without_a_name(void) {
    gilloc_set_stop_deadline(1000);
    struct late late = in_main(pass_in_an_unknown_function);
    stop_beside("gilloc_stop_the_world", stop_and_look, &late, unknown_place(), 0);
}

static void it_has_passed_no_safepoint(void) {
    gilloc_set_stop_deadline(1000);
    struct late late = in_main(NULL);
    late.name = "fifteen letters";
    stop_beside("gilloc_stop_the_world", stop_and_look, &late, "none since it attached", 0);
}

static void beside_an_attached_stopper(void) {
    gilloc_set_stop_deadline(1000);
    struct late late = in_main(pass_in_a_known_function);
    stop_beside("gilloc_stop_the_world", stop_and_look, &late, known_place(), 1);
}

static void in_another_interpreter(void) {
    gilloc_set_stop_deadline(1000);
    struct late late = in_main(pass_in_a_known_function);
    late.interpreter = PyInterpreterState_New();
    EXPECT(late.interpreter != NULL);
    stop_beside("gilloc_stop_the_world", stop_and_look, &late, known_place(), 1);
    stop_beside("gilloc_stop_the_world", stop_and_look, &late, known_place(), 0);
    PyInterpreterState_Delete(late.interpreter);
}

static void check(void) {
    EXPECT_EQ(gilloc_check(), 0);
    shared_set(&stopped, 1);
}
static void set_mode(void) {
    EXPECT_EQ(gilloc_set_mode(gilloc_get_mode()), 0);
    shared_set(&stopped, 1);
}

static void the_function_that_stops_is_named(void) {
    gilloc_set_stop_deadline(1000);
    struct late late = in_main(pass_in_a_known_function);
    late.interpreter = PyInterpreterState_New();
    stop_beside("gilloc_check", check, &late, known_place(), 0);
    stop_beside("gilloc_check", check, &late, known_place(), 1);
    stop_beside("gilloc_set_mode", set_mode, &late, known_place(), 1);
    PyInterpreterState_Delete(late.interpreter);
}

/* Two at once: attached in one interpreter (GIL-free mode), or in two. */
static void each_late_thread_is_reported(void) {
    gilloc_set_stop_deadline(1000);
    struct late late[2] = {in_main(pass_in_a_known_function), in_main(NULL)};
    late[1].name = "another";
    int in_turn = gilloc_get_mode() == GILLOC_MODE_GIL;
    if (in_turn) {
        late[1].interpreter = PyInterpreterState_New();
    }
    late[0].reports = late[1].reports = in_turn ? 1 : 2;
    /* In gil mode the locks are waited for one after the other, that of the newest interpreter first. */
    if (in_turn) {
        late[0].reports = 2;
    }
    said_begin();
    start_late(&late[0]);
    start_late(&late[1]);
    stop_and_look();
    join_late(&late[0]);
    join_late(&late[1]);
    expect_reports("gilloc_stop_the_world", &late[0], known_place(), &late[1], "none since it attached");
    if (in_turn) {
        PyInterpreterState_Delete(late[1].interpreter);
    }
}

static void *be_punctual(void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    while (shared_get(&stopped) == 0) {
        gilloc_safepoint();
    }
    PyGILState_Release(was);
    return NULL;
}

static void nobody_is_late(void) {
    gilloc_set_stop_deadline(AN_HOUR);
    shared_set(&stopped, 0);
    said_begin();
    pthread_t threads[] = {thread_start(be_punctual, NULL), thread_start(be_punctual, NULL)};
    for (int i = 0; i < 100; i++) {
        gilloc_stop_the_world();
        gilloc_start_the_world();
        PyGILState_STATE was = PyGILState_Ensure();
        gilloc_stop_the_world();
        gilloc_start_the_world();
        PyGILState_Release(was);
    }
    shared_set(&stopped, 1);
    thread_join(threads[0]);
    thread_join(threads[1]);
    EXPECT_EQ(said(), 0);
    EXPECT_EQ(strlen(said_end()), 0);
}

/* Late, and nobody minds. */
static void without_a_deadline_nothing_is_said(void) {
    said_begin();
    for (int i = 0; i < 3; i++) {
        if (i == 1) { /* 0 is none again; and the longest is none in effect */
            gilloc_set_stop_deadline(1);
            gilloc_set_stop_deadline(0);
        } else if (i == 2) {
            gilloc_set_stop_deadline((unsigned long)-1);
        }
        shared_set(&stopped, 0);
        struct late late = in_main(NULL);
        start_late(&late);
        stop_and_look();
        join_late(&late);
    }
    EXPECT_EQ(strlen(said_end()), 0);
}

static void the_environment_sets_it(void) {
    EXPECT_EQ(setenv("GILLOC_STOP_DEADLINE", "1000", 1), 0);
    struct late late = in_main(pass_in_a_known_function);
    stop_beside("gilloc_stop_the_world", stop_and_look, &late, known_place(), 0);
}

static void good_values(void) {
    static const char *const values[] = {"", "0", "1", "9223372036854775807"};
    for (size_t i = 0; i < LENGTH(values); i++) {
        EXPECT_EQ(setenv("GILLOC_STOP_DEADLINE", values[i], 1), 0);
        pid_t pid = fork(); /* the first use reads it */
        EXPECT(pid >= 0);
        if (pid == 0) {
            gilloc_stop_the_world();
            gilloc_start_the_world();
            _exit(0);
        }
        int status;
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT_EQ(status, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(a_late_thread_is_reported_once),
        IN_BOTH_MODES(its_last_safepoint_is_in_a_function_without_a_name),
        IN_BOTH_MODES(it_has_passed_no_safepoint),
        IN_FREE_MODE(beside_an_attached_stopper),
        IN_BOTH_MODES(in_another_interpreter),
        IN_BOTH_MODES(the_function_that_stops_is_named),
        IN_BOTH_MODES(each_late_thread_is_reported),
        IN_BOTH_MODES(nobody_is_late),
        IN_BOTH_MODES(without_a_deadline_nothing_is_said),
        IN_OPEN_MODE(the_environment_sets_it),
        IN_OPEN_MODE(good_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
