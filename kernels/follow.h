/* Work that follows the writing of a tensor: on a band of its rows, as soon as the band is written, by the
 * thread that wrote its last value, while most of it is in that thread's caches. */
#ifndef SG_FOLLOW_H
#define SG_FOLLOW_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kernels/memory.h"
#include "kernels/tensor.h"

/* Sums over the pixels of a block run in float lanes within a band of rows, about SG_BAND_PIXELS pixels, and
 * in double over bands: the error of the float sums stays that of a few dozen additions, whatever the image's
 * size, and a band of some channels stays in L2. A function of the shape alone. */
enum { SG_BAND_PIXELS = 64 };

typedef struct sg_bands {
    int rows; /* of a band; the last one may have fewer */
    int count;
} sg_bands;

static inline sg_bands sg_bands_of(const sg_tensor *t) {
    int rows = t->width < SG_BAND_PIXELS ? SG_BAND_PIXELS / t->width : 1;
    return (sg_bands){rows, sg_divide_up(t->height, rows)};
}
static inline int sg_band_end(sg_bands bands, int band, const sg_tensor *t) {
    return sg_min((band + 1) * bands.rows, t->height);
}

typedef struct sg_follower {
    sg_bands bands;
    atomic_size_t *left; /* [block][band] values that are not written yet */
    void (*band)(struct sg_follower *follower, int block, int band);
} sg_follower;

/* Nothing of the first `blocks` blocks of a tensor is written. SG_NOMEM. Local. */
int sg_follower_begin(sg_follower *follower, const sg_tensor *tensor, int blocks);
void sg_follower_end(sg_follower *follower);

/* So many values (pixels times channels) of a row have been written for good. Who cannot tell says nothing:
 * what is not followed is done later. follower may be NULL. Any thread. */
static inline void sg_follow(sg_follower *follower, int block, int row, size_t values) {
    if (follower == NULL || values == 0) return;
    int band = row / follower->bands.rows;
    atomic_size_t *left = &follower->left[(size_t)block * (size_t)follower->bands.count + (size_t)band];
    if (atomic_fetch_sub_explicit(left, values, memory_order_acq_rel) == values)
        follower->band(follower, block, band);
}

/* Once nobody writes any more: has the band been followed? */
static inline bool sg_followed(const sg_follower *follower, int block, int band) {
    size_t at = (size_t)block * (size_t)follower->bands.count + (size_t)band;
    return atomic_load_explicit(&follower->left[at], memory_order_relaxed) == 0;
}

#endif
