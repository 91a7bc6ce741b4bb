/* SPDX-License-Identifier: Apache-2.0
 * A process of MEBIBYTES of data as services have them: records with pointers, counters and text, and an eighth that
 * no compressor can shrink. Touches every page, then dies.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *words[] = {"connection", "timeout", "GET /api/v1/items", "user", "session", "error: ", "127.0.0.1",
                              "application/json", "\"id\": ", "SELECT * FROM orders WHERE id = ", "warning", "cache"};

struct record {
    struct record *next, *previous;
    uint64_t id, created;
    uint32_t kind, references;
    char text[88];
};

int main(int argc, char **argv)
{
    size_t count = (argc > 1 ? strtoull(argv[1], 0, 10) : 1024) * (1 << 20) / sizeof(struct record);
    struct record *all = malloc(count * sizeof *all);
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i < count; i++) {
        struct record *one = &all[i];
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        one->next = &all[(i + 1 + state % 64) % count];
        one->previous = i ? &all[i - 1] : 0;
        one->id = i, one->created = 1795404728000ull + i * 3 + state % 1000;
        one->kind = state % 7, one->references = 1;
        if (i % 8 == 0)
            for (size_t at = 0; at < sizeof one->text; at += 8) {
                state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                memcpy(one->text + at, &state, 8);
            }
        else
            snprintf(one->text, sizeof one->text, "%s %s%llu %s", words[state % 12], words[state / 12 % 12],
                     (unsigned long long)(state % 100000), words[state / 144 % 12]);
    }
    *(volatile int *)8 = 1;
    return 0;
}
