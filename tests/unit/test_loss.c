/* Softmax cross-entropy against the double twin. The loss's error is that of the float exponentials, 2e-7
 * relative to each sample's loss or 1; gradients are at most 1 / samples. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/reference/layer_fixture.h"

#define OK(call) assert_int_equal((call), SG_OK)

typedef struct batch {
    ref_shape s;
    double *z;
    int32_t *label; /* -1 in unused lanes */
    sg_extent extent;
    sg_tensor *logits;
} batch;

static batch make_batch(layer_run *run, int samples, int classes, double sd) {
    batch b = {.s = {samples, classes, 1, 1}, .extent = layer_extent(run, samples)};
    int lanes = b.extent.blocks * run->m->lanes;
    b.z = layer_random(run, ref_count(b.s), 0, sd);
    b.label = (int32_t *)layer_zeros(run, (size_t)lanes);
    for (int n = 0; n < lanes; n++) b.label[n] = n < samples ? layer_draw(run, classes) : -1;
    b.logits = layer_tensor(run, b.s, 0, b.z, LAYER_ACTIVATION);
    return b;
}

static void check_loss(layer_run *run, batch *b, bool training) {
    double *dz = layer_zeros(run, ref_count(b->s)), sum;
    sg_tensor *dlogits = layer_tensor(run, b->s, 0, NULL, 5);
    int64_t right, correct;
    double expected = ref_loss(b->s.samples, b->s.channels, b->z, b->label, dz, &right);
    OK(run->k->loss(run->m, &b->extent, b->logits, b->label, training ? dlogits : NULL, &sum, &correct));
    if (!(fabs(sum - expected) <= 3e-7 * fmax(expected, b->s.samples)))
        fail_msg("loss of %d samples, %d classes is %.12g, expected %.12g", b->s.samples, b->s.channels, sum,
                 expected);
    if (correct != right) fail_msg("%lld right answers, expected %lld", (long long)correct, (long long)right);
    if (!training) return;
    for (size_t i = 0; i < ref_count(b->s); i++) dz[i] *= b->s.samples;
    for (int block = 0; block < dlogits->blocks; block++)
        for (int i = 0; i < b->s.channels * run->m->lanes; i++)
            sg_tensor_at(dlogits, block, 0, 0)[i] *= (float)b->s.samples;
    layer_check(run, "dlogits * samples", dlogits, b->s, dz, 5e-7, true);
}

static void training(layer_run *run) {
    static const int samples[] = {1, 16, 33, 128}, classes[] = {2, 7, 100, 1000};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            batch b = make_batch(run, samples[i], classes[k], 3);
            check_loss(run, &b, true);
        }
}

static void evaluation(layer_run *run) {
    batch b = make_batch(run, 35, 10, 3);
    check_loss(run, &b, false);
}

/* Logits of hundreds: no overflow, and a loss in proportion. */
static void large_logits(layer_run *run) {
    batch b = make_batch(run, 17, 10, 300);
    check_loss(run, &b, true);
}

/* With equal logits the first class is the answer. */
static void first_maximum(layer_run *run) {
    batch b = make_batch(run, 20, 5, 0);
    for (int n = 0; n < 20; n++) b.label[n] = n % 2;
    double sum;
    int64_t correct;
    OK(run->k->loss(run->m, &b.extent, b.logits, b.label, NULL, &sum, &correct));
    if (correct != 10) fail_msg("%lld right answers among ties, expected 10", (long long)correct);
}

static void divergence(layer_run *run) {
    batch b = make_batch(run, 20, 5, 1);
    double sum;
    int64_t correct;
    for (int c = 0; c < 5; c += 2) {
        float *at = sg_tensor_at(b.logits, 0, 0, 0) + c * run->m->lanes + 3, kept = *at;
        *at = NAN;
        OK(run->k->loss(run->m, &b.extent, b.logits, b.label, NULL, &sum, &correct));
        if (isfinite(sum)) fail_msg("loss with NaN in logit %d is %g, expected NaN", c, sum);
        *at = INFINITY;
        OK(run->k->loss(run->m, &b.extent, b.logits, b.label, NULL, &sum, &correct));
        if (isfinite(sum))
            fail_msg("loss with infinity in logit %d is %g, expected no finite number", c, sum);
        *at = kept;
    }
}

static void wrong_label(layer_run *run) {
    batch b = make_batch(run, 4, 10, 1);
    double sum;
    int64_t correct;
    b.label[2] = 10;
    assert_int_equal(run->k->loss(run->m, &b.extent, b.logits, b.label, NULL, &sum, &correct), SG_DATA);
    assert_non_null(strstr(sg_error_message(), "label 10 of sample 2"));
    assert_non_null(strstr(sg_error_message(), "net.classes"));
}

static void ties_count_for_the_first(void **state) { (void)state, layer_on_every_variant(first_maximum); }
static void divergence_shows(void **state) { (void)state, layer_on_every_variant(divergence); }
static void wrong_label_is_named(void **state) { (void)state, layer_on_every_variant(wrong_label); }
LAYER_TESTS(training)
LAYER_TESTS(evaluation)
LAYER_TESTS(large_logits)

int main(void) {
    const struct CMUnitTest tests[] = {
        LAYER_UNITS(training),
        LAYER_UNITS(evaluation),
        LAYER_UNITS(large_logits),
        cmocka_unit_test(ties_count_for_the_first),
        cmocka_unit_test(divergence_shows),
        cmocka_unit_test(wrong_label_is_named),
    };
    return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}
