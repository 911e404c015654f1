/* One training: minibatches of epochs with a schedule, an interpolation range, an optimiser. Its state can be
 * saved at any step boundary and continued to the same bits. */
#ifndef SG_TRAIN_H
#define SG_TRAIN_H

#include "stages/stage.h"

typedef struct sg_train_options {
    int epochs;
    enum sg_schedule schedule;
    double lr;
    sg_optimizer_options optimizer;
    double alpha_low, alpha_high; /* alpha ~ U(low, high) per minibatch; equal: fixed (1: plain training) */
    uint64_t seed;                /* data order, augmentation, alpha, dropout */
    uint32_t first_epoch; /* of this training in the chain of trainings: which epoch's random numbers */
    bool shuffle;
    int max_steps;  /* 0: no limit */
    bool frozen;    /* a weight that crosses zero is set to zero (mode `frozen`) */
    int keep_epoch; /* copy the weights into `kept` after this many epochs (IMP's rewinding point), or at the
                       end where that comes first; -1: never */
} sg_train_options;

/* One finished epoch. */
typedef struct sg_epoch {
    double lr, train_loss, train_accuracy, test_loss, test_accuracy;
    double seconds, images_per_s; /* clocks: never part of a digest */
} sg_epoch;

typedef struct sg_training {
    sg_weights *weights; /* owned, like all pointers here */
    sg_weights *start;   /* as the training began: for sign flips and frozen signs */
    sg_weights *kept;    /* NULL until keep_epoch */
    sg_survivors *survivors;
    sg_optimizer *optimizer;
    int epoch;          /* epochs finished */
    uint32_t minibatch; /* minibatches done of the epoch under way */
    int64_t steps;      /* minibatches done in all */
    double loss_sum;    /* of the epoch under way */
    int64_t correct, samples;
    double seconds;      /* spent training in the epoch under way */
    sg_epoch *rows;      /* [epochs], the first `epoch` are filled */
    int8_t *frozen_sign; /* [net->values], or NULL; derived from start */
} sg_training;

/* Starts from weights (taken over on success) with a fresh optimiser. Local. */
int sg_training_create(sg_training **training, sg_weights *weights, const sg_train_options *options);
void sg_training_destroy(sg_training **training);

/* Runs what is left: all epochs, each followed by an evaluation on env->test. SG_INTERRUPTED: state as saved
 * by env->step. SG_FAILED: diverged. Collective. */
int sg_stage_train(const sg_env *env, const sg_train_options *options, sg_training *training);

/* alpha of one minibatch, uniform in [low, high). Local. */
double sg_train_alpha(const sg_train_options *options, uint32_t epoch, uint32_t minibatch);

/* Surviving prunable weights that have crossed zero since `start` (which is + where it is zero; one that ends
 * at zero has not crossed: mode `frozen` has no flips), and gammas below zero. */
size_t sg_count_sign_flips(const sg_weights *start, const sg_weights *weights);
size_t sg_count_negative_gammas(const sg_weights *weights);

#endif
