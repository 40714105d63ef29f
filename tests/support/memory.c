/* SPDX-License-Identifier: MIT */
/*
 * memory.c - /proc/self/statm and gilloc_get_stats().
 */
#include "tests/support/memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/expect.h"

gilloc_stats memory_stats(void) {
    gilloc_stats stats;
    /* A field that is not filled shows. */
    memset(&stats, 0xA5, sizeof(stats));
    stats.size = sizeof(stats);
    gilloc_get_stats(&stats);
    EXPECT_EQ(stats.size, sizeof(stats));
    return stats;
}

size_t memory_resident(void) {
    /* read(2) and not stdio, which allocates. */
    char text[128] = {0};
    int fd = open("/proc/self/statm", O_RDONLY);
    EXPECT(fd >= 0);
    EXPECT(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    char *resident = strchr(text, ' ');
    EXPECT(resident != NULL);
    return strtoull(resident, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

void memory_expect_all_back(void) {
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    gilloc_purge();
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.small_blocks, 0);
    EXPECT_EQ(stats.large_blocks, 0);
    EXPECT_EQ(stats.pools, 0);
    EXPECT_EQ(stats.arenas, 0);
    EXPECT_EQ(stats.arenas_acquired, stats.arenas_released);
}
