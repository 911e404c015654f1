/* Where pieces of memory that are needed at different times lie in one arena. */
#ifndef SG_ARENA_H
#define SG_ARENA_H

#include <stdbool.h>

#include "kernels/error.h"

typedef struct sg_piece {
    size_t bytes;    /* given */
    int first, last; /* given: the steps that need it, both inclusive */
    size_t at;       /* found: bytes from the arena's beginning, a multiple of SG_ALIGNMENT */
    bool shared;     /* found: another piece uses some of its bytes at other steps */
} sg_piece;

/* Finds places so that no two pieces which some step needs both overlap: the largest piece first, each as low
 * as it fits. *bytes: what the arena needs. SG_NOMEM. Local. */
int sg_arena_plan(sg_piece *pieces, int count, size_t *bytes);

#endif
