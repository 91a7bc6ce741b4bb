/* SPDX-License-Identifier: Apache-2.0 */
/* A library to be opened by opens.c. -DPLUG=name: function names of its own, so that a backtrace tells which of several
   libraries of one name a frame is in. -DPAD=N moves its code. */
#include <stdlib.h>

#ifndef PLUG
#define PLUG only
#endif
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

__thread int plug_value = 3;

#ifdef PAD
int JOIN(pad_, PLUG)(int x) { volatile char room[PAD] = {0}; return room[x] + PAD; }
#endif

static int __attribute__((noinline)) JOIN(inside_, PLUG)(int depth, void **next)
{
    plug_value = depth * 111;
    if (!*next)
        abort();
    return ((int (*)(int, void **))*next)(depth + 1, next + 1) + plug_value;
}

int plug_enter(int depth, void **next)
{
    return JOIN(inside_, PLUG)(depth, next) + 1;
}
