/* Batch norm: every variant against the double twin, and bits that depend on nothing but the input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/reference/layer_fixture.h"

/* Tolerances, relative to the largest magnitude of the tensor (at least 1). Forward: the float mean and inverse
 * and three operations, about 5e-7. Backward: the same, with sums of up to thousands of terms whose parts are
 * float over 64 pixels. */
enum { NONE, RESIDUAL, ACCUMULATED };
#define FORWARD_TOLERANCE 2e-6
#define BACKWARD_TOLERANCE 5e-6

typedef struct parameters {
    double *gamma, *beta, *mean, *variance, *dgamma, *dbeta; /* the twin's */
    sg_norm_batch n;
} parameters;

static parameters make_parameters(layer_run *run, int channels, enum sg_activation activation) {
    size_t c = (size_t)channels;
    parameters p = {.gamma = layer_random(run, c, 1, 0.5), .beta = layer_random(run, c, 0, 0.5),
                    .mean = layer_zeros(run, c), .variance = layer_zeros(run, c), .dgamma = layer_zeros(run, c),
                    .dbeta = layer_zeros(run, c)};
    p.n = (sg_norm_batch){.gamma = layer_floats(run, p.gamma, c), .beta = layer_floats(run, p.beta, c),
                          .mean = layer_floats(run, NULL, c), .inverse = layer_floats(run, NULL, c),
                          .variance = layer_zeros(run, c), .mean64 = layer_zeros(run, c), .dgamma = layer_floats(run, NULL, c),
                          .dbeta = layer_floats(run, NULL, c), .activation = activation};
    return p;
}

static void one_shape(layer_run *run, ref_shape s, enum sg_activation activation, int residual_mode, bool in_place) {
    size_t count = ref_count(s), channels = (size_t)s.channels;
    parameters p = make_parameters(run, s.channels, activation);
    double *x = layer_random(run, count, 0.3, 1.7), *dy = layer_random(run, count, 0, 1);
    double *residual = residual_mode ? layer_random(run, count, 0, 1) : NULL;
    double *before = residual_mode == ACCUMULATED ? layer_random(run, count, 0, 1) : layer_zeros(run, count);
    double *y = layer_zeros(run, count), *dx = layer_zeros(run, count);
    ref_norm_batch_forward(s, x, p.gamma, p.beta, residual, activation, 1e-5, p.mean, p.variance, y);

    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 0, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 1, NULL, 0);
    sg_tensor *tdy = layer_tensor(run, s, 1, dy, LAYER_GRADIENT), *tdr = layer_tensor(run, s, 1, before, 0);
    sg_tensor *tdx = in_place ? tdy : layer_tensor(run, s, 0, NULL, 5);
    sg_tensor *r = residual_mode ? layer_tensor(run, s, 2, residual, LAYER_ACTIVATION) : NULL;
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, tx, &p.n), SG_OK);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, r, ty, &p.n), SG_OK);
    for (size_t c = 0; c < channels; c++) {
        if (fabs(p.n.mean64[c] - p.mean[c]) > 1e-6 * fmax(1, fabs(p.mean[c])))
            fail_msg("mean of channel %zu is %.12g, expected %.12g", c, p.n.mean64[c], p.mean[c]);
        if (fabs(p.n.variance[c] - p.variance[c]) > 1e-6 * fmax(1, p.variance[c]))
            fail_msg("variance of channel %zu is %.12g, expected %.12g", c, p.n.variance[c], p.variance[c]);
    }
    layer_check(run, "y", ty, s, y, FORWARD_TOLERANCE, false);

    ref_norm_batch_backward(s, x, p.gamma, p.beta, residual, activation, 1e-5, dy, dx, before, p.dgamma, p.dbeta);
    assert_int_equal(run->k->norm_batch_backward(run->m, &extent, tx, ty, r, tdy, tdx,
                                                 residual_mode ? tdr : NULL, residual_mode == ACCUMULATED, &p.n),
                     SG_OK);
    layer_check(run, "dx", tdx, s, dx, BACKWARD_TOLERANCE, true);
    if (residual_mode) layer_check(run, "dresidual", tdr, s, before, BACKWARD_TOLERANCE, true);
    layer_check_floats(run, "dgamma", p.n.dgamma, channels, p.dgamma, BACKWARD_TOLERANCE);
    layer_check_floats(run, "dbeta", p.n.dbeta, channels, p.dbeta, BACKWARD_TOLERANCE);

}

static const ref_shape shapes[] = {{33, 3, 5, 7}, {16, 35, 3, 3}, {5, 64, 1, 1}, {17, 1, 2, 70}, {32, 8, 9, 4}};

static void without_residual(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = SG_IDENTITY; kind <= SG_SWISH; kind++)
            one_shape(run, shapes[i], (enum sg_activation)kind, NONE, i % 2);
}

static void with_residual(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = SG_IDENTITY; kind <= SG_SWISH; kind++)
            one_shape(run, shapes[i], (enum sg_activation)kind, i % 2 ? RESIDUAL : ACCUMULATED, i % 3 == 0);
}

/* Mean 1000, standard deviation 1: E[x^2] - E[x]^2 in float would give nothing but noise. The output's error is
 * that of the mean's rounding to float, 3e-5. */
static void large_mean(layer_run *run) {
    ref_shape s = {33, 5, 6, 6};
    parameters p = make_parameters(run, s.channels, SG_IDENTITY);
    double *x = layer_random(run, ref_count(s), 1000, 1), *y = layer_zeros(run, ref_count(s));
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 0, NULL, 0);
    ref_norm_batch_forward(s, x, p.gamma, p.beta, NULL, SG_IDENTITY, 1e-5, p.mean, p.variance, y);
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, tx, &p.n), SG_OK);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, NULL, ty, &p.n), SG_OK);
    for (int c = 0; c < s.channels; c++) {
        if (fabs(p.n.mean64[c] - p.mean[c]) > 1e-7)
            fail_msg("mean of channel %d is %.12g, expected %.12g", c, p.n.mean64[c], p.mean[c]);
        if (fabs(p.n.variance[c] - p.variance[c]) > 1e-6)
            fail_msg("variance of channel %d is %.12g, expected %.12g", c, p.n.variance[c], p.variance[c]);
    }
    layer_check(run, "y", ty, s, y, 2e-5, false);
}

/* Evaluation reads the statistics that it is given. */
static void given_statistics(layer_run *run) {
    ref_shape s = {19, 9, 3, 4};
    parameters p = make_parameters(run, s.channels, SG_RELU);
    double *x = layer_random(run, ref_count(s), 0, 1), *y = layer_zeros(run, ref_count(s));
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 0, NULL, 0);
    for (int c = 0; c < s.channels; c++) {
        p.n.mean[c] = 0.25f * (float)c, p.mean[c] = p.n.mean[c];
        p.variance[c] = 1 + 0.5 * c, p.n.inverse[c] = (float)(1 / sqrt(p.variance[c] + 1e-5));
    }
    ref_norm_batch_evaluate(s, x, p.gamma, p.beta, NULL, SG_RELU, 1e-5, p.mean, p.variance, y);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, NULL, ty, &p.n), SG_OK);
    layer_check(run, "y", ty, s, y, FORWARD_TOLERANCE, false);
}

LAYER_TESTS(without_residual)
LAYER_TESTS(with_residual)
LAYER_TESTS(large_mean)
LAYER_TESTS(given_statistics)

int main(void) {
    const struct CMUnitTest tests[] = {
        LAYER_UNITS(without_residual),
        LAYER_UNITS(with_residual),
        LAYER_UNITS(large_mean),
        LAYER_UNITS(given_statistics),
    };
    return cmocka_run_group_tests_name("norm_batch", tests, NULL, NULL);
}
