/* Layer norm, sums, copies, channels, tokens, attention, dropout, bias gradients: every variant against the
 * double twin, on odd shapes and partly filled blocks.
 *
 * Tolerances, relative to the largest expected magnitude (at least 1): EXACT for values that are only moved
 * or rounded once; SUMS for float sums of up to a few hundred terms; DEEP for chains of them (norms,
 * attention). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/rng.h"
#include "tests/reference/layer_fixture.h"

#define EXACT 1.2e-7
#define SUMS 1e-6
#define DEEP 5e-6

static const ref_shape shapes[] = {
    {33, 3, 5, 7}, {16, 36, 3, 3}, {5, 64, 1, 1}, {17, 33, 2, 9}, {1, 6, 4, 4}};

static double *values(layer_run *run, ref_shape s) { return layer_random(run, ref_count(s), 0.2, 1); }
static sg_tensor *input(layer_run *run, ref_shape s, const double *v) {
    return layer_tensor(run, s, layer_draw(run, 2), v, LAYER_ACTIVATION);
}
static sg_tensor *output(layer_run *run, ref_shape s) {
    return layer_tensor(run, s, layer_draw(run, 2), NULL, 3);
}
static sg_tensor *gradient(layer_run *run, ref_shape s, const double *v) {
    return layer_tensor(run, s, layer_draw(run, 2), v, LAYER_GRADIENT);
}

/* A gradient that a backward function is to fill: what is there before, in double for the twin to add to, and
 * as a tensor. Without accumulate the tensor holds garbage that must vanish. */
typedef struct target {
    double *expected;
    sg_tensor *t;
} target;

static target make_target(layer_run *run, ref_shape s, bool accumulate) {
    double *before = values(run, s);
    target made = {.t = layer_tensor(run, s, layer_draw(run, 2), before, accumulate ? LAYER_GRADIENT : 9)};
    made.expected = accumulate ? before : layer_zeros(run, ref_count(s));
    return made;
}

#define OK(call) assert_int_equal((call), SG_OK)

static void norm_layer(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i];
        size_t c = (size_t)s.channels;
        bool accumulate = i % 2;
        double *x = values(run, s), *dy = values(run, s), *y = layer_zeros(run, ref_count(s));
        double *gamma = layer_random(run, c, 1, 0.5), *beta = layer_random(run, c, 0, 0.5);
        double *dgamma = layer_zeros(run, c), *dbeta = layer_zeros(run, c);
        float *fg = layer_floats(run, gamma, c), *fb = layer_floats(run, beta, c);
        float *fdg = layer_floats(run, gamma, c), *fdb = layer_floats(run, beta, c);
        sg_tensor *tx = input(run, s, x), *ty = output(run, s), *tdy = gradient(run, s, dy);
        target dx = make_target(run, s, accumulate);
        int blocks = layer_blocks(run, s.samples);
        float epsilon = 1e-5f;
        ref_norm_layer_forward(s, x, gamma, beta, epsilon, y);
        OK(run->k->norm_layer_forward(run->m, blocks, tx, ty, fg, fb, epsilon));
        layer_check(run, "layer norm y", ty, s, y, DEEP, false);
        ref_norm_layer_backward(s, x, gamma, epsilon, dy, dx.expected, dgamma, dbeta);
        OK(run->k->norm_layer_backward(run->m, blocks, tx, tdy, dx.t, fg, epsilon, fdg, fdb, accumulate));
        layer_check(run, "layer norm dx", dx.t, s, dx.expected, DEEP, true);
        layer_check_floats(run, "layer norm dgamma", fdg, c, dgamma, DEEP);
        layer_check_floats(run, "layer norm dbeta", fdb, c, dbeta, DEEP);
    }
}

static void add_and_copy(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i];
        int blocks = layer_blocks(run, s.samples);
        double *a = values(run, s), *b = values(run, s), *sum = layer_copy(run, a, ref_count(s));
        for (size_t k = 0; k < ref_count(s); k++) sum[k] += b[k];
        sg_tensor *ta = gradient(run, s, a), *tb = gradient(run, s, b), *ty = output(run, s),
                  *copied = output(run, s);
        OK(run->k->add(run->m, blocks, ta, tb, ty));
        layer_check(run, "sum", ty, s, sum, EXACT, true);
        OK(run->k->copy(run->m, blocks, ta, copied, false));
        layer_check(run, "copy", copied, s, a, 0, true);
        OK(run->k->copy(run->m, blocks, tb, copied, true));
        layer_check(run, "accumulated copy", copied, s, sum, EXACT, true);
        OK(run->k->add(run->m, blocks, ta, tb, ta));
        layer_check(run, "sum in place", ta, s, sum, EXACT, true);
    }
}

static void scale(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i], one = {s.samples, s.channels, 1, 1};
        int blocks = layer_blocks(run, s.samples);
        bool add_x = i % 2, add_gate = i % 3 == 0;
        double *x = values(run, s), *gate = values(run, one), *dy = values(run, s),
               *y = layer_zeros(run, ref_count(s));
        sg_tensor *tx = input(run, s, x), *tg = input(run, one, gate), *ty = output(run, s);
        target dx = make_target(run, s, add_x), dgate = make_target(run, one, add_gate);
        ref_scale_forward(s, x, gate, y);
        OK(run->k->scale_forward(run->m, blocks, tx, tg, ty));
        layer_check(run, "scaled", ty, s, y, EXACT, false);
        ref_scale_backward(s, x, gate, dy, dx.expected, dgate.expected);
        OK(run->k->scale_backward(run->m, blocks, tx, tg, gradient(run, s, dy), dx.t, add_x, dgate.t,
                                  add_gate));
        layer_check(run, "scale dx", dx.t, s, dx.expected, 2 * EXACT, true);
        layer_check(run, "scale dgate", dgate.t, one, dgate.expected, SUMS, true);
    }
}

static void concat(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape sa = shapes[i], sb = sa, sy = sa;
        sb.channels = 5 + (int)i * 8;
        sy.channels = sa.channels + sb.channels;
        int blocks = layer_blocks(run, sa.samples);
        bool add_a = i % 2, add_b = i % 3 == 0;
        double *a = values(run, sa), *b = values(run, sb), *dy = values(run, sy);
        double *y = layer_zeros(run, ref_count(sy));
        sg_tensor *ty = output(run, sy);
        target da = make_target(run, sa, add_a), db = make_target(run, sb, add_b);
        ref_concat_forward(sa, sb.channels, a, b, y);
        OK(run->k->concat_forward(run->m, blocks, input(run, sa, a), input(run, sb, b), ty));
        layer_check(run, "concatenated", ty, sy, y, 0, false);
        ref_concat_backward(sa, sb.channels, dy, da.expected, db.expected);
        OK(run->k->concat_backward(run->m, blocks, gradient(run, sy, dy), da.t, add_a, db.t, add_b));
        layer_check(run, "concat da", da.t, sa, da.expected, EXACT, true);
        layer_check(run, "concat db", db.t, sb, db.expected, EXACT, true);
    }
}

static void shuffle(layer_run *run) {
    static const int groups[] = {3, 4, 8, 11, 2};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i];
        int blocks = layer_blocks(run, s.samples);
        double *x = values(run, s), *dy = values(run, s), *y = layer_zeros(run, ref_count(s));
        sg_tensor *ty = output(run, s);
        target dx = make_target(run, s, i % 2);
        ref_shuffle_forward(s, groups[i], x, y);
        OK(run->k->shuffle_forward(run->m, blocks, groups[i], input(run, s, x), ty));
        layer_check(run, "shuffled", ty, s, y, 0, false);
        ref_shuffle_backward(s, groups[i], dy, dx.expected);
        OK(run->k->shuffle_backward(run->m, blocks, groups[i], gradient(run, s, dy), dx.t, i % 2));
        layer_check(run, "shuffle dx", dx.t, s, dx.expected, EXACT, true);
    }
}

/* With and without class token and position. */
static void tokens(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool with_token = i != 1, with_position = i != 2, accumulate = i % 2;
        ref_shape s = shapes[i], sy = {s.samples, s.channels, s.height * s.width + with_token, 1};
        size_t channels = (size_t)s.channels, rows = channels * (size_t)sy.height;
        int blocks = layer_blocks(run, s.samples);
        double *x = values(run, s), *dy = values(run, sy), *y = layer_zeros(run, ref_count(sy));
        double *token = layer_random(run, channels, 0, 1), *position = layer_random(run, rows, 0, 1);
        double *dtoken = layer_zeros(run, channels), *dposition = layer_zeros(run, rows);
        float *ft = layer_floats(run, token, channels), *fp = layer_floats(run, position, rows);
        float *fdt = layer_floats(run, token, channels), *fdp = layer_floats(run, position, rows);
        sg_tensor *ty = output(run, sy);
        target dx = make_target(run, s, accumulate);
        ref_tokens_forward(s, x, with_token ? token : NULL, with_position ? position : NULL, y);
        OK(run->k->tokens_forward(run->m, blocks, input(run, s, x), with_token ? ft : NULL,
                                  with_position ? fp : NULL, ty));
        layer_check(run, "tokens", ty, sy, y, EXACT, false);
        ref_tokens_backward(s, dy, dx.expected, with_token ? dtoken : NULL, with_position ? dposition : NULL);
        OK(run->k->tokens_backward(run->m, blocks, gradient(run, sy, dy), dx.t, with_token ? fdt : NULL,
                                   with_position ? fdp : NULL, accumulate));
        layer_check(run, "tokens dx", dx.t, s, dx.expected, EXACT, true);
        if (with_token) layer_check_floats(run, "class token's gradient", fdt, channels, dtoken, SUMS);
        if (with_position) layer_check_floats(run, "position's gradient", fdp, rows, dposition, SUMS);
    }
}

static void first_token(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i], one = {s.samples, s.channels, 1, 1};
        int blocks = layer_blocks(run, s.samples);
        double *x = values(run, s), *dy = values(run, one), *y = layer_zeros(run, ref_count(one));
        sg_tensor *ty = output(run, one);
        target dx = make_target(run, s, i % 2);
        ref_first_token_forward(s, x, y);
        OK(run->k->first_token_forward(run->m, blocks, input(run, s, x), ty));
        layer_check(run, "first token", ty, one, y, 0, false);
        ref_first_token_backward(s, dy, dx.expected);
        OK(run->k->first_token_backward(run->m, blocks, gradient(run, one, dy), dx.t, i % 2));
        layer_check(run, "first token dx", dx.t, s, dx.expected, EXACT, true);
    }
}

/* To [C][1] pixels and, as a mixer's second transposition does, to a given height and width. */
static void transpose(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i], sy = {s.samples, s.height * s.width, s.channels, 1};
        if (i == 1) sy.height = 4, sy.width = 9;
        int blocks = layer_blocks(run, s.samples);
        double *x = values(run, s), *dy = values(run, sy), *y = layer_zeros(run, ref_count(sy));
        sg_tensor *ty = output(run, sy);
        target dx = make_target(run, s, i % 2);
        ref_transpose_forward(s, x, y);
        OK(run->k->transpose_forward(run->m, blocks, input(run, s, x), ty));
        layer_check(run, "transposed", ty, sy, y, 0, false);
        ref_transpose_backward(s, dy, dx.expected);
        OK(run->k->transpose_backward(run->m, blocks, gradient(run, sy, dy), dx.t, i % 2));
        layer_check(run, "transpose dx", dx.t, s, dx.expected, EXACT, true);
    }
}

static void attention(layer_run *run) {
    static const struct {
        int samples, tokens, heads, each;
    } cases[] = {{33, 5, 2, 3}, {3, 17, 3, 8}, {16, 4, 1, 5}, {1, 1, 2, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int heads = cases[i].heads, t = cases[i].tokens, width = heads * cases[i].each;
        ref_shape sy = {cases[i].samples, width, t, 1}, sx = {cases[i].samples, 3 * width, t, 1};
        ref_shape sp = {cases[i].samples, t, heads * t, 1};
        int blocks = layer_blocks(run, sy.samples);
        double *qkv = values(run, sx), *dy = values(run, sy), *y = layer_zeros(run, ref_count(sy));
        double *p = layer_zeros(run, ref_count(sp));
        sg_tensor *tx = input(run, sx, qkv), *ty = output(run, sy), *tp = output(run, sp);
        target dqkv = make_target(run, sx, i % 2);
        ref_attention_forward(sy, heads, qkv, p, y);
        OK(run->k->attention_forward(run->m, blocks, heads, tx, tp, ty));
        layer_check(run, "attention y", ty, sy, y, DEEP, false);
        ref_attention_backward(sy, heads, qkv, p, dy, dqkv.expected);
        OK(run->k->attention_backward(run->m, blocks, heads, tx, tp, gradient(run, sy, dy), dqkv.t, i % 2));
        layer_check(run, "attention dqkv", dqkv.t, sx, dqkv.expected, DEEP, true);
    }
}

/* The mask is the documented one: drawn per sample number, so that it follows a sample into any lane. */
static void dropout(layer_run *run) {
    enum { STEP = 7, LAYER = 3 };
    const uint64_t seed = 12345678901234567u;
    const float probability = 0.3f;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = {shapes[i].samples, shapes[i].channels, 1, 1};
        int blocks = layer_blocks(run, s.samples), lanes = blocks * run->m->lanes, kept = 0;
        double *x = values(run, s), *dy = values(run, s), *y = layer_zeros(run, ref_count(s));
        uint8_t *keep = (uint8_t *)layer_zeros(run, ref_count(s));
        uint32_t *sample = (uint32_t *)layer_zeros(run, (size_t)lanes);
        for (int n = 0; n < s.samples; n++) sample[n] = (uint32_t)layer_draw(run, 1000000);
        for (int n = 0; n < s.samples; n++)
            for (int c = 0; c < s.channels; c++) {
                uint32_t counter = LAYER * (1u << 20) + (uint32_t)c / 4;
                uint32_t word = sg_rng(seed, SG_RNG_DROPOUT, STEP, sample[n], counter).word[c % 4];
                keep[n * s.channels + c] = sg_uniform(word) >= probability;
                kept += keep[n * s.channels + c];
            }
        sg_tensor *ty = output(run, s);
        target dx = make_target(run, s, i % 2);
        ref_dropout_forward(ref_count(s), probability, keep, x, y);
        OK(run->k->dropout_forward(run->m, blocks, probability, seed, STEP, LAYER, sample, input(run, s, x),
                                   ty));
        layer_check(run, "dropout y", ty, s, y, 2 * EXACT, false);
        ref_dropout_backward(ref_count(s), probability, keep, dy, dx.expected);
        OK(run->k->dropout_backward(run->m, blocks, probability, seed, STEP, LAYER, sample,
                                    gradient(run, s, dy), dx.t, i % 2));
        layer_check(run, "dropout dx", dx.t, s, dx.expected, 2 * EXACT, true);
        if (ref_count(s) > 300 && (kept < 0.6 * (double)ref_count(s) || kept > 0.8 * (double)ref_count(s)))
            fail_msg("dropout keeps %d of %zu values at probability 0.3", kept, ref_count(s));
    }
}

static void bias_gradient(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ref_shape s = shapes[i];
        size_t channels = (size_t)s.channels;
        double *dy = values(run, s), *db = layer_zeros(run, channels);
        float *fdb = layer_floats(run, NULL, channels);
        ref_bias_gradient(s, dy, db);
        OK(run->k->bias_gradient(run->m, layer_blocks(run, s.samples), gradient(run, s, dy), fdb));
        layer_check_floats(run, "bias gradient", fdb, channels, db, SUMS);
    }
}

/* A rank without blocks takes part in sums with zeros. */
static void without_blocks(layer_run *run) {
    ref_shape s = {1, 5, 2, 2};
    float db[5] = {1, 1, 1, 1, 1};
    OK(run->k->bias_gradient(run->m, 0, gradient(run, s, NULL), db));
    for (int c = 0; c < 5; c++)
        if (db[c] != 0)
            fail_msg("bias gradient of channel %d over no blocks is %g, expected 0", c, (double)db[c]);
}

LAYER_TESTS(norm_layer)
LAYER_TESTS(add_and_copy)
LAYER_TESTS(scale)
LAYER_TESTS(concat)
LAYER_TESTS(shuffle)
LAYER_TESTS(tokens)
LAYER_TESTS(first_token)
LAYER_TESTS(transpose)
LAYER_TESTS(attention)
LAYER_TESTS(dropout)
LAYER_TESTS(bias_gradient)
LAYER_TESTS(without_blocks)

int main(void) {
    const struct CMUnitTest tests[] = {
        LAYER_UNITS(norm_layer),  LAYER_UNITS(add_and_copy),  LAYER_UNITS(scale),
        LAYER_UNITS(concat),      LAYER_UNITS(shuffle),       LAYER_UNITS(tokens),
        LAYER_UNITS(first_token), LAYER_UNITS(transpose),     LAYER_UNITS(attention),
        LAYER_UNITS(dropout),     LAYER_UNITS(bias_gradient), LAYER_UNITS(without_blocks),
    };
    return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
