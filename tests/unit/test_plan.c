/* The plan: which stages there are, in which order, under which names, in which parts, at which cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/reference/plan_fixture.h"

static int count_kind(const sg_plan *plan, enum sg_stage_kind kind) {
    int count = 0;
    for (int i = 0; i < plan->count; i++) count += plan->stages[i].kind == kind;
    return count;
}

static int count_pair(const sg_plan *plan, enum sg_pair pair) {
    int count = 0;
    for (int i = 0; i < plan->count; i++)
        count += plan->stages[i].kind == SG_STAGE_CONNECT && plan->stages[i].pair == pair;
    return count;
}

/* ---- the graph */

static void small_plan_has_these_stages(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    assert_int_equal(count_kind(plan, SG_STAGE_WARMUP), 2);
    assert_int_equal(count_kind(plan, SG_STAGE_ROUND), 4);
    assert_int_equal(count_kind(plan, SG_STAGE_EXTRACT), 4);
    /* Per search 3 modes x 2 seeds x 2 orders; dense 2 seeds x 2 orders once. */
    assert_int_equal(count_kind(plan, SG_STAGE_TRANSFER), 2 * 12 + 4);
    assert_int_equal(count_pair(plan, SG_PAIR_SIGNED_SEARCH), 2 * 2);
    assert_int_equal(count_pair(plan, SG_PAIR_SIGNED_RETRAIN), 2 * 2);
    assert_int_equal(count_pair(plan, SG_PAIR_SIGNED_NORMS_RETRAIN), 2 * 2);
    assert_int_equal(count_pair(plan, SG_PAIR_SIGNED_SIGNED), 2 * 1);
    assert_int_equal(count_pair(plan, SG_PAIR_SGD_NOISE), 2 * 3 * 2 + 2);
    assert_int_equal(count_pair(plan, SG_PAIR_NORM_REINIT), 2 * 1);
    sg_plan_destroy(&plan);
    assert_null(plan);
}

static void parents_come_first(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "search.methods=lrr,aws,imp");
    for (int i = 0; i < plan->count; i++)
        for (int j = 0; j < plan->stages[i].parent_count; j++)
            assert_in_range(plan->stages[i].parents[j], 0, i - 1);
    sg_plan_destroy(&plan);
}

static void ids_are_unique_relative_paths(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "search.alpha=((0,1),(0.1,1),(0.1000001,1),(0.5,0.5))");
    for (int i = 0; i < plan->count; i++) {
        const char *id = plan->stages[i].id;
        assert_int_equal(strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_-./"), strlen(id));
        assert_true(id[0] != '/' && strstr(id, "//") == NULL && strstr(id, "..") == NULL);
        for (int j = 0; j < i; j++) assert_string_not_equal(id, plan->stages[j].id);
    }
    sg_plan_destroy(&plan);
}

static void ids_are_readable(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    const char *const ids[] = {"lenet-shapes/dense-s2",
                               "lenet-shapes/dense-s2-o1002",
                               "lenet-shapes/connect/sgd-noise-dense-s2-o1002",
                               "lenet-shapes/lrr-s1/warmup",
                               "lenet-shapes/aws-a0-1-s1/round-02",
                               "lenet-shapes/aws-a0-1-s1/round-02/extract",
                               "lenet-shapes/aws-a0-1-s1/round-02/signed-s2",
                               "lenet-shapes/aws-a0-1-s1/round-02/signed-s2-o1002",
                               "lenet-shapes/aws-a0-1-s1/round-02/connect/signed-search-s2",
                               "lenet-shapes/aws-a0-1-s1/round-02/connect/signed-retrain-s3",
                               "lenet-shapes/aws-a0-1-s1/round-02/connect/signed-signed-s2-s3",
                               "lenet-shapes/aws-a0-1-s1/round-02/connect/sgd-noise-retrain-s3-o1003",
                               "lenet-shapes/aws-a0-1-s1/round-02/connect/norm-reinit"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) stage_of(plan, ids[i]);
    assert_int_equal(sg_plan_find(plan, "lenet-shapes/aws-a0-1-s1/round-01/signed-s2"), -1);
    sg_plan_destroy(&plan);
}

static void pairs_connect_what_they_name(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    const char *const trios[][3] = {
        {"connect/signed-search-s2", "signed-s2", ""},
        {"connect/signed-retrain-s3", "signed-s3", "retrain-s3"},
        {"connect/signed_norms-retrain-s2", "signed_norms-s2", "retrain-s2"},
        {"connect/signed-signed-s2-s3", "signed-s2", "signed-s3"},
        {"connect/sgd-noise-signed-s2-o1002", "signed-s2", "signed-s2-o1002"},
    };
    for (size_t i = 0; i < sizeof trios / sizeof *trios; i++) {
        char id[256], expected[256];
        snprintf(id, sizeof id, "lenet-shapes/lrr-s1/round-02/%s", trios[i][0]);
        const sg_plan_stage *path = stage_of(plan, id);
        assert_int_equal(path->parent_count, 2);
        for (int j = 0; j < 2; j++) {
            snprintf(expected, sizeof expected, "lenet-shapes/lrr-s1/round-02%s%s",
                     trios[i][j + 1][0] != '\0' ? "/" : "", trios[i][j + 1]);
            assert_string_equal(plan->stages[path->parents[j]].id, expected);
        }
    }
    const sg_plan_stage *reinit = stage_of(plan, "lenet-shapes/lrr-s1/round-02/connect/norm-reinit");
    assert_int_equal(reinit->parent_count, 1);
    assert_string_equal(plan->stages[reinit->parents[0]].id, "lenet-shapes/lrr-s1/round-02");
    sg_plan_destroy(&plan);
}

static void orders_count_from_the_transfer_seed(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "transfer.noise_orders=2");
    const char *const ids[] = {"lenet-shapes/lrr-s1/round-02/signed-s2",
                               "lenet-shapes/lrr-s1/round-02/signed-s2-o1002",
                               "lenet-shapes/lrr-s1/round-02/signed-s2-o2002"};
    for (int k = 0; k < 3; k++) {
        const sg_plan_stage *stage = stage_of(plan, ids[k]);
        assert_int_equal(stage->order, k);
        assert_int_equal(stage->transfer_seed, 2);
        assert_int_equal(stage->order_seed, 2 + 1000 * k);
    }
    sg_plan_destroy(&plan);
}

static void imp_rounds_know_their_warmup(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "search.methods=imp");
    int warmup = sg_plan_find(plan, "lenet-shapes/imp-s1/warmup");
    const sg_plan_stage *one = stage_of(plan, "lenet-shapes/imp-s1/round-01");
    const sg_plan_stage *two = stage_of(plan, "lenet-shapes/imp-s1/round-02");
    assert_int_equal(one->parent_count, 1);
    assert_int_equal(one->parents[0], warmup);
    assert_int_equal(two->parent_count, 2);
    assert_int_equal(two->parents[1], warmup);
    assert_string_equal(plan->stages[two->parents[0]].id, "lenet-shapes/imp-s1/round-01");
    sg_plan_destroy(&plan);
}

static void only_aws_varies_alpha(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "search.alpha=((0,1),(0.5,1))");
    assert_int_equal(count_kind(plan, SG_STAGE_WARMUP), 3);
    const sg_plan_stage *lrr = stage_of(plan, "lenet-shapes/lrr-s1/warmup");
    assert_true(lrr->alpha.low == 1 && lrr->alpha.high == 1);
    const sg_plan_stage *aws = stage_of(plan, "lenet-shapes/aws-a0.5-1-s1/warmup");
    assert_true(aws->alpha.low == 0.5 && aws->alpha.high == 1);
    sg_plan_destroy(&plan);
}

static void mask_file_replaces_the_search(void **state) {
    (void)state;
    sg_plan *plan = plan_of(
        "net = { arch = \"lenet\"; };\ntransfer = { mask_file = \"m.h5\"; noise_orders = 0; };", NULL);
    assert_int_equal(count_kind(plan, SG_STAGE_WARMUP), 0);
    assert_int_equal(count_kind(plan, SG_STAGE_ROUND), 0);
    /* signed, mask, dense with two seeds; one signed-signed pair. */
    assert_int_equal(count_kind(plan, SG_STAGE_TRANSFER), 6);
    assert_int_equal(count_kind(plan, SG_STAGE_CONNECT), 1);
    const sg_plan_stage *stage = stage_of(plan, "lenet-shapes/file-01234567/signed-s2");
    assert_int_equal(stage->parent_count, 0);
    assert_false(stage->searched);
    assert_non_null(strstr(stage->key_text, "transfer.mask_file = 0123456789abcdef0123456789abcdef\n"));
    sg_plan_destroy(&plan);
}

static void density_follows_the_integer_chain(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    size_t prunable = sg_net_count(plan->nets[0], SG_ROLE_WEIGHT);
    size_t one = prunable * 4 / 5, two = one * 4 / 5;
    assert_int_equal(plan->about[0].kept[1], one);
    assert_int_equal(plan->about[0].kept[2], two);
    assert_true(stage_of(plan, "lenet-shapes/lrr-s1/round-02/signed-s2")->density ==
                (double)two / (double)prunable);
    assert_true(stage_of(plan, "lenet-shapes/dense-s2")->density == 1);
    sg_plan_destroy(&plan);
}

static void pruning_to_nothing_is_refused(void **state) {
    (void)state;
    sg_run_config *config = config_of("net = { arch = \"lenet\"; };\nsearch = { rounds = 500; };", NULL);
    sg_plan *plan;
    assert_int_equal(try_plan(&plan, config, "", NULL), SG_CONFIG);
    assert_null(plan);
    const char *start =
        "test.cfg: search.rounds = 500 with search.prune_fraction = 0.2 prunes to nothing: round ";
    assert_int_equal(strncmp(sg_error_message(), start, strlen(start)), 0);
    sg_config_destroy(&config);
}

static void too_many_stages_are_refused(void **state) {
    (void)state;
    char text[8192] = "net = { arch = \"lenet\"; };\ntransfer = { noise_orders = 999; seeds = (0";
    for (int i = 1; i < 200; i++) sprintf(text + strlen(text), ",%d", i);
    strcat(text, "); };");
    sg_run_config *config = config_of(text, NULL);
    sg_plan *plan;
    assert_int_equal(try_plan(&plan, config, "", NULL), SG_CONFIG);
    assert_string_equal(
        sg_error_message(),
        "test.cfg: the configuration asks for more than 100000 stages; split it into several");
    sg_config_destroy(&config);
}

/* ---- cases */

static void cases_are_named_for_their_network(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "net.arch=lenet,mlp");
    assert_string_equal(plan->about[0].id, "lenet-shapes");
    assert_string_equal(plan->about[1].id, "mlp-shapes");
    sg_plan_destroy(&plan);
    plan = plan_of("net = { arch = \"mlp\"; width = 64; };", NULL);
    assert_string_equal(plan->about[0].id, "mlp-w64-shapes");
    sg_plan_destroy(&plan);
}

static void cases_of_one_name_tell_their_difference(void **state) {
    (void)state;
    const char text[] = "net = { arch = \"lenet\"; };\n"
                        "sweeps = ( { train = { lr = 0.1; }; }, { train = { lr = 0.05; }; } );";
    sg_plan *plan = plan_of(text, NULL);
    assert_string_equal(plan->about[0].id, "lenet-shapes-lr0.1");
    assert_string_equal(plan->about[1].id, "lenet-shapes-lr0.05");
    sg_plan_destroy(&plan);
}

static void names_of_cases_survive_a_common_change(void **state) {
    (void)state;
    const char text[] =
        "net = { arch = \"lenet\"; };\n"
        "sweeps = ( { search = { seeds = (11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22); }; },\n"
        "           { search = { seeds = (31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42); }; } );";
    sg_plan *one = plan_of(text, NULL), *two = plan_of(text, "transfer.epochs=50");
    for (int i = 0; i < 2; i++) assert_string_equal(one->about[i].id, two->about[i].id);
    assert_string_not_equal(one->about[0].id, one->about[1].id);
    sg_plan_destroy(&one);
    sg_plan_destroy(&two);
}

/* ---- parts */

enum { PARTS = 3 };

static bool belongs(const sg_plan_stage *stage, int part) {
    return stage->part == part && stage->state == SG_STATE_PENDING;
}

static void parts_share_the_chains_out(void **state) {
    (void)state;
    sg_plan *part[PARTS];
    for (int p = 0; p < PARTS; p++) {
        part[p] = plan_of(small_plan, NULL);
        sg_plan_part(part[p], p + 1, PARTS);
    }
    int crossing = 0;
    for (int i = 0; i < part[0]->count; i++) {
        int owners = 0;
        const char *id = part[0]->stages[i].id;
        for (int p = 0; p < PARTS; p++) {
            const sg_plan_stage *stage = &part[p]->stages[i];
            bool ours = belongs(stage, p + 1);
            owners += ours;
            assert_int_equal(stage->part, part[0]->stages[i].part);
            assert_int_equal(stage->state, ours ? SG_STATE_PENDING : SG_STATE_ELSEWHERE);
            for (int k = 0; ours && k < stage->parent_count; k++)
                assert_true(belongs(&part[p]->stages[stage->parents[k]], p + 1));
        }
        /* Each seed's two data orders of dense are chains of their own. */
        bool crosses = strstr(id, "sgd-noise-dense") != NULL;
        if (owners != !crosses) fail_msg("%s belongs to %d parts", id, owners);
        crossing += crosses;
    }
    assert_int_equal(crossing, 2);
    for (int p = 0; p < PARTS; p++) sg_plan_destroy(&part[p]);
}

static void chains_are_dealt_out_in_turn(void **state) {
    (void)state;
    static const struct {
        const char *id;
        int part;
    } expected[] = {{"lenet-shapes/dense-s2", 1},
                    {"lenet-shapes/dense-s2-o1002", 2},
                    {"lenet-shapes/dense-s3", 3},
                    {"lenet-shapes/dense-s3-o1003", 1},
                    {"lenet-shapes/connect/sgd-noise-dense-s3-o1003", 0},
                    {"lenet-shapes/lrr-s1/warmup", 2},
                    {"lenet-shapes/lrr-s1/round-02/connect/sgd-noise-retrain-s3-o1003", 2},
                    {"lenet-shapes/aws-a0-1-s1/warmup", 3},
                    {"lenet-shapes/aws-a0-1-s1/round-02/connect/signed-signed-s2-s3", 3}};
    sg_plan *plan = plan_of(small_plan, NULL);
    sg_plan_part(plan, 2, PARTS);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(stage_of(plan, expected[i].id)->part, expected[i].part);
    sg_plan_destroy(&plan);
}

static void what_is_done_stays_done_in_every_part(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    int dense = sg_plan_find(plan, "lenet-shapes/dense-s3"),
        path = sg_plan_find(plan, "lenet-shapes/connect/sgd-noise-dense-s3-o1003");
    plan->stages[dense].state = plan->stages[path].state = SG_STATE_DONE;
    sg_plan_part(plan, 2, PARTS);
    assert_int_equal(plan->stages[dense].state, SG_STATE_DONE);
    assert_int_equal(plan->stages[path].state, SG_STATE_DONE);
    sg_plan_destroy(&plan);
}

static void one_part_is_the_whole(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, "search.methods=lrr,aws,imp");
    sg_plan_part(plan, 1, 1);
    for (int i = 0; i < plan->count; i++) assert_true(belongs(&plan->stages[i], 1));
    sg_plan_destroy(&plan);
}

/* ---- costs and prints */

static void chains_add_up_to_the_longest_path(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    for (int i = 0; i < plan->count; i++) {
        double longest = 0;
        for (int j = i + 1; j < plan->count; j++)
            for (int k = 0; k < plan->stages[j].parent_count; k++)
                if (plan->stages[j].parents[k] == i && plan->stages[j].chain > longest)
                    longest = plan->stages[j].chain;
        assert_true(plan->stages[i].chain == plan->stages[i].flop + longest);
    }
    sg_plan_destroy(&plan);
}

static void cost_counts_samples_and_epochs(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    /* 2 epochs of 64 training samples (forward and a backward of two) and of 32 test samples. */
    double expected = 2 * (64 * 3 + 32) * sg_net_flop(plan->nets[0]);
    assert_true(stage_of(plan, "lenet-shapes/dense-s2")->flop == expected);
    assert_true(stage_of(plan, "lenet-shapes/lrr-s1/round-02/signed-s2")->flop < expected);
    sg_plan_destroy(&plan);
}

/* LeNet has no running statistics that the points of a path could be fitted to. */
static void paths_cost_recalibration_where_there_is_any(void **state) {
    (void)state;
    static const char *const override[] = {NULL, "net.arch=resnet20", "connect.recalibrate=false"};
    static const int samples[] = {32, 64 + 32, 32};
    for (int i = 0; i < 3; i++) {
        sg_run_config *config = config_of(small_plan, override[i]);
        sg_plan *plan = plan_of(small_plan, override[i]);
        int dense = 0;
        for (int s = 0; s < plan->count; s++) {
            if (plan->stages[s].kind != SG_STAGE_CONNECT || plan->stages[s].density != 1.0) continue;
            dense++;
            assert_true(plan->stages[s].flop ==
                        config->cases[0].connect.points * sg_net_flop(plan->nets[0]) * samples[i]);
        }
        assert_int_equal(dense, 2);
        sg_plan_destroy(&plan);
        sg_config_destroy(&config);
    }
}

static void every_stage_is_printed(void **state) {
    (void)state;
    sg_plan *plan = plan_of(small_plan, NULL);
    plan->stages[3].state = SG_STATE_STALE;
    char *text, *dot, *layers;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(sg_plan_print(plan, 16, 40, out), SG_OK);
    fclose(out);
    out = open_memstream(&dot, &size);
    assert_int_equal(sg_plan_print_dot(plan, out), SG_OK);
    fclose(out);
    out = open_memstream(&layers, &size);
    assert_int_equal(sg_plan_print_layers(plan, out), SG_OK);
    fclose(out);
    for (int i = 0; i < plan->count; i++) {
        assert_non_null(strstr(text, plan->stages[i].id));
        assert_non_null(strstr(dot, plan->stages[i].id));
    }
    assert_non_null(strstr(text, "1 stale"));
    for (int i = 0; i < plan->nets[0]->layers; i++)
        assert_non_null(strstr(layers, plan->nets[0]->layer[i].name));
    free(text);
    free(dot);
    free(layers);
    sg_plan_destroy(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_plan_has_these_stages),
        cmocka_unit_test(parents_come_first),
        cmocka_unit_test(ids_are_unique_relative_paths),
        cmocka_unit_test(ids_are_readable),
        cmocka_unit_test(pairs_connect_what_they_name),
        cmocka_unit_test(orders_count_from_the_transfer_seed),
        cmocka_unit_test(imp_rounds_know_their_warmup),
        cmocka_unit_test(only_aws_varies_alpha),
        cmocka_unit_test(mask_file_replaces_the_search),
        cmocka_unit_test(density_follows_the_integer_chain),
        cmocka_unit_test(pruning_to_nothing_is_refused),
        cmocka_unit_test(too_many_stages_are_refused),
        cmocka_unit_test(cases_are_named_for_their_network),
        cmocka_unit_test(cases_of_one_name_tell_their_difference),
        cmocka_unit_test(names_of_cases_survive_a_common_change),
        cmocka_unit_test(parts_share_the_chains_out),
        cmocka_unit_test(chains_are_dealt_out_in_turn),
        cmocka_unit_test(what_is_done_stays_done_in_every_part),
        cmocka_unit_test(one_part_is_the_whole),
        cmocka_unit_test(chains_add_up_to_the_longest_path),
        cmocka_unit_test(cost_counts_samples_and_epochs),
        cmocka_unit_test(paths_cost_recalibration_where_there_is_any),
        cmocka_unit_test(every_stage_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
