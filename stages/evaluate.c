#include "stages/evaluate.h"

int sg_stage_evaluate(const sg_env *env, const sg_weights *weights, const sg_source *source, float *logits,
                      sg_score *score) {
    const sg_order order = {.shuffle = false, .augment = false};
    sg_result sum = {0};
    SG_TRY(sg_exec_load(env->exec, weights));
    for (uint32_t i = 0; i < source->minibatches; i++) {
        const sg_batch *batch;
        sg_result one;
        SG_TRY(source->get(source->context, &order, 0, i, &batch));
        float *rows = logits == NULL ? NULL : logits + (size_t)sum.samples * (size_t)env->net->classes;
        SG_TRY(sg_exec_evaluate(env->exec, weights, batch, &one, rows));
        sum.loss_sum += one.loss_sum;
        sum.correct += one.correct;
        sum.samples += one.samples;
        sg_progress progress = {.phase = "test",
                                .step = i + 1,
                                .steps = source->minibatches,
                                .loss = sum.loss_sum / (double)sum.samples,
                                .accuracy = (double)sum.correct / (double)sum.samples};
        SG_TRY(env->step(env->context, &progress));
    }
    score->loss = sum.loss_sum / (double)sum.samples;
    score->accuracy = (double)sum.correct / (double)sum.samples;
    return SG_OK;
}

int sg_stage_recalibrate(const sg_env *env, sg_weights *weights) {
    const sg_order order = {
        .seed = SG_STATISTICS_SEED, .shuffle = true, .augment = true, .augment_seed = SG_STATISTICS_SEED};
    if (env->net->channels_tracked == 0) return SG_OK;
    sg_weights_reset_statistics(weights);
    SG_TRY(sg_exec_load(env->exec, weights));
    for (uint32_t i = 0; i < env->train->minibatches; i++) {
        const sg_batch *batch;
        SG_TRY(env->train->get(env->train->context, &order, 0, i, &batch));
        SG_TRY(sg_exec_recalibrate(env->exec, weights, batch, 1.0));
        sg_progress progress = {.phase = "statistics", .step = i + 1, .steps = env->train->minibatches};
        SG_TRY(env->step(env->context, &progress));
    }
    return SG_OK;
}
