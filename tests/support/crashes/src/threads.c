/* SPDX-License-Identifier: Apache-2.0 */
/* Three threads that wait in a barrier and a main thread that dies, each with its own value of a thread-local.
   Options: -DFILTER="0x23" (own coredump_filter), -DSPARSE (4 GiB of address space, three pages touched),
   -DWAIT (dies only after a byte has come on stdin). */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

__thread int thread_value = 7;
int global_value = 4711;

#ifndef NO_THREADS
static pthread_barrier_t started, never;

static void *work(void *number)
{
    thread_value = 100 + (int)(long)number;
    pthread_barrier_wait(&started);
    pthread_barrier_wait(&never);
    return 0;
}
#endif

static void fall(int depth)
{
    if (depth == 0)
        abort();
    fall(depth - 1);
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
#ifdef FILTER
    int filter = open("/proc/self/coredump_filter", O_WRONLY);
    if (filter < 0 || write(filter, FILTER, sizeof FILTER - 1) < 0)
        return 2;
    close(filter);
#endif
#ifdef SPARSE
    char *space = mmap(0, 4UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return 2;
    space[0] = space[2UL << 30] = space[(4UL << 30) - 1] = 1;
#endif
#ifndef NO_THREADS
    pthread_barrier_init(&started, 0, 4);
    pthread_barrier_init(&never, 0, 4);
    for (long number = 0; number < 3; number++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, work, (void *)number))
            return 2;
    }
    thread_value = 41;
    pthread_barrier_wait(&started);
    /* Until the others sleep in the second barrier; where a thread stands must not depend on the machine's load. */
    usleep(100000);
#else
    thread_value = 41;
#endif
#ifdef WAIT
    char byte;
    if (write(1, "r", 1) != 1 || read(0, &byte, 1) != 1)
        return 2;
#endif
    fall(2);
}
