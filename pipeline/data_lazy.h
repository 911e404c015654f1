/* Samples of a lazy data set, one at a time, as the network sees them.
 *
 * Training images of other sizes than the network's: torchvision's RandomResizedCrop and
 * RandomHorizontalFlip. Test images of other sizes: Resize(8/7 of the size) of the shorter side, CenterCrop
 * (256 and 224). Images of the network's size: exactly what the loader does with a data set in memory.
 *
 * A JPEG of which 4 pixels or more become one (in each direction) is decoded at a reduced scale, to at least
 * 2 pixels for each. Measured against decoding it in full (test_data_lazy.c, a rough image): 4 grey levels at
 * most, 0.5 on average. Everything else is PIL's bytes. */
#ifndef SG_DATA_LAZY_H
#define SG_DATA_LAZY_H

#include "pipeline/augment.h"
#include "pipeline/data.h"

typedef struct sg_lazy sg_lazy;

/* Scratch for one thread. data is borrowed. SG_NOMEM. Local. */
int sg_lazy_create(sg_lazy **lazy, const sg_data *data);
void sg_lazy_destroy(sg_lazy **lazy);

/* How a sample is looked at: SG_AUGMENT_NONE for testing. */
typedef struct sg_look {
    enum sg_augment augment;
    uint64_t seed;
    uint32_t epoch;
} sg_look;

/* out[height][width][channels] of the data set. SG_DATA names a damaged file; SG_NOINPUT, SG_IO, SG_NOMEM.
 * Any number of threads may do this at once, each with scratch of its own. Local. */
int sg_lazy_get(sg_lazy *lazy, enum sg_data_split split, uint32_t sample, const sg_look *look, uint8_t *out);

#endif
