/* SPDX-License-Identifier: Apache-2.0 */
/* Found by LD_PRELOAD; takes the place of by_path.c's own. */
#include <stdlib.h>

__thread int plug_value = 3;

int by_preload(int depth)
{
    plug_value = depth * 111;
    if (depth)
        abort();
    return depth;
}
