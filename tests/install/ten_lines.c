/* SPDX-License-Identifier: MIT */
/* ten_lines.c - the smallest program that uses gilloc from outside its tree; it is C and C++. */
#include <gilloc/gilloc.h>
#include <stdio.h>

int main(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    char *text = PyMem_New(char, 32);
    int length = text == NULL ? 0 : snprintf(text, 32, "%s", "installed");
    int intact = length == 9 && gilloc_allocated_blocks() == 1;
    PyMem_Free(text);
    PyGILState_Release(state);
    return intact && puts("intact") >= 0 ? 0 : 1;
}
