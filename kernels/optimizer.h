/* Updates on surviving weights only (torch.optim.SGD and Adam, L2 decay added to the gradient). */
#ifndef SG_OPTIMIZER_H
#define SG_OPTIMIZER_H

#include "kernels/weights.h"

enum sg_optimizer_kind { SG_SGD, SG_ADAM };

typedef struct sg_optimizer_options {
    enum sg_optimizer_kind kind;
    double momentum;              /* SGD; no Nesterov, no dampening: v = momentum v + g; w -= lr v */
    double beta1, beta2, epsilon; /* Adam: 0.9, 0.999, 1e-8 */
    double weight_decay;          /* g += weight_decay * w, for every parameter */
} sg_optimizer_options;

typedef struct sg_optimizer {
    sg_optimizer_options options;
    size_t total;  /* survivors->total */
    float *first;  /* [total] SGD momentum, or Adam's first moment */
    float *second; /* [total] Adam's second moment; NULL for SGD */
    int64_t step;  /* steps taken */
} sg_optimizer;

int sg_optimizer_create(sg_optimizer **optimizer, const sg_optimizer_options *options,
                        const sg_survivors *survivors);
void sg_optimizer_destroy(sg_optimizer **optimizer);

/* One step on weights->values in place. frozen_sign: NULL, or [net->values] of -1, 0, +1: a weight whose sign
 * is given and that crossed zero is set to zero (mode `frozen`). Local; the same on every rank. */
void sg_optimizer_step(sg_optimizer *optimizer, const sg_machine *machine, sg_weights *weights,
                       const sg_survivors *survivors, const float *gradient, double learning_rate,
                       const int8_t *frozen_sign);

#endif
