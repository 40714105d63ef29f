/* SPDX-License-Identifier: MIT */
/*
 * compare.c - options, the rounds, medians, the table.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/runtimes/compare.h"

#include <errno.h>
#include <gilloc/gilloc.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/bench/contender.h"
#include "stress/command_line.h"

#define ROUNDS_MAX 99
#define THREADS_MAX 2

/* --- settings --------------------------------------------------------------------------------- */

struct settings {
    uint64_t rounds;
    const char *load; /* NULL: all */
    bool help;
};

static void print_help(const struct compare *compare) {
    printf("usage: bazel run -c opt //stress:%s -- [--rounds=N] [--load=NAME]\n\n", compare->name);
    printf("CPU time and peak memory on gilloc and on other allocators, with 1 and 2 threads.\n\n");
    printf("  --rounds=N   how often each is measured, 5 at first; medians are shown\n");
    printf("  --load=NAME  one of:");
    for (size_t i = 0; i < compare->load_count; i++) {
        printf(" %s", compare->loads[i]);
    }
    printf("; all at first\n");
}

/* --- a row ------------------------------------------------------------------------------------ */

struct body_of_thread {
    int (*body)(void *arg);
    void *arg;
    bool on_gilloc;
    int status;
};

static void *run_thread(void *arg) {
    struct body_of_thread *thread = arg;
    if (!thread->on_gilloc) {
        thread->status = thread->body(thread->arg);
        return NULL;
    }
    PyGILState_STATE was = PyGILState_Ensure();
    thread->status = thread->body(thread->arg);
    PyGILState_Release(was);
    return NULL;
}

int compare_in_threads(size_t threads, bool on_gilloc, int (*body)(void *arg), void *arg) {
    pthread_t started[THREADS_MAX];
    struct body_of_thread bodies[THREADS_MAX];
    int status = 0;
    if (on_gilloc && gilloc_set_mode(GILLOC_MODE_FREE) != 0) {
        return -1;
    }
    for (size_t i = 0; i < threads; i++) {
        bodies[i] = (struct body_of_thread){body, arg, on_gilloc, 0};
        if (pthread_create(&started[i], NULL, run_thread, &bodies[i]) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(started[i], NULL);
        status |= bodies[i].status;
    }
    return status;
}

/* --- the rows' processes ---------------------------------------------------------------------- */

struct allocator {
    const char *name;
    char *library; /* to preload; NULL: none */
};

struct figures {
    double seconds; /* user + sys */
    double mebibytes;
};

/* One row in a process of its own; 0, or -1 with a line on stderr. */
static int measure(const struct compare *compare, size_t load, size_t threads, const struct allocator *allocator,
                   struct figures *figures) {
    char load_text[24], threads_text[24];
    snprintf(load_text, sizeof(load_text), "%zu", load);
    snprintf(threads_text, sizeof(threads_text), "%zu", threads);
    bool on_gilloc = strcmp(allocator->name, "gilloc") == 0;
    pid_t child = fork();
    if (child == 0) {
        if (allocator->library != NULL) {
            setenv("LD_PRELOAD", allocator->library, 1);
        }
        execl("/proc/self/exe", compare->name, "--row", load_text, threads_text, on_gilloc ? "1" : "0", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        fprintf(stderr, "%s: %s\n", compare->name, strerror(errno));
        return -1;
    }
    if (status != 0) {
        fprintf(stderr, "%s: %s, %zu threads, %s: ended with status %#x\n", compare->name, compare->loads[load],
                threads, allocator->name, (unsigned)status);
        return -1;
    }
    figures->seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
                       (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    figures->mebibytes = (double)usage.ru_maxrss / 1024;
    return 0;
}

/* --- the table -------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof(*values), ascending);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

enum { ALLOCATORS_MAX = 8 };

/* gilloc, and those of the bench's contenders that replace malloc() and are there. */
static size_t find_allocators(struct allocator *allocators) {
    static const char *const peers[] = {"glibc", "mimalloc", "jemalloc", "tcmalloc"};
    size_t count = 0;
    allocators[count++] = (struct allocator){"gilloc", NULL};
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        char problem[256];
        char *library = contender_library(contender_find(peers[i]), NULL, problem, sizeof(problem));
        if (library == NULL) {
            fprintf(stderr, "%s is left out: %s\n", peers[i], problem);
            continue;
        }
        if (library[0] == '\0') {
            free(library);
            library = NULL;
        }
        allocators[count++] = (struct allocator){peers[i], library};
    }
    return count;
}

static bool has_load(const struct compare *compare, const char *load) {
    for (size_t i = 0; i < compare->load_count; i++) {
        if (strcmp(load, compare->loads[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int compare_all(const struct compare *compare, const struct settings *settings) {
    struct allocator allocators[ALLOCATORS_MAX];
    size_t count = find_allocators(allocators), rows = 0;
    double log_seconds[ALLOCATORS_MAX] = {0}, log_mebibytes[ALLOCATORS_MAX] = {0};
    printf("CPU seconds (user and system) and peak MiB; the median of %d rounds in turn\n\n", (int)settings->rounds);
    printf("%-14s threads", compare->name);
    for (size_t a = 0; a < count; a++) {
        printf("  %15s", allocators[a].name);
    }
    printf("\n");
    for (size_t load = 0; load < compare->load_count; load++) {
        if (settings->load != NULL && strcmp(settings->load, compare->loads[load]) != 0) {
            continue;
        }
        for (size_t threads = 1; threads <= THREADS_MAX; threads++, rows++) {
            double seconds[ALLOCATORS_MAX][ROUNDS_MAX], mebibytes[ALLOCATORS_MAX][ROUNDS_MAX];
            for (size_t round = 0; round < settings->rounds; round++) {
                for (size_t a = 0; a < count; a++) {
                    struct figures figures;
                    if (measure(compare, load, threads, &allocators[a], &figures) != 0) {
                        return 1;
                    }
                    seconds[a][round] = figures.seconds;
                    mebibytes[a][round] = figures.mebibytes;
                }
            }
            printf("%-14s %7zu", compare->loads[load], threads);
            for (size_t a = 0; a < count; a++) {
                double second = median(seconds[a], settings->rounds), mebibyte = median(mebibytes[a], settings->rounds);
                printf("  %7.3f %7.1f", second, mebibyte);
                log_seconds[a] += log(second);
                log_mebibytes[a] += log(mebibyte);
            }
            printf("\n");
            fflush(stdout);
        }
    }
    printf("%-22s", "gilloc / it");
    for (size_t a = 0; a < count; a++) {
        printf("  %7.2f %7.2f", exp((log_seconds[0] - log_seconds[a]) / (double)rows),
               exp((log_mebibytes[0] - log_mebibytes[a]) / (double)rows));
        free(allocators[a].library);
    }
    printf("\n");
    return 0;
}

int compare_main(const struct compare *compare, int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "--row") == 0) {
        size_t load = (size_t)strtoul(argv[2], NULL, 10), threads = (size_t)strtoul(argv[3], NULL, 10);
        return load < compare->load_count && threads >= 1 && threads <= THREADS_MAX &&
                       compare->run(load, threads, argv[4][0] == '1') == 0
                   ? 0
                   : 1;
    }
    struct settings settings = {.rounds = 5};
    const struct command_line_option known[] = {
        {"rounds", .number = &settings.rounds, .least = 1, .most = ROUNDS_MAX},
        {"load", .text = &settings.load},
        {"help", .flag = &settings.help},
        {0},
    };
    char error[256];
    if (command_line_parse(known, &settings, argc, argv, error, sizeof(error)) != 0) {
        return command_line_unusable(compare->name, error);
    }
    if (settings.help) {
        print_help(compare);
        return 0;
    }
    if (settings.load != NULL && !has_load(compare, settings.load)) {
        fprintf(stderr, "%s: there is no load \"%s\"\n", compare->name, settings.load);
        return EXIT_UNUSABLE;
    }
    return compare_all(compare, &settings);
}
