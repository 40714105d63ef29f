/* SPDX-License-Identifier: MIT */
/*
 * catalog.c - which files the traces are in.
 *   Owner   the main program.  Locks: none.
 * Those that come with the program lie under stress/traces of the runfiles tree:
 * the current directory under `bazel run`, else beside the program, in a
 * directory whose name depends on Bazel's version.
 */
#define _GNU_SOURCE /* asprintf() */

#include "stress/catalog.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress/command_line.h"

#define TRACES "stress/traces"
#define SUFFIX ".trc.xz"

/* --- directories ------------------------------------------------------------------------------ */

static int is_trace(const struct dirent *entry) {
    size_t length = strlen(entry->d_name), suffix = strlen(SUFFIX);
    return length > suffix && strcmp(entry->d_name + length - suffix, SUFFIX) == 0;
}

static bool has_traces(const char *directory) {
    struct dirent **entries;
    int count = scandir(directory, &entries, is_trace, NULL);
    for (int i = 0; i < count; i++) free(entries[i]);
    if (count >= 0) free(entries);
    return count > 0;
}

/* Where the traces that come with the program are. */
static bool find_directory(char *directory, size_t size) {
    char program[PATH_MAX];
    if (snprintf(directory, size, TRACES) > 0 && has_traces(directory)) return true;
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - sizeof ".runfiles");
    if (length <= 0) return false;
    memcpy(program + length, ".runfiles", sizeof ".runfiles");
    DIR *runfiles = opendir(program);
    const struct dirent *entry;
    bool found = false;
    while (runfiles != NULL && !found && (entry = readdir(runfiles)) != NULL) {
        int n = snprintf(directory, size, "%s/%s/" TRACES, program, entry->d_name);
        found = n > 0 && (size_t)n < size && entry->d_name[0] != '.' && has_traces(directory);
    }
    if (runfiles != NULL) closedir(runfiles);
    return found;
}

/* --- paths ------------------------------------------------------------------------------------ */

/* Appends PREFIX/NAME SUFFIX (prefix "": name alone). */
static bool add(struct catalog *catalog, const char *prefix, const char *name, const char *suffix) {
    char **paths = realloc(catalog->paths, (catalog->count + 1) * sizeof *paths);
    if (paths == NULL) return false;
    catalog->paths = paths;
    if (asprintf(&paths[catalog->count], "%s%s%s%s", prefix, *prefix ? "/" : "", name, suffix) < 0) return false;
    catalog->count++;
    return true;
}

/* "a, b, c" of the traces in `directory`. */
static void list_names(const char *directory, char *text, size_t size) {
    struct dirent **entries;
    int count = scandir(directory, &entries, is_trace, alphasort);
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        if (used < size) {
            int length = (int)(strlen(entries[i]->d_name) - strlen(SUFFIX));
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", i ? ", " : "", length, entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

static bool add_all(struct catalog *catalog, const char *directory) {
    struct dirent **entries;
    int count = scandir(directory, &entries, is_trace, alphasort);
    bool good = count >= 0;
    for (int i = 0; i < count; i++) {
        good = good && add(catalog, directory, entries[i]->d_name, "");
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return good;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static int no_memory(char *error, size_t error_size) {
    snprintf(error, error_size, "no memory for the list of traces");
    return -1;
}

static int find_one(struct catalog *catalog, const char *wanted, const char *directory, char *error,
                    size_t error_size) {
    char names[256];
    if (strpbrk(wanted, "/.") == NULL) {
        if (directory == NULL) {
            snprintf(error, error_size, "--trace=%s: the traces that come with stress are not beside it; give a file",
                     wanted);
            return -1;
        }
        if (!add(catalog, directory, wanted, SUFFIX)) return no_memory(error, error_size);
        if (access(catalog->paths[catalog->count - 1], F_OK) == 0) return 0;
        list_names(directory, names, sizeof names);
        snprintf(error, error_size, "--trace=%s: no such trace; there are %s, or give a file as ./%s", wanted, names,
                 wanted);
        return -1;
    }
    char *path = command_line_path(wanted);
    bool added = path != NULL && add(catalog, "", path, "");
    free(path);
    return added ? 0 : no_memory(error, error_size);
}

int catalog_find(struct catalog *catalog, const char *const *wanted, size_t count, char *error, size_t error_size) {
    char directory[PATH_MAX];
    bool found = find_directory(directory, sizeof directory);
    int result = 0;
    *catalog = (struct catalog){0};
    if (count == 0 && !found) {
        snprintf(error, error_size, "the traces that come with stress are not beside it; give --trace=FILE");
        return -1;
    }
    if (count == 0 && !add_all(catalog, directory)) result = no_memory(error, error_size);
    for (size_t i = 0; i < count && result == 0; i++) {
        result = find_one(catalog, wanted[i], found ? directory : NULL, error, error_size);
    }
    if (result != 0) catalog_free(catalog);
    return result;
}

void catalog_free(struct catalog *catalog) {
    for (size_t i = 0; i < catalog->count; i++) free(catalog->paths[i]);
    free(catalog->paths);
    *catalog = (struct catalog){0};
}
