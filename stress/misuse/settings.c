/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the command line of the table of misuse.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/misuse/settings.h"

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

static bool kind_is(size_t i, const char *word) {
    return strstr(kinds[i].name, word) != NULL || strstr(kinds[i].group, word) != NULL;
}

/* Those of a name, or that begin with it and a hyphen. */
static bool contender_is(size_t i, const char *word) {
    const char *name = columns[i].name;
    size_t length = strlen(word);
    return strncmp(name, word, length) == 0 && (name[length] == '\0' || name[length] == '-');
}

static void set_output(void *argument, enum output output) {
    struct settings *settings = argument;
    settings->output = output;
}

static void set_text(void *settings) { set_output(settings, OUTPUT_TEXT); }
static void set_expected(void *settings) { set_output(settings, OUTPUT_EXPECTED); }
static void set_kinds(void *settings) { set_output(settings, OUTPUT_KINDS); }
static void set_selftest(void *settings) { set_output(settings, OUTPUT_SELFTEST); }

/* --- the command line ------------------------------------------------------------------------- */

int settings_parse(struct settings *settings, int argc, char **argv, char *error, size_t error_size) {
    *settings = (struct settings){.operations = 40000, .hangs_after = 10};
    const struct command_line_option known[] = {
        {"only", .marks = settings->kinds, .count = kind_count, .is = kind_is},
        {"contender", .marks = settings->contenders, .count = column_count, .is = contender_is},
        {"operations", .number = &settings->operations, .least = 0, .most = 10000000},
        {"text", .set = set_text, .marks = settings->kinds, .count = kind_count, .is = kind_is},
        {"json", .text = &settings->json},
        {"expected", .set = set_expected},
        {"document", .text = &settings->document},
        {"kinds", .set = set_kinds},
        {"selftest", .set = set_selftest},
        {"help", .flag = &settings->help},
        {0},
    };
    return command_line_parse(known, settings, argc, argv, error, error_size);
}
