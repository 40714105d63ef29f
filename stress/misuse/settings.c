/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the command line of the table of misuse.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/misuse/settings.h"

#include <stdlib.h>
#include <string.h>

#include "stress/command_line.h"
#include "stress/misuse/column.h"
#include "stress/misuse/kind.h"
#include "stress/misuse/trial.h"

static const char head[] =
    "Usage: misuse [OPTION]...\n"
    "Tries every kind of misuse of an allocator and says what comes of it: for gilloc,\n"
    "and for others beside it.\n"
    "\n"
    "      --only=WORDS        kinds whose name or group has one of the words, with\n"
    "                          commas between them (default all)\n"
    "      --contender=LIST    contenders (default all)\n"
    "      --operations=N      allocations and frees after the act (default 40000)\n"
    "      --text=WORDS        as --only, and in place of the table all that each\n"
    "                          contender says\n"
    "      --json=FILE         write all of it\n"
    "      --expected          in place of the table a line for each outcome, with what\n"
    "                          differs from run to run replaced by X; for tests\n"
    "      --document=FILE     write the tables of docs/safety.md into it\n"
    "      --kinds             list the kinds, and try nothing\n"
    "      --selftest          see that the program finds planted faults\n"
    "      --help              this text\n"
    "\n"
    "Each case is a process of its own, which loads the allocator from a shared library:\n"
    "1,000 blocks alike, one wrong act, then allocations and frees of all sizes in all\n"
    "domains. A map of all live blocks, each filled with bytes of its own, says whether a\n"
    "block overlaps one, or one has changed. At the end all blocks are looked at and\n"
    "freed, and gilloc_check() walks the heap. A small block has 48 bytes, a large one\n"
    "3,000.\n"
    "\n"
    "A kind has a letter for each of its cases: mem small, mem large, object small,\n"
    "object large, raw small, raw large; without sizes mem, object, raw; without raw the\n"
    "first ones; where there is one family of functions small, large. One letter: one\n"
    "case.\n";

enum {
    OPT_ONLY = COMMAND_LINE_FIRST,
    OPT_CONTENDER,
    OPT_OPERATIONS,
    OPT_TEXT,
    OPT_JSON,
    OPT_EXPECTED,
    OPT_DOCUMENT,
    OPT_KINDS,
    OPT_SELFTEST,
    OPT_HELP
};

static const struct option known[] = {
    {"only", required_argument, NULL, OPT_ONLY},
    {"contender", required_argument, NULL, OPT_CONTENDER},
    {"operations", required_argument, NULL, OPT_OPERATIONS},
    {"text", required_argument, NULL, OPT_TEXT},
    {"json", required_argument, NULL, OPT_JSON},
    {"expected", no_argument, NULL, OPT_EXPECTED},
    {"document", required_argument, NULL, OPT_DOCUMENT},
    {"kinds", no_argument, NULL, OPT_KINDS},
    {"selftest", no_argument, NULL, OPT_SELFTEST},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* --- help ------------------------------------------------------------------------------------- */

void settings_help(FILE *out) {
    fputs(head, out);
    fputs("\nLetters:\n", out);
#define LETTER(name, letter, text) fprintf(out, "    %c  %s\n", letter, text);
    LETTERS(LETTER)
    fputs("\nContenders:\n", out);
    for (size_t i = 0; i < column_count; i++) {
        const struct column *column = &columns[i];
        fprintf(out, "    %-16s  %s%s%s\n", column->name, column->text, column->package ? "; Debian's " : "",
                column->package ? column->package : "");
    }
    fputs("\nGroups of kinds:\n", out);
    for (size_t i = 0; i < kind_count; i++) {
        if (i == 0 || strcmp(kinds[i].group, kinds[i - 1].group) != 0) fprintf(out, "    %s\n", kinds[i].group);
    }
    fputs(
        "\nExit status: 0 all was tried, 1 something could not be (a line says what), 2 the\n"
        "command line cannot be used. A missing peer is no failure.\n",
        out);
}

/* --- values ----------------------------------------------------------------------------------- */

/* Marks the kinds that have the word; how many. */
static size_t mark_kinds(bool *wanted, const char *word) {
    size_t found = 0;
    for (size_t i = 0; i < kind_count; i++) {
        if (strstr(kinds[i].name, word) == NULL && strstr(kinds[i].group, word) == NULL) continue;
        wanted[i] = true;
        found++;
    }
    return found;
}

/* Those of a name, or that begin with it and a hyphen. */
static size_t mark_contenders(bool *wanted, const char *word) {
    size_t found = 0, length = strlen(word);
    for (size_t i = 0; i < column_count; i++) {
        const char *name = columns[i].name;
        if (strncmp(name, word, length) != 0 || (name[length] != '\0' && name[length] != '-')) continue;
        wanted[i] = true;
        found++;
    }
    return found;
}

static int parse_list(const char *text, size_t (*mark)(bool *, const char *), bool *wanted, const char *option,
                      char *error, size_t error_size) {
    char *list = strdup(text), *rest = list, *entry;
    int result = list != NULL ? 0 : command_line_refuse(error, error_size, "no memory");
    while (result == 0 && (entry = strsep(&rest, ",")) != NULL) {
        if (*entry == '\0' || mark(wanted, entry) == 0) {
            result = command_line_refuse(error, error_size, "--%s=%s: there is no %s; see --help", option, text,
                                         *entry ? entry : "''");
        }
    }
    free(list);
    return result;
}

/* --- the command line ------------------------------------------------------------------------- */

static int take_option(void *argument, int option, const char *value, char *error, size_t error_size) {
    struct settings *settings = argument;
    switch (option) {
        case OPT_ONLY:
            return parse_list(value, mark_kinds, settings->kinds, "only", error, error_size);
        case OPT_CONTENDER:
            return parse_list(value, mark_contenders, settings->contenders, "contender", error, error_size);
        case OPT_OPERATIONS:
            return command_line_take_number("operations", value, 0, 10000000, &settings->operations, error, error_size);
        case OPT_TEXT:
            settings->output = OUTPUT_TEXT;
            return parse_list(value, mark_kinds, settings->kinds, "text", error, error_size);
        case OPT_JSON:
            settings->json = value;
            return 0;
        case OPT_EXPECTED:
            settings->output = OUTPUT_EXPECTED;
            return 0;
        case OPT_DOCUMENT:
            settings->document = value;
            return 0;
        case OPT_KINDS:
            settings->output = OUTPUT_KINDS;
            return 0;
        case OPT_SELFTEST:
            settings->output = OUTPUT_SELFTEST;
            return 0;
        default:
            settings->help = true;
            return 0;
    }
}

static void all_if_none(bool *wanted, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (wanted[i]) return;
    }
    for (size_t i = 0; i < count; i++) wanted[i] = true;
}

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings = (struct settings){.operations = 40000, .hangs_after = 10};
    if (command_line_parse(known, take_option, settings, argc, argv, error, error_size) != 0) return -1;
    all_if_none(settings->kinds, kind_count);
    all_if_none(settings->contenders, column_count);
    return 0;
}
