/* What exec.c, exec_forward.c and exec_backward.c share. */
#ifndef SG_EXEC_INTERNAL_H
#define SG_EXEC_INTERNAL_H

#include "kernels/arena.h"
#include "kernels/exec.h"
#include "kernels/pixel_sums.h"
#include "kernels/tree.h"
#include "kernels/variant.h"

/* Batch norm: everything per channel. Layer norm uses gamma and beta alone. */
typedef struct sg_exec_norm {
    float *gamma, *beta; /* effective values */
    float *mean, *inverse;
    float *dgamma, *dbeta; /* with respect to the effective values */
    double *mean64, *variance;
} sg_exec_norm;

/* Two ways to lay out the arena: for training, where backward needs what forward has computed, and for
 * forward passes alone, where the packed weights of all layers stay from one minibatch to the next. */
enum sg_exec_way { SG_EXEC_BOTH, SG_EXEC_FORWARD_ALONE, SG_EXEC_WAYS };

/* Step l of a layout is layer l's forward pass, step net->layers the loss, step 2 net->layers - l layer l's
 * backward pass. */
typedef struct sg_exec_layout {
    sg_piece *piece;
    int pieces;
    bool sparing; /* pieces take each other's places */
    size_t bytes;
} sg_exec_layout;

typedef struct sg_exec_layer {
    sg_tensor output; /* activations; the input layer's is a view of the minibatch's, others of the arena's */
    sg_tensor extra;  /* attention: probabilities */
    int piece[SG_EXEC_WAYS];                     /* of the output */
    int extra_piece[SG_EXEC_WAYS], packed_piece; /* the latter in forward passes alone */
    sg_conv *conv;
    float *packed; /* forward weights */
    sg_exec_norm norm;
    int gradient;       /* slot that holds dL/d output during backward; -1: not needed */
    bool in_place;      /* the slot is handed on to input[0] */
    bool accumulate[2]; /* the gradient of input[i] has an earlier contribution */
    int halo, gradient_halo;
} sg_exec_layer;

struct sg_exec {
    const sg_machine *machine;
    const sg_net *net;
    const sg_reduce *reduce;
    int max_batch, max_blocks; /* blocks: local */
    bool training;
    size_t plenty;        /* in training, so many bytes are taken before pieces take each other's places */
    double density;       /* of prunable weights, while there are no survivors */
    size_t structures;    /* bytes of the convolutions' states */
    sg_exec_layer *layer; /* [net->layers] */
    sg_tensor *slot; /* gradients; a slot serves every layer of its shape whose lifetimes do not overlap */
    sg_piece *slot_life; /* [slots] the steps that need it */
    int slots;
    int first_slot_piece;                          /* in the layout for training; the others follow */
    int packed_piece, scratch_piece[SG_EXEC_WAYS]; /* shared by all convolutions */
    sg_exec_layout layout[SG_EXEC_WAYS];
    int way;      /* the present one, or -1 */
    bool loaded;  /* the packed weights of sg_exec_load are there */
    float *arena; /* [arena_bytes] */
    size_t arena_bytes;
    size_t scratch_shared[SG_EXEC_WAYS], scratch_own[SG_EXEC_WAYS]; /* bytes */
    float *packed;                                                  /* in the arena; in training */
    sg_conv_scratch scratch;                                        /* in the arena */
    const sg_survivors *survivors;
    sg_survivors *dense; /* until the first sg_exec_set_survivors */
    sg_pixel_sums *sums; /* of the batch norm whose input, or gradient, is being written; mostly NULL */
    sg_exec_watch watch;
    int *first_param; /* [net->layers + 1] the lowest parameter of layers l and behind */
};

/* The mode of a forward pass. */
enum sg_exec_mode { SG_EXEC_TRAIN, SG_EXEC_EVALUATE, SG_EXEC_RECALIBRATE };

static inline void sg_exec_done(const sg_exec *exec, int layer, enum sg_exec_part part) {
    if (exec->watch.done != NULL) exec->watch.done(exec->watch.context, layer, part);
}

sg_extent sg_exec_extent(const sg_exec *exec, const sg_batch *batch);

/* What batch norm's kernels read and fill. */
static inline sg_norm_batch sg_exec_norm_batch(const sg_exec_norm *norm, const sg_layer *layer) {
    return (sg_norm_batch){.gamma = norm->gamma,
                           .beta = norm->beta,
                           .mean = norm->mean,
                           .inverse = norm->inverse,
                           .variance = norm->variance,
                           .mean64 = norm->mean64,
                           .dgamma = norm->dgamma,
                           .dbeta = norm->dbeta,
                           .epsilon = layer->epsilon,
                           .activation = layer->activation};
}

/* The sums that were begun for a batch norm; who takes them frees them. */
static inline sg_pixel_sums *sg_exec_take_sums(sg_exec *exec) {
    sg_pixel_sums *sums = exec->sums;
    exec->sums = NULL;
    return sums;
}

/* Before the first write to a tensor at a step: another piece may have used its memory since it was last
 * needed, and its halo is zeroed then. */
static inline void sg_exec_begin(const sg_exec *exec, const sg_tensor *tensor, int piece, int step) {
    const sg_piece *p = &exec->layout[exec->way].piece[piece];
    if (p->shared && p->first == step) sg_tensor_clear_halo(tensor, exec->machine->threads);
}

/* Fills every layer's output. dropout_seed and step matter in training only. Collective. */
int sg_exec_forward(sg_exec *exec, sg_weights *weights, const sg_batch *batch, enum sg_exec_mode mode,
                    double alpha, uint64_t dropout_seed, uint32_t step);

/* From the last layer's slot (filled with dL/d logits) to gradient[]. Collective. */
int sg_exec_backward(sg_exec *exec, const sg_weights *weights, const sg_batch *batch, double alpha,
                     uint64_t dropout_seed, uint32_t step, float *gradient);

#endif
