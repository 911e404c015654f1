/* What a plan takes from files, and what it assumes where there are none yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "pipeline/data.h"
#include "pipeline/plan.h"
#include "tests/reference/temporary.h"

static void digest_of_a_file(void **state) {
    (void)state;
    char one[33], two[33], *directory = temporary_create();
    const char *path = temporary_path(directory, "file");
    temporary_text(directory, "file", "sign");
    assert_int_equal(sg_plan_file_digest(path, one), SG_OK);
    temporary_text(directory, "file", "signs");
    assert_int_equal(sg_plan_file_digest(path, two), SG_OK);
    assert_int_equal(strlen(one), 32);
    assert_string_not_equal(one, two);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sg_plan_file_digest(path, two), SG_NOINPUT);
    temporary_remove(&directory);
}

/* Folders for networks of ImageNet's size are reckoned as ImageNet, others as Tiny-ImageNet. */
static void folders_are_reckoned_by_their_size(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int side;
        size_t train, test;
    } expected[] = {{"data = { kind = \"folder\"; path = \"x\"; augment = \"resized_crop\"; size = 224; };",
                     224, 1281167, 50000},
                    {"data = { kind = \"folder\"; path = \"x\"; };", 64, 100000, 10000}};
    for (int i = 0; i < 2; i++) {
        sg_run_config *config;
        sg_plan_case_facts facts;
        assert_int_equal(sg_config_parse(&config, "test.cfg", expected[i].text, NULL, 0), SG_OK);
        assert_int_equal(sg_plan_assume_facts(&config->cases[0], &facts), SG_OK);
        assert_int_equal(facts.height, expected[i].side);
        assert_int_equal(facts.width, expected[i].side);
        assert_int_equal(facts.train_samples, expected[i].train);
        assert_int_equal(facts.test_samples, expected[i].test);
        sg_config_destroy(&config);
    }
}

static void assume(const char *kind, int train_limit, sg_plan_case_facts *facts) {
    char text[256];
    sg_run_config *config;
    snprintf(text, sizeof text,
             "net = { classes = 100; }; data = { kind = \"%s\"; path = \"x\"; train_limit = %d; };", kind,
             train_limit);
    assert_int_equal(sg_config_parse(&config, "test.cfg", text, NULL, 0), SG_OK);
    assert_int_equal(sg_plan_assume_facts(&config->cases[0], facts), SG_OK);
    sg_config_destroy(&config);
}

static void every_kind_of_data_can_be_planned(void **state) {
    (void)state;
    for (int k = 0; sg_data_kinds[k] != NULL; k++) {
        sg_plan_case_facts facts;
        assume(sg_data_kinds[k], 0, &facts);
        assert_in_range(facts.channels, 1, SG_DATA_CHANNELS);
        assert_in_range(facts.height, 1, 4096);
        assert_in_range(facts.train_samples, 1, 10000000);
        assert_in_range(facts.test_samples, 1, 10000000);
    }
}

/* Files have what they have; procedural data are as many as one asks for. */
static void limits_are_obeyed_as_far_as_data_go(void **state) {
    (void)state;
    sg_plan_case_facts facts;
    assume("cifar10", 70000, &facts);
    assert_int_equal(facts.train_samples, 50000);
    assume("cifar10", 300, &facts);
    assert_int_equal(facts.train_samples, 300);
    assume("shapes", 70000, &facts);
    assert_int_equal(facts.train_samples, 70000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_of_a_file),
        cmocka_unit_test(folders_are_reckoned_by_their_size),
        cmocka_unit_test(every_kind_of_data_can_be_planned),
        cmocka_unit_test(limits_are_obeyed_as_far_as_data_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
