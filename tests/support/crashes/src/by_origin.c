/* SPDX-License-Identifier: Apache-2.0 */
/* Found by RPATH $ORIGIN. */
int by_path(int depth);

int by_origin(int depth)
{
    return by_path(depth + 1) + 1;
}
