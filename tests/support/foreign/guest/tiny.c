// SPDX-License-Identifier: Apache-2.0
// The smallest thing that dumps core: no library, no system call, one write to address 0x10.
void _start(void);
__attribute__((used)) void _start(void) {
	*(volatile int *)0x10 = 1;
	for (;;)
		;
}
