/* `signet bench algorithms`: every algorithm that can do a convolution's passes, beside the one that is
 * chosen. Each runs alone, again and again, on tensors of the layer's size, and its shortest time counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "kernels/variant.h"
#include "pipeline/bench.h"

enum { ALGORITHMS = 6, LEAST_RUNS = 3, MOST_RUNS = 200, STEPS = 5 };
static const double LEAST_SECONDS = 0.03; /* spent on one algorithm */

static const char *const pass_name[SG_CONV_PASSES] = {"forward", "data_gradient", "weight_gradient"};

/* One layer's tensors; x and y stand for their gradients too. */
typedef struct layer_data {
    const sg_conv_shape *shape;
    sg_tensor x, y, dx, dy;
    const float *weights;
    float *dw;
} layer_data;

typedef struct timing {
    const char *name;
    double seconds;
} timing;

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

/* Values in the samples' lanes alone: halo and padding stay zero. */
static void randomise(sg_tensor *t) {
    uint32_t random = 1;
    for (int b = 0; b < t->blocks; b++)
        for (int i = 0; i < t->height; i++)
            for (int j = 0; j < t->width; j++) {
                float *pixel = sg_tensor_at(t, b, i, j);
                for (int k = 0; k < t->channels * t->lanes; k++)
                    pixel[k] = (float)(next_random(&random) >> 8) * 0x1p-24f - 0.5f;
            }
}

static int make_data(layer_data *d, const sg_bench *b, const sg_layer *layer) {
    const sg_conv_shape *s = d->shape = &layer->conv;
    int lanes = b->machine->lanes, blocks = b->batch.input.blocks;
    SG_TRY(sg_tensor_init(&d->x, lanes, blocks, s->in_channels, s->in_height, s->in_width,
                          sg_conv_input_halo(s)));
    SG_TRY(sg_tensor_init(&d->y, lanes, blocks, s->out_channels, s->out_height, s->out_width, 0));
    SG_TRY(sg_tensor_init(&d->dx, lanes, blocks, s->in_channels, s->in_height, s->in_width, 0));
    SG_TRY(sg_tensor_init(&d->dy, lanes, blocks, s->out_channels, s->out_height, s->out_width,
                          sg_conv_gradient_halo(s)));
    randomise(&d->x);
    randomise(&d->dy);
    d->weights = b->weights->values + b->net->param[layer->weight].offset;
    return SG_AT(SG_NEW(&d->dw, sg_conv_weights(s)));
}

static void free_data(layer_data *d) {
    sg_tensor_release(&d->x), sg_tensor_release(&d->y);
    sg_tensor_release(&d->dx), sg_tensor_release(&d->dy);
    free(d->dw);
}

static int time_algorithm(const sg_bench *b, const sg_conv_algorithm *a, const sg_support *support,
                          layer_data *d, double *seconds) {
    sg_conv_pass pass = {.blocks = d->x.blocks,
                         .x = &d->x,
                         .dy = &d->dy,
                         .y = &d->y,
                         .dx = &d->dx,
                         .dw = d->dw,
                         .weights = d->weights};
    sg_conv_bytes bytes = a->bytes(b->machine, d->shape, support, pass.blocks);
    float *packed, *scratch = NULL;
    void *state = NULL;
    double spent = 0.0;
    SG_TRY(SG_NEW(&packed, bytes.packed / sizeof(float)));
    size_t all = sg_conv_scratch_bytes(bytes.shared, bytes.own, b->machine->threads);
    int status = SG_AT(SG_NEW(&scratch, all / sizeof *scratch));
    pass.scratch = sg_conv_lay_scratch(scratch, bytes.shared, bytes.own);
    pass.packed = packed;
    if (status == SG_OK) status = SG_AT(a->create(&state, b->machine, d->shape, support));
    for (int run = -1; status == SG_OK && run < MOST_RUNS && (run < LEAST_RUNS || spent < LEAST_SECONDS);
         run++) {
        double began = sg_clock_now();
        if (a->prepare != NULL) status = SG_AT(a->prepare(state, d->weights, packed));
        if (status == SG_OK) status = SG_AT(a->run(state, &pass));
        double took = sg_clock_now() - began;
        if (run < 0) continue;
        if (run == 0 || took < *seconds) *seconds = took;
        spent += took;
    }
    a->destroy(&state);
    free(packed);
    free(scratch);
    return status;
}

/* All algorithms of one pass of a layer. */
static int time_pass(const sg_bench *b, const sg_support *support, enum sg_conv_pass_kind kind, layer_data *d,
                     timing *timings, int *count) {
    const sg_variant *v = b->machine->variant;
    const sg_conv_algorithm *all[ALGORITHMS] = {&v->direct[kind],    &v->winograd4[kind],
                                                &v->winograd2[kind], &v->winograd4s2[kind],
                                                &v->sparse[kind],    &v->depthwise[kind]};
    *count = 0;
    for (int i = 0; i < ALGORITHMS; i++) {
        if (all[i]->name == NULL || !all[i]->supports(b->machine, d->shape)) continue;
        timings[*count].name = all[i]->name;
        SG_TRY(time_algorithm(b, all[i], support, d, &timings[*count].seconds));
        (*count)++;
    }
    return SG_OK;
}

typedef struct totals {
    double chosen, best;
} totals;

static void print_pass(const sg_layer *layer, int layers, const char *pass, const char *chosen,
                       const timing *timings, int count, bool json, totals *sum) {
    const timing *best = &timings[0], *own = &timings[0];
    for (int i = 0; i < count; i++) {
        if (timings[i].seconds < best->seconds) best = &timings[i];
        if (strcmp(timings[i].name, chosen) == 0) own = &timings[i];
    }
    sum->chosen += layers * own->seconds;
    sum->best += layers * best->seconds;
    if (json)
        printf("{\"record\":\"algorithms\",\"layer\":\"%s\",\"layers\":%d,\"pass\":\"%s\",\"chosen\":\"%s\","
               "\"best\":\"%s\",\"ms\":{",
               layer->name, layers, pass, chosen, best->name);
    else
        printf("%-26.26s x%-2d %-15s %-11s %5.2f ", layer->name, layers, pass, chosen,
               own->seconds / best->seconds);
    for (int i = 0; i < count; i++)
        printf(json ? "%s\"%s\":%.5f" : "%s%s %.3f", json ? (i > 0 ? "," : "") : "  ", timings[i].name,
               1e3 * timings[i].seconds);
    printf(json ? "}}\n" : "\n");
}

/* Layers from `layer` on that have its shape and its share of the weights, which the random mask makes alike;
 * 0 when an earlier one stands for it. */
static int alike(const sg_net *net, int layer) {
    int count = 0;
    for (int l = 1; l < net->layers; l++) {
        if (net->layer[l].kind != SG_LAYER_CONV ||
            memcmp(&net->layer[l].conv, &net->layer[layer].conv, sizeof net->layer[l].conv) != 0 ||
            (net->layer[l].input[0] == 0) != (net->layer[layer].input[0] == 0) ||
            net->param[net->layer[l].weight].role != net->param[net->layer[layer].weight].role)
            continue;
        if (l < layer) return 0;
        count++;
    }
    return count;
}

static int time_layer(const sg_bench *b, int l, int layers, bool json, totals *sum) {
    const sg_layer *layer = &b->net->layer[l];
    const sg_support *support = &b->survivors->support[layer->weight];
    layer_data d = {0};
    int status = SG_AT(make_data(&d, b, layer));
    for (int kind = 0; status == SG_OK && kind < SG_CONV_PASSES; kind++) {
        timing timings[ALGORITHMS];
        int count;
        if (kind == SG_CONV_DATA_GRADIENT && layer->input[0] == 0) continue;
        status = SG_AT(time_pass(b, support, (enum sg_conv_pass_kind)kind, &d, timings, &count));
        if (status != SG_OK) break;
        const char *chosen = sg_conv_choose(b->machine, d.shape, support, (enum sg_conv_pass_kind)kind)->name;
        print_pass(layer, layers, pass_name[kind], chosen, timings, count, json, sum);
    }
    free_data(&d);
    return status;
}

int sg_bench_algorithms(sg_bench *b, const sg_cli *cli) {
    SG_CHECK(b->reduce.size == 1, SG_USAGE, "bench algorithms: measures one rank; start it without mpirun");
    totals sum = {0};
    double steps[STEPS];
    SG_TRY(sg_bench_step(b));
    for (int i = 0; i < STEPS; i++) {
        double began = sg_clock_now();
        SG_TRY(sg_bench_step(b));
        steps[i] = sg_clock_now() - began;
    }
    double step = sg_bench_median(steps, STEPS);
    if (!cli->json)
        printf("%-26s %-3s %-15s %-11s %5s   milliseconds of each that can\n", "layer", "", "pass", "chosen",
               "/best");
    for (int l = 1; l < b->net->layers; l++) {
        if (b->net->layer[l].kind != SG_LAYER_CONV) continue;
        int layers = alike(b->net, l);
        if (layers > 0) SG_TRY(time_layer(b, l, layers, cli->json, &sum));
    }
    double lost = sum.chosen - sum.best;
    if (cli->json)
        printf("{\"record\":\"choice\",\"net\":\"%s\",\"batch\":%d,\"density\":%.6g,\"chosen_ms\":%.4f,"
               "\"best_ms\":%.4f,\"step_ms\":%.4f,\"lost_share\":%.5f}\n",
               b->net->arch, b->batch.samples, sg_weights_density(b->weights), 1e3 * sum.chosen,
               1e3 * sum.best, 1e3 * step, lost / step);
    else
        printf(
            "\nconvolutions as chosen %.3f ms, each by its fastest %.3f ms: %.1f %% of a step of %.3f ms\n",
            1e3 * sum.chosen, 1e3 * sum.best, 100.0 * lost / step, 1e3 * step);
    return SG_OK;
}
