/* Runs a network on lane blocks: forward, loss, backward, for the local blocks of a minibatch. */
#ifndef SG_EXEC_H
#define SG_EXEC_H

#include "kernels/batch.h"
#include "kernels/reduce.h"
#include "kernels/weights.h"

typedef struct sg_exec sg_exec;

/* max_batch: samples of the largest minibatch, over all ranks. training false: forward passes alone, which
 * need only a few layers' outputs at once. machine, net and reduce are borrowed. SG_NOMEM; SG_INTERNAL for a
 * network that cannot be run. Local. */
int sg_exec_create(sg_exec **exec, const sg_machine *machine, const sg_net *net, const sg_reduce *reduce,
                   int max_batch, bool training);
/* NULL is tolerated, the pointer cleared. Local. */
void sg_exec_destroy(sg_exec **exec);

/* The weights whose mask counts from now on (dense at first): picks algorithms, rebuilds sparse structure.
 * The survivors are borrowed until the next call, and what was loaded is forgotten. SG_NOMEM; after an error
 * passes fail with SG_INTERNAL until a call succeeds. Local. */
int sg_exec_set_survivors(sg_exec *exec, const sg_survivors *survivors);

/* Takes the values of weights for evaluation and recalibration: call it when they have changed, and after
 * sg_exec_train, which takes its weights itself and their memory. SG_NOMEM; after an error nothing is
 * loaded. Local. */
int sg_exec_load(sg_exec *exec, const sg_weights *weights);

/* The reduction that it was made with, borrowed. Its `allocate` gives the best memory for gradients. Local.
 */
const sg_reduce *sg_exec_reduce(const sg_exec *exec);

/* Halo that sg_batch.input must have for this network. Local; cannot fail. */
int sg_exec_input_halo(const sg_net *net);

typedef struct sg_result {
    double loss_sum; /* over the samples of the minibatch, all ranks */
    int64_t correct;
    int64_t samples;
} sg_result;

/* One training pass: batch norm over the whole minibatch, running statistics of weights updated with momentum
 * 0.1 (unbiased variance), gradient[survivors->total] filled with the mean's gradient, combined over all
 * ranks. alpha: AWS interpolation of every norm's gamma and beta towards 1 and 0 (protocol: 1 = plain).
 * dropout_seed and step key the dropout. The gradient of gamma and beta carries the factor alpha. Weight
 * decay is the optimiser's. SG_FAILED, on all ranks, when the loss is not finite; SG_INTERNAL for a minibatch
 * larger than max_batch or an executor without training; SG_DATA for a label that is no class; SG_NOMEM; what
 * reduce returns. Collective over reduce. */
int sg_exec_train(sg_exec *exec, sg_weights *weights, const sg_batch *batch, double alpha,
                  uint64_t dropout_seed, uint32_t step, float *gradient, sg_result *result);

/* Evaluation of the loaded weights with running statistics. logits: NULL, or [samples][classes] in the
 * minibatch's order; each rank fills the rows of its own blocks. SG_INTERNAL when nothing is loaded; else as
 * in training. Collective over reduce. */
int sg_exec_evaluate(sg_exec *exec, const sg_weights *weights, const sg_batch *batch, sg_result *result,
                     float *logits);

/* Re-estimation of running statistics of the loaded weights: one forward pass in training mode that only
 * gathers each batch norm's mean and unbiased variance; weights->mean and variance become the cumulative
 * average over the minibatches since weights->batches was 0 (torch: momentum=None). alpha as in training, 1
 * for evaluation. Errors as in evaluation. Collective over reduce. */
int sg_exec_recalibrate(sg_exec *exec, sg_weights *weights, const sg_batch *batch, double alpha);

/* What an executor does in a training pass, for measurements. */
enum sg_exec_part {
    SG_EXEC_PREPARE,         /* a convolution's weights are packed for a pass */
    SG_EXEC_FORWARD,         /* of one layer */
    SG_EXEC_LOSS,            /* and its sum over ranks; the last layer */
    SG_EXEC_WEIGHT_GRADIENT, /* of a convolution, and its bias's */
    SG_EXEC_DATA_GRADIENT,   /* of one layer; norms: their parameters' too */
    SG_EXEC_SUM,             /* of gradients over ranks, begun behind a layer; layer 0: waited for */
    SG_EXEC_PARTS
};

/* done is called on the calling thread whenever a part of a training pass is finished. */
typedef struct sg_exec_watch {
    void *context; /* borrowed */
    void (*done)(void *context, int layer, enum sg_exec_part part);
} sg_exec_watch;

/* watch is copied; NULL ends it. Local. */
void sg_exec_set_watch(sg_exec *exec, const sg_exec_watch *watch);

/* Bytes that an executor holds on one of `ranks` ranks while `density` of the prunable weights survive.
 * SG_NOMEM. Local. */
typedef struct sg_exec_bytes {
    size_t arena;      /* activations, gradients, packed weights, scratch */
    size_t structures; /* of masks */
} sg_exec_bytes;
int sg_exec_memory(const sg_machine *machine, const sg_net *net, double density, int ranks, int max_batch,
                   bool training, sg_exec_bytes *bytes);

#endif
