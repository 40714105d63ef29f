/* SPDX-License-Identifier: MIT */
/*
 * frames.h [L7] - Python's stack, read without a call that could allocate.
 *   It knows the inside of CPython 3.11's frames, so it is part of gilloc-python alone, which is linked with that one.
 *   Owner   the calling thread, which holds CPython's lock.
 *   Locks   none.
 */
#ifndef GI_CPYTHON_FRAMES_H
#define GI_CPYTHON_FRAMES_H

#include "lib/embed/cpython/cpython.h"

int gi_cpython_python_frames(gi_cpython_frame *out, int max);

#endif /* GI_CPYTHON_FRAMES_H */
