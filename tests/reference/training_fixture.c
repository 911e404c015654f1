#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/select.h"
#include "tests/reference/status.h"
#include "tests/reference/training_fixture.h"

static float uniform(uint32_t a, uint32_t b) { return sg_uniform(sg_rng(3, SG_RNG_TEST, a, b, 0).word[0]); }

/* Noise whose first pixel tells the class. A shuffled order begins elsewhere in each epoch. */
static int get(void *context, const sg_order *order, uint32_t epoch, uint32_t index, const sg_batch **batch) {
    training_fixture *f = context;
    float pixels[BATCH * IMAGE];
    uint32_t first = index * BATCH, count = index == 0 ? BATCH : SAMPLES - BATCH;
    uint32_t shift = order->shuffle ? sg_rng(order->seed, SG_RNG_TEST, epoch, 1, 1).word[0] % SAMPLES : 0;
    f->batch.samples = (int)count;
    f->batch.blocks = sg_divide_up((int)count, f->machine->lanes);
    f->batch.input.blocks = f->batch.blocks;
    for (int i = 0; i < f->batch.blocks * f->machine->lanes; i++)
        f->batch.label[i] = -1, f->batch.sample[i] = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t sample = (first + i + shift) % SAMPLES;
        f->batch.label[i] = (int32_t)(sample % CLASSES);
        f->batch.sample[i] = sample;
        for (uint32_t k = 0; k < IMAGE; k++) pixels[i * IMAGE + k] = uniform(sample, k) - 0.5f;
        pixels[i * IMAGE] += (float)(sample % CLASSES);
    }
    sg_tensor_from_nchw(&f->batch.input, pixels, (int)count);
    *batch = &f->batch;
    return SG_OK;
}

static int step(void *context, const sg_progress *progress) {
    training_fixture *f = context;
    f->path_points += strcmp(progress->phase, "path") == 0;
    if (f->steps_left < 0 || f->steps_left-- > 0) return SG_OK;
    return SG_FAIL(SG_INTERRUPTED, "stopped by the test");
}

void training_fixture_create(training_fixture *f, const char *arch) {
    memset(f, 0, sizeof *f);
    sg_net_options options = {.arch = arch,
                              .classes = CLASSES,
                              .width = strcmp(arch, "mlp") == 0 ? 12 : 4,
                              .channels = 3,
                              .image_height = PIXELS,
                              .image_width = PIXELS,
                              .dropout = -1.0};
    assert_ok(sg_machine_create(&f->machine, "auto", "auto", 1));
    assert_ok(sg_net_create(&f->net, &options));
    assert_ok(sg_exec_create(&f->exec, f->machine, f->net, &sg_reduce_alone, BATCH, true));
    int room = sg_divide_up(BATCH, f->machine->lanes);
    assert_ok(sg_tensor_init(&f->batch.input, f->machine->lanes, room, 3, PIXELS, PIXELS,
                             sg_exec_input_halo(f->net)));
    assert_ok(SG_NEW(&f->batch.label, (size_t)(room * f->machine->lanes)));
    assert_ok(SG_NEW(&f->batch.sample, (size_t)(room * f->machine->lanes)));
    f->source = (sg_source){
        .context = f, .samples = SAMPLES, .minibatches = MINIBATCHES, .classes = CLASSES, .get = get};
    f->env = (sg_env){.machine = f->machine,
                      .net = f->net,
                      .exec = f->exec,
                      .train = &f->source,
                      .test = &f->source,
                      .context = f,
                      .step = step};
    f->steps_left = -1;
}

void training_fixture_destroy(training_fixture *f) {
    sg_tensor_release(&f->batch.input);
    free(f->batch.label);
    free(f->batch.sample);
    sg_exec_destroy(&f->exec);
    sg_net_destroy(&f->net);
    sg_machine_destroy(&f->machine);
}

const sg_train_options training_fixture_usual = {
    .epochs = 3,
    .schedule = SG_SCHEDULE_STEP,
    .lr = 0.1,
    .optimizer = {.kind = SG_SGD, .momentum = 0.9, .weight_decay = 5e-4},
    .alpha_low = 0.0,
    .alpha_high = 1.0,
    .seed = 5,
    .shuffle = true,
    .keep_epoch = -1};

sg_weights *training_fixture_weights(const training_fixture *f, uint64_t seed, double pruned) {
    sg_weights *weights;
    assert_ok(sg_weights_create(&weights, f->net));
    sg_weights_init(weights, seed);
    if (pruned > 0.0) assert_ok(sg_prune_global(weights, pruned, NULL));
    return weights;
}

sg_training *training_fixture_begin_pruned(const training_fixture *f, const sg_train_options *options,
                                           double pruned) {
    sg_training *training;
    assert_ok(sg_training_create(&training, training_fixture_weights(f, 1, pruned), options));
    return training;
}

sg_training *training_fixture_begin(const training_fixture *f, const sg_train_options *options) {
    return training_fixture_begin_pruned(f, options, 0.5);
}

void training_fixture_same(const sg_weights *came, const sg_weights *expected) {
    for (size_t i = 0; i < expected->net->values; i++)
        if (memcmp(&came->values[i], &expected->values[i], sizeof(float)) != 0)
            fail_msg("value %zu is %a, expected %a", i, (double)came->values[i], (double)expected->values[i]);
    size_t tracked = expected->net->channels_tracked * sizeof(float);
    assert_memory_equal(came->mean, expected->mean, tracked);
    assert_memory_equal(came->variance, expected->variance, tracked);
    assert_int_equal(came->batches, expected->batches);
}
