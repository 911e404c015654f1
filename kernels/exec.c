#include "kernels/exec.h"

#include <math.h>
#include <string.h>

#include "kernels/exec_internal.h"
#include "kernels/memory.h"

static int max_int(int a, int b) { return a > b ? a : b; }

int sg_exec_input_halo(const sg_net *net) {
    int halo = 0;
    for (int l = 1; l < net->layers; l++)
        if (net->layer[l].kind == SG_LAYER_CONV && net->layer[l].input[0] == 0)
            halo = max_int(halo, sg_conv_input_halo(&net->layer[l].conv));
    return halo;
}

static int consumers(const sg_net *net, int layer) {
    int count = 0;
    for (int l = layer + 1; l < net->layers; l++)
        count += (net->layer[l].input[0] == layer) + (net->layer[l].input[1] == layer);
    return count;
}

/* Batch norm turns dy into dx in place, so the gradient of its input needs no memory of its own. */
static bool hands_on(const sg_net *net, int l) {
    return net->layer[l].kind == SG_LAYER_BATCH_NORM && net->layer[l].input[0] != 0 &&
           consumers(net, net->layer[l].input[0]) == 1;
}

static void plan_halos(sg_exec *exec) {
    const sg_net *net = exec->net;
    for (int l = 1; l < net->layers; l++) {
        const sg_layer *layer = &net->layer[l];
        if (layer->kind != SG_LAYER_CONV) continue;
        sg_exec_layer *input = &exec->layer[layer->input[0]];
        input->halo = max_int(input->halo, sg_conv_input_halo(&layer->conv));
        exec->layer[l].gradient_halo = sg_conv_gradient_halo(&layer->conv);
    }
    for (int l = 1; l < net->layers; l++)
        if (hands_on(net, l)) {
            exec->layer[l].in_place = true;
            exec->layer[l].gradient_halo = exec->layer[net->layer[l].input[0]].gradient_halo;
        }
}

static bool slot_fits(const sg_tensor *slot, const sg_layer *layer, int halo) {
    return slot->channels == layer->channels && slot->height == layer->height &&
           slot->width == layer->width && slot->halo == halo;
}

/* Walks backward once, on shapes alone: which slot holds each layer's gradient, and who adds to what is
 * there. */
static int plan_gradients(sg_exec *exec) {
    const sg_net *net = exec->net;
    bool *busy;
    SG_TRY(SG_NEW(&busy, (size_t)net->layers));
    int status = SG_NEW(&exec->slot, (size_t)net->layers);
    for (int l = 0; l < net->layers; l++) exec->layer[l].gradient = -1;
    for (int l = net->layers - 1; l > 0 && status == SG_OK; l--) {
        sg_exec_layer *own = &exec->layer[l];
        for (int i = -1; i < 2; i++) { /* -1: the last layer's own gradient comes from the loss */
            int target = i < 0 ? l : net->layer[l].input[i];
            if (i < 0 ? l != net->layers - 1 : target <= 0) continue;
            sg_exec_layer *to = &exec->layer[target];
            if (i >= 0) own->accumulate[i] = to->gradient >= 0;
            if (to->gradient >= 0) continue;
            if (i == 0 && own->in_place) {
                to->gradient = own->gradient;
                continue;
            }
            int s = 0;
            while (s < exec->slots &&
                   (busy[s] || !slot_fits(&exec->slot[s], &net->layer[target], to->gradient_halo)))
                s++;
            if (s == exec->slots) {
                const sg_layer *shape = &net->layer[target];
                exec->slot[exec->slots++] = (sg_tensor){.channels = shape->channels,
                                                        .height = shape->height,
                                                        .width = shape->width,
                                                        .halo = to->gradient_halo};
            }
            busy[s] = true;
            to->gradient = s;
        }
        if (own->gradient >= 0 && !own->in_place) busy[own->gradient] = false;
    }
    free(busy);
    return status;
}

/* Backward finishes parameters from the last to the first: layer l's come after those of all layers before
 * it. */
static int plan_parameters(sg_exec *exec) {
    const sg_net *net = exec->net;
    SG_TRY(SG_NEW(&exec->first_param, (size_t)net->layers + 1));
    int next = net->params;
    exec->first_param[net->layers] = next;
    for (int l = net->layers - 1; l >= 0; l--) {
        int number[2] = {net->layer[l].weight, net->layer[l].bias};
        for (int i = 1; i >= 0; i--)
            if (number[i] >= 0) {
                SG_CHECK(number[i] == next - 1, SG_INTERNAL,
                         "network %s: parameter %s is not in its layer's place", net->arch,
                         net->param[number[i]].name);
                next = number[i];
            }
        exec->first_param[l] = next;
    }
    return SG_OK;
}

static int make_norm(sg_exec_norm *norm, size_t channels) {
    float **floats[] = {&norm->gamma, &norm->beta, &norm->mean, &norm->inverse, &norm->dgamma, &norm->dbeta};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) SG_TRY(SG_NEW(floats[i], channels));
    SG_TRY(SG_NEW(&norm->mean64, channels));
    return SG_AT(SG_NEW(&norm->variance, channels));
}

static void free_norm(sg_exec_norm *norm) {
    free(norm->gamma), free(norm->beta), free(norm->mean), free(norm->inverse);
    free(norm->dgamma), free(norm->dbeta), free(norm->mean64), free(norm->variance);
}

static int make_layer(sg_exec *exec, int l) {
    const sg_layer *layer = &exec->net->layer[l];
    sg_exec_layer *own = &exec->layer[l];
    int lanes = exec->machine->lanes;
    SG_TRY(sg_tensor_init(&own->output, lanes, exec->max_blocks, layer->channels, layer->height, layer->width,
                          own->halo));
    if (layer->kind == SG_LAYER_CONV)
        SG_TRY(
            sg_conv_create(&own->conv, exec->machine, &layer->conv, exec->training && layer->input[0] != 0));
    if (layer->kind == SG_LAYER_BATCH_NORM || layer->kind == SG_LAYER_LAYER_NORM)
        SG_TRY(make_norm(&own->norm, (size_t)layer->channels));
    if (layer->kind == SG_LAYER_ATTENTION)
        SG_TRY(sg_tensor_init(&own->extra, lanes, exec->max_blocks, layer->height,
                              layer->heads * layer->height, 1, 0));
    return SG_OK;
}

/* Everything but memory for tensors and convolutions. */
static int plan(sg_exec *exec) {
    SG_TRY(SG_NEW(&exec->layer, (size_t)exec->net->layers));
    plan_halos(exec);
    SG_TRY(plan_gradients(exec));
    return SG_AT(plan_parameters(exec));
}

static int fill(sg_exec *exec) {
    int lanes = exec->machine->lanes;
    for (int l = 1; l < exec->net->layers; l++) SG_TRY(make_layer(exec, l));
    for (int s = 0; s < exec->slots && exec->training; s++) {
        sg_tensor *t = &exec->slot[s];
        SG_TRY(sg_tensor_init(t, lanes, exec->max_blocks, t->channels, t->height, t->width, t->halo));
    }
    sg_weights *weights;
    SG_TRY(sg_weights_create(&weights, exec->net));
    int status = SG_AT(sg_survivors_create(&exec->dense, weights));
    sg_weights_destroy(&weights);
    if (status == SG_OK) exec->survivors = exec->dense;
    return status;
}

static int local_blocks(int lanes, int ranks, int batch) {
    return sg_tree_local_blocks((batch + lanes - 1) / lanes, 0, ranks);
}

int sg_exec_create(sg_exec **exec, const sg_machine *machine, const sg_net *net, const sg_reduce *reduce,
                   int max_batch, bool training) {
    *exec = NULL;
    sg_exec *made;
    SG_TRY(SG_NEW(&made, 1));
    *made = (sg_exec){.machine = machine,
                      .net = net,
                      .reduce = reduce,
                      .max_batch = max_batch,
                      .training = training,
                      .max_blocks = local_blocks(machine->lanes, reduce->size, max_batch)};
    int status = SG_AT(plan(made));
    if (status == SG_OK) status = SG_AT(fill(made));
    if (status != SG_OK) sg_exec_destroy(&made);
    *exec = made;
    return status;
}

void sg_exec_destroy(sg_exec **exec) {
    if (exec == NULL || *exec == NULL) return;
    sg_exec *e = *exec;
    for (int l = 0; l < e->net->layers && e->layer != NULL; l++) {
        if (l > 0) sg_tensor_release(&e->layer[l].output);
        sg_tensor_release(&e->layer[l].extra);
        sg_conv_destroy(&e->layer[l].conv);
        free_norm(&e->layer[l].norm);
    }
    for (int s = 0; s < e->slots && e->slot != NULL; s++) sg_tensor_release(&e->slot[s]);
    free(e->layer);
    free(e->slot);
    free(e->first_param);
    sg_survivors_destroy(&e->dense);
    SG_FREE(*exec);
}

int sg_exec_memory(const sg_machine *machine, const sg_net *net, int ranks, int max_batch, bool training,
                   sg_exec_bytes *bytes) {
    *bytes = (sg_exec_bytes){0};
    sg_exec *planned;
    SG_TRY(SG_NEW(&planned, 1));
    *planned = (sg_exec){.machine = machine, .net = net, .training = training};
    int blocks = local_blocks(machine->lanes, ranks, max_batch), lanes = machine->lanes;
    int status = SG_AT(plan(planned));
    for (int l = 1; l < net->layers && status == SG_OK; l++) {
        const sg_layer *layer = &net->layer[l];
        bytes->activations += sg_tensor_bytes(lanes, blocks, layer->channels, layer->height, layer->width,
                                              planned->layer[l].halo);
        for (int kind = 0; kind < SG_CONV_PASSES && layer->kind == SG_LAYER_CONV; kind++) {
            sg_support all = {.count = sg_conv_weights(&layer->conv)};
            const sg_conv_algorithm *a =
                sg_conv_choose(machine, &layer->conv, &all, (enum sg_conv_pass_kind)kind);
            if ((training || kind == SG_CONV_FORWARD) && a->bytes != NULL)
                bytes->convolutions += a->bytes(machine, &layer->conv, &all);
        }
    }
    for (int s = 0; s < planned->slots && training && status == SG_OK; s++) {
        const sg_tensor *t = &planned->slot[s];
        bytes->gradients += sg_tensor_bytes(lanes, blocks, t->channels, t->height, t->width, t->halo);
        planned->slot[s].base = NULL;
    }
    sg_exec_destroy(&planned);
    return status;
}

int sg_exec_set_survivors(sg_exec *exec, const sg_survivors *survivors) {
    exec->survivors = survivors;
    for (int l = 1; l < exec->net->layers; l++)
        if (exec->layer[l].conv != NULL)
            SG_TRY(sg_conv_set_support(exec->layer[l].conv, &survivors->support[exec->net->layer[l].weight]));
    return SG_OK;
}

static int load(sg_exec *exec, const sg_weights *weights, bool gradients) {
    const sg_net *net = exec->net;
    for (int l = 1; l < net->layers; l++)
        if (exec->layer[l].conv != NULL)
            SG_TRY(sg_conv_set_weights(exec->layer[l].conv,
                                       weights->values + net->param[net->layer[l].weight].offset, gradients));
    return SG_OK;
}

int sg_exec_load(sg_exec *exec, const sg_weights *weights) { return SG_AT(load(exec, weights, false)); }

void sg_exec_set_watch(sg_exec *exec, const sg_exec_watch *watch) {
    exec->watch = watch != NULL ? *watch : (sg_exec_watch){0};
}

sg_extent sg_exec_extent(const sg_exec *exec, const sg_batch *batch) {
    return (sg_extent){.blocks = sg_tree_local_blocks(batch->blocks, exec->reduce->rank, exec->reduce->size),
                       .samples = batch->samples,
                       .global_blocks = batch->blocks,
                       .reduce = exec->reduce};
}

/* The loss over all ranks, and dL/d logits into the last layer's slot when training. */
static int measure(sg_exec *exec, const sg_batch *batch, bool gradients, sg_result *result) {
    sg_extent extent = sg_exec_extent(exec, batch);
    sg_exec_layer *last = &exec->layer[exec->net->layers - 1];
    double sums[2];
    int64_t correct;
    SG_TRY(exec->machine->variant->layers.loss(exec->machine, &extent, &last->output, batch->label,
                                               gradients ? &exec->slot[last->gradient] : NULL, &sums[0],
                                               &correct));
    sums[1] = (double)correct;
    SG_TRY(exec->reduce->combine(exec->reduce->context, sums, 2, sizeof *sums, sg_combine_double,
                                 batch->blocks));
    *result = (sg_result){.loss_sum = sums[0], .correct = (int64_t)sums[1], .samples = batch->samples};
    return SG_OK;
}

static int check_batch(const sg_exec *exec, const sg_batch *batch) {
    SG_CHECK(batch->samples >= 1 && batch->samples <= exec->max_batch, SG_INTERNAL,
             "a minibatch of %d samples for an executor of %d", batch->samples, exec->max_batch);
    return SG_OK;
}

int sg_exec_train(sg_exec *exec, sg_weights *weights, const sg_batch *batch, double alpha,
                  uint64_t dropout_seed, uint32_t step, float *gradient, sg_result *result) {
    SG_TRY(check_batch(exec, batch));
    SG_CHECK(exec->training, SG_INTERNAL, "an executor made for evaluation was asked to train");
    SG_TRY(load(exec, weights, true));
    sg_exec_done(exec, 0, SG_EXEC_PREPARE);
    SG_TRY(sg_exec_forward(exec, weights, batch, SG_EXEC_TRAIN, alpha, dropout_seed, step));
    SG_TRY(measure(exec, batch, true, result));
    sg_exec_done(exec, exec->net->layers - 1, SG_EXEC_LOSS);
    SG_CHECK(isfinite(result->loss_sum), SG_FAILED,
             "the training diverged: the loss is not finite; use a smaller train.lr or another seed");
    return SG_AT(sg_exec_backward(exec, weights, batch, alpha, dropout_seed, step, gradient));
}

static void copy_logits(const sg_exec *exec, const sg_batch *batch, float *logits) {
    const sg_tensor *output = &exec->layer[exec->net->layers - 1].output;
    sg_extent extent = sg_exec_extent(exec, batch);
    int lanes = output->lanes, classes = output->channels;
    for (int b = 0; b < extent.blocks; b++) {
        int used = sg_tree_block_samples(batch->samples, lanes, b, exec->reduce->rank, exec->reduce->size);
        const float *pixel = sg_tensor_at(output, b, 0, 0);
        float *row =
            logits + (size_t)(b * exec->reduce->size + exec->reduce->rank) * (size_t)(lanes * classes);
        for (int s = 0; s < used; s++)
            for (int c = 0; c < classes; c++) row[s * classes + c] = pixel[c * lanes + s];
    }
}

int sg_exec_evaluate(sg_exec *exec, const sg_weights *weights, const sg_batch *batch, sg_result *result,
                     float *logits) {
    SG_TRY(check_batch(exec, batch));
    SG_TRY(sg_exec_forward(exec, (sg_weights *)weights, batch, SG_EXEC_EVALUATE, 1.0, 0, 0));
    if (logits != NULL) copy_logits(exec, batch, logits);
    return SG_AT(measure(exec, batch, false, result));
}

int sg_exec_recalibrate(sg_exec *exec, sg_weights *weights, const sg_batch *batch, double alpha) {
    SG_TRY(check_batch(exec, batch));
    return SG_AT(sg_exec_forward(exec, weights, batch, SG_EXEC_RECALIBRATE, alpha, 0, 0));
}
