/* Pooling: every variant against the double twin. Values are moved (maximum: exact) or summed over at most a
 * few hundred pixels in float (average: 1e-6 relative to the largest magnitude, at least 1). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/reference/layer_fixture.h"

static const struct {
    ref_shape s;
    int kernel, stride, padding;
} cases[] = {
    {{33, 3, 7, 5}, 3, 2, 1},  {{16, 35, 6, 6}, 2, 2, 0}, {{5, 8, 9, 4}, 3, 1, 1},
    {{17, 40, 5, 8}, 3, 3, 0}, {{1, 1, 4, 4}, 4, 4, 0},
};
enum { CASES = sizeof cases / sizeof *cases };

#define OK(call) assert_int_equal((call), SG_OK)

/* Few different values, so that windows have ties. */
static double *tied(layer_run *run, size_t count) {
    double *made = layer_zeros(run, count);
    for (size_t i = 0; i < count; i++) made[i] = layer_draw(run, 4) - 2;
    return made;
}

static void maximum(layer_run *run) {
    for (int i = 0; i < CASES; i++) {
        ref_shape s = cases[i].s, o = ref_pool_shape(s, cases[i].kernel, cases[i].stride, cases[i].padding);
        int k = cases[i].kernel, stride = cases[i].stride, padding = cases[i].padding;
        int blocks = layer_blocks(run, s.samples);
        bool accumulate = i % 2;
        double *x = i % 3 ? layer_random(run, ref_count(s), -1, 1) : tied(run, ref_count(s));
        double *dy = layer_random(run, ref_count(o), 0, 1), *y = layer_zeros(run, ref_count(o));
        double *before = layer_random(run, ref_count(s), 0, 1);
        double *dx = accumulate ? layer_copy(run, before, ref_count(s)) : layer_zeros(run, ref_count(s));
        sg_tensor *tx = layer_tensor(run, s, i % 3, x, LAYER_ACTIVATION),
                  *ty = layer_tensor(run, o, 1, NULL, 0);
        sg_tensor *tdy = layer_tensor(run, o, 0, dy, 0),
                  *tdx = layer_tensor(run, s, 1, before, accumulate ? 0 : 5);
        ref_max_pool_forward(s, k, stride, padding, x, y);
        OK(run->k->max_pool_forward(run->m, blocks, k, stride, padding, tx, ty));
        layer_check(run, "max pool y", ty, o, y, 0, false);
        ref_max_pool_backward(s, k, stride, padding, x, dy, dx);
        OK(run->k->max_pool_backward(run->m, blocks, k, stride, padding, tx, ty, tdy, tdx, accumulate));
        layer_check(run, "max pool dx", tdx, s, dx, 1e-6, true);
    }
}

static void average(layer_run *run) {
    for (int i = 0; i < CASES; i++) {
        ref_shape s = cases[i].s, o = ref_pool_shape(s, cases[i].kernel, cases[i].stride, cases[i].padding);
        int k = cases[i].kernel, stride = cases[i].stride, padding = cases[i].padding;
        int blocks = layer_blocks(run, s.samples);
        bool accumulate = i % 2;
        double *x = layer_random(run, ref_count(s), 1, 1), *before = layer_random(run, ref_count(s), 0, 1);
        double *dy = layer_random(run, ref_count(o), 0, 1), *y = layer_zeros(run, ref_count(o));
        double *dx = accumulate ? layer_copy(run, before, ref_count(s)) : layer_zeros(run, ref_count(s));
        sg_tensor *tx = layer_tensor(run, s, i % 3, x, LAYER_ACTIVATION),
                  *ty = layer_tensor(run, o, 1, NULL, 0);
        sg_tensor *tdy = layer_tensor(run, o, 0, dy, 0),
                  *tdx = layer_tensor(run, s, 1, before, accumulate ? 0 : 5);
        ref_average_pool_forward(s, k, stride, padding, x, y);
        OK(run->k->average_pool_forward(run->m, blocks, k, stride, padding, tx, ty));
        layer_check(run, "average pool y", ty, o, y, 1e-6, false);
        ref_average_pool_backward(s, k, stride, padding, dy, dx);
        OK(run->k->average_pool_backward(run->m, blocks, k, stride, padding, tdy, tdx, accumulate));
        layer_check(run, "average pool dx", tdx, s, dx, 1e-6, true);
    }
}

static void global(layer_run *run) {
    for (int i = 0; i < CASES; i++) {
        ref_shape s = cases[i].s, one = {s.samples, s.channels, 1, 1};
        int blocks = layer_blocks(run, s.samples);
        bool accumulate = i % 2;
        double *x = layer_random(run, ref_count(s), 1, 1), *before = layer_random(run, ref_count(s), 0, 1);
        double *dy = layer_random(run, ref_count(one), 0, 1), *y = layer_zeros(run, ref_count(one));
        double *dx = accumulate ? layer_copy(run, before, ref_count(s)) : layer_zeros(run, ref_count(s));
        sg_tensor *tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION),
                  *ty = layer_tensor(run, one, 0, NULL, 0);
        sg_tensor *tdy = layer_tensor(run, one, 0, dy, 0),
                  *tdx = layer_tensor(run, s, 1, before, accumulate ? 0 : 5);
        ref_global_pool_forward(s, x, y);
        OK(run->k->global_pool_forward(run->m, blocks, tx, ty));
        layer_check(run, "global pool y", ty, one, y, 1e-6, false);
        ref_global_pool_backward(s, dy, dx);
        OK(run->k->global_pool_backward(run->m, blocks, tdy, tdx, accumulate));
        layer_check(run, "global pool dx", tdx, s, dx, 1e-6, true);
    }
}

/* A diverged network must not look healthy behind a maximum. */
static void not_a_number(layer_run *run) {
    ref_shape s = {1, 1, 2, 2}, one = {1, 1, 1, 1};
    for (int at = 0; at < 4; at++) {
        double x[4] = {1, 2, 3, 4};
        x[at] = NAN;
        sg_tensor *ty = layer_tensor(run, one, 0, NULL, 0);
        OK(run->k->max_pool_forward(run->m, 1, 2, 2, 0, layer_tensor(run, s, 0, x, 0), ty));
        if (!isnan(ty->data[0]))
            fail_msg("maximum of NaN at %d and numbers is %g, expected NaN", at, (double)ty->data[0]);
    }
}
static void maximum_passes_nan(void **state) { (void)state, layer_on_every_variant(not_a_number); }

LAYER_TESTS(maximum)
LAYER_TESTS(average)
LAYER_TESTS(global)

int main(void) {
    const struct CMUnitTest tests[] = {LAYER_UNITS(maximum), LAYER_UNITS(average), LAYER_UNITS(global),
                                       cmocka_unit_test(maximum_passes_nan)};
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
