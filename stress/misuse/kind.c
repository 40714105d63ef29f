/* SPDX-License-Identifier: MIT */
/*
 * kind.c - the list of kinds and their cases.
 *   Owner   constant.  Locks: none.
 */
#include "stress/misuse/kind.h"

#include <string.h>

#define KIND(identifier, name, group, axes, needs, environment, text) {name, group, axes, needs, environment, text},
const struct kind kinds[] = {KINDS(KIND)};
const size_t kind_count = sizeof kinds / sizeof *kinds;

size_t kind_cases(const struct kind *kind, int has_domains, struct misuse_case cases[CASES_MAX]) {
    size_t count = 0;
    enum axes axes = kind->axes;
    int domains = axes == ONCE ? 1 : axes == PRIVATE_ONLY || axes == PRIVATE_BLOCKS ? 2 : 3;
    int sizes = axes == BLOCKS || axes == PRIVATE_BLOCKS ? CASE_SIZES : 1;
    if (!has_domains) domains = 1;
    for (int domain = 0; domain < domains; domain++) {
        for (int size = 0; size < sizes; size++) {
            /* What has no domain of its own to be about is tried in the object domain; one family is one like raw. */
            cases[count].domain = axes == ONCE ? CASE_OBJECT : has_domains ? domain : CASE_RAW;
            cases[count++].size = size;
        }
    }
    return count;
}

const char *kind_case_name(const struct kind *kind, int has_domains, const struct misuse_case *one) {
    static const char *const names[CASE_DOMAINS][CASE_SIZES] = {
        {"mem, small", "mem, large"}, {"object, small", "object, large"}, {"raw, small", "raw, large"}};
    static const char *const domains[] = {"mem", "object", "raw"};
    if (kind->axes == ONCE) return "";
    int sizes = kind->axes == BLOCKS || kind->axes == PRIVATE_BLOCKS;
    if (!has_domains) return !sizes ? "" : one->size == CASE_SMALL ? "small" : "large";
    return sizes ? names[one->domain][one->size] : domains[one->domain];
}

int kind_is_trace(const struct kind *kind) { return strcmp(kind->group, "trace files") == 0; }

int kind_is_by_chance(const struct kind *kind, const struct misuse_case *one) {
    return one->domain == CASE_RAW && strstr(kind->name, "-other-domain") != NULL;
}
