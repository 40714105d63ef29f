/* SPDX-License-Identifier: MIT */
/*
 * dlopen_test.c LIBRARY - a program that is not linked to the library opens it, uses it in threads and closes it.
 *   Its names stay its own (RTLD_LOCAL).  The code that runs as a thread ends stays mapped after dlclose(), so threads
 *   that have used it may live on, attached or not, and end; and the library may be opened again.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

#define THREADS 4

struct functions {
    int (*ensure)(void);
    void (*release)(int state);
    void *(*malloc)(size_t size);
    void (*free)(void *block);
    void (*safepoint)(void);
    int (*set_mode)(int mode);
    int (*check)(void);
};

static struct functions functions;
static pthread_barrier_t used, closed;

static void look_up(void *library) {
    *(void **)&functions.ensure = dlsym(library, "PyGILState_Ensure");
    *(void **)&functions.release = dlsym(library, "PyGILState_Release");
    *(void **)&functions.malloc = dlsym(library, "PyObject_Malloc");
    *(void **)&functions.free = dlsym(library, "PyObject_Free");
    *(void **)&functions.safepoint = dlsym(library, "gilloc_safepoint");
    *(void **)&functions.set_mode = dlsym(library, "gilloc_set_mode");
    *(void **)&functions.check = dlsym(library, "gilloc_check");
    CHECK(functions.ensure && functions.release && functions.malloc && functions.free && functions.safepoint &&
          functions.set_mode && functions.check);
}

static void use(void) {
    void *blocks[200];
    for (int i = 0; i < 200; i++) {
        blocks[i] = functions.malloc((size_t)i * 4);
        CHECK(blocks[i] != NULL);
    }
    functions.safepoint();
    for (int i = 0; i < 200; i++) {
        functions.free(blocks[i]);
    }
}

/* Uses it before and after it was closed; ends as a thread that has been attached. */
static void *live_on(void *arg) {
    int state = functions.ensure();
    use();
    functions.release(state);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed);
    state = functions.ensure();
    use();
    functions.release(state);
    return arg;
}

static void open_and_close(const char *path, int mode) {
    pthread_t threads[THREADS];
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    CHECK(dlsym(RTLD_DEFAULT, "PyObject_Malloc") == NULL);
    look_up(library);
    CHECK(functions.set_mode(mode) == 0);
    CHECK(pthread_barrier_init(&used, NULL, THREADS + 1) == 0 && pthread_barrier_init(&closed, NULL, THREADS + 1) == 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, live_on, NULL) == 0);
    }
    pthread_barrier_wait(&used);
    CHECK(dlclose(library) == 0);
    void *again = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    CHECK(again != NULL); /* -z nodelete */
    CHECK(dlclose(again) == 0);
    pthread_barrier_wait(&closed);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(functions.check() == 0);
    CHECK(pthread_barrier_destroy(&used) == 0 && pthread_barrier_destroy(&closed) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    int mode = atoi(argv[2]);
    open_and_close(argv[1], mode);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL && dlsym(library, "PyObject_Malloc") == (void *)functions.malloc);
    int state = functions.ensure();
    use();
    functions.release(state);
    CHECK(dlclose(library) == 0);
    return 0;
}
