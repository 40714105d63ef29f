/* SPDX-License-Identifier: MIT */
/*
 * main.c - the runtime at work: the same work with 1 and 2 threads, with the lock and without.
 *   Owner   the main thread; workers own their struct worker while they run.
 *   Locks   none.
 * Each run ends with checks: the dictionary has what its writers have put there, no
 * object is left, and gilloc finds its heap whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "docs/examples/runtime.h"

enum {
    KEYS = 4096,          /* at most; each is written by one thread, and read by all */
    READS = 4,            /* in a step */
    CHAIN = 8,            /* objects that a step makes and drops */
    WRITE_EVERY = 16,     /* steps */
    CIRCLE_EVERY = 8,     /* steps */
    COLLECT_EVERY = 20000 /* steps */
};

enum { MODES = 2, THREADS_MAX = 64, ROUNDS_MAX = 99 };

struct options {
    bool mode[MODES]; /* by gilloc_mode */
    int threads;      /* 0: 1, and then 2 */
    long steps;       /* of all threads together */
    long keys;        /* of the dictionary: 1 to `keys` */
    int rounds;
    bool stats;
};

struct worker {
    pthread_t thread;
    struct dictionary *dictionary;
    long keys;
    long first, stride; /* keys that it writes */
    long steps;
    unsigned long random;
    long wrong;             /* what should not be */
    long collected;         /* objects */
    long written[KEYS + 1]; /* number of the object that it has put there, by key; 0: none */
};

static void fail(const char *what) {
    fprintf(stderr, "runtime: %s\n", what);
    exit(1);
}

/* --- the work --------------------------------------------------------------------------------- */

static struct object *make(long number, struct object *first, struct object *second) {
    struct object *object = object_new(number, first, second);
    if (object == NULL) fail("no memory");
    return object;
}

static unsigned long draw(struct worker *worker) { /* xorshift */
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random >> 11;
}

static long any_key(struct worker *worker) { return (long)(draw(worker) % (unsigned long)worker->keys) + 1; }

/* An object of a key has a number that tells the key, and refers to another one with the same number. */
static void read_one(struct worker *worker) {
    long key = any_key(worker);
    struct object *object = dictionary_look(worker->dictionary, key);
    if (object == NULL) return;
    struct object *other = atomic_load_explicit(&object->fields[0], memory_order_relaxed);
    worker->wrong += object->number % (KEYS + 1) != key || other->number != object->number;
}

static void write_one(struct worker *worker, long step) {
    long key = worker->first + (any_key(worker) - 1) / worker->stride * worker->stride;
    if (key > worker->keys) return;
    long number = draw(worker) % 8 == 0 ? 0 : step * (KEYS + 1) + key;
    struct object *object = number == 0 ? NULL : make(number, make(number, NULL, NULL), NULL);
    if (dictionary_set(worker->dictionary, key, object) != 0) fail("no memory");
    worker->written[key] = number;
}

/* Objects of this thread alone; the last one keeps one of the dictionary for a while. */
static void chain(struct worker *worker) {
    struct object *head = make(1, NULL, dictionary_get(worker->dictionary, any_key(worker)));
    long sum = 0;
    for (int i = 2; i <= CHAIN; i++) head = make(i, head, NULL);
    for (struct object *object = head; object != NULL;
         object = atomic_load_explicit(&object->fields[0], memory_order_relaxed)) {
        sum += object->number;
    }
    worker->wrong += sum != CHAIN * (CHAIN + 1) / 2;
    object_unref(head);
}

/* Two objects that refer to each other, and one of them to one that others may have. */
static void circle(struct worker *worker) {
    struct object *first = make(1, NULL, dictionary_get(worker->dictionary, any_key(worker)));
    field_set(first, 0, make(2, first, NULL)); /* takes over our reference to the first */
}

static void *work(void *arg) {
    struct worker *worker = arg;
    PyGILState_STATE state = PyGILState_Ensure();
    for (long step = 1; step <= worker->steps; step++) {
        for (int i = 0; i < READS; i++) read_one(worker);
        chain(worker);
        if (step % WRITE_EVERY == 0) write_one(worker, step);
        if (step % CIRCLE_EVERY == 0) circle(worker);
        if (step % COLLECT_EVERY == 0) worker->collected += collect();
        gilloc_safepoint();
    }
    PyGILState_Release(state);
    return NULL;
}

/* --- one run ---------------------------------------------------------------------------------- */

struct figures {
    double rate; /* steps of all threads in a second */
    double cpu;  /* processor time of a step in seconds */
    double used; /* processors: processor time by time; less than it could be where others want them too */
};

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void check_dictionary(struct worker *workers) {
    long stride = workers[0].stride;
    for (long key = 1; key <= workers[0].keys; key++) {
        struct object *object = dictionary_get(workers[0].dictionary, key);
        long number = object == NULL ? 0 : object->number;
        if (number != workers[(key - 1) % stride].written[key]) fail("the dictionary has not what was put there");
        object_unref(object);
    }
}

/* The caller must be attached. */
static struct figures run(gilloc_mode mode, int threads, const struct options *options) {
    long steps = options->steps;
    static struct worker workers[THREADS_MAX];
    struct dictionary dictionary;
    if (gilloc_set_mode(mode) != 0) fail("the mode cannot be set");
    if (dictionary_init(&dictionary) != 0) fail("no dictionary");
    size_t before = gilloc_allocated_blocks();
    memset(workers, 0, sizeof(workers));

    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    PyThreadState *state = PyEval_SaveThread(); /* this thread waits, so it detaches */
    for (int i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];
        worker->dictionary = &dictionary;
        worker->keys = options->keys;
        worker->first = i + 1;
        worker->stride = threads;
        worker->steps = steps * (i + 1) / threads - steps * i / threads;
        worker->random = 88172645463325252u + (unsigned long)i;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) fail("no thread");
    }
    for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
    PyEval_RestoreThread(state);
    double took = seconds(CLOCK_MONOTONIC) - start;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;

    check_dictionary(workers);
    dictionary_fini(&dictionary);
    long collected = collect();
    for (int i = 0; i < threads; i++) {
        if (workers[i].wrong != 0) fail("a thread has read what is not so");
        collected += workers[i].collected;
    }
    gilloc_reclaim(); /* what is retired, by threads that have ended too */
    long circles = 0;
    for (int i = 0; i < threads; i++) circles += workers[i].steps / CIRCLE_EVERY;
    if (collected < 2 * circles) fail("the collector has not found all circles"); /* with what only they referred to */
    if (count_objects() != 0) fail("objects are left");
    if (gilloc_allocated_blocks() != before) fail("blocks are left");
    if (gilloc_check() != 0) fail("the heap is broken");
    return (struct figures){(double)steps / took, cpu / (double)steps, cpu / took};
}

/* --- all runs --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them, too. */
static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof(*values), by_value);
    return values[count / 2];
}

static int threads_in(const struct options *options, int column) {
    return options->threads == 0 ? column + 1 : options->threads;
}

/* The runs take turns, so that whatever else the machine does meets all of them. */
static void run_all(const struct options *options) {
    static double rates[MODES][2][ROUNDS_MAX], cpus[MODES][2][ROUNDS_MAX], used[MODES][2][ROUNDS_MAX];
    static const char *const names[MODES] = {"gil", "free"};
    int rounds = options->rounds, columns = options->threads == 0 ? 2 : 1;
    for (int round = 0; round < rounds; round++) {
        for (int column = 0; column < columns; column++) {
            for (int mode = 0; mode < MODES; mode++) {
                if (!options->mode[mode]) continue;
                struct figures figures = run((gilloc_mode)mode, threads_in(options, column), options);
                rates[mode][column][round] = figures.rate / 1e3;
                cpus[mode][column][round] = figures.cpu * 1e9;
                used[mode][column][round] = figures.used;
            }
        }
    }
    printf("medians of %d:\n", rounds);
    printf("mode  threads  steps a millisecond  (lowest to highest)  processor time a step  processors used\n");
    for (int mode = 0; mode < MODES; mode++) {
        for (int column = 0; column < columns && options->mode[mode]; column++) {
            double *rate = rates[mode][column];
            double cpu = median(cpus[mode][column], rounds), processors = median(used[mode][column], rounds);
            printf("%-4s  %7d  %19.1f", names[mode], threads_in(options, column), median(rate, rounds));
            printf("  %8.1f to %8.1f  %18.0f ns  %15.2f\n", rate[0], rate[rounds - 1], cpu, processors);
        }
    }
    for (int column = 0; column < columns && options->mode[0] && options->mode[1]; column++) {
        int threads = threads_in(options, column);
        printf("%d thread%s without the lock: %.2f times the work\n", threads, threads == 1 ? "" : "s",
               rates[1][column][rounds / 2] / rates[0][column][rounds / 2]);
    }
    printf("each run: the dictionary right, all circles collected, no object left, the heap whole\n");
}

/* --- options ---------------------------------------------------------------------------------- */

static void usage(FILE *file) {
    fprintf(file,
            "usage: runtime [OPTION...]: a small object runtime at work, with the lock and without\n"
            "  --mode=gil|free  only with the lock, or only without; else both\n"
            "  --threads=N      1 to %d; else 1, and then 2\n"
            "  --steps=N        of all threads together; else 400000\n"
            "  --keys=N         of the dictionary, 1 to %d; else %d; with few, threads meet at the same objects\n"
            "  --rounds=N       1 to %d; else 5\n"
            "  --stats          gilloc's statistics at the end\n"
            "  --help           this\n"
            "environment:\n",
            THREADS_MAX, KEYS, KEYS, ROUNDS_MAX);
    gilloc_print_options(file);
}

/* The number after `name` in `word`, in 1 to `most`; 0 if it is something else. */
static long number(const char *word, const char *name, long most) {
    size_t length = strlen(name);
    char *end;
    if (strncmp(word, name, length) != 0) return 0;
    errno = 0;
    long value = strtol(word + length, &end, 10);
    return errno == 0 && *end == '\0' && value >= 1 && value <= most ? value : 0;
}

static bool take_option(struct options *options, const char *word) {
    long value;
    if (strcmp(word, "--mode=gil") == 0) {
        options->mode[GILLOC_MODE_GIL] = true;
        options->mode[GILLOC_MODE_FREE] = false;
    } else if (strcmp(word, "--mode=free") == 0) {
        options->mode[GILLOC_MODE_GIL] = false;
        options->mode[GILLOC_MODE_FREE] = true;
    } else if ((value = number(word, "--threads=", THREADS_MAX)) != 0) {
        options->threads = (int)value;
    } else if ((value = number(word, "--steps=", 1000000000)) != 0) {
        options->steps = value;
    } else if ((value = number(word, "--keys=", KEYS)) != 0) {
        options->keys = value;
    } else if ((value = number(word, "--rounds=", ROUNDS_MAX)) != 0) {
        options->rounds = (int)value;
    } else if (strcmp(word, "--stats") == 0) {
        options->stats = true;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    struct options options = {.mode = {true, true}, .steps = 400000, .keys = KEYS, .rounds = 5};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return 0;
        }
        if (!take_option(&options, argv[i])) {
            fprintf(stderr, "runtime: %s is no option, or no value of it; see --help\n", argv[i]);
            return 2;
        }
    }
    if (objects_init() != 0) fail("no kind");
    gilloc_set_stop_deadline(10000000); /* who keeps the collector waiting for 10 seconds is named on stderr */
    PyGILState_STATE state = PyGILState_Ensure();
    run_all(&options);
    if (options.stats) gilloc_print_stats(stdout, "text");
    PyGILState_Release(state);
    return 0;
}
