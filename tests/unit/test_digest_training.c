/* The digest of a training: what a result says changes it, what a restart loses does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "pipeline/state.h"

static sg_weights *make(sg_net **net, const char *arch) {
    const sg_net_options options = {
        .arch = arch, .classes = 10, .channels = 3, .image_height = 32, .image_width = 32};
    sg_weights *weights;
    assert_int_equal(sg_net_create(net, &options), SG_OK);
    assert_int_equal(sg_weights_create(&weights, *net), SG_OK);
    sg_weights_init(weights, 1);
    return weights;
}

static bool same_after(const sg_training *training, const sg_score *score, const char before[33]) {
    char after[33];
    sg_state_digest(training, score, after);
    return strcmp(before, after) == 0;
}

static void expect_count_in_digest(const char *arch, bool expected) {
    sg_net *net;
    char before[33];
    sg_training training = {.weights = make(&net, arch)};
    sg_state_digest(&training, NULL, before);
    training.weights->batches++;
    if (same_after(&training, NULL, before) == expected)
        fail_msg("%s: the number of minibatches %s its digest", arch, expected ? "is not in" : "is in");
    sg_weights_destroy(&training.weights);
    sg_net_destroy(&net);
}

/* Files keep the number of minibatches beside running statistics only. */
static void test_minibatches_count_where_statistics_are(void **state) {
    (void)state;
    expect_count_in_digest("resnet20", true);
    expect_count_in_digest("lenet", false);
}

static void test_digest_covers_the_whole_result(void **state) {
    (void)state;
    sg_net *net, *twin;
    char before[33];
    sg_epoch row = {.test_loss = 1.0};
    sg_score score = {.loss = 1.0, .accuracy = 0.5};
    sg_training training = {
        .weights = make(&net, "resnet20"), .kept = make(&twin, "resnet20"), .rows = &row, .epoch = 1};
    sg_state_digest(&training, &score, before);
    row.seconds = 5.0; /* a clock */
    assert_true(same_after(&training, &score, before));
    row.test_loss = 2.0;
    assert_false(same_after(&training, &score, before));
    row.test_loss = 1.0;
    score.accuracy = 0.25;
    assert_false(same_after(&training, &score, before));
    score.accuracy = 0.5;
    float value = training.kept->values[7];
    training.kept->values[7] = value + 1.0f;
    assert_false(same_after(&training, &score, before));
    training.kept->values[7] = value;
    assert_true(same_after(&training, &score, before));
    training.weights->variance[3] = 2.0f;
    assert_false(same_after(&training, &score, before));
    sg_weights_destroy(&training.weights);
    sg_weights_destroy(&training.kept);
    sg_net_destroy(&net);
    sg_net_destroy(&twin);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minibatches_count_where_statistics_are),
        cmocka_unit_test(test_digest_covers_the_whole_result),
    };
    return cmocka_run_group_tests_name("digest_training", tests, NULL, NULL);
}
