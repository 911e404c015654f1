/* Accuracy of a network, and running statistics that fit it. */
#ifndef SG_EVALUATE_H
#define SG_EVALUATE_H

#include "stages/stage.h"

typedef struct sg_score {
    double loss;     /* mean cross-entropy */
    double accuracy; /* 0..1 */
} sg_score;

/* Loss and accuracy of weights on a data set as it is (no augmentation, the data set's order). logits: NULL,
 * or [samples][classes], of which each rank fills the rows of its own blocks. SG_INTERRUPTED from env->step.
 */
int sg_stage_evaluate(const sg_env *env, const sg_weights *weights, const sg_source *source, float *logits,
                      sg_score *score);

/* Replaces the running statistics of weights by their cumulative average over one pass through the training
 * data, augmented as in training, in the fixed order of SG_STATISTICS_SEED (protocol, connectivity). Nothing
 * to do, and nothing done, where the network has none. */
int sg_stage_recalibrate(const sg_env *env, sg_weights *weights);

#endif
