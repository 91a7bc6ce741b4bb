/* SPDX-License-Identifier: Apache-2.0 */
/* Found by LD_LIBRARY_PATH. */
int by_preload(int depth);

int __attribute__((weak)) by_preload(int depth)
{
    return depth;
}

int by_path(int depth)
{
    return by_preload(depth + 1) + 1;
}
