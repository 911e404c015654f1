/* Keys of stages: what changes them, and how differences are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/reference/plan_fixture.h"

/* Which kinds of stages get other keys by this override; dense is one of its own. */
typedef struct changes {
    bool warmup, round, extract, transfer, dense, connect;
} changes;

static changes changed_by(const char *override) {
    sg_plan *before = plan_of(small_plan, NULL), *after = plan_of(small_plan, override);
    assert_int_equal(before->count, after->count);
    changes c = {0};
    for (int i = 0; i < before->count; i++) {
        const sg_plan_stage *stage = &before->stages[i];
        assert_string_equal(stage->id, after->stages[i].id);
        if (strcmp(stage->key, after->stages[i].key) == 0) continue;
        switch (stage->kind) {
        case SG_STAGE_WARMUP:
            c.warmup = true;
            break;
        case SG_STAGE_ROUND:
            c.round = true;
            break;
        case SG_STAGE_EXTRACT:
            c.extract = true;
            break;
        case SG_STAGE_TRANSFER:
            *(stage->mode == SG_MODE_DENSE ? &c.dense : &c.transfer) = true;
            break;
        default:
            c.connect = true;
        }
    }
    sg_plan_destroy(&before);
    sg_plan_destroy(&after);
    return c;
}

static void check_changes(const char *override, changes expected) {
    changes c = changed_by(override);
    if (memcmp(&c, &expected, sizeof c) != 0)
        fail_msg("%s changes keys of warmup %d round %d extract %d transfer %d dense %d connect %d", override,
                 c.warmup, c.round, c.extract, c.transfer, c.dense, c.connect);
}

static const changes nothing = {0}, everything = {true, true, true, true, true, true};

static void run_options_change_no_key(void **state) {
    (void)state;
    const char *const overrides[] = {"run.threads=2",
                                     "run.ranks_per_stage=2",
                                     "run.keep=5",
                                     "run.checkpoint_minutes=1",
                                     "run.time_limit_minutes=9",
                                     "single.epochs=3",
                                     "data.path=elsewhere",
                                     "search.imp_rewind_epoch=1"};
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) check_changes(overrides[i], nothing);
}

static void training_options_change_every_key(void **state) {
    (void)state;
    const char *const overrides[] = {"train.lr=0.05",        "train.momentum=0.8", "train.weight_decay=0",
                                     "train.batch=64",       "train.max_steps=3",  "train.order=sequential",
                                     "data.augment=none",    "net.classes=11",     "data.train_limit=32",
                                     "train.optimizer=adam", "data.seed=2"};
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) check_changes(overrides[i], everything);
}

static void search_options_spare_dense(void **state) {
    (void)state;
    const changes expected = {true, true, true, true, false, true};
    check_changes("search.warmup_epochs=2", expected);
    check_changes("search.schedule=cosine", expected);
}

static void round_options_spare_the_warmup(void **state) {
    (void)state;
    const changes expected = {false, true, true, true, false, true};
    check_changes("search.round_epochs=2", expected);
    check_changes("search.prune_fraction=0.25", expected);
}

static void transfer_options_spare_the_search(void **state) {
    (void)state;
    const changes expected = {false, false, false, true, true, true};
    check_changes("transfer.epochs=3", expected);
    check_changes("transfer.schedule=cosine", expected);
}

static void connect_options_change_paths_alone(void **state) {
    (void)state;
    const changes expected = {false, false, false, false, false, true};
    check_changes("connect.points=5", expected);
    check_changes("connect.recalibrate=false", expected);
}

static void adam_has_no_momentum(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "train.optimizer=adam");
    assert_null(strstr(plan->stages[0].key_text, "train.momentum"));
    sg_plan_destroy(&plan);
}

static void more_rounds_keep_the_earlier_ones(void **state) {
    (void)state;
    sg_plan *two = plan_of(small_plan, NULL), *four = plan_of(small_plan, "search.rounds=4");
    for (int i = 0; i < two->count; i++)
        assert_string_equal(stage_of(four, two->stages[i].id)->key, two->stages[i].key);
    sg_plan_destroy(&two);
    sg_plan_destroy(&four);
}

static void data_and_arithmetic_are_in_the_key(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    sg_plan *data = plan_with(small_plan, NULL, "data 2", "BLIS zen3 6x16 lanes 16");
    sg_plan *arithmetic = plan_with(small_plan, NULL, "data 1", "BLIS skx 32x12 lanes 32");
    for (int i = 0; i < plan->count; i++) {
        assert_string_not_equal(plan->stages[i].key, data->stages[i].key);
        assert_string_not_equal(plan->stages[i].key, arithmetic->stages[i].key);
    }
    sg_plan_destroy(&plan);
    sg_plan_destroy(&data);
    sg_plan_destroy(&arithmetic);
}

static void keys_differ_between_stages(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    for (int i = 0; i < plan->count; i++) {
        assert_int_equal(strlen(plan->stages[i].key), 32);
        assert_int_equal(strspn(plan->stages[i].key, "0123456789abcdef"), 32);
        for (int j = 0; j < i; j++) assert_string_not_equal(plan->stages[i].key, plan->stages[j].key);
    }
    sg_plan_destroy(&plan);
}

static void key_texts_hold_the_parents(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    const sg_plan_stage *round = stage_of(plan, "lenet-shapes/lrr-s1/round-01");
    char line[256];
    snprintf(line, sizeof line, "\nparent lenet-shapes/lrr-s1/warmup = %s\n",
             plan->stages[round->parents[0]].key);
    assert_non_null(strstr(round->key_text, line));
    assert_non_null(strstr(round->key_text, "\ntrain.lr = 0.1\n"));
    assert_non_null(strstr(round->key_text, "format = 1\n"));
    sg_plan_destroy(&plan);
}

/* ---- differences */

static void difference_names_the_fields(void **state) {
    (void)state;
    sg_plan *before = plan_of(small_plan, NULL), *after = plan_of(small_plan, "train.lr=0.05");
    char out[1024];
    assert_int_equal(sg_plan_diff(stage_of(before, "lenet-shapes/lrr-s1/warmup")->key_text,
                                  stage_of(after, "lenet-shapes/lrr-s1/warmup")->key_text, out, sizeof out),
                     1);
    assert_string_equal(out, "train.lr: 0.1 -> 0.05\n");
    sg_plan_destroy(&before);
    sg_plan_destroy(&after);
}

static void difference_names_what_came_and_went(void **state) {
    (void)state;
    char out[256];
    assert_int_equal(sg_plan_diff("a = 1\nb = 2\n", "a = 1\nc = 3\n", out, sizeof out), 2);
    assert_string_equal(out, "c: (absent) -> 3\nb: 2 -> (absent)\n");
}

static void difference_of_equal_texts_is_empty(void **state) {
    (void)state;
    char out[16] = "x";
    assert_int_equal(sg_plan_diff("a = 1\n", "a = 1\n", out, sizeof out), 0);
    assert_string_equal(out, "");
}

static void difference_is_cut_off_at_the_buffer(void **state) {
    (void)state;
    char out[8];
    assert_int_equal(sg_plan_diff("train.lr = 0.1\nb = 1\n", "train.lr = 0.2\nb = 2\n", out, sizeof out), 2);
    assert_string_equal(out, "train.l");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_options_change_no_key),
        cmocka_unit_test(training_options_change_every_key),
        cmocka_unit_test(search_options_spare_dense),
        cmocka_unit_test(round_options_spare_the_warmup),
        cmocka_unit_test(transfer_options_spare_the_search),
        cmocka_unit_test(connect_options_change_paths_alone),
        cmocka_unit_test(adam_has_no_momentum),
        cmocka_unit_test(more_rounds_keep_the_earlier_ones),
        cmocka_unit_test(data_and_arithmetic_are_in_the_key),
        cmocka_unit_test(keys_differ_between_stages),
        cmocka_unit_test(key_texts_hold_the_parents),
        cmocka_unit_test(difference_names_the_fields),
        cmocka_unit_test(difference_names_what_came_and_went),
        cmocka_unit_test(difference_of_equal_texts_is_empty),
        cmocka_unit_test(difference_is_cut_off_at_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
