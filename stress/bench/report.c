/* SPDX-License-Identifier: MIT */
/*
 * report.c - tables for people.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/bench/report.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "stress/bench/contender.h"
#include "stress/bench/document.h"

static const char *text_of(json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* Three digits that mean something; "-" for NaN. */
static const char *number(double value, char text[32]) {
    double size = fabs(value);
    if (isnan(value)) {
        snprintf(text, 32, "-");
    } else {
        snprintf(text, 32, "%.*f", size < 10 ? 2 : size < 100 ? 1 : 0, value);
    }
    return text;
}

/* --- the head --------------------------------------------------------------------------------- */

void report_head(FILE *out, json_t *document) {
    json_t *machine = json_object_get(document, "machine"), *settings = json_object_get(document, "settings");
    json_t *contender;
    size_t i;
    fprintf(out, "%s, %d processors, Linux %s, glibc %s, load %.1f, %s\n", text_of(machine, "processor"),
            (int)json_integer_value(json_object_get(machine, "processors")), text_of(machine, "kernel"),
            text_of(machine, "glibc"), json_number_value(json_object_get(machine, "load_before")),
            text_of(machine, "date"));
    json_array_foreach(json_object_get(document, "contenders"), i, contender) {
        const char *library = text_of(contender, "library"), *missing = text_of(contender, "missing");
        if (missing != NULL) fprintf(out, "MISSING: %s: %s\n", text_of(contender, "name"), missing);
        if (library != NULL && *library) fprintf(out, "%s: %s\n", text_of(contender, "name"), library);
    }
    if (json_integer_value(json_object_get(settings, "percent")) == 0) {
        fprintf(out, "--tiny: this tests the bench; the figures mean nothing\n");
    }
    if (!json_is_true(json_object_get(settings, "optimized"))) {
        fprintf(out, "built without -c opt: the figures mean nothing\n");
    }
}

/* --- one workload ----------------------------------------------------------------------------- */

static void put_result(FILE *out, json_t *result, size_t figures, bool *one_at_a_time) {
    char text[32];
    bool one = json_is_true(json_object_get(result, "one_at_a_time"));
    const char *problem = text_of(result, "problem");
    fprintf(out, "  %-12s %c", text_of(result, "contender"), one ? '*' : ' ');
    if (json_is_true(json_object_get(result, "missing"))) {
        fprintf(out, "  missing\n");
        return;
    }
    if (problem != NULL) {
        fprintf(out, "  %s\n", problem);
        return;
    }
    *one_at_a_time = *one_at_a_time || one;
    json_t *net = json_object_get(result, "net");
    fprintf(out, "  %12s", number(document_number(result, "median", 0), text));
    fprintf(out, "  %5.0f %%", 100 * document_number(result, "spread", 0));
    fprintf(out, "  %8s", number(net != NULL ? json_number_value(net) : NAN, text));
    fprintf(out, "  %10s", number(document_number(result, "gil_by_it", 0), text));
    fprintf(out, "  %10s", number(document_number(result, "free_by_it", 0), text));
    for (size_t i = 1; i < figures; i++) fprintf(out, "  %12s", number(document_number(result, "median", i), text));
    fputc('\n', out);
}

void report_workload(FILE *out, json_t *workload) {
    json_t *figures = json_object_get(workload, "figures"), *figure, *result;
    size_t i;
    bool one_at_a_time = false;
    fprintf(out, "\n%s: %s\n", text_of(workload, "name"), text_of(workload, "text"));
    fprintf(out, "  %-12s  ", "contender");
    json_array_foreach(figures, i, figure) {
        fprintf(out, "  %12s", text_of(figure, "name"));
        if (i == 0) fprintf(out, "  %7s  %8s  %10s  %10s", "spread", "net", "gil by it", "free by it");
    }
    fputc('\n', out);
    json_array_foreach(json_object_get(workload, "results"), i, result) {
        put_result(out, result, json_array_size(figures), &one_at_a_time);
    }
    if (one_at_a_time) fprintf(out, "  * one thread at a time: it has a lock\n");
}

/* --- overheads -------------------------------------------------------------------------------- */

static bool is_of_overheads(json_t *workload) { return strcmp(text_of(workload, "group"), "overheads") == 0; }

/* By its base: the ratio, and the ratio of what is net of the null allocator. */
static void put_overhead(FILE *out, json_t *workload, const struct contender *contender, double *most) {
    char text[2][32];
    json_t *net = json_object_get(document_result(workload, contender->name), "net");
    json_t *base = json_object_get(document_result(workload, contender->base), "net");
    double ratio = document_ratio(workload, contender->name, contender->base);
    double ratio_net = net != NULL && base != NULL ? json_number_value(net) / json_number_value(base) : NAN;
    if (strcmp(text_of(workload, "name"), "over-pair") != 0 && !(ratio <= *most)) *most = ratio;
    fprintf(out, " %s | %s |", number(ratio, text[0]), number(ratio_net, text[1]));
}

static bool is_measured(json_t *all, const char *contender) {
    json_t *workload;
    size_t i;
    json_array_foreach(all, i, workload) {
        if (is_of_overheads(workload) && document_result(workload, contender) != NULL) return true;
    }
    return false;
}

void report_overheads(FILE *out, json_t *document) {
    json_t *all = json_object_get(document, "workloads"), *workload;
    size_t i, columns = 0;
    char text[2][32];
    json_array_foreach(all, i, workload) {
        if (!is_of_overheads(workload)) continue;
        if (columns++ == 0)
            fputs(
                "\nProcessor time by that of the same without the setting; net: of the null allocator\n\n| setting | "
                "of |",
                out);
        fprintf(out, " %s | net |", text_of(workload, "name"));
    }
    if (columns == 0) return;
    fputs(" most of a trace | may be |\n|---|---|", out);
    for (size_t k = 0; k < columns; k++) fputs("---|---|", out);
    fputs("---|---|\n", out);
    for (size_t k = 0; k < contender_count; k++) {
        double most = 0;
        if (contenders[k].base == NULL || !is_measured(all, contenders[k].name)) continue;
        fprintf(out, "| %s | %s |", contenders[k].environment, contenders[k].base);
        json_array_foreach(all, i, workload) {
            if (is_of_overheads(workload)) put_overhead(out, workload, &contenders[k], &most);
        }
        fprintf(out, " %s | %s |\n", number(most > 0 ? most : NAN, text[0]),
                number(contenders[k].most > 0 ? contenders[k].most : NAN, text[1]));
    }
}

/* --- the summary ------------------------------------------------------------------------------ */

static void put_ratios(FILE *out, json_t *workload, const char *by) {
    char text[2][32];
    fprintf(out, " %s | %s |", number(document_ratio(workload, "gilloc-gil", by), text[0]),
            number(document_ratio(workload, "gilloc-free", by), text[1]));
}

void report_summary(FILE *out, json_t *document) {
    json_t *workload;
    size_t i, rows = 0;
    char text[3][32];
    json_array_foreach(json_object_get(document, "workloads"), i, workload) rows += !is_of_overheads(workload);
    if (rows == 0) return;
    fprintf(out,
            "\n| workload | figure | gil | free | best peer | its | gil by it | free by it | gil by pymalloc | free by "
            "pymalloc | gil by limit | free by limit |\n"
            "|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    json_array_foreach(json_object_get(document, "workloads"), i, workload) {
        if (is_of_overheads(workload)) continue;
        json_t *figure = json_array_get(json_object_get(workload, "figures"), 0), *best = document_best_peer(workload);
        const char *name = best != NULL ? text_of(best, "contender") : "-";
        fprintf(out, "| %s | %s%s | %s | %s | %s | %s |", text_of(workload, "name"), text_of(figure, "name"),
                json_is_true(json_object_get(figure, "high_is_good")) ? " (high is good)" : "",
                number(document_number(document_result(workload, "gilloc-gil"), "median", 0), text[0]),
                number(document_number(document_result(workload, "gilloc-free"), "median", 0), text[1]), name,
                number(document_number(best, "median", 0), text[2]));
        put_ratios(out, workload, name);
        put_ratios(out, workload, "pymalloc");
        put_ratios(out, workload, "limit-call");
        fputc('\n', out);
    }
}
