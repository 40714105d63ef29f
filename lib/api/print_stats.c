/* SPDX-License-Identifier: MIT */
/*
 * print_stats.c [L6] - figures as text and as JSON, when asked and by itself.
 *   Owner   the buffer into which a text is written first, so that it goes out whole, by one write.
 *   Locks   none.  Memory comes from the system's allocator, and jansson's from where the program has told it.
 */
#include <errno.h>
#include <gilloc/gilloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "concurrency/check.h"
#include "lib/api/options.h"
#include "lib/api/runtime.h"
#include "lib/api/stats.h"
#include "lib/arena/arena.h"
#include "lib/late/late_json.h"
#include "lib/os/layout.h"

/* --- lines ------------------------------------------------------------------------------------ */

enum { NUMBER_SIZE = 32 };

/* With a comma between each three digits, as CPython writes them. */
static const char *with_commas(char buffer[NUMBER_SIZE], uint64_t value) {
    char *at = buffer + NUMBER_SIZE - 1;
    *at = '\0';
    for (int digits = 0; digits == 0 || value != 0; digits++, value /= 10) {
        if (digits != 0 && digits % 3 == 0) {
            *--at = ',';
        }
        *--at = (char)('0' + value % 10);
    }
    return at;
}

static void line(FILE *out, const char *words, uint64_t value) {
    char number[NUMBER_SIZE];
    fprintf(out, "%-35s=%21s\n", words, with_commas(number, value));
}

/* --- CPython's table -------------------------------------------------------------------------- */

/* The lines and columns of CPython's _PyObject_DebugMallocStats().  Blocks of all kinds are in one row; those that are
   free in caches count as available. */
static bool write_table(FILE *out) {
    gi_pool_figures figures;
    gi_stats_get_pools(&figures);
    uint64_t allocated = 0, available = 0, quantization = 0;
    fprintf(out, "Small block threshold = %d, in %d size classes.\n\n", GI_SMALL_MAX, GI_CLASSES);
    fputs("class   size   num pools   blocks in use  avail blocks\n", out);
    fputs("-----   ----   ---------   -------------  ------------\n", out);
    for (unsigned size_class = 0; size_class < GI_CLASSES; size_class++) {
        uint64_t pools = 0, in_use = 0, free_blocks = 0, size = gi_class_size(size_class);
        for (unsigned kind = 0; kind < GI_KINDS; kind++) {
            const gi_class_figures *class = &figures.classes[kind][size_class];
            pools += class->pools;
            in_use += class->in_use;
            free_blocks += class->cached + class->free;
        }
        if (pools != 0) {
            fprintf(out, "%5u %6" PRIu64 " %11" PRIu64 " %15" PRIu64 " %13" PRIu64 "\n", size_class, size, pools,
                    in_use, free_blocks);
        }
        allocated += in_use * size;
        available += free_blocks * size;
        quantization += pools * (GI_POOL_SIZE - gi_class_capacity(size_class) * size);
    }
    char words[80];
    uint64_t unused = figures.pools - figures.used;
    /* relaxed: statistics; the first two are at most the last */
    uint64_t released = gi_load_relaxed(&gi_arena_stats_now.released);
    uint64_t high = gi_load_relaxed(&gi_arena_stats_now.arenas_high);
    fputc('\n', out);
    line(out, "# arenas allocated total", gi_load_relaxed(&gi_arena_stats_now.acquired));
    line(out, "# arenas reclaimed", released);
    line(out, "# arenas highwater mark", high);
    line(out, "# arenas allocated current", figures.arenas);
    snprintf(words, sizeof(words), "%" PRIu64 " arenas * %d bytes/arena", figures.arenas, (int)GI_ARENA_SIZE);
    line(out, words, figures.arenas * GI_ARENA_SIZE);
    fputc('\n', out);
    line(out, "# bytes in allocated blocks", allocated);
    line(out, "# bytes in available blocks", available);
    snprintf(words, sizeof(words), "%" PRIu64 " unused pools * %d bytes", unused, (int)GI_POOL_SIZE);
    line(out, words, unused * GI_POOL_SIZE);
    line(out, "# bytes lost to pool headers", 0); /* they stand elsewhere */
    line(out, "# bytes lost to quantization", quantization);
    uint64_t alignment = figures.arenas * GI_ARENA_SIZE - figures.pools * GI_POOL_SIZE;
    line(out, "# bytes lost to arena alignment", alignment);
    line(out, "Total", allocated + available + unused * GI_POOL_SIZE + quantization + alignment);
    return true;
}

/* --- gilloc's own sections -------------------------------------------------------------------- */

static const char *mode_name(void) { return gi_world_is_free() ? "free" : "gil"; }

static void write_section(FILE *out, const gilloc_stats *stats, const char *section) {
    fprintf(out, "\n%s\n", section);
#define LINE(field, its_section, words)        \
    if (strcmp(its_section, section) == 0) {   \
        line(out, "# " words, (stats)->field); \
    }
    GI_STATS_FIELDS(LINE)
#undef LINE
}

static int write_class(const gilloc_class_stats *stats, void *arg) {
    fprintf(arg, "%-31s %6" PRIu64 " %11" PRIu64 " %15" PRIu64 " %13" PRIu64 " %13" PRIu64 "\n", stats->name,
            stats->block_size, stats->pools, stats->blocks_in_use, stats->blocks_cached, stats->blocks_free);
    return 0;
}

static const char *status_name(gilloc_thread_status status) {
    return status == GILLOC_THREAD_ATTACHED ? "attached" : status == GILLOC_THREAD_PARKED ? "parked" : "detached";
}

static int write_thread(const gilloc_thread_stats *stats, void *arg) {
    char cached[NUMBER_SIZE] = "-";
    if (stats->cache_known) {
        snprintf(cached, sizeof(cached), "%" PRIu64, stats->cached_bytes);
    }
    fprintf(arg, "%11" PRIu64 " %6" PRIu64 " %10d %-8s %9" PRIu64 " %13s %13" PRIu64 " %13" PRIu64 "\n",
            stats->interpreter, stats->number, stats->thread, status_name(stats->status), stats->pools, cached,
            stats->remote_waiting, stats->retired_bytes);
    return 0;
}

static void write_histogram(FILE *out, const gilloc_stats *stats) {
    for (unsigned i = 0; i < GILLOC_WAIT_BUCKETS; i++) {
        if (stats->lock_wait_histogram[i] != 0) {
            char words[80];
            snprintf(words, sizeof(words), "# waits of %s%" PRIu64 " ns and more", i == 0 ? "0 to " : "",
                     (uint64_t)1 << i);
            line(out, words, stats->lock_wait_histogram[i]);
        }
    }
}

static bool write_text(FILE *out) {
    gilloc_stats stats = {.size = sizeof(stats)};
    gilloc_get_stats(&stats);
    write_table(out);
    fprintf(out, "\ngilloc, %s mode\n", mode_name());
    fputs("\nkind                              size   num pools   blocks in use        cached    avail in pools\n",
          out);
    fputs("-------------------------------   ----   ---------   -------------        ------    --------------\n", out);
    gilloc_visit_classes(write_class, out);
    static const char *const sections[] = {"blocks",       "arenas and pools", "system",
                                           "remote frees", "deferred frees",   "threads"};
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        write_section(out, &stats, sections[i]);
    }
    write_section(out, &stats, "lock");
    fprintf(out, "%-35s=%21" PRIu64 "\n", "# held by thread", stats.lock_holder);
    write_histogram(out, &stats);
    fputs("\ninterpreter  state     thread status       pools  bytes cached    blocks due bytes retired\n", out);
    fputs("-----------  -----     ------ ------       -----  ------------    ---------- -------------\n", out);
    gilloc_visit_threads(write_thread, out);
    return true;
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* What is made is appended to its parent before it is filled, so that all of it goes with the root. */
typedef struct json {
    const gi_late_json *make;
    json_t *to; /* an object that is filled, or an array */
} json;

/* False when memory is out. */
static bool set(json object, const char *key, uint64_t value) {
    return object.make->object_set_new(object.to, key, object.make->integer((json_int_t)value)) == 0;
}

static bool set_text(json object, const char *key, const char *value) {
    return object.make->object_set_new(object.to, key, object.make->string(value)) == 0;
}

#define SET(field) &&set(object, #field, (uint64_t)stats->field)

/* `made` is `to` of what is returned; NULL when memory is out. */
static json set_new(json object, const char *key, json_t *made) {
    bool there = object.make->object_set_new(object.to, key, made) == 0;
    return (json){object.make, there ? made : NULL};
}

static json append_object(json array) {
    json_t *made = array.make->object();
    bool there = array.make->array_append_new(array.to, made) == 0;
    return (json){array.make, there ? made : NULL};
}

static int append_class(const gilloc_class_stats *stats, void *arg) {
    json object = append_object(*(const json *)arg);
    bool filled = set_text(object, "name", stats->name) SET(domain) SET(block_size) SET(pools) SET(blocks_in_use)
        SET(blocks_cached) SET(blocks_free);
    return filled ? 0 : -1;
}

static int append_thread(const gilloc_thread_stats *stats, void *arg) {
    json object = append_object(*(const json *)arg);
    bool filled = set_text(object, "status", status_name(stats->status)) SET(number) SET(interpreter) SET(thread)
        SET(remote_waiting) SET(pools) SET(pool_blocks) SET(large_allocated) SET(large_freed) SET(remote_frees)
            SET(remote_batches) SET(retired_blocks) SET(retired_bytes) SET(retired_lost) SET(grace_periods);
    if (stats->cache_known) {
        filled = filled SET(cached_blocks) SET(cached_bytes) SET(remote_pending);
    }
    return filled ? 0 : -1;
}

static bool set_totals(json root) {
    gilloc_stats all = {.size = sizeof(all)};
    const gilloc_stats *stats = &all;
    gilloc_get_stats(&all);
    json object = set_new(root, "totals", root.make->object());
#define SET_FIELD(field, section, words) SET(field)
    bool filled = object.to != NULL GI_STATS_FIELDS(SET_FIELD);
#undef SET_FIELD
    json histogram = set_new(object, "lock_wait_histogram", root.make->array());
    for (unsigned i = 0; filled && i < GILLOC_WAIT_BUCKETS; i++) {
        json_t *number = root.make->integer((json_int_t)stats->lock_wait_histogram[i]);
        filled = root.make->array_append_new(histogram.to, number) == 0;
    }
    return filled;
}

static bool set_all(json root) {
    bool filled = set_text(root, "mode", mode_name()) && set(root, "arena_size", GI_ARENA_SIZE) &&
                  set(root, "pool_size", GI_POOL_SIZE) && set_totals(root);
    json classes = set_new(root, "classes", root.make->array()), threads = set_new(root, "threads", root.make->array());
    return filled && classes.to != NULL && threads.to != NULL && gilloc_visit_classes(append_class, &classes) == 0 &&
           gilloc_visit_threads(append_thread, &threads) == 0;
}

static bool write_json(FILE *out) {
    const gi_late_json *make = gi_late_get_json();
    json root = {make, make != NULL ? make->object() : NULL};
    if (root.to == NULL) {
        return false;
    }
    bool whole = set_all(root) && make->dump_file(root.to, out, JSON_INDENT(2)) == 0;
    fputc('\n', out);
    make->destroy(root.to); /* nobody else refers to it */
    return whole;
}

/* --- whole texts ------------------------------------------------------------------------------ */

/* False when memory is out: what has been written is of no use. */
typedef bool writer(FILE *out);

/* A text as `write_it` writes it, to be freed, and its length; NULL with errno when memory is out. */
static char *text_of(writer *write_it, size_t *length) {
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (out == NULL) {
        return NULL;
    }
    bool whole = write_it(out) && ferror(out) == 0;
    whole = fclose(out) == 0 && whole;
    if (!whole) {
        free(text);
        errno = ENOMEM;
        return NULL;
    }
    return text;
}

/* NULL: there is no such format. */
static writer *writer_of(const char *format) {
    return strcmp(format, "text") == 0 ? write_text : strcmp(format, "json") == 0 ? write_json : NULL;
}

int gilloc_print_stats(FILE *file, const char *format) {
    writer *write_it = format != NULL ? writer_of(format) : NULL;
    if (write_it == NULL) {
        errno = EINVAL;
        return -1;
    }
    int saved_errno = errno;
    if (write_it == write_json && gi_late_get_json() == NULL) {
        return -1;
    }
    size_t length;
    char *text = text_of(write_it, &length);
    if (text == NULL) {
        return -1;
    }
    bool written = fwrite(text, 1, length, file) == length && fflush(file) == 0;
    int error = errno;
    free(text);
    errno = written ? saved_errno : error;
    return written ? 0 : -1;
}

/* --- by itself -------------------------------------------------------------------------------- */

static writer *at_exit; /* constant once ready, as the next */
static bool tables;

/* To stderr past its buffer.  What cannot be written or be made is left out: nobody has called who could be told. */
static void write_to_stderr(writer *write_it) {
    int saved_errno = errno;
    size_t length = 0;
    char *text = text_of(write_it, &length);
    for (size_t done = 0; text != NULL && done < length;) {
        ssize_t written = write(STDERR_FILENO, text + done, length - done);
        if (written < 0 && errno != EINTR) {
            break;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    free(text);
    errno = saved_errno;
}

static void print_table(void) { write_to_stderr(write_table); }

/* No arena has ever been made where the system's allocator serves all. */
static void process_ends(void) {
    if (gi_this.forking) {
        return;
    }
    if (tables && gi_load_relaxed(&gi_arena_stats_now.acquired) != 0) { /* relaxed: a statistic */
        print_table();
    }
    if (at_exit != NULL) {
        write_to_stderr(at_exit);
    }
}

void gi_runtime_up_print(void) {
    gi_option_stats wanted_at_exit = (gi_option_stats)gi_option(GI_OPTION_STATS);
    tables = gi_option_text(GI_OPTION_MALLOC_STATS) != NULL;
    gi_arena_made = tables ? print_table : NULL;
    if (wanted_at_exit == GI_STATS_JSON) {
        (void)gi_late_get_json(); /* what is missing is told now, and not when all figures are lost */
    }
    at_exit = wanted_at_exit == GI_STATS_TEXT ? write_text : wanted_at_exit == GI_STATS_JSON ? write_json : NULL;
    if ((tables || at_exit != NULL) && atexit(process_ends) != 0) {
        gi_report("first use", "out of memory for what is to be printed at exit");
    }
}
