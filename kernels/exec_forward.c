#include <math.h>

#include "kernels/exec_internal.h"

typedef struct forward {
    sg_exec *exec;
    sg_weights *weights;
    const sg_batch *batch;
    sg_extent extent;
    enum sg_exec_mode mode;
    double alpha;
    uint64_t dropout_seed;
    uint32_t step;
} forward;

static const float *param_values(const forward *f, int number) {
    return number < 0 ? NULL : f->weights->values + f->exec->net->param[number].offset;
}

/* AWS, eq. 3: (psi_t, psi_init)_alpha with gamma_init = 1 and beta_init = 0. */
static void interpolate_norm(const forward *f, const sg_layer *layer, sg_exec_norm *norm) {
    const float *gamma = param_values(f, layer->weight), *beta = param_values(f, layer->bias);
    for (int c = 0; c < layer->channels; c++) {
        norm->gamma[c] = (float)(f->alpha * (double)gamma[c] + (1.0 - f->alpha));
        norm->beta[c] = (float)(f->alpha * (double)beta[c]);
    }
}

/* torch: the running variance is unbiased; momentum 0.1 in training, cumulative average in recalibration. */
static void update_statistics(const forward *f, const sg_layer *layer, const sg_exec_norm *norm) {
    const sg_statistics *tracked = &f->exec->net->statistics[layer->statistics];
    float *mean = f->weights->mean + tracked->offset, *variance = f->weights->variance + tracked->offset;
    double values = (double)f->batch->samples * layer->height * layer->width;
    double unbiased = values > 1.0 ? values / (values - 1.0) : 1.0;
    double share = f->mode == SG_EXEC_TRAIN ? 0.1 : 1.0 / (double)f->weights->batches;
    for (int c = 0; c < layer->channels; c++) {
        mean[c] = (float)((1.0 - share) * (double)mean[c] + share * norm->mean64[c]);
        variance[c] = (float)((1.0 - share) * (double)variance[c] + share * unbiased * norm->variance[c]);
    }
}

static int run_batch_norm(const forward *f, const sg_layer *layer, sg_exec_layer *own, const sg_tensor *x,
                          const sg_tensor *residual) {
    const sg_layer_kernels *kernels = &f->exec->machine->variant->layers;
    interpolate_norm(f, layer, &own->norm);
    sg_norm_batch n = sg_exec_norm_batch(&own->norm, layer);
    if (f->mode == SG_EXEC_EVALUATE) {
        const sg_statistics *tracked = &f->exec->net->statistics[layer->statistics];
        double epsilon = (double)(float)layer->epsilon; /* like the statistics, which are stored as floats */
        for (int c = 0; c < layer->channels; c++) {
            n.mean[c] = f->weights->mean[tracked->offset + (size_t)c];
            n.inverse[c] =
                (float)(1.0 / sqrt((double)f->weights->variance[tracked->offset + (size_t)c] + epsilon));
        }
    } else {
        SG_TRY(
            kernels->norm_batch_statistics(f->exec->machine, &f->extent, x, &n, sg_exec_take_sums(f->exec)));
        update_statistics(f, layer, &own->norm);
    }
    return SG_AT(kernels->norm_batch_forward(f->exec->machine, &f->extent, x, residual, &own->output, &n));
}

static int run_dropout(const forward *f, int l, const sg_tensor *x, sg_tensor *y) {
    const sg_layer_kernels *kernels = &f->exec->machine->variant->layers;
    const sg_layer *layer = &f->exec->net->layer[l];
    if (f->mode != SG_EXEC_TRAIN || layer->probability <= 0.0f)
        return SG_AT(kernels->copy(f->exec->machine, f->extent.blocks, x, y, false));
    return SG_AT(kernels->dropout_forward(f->exec->machine, f->extent.blocks, layer->probability,
                                          f->dropout_seed, f->step, (uint32_t)l, f->batch->sample, x, y));
}

/* Batch norm right behind a convolution has its statistics made on the way. */
static int follow(const forward *f, int l, const sg_tensor *y, sg_follower **follower) {
    sg_exec *exec = f->exec;
    const sg_layer *next = &exec->net->layer[l + 1];
    sg_pixel_sums_destroy(&exec->sums); /* of a pass that failed */
    if (f->mode == SG_EXEC_EVALUATE || l + 1 == exec->net->layers || next->kind != SG_LAYER_BATCH_NORM ||
        next->input[0] != l)
        return SG_OK;
    SG_TRY(exec->machine->variant->layers.norm_batch_follow(&exec->sums, &f->extent, y));
    *follower = &exec->sums->follower;
    return SG_OK;
}

static int run_layer(const forward *f, int l) {
    sg_exec *exec = f->exec;
    const sg_machine *m = exec->machine;
    const sg_layer_kernels *k = &m->variant->layers;
    const sg_layer *layer = &exec->net->layer[l];
    sg_exec_layer *own = &exec->layer[l];
    const sg_tensor *x = &exec->layer[layer->input[0]].output;
    const sg_tensor *x2 = layer->input[1] < 0 ? NULL : &exec->layer[layer->input[1]].output;
    sg_tensor *y = &own->output;
    int blocks = f->extent.blocks;
    switch (layer->kind) {
    case SG_LAYER_INPUT:
        return SG_OK;
    case SG_LAYER_CONV: {
        sg_conv_pass pass = {.blocks = blocks,
                             .x = x,
                             .y = y,
                             .bias = param_values(f, layer->bias),
                             .weights = param_values(f, layer->weight),
                             .packed = own->packed,
                             .scratch = exec->scratch};
        SG_TRY(follow(f, l, y, &pass.follower));
        if (f->mode == SG_EXEC_TRAIN) {
            SG_TRY(sg_conv_prepare(own->conv, SG_CONV_FORWARD, pass.weights, own->packed));
            sg_exec_done(exec, l, SG_EXEC_PREPARE);
        }
        return SG_AT(sg_conv_run(own->conv, SG_CONV_FORWARD, &pass));
    }
    case SG_LAYER_BATCH_NORM:
        return SG_AT(run_batch_norm(f, layer, own, x, x2));
    case SG_LAYER_LAYER_NORM:
        interpolate_norm(f, layer, &own->norm);
        return SG_AT(
            k->norm_layer_forward(m, blocks, x, y, own->norm.gamma, own->norm.beta, (float)layer->epsilon));
    case SG_LAYER_ACTIVATION:
        return SG_AT(k->activation_forward(m, blocks, layer->activation, x, y));
    case SG_LAYER_ADD:
        return SG_AT(k->add(m, blocks, x, x2, y));
    case SG_LAYER_MAX_POOL:
        return SG_AT(k->max_pool_forward(m, blocks, layer->kernel, layer->stride, layer->padding, x, y));
    case SG_LAYER_AVERAGE_POOL:
        return SG_AT(k->average_pool_forward(m, blocks, layer->kernel, layer->stride, layer->padding, x, y));
    case SG_LAYER_GLOBAL_POOL:
        return SG_AT(k->global_pool_forward(m, blocks, x, y));
    case SG_LAYER_SCALE:
        return SG_AT(k->scale_forward(m, blocks, x, x2, y));
    case SG_LAYER_CONCAT:
        return SG_AT(k->concat_forward(m, blocks, x, x2, y));
    case SG_LAYER_SHUFFLE:
        return SG_AT(k->shuffle_forward(m, blocks, layer->groups, x, y));
    case SG_LAYER_TOKENS:
        return SG_AT(
            k->tokens_forward(m, blocks, x, param_values(f, layer->weight), param_values(f, layer->bias), y));
    case SG_LAYER_FIRST_TOKEN:
        return SG_AT(k->first_token_forward(m, blocks, x, y));
    case SG_LAYER_TRANSPOSE:
        return SG_AT(k->transpose_forward(m, blocks, x, y));
    case SG_LAYER_ATTENTION:
        return SG_AT(k->attention_forward(m, blocks, layer->heads, x, &own->extra, y));
    case SG_LAYER_DROPOUT:
        return SG_AT(run_dropout(f, l, x, y));
    }
    return SG_FAIL(SG_INTERNAL, "layer %s has a kind that nobody runs", layer->name);
}

int sg_exec_forward(sg_exec *exec, sg_weights *weights, const sg_batch *batch, enum sg_exec_mode mode,
                    double alpha, uint64_t dropout_seed, uint32_t step) {
    forward f = {.exec = exec,
                 .weights = weights,
                 .batch = batch,
                 .extent = sg_exec_extent(exec, batch),
                 .mode = mode,
                 .alpha = alpha,
                 .dropout_seed = dropout_seed,
                 .step = step};
    exec->layer[0].output = batch->input;
    if (mode != SG_EXEC_EVALUATE) weights->batches++;
    for (int l = 1; l < exec->net->layers; l++) {
        sg_exec_begin(exec, &exec->layer[l].output, exec->layer[l].piece[exec->way], l);
        SG_TRY(run_layer(&f, l));
        if (mode == SG_EXEC_TRAIN) sg_exec_done(exec, l, SG_EXEC_FORWARD);
    }
    return SG_OK;
}
