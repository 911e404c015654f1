#include "tests/reference/layer_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/tree.h"

static bool runs_here(const sg_variant *v) {
#if defined(__x86_64__)
    if (strcmp(v->isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (strcmp(v->isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return strcmp(v->isa, "portable") == 0;
}

static uint64_t run_case(layer_case test, const sg_variant *v, int threads) {
    sg_machine m = {.variant = v, .lanes = v->lanes, .threads = threads};
    snprintf(m.isa, sizeof m.isa, "%s", v->isa);
    layer_run run = {.m = &m, .k = &v->layers, .digest = 14695981039346656037u};
    test(&run);
    while (run.owned_count > 0) free(run.owned[--run.owned_count]);
    return run.digest;
}

void layer_on_every_variant(layer_case test) {
    for (const sg_variant *const *v = sg_variants; *v != NULL; v++)
        if (runs_here(*v)) run_case(test, *v, 2);
}

void layer_same_bits(layer_case test) {
    for (const sg_variant *const *v = sg_variants; *v != NULL; v++) {
        if (!runs_here(*v)) continue;
        uint64_t digest = run_case(test, *v, 1);
        if (run_case(test, *v, 2) != digest)
            fail_msg("%s, %d lanes: 1 and 2 threads give different bits", (*v)->isa, (*v)->lanes);
        for (const sg_variant *const *w = sg_variants; *w != NULL; w++)
            if (runs_here(*w) && (*w)->lanes == (*v)->lanes && strcmp((*v)->isa, "avx2") == 0 &&
                strcmp((*w)->isa, "avx512") == 0 && run_case(test, *w, 2) != digest)
                fail_msg("%d lanes: avx2 and avx512 give different bits", (*v)->lanes);
    }
}

static sg_random draw(layer_run *run) {
    uint64_t at = run->draws++;
    return sg_rng(1, SG_RNG_TEST, (uint32_t)at, 0, 0);
}

int layer_draw(layer_run *run, int below) { return (int)sg_below(draw(run).word[0], (uint32_t)below); }

static void *keep(layer_run *run, void *memory) {
    assert_non_null(memory);
    assert_in_range(run->owned_count, 0, LAYER_OWNED - 1);
    return run->owned[run->owned_count++] = memory;
}

double *layer_zeros(layer_run *run, size_t count) { return keep(run, sg_alloc(count, sizeof(double))); }

double *layer_copy(layer_run *run, const double *from, size_t count) {
    return memcpy(layer_zeros(run, count), from, count * sizeof *from);
}

double *layer_random(layer_run *run, size_t count, double mean, double sd) {
    double *made = layer_zeros(run, count);
    for (size_t i = 0; i < count; i++) {
        sg_random four = draw(run);
        double sum = -2; /* four uniforms: variance 1/3 */
        for (int k = 0; k < 4; k++) sum += sg_uniform(four.word[k]);
        made[i] = (float)(mean + sd * sqrt(3) * sum);
    }
    return made;
}

float *layer_floats(layer_run *run, const double *from, size_t count) {
    float *made = keep(run, sg_alloc(count, sizeof *made));
    for (size_t i = 0; i < count && from != NULL; i++) made[i] = (float)from[i];
    return made;
}

int layer_blocks(const layer_run *run, int samples) { return sg_divide_up(samples, run->m->lanes); }

sg_extent layer_extent(const layer_run *run, int samples) {
    int blocks = layer_blocks(run, samples);
    return (sg_extent){
        .blocks = blocks, .samples = samples, .global_blocks = blocks, .reduce = &sg_reduce_alone};
}

sg_tensor *layer_tensor(layer_run *run, ref_shape s, int halo, const double *values, float unused) {
    sg_tensor *t = keep(run, sg_alloc(1, sizeof *t));
    int lanes = run->m->lanes, blocks = layer_blocks(run, s.samples);
    assert_int_equal(sg_tensor_init(t, lanes, blocks, s.channels, s.height, s.width, halo), SG_OK);
    keep(run, t->base);
    for (int n = 0; n < blocks * lanes; n++)
        for (int c = 0; c < s.channels; c++)
            for (int y = 0; y < s.height; y++)
                for (int x = 0; x < s.width; x++) {
                    size_t at =
                        (((size_t)n * (size_t)s.channels + (size_t)c) * (size_t)s.height + (size_t)y) *
                            (size_t)s.width +
                        (size_t)x;
                    float value = n >= s.samples ? unused : values != NULL ? (float)values[at] : 0.0f;
                    sg_tensor_at(t, n / lanes, y, x)[c * lanes + n % lanes] = value;
                }
    return t;
}

static void gather(layer_run *run, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    run->digest = (run->digest ^ bits) * 1099511628211u;
}

static double scale_of(const double *expected, size_t count) {
    double largest = 1;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(expected[i]));
    return largest;
}

static void compare(layer_run *run, const char *what, size_t at, float value, double expected,
                    double allowed) {
    gather(run, value);
    if (!(fabs((double)value - expected) <= allowed))
        fail_msg("%s (%s, %d lanes): value %zu is %.9g, expected %.9g within %.3g", what, run->m->isa,
                 run->m->lanes, at, (double)value, expected, allowed);
}

void layer_check_floats(layer_run *run, const char *what, const float *values, size_t count,
                        const double *expected, double tolerance) {
    double allowed = tolerance * scale_of(expected, count);
    for (size_t i = 0; i < count; i++) compare(run, what, i, values[i], expected[i], allowed);
}

/* Everything that is allocated but no value: halo pixels and the rows behind a pixel's channels. */
static void check_margins(const char *what, const sg_tensor *t) {
    for (int b = 0; b < t->blocks; b++)
        for (int y = -t->halo; y < t->height + t->halo; y++)
            for (int x = -t->halo; x < t->width + t->halo; x++) {
                bool inside = y >= 0 && y < t->height && x >= 0 && x < t->width;
                const float *pixel = sg_tensor_at(t, b, y, x);
                for (size_t i = inside ? (size_t)t->channels * (size_t)t->lanes : 0; i < t->pixel; i++)
                    if (pixel[i] != 0)
                        fail_msg("%s: halo or pad at block %d, pixel (%d, %d), float %zu is %g, not 0", what,
                                 b, y, x, i, (double)pixel[i]);
            }
}

void layer_check(layer_run *run, const char *what, const sg_tensor *t, ref_shape s, const double *expected,
                 double tolerance, bool gradient) {
    double allowed = tolerance * scale_of(expected, ref_count(s));
    for (int n = 0; n < t->blocks * t->lanes; n++)
        for (int c = 0; c < s.channels; c++)
            for (int y = 0; y < s.height; y++)
                for (int x = 0; x < s.width; x++) {
                    size_t at =
                        (((size_t)n * (size_t)s.channels + (size_t)c) * (size_t)s.height + (size_t)y) *
                            (size_t)s.width +
                        (size_t)x;
                    float value = sg_tensor_at(t, n / t->lanes, y, x)[c * t->lanes + n % t->lanes];
                    if (n < s.samples)
                        compare(run, what, at, value, expected[at], allowed);
                    else if (gradient && value != 0)
                        fail_msg("%s: unused lane of sample %d, channel %d, pixel (%d, %d) is %g, not 0",
                                 what, n, c, y, x, (double)value);
                    else if (!isfinite(value))
                        fail_msg("%s: unused lane of sample %d, channel %d is not finite", what, n, c);
                }
    check_margins(what, t);
}
