/* Runs any network table in double on plain [sample][channel][height][width] arrays, with the naive twins of
 * the layers: what the executor (kernels/exec.h) should compute. Slow, local, one thread. */
#ifndef SG_REFERENCE_NET_H
#define SG_REFERENCE_NET_H

#include "kernels/net.h"

typedef struct sg_ref_layer {
    double *output, *gradient; /* [samples][channels][height][width], owned */
    double *gamma, *beta;      /* norms: effective values [channels], owned */
    double *mean, *variance;   /* batch norm: of the last training pass, biased variance, owned */
    double *probabilities;     /* attention [samples][heads][tokens][tokens], owned */
    uint8_t *keep;             /* dropout [samples][channels], owned */
} sg_ref_layer;

typedef struct sg_ref_net {
    const sg_net *net; /* borrowed */
    int samples;
    double alpha;            /* interpolation of every norm; 1 at first */
    double *values;          /* [net->values]; the caller keeps zeros where pruned */
    uint8_t *mask;           /* [net->values] all 1 at first */
    double *mean, *variance; /* [net->channels_tracked] running statistics, 0 and 1 at first */
    double *gradient;        /* [net->values], 0 where pruned */
    uint64_t dropout_seed;   /* dropout's bits depend on seed, step, */
    uint32_t step;           /* and sample: [samples] borrowed, NULL: 0, 1, ... */
    const uint32_t *sample;
    sg_ref_layer *layer; /* [net->layers]; layer 0's output holds the images */
} sg_ref_net;

/* Zero values and images. SG_NOMEM. */
int sg_ref_net_create(sg_ref_net **ref, const sg_net *net, int samples);
void sg_ref_net_destroy(sg_ref_net **ref);

/* Copies images [samples][channels][height][width]. */
void sg_ref_net_set_images(sg_ref_net *ref, const double *images);

/* training: statistics of the minibatch, running statistics updated (momentum 0.1, unbiased variance),
 * dropout. Otherwise running statistics, alpha = 1 by the caller's choice. Returns the logits
 * [samples][classes], borrowed until the next call. */
const double *sg_ref_net_forward(sg_ref_net *ref, bool training);

/* Mean cross-entropy of the last forward pass. */
double sg_ref_net_loss(sg_ref_net *ref, const int32_t *label, int64_t *correct);

/* Fills gradient with that of the mean loss, through the last training pass. Includes the factor alpha of
 * gamma and beta. SG_NOMEM. */
int sg_ref_net_backward(sg_ref_net *ref, const int32_t *label);

#endif
