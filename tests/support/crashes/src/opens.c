/* SPDX-License-Identifier: Apache-2.0 */
/* Opens each library of its command line, in a namespace of its own after "-n", and has each call the next one's
   `plug_enter`; the last one dies. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

__thread int thread_value = 7;
int global_value = 4711;

typedef int (*enter)(int, void **);

int main(int argc, char **argv)
{
    void *entries[16] = {0};
    int apart = 0, count = 0;
    thread_value = 41;
    for (int i = 1; i < argc && count < 15; i++) {
        if (!strcmp(argv[i], "-n")) {
            apart = 1;
            continue;
        }
        void *library = apart ? dlmopen(LM_ID_NEWLM, argv[i], RTLD_NOW) : dlopen(argv[i], RTLD_NOW);
        if (!library || !(entries[count++] = dlsym(library, "plug_enter"))) {
            fprintf(stderr, "%s\n", dlerror());
            return 2;
        }
    }
    return count ? ((enter)entries[0])(1, entries + 1) : 2;
}
