/* Sums over the pixels of a minibatch, per channel: over a band of rows by a kernel, over bands, blocks
 * (tree.h) and ranks by a combiner, in an order that depends on the shape alone. They can be begun before
 * their tensor is written, and follow it then (follow.h). */
#ifndef SG_PIXEL_SUMS_H
#define SG_PIXEL_SUMS_H

#include "kernels/follow.h"
#include "kernels/layers.h"
#include "kernels/memory.h"

struct sg_pixel_sums {
    sg_follower follower; /* the writer's; first member */
    sg_extent extent;
    int channels;
    size_t count;   /* of sums in a band */
    size_t element; /* bytes of each */
    char *part;     /* [block][band][count]; when finished the sums of all ranks are at [0][0] */
    sg_combine combine;
    /* Fills the sums of the channels that are the band's `chunk`-th SG_CHUNK; part: [count]. */
    void (*sum)(const struct sg_pixel_sums *sums, int block, int band, int chunk, void *part);
    void *terms; /* of sum's; owned */
};

/* Channels of one task of a kernel that sums over pixels: its float sums, [SG_CHUNK][lanes], stay in L1. */
enum { SG_CHUNK = 64 };

static inline int sg_chunks(int channels) { return sg_divide_up(channels, SG_CHUNK); }
static inline int sg_chunk_size(int channels, int chunk) {
    return sg_min(channels - chunk * SG_CHUNK, SG_CHUNK);
}

/* Ready to follow the tensor; extent, count, element, combine, sum and terms are set. SG_NOMEM. Local. */
int sg_pixel_sums_begin(sg_pixel_sums *sums, const sg_tensor *tensor);

/* Sums what was not followed, and combines. Collective over extent.reduce. */
int sg_pixel_sums_finish(sg_pixel_sums *sums, int threads);

/* Of sums made by SG_NEW; NULL is tolerated, the pointer cleared. Local. */
void sg_pixel_sums_destroy(sg_pixel_sums **sums);

#endif
