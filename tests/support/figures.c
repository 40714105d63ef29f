/* SPDX-License-Identifier: MIT */
/*
 * figures.c - what the library's statistics say, kept and checked.
 */
#include "tests/support/figures.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/expect.h"
#include "tests/support/sanitizer.h"

uint64_t figures_ended_waits(const gilloc_stats *stats) {
    uint64_t sum = 0;
    for (size_t i = 0; i < GILLOC_WAIT_BUCKETS; i++) {
        sum += stats->lock_wait_histogram[i];
    }
    return sum;
}

static int keep_class(const gilloc_class_stats *stats, void *arg) {
    struct figures_classes *all = arg;
    EXPECT_EQ(stats->size, sizeof(*stats));
    EXPECT(stats->block_size % 16 == 0 && stats->block_size <= 512 && stats->pools != 0);
    /* In order. */
    EXPECT((int)stats->domain > all->domain ||
           ((int)stats->domain == all->domain && stats->block_size > all->block_size));
    all->domain = (int)stats->domain;
    all->block_size = stats->block_size;
    all->of[stats->domain][stats->block_size / 16 - 1] = *stats;
    all->in_use += stats->blocks_in_use;
    all->cached += stats->blocks_cached;
    all->pools += stats->pools;
    all->count++;
    uint64_t blocks = stats->blocks_in_use + stats->blocks_cached + stats->blocks_free;
    EXPECT_EQ(blocks % stats->pools, 0); /* each pool has room for as many */
    if (!UNDER_HOSTILE) {
        EXPECT_EQ(blocks, stats->pools * (16384 / stats->block_size));
    }
    return 0;
}

struct figures_classes figures_classes(void) {
    struct figures_classes all = {.count = 0};
    EXPECT_EQ(gilloc_visit_classes(keep_class, &all), 0);
    return all;
}

static int keep_thread(const gilloc_thread_stats *stats, void *arg) {
    struct figures_threads *all = arg;
    EXPECT_EQ(stats->size, sizeof(*stats));
    EXPECT(all->count < THREADS_MAX);
    all->of[all->count++] = *stats;
    return 0;
}

struct figures_threads figures_threads(void) {
    struct figures_threads all = {.count = 0};
    EXPECT_EQ(gilloc_visit_threads(keep_thread, &all), 0);
    return all;
}

char *figures_printed(const char *format) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    EXPECT(out != NULL);
    errno = 7;
    EXPECT_EQ(gilloc_print_stats(out, format), 0);
    EXPECT_EQ(errno, 7);
    EXPECT_EQ(fclose(out), 0);
    EXPECT_EQ(strlen(text), length);
    return text;
}

uint64_t figures_value(const char *text, const char *words) {
    char start[128];
    snprintf(start, sizeof(start), "\n%s", words);
    const char *line = strstr(text, start);
    EXPECT(line != NULL);
    line++;
    EXPECT_EQ(strcspn(line, "="), 35);
    EXPECT_EQ(strcspn(line, "\n"), 57);
    uint64_t value = 0;
    for (const char *at = line + 36; *at != '\n'; at++) {
        EXPECT(*at == ' ' || *at == ',' || (*at >= '0' && *at <= '9'));
        value = *at >= '0' && *at <= '9' ? value * 10 + (uint64_t)(*at - '0') : value;
    }
    return value;
}

struct figures_table figures_table(const char *text) {
    static const char head[] =
        "Small block threshold = 512, in 32 size classes.\n\n"
        "class   size   num pools   blocks in use  avail blocks\n"
        "-----   ----   ---------   -------------  ------------\n";
    struct figures_table table = {.pools = 0};
    EXPECT_EQ(strncmp(text, head, strlen(head)), 0);
    const char *line = text + strlen(head);
    uint64_t lost = 0;
    for (; line[0] != '\n'; line += strcspn(line, "\n") + 1) {
        unsigned class, size;
        uint64_t pools, in_use, avail;
        EXPECT_EQ(
            sscanf(line, "%5u %6u %11" SCNu64 " %15" SCNu64 " %13" SCNu64 "\n", &class, &size, &pools, &in_use, &avail),
            5);
        char again[128];
        snprintf(again, sizeof(again), "%5u %6u %11zu %15zu %13zu\n", class, size, (size_t)pools, (size_t)in_use,
                 (size_t)avail);
        EXPECT_EQ(strncmp(line, again, strlen(again)), 0);
        EXPECT(size == 16 * (class + 1) && pools != 0);
        if (!UNDER_HOSTILE) {
            EXPECT_EQ(in_use + avail, pools * (16384 / size));
            lost += pools * (16384 % size);
        }
        table.pools += pools;
        table.in_use += in_use;
        table.avail += avail;
        table.in_use_bytes += in_use * size;
        table.avail_bytes += avail * size;
    }
    unsigned arena_size, pool_size;
    const char *arenas = strstr(line, " arenas * "), *unused = strstr(line, " unused pools * ");
    EXPECT(arenas != NULL && unused != NULL);
    EXPECT_EQ(sscanf(arenas, " arenas * %u bytes/arena", &arena_size), 1);
    EXPECT_EQ(sscanf(unused, " unused pools * %u bytes", &pool_size), 1);
    if (!UNDER_HOSTILE) {
        EXPECT(arena_size == 262144 && pool_size == 16384);
        EXPECT_EQ(figures_value(line, "# bytes lost to quantization"), lost);
    }
    table.arenas = figures_value(line, "# arenas allocated current");
    char words[64];
    snprintf(words, sizeof(words), "%" PRIu64 " arenas * %u bytes/arena", table.arenas, arena_size);
    table.arena_bytes = figures_value(line, words);
    EXPECT_EQ(table.arena_bytes, table.arenas * arena_size);
    EXPECT_EQ(figures_value(line, "# bytes in allocated blocks"), table.in_use_bytes);
    EXPECT_EQ(figures_value(line, "# bytes in available blocks"), table.avail_bytes);
    while (unused[-1] != '\n') {
        unused--;
    }
    table.unused = strtoull(unused, NULL, 10);
    snprintf(words, sizeof(words), "%" PRIu64 " unused pools * %u bytes", table.unused, pool_size);
    EXPECT_EQ(figures_value(line, words), table.unused * pool_size);
    EXPECT_EQ(figures_value(line, "# bytes lost to pool headers"), 0);
    EXPECT_EQ(figures_value(line, "Total"), table.arena_bytes);
    uint64_t total = table.in_use_bytes + table.avail_bytes + table.unused * pool_size +
                     figures_value(line, "# bytes lost to quantization") +
                     figures_value(line, "# bytes lost to arena alignment");
    EXPECT_EQ(total, table.arena_bytes);
    EXPECT(figures_value(line, "# arenas allocated total") >= figures_value(line, "# arenas highwater mark"));
    EXPECT(figures_value(line, "# arenas allocated total") >= figures_value(line, "# arenas reclaimed"));
    return table;
}
