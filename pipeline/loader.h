/* From a data set to minibatches of lane blocks: order, augmentation, normalisation.
 *
 * Minibatch `index` of an epoch holds positions index * batch onwards of the epoch's order; block b of it
 * goes to rank b mod size as its local block b / size. The values are the same for any number of ranks and
 * threads. Samples of a lazy data set are read here, on all threads: decoding an image costs a few per cent
 * of a training step on it, so nothing is read ahead. */
#ifndef SG_LOADER_H
#define SG_LOADER_H

#include "pipeline/data.h"
#include "stages/source.h"

typedef struct sg_loader sg_loader;

/* split: SG_SPLIT_TRAIN or SG_SPLIT_TEST; batch: samples of a minibatch over all ranks; rank, size: of the
 * group that works on it; lanes: of a block; halo: of the input tensor; augment: none, crop_flip,
 * resized_crop (NULL: none), applied when an order asks for it. data is borrowed. SG_CONFIG (crop_flip where
 * images differ in size, too), SG_NOMEM. Local. */
int sg_loader_create(sg_loader **loader, const sg_data *data, enum sg_data_split split, int batch, int rank,
                     int size, int lanes, int halo, int threads, const char *augment);
void sg_loader_destroy(sg_loader **loader);

/* See sg_source. batch->input is a view over the local blocks of this minibatch: unused lanes are zero with
 * label -1 and sample 0. SG_DATA, SG_NOINPUT, SG_IO: a sample of a lazy data set cannot be read, perhaps on
 * this rank alone. */
int sg_loader_get(sg_loader *loader, const sg_order *order, uint32_t epoch, uint32_t index,
                  const sg_batch **batch);

/* The loader as stages see it; it must outlive the source. */
void sg_loader_source(sg_loader *loader, sg_source *source);

#endif
