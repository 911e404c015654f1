/* The structure of an unstructured mask, in the order in which the sparse convolution streams it.
 *
 * A convolution is rows of surviving weights: forward, a row is an output channel and each of its weights
 * reads one input channel at one displacement; the data gradient is the same thing with the two sides
 * exchanged. Channels of the side that is summed over are cut into chunks so that what a tile of pixels reads
 * stays in L1; the weights of (phase, chunk, row) are contiguous, in the canonical order. Phases exist in the
 * data gradient of a strided convolution: which kernel positions reach an input pixel depends on its row and
 * column modulo the stride.
 *
 *   forward     y[i] += w x[i stride - padding + (r, s)]                    base pixel i stride - padding
 *   transposed  dx[q stride + phase] += w dy[q + (phase + padding - (r, s)) / stride]      base pixel q
 *
 * When the kernel covers the whole input (a linear layer), the transposed rows are the single input values,
 * in the canonical order [in][height][width]. Local. */
#ifndef SG_SPARSE_H
#define SG_SPARSE_H

#include "kernels/conv.h"
#include "kernels/memory.h"

typedef struct sg_sparse {
    sg_conv_shape shape;
    bool transposed, linear;
    int rows, chunks, chunk; /* chunk: channels in each, the last may have fewer */
    int phases;              /* stride * stride when transposed and not linear, else 1 */
    int halo;                /* that the tensor which is read must have */
    size_t count;
    uint32_t *start;       /* [phases][chunks][rows] and the end: where the weights of a row begin */
    const uint32_t *index; /* [count] canonical position of survivor i, NULL: i; borrowed */
    uint32_t *slot;        /* [count] where survivor i stands in the structure */
    uint32_t *first; /* [chunks][rows] number of the row's first weight in the support; not when transposed */
    int32_t *offset; /* [count] by slot: floats from the base pixel to the channel that is read: see
                        sg_sparse_bind */
    int32_t *row_offset; /* [rows] floats from a pixel that is written to the row's channel */
    size_t in_row, in_pixel, out_row, out_pixel; /* strides that the offsets were made for */
} sg_sparse;

/* Can offsets be held in 32 bits? */
bool sg_sparse_fits(const sg_conv_shape *shape, int lanes);

/* Cache lines that what a tile reads may take of L1. */
enum { SG_SPARSE_LINES = 512 };

/* A kernel's largest tile of pixels, and cache lines of a lane row. */
typedef struct sg_sparse_tile {
    int columns, pixels, lines;
} sg_sparse_tile;

/* Channels of a chunk, a function of shape, mask and tile: what a tile reads of them fits L1, yet a row has
 * several weights in a chunk on average, because every chunk loads and stores the tile's sums. The order in
 * which a sum takes its weights does not depend on it. */
int sg_sparse_chunk(const sg_conv_shape *shape, const sg_support *support, bool transposed,
                    sg_sparse_tile tile);

/* support's index is borrowed. chunk: channels in a chunk, >= 1. SG_NOMEM. */
int sg_sparse_create(sg_sparse **sparse, const sg_conv_shape *shape, const sg_support *support,
                     bool transposed, int chunk);
void sg_sparse_destroy(sg_sparse **sparse);

/* About what sg_sparse_create allocates with sg_sparse_chunk's chunks; the larger of both directions. */
size_t sg_sparse_bytes(const sg_conv_shape *shape, const sg_support *support, sg_sparse_tile tile);

/* Makes the offsets for tensors with these strides; does nothing when they are the same as the last time.
 * in is the tensor that is read, out the one that is written; out may be NULL (weight gradient).
 * SG_INTERNAL when the halo of `in` is too small or strides are beyond 32 bits. */
int sg_sparse_bind(sg_sparse *sparse, const sg_tensor *in, const sg_tensor *out);

/* values[count] in the structure's order from canonical dense weights. */
void sg_sparse_pack(const sg_sparse *sparse, const float *weights, float *values, int threads);

/* Pixels of one phase along an axis of `size` pixels. */
static inline int sg_sparse_phase_size(const sg_sparse *sparse, int size, int phase) {
    return sparse->phases == 1 ? size : sg_divide_up(size - phase, sparse->shape.stride);
}

#endif
