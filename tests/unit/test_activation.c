/* Activations: forward and backward against the double twin, and the accuracy of the elementary functions
 * that they are made of, in units in the last place (ulp). */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SG_ISA portable
#define SG_LANES 16
#include "kernels/lanes/functions.h"
#include "tests/reference/layer_fixture.h"

#define OK(call) assert_int_equal((call), SG_OK)

/* 2e-6 of the largest magnitude: a few ulp of each function, more where x^2 stands in an exponent. */
static void every_kind(layer_run *run) {
    static const ref_shape shapes[] = {{33, 3, 5, 7}, {16, 16, 2, 3}, {5, 9, 1, 1}};
    for (int i = 0; i < 3; i++)
        for (int kind = SG_IDENTITY; kind <= SG_SIGMOID; kind++) {
            ref_shape s = shapes[i];
            enum sg_activation activation = (enum sg_activation)kind;
            int blocks = layer_blocks(run, s.samples);
            bool accumulate = (i + kind) % 2;
            double *x = layer_random(run, ref_count(s), 1, 4), *dy = layer_random(run, ref_count(s), 0, 1);
            double *before = layer_random(run, ref_count(s), 0, 1), *y = layer_zeros(run, ref_count(s));
            double *dx = accumulate ? layer_copy(run, before, ref_count(s)) : layer_zeros(run, ref_count(s));
            sg_tensor *tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION),
                      *ty = layer_tensor(run, s, 0, NULL, 0);
            sg_tensor *tdy = layer_tensor(run, s, 1, dy, 0);
            sg_tensor *tdx = layer_tensor(run, s, 1, before, accumulate ? 0 : 5);
            ref_activation_forward(ref_count(s), activation, x, y);
            OK(run->k->activation_forward(run->m, blocks, activation, tx, ty));
            layer_check(run, "y", ty, s, y, 2e-6, false);
            ref_activation_backward(ref_count(s), activation, x, dy, dx);
            OK(run->k->activation_backward(run->m, blocks, activation, tx, tdy, tdx, accumulate));
            layer_check(run, "dx", tdx, s, dx, 2e-6, true);
        }
}

/* A network that diverged must not look healthy behind an activation. */
static void not_a_number(layer_run *run) {
    ref_shape s = {1, 1, 1, 1};
    double x = NAN;
    for (int kind = SG_IDENTITY; kind <= SG_SIGMOID; kind++) {
        sg_tensor *ty = layer_tensor(run, s, 0, NULL, 0);
        OK(run->k->activation_forward(run->m, 1, (enum sg_activation)kind, layer_tensor(run, s, 0, &x, 0),
                                      ty));
        if (!isnan(ty->data[0]))
            fail_msg("activation %d of NaN is %g, expected NaN", kind, (double)ty->data[0]);
    }
}
static void nan_passes(void **state) { (void)state, layer_on_every_variant(not_a_number); }

/* The error of got in ulp of the expected value's float. */
static double ulps(float got, double expected) {
    int exponent;
    frexp(expected, &exponent);
    return fabs((double)got - expected) / ldexp(1, exponent - FLT_MANT_DIG);
}

static void exp_is_accurate(void **state) {
    (void)state;
    double worst = 0, where = 0;
    for (double at = -87; at <= 88; at += 1.0 / 512) {
        float x = (float)at;
        double error = ulps(sg_exp(sg_splat(x))[0], exp((double)x));
        if (error > worst) worst = error, where = at;
    }
    if (!(worst <= 2)) fail_msg("exp(%g) is wrong by %.2f ulp, allowed 2", where, worst);
    assert_true(sg_exp(sg_splat(0.0f))[0] == 1.0f);
}

static void exp_stays_finite(void **state) {
    (void)state;
    float low = sg_exp(sg_splat(-INFINITY))[0], high = sg_exp(sg_splat(INFINITY))[0];
    if (!(low > 0 && low < 2e-38f)) fail_msg("exp(-inf) is %g, expected 1.6e-38", (double)low);
    if (!(high > 1e38f && high < FLT_MAX)) fail_msg("exp(inf) is %g, expected 1.7e38", (double)high);
}

/* Sigmoid and the normal distribution through the layers, on every variant. x * cdf(x) is one rounding more
 * than cdf. */
static void accuracy(layer_run *run) {
    enum { COUNT = 16384 };
    static const struct {
        enum sg_activation kind;
        double from, to, fixed, square; /* allowed ulp: fixed + square * x^2 */
        const char *name;
    } functions[] = {{SG_SIGMOID, -80, 80, 4, 0, "sigmoid"},
                     {SG_SWISH, -80, 80, 5, 0, "swish"},
                     {SG_GELU, -12, 12, 5, 0.5, "gelu"}};
    ref_shape s = {1, COUNT, 1, 1};
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        double *x = layer_zeros(run, COUNT);
        for (int i = 0; i < COUNT; i++)
            x[i] = (float)(functions[f].from + (functions[f].to - functions[f].from) * (i + 0.5) / COUNT);
        sg_tensor *ty = layer_tensor(run, s, 0, NULL, 0);
        OK(run->k->activation_forward(run->m, 1, functions[f].kind, layer_tensor(run, s, 0, x, 0), ty));
        for (int i = 0; i < COUNT; i++) {
            double expected = ref_activate(functions[f].kind, x[i]);
            double allowed = functions[f].fixed + functions[f].square * x[i] * x[i];
            double error = ulps(ty->data[i * run->m->lanes], expected);
            if (!(error <= allowed))
                fail_msg("%s(%.9g) on %s is wrong by %.2f ulp, allowed %.2f", functions[f].name, x[i],
                         run->m->isa, error, allowed);
        }
    }
}
static void functions_are_accurate(void **state) { (void)state, layer_on_every_variant(accuracy); }

LAYER_TESTS(every_kind)

int main(void) {
    const struct CMUnitTest tests[] = {
        LAYER_UNITS(every_kind),
        cmocka_unit_test(nan_passes),
        cmocka_unit_test(exp_is_accurate),
        cmocka_unit_test(exp_stays_finite),
        cmocka_unit_test(functions_are_accurate),
    };
    return cmocka_run_group_tests_name("activation", tests, NULL, NULL);
}
