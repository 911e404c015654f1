/* Convolution (and, as its special cases, linear and depthwise layers): forward, data gradient, weight
 * gradient.
 *
 *   y[n,o,i,j]  = bias[o] + sum_{c,r,s} w[o,c,r,s] x[n, c, i*stride + r - padding, j*stride + s - padding]
 *   dx          = the transposed operation on dy;   dw[o,c,r,s] = sum_{n,i,j} dy[n,o,i,j] x[n,c,...]
 *
 * c runs over the in_channels/groups channels of o's group (torch.nn.Conv2d). A linear layer on an input of
 * H x W pixels is a convolution with a kernel of H x W, no padding, one output pixel: its weight [O][C*H*W]
 * has the same order as [O][C][H][W].
 *
 * One sg_conv serves one layer: it owns the mask's structure and has picked an algorithm for each pass as a
 * pure function of shape and mask (never of a timing). Packed weights and scratch are the caller's, so that
 * layers which run one after another can share them. Algorithms are tables of
 * sg_conv_algorithm, one file each in kernels/lanes/. Work is split over machine->threads inside each call;
 * bits do not depend on it. */
#ifndef SG_CONV_H
#define SG_CONV_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/follow.h"
#include "kernels/machine.h"
#include "kernels/tensor.h"

typedef struct sg_conv_shape {
    int in_channels, out_channels, groups;
    int kernel_height, kernel_width, stride, padding;
    int in_height, in_width, out_height, out_width;
} sg_conv_shape;

/* Weights of the layer: out_channels * (in_channels / groups) * kernel_height * kernel_width. */
size_t sg_conv_weights(const sg_conv_shape *shape);

/* Halo that the input x must have, and that the output gradient dy must have. */
int sg_conv_input_halo(const sg_conv_shape *shape);
int sg_conv_gradient_halo(const sg_conv_shape *shape);

/* A linear layer: the kernel covers the whole input, one output pixel, one matrix product per pass. */
bool sg_conv_is_linear(const sg_conv_shape *shape);

/* The surviving weights of a layer: index[0..count) ascending positions in the canonical order
 * [out][in/groups][kh][kw]. index NULL: all survive. Borrowed. */
typedef struct sg_support {
    size_t count;
    const uint32_t *index;
} sg_support;

/* Memory that a pass may use as it likes: `shared` by its threads, and a piece of each thread's own. The
 * pieces are `step` floats apart in every pass of a network, so that a thread writes where it wrote before:
 * what another core has written last is slow to get, to write to as well. */
typedef struct sg_conv_scratch {
    float *shared, *own;
    size_t step;
    size_t shared_bytes, own_bytes; /* as laid out */
} sg_conv_scratch;

static inline float *sg_conv_own(const sg_conv_scratch *scratch, int thread) {
    return scratch->own + (size_t)thread * scratch->step;
}

/* What a pass reads and writes. x, y, dy, dx are tensors over the local blocks; only the first `blocks`
 * blocks are touched. Shapes: x, dx [blocks][in_height][in_width][in_channels][lanes]; y, dy likewise for
 * out. dw holds support.count sums over all lanes of the local blocks, in index order, combined over blocks
 * in the order of sg_tree_order. y and dw are overwritten. dx is overwritten, or added to when accumulate. */
typedef struct sg_conv_pass {
    int blocks;
    const sg_tensor *x, *dy;
    sg_tensor *y, *dx;
    const float *bias;    /* [out_channels] or NULL; forward only */
    const float *weights; /* [sg_conv_weights], and */
    const float *packed;  /* what sg_conv_prepare made of them; neither for the weight gradient */
    sg_conv_scratch scratch;
    float *dw;
    bool accumulate;       /* data gradient only */
    sg_follower *follower; /* of y or dx, or NULL */
} sg_conv_pass;

/* Bytes that one pass of one layer takes. packed, shared and own are aligned to SG_ALIGNMENT and readable for
 * SG_READABLE_SLACK bytes past their ends. */
typedef struct sg_conv_bytes {
    size_t packed; /* weights as the pass reads them, from prepare to run */
    size_t shared; /* scratch while it runs, */
    size_t own;    /* and each thread's */
    size_t state;  /* about what create allocates */
} sg_conv_bytes;

/* Scratch for passes that need at most so much: its size, and how it lies in memory of that size. */
size_t sg_conv_scratch_bytes(size_t shared, size_t own, int threads);
sg_conv_scratch sg_conv_lay_scratch(float *memory, size_t shared, size_t own);

/* One algorithm for one pass. */
typedef struct sg_conv_algorithm {
    const char *name; /* "direct", "winograd4", "winograd2", "winograd4s2", "sparse", "depthwise" */
    /* Can it do this shape on this machine at all? */
    bool (*supports)(const sg_machine *machine, const sg_conv_shape *shape);
    /* Makes what does not depend on the weights' values; support lives as long as the state. SG_NOMEM. */
    int (*create)(void **state, const sg_machine *machine, const sg_conv_shape *shape,
                  const sg_support *support);
    /* Packs weights, canonical dense order with zeros where pruned, for run; where they are so many that to
     * memory and back would cost more, run packs them piece by piece. NULL where a pass needs none. */
    int (*prepare)(void *state, const float *weights, float *packed);
    int (*run)(void *state, const sg_conv_pass *pass); /* over one block at least */
    void (*destroy)(void **state);
    /* What a pass over `blocks` blocks takes; of support only the count matters, and whether index is NULL.
     */
    sg_conv_bytes (*bytes)(const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support,
                           int blocks);
} sg_conv_algorithm;

/* What suffices for passes over any number of blocks up to most_blocks >= 1: where fewer are divided among
 * the threads in another way, they may take more. */
sg_conv_bytes sg_conv_most_bytes(const sg_conv_algorithm *algorithm, const sg_machine *machine,
                                 const sg_conv_shape *shape, const sg_support *support, int most_blocks);

enum sg_conv_pass_kind { SG_CONV_FORWARD, SG_CONV_DATA_GRADIENT, SG_CONV_WEIGHT_GRADIENT, SG_CONV_PASSES };

typedef struct sg_conv sg_conv;

/* Dense until sg_conv_set_support. machine is borrowed. A pass takes memory of its own when it is first
 * used, so that evaluation alone stays small. SG_INTERNAL for an impossible shape, SG_NOMEM. Local, like all
 * of this file. */
int sg_conv_create(sg_conv **conv, const sg_machine *machine, const sg_conv_shape *shape);
void sg_conv_destroy(sg_conv **conv);

/* The surviving weights have changed: chooses the algorithms again; each rebuilds its structure when it is
 * next used. support->index is borrowed until the next call. SG_INTERNAL when a pass has no algorithm; the
 * convolution is then good for sg_conv_destroy and another sg_conv_set_support alone. */
int sg_conv_set_support(sg_conv *conv, const sg_support *support);

/* Packs weights[sg_conv_weights], canonical order, zero where pruned, for passes of this kind: what
 * sg_conv_pass.packed points at, beside .weights themselves. Nothing to do for the weight gradient. */
int sg_conv_prepare(sg_conv *conv, enum sg_conv_pass_kind kind, const float *weights, float *packed);

int sg_conv_run(sg_conv *conv, enum sg_conv_pass_kind kind, const sg_conv_pass *pass);

/* The algorithm chosen for a pass. support NULL: all survive. Cannot fail; where there is none, the name of
 * what is returned is NULL. */
const sg_conv_algorithm *sg_conv_choose(const sg_machine *machine, const sg_conv_shape *shape,
                                        const sg_support *support, enum sg_conv_pass_kind kind);

#endif
