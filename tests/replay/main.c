// main.c - replays files of vectors on the stage that it is linked with.
//
// usage: replay FILE...
//
// A FILE that ends in .xz is read by way of xz. For each, and for all together,
// prints
//     N operations, M mismatches; K lines checked, L not applicable ...
// and the first of the mismatches: the line, what was recorded, and what the
// stage says.
// Exit: 0, 1 if there was a mismatch, 2 if a file is not as it must be.

#include "replay.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    static struct replay r;
    struct replay_sum total = {0};

    if (argc < 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: replay FILE...\n");
        return 2;
    }
    replay_watch_signals();
    for (int i = 1; i < argc; i++) {
        replay_file(&r, argv[i]);
        total.operations += r.sum.operations;
        total.mismatches += r.sum.mismatches;
        for (size_t k = 0; k < NUM_OUTCOMES; k++)
            total.lines[k] += r.sum.lines[k];
    }
    printf("stage %u: ", replay_stage);
    replay_print(&total);
    return total.mismatches > 0;
}
