/* What the passes of a layer do and move at least. */
#include <math.h>
#include <string.h>

#include "pipeline/bench.h"

const char *sg_bench_kind(const sg_layer *layer) {
    bool linear = layer->kind == SG_LAYER_CONV && sg_conv_is_linear(&layer->conv);
    return linear ? "linear" : sg_layer_kind_name(layer->kind);
}

/* Values of one sample. */
static double values(const sg_layer *layer) {
    return (double)layer->channels * (double)layer->height * (double)layer->width;
}

/* Products of one sample: `side` x `side` for each tile. */
static double winograd_products(const sg_conv_shape *s, int tile, int side) {
    double rows = ceil((double)s->out_height / tile), columns = ceil((double)s->out_width / tile);
    return rows * columns * (double)(side * side) * (double)s->in_channels * (double)s->out_channels;
}

static void conv_work(const sg_bench *b, const sg_layer *layer, enum sg_exec_part part, sg_work *work) {
    static const enum sg_conv_pass_kind pass[] = {[SG_EXEC_FORWARD] = SG_CONV_FORWARD,
                                                  [SG_EXEC_WEIGHT_GRADIENT] = SG_CONV_WEIGHT_GRADIENT,
                                                  [SG_EXEC_DATA_GRADIENT] = SG_CONV_DATA_GRADIENT};
    const sg_conv_shape *s = &layer->conv;
    const sg_support *support = &b->survivors->support[layer->weight];
    double samples = b->local_samples, pixels = (double)s->out_height * (double)s->out_width;
    double weights = (double)sg_conv_weights(s);
    work->algorithm = sg_conv_choose(b->machine, s, support, pass[part])->name;
    work->direct = 2.0 * weights * pixels * samples;
    work->flop = work->direct;
    if (strcmp(work->algorithm, "sparse") == 0) work->flop = 2.0 * (double)support->count * pixels * samples;
    if (strcmp(work->algorithm, "winograd4") == 0) work->flop = 2.0 * winograd_products(s, 4, 6) * samples;
    if (strcmp(work->algorithm, "winograd2") == 0) work->flop = 2.0 * winograd_products(s, 2, 4) * samples;
    if (strcmp(work->algorithm, "winograd4s2") == 0) work->flop = 2.0 * winograd_products(s, 4, 9) * samples;
    double x = (double)s->in_channels * (double)s->in_height * (double)s->in_width;
    work->bytes = sizeof(float) * ((x + values(layer)) * samples + (double)support->count);
}

/* Tensors read and written, in values of one sample: x and y stand for their gradients too. Batch norm's sums
 * come before its pass: who writes its input, or dy, can make them, but for the gradient's they read x again.
 */
static double moved(const sg_bench *b, const sg_layer *layer, bool forward) {
    const sg_layer *in = &b->net->layer[layer->input[0]];
    double x = values(in), y = values(layer);
    double second = layer->input[1] >= 0 ? values(&b->net->layer[layer->input[1]]) : 0.0;
    switch (layer->kind) {
    case SG_LAYER_BATCH_NORM:
        return forward ? x + second + y : 2.0 * x + y + x + 2.0 * second;
    case SG_LAYER_LAYER_NORM:
    case SG_LAYER_ACTIVATION:
        return forward ? x + y : x + y + x;
    case SG_LAYER_MAX_POOL:
        return forward ? x + y : 2.0 * (x + y);
    case SG_LAYER_SCALE:
        return forward ? x + second + y : 2.0 * (x + second) + y;
    case SG_LAYER_ATTENTION: {
        double probabilities = (double)layer->heads * (double)layer->height * (double)layer->height;
        return forward ? x + probabilities + y : 2.0 * x + probabilities + y;
    }
    default:
        return x + second + y;
    }
}

bool sg_bench_work(const sg_bench *b, int l, enum sg_exec_part part, sg_work *work) {
    const sg_layer *layer = &b->net->layer[l];
    bool forward = part == SG_EXEC_FORWARD;
    *work = (sg_work){.algorithm = ""};
    if (layer->kind == SG_LAYER_INPUT) return false;
    if (part == SG_EXEC_DATA_GRADIENT && layer->input[0] == 0 && layer->kind == SG_LAYER_CONV) return false;
    if (part == SG_EXEC_WEIGHT_GRADIENT && layer->kind != SG_LAYER_CONV) return false;
    if (layer->kind == SG_LAYER_CONV) {
        conv_work(b, layer, part, work);
        return true;
    }
    work->bytes = sizeof(float) * moved(b, layer, forward) * b->local_samples;
    if (layer->kind == SG_LAYER_ATTENTION) { /* Q K^T and P V; backward two products for each */
        double tokens = layer->height;
        work->direct = work->flop =
            (forward ? 4.0 : 8.0) * tokens * tokens * (double)layer->channels * b->local_samples;
    }
    return true;
}

double sg_bench_roofline(const sg_peak *peak, const sg_work *work) {
    double bandwidth = work->bytes <= (double)peak->cache_bytes ? peak->cache : peak->memory;
    double compute = work->flop / peak->all, move = work->bytes / bandwidth;
    return compute > move ? compute : move;
}

void sg_bench_step_work(const sg_bench *b, sg_work *work, double *roofline) {
    static const enum sg_exec_part parts[] = {SG_EXEC_FORWARD, SG_EXEC_WEIGHT_GRADIENT,
                                              SG_EXEC_DATA_GRADIENT};
    *work = (sg_work){.algorithm = ""};
    *roofline = 0.0;
    for (int l = 1; l < b->net->layers; l++)
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            sg_work one;
            if (!sg_bench_work(b, l, parts[p], &one)) continue;
            work->flop += one.flop;
            work->direct += one.direct;
            work->bytes += one.bytes;
            *roofline += sg_bench_roofline(&b->peak, &one);
        }
}
