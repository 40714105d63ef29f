/* SPDX-License-Identifier: MIT */
/*
 * trial.c - starts the process of one case, and judges its end.
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* memfd_create(), sigabbrev_np() */

#include "stress/misuse/trial.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stress/bench/place.h"
#include "stress/misuse/trace_file.h"

extern char **environ;

#define ENVIRONMENT_MAX 512 /* variables of the user's */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* --- one process ------------------------------------------------------------------------------ */

struct process {
    pid_t id;
    int verdict, text; /* descriptors: a pipe that its end closes; a file in memory */
    char said[1024];   /* of the verdict */
    size_t length;
    bool hangs;
    int status;
};

/* What would change a contender, and is not ours to give. */
static bool is_dangerous(const char *variable) {
    static const char *const beginnings[] = {"LD_PRELOAD=", "GILLOC_",         "PYTHON", "MALLOC_",
                                             "MIMALLOC_",   "GLIBC_TUNABLES=", NULL};
    for (size_t i = 0; beginnings[i] != NULL; i++) {
        if (strncmp(variable, beginnings[i], strlen(beginnings[i])) == 0) return true;
    }
    return false;
}

/* The user's environment less that, and with those; later ones have the last word. */
static void make_environment(const char **made, const char *const *more) {
    size_t count = 0;
    for (size_t i = 0; environ[i] != NULL && count < ENVIRONMENT_MAX; i++) {
        if (!is_dangerous(environ[i])) made[count++] = environ[i];
    }
    for (size_t i = 0; more[i] != NULL; i++) {
        size_t name = strcspn(more[i], "=") + 1, at = 0;
        while (at < count && strncmp(made[at], more[i], name) != 0) at++;
        made[at] = more[i];
        if (at == count) count++;
    }
    made[count] = NULL;
}

/* 0, or an errno. */
static int start(struct process *process, const char *const *arguments, const char *const *environment) {
    int ends[2];
    process->text = memfd_create("stderr", MFD_CLOEXEC);
    if (process->text < 0 || pipe2(ends, O_CLOEXEC) != 0) return errno;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, process->text, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, process->text, STDERR_FILENO);
    /* Found elsewhere first: its own number would be closed by the exec. */
    int end = fcntl(ends[1], F_DUPFD_CLOEXEC, 16);
    posix_spawn_file_actions_adddup2(&actions, end, VERDICT_FD);
    int error = posix_spawn(&process->id, arguments[0], &actions, NULL, (char **)arguments, (char **)environment);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    close(end);
    process->verdict = ends[0];
    return error;
}

/* Until it closes the pipe, by its end at the latest. */
static void attend(struct process *process, double hangs_after) {
    double last = now() + hangs_after;
    for (;;) {
        double left = last - now();
        struct pollfd wait = {.fd = process->verdict, .events = POLLIN};
        int ready = poll(&wait, 1, left > 0 ? (int)(left * 1e3) + 1 : 0);
        if (ready == 0 && left <= 0) {
            process->hangs = true;
            kill(process->id, SIGKILL);
            break;
        }
        if (ready <= 0) continue;
        ssize_t n = read(process->verdict, process->said + process->length, sizeof process->said - 1 - process->length);
        if (n <= 0) break;
        process->length += (size_t)n;
    }
    while (waitpid(process->id, &process->status, 0) < 0 && errno == EINTR) continue;
    close(process->verdict);
}

static void take_text(struct process *process, struct trial *trial) {
    ssize_t n = pread(process->text, trial->text, sizeof trial->text - 1, 0);
    trial->text[n > 0 ? n : 0] = '\0';
    close(process->text);
}

/* --- judging ---------------------------------------------------------------------------------- */

static void end_with(struct trial *trial, char letter, const char *format, const char *what) {
    trial->letter = letter;
    snprintf(trial->end, sizeof trial->end, format, what);
}

static bool has_words(const char *text) {
    for (; *text != '\0'; text++) {
        if (isalpha((unsigned char)*text)) return true;
    }
    return false;
}

static void judge(struct trial *trial, const struct process *process, const struct column *column) {
    char number[32];
    bool words = has_words(trial->text);
    if (process->hangs) {
        end_with(trial, LETTER_UNCLEAR, "%s", "hangs");
    } else if (WIFSIGNALED(process->status)) {
        int number_of_signal = WTERMSIG(process->status);
        const char *name = sigabbrev_np(number_of_signal);
        bool clear = number_of_signal == SIGABRT && words;
        if (number_of_signal == SIGXCPU || number_of_signal == SIGKILL) name = "hangs, busy";
        end_with(trial, clear ? LETTER_CLEAR : LETTER_UNCLEAR,
                 name != NULL && islower((unsigned char)*name) ? "%s" : "SIG%s", name != NULL ? name : "?");
    } else if (process->length > 0) {
        end_with(trial, process->said[0], "%s", process->said + 1);
    } else if (WEXITSTATUS(process->status) != 0) {
        snprintf(number, sizeof number, "%d", WEXITSTATUS(process->status));
        end_with(trial, words ? LETTER_CLEAR : LETTER_UNCLEAR, "exit status %s", number);
    } else {
        end_with(trial, LETTER_UNCLEAR, "%s", "the process ended as if nothing were wrong");
    }
    (void)column;
}

/* --- a case ----------------------------------------------------------------------------------- */

static void run(struct trial *trial, const struct column *column, const char *const *arguments, const char *const *more,
                double hangs_after) {
    const char *environment[ENVIRONMENT_MAX + 8];
    struct process process = {0};
    make_environment(environment, more);
    int error = start(&process, arguments, environment);
    if (error != 0) {
        end_with(trial, VERDICT_BROKEN, "cannot start a process: %s", strerror(error));
        return;
    }
    attend(&process, hangs_after);
    take_text(&process, trial);
    judge(trial, &process, column);
}

/* The main job is given a file that is wrong. */
static void run_trace(struct trial *trial, const struct column *column, const struct kind *kind, double hangs_after) {
    char path[64], option[96], error[256], *program = place_of_program("stress", error, sizeof error);
    int file = program != NULL ? trace_file_make(kind->name, path, sizeof path) : -1;
    if (file < 0) {
        end_with(trial, VERDICT_BROKEN, "%s", program != NULL ? "no file for the trace" : error);
    } else {
        snprintf(option, sizeof option, "--trace=%s", path);
        const char *const arguments[] = {program, option, "--passes=1", "--threads=1", NULL}, *const more[] = {NULL};
        run(trial, column, arguments, more, hangs_after);
        close(file);
    }
    free(program);
}

void trial_run(struct trial *trial, const struct column *column, const char *library, const struct kind *kind,
               const struct misuse_case *one, uint64_t operations, double hangs_after) {
    char error[256], preload[256], numbers[3][24];
    const char *more[4];
    size_t count = 0;
    memset(trial, 0, sizeof *trial);
    if (kind_is_trace(kind)) {
        run_trace(trial, column, kind, hangs_after);
        return;
    }
    char *child = place_of_program("misuse_child", error, sizeof error);
    if (child == NULL) {
        end_with(trial, VERDICT_BROKEN, "%s", error);
        return;
    }
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", column->preload != NULL ? column->preload : "");
    if (column->preload != NULL) more[count++] = preload;
    if (column->environment != NULL) more[count++] = column->environment;
    if (kind->environment != NULL) more[count++] = kind->environment;
    more[count] = NULL;
    snprintf(numbers[0], sizeof numbers[0], "%d", one->domain);
    snprintf(numbers[1], sizeof numbers[1], "%d", one->size);
    snprintf(numbers[2], sizeof numbers[2], "%llu", (unsigned long long)operations);
    const char *const arguments[] = {child,      column->loader, library,    kind->name,
                                     numbers[0], numbers[1],     numbers[2], NULL};
    run(trial, column, arguments, more, hangs_after);
    free(child);
}

/* --- texts ------------------------------------------------------------------------------------ */

/* The one with "Fatal" or "rror" in it, else the first that has words. */
void trial_line(const struct trial *trial, char *line, size_t line_size) {
    const char *best = "", *fatal = strstr(trial->text, "Fatal ");
    for (const char *at = trial->text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
        size_t length = strcspn(at, "\n");
        bool words = false;
        for (size_t i = 0; i < length; i++) words = words || isalpha((unsigned char)at[i]);
        if (words) {
            best = at;
            break;
        }
    }
    if (fatal != NULL) best = fatal;
    snprintf(line, line_size, "%.*s", (int)strcspn(best, "\n"), best);
}

/* `from` up to `to` becomes one X. */
static void blot(char *from, const char *to) {
    *from = 'X';
    memmove(from + 1, to, strlen(to) + 1);
}

void trial_mask(char *line) {
    for (char *at = line; *at != '\0'; at++) {
        char *end = at;
        if (at[0] == '0' && at[1] == 'x') {
            for (end = at + 2; isxdigit((unsigned char)*end); end++) continue;
        } else if (isdigit((unsigned char)*at) && (at == line || !isalnum((unsigned char)at[-1]))) {
            while (isdigit((unsigned char)*end)) end++;
            bool process = at - line >= 6 && strncmp(at - 6, "/proc/", 6) == 0;
            if (end - at < 5 && !process) end = at;
        }
        if (end > at) blot(at, end);
    }
}
