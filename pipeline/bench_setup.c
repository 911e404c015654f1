/* A network with a random mask and a random minibatch, ready to train. */
#include <stdlib.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/tree.h"
#include "pipeline/bench.h"
#include "pipeline/session.h"
#include "pipeline/world.h"

enum { CLASSES = 100, CHANNELS = 3, PIXELS = 32, USUAL_BATCH = 128, SEED = 1 };
enum { DRAW_MASK = 1, DRAW_IMAGE, DRAW_LABEL };
/* Small, so that many steps on one minibatch of noise stay finite in every network. */
static const double LEARNING_RATE = 1e-3;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sg_bench_median(double *seconds, int count) {
    qsort(seconds, (size_t)count, sizeof *seconds, ascending);
    return 0.5 * (seconds[(count - 1) / 2] + seconds[count / 2]);
}

static float uniform(uint32_t what, uint32_t number, size_t i) {
    return sg_uniform(sg_rng(SEED, SG_RNG_TEST, what, number, (uint32_t)(i / 4)).word[i % 4]);
}

static int make_network(sg_bench *b, const sg_cli *cli) {
    sg_net_options options = {.arch = cli->arch != NULL ? cli->arch : "resnet20",
                              .classes = CLASSES,
                              .channels = CHANNELS,
                              .image_height = PIXELS,
                              .image_width = PIXELS,
                              .dropout = -1.0};
    sg_optimizer_options optimizer = {.kind = SG_SGD, .momentum = 0.9, .weight_decay = 5e-4};
    double density = cli->density > 0.0 ? cli->density : 1.0;
    SG_TRY(sg_net_create(&b->net, &options));
    SG_TRY(sg_weights_create(&b->weights, b->net));
    for (int p = 0; p < b->net->params && density < 1.0; p++) {
        const sg_param *param = &b->net->param[p];
        for (size_t i = 0; i < param->count && param->role == SG_ROLE_WEIGHT; i++)
            b->weights->mask[param->offset + i] = uniform(DRAW_MASK, (uint32_t)p, i) < (float)density;
    }
    sg_weights_init(b->weights, SEED);
    SG_TRY(sg_survivors_create(&b->survivors, b->weights));
    return SG_AT(sg_optimizer_create(&b->optimizer, &optimizer, b->survivors));
}

static int make_batch(sg_bench *b, int samples) {
    int lanes = b->machine->lanes, blocks = sg_divide_up(samples, lanes);
    int local = sg_tree_local_blocks(blocks, b->reduce.rank, b->reduce.size);
    size_t image = (size_t)CHANNELS * PIXELS * PIXELS;
    float *pixels;
    b->batch = (sg_batch){.samples = samples, .blocks = blocks};
    SG_TRY(
        sg_tensor_init(&b->batch.input, lanes, local, CHANNELS, PIXELS, PIXELS, sg_exec_input_halo(b->net)));
    SG_TRY(SG_NEW(&b->batch.label, (size_t)local * (size_t)lanes));
    SG_TRY(SG_NEW(&b->batch.sample, (size_t)local * (size_t)lanes));
    for (int i = 0; i < local * lanes; i++) {
        int block = i / lanes, number = (block * b->reduce.size + b->reduce.rank) * lanes + i % lanes;
        b->batch.label[i] =
            number < samples ? (int32_t)(uniform(DRAW_LABEL, 0, (size_t)number) * (float)CLASSES) : -1;
        b->batch.sample[i] = (uint32_t)number;
        b->local_samples += number < samples;
    }
    /* Only the last local block can be incomplete, so the local samples are the first ones. */
    SG_TRY(SG_NEW(&pixels, image * (size_t)b->local_samples));
    for (int i = 0; i < b->local_samples; i++)
        for (size_t k = 0; k < image; k++)
            pixels[(size_t)i * image + k] = 2.0f * uniform(DRAW_IMAGE, b->batch.sample[i], k) - 1.0f;
    sg_tensor_from_nchw(&b->batch.input, pixels, b->local_samples);
    free(pixels);
    return SG_OK;
}

static int make_exec(sg_bench *b, const sg_cli *cli) {
    SG_TRY(make_network(b, cli));
    SG_TRY(make_batch(b, cli->batch > 0 ? cli->batch : USUAL_BATCH));
    SG_TRY(sg_exec_create(&b->exec, b->machine, b->net, &b->reduce, b->batch.samples, true));
    SG_TRY(sg_exec_set_survivors(b->exec, b->survivors));
    SG_TRY(b->reduce.allocate(b->reduce.context, b->survivors->total, &b->gradient));
    return SG_AT(sg_optimizer_join(b->optimizer, b->weights, &b->reduce));
}

int sg_bench_open(sg_bench *b, const sg_cli *cli) {
    *b = (sg_bench){0};
    SG_TRY(sg_world_open(&b->world));
    SG_TRY(sg_session_machine(&b->machine, b->world, cli->isa != NULL ? cli->isa : "auto",
                              cli->blis != NULL ? cli->blis : "auto", cli->threads));
    int samples = cli->batch > 0 ? cli->batch : USUAL_BATCH;
    int blocks = sg_divide_up(samples, b->machine->lanes), rank = sg_comm_rank(b->world);
    int members = sg_tree_ranks(blocks, sg_comm_size(b->world));
    SG_TRY(sg_comm_split(&b->comm, b->world, rank < members ? 0 : -1, rank));
    if (b->comm == NULL) return SG_OK;
    SG_TRY(sg_comm_reduce(b->comm, b->machine->threads, &b->reduce));
    SG_TRY(sg_comm_agree(b->comm, SG_AT(make_exec(b, cli))));
    return SG_AT(sg_bench_measure_peak(&b->peak, b->comm, b->machine));
}

int sg_bench_close(sg_bench *b, int status) {
    sg_exec_destroy(&b->exec);
    if (b->gradient != NULL) b->reduce.release(b->reduce.context, &b->gradient);
    if (b->optimizer != NULL) sg_optimizer_leave(b->optimizer, b->weights);
    sg_optimizer_destroy(&b->optimizer);
    sg_survivors_destroy(&b->survivors);
    sg_weights_destroy(&b->weights);
    sg_net_destroy(&b->net);
    sg_tensor_release(&b->batch.input);
    free(b->batch.label);
    free(b->batch.sample);
    sg_machine_destroy(&b->machine);
    sg_comm_destroy(&b->comm);
    /* Ranks without a part would spin, and take the others' cores, in what ends the program. */
    if (b->world != NULL) {
        int waited = SG_AT(sg_comm_barrier_quietly(b->world));
        if (status == SG_OK) status = waited;
    }
    return sg_world_close(&b->world, status);
}

int sg_bench_step(sg_bench *b) {
    sg_result result;
    SG_TRY(sg_exec_train(b->exec, b->weights, &b->batch, 1.0, SEED, b->steps++, b->gradient, &result));
    double began = sg_clock_now();
    SG_TRY(sg_optimizer_step(b->optimizer, b->machine, b->weights, b->survivors, b->gradient, LEARNING_RATE,
                             NULL));
    b->optimizer_seconds = sg_clock_now() - began;
    return SG_OK;
}
