/* Batch norm: every variant against the double twin, and bits that depend on nothing but the input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
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
                    .mean = layer_zeros(c), .variance = layer_zeros(c), .dgamma = layer_zeros(c),
                    .dbeta = layer_zeros(c)};
    p.n = (sg_norm_batch){.gamma = layer_floats(p.gamma, c), .beta = layer_floats(p.beta, c),
                          .mean = layer_floats(NULL, c), .inverse = layer_floats(NULL, c),
                          .variance = layer_zeros(c), .mean64 = layer_zeros(c), .dgamma = layer_floats(NULL, c),
                          .dbeta = layer_floats(NULL, c), .activation = activation};
    return p;
}

static void free_parameters(parameters *p) {
    free(p->gamma), free(p->beta), free(p->mean), free(p->variance), free(p->dgamma), free(p->dbeta);
    free((float *)p->n.gamma), free((float *)p->n.beta), free(p->n.mean), free(p->n.inverse);
    free(p->n.variance), free(p->n.mean64), free(p->n.dgamma), free(p->n.dbeta);
}

static void one_shape(layer_run *run, ref_shape s, enum sg_activation activation, int residual_mode, bool in_place) {
    size_t count = ref_count(s), channels = (size_t)s.channels;
    parameters p = make_parameters(run, s.channels, activation);
    double *x = layer_random(run, count, 0.3, 1.7), *dy = layer_random(run, count, 0, 1);
    double *residual = residual_mode ? layer_random(run, count, 0, 1) : NULL;
    double *before = residual_mode == ACCUMULATED ? layer_random(run, count, 0, 1) : layer_zeros(count);
    double *y = layer_zeros(count), *dx = layer_zeros(count);
    ref_norm_batch_forward(s, x, p.gamma, p.beta, residual, activation, 1e-5, p.mean, p.variance, y);

    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor tx = layer_tensor(run, s, 0, x, LAYER_ACTIVATION), ty = layer_tensor(run, s, 1, NULL, 0);
    sg_tensor tr = layer_tensor(run, s, 2, residual, LAYER_ACTIVATION);
    sg_tensor tdy = layer_tensor(run, s, 1, dy, LAYER_GRADIENT), tdx = layer_tensor(run, s, 0, NULL, 5);
    sg_tensor tdr = layer_tensor(run, s, 1, before, LAYER_GRADIENT);
    const sg_tensor *r = residual_mode ? &tr : NULL;
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, &tx, &p.n), SG_OK);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, &tx, r, &ty, &p.n), SG_OK);
    for (size_t c = 0; c < channels; c++) {
        if (fabs(p.n.mean64[c] - p.mean[c]) > 1e-6 * fmax(1, fabs(p.mean[c])))
            fail_msg("mean of channel %zu is %.12g, expected %.12g", c, p.n.mean64[c], p.mean[c]);
        if (fabs(p.n.variance[c] - p.variance[c]) > 1e-6 * fmax(1, p.variance[c]))
            fail_msg("variance of channel %zu is %.12g, expected %.12g", c, p.n.variance[c], p.variance[c]);
    }
    layer_check(run, "y", &ty, s, y, FORWARD_TOLERANCE, false);

    ref_norm_batch_backward(s, x, p.gamma, p.beta, residual, activation, 1e-5, dy, dx, before, p.dgamma, p.dbeta);
    assert_int_equal(run->k->norm_batch_backward(run->m, &extent, &tx, &ty, r, &tdy, in_place ? &tdy : &tdx,
                                                 residual_mode ? &tdr : NULL, residual_mode == ACCUMULATED, &p.n),
                     SG_OK);
    layer_check(run, "dx", in_place ? &tdy : &tdx, s, dx, BACKWARD_TOLERANCE, true);
    if (residual_mode) layer_check(run, "dresidual", &tdr, s, before, BACKWARD_TOLERANCE, true);
    layer_check_floats(run, "dgamma", p.n.dgamma, channels, p.dgamma, BACKWARD_TOLERANCE);
    layer_check_floats(run, "dbeta", p.n.dbeta, channels, p.dbeta, BACKWARD_TOLERANCE);

    sg_tensor_release(&tx), sg_tensor_release(&ty), sg_tensor_release(&tr), sg_tensor_release(&tdy);
    sg_tensor_release(&tdx), sg_tensor_release(&tdr), free_parameters(&p);
    free(x), free(dy), free(residual), free(before), free(y), free(dx);
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
    double *x = layer_random(run, ref_count(s), 1000, 1), *y = layer_zeros(ref_count(s));
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION), ty = layer_tensor(run, s, 0, NULL, 0);
    ref_norm_batch_forward(s, x, p.gamma, p.beta, NULL, SG_IDENTITY, 1e-5, p.mean, p.variance, y);
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, &tx, &p.n), SG_OK);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, &tx, NULL, &ty, &p.n), SG_OK);
    for (int c = 0; c < s.channels; c++) {
        if (fabs(p.n.mean64[c] - p.mean[c]) > 1e-7)
            fail_msg("mean of channel %d is %.12g, expected %.12g", c, p.n.mean64[c], p.mean[c]);
        if (fabs(p.n.variance[c] - p.variance[c]) > 1e-6)
            fail_msg("variance of channel %d is %.12g, expected %.12g", c, p.n.variance[c], p.variance[c]);
    }
    layer_check(run, "y", &ty, s, y, 2e-5, false);
    sg_tensor_release(&tx), sg_tensor_release(&ty), free_parameters(&p), free(x), free(y);
}

/* Evaluation reads the statistics that it is given. */
static void given_statistics(layer_run *run) {
    ref_shape s = {19, 9, 3, 4};
    parameters p = make_parameters(run, s.channels, SG_RELU);
    double *x = layer_random(run, ref_count(s), 0, 1), *y = layer_zeros(ref_count(s));
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION), ty = layer_tensor(run, s, 0, NULL, 0);
    for (int c = 0; c < s.channels; c++) {
        p.n.mean[c] = 0.25f * (float)c, p.mean[c] = p.n.mean[c];
        p.variance[c] = 1 + 0.5 * c, p.n.inverse[c] = (float)(1 / sqrt(p.variance[c] + 1e-5));
    }
    ref_norm_batch_evaluate(s, x, p.gamma, p.beta, NULL, SG_RELU, 1e-5, p.mean, p.variance, y);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, &tx, NULL, &ty, &p.n), SG_OK);
    layer_check(run, "y", &ty, s, y, FORWARD_TOLERANCE, false);
    sg_tensor_release(&tx), sg_tensor_release(&ty), free_parameters(&p), free(x), free(y);
}

static void matches_twin(void **state) { (void)state, layer_on_every_variant(without_residual); }
static void matches_twin_with_residual(void **state) { (void)state, layer_on_every_variant(with_residual); }
static void survives_large_mean(void **state) { (void)state, layer_on_every_variant(large_mean); }
static void evaluates_with_given_statistics(void **state) { (void)state, layer_on_every_variant(given_statistics); }
static void has_fixed_bits(void **state) { (void)state, layer_same_bits(without_residual); }
static void has_fixed_bits_with_residual(void **state) { (void)state, layer_same_bits(with_residual); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_twin),          cmocka_unit_test(matches_twin_with_residual),
        cmocka_unit_test(survives_large_mean),   cmocka_unit_test(evaluates_with_given_statistics),
        cmocka_unit_test(has_fixed_bits),        cmocka_unit_test(has_fixed_bits_with_residual),
    };
    return cmocka_run_group_tests_name("norm_batch", tests, NULL, NULL);
}
