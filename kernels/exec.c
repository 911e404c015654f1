#include "kernels/exec.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "kernels/exec_internal.h"
#include "kernels/memory.h"

/* Up to here, memory is worth less than the time that zeroing halos and gradients in cold places take. */
static const size_t PLENTY = (size_t)1 << 30;

int sg_exec_input_halo(const sg_net *net) {
    int halo = 0;
    for (int l = 1; l < net->layers; l++)
        if (net->layer[l].kind == SG_LAYER_CONV && net->layer[l].input[0] == 0)
            halo = sg_max(halo, sg_conv_input_halo(&net->layer[l].conv));
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
        input->halo = sg_max(input->halo, sg_conv_input_halo(&layer->conv));
        exec->layer[l].gradient_halo = sg_conv_gradient_halo(&layer->conv);
    }
    for (int l = 1; l < net->layers; l++)
        if (hands_on(net, l)) {
            exec->layer[l].in_place = true;
            exec->layer[l].gradient_halo = exec->layer[net->layer[l].input[0]].gradient_halo;
        }
}

/* Whether backward reads input i of a layer, and its output. */
static bool keeps_input(const sg_layer *layer, int i) {
    switch (layer->kind) {
    case SG_LAYER_CONV:
    case SG_LAYER_LAYER_NORM:
    case SG_LAYER_ACTIVATION:
    case SG_LAYER_MAX_POOL:
    case SG_LAYER_SCALE:
    case SG_LAYER_ATTENTION:
        return true;
    case SG_LAYER_BATCH_NORM: /* what becomes of the residual is seen in the output, but for swish */
        return i == 0 || layer->activation == SG_SWISH;
    default:
        return false;
    }
}

static bool keeps_output(const sg_layer *layer) {
    return layer->kind == SG_LAYER_MAX_POOL || (layer->kind == SG_LAYER_BATCH_NORM && layer->input[1] >= 0);
}

/* The last step that needs layer l's output. */
static int last_use(const sg_net *net, int l, bool backward) {
    int last = l == net->layers - 1 ? net->layers : l;
    for (int user = l + 1; user < net->layers; user++)
        for (int i = 0; i < 2; i++) {
            if (net->layer[user].input[i] != l) continue;
            bool kept = backward && keeps_input(&net->layer[user], i);
            last = sg_max(last, kept ? 2 * net->layers - user : user);
        }
    return backward && keeps_output(&net->layer[l]) ? sg_max(last, 2 * net->layers - l) : last;
}

static bool slot_fits(const sg_tensor *slot, const sg_layer *layer, int halo) {
    return slot->channels == layer->channels && slot->height == layer->height &&
           slot->width == layer->width && slot->halo == halo;
}

static sg_tensor tensor_of(const sg_exec *exec, int l, int halo) {
    const sg_layer *layer = &exec->net->layer[l];
    return sg_tensor_shape(exec->machine->lanes, exec->max_blocks, layer->channels, layer->height,
                           layer->width, halo);
}

/* Walks backward once, on shapes alone: which slot holds each layer's gradient, and who adds to what is
 * there. */
static int plan_gradients(sg_exec *exec) {
    const sg_net *net = exec->net;
    bool *busy;
    SG_TRY(SG_NEW(&busy, (size_t)net->layers));
    int status = SG_NEW(&exec->slot, (size_t)net->layers);
    if (status == SG_OK) status = SG_NEW(&exec->slot_life, (size_t)net->layers);
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
            int s = 0, step = i < 0 ? net->layers : 2 * net->layers - l;
            while (s < exec->slots &&
                   (busy[s] || !slot_fits(&exec->slot[s], &net->layer[target], to->gradient_halo)))
                s++;
            if (s == exec->slots) {
                exec->slot_life[s].first = step;
                exec->slot[exec->slots++] = tensor_of(exec, target, to->gradient_halo);
            }
            busy[s] = true;
            to->gradient = s;
        }
        if (own->gradient < 0) continue;
        exec->slot_life[own->gradient].last = 2 * net->layers - l;
        if (!own->in_place) busy[own->gradient] = false;
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
    if (layer->kind == SG_LAYER_CONV) SG_TRY(sg_conv_create(&own->conv, exec->machine, &layer->conv));
    if (layer->kind == SG_LAYER_BATCH_NORM || layer->kind == SG_LAYER_LAYER_NORM)
        SG_TRY(make_norm(&own->norm, (size_t)layer->channels));
    return SG_OK;
}

static int add_piece(sg_exec_layout *layout, size_t bytes, int first, int last) {
    if (!layout->sparing) first = 0, last = INT_MAX;
    layout->piece[layout->pieces] = (sg_piece){.bytes = bytes, .first = first, .last = last};
    return layout->pieces++;
}

/* A piece of the same shape that is free from layer l on, or a new one. */
static int output_piece(const sg_exec *exec, enum sg_exec_way way, int l) {
    const sg_exec_layer *layer = exec->layer;
    sg_exec_layout *layout = (sg_exec_layout *)&exec->layout[way];
    int last = last_use(exec->net, l, way == SG_EXEC_BOTH);
    for (int k = 1; k < l && way == SG_EXEC_FORWARD_ALONE; k++) {
        sg_piece *piece = &layout->piece[layer[k].piece[way]];
        if (piece->last >= l || !slot_fits(&layer[k].output, &exec->net->layer[l], layer[l].halo)) continue;
        piece->last = last;
        return layer[k].piece[way];
    }
    return add_piece(layout, sg_tensor_bytes(&layer[l].output), l, last);
}

/* What a pass of a convolution takes with the survivors, or with so many of them as the density says. */
static sg_conv_bytes pass_bytes(const sg_exec *exec, int l, enum sg_conv_pass_kind kind) {
    static const uint32_t some = 0;
    const sg_layer *layer = &exec->net->layer[l];
    bool pruned = exec->density < 1.0 && exec->net->param[layer->weight].role == SG_ROLE_WEIGHT;
    double count = (double)sg_conv_weights(&layer->conv) * (pruned ? exec->density : 1.0);
    sg_support support = {.count = (size_t)count, .index = pruned ? &some : NULL};
    if (exec->survivors != NULL) support = exec->survivors->support[layer->weight];
    return sg_conv_most_bytes(sg_conv_choose(exec->machine, &layer->conv, &support, kind), exec->machine,
                              &layer->conv, &support, exec->max_blocks);
}

static void add_convolutions(sg_exec *exec, enum sg_exec_way way) {
    const sg_net *net = exec->net;
    bool training = way == SG_EXEC_BOTH;
    int last = training ? 2 * net->layers : net->layers;
    size_t packed = 0, shared = 0, own = 0;
    exec->structures = 0;
    for (int l = 1; l < net->layers; l++) {
        for (int kind = 0; kind < SG_CONV_PASSES && net->layer[l].kind == SG_LAYER_CONV; kind++) {
            sg_conv_bytes bytes = pass_bytes(exec, l, (enum sg_conv_pass_kind)kind);
            if (!training && kind != SG_CONV_FORWARD) continue;
            if (!training) exec->layer[l].packed_piece = add_piece(&exec->layout[way], bytes.packed, 0, last);
            packed = bytes.packed > packed ? bytes.packed : packed;
            shared = bytes.shared > shared ? bytes.shared : shared;
            own = bytes.own > own ? bytes.own : own;
            exec->structures += bytes.state;
        }
    }
    if (training) exec->packed_piece = add_piece(&exec->layout[way], packed, 0, last);
    exec->scratch_shared[way] = shared;
    exec->scratch_own[way] = own;
    exec->scratch_piece[way] =
        add_piece(&exec->layout[way], sg_conv_scratch_bytes(shared, own, exec->machine->threads), 0, last);
}

static int plan_layout(sg_exec *exec, enum sg_exec_way way, bool sparing) {
    const sg_net *net = exec->net;
    sg_exec_layout *layout = &exec->layout[way];
    layout->pieces = 0;
    layout->sparing = sparing;
    if (layout->piece == NULL)
        SG_TRY(SG_NEW(&layout->piece, 3 * (size_t)net->layers + (size_t)exec->slots + 2));
    for (int l = 1; l < net->layers; l++) {
        sg_exec_layer *own = &exec->layer[l];
        own->piece[way] = output_piece(exec, way, l);
        if (net->layer[l].kind == SG_LAYER_ATTENTION)
            own->extra_piece[way] = add_piece(layout, sg_tensor_bytes(&own->extra), l,
                                              way == SG_EXEC_BOTH ? 2 * net->layers - l : l);
    }
    if (way == SG_EXEC_BOTH) exec->first_slot_piece = layout->pieces;
    for (int s = 0; s < exec->slots && way == SG_EXEC_BOTH; s++)
        add_piece(layout, sg_tensor_bytes(&exec->slot[s]), exec->slot_life[s].first, exec->slot_life[s].last);
    add_convolutions(exec, way);
    return SG_AT(sg_arena_plan(layout->piece, layout->pieces, &layout->bytes));
}

/* Bytes of the arena; structures are those of the way that needs most. */
static int plan_arena(sg_exec *exec, size_t *bytes) {
    SG_TRY(plan_layout(exec, SG_EXEC_FORWARD_ALONE, true));
    *bytes = exec->layout[SG_EXEC_FORWARD_ALONE].bytes;
    if (!exec->training) return SG_OK;
    SG_TRY(plan_layout(exec, SG_EXEC_BOTH, false));
    if (exec->layout[SG_EXEC_BOTH].bytes > exec->plenty) SG_TRY(plan_layout(exec, SG_EXEC_BOTH, true));
    if (exec->layout[SG_EXEC_BOTH].bytes > *bytes) *bytes = exec->layout[SG_EXEC_BOTH].bytes;
    return SG_OK;
}

/* Everything but memory. */
static int plan(sg_exec *exec) {
    exec->way = -1;
    SG_TRY(SG_NEW(&exec->layer, (size_t)exec->net->layers));
    plan_halos(exec);
    for (int l = 1; l < exec->net->layers; l++) {
        const sg_layer *layer = &exec->net->layer[l];
        exec->layer[l].output = tensor_of(exec, l, exec->layer[l].halo);
        if (layer->kind == SG_LAYER_ATTENTION)
            exec->layer[l].extra = sg_tensor_shape(exec->machine->lanes, exec->max_blocks, layer->height,
                                                   layer->heads * layer->height, 1, 0);
    }
    SG_TRY(plan_gradients(exec));
    return SG_AT(plan_parameters(exec));
}

static float *piece_at(const sg_exec *exec, int piece) {
    return exec->arena + exec->layout[exec->way].piece[piece].at / sizeof(float);
}

/* Lays a tensor over its piece. Halos that nothing else will touch are zeroed once, here. */
static void lay(const sg_exec *exec, sg_tensor *tensor, int piece) {
    sg_tensor_lay(tensor, piece_at(exec, piece));
    if (!exec->layout[exec->way].piece[piece].shared) sg_tensor_clear_halo(tensor, exec->machine->threads);
}

static int enter(sg_exec *exec, enum sg_exec_way way) {
    SG_CHECK(exec->arena != NULL, SG_INTERNAL, "an executor runs after it got no memory");
    if (exec->way == (int)way) return SG_OK;
    exec->way = (int)way;
    exec->loaded = false;
    exec->scratch = sg_conv_lay_scratch(piece_at(exec, exec->scratch_piece[way]), exec->scratch_shared[way],
                                        exec->scratch_own[way]);
    if (way == SG_EXEC_BOTH) exec->packed = piece_at(exec, exec->packed_piece);
    for (int l = 1; l < exec->net->layers; l++) {
        sg_exec_layer *own = &exec->layer[l];
        lay(exec, &own->output, own->piece[way]);
        if (exec->net->layer[l].kind == SG_LAYER_ATTENTION) lay(exec, &own->extra, own->extra_piece[way]);
        if (own->conv != NULL)
            own->packed = way == SG_EXEC_BOTH ? exec->packed : piece_at(exec, own->packed_piece);
    }
    for (int s = 0; s < exec->slots && way == SG_EXEC_BOTH; s++)
        lay(exec, &exec->slot[s], exec->first_slot_piece + s);
    return SG_OK;
}

static int provide_arena(sg_exec *exec) {
    size_t bytes;
    exec->way = -1;
    exec->loaded = false;
    SG_TRY(plan_arena(exec, &bytes));
    if (exec->arena != NULL && bytes <= exec->arena_bytes) return SG_OK;
    SG_FREE(exec->arena);
    exec->arena_bytes = bytes;
    return SG_AT(SG_NEW(&exec->arena, sg_round_up(bytes, sizeof(float)) / sizeof(float)));
}

static int fill(sg_exec *exec) {
    for (int l = 1; l < exec->net->layers; l++) SG_TRY(make_layer(exec, l));
    sg_weights *weights;
    SG_TRY(sg_weights_create(&weights, exec->net));
    int status = SG_AT(sg_survivors_create(&exec->dense, weights));
    sg_weights_destroy(&weights);
    return status == SG_OK ? SG_AT(sg_exec_set_survivors(exec, exec->dense)) : status;
}

static int local_blocks(int lanes, int ranks, int batch) {
    return sg_tree_local_blocks(sg_divide_up(batch, lanes), 0, ranks);
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
                      .density = 1.0,
                      .plenty = PLENTY,
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
        sg_conv_destroy(&e->layer[l].conv);
        free_norm(&e->layer[l].norm);
    }
    for (int way = 0; way < SG_EXEC_WAYS; way++) free(e->layout[way].piece);
    free(e->arena);
    free(e->layer);
    free(e->slot);
    free(e->slot_life);
    free(e->first_param);
    sg_survivors_destroy(&e->dense);
    sg_pixel_sums_destroy(&e->sums);
    SG_FREE(*exec);
}

int sg_exec_memory(const sg_machine *machine, const sg_net *net, double density, int ranks, int max_batch,
                   bool training, sg_exec_bytes *bytes) {
    *bytes = (sg_exec_bytes){0};
    sg_exec *planned;
    SG_TRY(SG_NEW(&planned, 1));
    *planned = (sg_exec){.machine = machine,
                         .net = net,
                         .training = training,
                         .density = density,
                         .plenty = PLENTY,
                         .max_blocks = local_blocks(machine->lanes, ranks, max_batch)};
    int status = SG_AT(plan(planned));
    if (status == SG_OK) status = SG_AT(plan_arena(planned, &bytes->arena));
    bytes->structures = planned->structures;
    sg_exec_destroy(&planned);
    return status;
}

int sg_exec_set_survivors(sg_exec *exec, const sg_survivors *survivors) {
    exec->survivors = survivors;
    for (int l = 1; l < exec->net->layers; l++)
        if (exec->layer[l].conv != NULL)
            SG_TRY(sg_conv_set_support(exec->layer[l].conv, &survivors->support[exec->net->layer[l].weight]));
    return SG_AT(provide_arena(exec));
}

const sg_reduce *sg_exec_reduce(const sg_exec *exec) { return exec->reduce; }

int sg_exec_load(sg_exec *exec, const sg_weights *weights) {
    exec->loaded = false;
    SG_TRY(enter(exec, SG_EXEC_FORWARD_ALONE));
    for (int l = 1; l < exec->net->layers; l++) {
        const sg_exec_layer *own = &exec->layer[l];
        if (own->conv == NULL) continue;
        const float *values = weights->values + exec->net->param[exec->net->layer[l].weight].offset;
        SG_TRY(sg_conv_prepare(own->conv, SG_CONV_FORWARD, values, own->packed));
    }
    exec->loaded = true;
    return SG_OK;
}

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
    if (gradients)
        sg_exec_begin(exec, &exec->slot[last->gradient], exec->first_slot_piece + last->gradient,
                      exec->net->layers);
    SG_TRY(exec->machine->variant->layers.loss(exec->machine, &extent, &last->output, batch->label,
                                               gradients ? &exec->slot[last->gradient] : NULL, &sums[0],
                                               &correct));
    sums[1] = (double)correct;
    SG_TRY(exec->reduce->combine(exec->reduce->context, sums, 2, sizeof *sums, sg_combine_double,
                                 batch->blocks));
    *result = (sg_result){.loss_sum = sums[0], .correct = (int64_t)sums[1], .samples = batch->samples};
    return SG_OK;
}

static int check_loaded(const sg_exec *exec) {
    SG_CHECK(exec->loaded, SG_INTERNAL, "evaluation before sg_exec_load");
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
    SG_TRY(enter(exec, SG_EXEC_BOTH));
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
    SG_TRY(check_loaded(exec));
    SG_TRY(sg_exec_forward(exec, (sg_weights *)weights, batch, SG_EXEC_EVALUATE, 1.0, 0, 0));
    if (logits != NULL) copy_logits(exec, batch, logits);
    return SG_AT(measure(exec, batch, false, result));
}

int sg_exec_recalibrate(sg_exec *exec, sg_weights *weights, const sg_batch *batch, double alpha) {
    SG_TRY(check_batch(exec, batch));
    SG_TRY(check_loaded(exec));
    return SG_AT(sg_exec_forward(exec, weights, batch, SG_EXEC_RECALIBRATE, alpha, 0, 0));
}
