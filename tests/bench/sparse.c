/* SPDX-License-Identifier: Apache-2.0
 * 4 GiB of address space of which a few pages were written; no library, so that its archive holds the dump and nothing
 * to speak of beside it.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

void _start(void)
{
    register long flags __asm__("r10") = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    register long fd __asm__("r8") = -1, offset __asm__("r9") = 0;
    char *memory;
    __asm__ volatile("syscall"
                     : "=a"(memory)
                     : "a"(SYS_mmap), "D"(0), "S"(4ul << 30), "d"(PROT_READ | PROT_WRITE), "r"(flags), "r"(fd), "r"(offset)
                     : "rcx", "r11", "memory");
    for (unsigned long at = 0; at < 4ul << 30; at += 64ul << 20)
        memory[at] = 'x';
    *(volatile int *)8 = 1;
    for (;;)
        ;
}
