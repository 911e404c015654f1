/* Configurations: defaults, values, overrides, the resolved text. What must be refused is in
 * test_config_errors.c. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pipeline/config.h"
#include "pipeline/config_schema.h"

/* The configuration of this text; fails the test with the message otherwise. */
static sg_run_config *config_of(const char *text, const char *const *overrides, int count) {
    sg_run_config *config;
    if (sg_config_parse(&config, "test.cfg", text, overrides, count) != SG_OK)
        fail_msg("expected a configuration, got: %s", sg_error_message());
    return config;
}

static char *printed(const sg_run_config *config) {
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(sg_config_print(config, out), SG_OK);
    fclose(out);
    return text;
}

static void defaults_are_those_of_the_method(void **state) {
    (void)state;
    sg_run_config *config = config_of(NULL, NULL, 0);
    assert_int_equal(config->count, 1);
    const sg_config *c = &config->cases[0];
    assert_string_equal(c->net.arch, "resnet20");
    assert_string_equal(c->data.kind, "shapes");
    assert_true(c->net.dropout == -1);
    assert_true(c->train.lr == 0.1 && c->train.momentum == 0.9 && c->train.weight_decay == 5e-4);
    assert_int_equal(c->train.batch, 128);
    assert_true(c->train.shuffled);
    assert_int_equal(c->search.method_count, 2);
    assert_int_equal(c->search.methods[1], SG_METHOD_AWS);
    assert_true(c->search.alpha[0].low == 0 && c->search.alpha[0].high == 1);
    assert_int_equal(c->transfer.round_count, 1);
    assert_int_equal(c->transfer.rounds[0], 15);
    assert_int_equal(c->connect.pair_count, SG_PAIR_COUNT);
    assert_true(c->single.alpha.low == 1 && c->single.alpha.high == 1);
    assert_int_equal(config->run.keep, 2);
    assert_true(config->kernels.winograd);
    sg_config_destroy(&config);
    assert_null(config);
}

static void destroy_takes_null(void **state) {
    (void)state;
    sg_run_config *none = NULL;
    sg_config_destroy(&none);
    sg_config_destroy(NULL);
}

static void integers_stand_for_floats(void **state) {
    (void)state;
    sg_run_config *config = config_of("train = { lr = 1; }; search = { alpha = (0, 1); };", NULL, 0);
    assert_true(config->cases[0].train.lr == 1);
    assert_true(config->cases[0].search.alpha[0].low == 0 && config->cases[0].search.alpha[0].high == 1);
    sg_config_destroy(&config);
}

static void one_alpha_range_or_several(void **state) {
    (void)state;
    sg_run_config *config = config_of("search = { alpha = ((0.0, 1.0), (0.5, 1.0), (0.9, 1.0)); };", NULL, 0);
    assert_int_equal(config->cases[0].search.alpha_count, 3);
    assert_true(config->cases[0].search.alpha[2].low == 0.9);
    sg_config_destroy(&config);
    config = config_of("search = { alpha = [0.5, 1.0]; };", NULL, 0);
    assert_int_equal(config->cases[0].search.alpha_count, 1);
    assert_true(config->cases[0].search.alpha[0].low == 0.5);
    sg_config_destroy(&config);
}

static void large_seeds_need_no_suffix(void **state) {
    (void)state;
    sg_run_config *config =
        config_of("search = { seeds = (4294967297, 9223372036854775807L, 0x10); };", NULL, 0);
    assert_true(config->cases[0].search.seeds[0] == 4294967297u);
    assert_true(config->cases[0].search.seeds[1] == 9223372036854775807u);
    assert_true(config->cases[0].search.seeds[2] == 16);
    sg_config_destroy(&config);
}

static void all_rounds_are_listed(void **state) {
    (void)state;
    sg_run_config *config = config_of("search = { rounds = 4; }; transfer = { rounds = \"all\"; };", NULL, 0);
    assert_int_equal(config->cases[0].transfer.round_count, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(config->cases[0].transfer.rounds[i], i + 1);
    sg_config_destroy(&config);
}

static void rounds_are_sorted(void **state) {
    (void)state;
    sg_run_config *config = config_of("transfer = { rounds = (10, 5, 15); };", NULL, 0);
    const int expected[] = {5, 10, 15};
    assert_memory_equal(config->cases[0].transfer.rounds, expected, sizeof expected);
    sg_config_destroy(&config);
}

/* 0.8^t: 3 0.512, 5 0.328, 10 0.107, 13 0.055 (14 is 0.044): distances are plain differences. */
static void densities_become_the_nearest_rounds(void **state) {
    (void)state;
    sg_run_config *config = config_of("transfer = { densities = (0.5, 0.3, 0.1, 0.05); };", NULL, 0);
    const int expected[] = {3, 5, 10, 13};
    assert_int_equal(config->cases[0].transfer.round_count, 4);
    assert_memory_equal(config->cases[0].transfer.rounds, expected, sizeof expected);
    sg_config_destroy(&config);
}

static void pairs_follow_the_modes_unless_given(void **state) {
    (void)state;
    sg_run_config *config =
        config_of("transfer = { modes = (\"signed\"); seeds = (2); noise_orders = 0; };", NULL, 0);
    const sg_connect_config *connect = &config->cases[0].connect;
    assert_int_equal(connect->pair_count, 2);
    assert_int_equal(connect->pairs[0], SG_PAIR_SIGNED_SEARCH);
    assert_int_equal(connect->pairs[1], SG_PAIR_NORM_REINIT);
    sg_config_destroy(&config);
}

static void mask_file_leaves_what_signs_allow(void **state) {
    (void)state;
    sg_run_config *config = config_of("transfer = { mask_file = \"elsewhere.h5\"; };", NULL, 0);
    const sg_config *c = &config->cases[0];
    assert_int_equal(c->transfer.round_count, 0);
    assert_int_equal(c->transfer.mode_count, 3);
    for (int i = 0; i < c->transfer.mode_count; i++)
        assert_true(c->transfer.modes[i] != SG_MODE_RETRAIN && c->transfer.modes[i] != SG_MODE_SIGNED_NORMS);
    assert_int_equal(c->connect.pair_count, 2);
    sg_config_destroy(&config);
}

static void dense_alone_needs_no_search(void **state) {
    (void)state;
    sg_run_config *config =
        config_of("search = { methods = (); }; transfer = { modes = (\"dense\"); };", NULL, 0);
    assert_int_equal(config->cases[0].search.method_count, 0);
    assert_int_equal(config->cases[0].transfer.round_count, 0);
    sg_config_destroy(&config);
}

static void a_list_of_networks_gives_cases(void **state) {
    (void)state;
    sg_run_config *config = config_of("net = { arch = (\"resnet20\", \"vgg11_bn\"); };", NULL, 0);
    assert_int_equal(config->count, 2);
    assert_string_equal(config->cases[0].net.arch, "resnet20");
    assert_string_equal(config->cases[1].net.arch, "vgg11_bn");
    sg_config_destroy(&config);
}

static const char sweeps[] =
    "net = { classes = 10; };\n"
    "sweeps = ( { net = { arch = \"resnet20\"; }; train = { lr = 0.1; }; },\n"
    "           { net = { arch = (\"lenet\", \"mlp\"); }; train = { lr = 0.05; }; } );\n";

static void sweeps_give_cases(void **state) {
    (void)state;
    sg_run_config *config = config_of(sweeps, NULL, 0);
    assert_int_equal(config->count, 3);
    assert_true(config->cases[0].train.lr == 0.1 && config->cases[2].train.lr == 0.05);
    assert_string_equal(config->cases[2].net.arch, "mlp");
    sg_config_destroy(&config);
}

/* ---- overrides */

static void overrides_win_over_the_file(void **state) {
    (void)state;
    const char *const overrides[] = {"train.lr=0.05", "train.lr = 0.025", "run.threads=3"};
    sg_run_config *config = config_of("train = { lr = 0.2; };", overrides, 3);
    assert_true(config->cases[0].train.lr == 0.025);
    assert_int_equal(config->run.threads, 3);
    sg_config_destroy(&config);
}

static void overrides_win_over_sweeps(void **state) {
    (void)state;
    const char *const overrides[] = {"train.lr=0.5"};
    sg_run_config *config = config_of(sweeps, overrides, 1);
    for (int i = 0; i < config->count; i++) assert_true(config->cases[i].train.lr == 0.5);
    sg_config_destroy(&config);
}

static void overrides_take_bare_words(void **state) {
    (void)state;
    const char *const overrides[] = {"train.optimizer=adam",       "data.kind=idx",
                                     "data.path=/data/a \"b\"\\c", "train.order=sequential",
                                     "transfer.rounds=all",        "search.methods=imp"};
    sg_run_config *config = config_of(NULL, overrides, 6);
    const sg_config *c = &config->cases[0];
    assert_int_equal(c->train.optimizer, SG_ADAM);
    assert_string_equal(c->data.kind, "idx");
    assert_string_equal(c->data.path, "/data/a \"b\"\\c");
    assert_false(c->train.shuffled);
    assert_int_equal(c->transfer.round_count, 15);
    assert_int_equal(c->search.method_count, 1);
    sg_config_destroy(&config);
}

static void overrides_take_lists_with_commas(void **state) {
    (void)state;
    const char *const overrides[] = {"search.methods=lrr, imp",       "transfer.seeds=7,8,9",
                                     "transfer.rounds=1,2",           "search.alpha=0.5,1",
                                     "net.arch=(\"lenet\", \"mlp\")", "transfer.densities="};
    sg_run_config *config = config_of(NULL, overrides, 6);
    const sg_config *c = &config->cases[0];
    assert_int_equal(c->search.method_count, 2);
    assert_int_equal(c->search.methods[1], SG_METHOD_IMP);
    assert_int_equal(c->transfer.seed_count, 3);
    assert_int_equal(c->transfer.rounds[1], 2);
    assert_true(c->search.alpha[0].low == 0.5);
    assert_int_equal(config->count, 2);
    sg_config_destroy(&config);
}

/* ---- printing */

static void check_round_trip(const char *text) {
    sg_run_config *first = config_of(text, NULL, 0);
    char *one = printed(first);
    sg_run_config *second = config_of(one, NULL, 0);
    char *two = printed(second);
    assert_string_equal(one, two);
    assert_int_equal(first->count, second->count);
    for (int i = 0; i < first->count; i++) {
        char *a, *b;
        assert_int_equal(sg_config_case_text(&first->cases[i], &a), SG_OK);
        assert_int_equal(sg_config_case_text(&second->cases[i], &b), SG_OK);
        assert_string_equal(a, b);
        free(a);
        free(b);
    }
    free(one);
    free(two);
    sg_config_destroy(&first);
    sg_config_destroy(&second);
}

static void resolved_defaults_read_back(void **state) {
    (void)state;
    check_round_trip(NULL);
}

static void resolved_unusual_values_read_back(void **state) {
    (void)state;
    check_round_trip("net = { arch = \"mlp\"; dropout = 0.1; }; train = { lr = 1e-5; weight_decay = "
                     "0.30000000000000004; };\n"
                     "search = { seeds = (0, 9223372036854775807); methods = (\"imp\", \"aws\"); alpha = "
                     "((0.37, 0.37), (0, 1)); };\n"
                     "transfer = { densities = (0.5, 0.1); };\n"
                     "data = { kind = \"folder\"; path = \"a \\\"quoted\\\" \\\\ path\"; };\n");
}

static void resolved_cases_read_back(void **state) {
    (void)state;
    check_round_trip("net = { arch = (\"resnet20\", \"lenet\", \"vgg11_bn\"); };");
    check_round_trip(sweeps);
}

static void every_key_is_printed(void **state) {
    (void)state;
    sg_run_config *config = config_of(NULL, NULL, 0);
    char *text = printed(config);
    for (int i = 0; i < sg_key_count; i++) {
        char assignment[128];
        snprintf(assignment, sizeof assignment, "    %s = ", strchr(sg_keys[i].path, '.') + 1);
        if (strstr(text, assignment) == NULL)
            fail_msg("%s is not in the resolved configuration", sg_keys[i].path);
    }
    free(text);
    sg_config_destroy(&config);
}

static void doubles_print_shortest(void **state) {
    (void)state;
    const double values[] = {0.1, 1, 1e-5, 0.30000000000000004, 123456789};
    const char *const texts[] = {"0.1", "1", "1e-05", "0.30000000000000004", "123456789"};
    for (int i = 0; i < 5; i++) {
        char text[32];
        sg_format_double(values[i], text);
        assert_string_equal(text, texts[i]);
    }
}

/* ---- files of the repository (tests run from its root) */

static void shipped_configurations_are_valid(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("configs/*.cfg", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 14);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        sg_run_config *config;
        if (sg_config_load(&config, found.gl_pathv[i], NULL, 0) != SG_OK) fail_msg("%s", sg_error_message());
        sg_config_destroy(&config);
    }
    globfree(&found);
}

static char *contents(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) fail_msg("%s is not there; run the test from the repository's root", path);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static void reference_page_is_up_to_date(void **state) {
    (void)state;
    char *made, *stored = contents("docs/configuration.md");
    size_t size;
    FILE *out = open_memstream(&made, &size);
    assert_non_null(out);
    assert_int_equal(sg_config_reference(out), SG_OK);
    fclose(out);
    if (strcmp(made, stored) != 0)
        fail_msg("docs/configuration.md is not what the table of keys says; run `make docs`");
    free(made);
    free(stored);
}

static void example_shows_every_key(void **state) {
    (void)state;
    char *text = contents("configs/example.cfg");
    for (int i = 0; i < sg_key_count; i++) {
        char assignment[128];
        snprintf(assignment, sizeof assignment, " %s = ", strchr(sg_keys[i].path, '.') + 1);
        if (strstr(text, assignment) == NULL)
            fail_msg("configs/example.cfg does not show %s", sg_keys[i].path);
    }
    free(text);
}

static void example_shows_the_defaults(void **state) {
    (void)state;
    sg_run_config *example, *none = config_of(NULL, NULL, 0);
    assert_int_equal(sg_config_load(&example, "configs/example.cfg", NULL, 0), SG_OK);
    char *a = printed(example), *b = printed(none);
    assert_string_equal(a, b);
    free(a);
    free(b);
    sg_config_destroy(&example);
    sg_config_destroy(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_method),
        cmocka_unit_test(destroy_takes_null),
        cmocka_unit_test(integers_stand_for_floats),
        cmocka_unit_test(one_alpha_range_or_several),
        cmocka_unit_test(large_seeds_need_no_suffix),
        cmocka_unit_test(all_rounds_are_listed),
        cmocka_unit_test(rounds_are_sorted),
        cmocka_unit_test(densities_become_the_nearest_rounds),
        cmocka_unit_test(pairs_follow_the_modes_unless_given),
        cmocka_unit_test(mask_file_leaves_what_signs_allow),
        cmocka_unit_test(dense_alone_needs_no_search),
        cmocka_unit_test(a_list_of_networks_gives_cases),
        cmocka_unit_test(sweeps_give_cases),
        cmocka_unit_test(overrides_win_over_the_file),
        cmocka_unit_test(overrides_win_over_sweeps),
        cmocka_unit_test(overrides_take_bare_words),
        cmocka_unit_test(overrides_take_lists_with_commas),
        cmocka_unit_test(resolved_defaults_read_back),
        cmocka_unit_test(resolved_unusual_values_read_back),
        cmocka_unit_test(resolved_cases_read_back),
        cmocka_unit_test(every_key_is_printed),
        cmocka_unit_test(doubles_print_shortest),
        cmocka_unit_test(shipped_configurations_are_valid),
        cmocka_unit_test(reference_page_is_up_to_date),
        cmocka_unit_test(example_shows_every_key),
        cmocka_unit_test(example_shows_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
