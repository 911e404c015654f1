#include "kernels/exec_internal.h"

/* Sums over ranks begin when this many bytes of gradient are ready. */
enum { BUCKET_BYTES = 1 << 20 };

typedef struct backward {
    sg_exec *exec;
    const sg_weights *weights;
    const sg_batch *batch;
    sg_extent extent;
    double alpha;
    uint64_t dropout_seed;
    uint32_t step;
    float *gradient;
    size_t sent; /* gradient[sent..] is on its way */
} backward;

static float *param_gradient(const backward *b, int number) {
    return number < 0 ? NULL : b->gradient + b->exec->survivors->offset[number];
}

/* Gradients of so many bytes have left the caches before all are written. */
enum { FOLLOW_BYTES = 16 << 20 };

/* Batch norm right before a convolution, whose data gradient is the last contribution to dx, has the sums of
 * its gradient made on the way. They read its input too, which is worth it only where dx would be read from
 * memory again. */
static int follow(const backward *b, int l, const sg_tensor *dx, sg_follower **follower) {
    sg_exec *exec = b->exec;
    const sg_layer *norm = &exec->net->layer[l - 1];
    if (norm->kind != SG_LAYER_BATCH_NORM || exec->net->layer[l].input[0] != l - 1 ||
        (size_t)b->extent.blocks * dx->block * sizeof(float) < FOLLOW_BYTES)
        return SG_OK;
    sg_exec_layer *own = &exec->layer[l - 1];
    sg_norm_batch n = sg_exec_norm_batch(&own->norm, norm);
    const sg_tensor *residual = norm->input[1] < 0 ? NULL : &exec->layer[norm->input[1]].output;
    SG_TRY(exec->machine->variant->layers.norm_batch_follow_gradient(
        &exec->sums, &b->extent, &exec->layer[norm->input[0]].output, &own->output, residual, dx, &n));
    *follower = &exec->sums->follower;
    return SG_OK;
}

static int run_conv(const backward *b, int l, sg_exec_layer *own, const sg_tensor *x, const sg_tensor *dy,
                    sg_tensor *dx) {
    const sg_layer *layer = &b->exec->net->layer[l];
    sg_conv_pass pass = {.blocks = b->extent.blocks,
                         .x = x,
                         .dy = dy,
                         .dw = param_gradient(b, layer->weight),
                         .weights = b->weights->values + b->exec->net->param[layer->weight].offset,
                         .packed = b->exec->packed,
                         .scratch = b->exec->scratch};
    SG_TRY(sg_conv_run(own->conv, SG_CONV_WEIGHT_GRADIENT, &pass));
    if (layer->bias >= 0)
        SG_TRY(b->exec->machine->variant->layers.bias_gradient(b->exec->machine, b->extent.blocks, dy,
                                                               param_gradient(b, layer->bias)));
    sg_exec_done(b->exec, l, SG_EXEC_WEIGHT_GRADIENT);
    if (dx == NULL) return SG_OK;
    SG_TRY(sg_conv_prepare(own->conv, SG_CONV_DATA_GRADIENT, pass.weights, b->exec->packed));
    sg_exec_done(b->exec, l, SG_EXEC_PREPARE);
    pass.dx = dx;
    pass.accumulate = own->accumulate[0];
    SG_TRY(follow(b, l, dx, &pass.follower));
    return SG_AT(sg_conv_run(own->conv, SG_CONV_DATA_GRADIENT, &pass));
}

static int run_batch_norm(const backward *b, const sg_layer *layer, sg_exec_layer *own, const sg_tensor *x,
                          const sg_tensor *residual, const sg_tensor *dy, sg_tensor *dx,
                          sg_tensor *dresidual) {
    sg_norm_batch n = sg_exec_norm_batch(&own->norm, layer);
    return SG_AT(b->exec->machine->variant->layers.norm_batch_backward(
        b->exec->machine, &b->extent, x, &own->output, residual, dy, dx, own->accumulate[0], dresidual,
        own->accumulate[1], &n, sg_exec_take_sums(b->exec)));
}

static int run_dropout(const backward *b, int l, const sg_tensor *dy, sg_tensor *dx) {
    const sg_layer_kernels *k = &b->exec->machine->variant->layers;
    const sg_layer *layer = &b->exec->net->layer[l];
    bool accumulate = b->exec->layer[l].accumulate[0];
    if (layer->probability <= 0.0f)
        return SG_AT(k->copy(b->exec->machine, b->extent.blocks, dy, dx, accumulate));
    return SG_AT(k->dropout_backward(b->exec->machine, b->extent.blocks, layer->probability, b->dropout_seed,
                                     b->step, (uint32_t)l, b->batch->sample, dy, dx, accumulate));
}

static int run_add(const backward *b, const sg_exec_layer *own, const sg_tensor *dy, sg_tensor *dx,
                   sg_tensor *dx2) {
    const sg_layer_kernels *k = &b->exec->machine->variant->layers;
    if (dx != NULL) SG_TRY(k->copy(b->exec->machine, b->extent.blocks, dy, dx, own->accumulate[0]));
    if (dx2 != NULL) SG_TRY(k->copy(b->exec->machine, b->extent.blocks, dy, dx2, own->accumulate[1]));
    return SG_OK;
}

/* The gradients that layer l is the first to write to. */
static void begin_gradients(const sg_exec *exec, int l) {
    for (int i = 0; i < 2; i++) {
        int input = exec->net->layer[l].input[i];
        if (input <= 0) continue;
        int slot = exec->layer[input].gradient;
        sg_exec_begin(exec, &exec->slot[slot], exec->first_slot_piece + slot, 2 * exec->net->layers - l);
    }
}

static int run_layer(const backward *b, int l) {
    sg_exec *exec = b->exec;
    const sg_machine *m = exec->machine;
    const sg_layer_kernels *k = &m->variant->layers;
    const sg_layer *layer = &exec->net->layer[l];
    sg_exec_layer *own = &exec->layer[l];
    int in = layer->input[0], in2 = layer->input[1], blocks = b->extent.blocks;
    const sg_tensor *x = &exec->layer[in].output, *x2 = in2 < 0 ? NULL : &exec->layer[in2].output;
    const sg_tensor *y = &own->output, *dy = &exec->slot[own->gradient];
    sg_tensor *dx = in <= 0 ? NULL : &exec->slot[exec->layer[in].gradient];
    sg_tensor *dx2 = in2 <= 0 ? NULL : &exec->slot[exec->layer[in2].gradient];
    bool add = own->accumulate[0], add2 = own->accumulate[1];
    if (layer->kind == SG_LAYER_CONV) return SG_AT(run_conv(b, l, own, x, dy, dx));
    if (layer->kind == SG_LAYER_ADD) return SG_AT(run_add(b, own, dy, dx, dx2));
    SG_CHECK(dx != NULL, SG_INTERNAL, "layer %s reads the image", layer->name); /* net.c refuses it */
    switch (layer->kind) {
    case SG_LAYER_BATCH_NORM:
        return SG_AT(run_batch_norm(b, layer, own, x, x2, dy, dx, dx2));
    case SG_LAYER_LAYER_NORM:
        return SG_AT(k->norm_layer_backward(m, blocks, x, dy, dx, own->norm.gamma, (float)layer->epsilon,
                                            param_gradient(b, layer->weight), param_gradient(b, layer->bias),
                                            add));
    case SG_LAYER_ACTIVATION:
        return SG_AT(k->activation_backward(m, blocks, layer->activation, x, dy, dx, add));
    case SG_LAYER_MAX_POOL:
        return SG_AT(
            k->max_pool_backward(m, blocks, layer->kernel, layer->stride, layer->padding, x, y, dy, dx, add));
    case SG_LAYER_AVERAGE_POOL:
        return SG_AT(
            k->average_pool_backward(m, blocks, layer->kernel, layer->stride, layer->padding, dy, dx, add));
    case SG_LAYER_GLOBAL_POOL:
        return SG_AT(k->global_pool_backward(m, blocks, dy, dx, add));
    case SG_LAYER_SCALE:
        return SG_AT(k->scale_backward(m, blocks, x, x2, dy, dx, add, dx2, add2));
    case SG_LAYER_CONCAT:
        return SG_AT(k->concat_backward(m, blocks, dy, dx, add, dx2, add2));
    case SG_LAYER_SHUFFLE:
        return SG_AT(k->shuffle_backward(m, blocks, layer->groups, dy, dx, add));
    case SG_LAYER_TOKENS:
        return SG_AT(k->tokens_backward(m, blocks, dy, dx, param_gradient(b, layer->weight),
                                        param_gradient(b, layer->bias), add));
    case SG_LAYER_FIRST_TOKEN:
        return SG_AT(k->first_token_backward(m, blocks, dy, dx, add));
    case SG_LAYER_TRANSPOSE:
        return SG_AT(k->transpose_backward(m, blocks, dy, dx, add));
    case SG_LAYER_ATTENTION:
        return SG_AT(k->attention_backward(m, blocks, layer->heads, x, &own->extra, dy, dx, add));
    case SG_LAYER_DROPOUT:
        return SG_AT(run_dropout(b, l, dy, dx));
    default:
        return SG_FAIL(SG_INTERNAL, "layer %s has a kind without a gradient", layer->name);
    }
}

/* Begins the sum over ranks of what layers l and behind have finished, a bucket at a time. */
static int send_finished(backward *b, int l) {
    const sg_exec *exec = b->exec;
    int first = exec->first_param[l];
    size_t from = first == exec->net->params ? exec->survivors->total : exec->survivors->offset[first];
    if (from == b->sent || (l > 1 && (b->sent - from) * sizeof(float) < BUCKET_BYTES)) return SG_OK;
    SG_TRY(
        exec->reduce->sum_begin(exec->reduce->context, b->gradient + from, b->sent - from, b->batch->blocks));
    b->sent = from;
    return SG_OK;
}

/* Batch norm's sums are over all ranks already and are set after the ranks' sum; every norm's carry alpha. */
static void finish_norms(const backward *b) {
    const sg_net *net = b->exec->net;
    for (int l = 1; l < net->layers; l++) {
        const sg_layer *layer = &net->layer[l];
        bool batch = layer->kind == SG_LAYER_BATCH_NORM;
        if (!batch && layer->kind != SG_LAYER_LAYER_NORM) continue;
        float *gamma = param_gradient(b, layer->weight), *beta = param_gradient(b, layer->bias);
        const sg_exec_norm *norm = &b->exec->layer[l].norm;
        for (int c = 0; c < layer->channels; c++) {
            gamma[c] = (float)(b->alpha * (double)(batch ? norm->dgamma[c] : gamma[c]));
            beta[c] = (float)(b->alpha * (double)(batch ? norm->dbeta[c] : beta[c]));
        }
    }
}

int sg_exec_backward(sg_exec *exec, const sg_weights *weights, const sg_batch *batch, double alpha,
                     uint64_t dropout_seed, uint32_t step, float *gradient) {
    backward b = {.exec = exec,
                  .weights = weights,
                  .batch = batch,
                  .extent = sg_exec_extent(exec, batch),
                  .alpha = alpha,
                  .dropout_seed = dropout_seed,
                  .step = step,
                  .gradient = gradient,
                  .sent = exec->survivors->total};
    for (int l = exec->net->layers - 1; l >= 1; l--) {
        begin_gradients(exec, l);
        SG_TRY(run_layer(&b, l));
        sg_exec_done(exec, l, SG_EXEC_DATA_GRADIENT);
        SG_TRY(send_finished(&b, l));
        SG_TRY(exec->reduce->progress(exec->reduce->context));
        sg_exec_done(exec, l, SG_EXEC_SUM);
    }
    SG_TRY(exec->reduce->finish(exec->reduce->context));
    finish_norms(&b);
    sg_exec_done(exec, 0, SG_EXEC_SUM);
    return SG_OK;
}
