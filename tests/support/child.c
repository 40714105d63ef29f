/* SPDX-License-Identifier: MIT */
/*
 * child.c - fork, capture, wait.
 */
#include "tests/support/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    abort();
}

static void child_main(int stderr_fd, pid_t runner, void (*body)(void *arg), void *arg) {
    /* A runner that is killed for its time takes its children along. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != runner) {
        _exit(1);
    }
    /* Death tests leave no core files. */
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    /* cmocka catches these to go on with the next test; here they end the process. */
    static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
        signal(caught[i], SIG_DFL);
    }
    if (dup2(stderr_fd, STDERR_FILENO) < 0) {
        _exit(1);
    }
    close(stderr_fd);
    body(arg);
    /* exit() and not _exit(): AddressSanitizer looks for leaks on the way. */
    exit(0);
}

static char *read_all(int fd) {
    size_t length = 0;
    size_t room = 4096;
    char *text = malloc(room);
    if (text == NULL) {
        die("malloc");
    }
    for (;;) {
        if (length + 1 == room) {
            room *= 2;
            text = realloc(text, room);
            if (text == NULL) {
                die("realloc");
            }
        }
        ssize_t got = read(fd, text + length, room - length - 1);
        if (got == 0) {
            text[length] = '\0';
            return text;
        }
        if (got > 0) {
            length += (size_t)got;
        } else if (errno != EINTR) {
            die("read");
        }
    }
}

void child_run(struct child_end *end, void (*body)(void *arg), void *arg) {
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0) {
        die("pipe");
    }
    /* What waits in a buffer would be written twice. */
    fflush(NULL);
    pid_t runner = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        close(pipe_fds[0]);
        child_main(pipe_fds[1], runner, body, arg);
    }
    close(pipe_fds[1]);
    end->text = read_all(pipe_fds[0]);
    close(pipe_fds[0]);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            die("waitpid");
        }
    }
    end->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void child_end_fini(struct child_end *end) {
    free(end->text);
    end->text = NULL;
}
