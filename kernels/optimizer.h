/* Updates on surviving weights only (torch.optim.SGD and Adam, L2 decay added to the gradient). */
#ifndef SG_OPTIMIZER_H
#define SG_OPTIMIZER_H

#include "kernels/reduce.h"
#include "kernels/weights.h"

enum sg_optimizer_kind { SG_SGD, SG_ADAM };

typedef struct sg_optimizer_options {
    enum sg_optimizer_kind kind;
    double momentum;              /* SGD; no Nesterov, no dampening: v = momentum v + g; w -= lr v */
    double beta1, beta2, epsilon; /* Adam: 0.9, 0.999, 1e-8 */
    double weight_decay;          /* g += weight_decay * w, for every parameter */
} sg_optimizer_options;

/* With Adam's usual constants. Local; cannot fail. */
sg_optimizer_options sg_optimizer_usual(enum sg_optimizer_kind kind, double momentum, double weight_decay);

typedef struct sg_optimizer {
    sg_optimizer_options options;
    size_t total;  /* survivors->total */
    float *first;  /* [total] SGD momentum, or Adam's first moment */
    float *second; /* [total] Adam's second moment; NULL for SGD */
    int64_t step;  /* steps taken */

    /* Between join and leave, where ranks share memory: */
    float *shared;           /* values, first and second of all; else NULL, and nothing of these is read */
    const sg_reduce *reduce; /* borrowed */
    sg_weights *weights;     /* borrowed */
    float *own_values, *own_first, *own_second; /* what they replace */
} sg_optimizer;

/* No steps taken, all moments zero. survivors is read now alone. SG_NOMEM. Local. */
int sg_optimizer_create(sg_optimizer **optimizer, const sg_optimizer_options *options,
                        const sg_survivors *survivors);
/* Leaves first where it has joined: the weights must still be there then, and so must reduce. Local. */
void sg_optimizer_destroy(sg_optimizer **optimizer);

/* Ranks that train the same weights and see each other's memory keep one copy of the weights' values and the
 * moments from here on, and each makes a share of every step. Between join and leave nothing else may write
 * to them. Else nothing changes. weights and reduce are borrowed until leave; they have joined even when the
 * last meeting of all ranks fails. SG_NOMEM. Collective over reduce. */
int sg_optimizer_join(sg_optimizer *optimizer, sg_weights *weights, const sg_reduce *reduce);

/* Back to memory of one's own, with the values of now; nothing where it has not joined. weights: those that
 * have. Local, after the last step of all. */
void sg_optimizer_leave(sg_optimizer *optimizer, sg_weights *weights);

/* One step on weights->values in place. frozen_sign: NULL, or [net->values] of -1, 0, +1: a weight whose sign
 * is given and that crossed zero is set to zero (mode `frozen`). The same on every rank; collective where
 * they have joined, else local. */
int sg_optimizer_step(sg_optimizer *optimizer, const sg_machine *machine, sg_weights *weights,
                      const sg_survivors *survivors, const float *gradient, double learning_rate,
                      const int8_t *frozen_sign);

#endif
