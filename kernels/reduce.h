/* The one thing the kernels ask of the outside: combine values over the ranks that share a minibatch, in the
 * fixed order of tree.h's top levels (distance size/2, ..., 1). Implemented by pipeline/comm; sg_reduce_alone
 * serves one rank. size is a power of two. */
#ifndef SG_REDUCE_H
#define SG_REDUCE_H

#include <stddef.h>

#include "kernels/error.h"

/* low[i] = low[i] (+) high[i] for count elements; `low` always comes from the lower rank. */
typedef void (*sg_combine)(void *low, const void *high, size_t count);

typedef struct sg_reduce {
    void *context; /* borrowed */
    int rank, size;

    /* Collective over the ranks, blocking: data of rank r takes part when r < blocks (the minibatch's block
     * count); afterwards all ranks hold the result. element is the size of one element in bytes. */
    int (*combine)(void *context, void *data, size_t count, size_t element, sg_combine combine, int blocks);

    /* An array of count zeros, whose sums over ranks cost less than other memory's where the ranks can see
     * each other's. Collective; released locally. SG_NOMEM. */
    int (*allocate)(void *context, size_t count, float **data);
    void (*release)(void *context, float **data);

    /* One array of count zeros for all ranks; *data = NULL where they do not see each other's memory.
     * Released like the above. meet: all ranks have come, and see what any has stored there before.
     * Collective. */
    int (*share)(void *context, size_t count, float **data);
    int (*meet)(void *context, float *data);

    /* Non-blocking sum of floats in the same order; every rank begins the same sums in the same order. data
     * stays borrowed until finish. progress moves what is under way (call it between layers); finish
     * completes all that were begun. */
    int (*sum_begin)(void *context, float *data, size_t count, int blocks);
    int (*progress)(void *context);
    int (*finish)(void *context);
} sg_reduce;

extern const sg_reduce sg_reduce_alone;

/* A rank's share of count floats, from..to-1: whole cache lines, so that no two ranks write to one. */
void sg_reduce_share(int rank, int size, size_t count, size_t *from, size_t *to);

/* Combiners for sums. */
void sg_combine_float(void *low, const void *high, size_t count);
void sg_combine_double(void *low, const void *high, size_t count);

#endif
