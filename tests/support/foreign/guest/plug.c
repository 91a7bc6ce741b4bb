// SPDX-License-Identifier: Apache-2.0
// The plug-in in which crash.c dies.
__attribute__((noinline)) void crash_here(void) {
	*(volatile int *)0x10 = 1;
	__asm__ volatile("");
}
