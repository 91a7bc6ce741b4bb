/* SPDX-License-Identifier: Apache-2.0 */
/* Calls through three libraries, which different search paths lead to, and dies in the last. */
int by_origin(int depth);

__thread int thread_value = 7;
int global_value = 4711;

int main(void)
{
    thread_value = 41;
    return by_origin(1) + 1;
}
