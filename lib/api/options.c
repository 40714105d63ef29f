/* SPDX-License-Identifier: MIT */
/*
 * options.c [L6] - the environment, in one table.  Theory: options.h.
 *   Owner   runtime.c.  No locks.
 */
#include "lib/api/options.h"

#include <errno.h>
#include <gilloc/gilloc.h>
#include <stdlib.h>
#include <string.h>

#include "concurrency/check.h"

/* --- the table -------------------------------------------------------------------------------- */

/* Address space only: 64 GiB of arenas.  Hostile builds have small pages, so more of them a byte. */
#ifdef GI_HOSTILE
#define RESERVE (1ull << 30)
#define RETIRE_LIMIT 512
#else
#define RESERVE (64ull << 30)
#define RETIRE_LIMIT (1u << 20)
#endif

/* CPython's limit. */
#define FRAMES_MAX 65535u

typedef struct gi_option_row {
    const char *variable;
    const char *unit;   /* of a number, decimal; NULL: none is one */
    const char *words;  /* those it may be, in order; NULL: no words */
    uint64_t otherwise; /* the default; of words, its index */
    bool concerns_raw;  /* it changes what the raw domain does, from the first call on */
    const char *values; /* what it may be, for people */
    const char *text;   /* what it does */
} gi_option_row;

static const gi_option_row options[GI_OPTIONS] = {
    [GI_OPTION_GIL] = {"PYTHON_GIL", NULL, "0 1", 1, false, "1 (default), 0",
                       "start in gil mode or in GIL-free mode; gilloc_set_mode() has the last word"},
    [GI_OPTION_MALLOC] = {"PYTHONMALLOC", NULL, "default debug malloc malloc_debug pymalloc pymalloc_debug",
                          GI_MALLOC_DEFAULT, true, "default, debug, malloc, malloc_debug, pymalloc, pymalloc_debug",
                          "who serves mem and object: gilloc's heap (default, pymalloc) or the system's allocator "
                          "(malloc); debug: with debug hooks on all three domains, as by PyMem_SetupDebugHooks()"},
    [GI_OPTION_HARDEN] = {"GILLOC_HARDEN", NULL, "0 1", 0, false, "0 (default), 1",
                          "hardened mode: finds what is wrong with a block as it is freed, resized or used again"},
    [GI_OPTION_RESERVE] = {"GILLOC_RESERVE", "bytes", NULL, RESERVE, false, "bytes; 68719476736 (64 GiB)",
                           "address space to reserve for arenas; it uses no memory. 0: none, arenas are mapped one by "
                           "one. What the system refuses is halved until it fits; of a limit on address space "
                           "(RLIMIT_AS) at most a quarter is taken"},
    [GI_OPTION_RETIRE_LIMIT] = {"GILLOC_RETIRE_LIMIT", "bytes", NULL, RETIRE_LIMIT, false, "bytes; 1048576",
                                "as gilloc_set_retire_limit()"},
    [GI_OPTION_STOP_DEADLINE] = {"GILLOC_STOP_DEADLINE", "microseconds", NULL, 0, false, "microseconds; 0",
                                 "as gilloc_set_stop_deadline()"},
    [GI_OPTION_QUARANTINE] = {"GILLOC_QUARANTINE", "bytes", NULL, 1u << 18, false, "bytes; 262144",
                              "with debug hooks: how much of freed blocks each thread keeps from being used again, to "
                              "find who writes to them"},
    [GI_OPTION_MALLOC_STATS] = {"PYTHONMALLOCSTATS", NULL, NULL, 0, false, "anything; not set",
                                "writes CPython's table of arenas, pools and blocks to stderr each time an arena is "
                                "made, and at exit; nothing while the system's allocator serves mem and object"},
    [GI_OPTION_STATS] = {"GILLOC_STATS", NULL, "text json", GI_STATS_NONE, false, "text, json; not set",
                         "writes all statistics to stderr at exit, as gilloc_print_stats()"},
    [GI_OPTION_WATCH] = {"GILLOC_WATCH", NULL, "0 1", 1, false, "1 (default), 0",
                         "under Valgrind's memcheck, and in a program built with AddressSanitizer or ThreadSanitizer, "
                         "tell the tool of each block (tools.md); 0: as if there were no tool"},
    [GI_OPTION_TRACE] = {"PYTHONTRACEMALLOC", "frames", NULL, 0, true, "frames, 1 to 65535; 0",
                         "as gilloc_trace_start(), from the first call on; 0: not"},
    [GI_OPTION_SAMPLE] = {"GILLOC_SAMPLE", "bytes", NULL, 0, true, "bytes; 0",
                          "as gilloc_sample_start(), from the first call on, 524288 being usual; 0: not"},
    [GI_OPTION_PROFILE] = {"GILLOC_PROFILE", NULL, NULL, 0, false, "a file",
                           "with tracing or sampling: where the profile is written at exit; .svg: a flame graph, "
                           ".folded: folded stacks, .pb.gz: for pprof, else text. Of samples it is what was ever "
                           "allocated, else what is alive"},
};

static uint64_t values[GI_OPTIONS];
static const char *texts[GI_OPTIONS];

/* --- reading ---------------------------------------------------------------------------------- */

/* The value, NULL if there is none. */
static const char *value_of(const gi_option_row *row) {
    const char *value = getenv(row->variable);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static uint64_t number_of(const gi_option_row *row, const char *value) {
    const char *variable = row->variable;
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    bool wrong = value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0;
    if (row == &options[GI_OPTION_TRACE] && (wrong || number > FRAMES_MAX)) {
        gi_fatal_input("PYTHONTRACEMALLOC", "invalid number of frames");
    }
    if (wrong || number > (unsigned long long)PY_SSIZE_T_MAX) {
        gi_fatal_input(variable, "must be a number of %s, not \"%.100s\"", row->unit, value);
    }
    return number;
}

static _Noreturn void die_of_word(gi_option_id id, const char *value) {
    const char *variable = options[id].variable;
    if (id == GI_OPTION_MALLOC && strncmp(value, "mimalloc", strlen("mimalloc")) == 0) {
        gi_fatal_input("PYTHONMALLOC", "mimalloc is not built in" GI_DO("set one of: %s"), options[id].values);
    }
    if (id == GI_OPTION_MALLOC) {
        gi_fatal_input("PYTHONMALLOC", "unknown allocator \"%.100s\"" GI_DO("set one of: %s"), value,
                       options[id].values);
    }
    if (id == GI_OPTION_STATS) {
        gi_fatal_input("GILLOC_STATS", "must be \"text\" or \"json\", not \"%.100s\"", value);
    }
    gi_fatal_input(variable, "must be \"0\" or \"1\", not \"%.100s\"", value);
}

static uint64_t word_of(gi_option_id id, const char *value) {
    size_t length = strlen(value);
    uint64_t index = 0;
    for (const char *word = options[id].words; word != NULL; index++) {
        size_t word_length = strcspn(word, " ");
        if (word_length == length && strncmp(word, value, length) == 0) {
            return index;
        }
        word = word[word_length] == ' ' ? word + word_length + 1 : NULL;
    }
    die_of_word(id, value);
}

void gi_options_read(void) {
    for (int id = 0; id < GI_OPTIONS; id++) {
        const gi_option_row *row = &options[id];
        const char *value = value_of(row);
        texts[id] = value;
        if (value == NULL) {
            values[id] = row->otherwise;
        } else if (row->unit != NULL) {
            values[id] = number_of(row, value);
        } else if (row->words != NULL) {
            values[id] = word_of((gi_option_id)id, value);
        }
    }
}

uint64_t gi_option(gi_option_id id) { return values[id]; }

const char *gi_option_text(gi_option_id id) { return texts[id]; }

bool gi_options_concern_raw(void) {
    bool any = false;
    for (int id = 0; id < GI_OPTIONS; id++) {
        any |= options[id].concerns_raw && value_of(&options[id]) != NULL;
    }
    return any;
}

/* --- public ----------------------------------------------------------------------------------- */

enum { TEXT_COLUMN = 6, TEXT_WIDTH = 96 };

/* Lines of at most TEXT_WIDTH columns, broken at spaces. */
static void print_text(FILE *f, const char *text) {
    while (*text != '\0') {
        size_t length = strlen(text), room = TEXT_WIDTH - TEXT_COLUMN;
        if (length > room) {
            length = room;
            while (length > 0 && text[length] != ' ') {
                length--;
            }
        }
        fprintf(f, "%*s%.*s\n", TEXT_COLUMN, "", (int)length, text);
        text += length + (text[length] == ' ');
    }
}

int gilloc_print_options(FILE *f) {
    for (int id = 0; id < GI_OPTIONS; id++) {
        const char *value = value_of(&options[id]);
        fprintf(f, "  %s%s%s\n", options[id].variable, value != NULL ? "=" : "", value != NULL ? value : "");
        fprintf(f, "%*s%s\n", TEXT_COLUMN, "", options[id].values);
        print_text(f, options[id].text);
    }
    return fflush(f) == 0 && !ferror(f) ? 0 : -1;
}
