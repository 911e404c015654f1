#include "stages/train.h"

#include <math.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "kernels/rng.h"
#include "stages/evaluate.h"
#include "stages/learning_rate.h"

static int make_frozen_signs(sg_training *t) {
    const sg_net *net = t->start->net;
    SG_TRY(SG_NEW(&t->frozen_sign, net->values));
    /* By the sign bit: an initial magnitude of zero was given its side as -0.0 or 0.0. */
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count && param->role == SG_ROLE_WEIGHT; i++)
            t->frozen_sign[i] = (int8_t)(!t->start->mask[i] ? 0 : signbit(t->start->values[i]) ? -1 : 1);
    }
    return SG_OK;
}

int sg_training_create(sg_training **training, sg_weights *weights, const sg_train_options *options) {
    *training = NULL;
    sg_training *made;
    SG_TRY(SG_NEW(&made, 1));
    int status = SG_OK;
    if ((status = SG_AT(sg_weights_create(&made->start, weights->net)))) goto failed;
    sg_weights_copy(made->start, weights);
    if ((status = SG_AT(sg_survivors_create(&made->survivors, weights)))) goto failed;
    if ((status = SG_AT(sg_optimizer_create(&made->optimizer, &options->optimizer, made->survivors))))
        goto failed;
    if ((status = SG_AT(SG_NEW(&made->rows, (size_t)options->epochs)))) goto failed;
    if (options->frozen && (status = SG_AT(make_frozen_signs(made)))) goto failed;
    made->weights = weights;
    *training = made;
    return SG_OK;
failed:
    sg_training_destroy(&made);
    return status;
}

void sg_training_destroy(sg_training **training) {
    if (training == NULL || *training == NULL) return;
    sg_training *t = *training;
    sg_weights_destroy(&t->weights);
    sg_weights_destroy(&t->start);
    sg_weights_destroy(&t->kept);
    sg_survivors_destroy(&t->survivors);
    sg_optimizer_destroy(&t->optimizer);
    free(t->rows);
    free(t->frozen_sign);
    SG_FREE(*training);
}

double sg_train_alpha(const sg_train_options *options, uint32_t epoch, uint32_t minibatch) {
    if (options->alpha_low == options->alpha_high) return options->alpha_low;
    double uniform = (double)sg_uniform(sg_rng(options->seed, SG_RNG_ALPHA, epoch, minibatch, 0).word[0]);
    return options->alpha_low + (options->alpha_high - options->alpha_low) * uniform;
}

static bool steps_exhausted(const sg_train_options *options, const sg_training *t) {
    return options->max_steps > 0 && t->steps >= options->max_steps;
}

static int train_minibatch(const sg_env *env, const sg_train_options *options, sg_training *t,
                           float *gradient) {
    const sg_order order = {
        .seed = options->seed, .shuffle = options->shuffle, .augment = true, .augment_seed = options->seed};
    uint32_t epoch = options->first_epoch + (uint32_t)t->epoch;
    const sg_batch *batch;
    sg_result result;
    double began = sg_clock_now();
    SG_TRY(env->train->get(env->train->context, &order, epoch, t->minibatch, &batch));
    SG_TRY(sg_exec_train(env->exec, t->weights, batch, sg_train_alpha(options, epoch, t->minibatch),
                         options->seed, epoch * env->train->minibatches + t->minibatch, gradient, &result));
    SG_TRY(sg_optimizer_step(t->optimizer, env->machine, t->weights, t->survivors, gradient,
                             sg_learning_rate(options->schedule, options->lr, t->epoch, options->epochs),
                             t->frozen_sign));
    t->seconds += sg_clock_now() - began;
    t->loss_sum += result.loss_sum;
    t->correct += result.correct;
    t->samples += result.samples;
    t->minibatch++;
    t->steps++;
    return SG_OK;
}

static int finish_epoch(const sg_env *env, const sg_train_options *options, sg_training *t) {
    sg_score score;
    SG_TRY(sg_stage_evaluate(env, t->weights, env->test, NULL, &score));
    double samples = t->samples > 0 ? (double)t->samples : 1.0;
    t->rows[t->epoch] =
        (sg_epoch){.lr = sg_learning_rate(options->schedule, options->lr, t->epoch, options->epochs),
                   .train_loss = t->loss_sum / samples,
                   .train_accuracy = (double)t->correct / samples,
                   .test_loss = score.loss,
                   .test_accuracy = score.accuracy,
                   .seconds = t->seconds,
                   .images_per_s = t->seconds > 0.0 ? (double)t->samples / t->seconds : 0.0};
    t->epoch++;
    t->minibatch = 0;
    t->loss_sum = t->seconds = 0.0;
    t->correct = t->samples = 0;
    return SG_OK;
}

static int keep(sg_training *t) {
    SG_TRY(sg_weights_create(&t->kept, t->weights->net));
    sg_weights_copy(t->kept, t->weights);
    return SG_OK;
}

static int train_epoch(const sg_env *env, const sg_train_options *options, sg_training *t, float *gradient) {
    if (t->minibatch == 0 && t->epoch == options->keep_epoch && t->kept == NULL) SG_TRY(keep(t));
    while (t->minibatch < env->train->minibatches && !steps_exhausted(options, t)) {
        SG_TRY(train_minibatch(env, options, t, gradient));
        sg_progress progress = {.phase = "train",
                                .epoch = t->epoch,
                                .epochs = options->epochs,
                                .step = t->minibatch,
                                .steps = env->train->minibatches,
                                .loss = t->loss_sum / (double)t->samples,
                                .accuracy = (double)t->correct / (double)t->samples,
                                .images_per_s = (double)t->samples / t->seconds};
        SG_TRY(env->step(env->context, &progress));
    }
    return SG_AT(finish_epoch(env, options, t));
}

int sg_stage_train(const sg_env *env, const sg_train_options *options, sg_training *t) {
    const sg_reduce *reduce = sg_exec_reduce(env->exec);
    float *gradient;
    SG_TRY(sg_exec_set_survivors(env->exec, t->survivors));
    SG_TRY(reduce->allocate(reduce->context, t->survivors->total, &gradient));
    int status = SG_AT(sg_optimizer_join(t->optimizer, t->weights, reduce));
    while (status == SG_OK && t->epoch < options->epochs &&
           !(t->minibatch == 0 && steps_exhausted(options, t)))
        status = SG_AT(train_epoch(env, options, t, gradient));
    /* The end of the last epoch, or of a training that max_steps cut short before it. */
    if (status == SG_OK && options->keep_epoch >= 0 && t->kept == NULL) status = SG_AT(keep(t));
    sg_optimizer_leave(t->optimizer, t->weights);
    reduce->release(reduce->context, &gradient);
    return status;
}

size_t sg_count_sign_flips(const sg_weights *start, const sg_weights *weights) {
    size_t flips = 0;
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count && param->role == SG_ROLE_WEIGHT; i++)
            flips += weights->mask[i] &&
                     (start->values[i] < 0.0f ? weights->values[i] > 0.0f : weights->values[i] < 0.0f);
    }
    return flips;
}

size_t sg_count_negative_gammas(const sg_weights *weights) {
    size_t negative = 0;
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count && param->role == SG_ROLE_GAMMA; i++)
            negative += weights->values[i] < 0.0f;
    }
    return negative;
}
