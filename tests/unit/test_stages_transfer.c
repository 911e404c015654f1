/* The eight ways in which a transfer starts, value by value against the protocol's table, on networks with
 * biases (lenet), batch norm (resnet20), both (shufflenet), layer norm and embeddings (vit). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/select.h"
#include "stages/signs.h"
#include "stages/transfer.h"
#include "tests/reference/stage_fixture.h"

enum { SEARCH_SEED = 1, TRANSFER_SEED = 2 };

static const struct {
    const char *arch;
    int width;
} network[] = {{"lenet", 0}, {"resnet20", 4}, {"shufflenet", 0}, {"vit", 0}};
enum { NETWORKS = sizeof network / sizeof *network };

typedef struct fixture {
    sg_net *net;
    sg_weights *trained, *search_init, *init, *out;
    int8_t *signs;
    sg_transfer_source source;
} fixture;

static void must(int status) {
    if (status != SG_OK) fail_msg("%s\n%s", sg_error_message(), sg_error_trace());
}

/* A stand-in for a search state: other values, norms and statistics than any initialisation, half pruned. */
static void fixture_create(fixture *f, const char *arch, int width) {
    f->net = make_net(arch, width);
    f->trained = make_weights(f->net, 77);
    f->search_init = make_weights(f->net, SEARCH_SEED);
    f->init = make_weights(f->net, TRANSFER_SEED);
    must(sg_weights_create(&f->out, f->net));
    for (int p = 0; p < f->net->params; p++) {
        const sg_param *param = &f->net->param[p];
        for (size_t i = 0; i < param->count; i++) {
            float *v = &f->trained->values[param->offset + i];
            if (param->role == SG_ROLE_GAMMA)
                *v = i % 5 == 0 ? -0.5f : 1.25f + 0.01f * (float)i;
            else if (param->role != SG_ROLE_WEIGHT)
                *v += i % 2 == 0 ? 0.125f : -0.125f;
        }
    }
    for (size_t i = 0; i < f->net->channels_tracked; i++) {
        f->trained->mean[i] = 0.5f + (float)i;
        f->trained->variance[i] = 2.0f + (float)i;
    }
    f->trained->batches = 40;
    must(sg_prune_global(f->trained, 0.5, NULL));
    for (size_t i = 0, zeros = 0; i < f->net->values && zeros < 2; i++) /* survivors that are exactly zero */
        if (f->net->param[0].role == SG_ROLE_WEIGHT && i < f->net->param[0].count && f->trained->mask[i])
            f->trained->values[i] = zeros++ == 0 ? 0.0f : -0.0f;
    must(SG_NEW(&f->signs, f->net->values));
    sg_extract_signs(f->trained, f->signs);
    f->source = (sg_transfer_source){
        .trained = f->trained, .signs = f->signs, .classifier_matches = true, .search_seed = SEARCH_SEED};
}

static void fixture_destroy(fixture *f) {
    sg_weights_destroy(&f->trained);
    sg_weights_destroy(&f->search_init);
    sg_weights_destroy(&f->init);
    sg_weights_destroy(&f->out);
    free(f->signs);
    sg_net_destroy(&f->net);
}

/* The protocol's table in words of its own. ANY_SIGN: the magnitude of the trained value, a sign from
 * elsewhere. */
enum what { INIT, STAMPED, TRAINED, ANY_SIGN, SEARCH_INIT_SIGN };

typedef struct expectation {
    enum sg_mode mode;
    enum what weights;
    bool masked;
    enum what norms, rest; /* rest: classifier, biases, embeddings */
    bool statistics;       /* trained; otherwise those of an initialisation */
} expectation;

static float expected_value(const fixture *f, enum what what, size_t i) {
    float init = f->init->values[i], trained = f->trained->values[i];
    switch (what) {
    case INIT:
        return init;
    case STAMPED:
        return trained < 0.0f ? -fabsf(init) : fabsf(init);
    case TRAINED:
        return trained;
    case ANY_SIGN:
        return f->out->values[i] < 0.0f ? -fabsf(trained) : fabsf(trained);
    case SEARCH_INIT_SIGN:
        return f->search_init->values[i] < 0.0f ? -fabsf(trained) : fabsf(trained);
    }
    return NAN;
}

static enum what what_of(const expectation *e, enum sg_role role) {
    if (role == SG_ROLE_WEIGHT) return e->weights;
    return role == SG_ROLE_GAMMA || role == SG_ROLE_BETA ? e->norms : e->rest;
}

static void expect_entry(const fixture *f, const expectation *e, const sg_param *param, size_t k) {
    size_t i = param->offset + k;
    bool survives = !e->masked || param->role != SG_ROLE_WEIGHT || f->trained->mask[i];
    float expected = survives ? expected_value(f, what_of(e, param->role), i) : 0.0f,
          came = f->out->values[i];
    if (f->out->mask[i] != survives)
        fail_msg("%s, %s[%zu]: mask %d, expected %d", sg_mode_name(e->mode), param->name, k, f->out->mask[i],
                 survives);
    bool same = came == expected && (expected == 0.0f || signbit(came) == signbit(expected));
    if (!same)
        fail_msg("%s, %s, %s[%zu]: %a, expected %a", f->net->arch, sg_mode_name(e->mode), param->name, k,
                 (double)came, (double)expected);
}

static void expect_all(const fixture *f, const expectation *e) {
    for (int p = 0; p < f->net->params; p++)
        for (size_t k = 0; k < f->net->param[p].count; k++) expect_entry(f, e, &f->net->param[p], k);
    const sg_weights *statistics = e->statistics ? f->trained : f->init;
    assert_memory_equal(f->out->mean, statistics->mean, f->net->channels_tracked * sizeof(float));
    assert_memory_equal(f->out->variance, statistics->variance, f->net->channels_tracked * sizeof(float));
    assert_int_equal(f->out->batches, statistics->batches);
}

static void expect_mode(const expectation *e) {
    for (int n = 0; n < NETWORKS; n++) {
        fixture f;
        fixture_create(&f, network[n].arch, network[n].width);
        must(sg_transfer_begin(f.out, e->mode, &f.source, TRANSFER_SEED));
        expect_all(&f, e);
        fixture_destroy(&f);
    }
}

static void test_signed(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_SIGNED, STAMPED, true, INIT, STAMPED, false});
}

static void test_mask(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_MASK, INIT, true, INIT, INIT, false});
}

static void test_retrain(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_RETRAIN, TRAINED, true, TRAINED, TRAINED, true});
}

static void test_signed_norms(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_SIGNED_NORMS, STAMPED, true, TRAINED, STAMPED, false});
}

static void test_random_signs(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_RANDOM_SIGNS, ANY_SIGN, true, INIT, TRAINED, false});
}

static void test_magnitude(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_MAGNITUDE, SEARCH_INIT_SIGN, true, INIT, TRAINED, false});
}

static void test_frozen(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_FROZEN, STAMPED, true, INIT, STAMPED, false});
}

static void test_dense(void **state) {
    (void)state;
    expect_mode(&(expectation){SG_MODE_DENSE, INIT, false, INIT, INIT, false});
}

static void test_dense_needs_no_source(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "lenet", 0);
    sg_transfer_source none = {.classifier_matches = true};
    must(sg_transfer_begin(f.out, SG_MODE_DENSE, &none, TRANSFER_SEED));
    expect_all(&f, &(expectation){SG_MODE_DENSE, INIT, false, INIT, INIT, false});
    fixture_destroy(&f);
}

/* ---- Randomness. */

static void test_same_seed_same_bits_other_seed_other_values(void **state) {
    (void)state;
    for (enum sg_mode mode = 0; mode < SG_MODE_COUNT; mode++) {
        fixture f;
        fixture_create(&f, "resnet20", 4);
        sg_weights *again = make_weights(f.net, 123); /* whatever was in it before */
        must(sg_transfer_begin(f.out, mode, &f.source, 2));
        must(sg_transfer_begin(again, mode, &f.source, 2));
        assert_memory_equal(f.out->values, again->values, f.net->values * sizeof(float));
        must(sg_transfer_begin(again, mode, &f.source, 3));
        bool same = memcmp(f.out->values, again->values, f.net->values * sizeof(float)) == 0;
        /* These two take everything from the search, but norms, whose initialisation is the same for all
         * seeds. */
        if (same != (mode == SG_MODE_RETRAIN || mode == SG_MODE_MAGNITUDE))
            fail_msg("mode %s: seeds 2 and 3 give %s values", sg_mode_name(mode),
                     same ? "the same" : "other");
        sg_weights_destroy(&again);
        fixture_destroy(&f);
    }
}

/* Of n fair coins the share of heads is off by 0.5/sqrt(n) (one sigma); five sigma are allowed. */
static void test_random_signs_are_half_negative(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20", 4);
    must(sg_transfer_begin(f.out, SG_MODE_RANDOM_SIGNS, &f.source, TRANSFER_SEED));
    size_t negative = 0, as_trained = 0, n = 0;
    for (int p = 0; p < f.net->params; p++)
        for (size_t k = 0; k < f.net->param[p].count && f.net->param[p].role == SG_ROLE_WEIGHT; k++) {
            size_t i = f.net->param[p].offset + k;
            if (!f.out->mask[i]) continue;
            n++;
            negative += signbit(f.out->values[i]) != 0;
            as_trained += (f.out->values[i] < 0.0f) == (f.trained->values[i] < 0.0f);
        }
    double allowed = 2.5 / sqrt((double)n);
    if (fabs((double)negative / (double)n - 0.5) > allowed ||
        fabs((double)as_trained / (double)n - 0.5) > allowed)
        fail_msg("of %zu signs %zu are negative and %zu as trained, expected half of each", n, negative,
                 as_trained);
    fixture_destroy(&f);
}

static void test_magnitude_follows_the_search_seed(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20", 4);
    sg_weights *other = make_weights(f.net, 0);
    must(sg_transfer_begin(f.out, SG_MODE_MAGNITUDE, &f.source, TRANSFER_SEED));
    f.source.search_seed = SEARCH_SEED + 1;
    must(sg_transfer_begin(other, SG_MODE_MAGNITUDE, &f.source, TRANSFER_SEED));
    assert_memory_not_equal(f.out->values, other->values, f.net->values * sizeof(float));
    sg_weights_destroy(&other);
    fixture_destroy(&f);
}

/* ---- Signs alone. */

static void test_signs_alone_serve_the_modes_that_need_no_more(void **state) {
    (void)state;
    static const enum sg_mode mode[] = {SG_MODE_SIGNED, SG_MODE_MASK, SG_MODE_FROZEN, SG_MODE_DENSE};
    for (int m = 0; m < 4; m++) {
        fixture f;
        fixture_create(&f, "shufflenet", 0);
        sg_weights *alone = make_weights(f.net, 0);
        assert_false(sg_transfer_needs_trained(mode[m]));
        must(sg_transfer_begin(f.out, mode[m], &f.source, TRANSFER_SEED));
        f.source.trained = NULL;
        must(sg_transfer_begin(alone, mode[m], &f.source, TRANSFER_SEED));
        assert_memory_equal(f.out->values, alone->values, f.net->values * sizeof(float));
        assert_memory_equal(f.out->mask, alone->mask, f.net->values);
        sg_weights_destroy(&alone);
        fixture_destroy(&f);
    }
}

static void test_signs_alone_are_refused_by_the_modes_that_need_more(void **state) {
    (void)state;
    static const enum sg_mode mode[] = {SG_MODE_SIGNED_NORMS, SG_MODE_RETRAIN, SG_MODE_RANDOM_SIGNS,
                                        SG_MODE_MAGNITUDE};
    fixture f;
    fixture_create(&f, "lenet", 0);
    f.source.trained = NULL;
    for (int m = 0; m < 4; m++) {
        char expected[300];
        snprintf(expected, sizeof expected,
                 "transfer.modes: \"%s\" needs the trained weights of a search, and a signed-mask file has "
                 "only signs; use "
                 "\"signed\", \"mask\", \"frozen\" or \"dense\"",
                 sg_mode_name(mode[m]));
        assert_true(sg_transfer_needs_trained(mode[m]));
        assert_int_equal(sg_transfer_begin(f.out, mode[m], &f.source, TRANSFER_SEED), SG_CONFIG);
        assert_string_equal(sg_error_message(), expected);
    }
    fixture_destroy(&f);
}

static void test_a_mode_without_signs_is_a_bug(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "lenet", 0);
    f.source.signs = NULL;
    assert_int_equal(sg_transfer_begin(f.out, SG_MODE_SIGNED, &f.source, TRANSFER_SEED), SG_INTERNAL);
    assert_string_equal(sg_error_message(), "mode signed began without a signed mask");
    fixture_destroy(&f);
}

/* Another task's mask: weights and biases are stamped, the classifier is initialised. */
static void test_another_classifier_is_initialised(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "lenet", 0);
    f.source.trained = NULL;
    f.source.classifier_matches = false;
    for (int p = 0; p < f.net->params; p++) {
        const sg_param *param = &f.net->param[p];
        bool head = param->role == SG_ROLE_CLASSIFIER_WEIGHT || param->role == SG_ROLE_CLASSIFIER_BIAS;
        if (head) memset(f.signs + param->offset, 0, param->count);
    }
    must(sg_transfer_begin(f.out, SG_MODE_SIGNED, &f.source, TRANSFER_SEED));
    const expectation stamped = {SG_MODE_SIGNED, STAMPED, true, INIT, STAMPED, false};
    const expectation fresh = {SG_MODE_SIGNED, INIT, true, INIT, INIT, false};
    for (int p = 0; p < f.net->params; p++) {
        const sg_param *param = &f.net->param[p];
        bool head = param->role == SG_ROLE_CLASSIFIER_WEIGHT || param->role == SG_ROLE_CLASSIFIER_BIAS;
        for (size_t k = 0; k < param->count; k++) expect_entry(&f, head ? &fresh : &stamped, param, k);
    }
    fixture_destroy(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_retrain),
        cmocka_unit_test(test_signed_norms),
        cmocka_unit_test(test_random_signs),
        cmocka_unit_test(test_magnitude),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_dense_needs_no_source),
        cmocka_unit_test(test_same_seed_same_bits_other_seed_other_values),
        cmocka_unit_test(test_random_signs_are_half_negative),
        cmocka_unit_test(test_magnitude_follows_the_search_seed),
        cmocka_unit_test(test_signs_alone_serve_the_modes_that_need_no_more),
        cmocka_unit_test(test_signs_alone_are_refused_by_the_modes_that_need_more),
        cmocka_unit_test(test_a_mode_without_signs_is_a_bug),
        cmocka_unit_test(test_another_classifier_is_initialised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
