/* SPDX-License-Identifier: MIT */
/* late.c - what a program needs more libraries for: figures as JSON, stacks, samples, pprof's profiles.  Each line says
   what became of one.  With an argument it ends at once. */
#include <errno.h>
#include <gilloc/gilloc.h>
#include <gilloc/trace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *what, int result) {
    printf("%s %s\n", what, result == 0 ? "good" : errno == ELIBACC ? "cannot" : strerror(errno));
}

int main(int argc, char **argv) {
    FILE *nowhere = fopen("/dev/null", "w");
    gilloc_snapshot *snapshot;
    gilloc_site site = {0};
    void *block;
    PyGILState_STATE state = PyGILState_Ensure();
    (void)argv;
    if (argc > 1) _exit(0); /* what the first use alone says: no end is seen */
    say("one frame", gilloc_trace_start(1));
    gilloc_trace_stop();
    say("frames", gilloc_trace_start(16));
    block = PyMem_Malloc(100);
    snapshot = gilloc_snapshot_take();
    if (gilloc_snapshot_site(snapshot, 0, &site) == 0) printf("stack %s\n", site.frames > 1 ? "good" : "short");
    PyMem_Free(block);
    gilloc_trace_stop();
    say("samples", gilloc_sample_start(0));
    gilloc_sample_stop();
    say("pprof", gilloc_snapshot_write(snapshot, nowhere, "pprof"));
    say("text", gilloc_snapshot_write(snapshot, nowhere, "text"));
    say("json", gilloc_print_stats(nowhere, "json"));
    say("figures", gilloc_print_stats(nowhere, "text"));
    gilloc_snapshot_free(snapshot);
    PyGILState_Release(state);
    return fclose(nowhere);
}
