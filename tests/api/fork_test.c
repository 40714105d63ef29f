/* SPDX-License-Identifier: MIT */
/*
 * fork_test.c - PyOS_BeforeFork(), PyOS_AfterFork_Parent() and PyOS_AfterFork_Child(), with other threads alive.
 *   The child has one thread, attached; it can do everything with everything that the parent had.  A plain fork() gets
 *   the same from the library's handlers.
 */
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/mailbox.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define FORKS ROUNDS(200)
#define KEPT 300

/* Blocks that a thread of the parent allocated and leaves alone; the child frees its copy. */
struct keeper {
    void *blocks[KEPT];
    struct shared ready;
    struct shared stop;
};

static void keeper_fill(struct keeper *keeper) {
    for (size_t i = 0; i < KEPT; i++) {
        keeper->blocks[i] = PyObject_Malloc(i * 2);
        EXPECT(keeper->blocks[i] != NULL);
        pattern_fill(keeper->blocks[i], i * 2, (uint32_t)i);
    }
    /* What hands the blocks over, where no lock does. */
    __atomic_store_n(&keeper->ready.value, 1, __ATOMIC_RELEASE);
}

static void keeper_wait(const struct keeper *keeper) {
    while (!__atomic_load_n(&keeper->ready.value, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
}

static void keeper_free(struct keeper *keeper) {
    for (size_t i = 0; i < KEPT; i++) {
        pattern_check(keeper->blocks[i], i * 2, (uint32_t)i);
        PyObject_Free(keeper->blocks[i]);
    }
}

/* --- the parent's other threads --------------------------------------------------------------- */

/* Always attached, always allocating and freeing. */
static void *stay_busy(void *arg) {
    struct keeper *keeper = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(keeper);
    void *blocks[64] = {NULL};
    for (size_t i = 0; !shared_get(&keeper->stop); i++) {
        PyObject_Free(blocks[i % 64]);
        blocks[i % 64] = PyObject_Malloc(i % 513);
        EXPECT(blocks[i % 64] != NULL);
        gilloc_safepoint();
    }
    for (size_t i = 0; i < 64; i++) {
        PyObject_Free(blocks[i]);
    }
    keeper_free(keeper);
    PyGILState_Release(was);
    return NULL;
}

/* Attaches and detaches all the time, by states that come and go. */
static void *come_and_go(void *arg) {
    struct keeper *keeper = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(keeper);
    PyGILState_Release(was);
    while (!shared_get(&keeper->stop)) {
        was = PyGILState_Ensure();
        void *block = PyMem_Malloc(100);
        Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS PyMem_Free(block);
        PyGILState_Release(was);
    }
    was = PyGILState_Ensure();
    keeper_free(keeper);
    PyGILState_Release(was);
    return NULL;
}

static struct mailbox idle; /* nothing ever comes */

/* Detached, waiting for something else. */
static void *stay_detached(void *arg) {
    struct keeper *keeper = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(keeper);
    Py_BEGIN_ALLOW_THREADS while (!shared_get(&keeper->stop)) { usleep(1000); }
    Py_END_ALLOW_THREADS keeper_free(keeper);
    PyGILState_Release(was);
    return NULL;
}

/* --- the child -------------------------------------------------------------------------------- */

static void use_heap(void) {
    struct shadow shadow;
    shadow_init(&shadow, 1);
    for (size_t i = 0; i < 600; i++) {
        const struct domain *domain = &domains[i % DOMAINS];
        shadow_add(&shadow, domain, domain->malloc(i), i);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
}

#if !UNDER_TSAN
/* ThreadSanitizer ends a process that starts a thread after the fork of one that had threads. */
static void *live_in_the_child(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    use_heap();
    *(void **)arg = PyObject_Malloc(40);
    PyGILState_Release(was);
    return NULL;
}

static void start_threads(void) {
    void *left[2];
    Py_BEGIN_ALLOW_THREADS threads_run(2, live_in_the_child, left, sizeof(left[0]));
    Py_END_ALLOW_THREADS PyObject_Free(left[0]);
    PyObject_Free(left[1]);
}
#else
static void start_threads(void) {}
#endif

static int count_block(void *block, size_t size, void *count) {
    EXPECT(size >= small_block_size(0) && (uintptr_t)block % 16 == 0);
    ++*(size_t *)count;
    return 0;
}

static size_t visited(void) {
    size_t count = 0;
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, count_block, &count), 0);
    EXPECT_EQ(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, count_block, &count), 0);
    return count;
}

/* Grace periods, stops, walks, both modes and new interpreters, by an attached thread that is alone. */
static void use_the_world(void) {
    PyThreadState *mine = PyThreadState_Get();
    gilloc_mode mode = gilloc_get_mode();
    for (int i = 0; i < 4; i++) {
        size_t live = gilloc_allocated_blocks();
        gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
        gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(1000));
        gilloc_reclaim();
        EXPECT_EQ(memory_stats().retired_bytes, 0);
        EXPECT_AT_MOST(gilloc_allocated_blocks(), live);
        gilloc_stop_the_world();
        use_heap();
        visited();
        gilloc_start_the_world();
        EXPECT_EQ(gilloc_set_mode(i % 2 == 0 ? GILLOC_MODE_FREE : GILLOC_MODE_GIL), 0);
        use_heap();
        EXPECT_EQ(gilloc_check(), 0);
    }
    EXPECT_EQ(gilloc_set_mode(mode), 0);
    PyInterpreterState *interpreter = PyInterpreterState_New();
    EXPECT(interpreter != NULL);
    PyThreadState *state = PyThreadState_New(interpreter);
    PyThreadState_Swap(state);
    use_heap();
    gilloc_reclaim();
    gilloc_stop_the_world();
    gilloc_start_the_world();
    PyInterpreterState_Clear(interpreter);
    PyThreadState_Swap(mine);
    PyInterpreterState_Delete(interpreter);
}

static int thorough; /* whether the next child does all that it can */

static void child_main(struct keeper *keepers, size_t count, PyThreadState *state) {
    EXPECT_EQ(PyGILState_Check(), 1);
    EXPECT(PyThreadState_Get() == state);
    EXPECT(PyGILState_GetThisThreadState() == state);
    EXPECT_EQ(memory_stats().thread_states, 1);
    EXPECT_EQ(gilloc_check(), 0);
    use_heap();
    for (size_t i = 0; i < count; i++) {
        keeper_free(&keepers[i]);
    }
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_LOCKED);
    PyGILState_Release(PyGILState_LOCKED);
    Py_BEGIN_ALLOW_THREADS EXPECT_EQ(PyGILState_Check(), 0);
    EXPECT_EQ(PyGILState_Ensure(), PyGILState_UNLOCKED);
    use_heap();
    PyGILState_Release(PyGILState_UNLOCKED);
    Py_END_ALLOW_THREADS gilloc_safepoint();
    PyThreadState *other = PyThreadState_New(PyInterpreterState_Get());
    EXPECT(other != NULL);
    PyThreadState_Swap(other);
    use_heap();
    PyThreadState_Swap(state);
    PyThreadState_Delete(other);
    start_threads();
    use_heap();
    if (thorough) {
        use_the_world();
    }
    gilloc_purge();
    EXPECT_EQ(gilloc_check(), 0);
    _exit(0);
}

static void wait_for(pid_t pid) {
    int status;
    pid_t ended;
    Py_BEGIN_ALLOW_THREADS ended = waitpid(pid, &status, 0);
    Py_END_ALLOW_THREADS EXPECT_EQ(ended, pid);
    if (WIFSIGNALED(status)) {
        expect_failed(__FILE__, __LINE__, "signal %d ended the child", WTERMSIG(status));
    }
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

static int plain; /* fork() alone, without the functions around it; set before the first thread starts */

/* One fork by the attached caller. */
static void fork_once(struct keeper *keepers, size_t count) {
    PyThreadState *state = PyThreadState_Get();
    if (!plain) {
        PyOS_BeforeFork();
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (!plain) {
            PyOS_AfterFork_Child();
        }
        child_main(keepers, count, state);
    }
    if (!plain) {
        PyOS_AfterFork_Parent();
    }
    EXPECT(pid > 0);
    EXPECT(PyThreadState_Get() == state);
    PyMem_Free(PyMem_Malloc(100));
    wait_for(pid);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void one_thread_forks(void) {
    static struct keeper keeper;
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(&keeper);
    for (size_t i = 0; i < 20; i++) {
        fork_once(&keeper, 1);
    }
    keeper_free(&keeper);
    memory_expect_all_back();
    PyGILState_Release(was);
}

#define OTHERS 4

static void fork_beside_others(void) {
    static struct keeper keepers[OTHERS + 1];
    static const thread_body bodies[OTHERS] = {stay_busy, stay_busy, come_and_go, stay_detached};
    pthread_t threads[OTHERS];
    mailbox_init(&idle, 1);
    for (size_t i = 0; i < OTHERS; i++) {
        threads[i] = thread_start(bodies[i], &keepers[i]);
    }
    for (size_t i = 0; i < OTHERS; i++) {
        keeper_wait(&keepers[i]);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(&keepers[OTHERS]);
    for (size_t i = 0; i < FORKS; i++) {
        thorough = i % 8 == 0;
        fork_once(keepers, OTHERS + 1);
    }
    keeper_free(&keepers[OTHERS]);
    for (size_t i = 0; i < OTHERS; i++) {
        shared_set(&keepers[i].stop, 1);
    }
    mailbox_close(&idle);
    Py_BEGIN_ALLOW_THREADS for (size_t i = 0; i < OTHERS; i++) { thread_join(threads[i]); }
    Py_END_ALLOW_THREADS memory_expect_all_back();
    PyGILState_Release(was);
}

static void plain_fork_beside_others(void) {
    plain = 1;
    fork_beside_others();
}

/* The others fork too.  None starts, ends or uses malloc while another forks: AddressSanitizer's malloc, unlike the
   system's, does not take its locks for a fork. */
#define FORKERS 3
static pthread_barrier_t all_there;

static void meet(void) {
    Py_BEGIN_ALLOW_THREADS pthread_barrier_wait(&all_there);
    Py_END_ALLOW_THREADS
}

static void *fork_in_thread(void *arg) {
    struct keeper *keeper = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(keeper);
    meet();
    for (size_t i = 0; i < FORKS / 10 + 1; i++) {
        fork_once(keeper, 1);
        gilloc_safepoint();
    }
    meet();
    keeper_free(keeper);
    PyGILState_Release(was);
    return NULL;
}

static void several_threads_fork(void) {
    static struct keeper keepers[FORKERS];
    EXPECT_EQ(pthread_barrier_init(&all_there, NULL, FORKERS), 0);
    thorough = 1;
    threads_run(FORKERS, fork_in_thread, keepers, sizeof(keepers[0]));
    PyGILState_STATE was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void several_threads_fork_plainly(void) {
    plain = 1;
    several_threads_fork();
}

/* A detached thread forks, while another is attached; the child attaches. */
static void a_detached_thread_forks(void) {
    static struct keeper keepers[2];
    thorough = 1;
    PyGILState_STATE was = PyGILState_Ensure();
    keeper_fill(&keepers[1]);
    PyThreadState *state = PyEval_SaveThread();
    pthread_t thread = thread_start(stay_busy, &keepers[0]);
    keeper_wait(&keepers[0]);
    for (size_t i = 0; i < FORKS / 10 + 1; i++) {
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            EXPECT_EQ(PyGILState_Check(), 0);
            PyEval_RestoreThread(state);
            child_main(keepers, 2, state);
        }
        PyEval_RestoreThread(state);
        wait_for(pid);
        PyEval_SaveThread();
    }
    shared_set(&keepers[0].stop, 1);
    thread_join(thread);
    PyEval_RestoreThread(state);
    keeper_free(&keepers[1]);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* A child forks again. */
/* A thread of an interpreter that was made forks while it is detached, as does its child: the state is still theirs. */
static void a_detached_thread_of_an_interpreter_forks(void) {
    PyInterpreterState *interpreter = PyInterpreterState_New();
    EXPECT(interpreter != NULL);
    PyThreadState *state = PyThreadState_New(interpreter);
    PyEval_RestoreThread(state);
    void *block = PyMem_Malloc(40);
    EXPECT(PyEval_SaveThread() == state);
    int generation = 0;
    pid_t child = fork();
    if (child == 0) {
        generation++;
        child = fork();
        generation += child == 0;
    }
    EXPECT(child >= 0);
    PyThreadState *other = PyThreadState_New(interpreter);
    EXPECT(other != state);
    PyEval_RestoreThread(state);
    PyMem_Free(block);
    EXPECT(PyEval_SaveThread() == state);
    PyThreadState_Delete(other);
    PyThreadState_Delete(state);
    PyInterpreterState_Delete(interpreter);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    int status = 0;
    EXPECT(generation == 2 || (waitpid(child, &status, 0) == child && status == 0));
    if (generation != 0) {
        _exit(0);
    }
}

static void a_child_forks(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        static struct keeper keeper;
        keeper_fill(&keeper);
        fork_once(&keeper, 1);
        keeper_free(&keeper);
        _exit(0);
    }
    PyOS_AfterFork_Parent();
    EXPECT(pid > 0);
    wait_for(pid);
    PyGILState_Release(was);
}

/* A fork that does not happen: the parent goes on. */
static void *come_once(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    shared_set(arg, 1);
    PyGILState_Release(was);
    return NULL;
}

static void a_fork_that_fails(void) {
    struct shared came = {0};
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < 10; i++) {
        PyOS_BeforeFork();
        PyOS_AfterFork_Parent();
        use_heap();
    }
    Py_BEGIN_ALLOW_THREADS threads_run(1, come_once, &came, 0);
    Py_END_ALLOW_THREADS EXPECT_EQ(shared_get(&came), 1);
    memory_expect_all_back();
    PyGILState_Release(was);
}

#if !UNDER_TSAN
/* The parent's other threads have attached once and live on detached, or have ended.  Threads of the child get the
   stacks that those had; nothing of the parent's threads may be looked for there.  ThreadSanitizer: as above. */
#define ONCE_ATTACHED 8
static pthread_barrier_t once_attached;

static void *attach_once(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_Free(PyMem_Malloc(100));
    if (arg == NULL) {
        PyGILState_Release(was);
        return NULL;
    }
    /* Odd ones keep a state, even ones have none. */
    size_t number = (size_t)((struct shared *)arg)->value;
    if (number % 2 == 0) {
        PyGILState_Release(was);
    }
    PyThreadState *state = number % 2 != 0 ? PyEval_SaveThread() : NULL;
    pthread_barrier_wait(&once_attached);
    pthread_barrier_wait(&once_attached);
    if (state != NULL) {
        PyEval_RestoreThread(state);
        PyGILState_Release(was);
    }
    return NULL;
}

static void *only_exist(void *barrier) {
    pthread_barrier_wait(barrier);
    return NULL;
}

static void *live_shortly(void *unused) {
    (void)unused;
    PyGILState_STATE was = PyGILState_Ensure();
    void *block = PyMem_Malloc(64);
    EXPECT(block != NULL);
    gilloc_safepoint();
    Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS PyMem_Free(block);
    PyGILState_Release(was);
    return NULL;
}

static void live_in_old_stacks(void) {
    pthread_barrier_t barrier;
    EXPECT_EQ(pthread_barrier_init(&barrier, NULL, 2 * ONCE_ATTACHED), 0);
    Py_BEGIN_ALLOW_THREADS for (int round = 0; round < 10; round++) {
        pthread_t threads[2 * ONCE_ATTACHED];
        for (size_t i = 0; i < 2 * ONCE_ATTACHED; i++) {
            threads[i] = thread_start(only_exist, &barrier);
        }
        for (size_t i = 0; i < 2 * ONCE_ATTACHED; i++) {
            thread_join(threads[i]);
        }
        threads_run(4, live_shortly, NULL, 0);
    }
    Py_END_ALLOW_THREADS EXPECT_EQ(memory_stats().thread_states, 1);
    EXPECT_EQ(gilloc_check(), 0);
}

static void the_child_starts_threads(void) {
    static struct shared numbers[ONCE_ATTACHED];
    pthread_t threads[ONCE_ATTACHED];
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(pthread_barrier_init(&once_attached, NULL, ONCE_ATTACHED + 1), 0);
    Py_BEGIN_ALLOW_THREADS for (size_t i = 0; i < ONCE_ATTACHED; i++) {
        numbers[i].value = i;
        threads[i] = thread_start(attach_once, &numbers[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        thread_join(thread_start(attach_once, NULL));
    }
    pthread_barrier_wait(&once_attached);
    Py_END_ALLOW_THREADS for (int i = 0; i < 3; i++) {
        if (!plain) {
            PyOS_BeforeFork();
        }
        pid_t pid = fork();
        if (pid == 0) {
            if (!plain) {
                PyOS_AfterFork_Child();
            }
            live_in_old_stacks();
            _exit(0);
        }
        if (!plain) {
            PyOS_AfterFork_Parent();
        }
        EXPECT(pid > 0);
        wait_for(pid);
    }
    Py_BEGIN_ALLOW_THREADS pthread_barrier_wait(&once_attached);
    for (size_t i = 0; i < ONCE_ATTACHED; i++) {
        thread_join(threads[i]);
    }
    Py_END_ALLOW_THREADS memory_expect_all_back();
    PyGILState_Release(was);
}

static void the_child_of_a_plain_fork_starts_threads(void) {
    plain = 1;
    the_child_starts_threads();
}
#endif

/* --- under load ------------------------------------------------------------------------------- */

#define WORKERS 4
#define SLOTS 40

/* Plain words of threads that allocate, free each other's blocks, retire, stop the world and wait for grace periods: at
   each safepoint, and while they are detached, they say how many blocks are alive. */
static struct worker {
    struct shared *stop;
    size_t number;
    size_t live;
    char apart[128];
} workers[WORKERS];
static struct shared workers_there; /* none is still being started when another forks: see AddressSanitizer above */
static struct mailbox post;         /* is used between safepoints alone, so no fork finds its mutex taken */

static void take_and_give(struct worker *worker, size_t round) {
    void *block = PyObject_Malloc(round * 11 % 600);
    EXPECT(block != NULL);
    worker->live++;
    if (!mailbox_try_put(&post, block)) {
        PyObject_Free(block);
        worker->live--;
    }
    block = mailbox_try_take(&post);
    if (block == NULL) {
        return;
    }
    if (round % 3 == 0) {
        gilloc_retire(PYMEM_DOMAIN_OBJ, block);
    } else if (round % 3 == 1 || !mailbox_try_put(&post, block)) {
        PyObject_Free(block);
    } else {
        return; /* somebody else's now */
    }
    worker->live--;
}

static void *work_under_load(void *arg) {
    struct worker *worker = arg;
    PyGILState_STATE was = PyGILState_Ensure();
    shared_add(&workers_there, 1);
    for (size_t i = 0; !shared_get(worker->stop); i++) {
        take_and_give(worker, i);
        switch (worker->number) {
            case 0:
                gilloc_safepoint();
                break;
            case 1: /* waits for grace periods */
                gilloc_reclaim();
                gilloc_safepoint();
                break;
            case 2: /* waits for the world, and for the lock */
                gilloc_stop_the_world();
                gilloc_start_the_world();
                Py_BEGIN_ALLOW_THREADS sched_yield();
                Py_END_ALLOW_THREADS break;
            default: /* its states come and go */
                PyGILState_Release(was);
                was = PyGILState_Ensure();
        }
    }
    PyGILState_Release(was);
    return NULL;
}

static size_t live_blocks(void) {
    size_t sum = 0; /* each may be below 0: a block is counted where it was allocated, and freed elsewhere */
    for (size_t i = 0; i < WORKERS; i++) {
        sum += workers[i].live;
    }
    return sum;
}

/* No block of any thread is lost in the child, and none is there that was freed. */
static void live_alone(size_t live, const struct mailbox *box) {
    EXPECT_EQ(memory_stats().thread_states, 1);
    EXPECT_EQ(gilloc_check(), 0);
    gilloc_reclaim(); /* what the others have retired, too */
    EXPECT_EQ(memory_stats().retired_bytes, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), live);
    EXPECT_EQ(box->count, live);
    while (post.count != 0) {
        PyObject_Free(mailbox_try_take(&post));
    }
    memory_expect_all_back();
    EXPECT_EQ(visited(), 0);
}

static void fork_under_load(int attached, size_t forks) {
    struct shared stop = {0};
    pthread_t threads[WORKERS];
    mailbox_init(&post, SLOTS);
    PyGILState_STATE was = PyGILState_Ensure();
    PyThreadState *state = PyEval_SaveThread();
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.stop = &stop, .number = i};
        threads[i] = thread_start(work_under_load, &workers[i]);
    }
    while (shared_get(&workers_there) != WORKERS) {
        sched_yield();
    }
    for (size_t i = 0; i < forks; i++) {
        if (attached) {
            PyEval_RestoreThread(state);
        }
        /* The fork in a stopped world knows what is alive. */
        gilloc_stop_the_world();
        size_t live = live_blocks();
        int with_functions = attached && i % 2 == 0;
        if (with_functions) {
            PyOS_BeforeFork();
        }
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            if (with_functions) {
                PyOS_AfterFork_Child();
            }
            EXPECT_EQ(gilloc_check(), 0);
            gilloc_start_the_world();
            if (!attached) {
                PyEval_RestoreThread(state);
            }
            live_alone(live, &post);
            if (i % 8 == 0) {
                use_the_world();
            }
            _exit(0);
        }
        if (with_functions) {
            PyOS_AfterFork_Parent();
        }
        EXPECT_EQ(live_blocks(), live); /* it is still stopped */
        gilloc_start_the_world();
        if (!attached) {
            PyEval_RestoreThread(state);
        }
        wait_for(pid);
        PyEval_SaveThread();
    }
    shared_set(&stop, 1);
    for (size_t i = 0; i < WORKERS; i++) {
        thread_join(threads[i]);
    }
    PyEval_RestoreThread(state);
    live_alone(live_blocks(), &post);
    mailbox_fini(&post);
    PyGILState_Release(was);
}

/* With the other mode and test, a thousand forks. */
static void an_attached_thread_forks_under_load(void) { fork_under_load(1, ROUNDS(300)); }
static void a_detached_thread_forks_under_load(void) { fork_under_load(0, ROUNDS(200)); }

/* The others wait, in the stopped world in which their process is forked: to attach, to stop it, to delete a state. */
static struct shared waiting;

static void *wait_to_attach(void *unused) {
    (void)unused;
    shared_add(&waiting, 1);
    PyGILState_Release(PyGILState_Ensure());
    return NULL;
}
static void *wait_to_stop(void *unused) {
    (void)unused;
    shared_add(&waiting, 1);
    gilloc_stop_the_world();
    gilloc_start_the_world();
    return NULL;
}
static void *wait_to_delete(void *state) {
    shared_add(&waiting, 1);
    PyThreadState_Delete(state);
    return NULL;
}

static void others_wait_for_the_world(void) {
    for (size_t i = 0; i < FORKS / 10 + 1; i++) {
        shared_set(&waiting, 0);
        PyGILState_STATE was = PyGILState_Ensure();
        PyThreadState *doomed = PyThreadState_New(PyInterpreterState_Main());
        gilloc_stop_the_world();
        pthread_t threads[] = {thread_start(wait_to_attach, NULL), thread_start(wait_to_stop, NULL),
                               thread_start(wait_to_delete, doomed)};
        while (shared_get(&waiting) != 3) {
            sched_yield();
        }
        for (int j = 0; j < 50; j++) {
            sched_yield(); /* most of the time they are in their wait by then; the test holds in any case */
        }
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            EXPECT_EQ(memory_stats().thread_states, 1);
            gilloc_start_the_world();
            use_the_world();
            gilloc_stop_the_world();
            EXPECT_EQ(gilloc_check(), 0);
            gilloc_start_the_world();
            Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS _exit(0);
        }
        gilloc_start_the_world();
        wait_for(pid);
        Py_BEGIN_ALLOW_THREADS for (size_t j = 0; j < 3; j++) { thread_join(threads[j]); }
        Py_END_ALLOW_THREADS EXPECT_EQ(memory_stats().thread_states, 1);
        PyGILState_Release(was);
    }
}

/* Attached in two interpreters, and forked in one. */
static void *stay_busy_elsewhere(void *arg) {
    struct keeper *keeper = arg;
    PyInterpreterState *interpreter = PyInterpreterState_New();
    EXPECT(interpreter != NULL);
    PyEval_RestoreThread(PyThreadState_New(interpreter));
    void *kept = PyObject_Malloc(50);
    pattern_fill(kept, 50, 1);
    __atomic_store_n(&keeper->ready.value, 1, __ATOMIC_RELEASE);
    while (!shared_get(&keeper->stop)) {
        PyMem_Free(PyMem_Malloc(100));
        gilloc_safepoint();
    }
    pattern_check(kept, 50, 1);
    PyObject_Free(kept);
    PyThreadState_DeleteCurrent();
    PyInterpreterState_Delete(interpreter);
    return NULL;
}

static void others_are_attached_to_another_interpreter(void) {
    static struct keeper keeper;
    pthread_t thread = thread_start(stay_busy_elsewhere, &keeper);
    keeper_wait(&keeper);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < FORKS / 10 + 1; i++) {
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            EXPECT_EQ(memory_stats().thread_states, 1);
            EXPECT_EQ(gilloc_allocated_blocks(), 1);
            EXPECT_EQ(visited(), 1);
            use_the_world();
            EXPECT_EQ(gilloc_check(), 0);
            _exit(0);
        }
        wait_for(pid);
    }
    shared_set(&keeper.stop, 1);
    Py_BEGIN_ALLOW_THREADS thread_join(thread);
    Py_END_ALLOW_THREADS memory_expect_all_back();
    PyGILState_Release(was);
}

/* Statistics look into the caches of detached threads: one that forks meanwhile gets its own back in the child. */
static void *count_again_and_again(void *arg) {
    struct shared *stop = arg;
    while (!shared_get(stop)) {
        EXPECT_EQ(memory_stats().large_blocks, 0);
        /* Whoever attaches waits for a moment in which nobody counts. */
        for (int i = 0; i < 50; i++) {
            sched_yield();
        }
    }
    return NULL;
}

static void a_detached_thread_forks_beside_statistics(void) {
    static void *blocks[32][500];
    static struct shared stop;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t size = 0; size < 32; size++) {
        for (size_t i = 0; i < 500; i++) {
            blocks[size][i] = PyMem_Malloc(16 * (size + 1));
            EXPECT(blocks[size][i] != NULL);
        }
    }
    for (size_t i = 0; i < 32 * 500; i++) {
        PyMem_Free(blocks[i / 500][i % 500]);
    }
    PyThreadState *state = PyEval_SaveThread();
    pthread_t thread = thread_start(count_again_and_again, &stop);
    for (size_t i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            PyEval_RestoreThread(state);
            PyMem_Free(PyMem_Malloc(100));
            EXPECT_EQ(gilloc_check(), 0);
            PyGILState_Release(was);
            _exit(0);
        }
        PyEval_RestoreThread(state);
        wait_for(pid);
        PyEval_SaveThread();
    }
    shared_set(&stop, 1);
    thread_join(thread);
    PyEval_RestoreThread(state);
    memory_expect_all_back();
    PyGILState_Release(was);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(one_thread_forks),
        IN_BOTH_MODES(fork_beside_others),
        IN_BOTH_MODES(plain_fork_beside_others),
        IN_BOTH_MODES(several_threads_fork),
        IN_BOTH_MODES(several_threads_fork_plainly),
        IN_BOTH_MODES(a_detached_thread_forks),
        IN_BOTH_MODES(a_detached_thread_forks_beside_statistics),
        IN_BOTH_MODES(an_attached_thread_forks_under_load),
        IN_BOTH_MODES(a_detached_thread_forks_under_load),
        IN_BOTH_MODES(others_wait_for_the_world),
        IN_BOTH_MODES(others_are_attached_to_another_interpreter),
#if !UNDER_TSAN
        IN_BOTH_MODES(the_child_starts_threads),
        IN_BOTH_MODES(the_child_of_a_plain_fork_starts_threads),
#endif
        IN_BOTH_MODES(a_detached_thread_of_an_interpreter_forks),
        IN_BOTH_MODES(a_child_forks),
        IN_BOTH_MODES(a_fork_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
