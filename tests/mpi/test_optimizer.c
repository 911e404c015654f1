/* Ranks that have joined and each make a share of every step: the bits of a rank that makes them alone. */
#include <string.h>

#include "kernels/memory.h"
#include "kernels/optimizer.h"
#include "kernels/rng.h"
#include "pipeline/comm.h"
#include "tests/mpi/check.h"

enum { SEED = 3, STEPS = 4 };

static const sg_optimizer_options sgd = {.kind = SG_SGD, .momentum = 0.9, .weight_decay = 5e-4};
static const sg_optimizer_options adam = {
    .kind = SG_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 1e-2};

static sg_comm *world;
static sg_net *net;

static float draw(uint32_t what, size_t i) {
    return sg_uniform(sg_rng(SEED, SG_RNG_TEST, what, (uint32_t)i, 0).word[0]) - 0.5f;
}

/* A network with a fifth of its prunable weights, the same on every rank. */
static void make(sg_weights **weights, sg_survivors **survivors) {
    CHECK_OK(sg_weights_create(weights, net));
    for (int p = 0; p < net->params; p++)
        for (size_t i = net->param[p].offset; i < net->param[p].offset + net->param[p].count; i++)
            (*weights)->mask[i] = net->param[p].role != SG_ROLE_WEIGHT || p == 0 || draw(0, i) < -0.3f;
    sg_weights_init(*weights, SEED);
    CHECK_OK(sg_survivors_create(survivors, *weights));
}

static void run_steps(sg_optimizer *optimizer, sg_weights *weights, const sg_survivors *survivors,
                      const int8_t *sign, uint32_t first) {
    sg_machine machine = {.threads = 2};
    float *gradient;
    CHECK_OK(SG_NEW(&gradient, survivors->total));
    for (uint32_t step = first; step < first + STEPS; step++) {
        for (size_t i = 0; i < survivors->total; i++) gradient[i] = draw(1 + step, i);
        CHECK_OK(sg_optimizer_step(optimizer, &machine, weights, survivors, gradient, 0.1, sign));
    }
    free(gradient);
}

static void check_same(const float *got, const float *expected, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        CHECK(memcmp(&got[i], &expected[i], sizeof *got) == 0, "%s, element %zu: %a, expected %a", what, i,
              (double)got[i], (double)expected[i]);
}

static void compare(const sg_optimizer_options *options, const int8_t *sign) {
    sg_reduce reduce;
    sg_weights *weights, *twin;
    sg_survivors *survivors, *twin_survivors;
    sg_optimizer *optimizer, *alone;
    CHECK_OK(sg_comm_reduce(world, 2, &reduce));
    make(&weights, &survivors);
    make(&twin, &twin_survivors);
    CHECK_OK(sg_optimizer_create(&optimizer, options, survivors));
    CHECK_OK(sg_optimizer_create(&alone, options, twin_survivors));
    const float *own = weights->values;
    for (uint32_t round = 0; round < 2; round++) { /* the second goes on with moments of the first */
        CHECK_OK(sg_optimizer_join(optimizer, weights, &reduce));
        CHECK((weights->values != own) == (reduce.size > 1), "%d ranks share %d copies", reduce.size,
              weights->values != own);
        run_steps(optimizer, weights, survivors, sign, round * STEPS);
        run_steps(alone, twin, twin_survivors, sign, round * STEPS);
        check_same(weights->values, twin->values, net->values, "joined value");
        sg_optimizer_leave(optimizer, weights);
        CHECK(weights->values == own, "the values are not back in their place");
        check_same(weights->values, twin->values, net->values, "value");
        check_same(optimizer->first, alone->first, survivors->total, "first moment");
        if (alone->second != NULL)
            check_same(optimizer->second, alone->second, survivors->total, "second moment");
    }
    sg_optimizer_destroy(&optimizer);
    sg_optimizer_destroy(&alone);
    sg_survivors_destroy(&survivors);
    sg_survivors_destroy(&twin_survivors);
    sg_weights_destroy(&weights);
    sg_weights_destroy(&twin);
}

static void shares_of_sgd_make_the_whole_step(void) { compare(&sgd, NULL); }
static void shares_of_adam_make_the_whole_step(void) { compare(&adam, NULL); }

static void shares_keep_frozen_signs(void) {
    int8_t *sign;
    CHECK_OK(SG_NEW(&sign, net->values));
    for (size_t i = 0; i < net->values; i++) sign[i] = (int8_t)((int)(i % 3) - 1);
    compare(&sgd, sign);
    free(sign);
}

int main(int argc, char **argv) {
    sg_net_options options = {.arch = "resnet20",
                              .classes = 7,
                              .channels = 3,
                              .image_height = 8,
                              .image_width = 8,
                              .dropout = -1.0};
    MPI_Init(&argc, &argv);
    CHECK_OK(sg_comm_create(&world, MPI_COMM_WORLD));
    CHECK_OK(sg_net_create(&net, &options));
    RUN(shares_of_sgd_make_the_whole_step);
    RUN(shares_of_adam_make_the_whole_step);
    RUN(shares_keep_frozen_signs);
    sg_net_destroy(&net);
    sg_comm_destroy(&world);
    MPI_Finalize();
    return 0;
}
