/* Configurations that must be refused, each with its message. Hostile ones are in test_config_hostile.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "pipeline/config.h"
#include "tests/reference/refuse.h"

/* ---- keys */

static void unknown_key_names_the_nearest(void **state) {
    (void)state;
    refuses("net = { classes = 10; };\n\ntrain = {\n    lrr = 0.1; };",
            "test.cfg:4: key `train.lrr` is not known; nearest: `train.lr`");
}

static void key_outside_its_group_is_found(void **state) {
    (void)state;
    refuses("momentum = 0.9;", "test.cfg:1: key `momentum` is not known; nearest: `train.momentum`");
}

static void unknown_group_names_the_nearest(void **state) {
    (void)state;
    refuses("trian = { lr = 0.1; };", "test.cfg:1: key `trian` is not known; nearest: `train`");
}

static void group_as_scalar(void **state) {
    (void)state;
    refuses("train = 5;", "test.cfg:1: key `train` takes a group of settings in braces { ... }");
}

static void duplicate_key_names_both_lines(void **state) {
    (void)state;
    refuses("train = {\n lr = 0.1;\n batch = 2;\n lr = 0.2; };",
            "test.cfg:4: key `train.lr` is given twice, first at test.cfg:2; remove one");
}

static void duplicate_group(void **state) {
    (void)state;
    refuses("train = { lr = 0.1; };\ntrain = { batch = 2; };",
            "test.cfg:2: key `train` is given twice, first at test.cfg:1; remove one");
}

static void shared_group_in_sweeps(void **state) {
    (void)state;
    refuses("sweeps = (\n{ run = { threads = 1; }; });",
            "test.cfg:2: key `sweeps[0].run` is the same for all cases; it cannot be in sweeps");
}

static void equal_cases(void **state) {
    (void)state;
    refuses("sweeps = ({ train = { lr = 0.1; }; }, { net = { classes = 10; }; });",
            "test.cfg: cases 1 and 2 (of net.arch and sweeps) are the same");
}

/* ---- types and ranges */

static void string_for_number(void **state) {
    (void)state;
    refuses("train = { lr = \"0.1\"; };", "test.cfg:1: key `train.lr` takes a number, got a string");
}

static void float_for_integer(void **state) {
    (void)state;
    refuses("train = { batch = 128.0; };",
            "test.cfg:1: key `train.batch` takes an integer, got a floating-point number");
}

static void integer_for_bool(void **state) {
    (void)state;
    refuses("kernels = { sparse = 1; };",
            "test.cfg:1: key `kernels.sparse` takes true or false, got an integer");
}

static void group_for_number(void **state) {
    (void)state;
    refuses("train = { lr = { }; };", "test.cfg:1: key `train.lr` takes a number, got a group");
}

static void list_for_string(void **state) {
    (void)state;
    refuses("data = { path = (\"a\"); };", "test.cfg:1: key `data.path` takes a string, got a list");
}

static void string_in_a_list_of_seeds(void **state) {
    (void)state;
    refuses("search = { seeds = (1, \"2\"); };",
            "test.cfg:1: key `search.seeds` takes a list of integers, got a string");
}

static void negative_learning_rate(void **state) {
    (void)state;
    refuses("train = { lr = -0.1; };",
            "test.cfg:1: key `train.lr` = -0.1 is out of range: it must be more than 0 and at most 1000000");
}

static void no_classes(void **state) {
    (void)state;
    refuses("net = { classes = 0; };",
            "test.cfg:1: key `net.classes` = 0 is out of range: it must be at least 1 and at most 1000000");
}

static void empty_minibatch(void **state) {
    (void)state;
    refuses("train = { batch = 0; };",
            "test.cfg:1: key `train.batch` = 0 is out of range: it must be at least 1 and at most 65536");
}

static void integer_beyond_32_bits_does_not_wrap(void **state) {
    (void)state;
    refuses("train = { batch = 4294967297; };", "test.cfg:1: key `train.batch` = 4294967297 is out of range: "
                                                "it must be at least 1 and at most 65536");
}

static void integer_beyond_64_bits(void **state) {
    (void)state;
    refuses("search = {\n seeds = (1, 99999999999999999999); };",
            "test.cfg:2: key `search.seeds`: the integer 99999999999999999999 does not fit into 64 bits");
}

static void hexadecimal_beyond_64_bits(void **state) {
    (void)state;
    refuses("data = { seed = 0xfffffffffffffffff; };",
            "test.cfg:1: key `data.seed`: the integer 0xfffffffffffffffff does not fit into 64 bits");
}

static void negative_seed(void **state) {
    (void)state;
    refuses_with("search = { seeds = (-1); };", "key `search.seeds` = -1 is out of range");
}

static void float_that_overflows(void **state) {
    (void)state;
    refuses("train = { lr = 1e400; };",
            "test.cfg:1: key `train.lr`: the number 1e400 is too large for a double");
}

static void float_that_underflows(void **state) {
    (void)state;
    refuses("train = { lr = 1e-400; };",
            "test.cfg:1: key `train.lr`: the number 1e-400 is too small for a double");
}

static void fraction_of_one(void **state) {
    (void)state;
    refuses("search = { prune_fraction = 1.0; };", "test.cfg:1: key `search.prune_fraction` = 1 is out of "
                                                   "range: it must be more than 0 and less than 1");
}

static void unknown_choice_names_the_nearest(void **state) {
    (void)state;
    refuses(
        "train = { optimizer = \"sdg\"; };",
        "test.cfg:1: key `train.optimizer` = \"sdg\" is not known; nearest: \"sgd\"; possible: sgd, adam");
}

static void unknown_network_names_the_nearest(void **state) {
    (void)state;
    refuses_with("net = { arch = \"resnet21\"; };",
                 "key `net.arch` = \"resnet21\" is not known; nearest: \"resnet20\"");
}

static void range_upside_down(void **state) {
    (void)state;
    refuses("search = { alpha = (1.0, 0.5); };",
            "test.cfg:1: key `search.alpha`: the range (1, 0.5) is upside down");
}

static void range_beyond_one(void **state) {
    (void)state;
    refuses("search = { alpha = (0.0, 1.5); };",
            "test.cfg:1: key `search.alpha` = 1.5 is out of range: it must be at least 0 and at most 1");
}

static void range_of_three(void **state) {
    (void)state;
    refuses("search = { alpha = (0.0, 0.5, 1.0); };",
            "test.cfg:1: key `search.alpha` takes a range (low, high), got a list");
}

static void seeds_twice(void **state) {
    (void)state;
    refuses("transfer = { seeds = (2, 3, 2); };",
            "test.cfg:1: key `transfer.seeds`: elements 1 and 3 are the same");
}

static void too_many_seeds(void **state) {
    (void)state;
    char text[8192] = "search = { seeds = (0";
    for (int i = 1; i <= SG_CONFIG_LIST; i++) sprintf(text + strlen(text), ",%d", i);
    strcat(text, "); };");
    refuses(text, "test.cfg:1: key `search.seeds` has 257 elements; at most 256 are possible");
}

static void control_character_in_a_path(void **state) {
    (void)state;
    refuses("data = { path = \"a\\nb\"; };",
            "test.cfg:1: key `data.path`: the string holds a control character");
}

static void long_path(void **state) {
    (void)state;
    char text[4096];
    snprintf(text, sizeof text, "data = { path = \"%02000d\"; };", 0);
    refuses(text, "test.cfg:1: key `data.path`: the string is longer than 1023 bytes");
}

/* ---- values that do not go together */

static void round_beyond_the_search(void **state) {
    (void)state;
    refuses("search = { rounds = 5; };\ntransfer = { rounds = (3, 7); };",
            "test.cfg:2: key `transfer.rounds` asks for round 7, but search.rounds = 5");
}

static void round_zero(void **state) {
    (void)state;
    refuses_with("transfer = { rounds = (0); };", "key `transfer.rounds` = 0 is out of range");
}

static void rounds_and_densities(void **state) {
    (void)state;
    refuses("transfer = { rounds = (1);\n densities = (0.5); };",
            "test.cfg:2: key `transfer.densities` and transfer.rounds are both given; leave one of them "
            "empty: ()");
}

static void density_beyond_the_search(void **state) {
    (void)state;
    refuses("search = { rounds = 5; };\ntransfer = { densities = (0.05); };",
            "test.cfg:2: key `transfer.densities` asks for density 0.05, which is reached in round 13; "
            "search.rounds = 5 ends "
            "at 0.33");
}

static void pair_without_its_mode(void **state) {
    (void)state;
    refuses("transfer = { modes = (\"signed\"); };\nconnect = { pairs = (\"signed-retrain\"); };",
            "test.cfg:2: key `connect.pairs` holds \"signed-retrain\", which needs the mode \"retrain\", "
            "which is not in "
            "transfer.modes");
}

static void noise_pair_without_orders(void **state) {
    (void)state;
    refuses(
        "transfer = { noise_orders = 0; };\nconnect = { pairs = (\"sgd-noise\"); };",
        "test.cfg:2: key `connect.pairs` holds \"sgd-noise\", which needs transfer.noise_orders = 1 or more");
}

static void signed_pair_with_one_seed(void **state) {
    (void)state;
    refuses(
        "transfer = { seeds = (2); };\nconnect = { pairs = (\"signed-signed\"); };",
        "test.cfg:2: key `connect.pairs` holds \"signed-signed\", which needs two transfer.seeds or more");
}

static void mask_file_with_trained_weights(void **state) {
    (void)state;
    refuses_with("transfer = { mask_file = \"m.h5\"; modes = (\"retrain\"); };",
                 "key `transfer.modes` holds \"retrain\", which needs trained weights");
}

static void mask_file_with_a_search_pair(void **state) {
    (void)state;
    refuses(
        "transfer = { mask_file = \"m.h5\"; };\nconnect = { pairs = (\"signed-search\"); };",
        "test.cfg:2: key `connect.pairs` holds \"signed-search\", which needs a search, and there is none");
}

static void no_search_for_signs(void **state) {
    (void)state;
    refuses_with("search = { methods = (); };", "key `search.methods` is empty");
}

static void rewinding_beyond_the_warmup(void **state) {
    (void)state;
    refuses("search = { methods = (\"imp\"); warmup_epochs = 3;\n imp_rewind_epoch = 5; };",
            "test.cfg:2: key `search.imp_rewind_epoch` = 5 is later than the warm-up lasts "
            "(search.warmup_epochs = 3)");
}

static void data_without_a_path(void **state) {
    (void)state;
    refuses(
        "data = { kind = \"cifar10\"; };",
        "test.cfg:1: key `data.path` is empty; data.kind = \"cifar10\" needs to know where its files are");
}

static void size_needs_image_files(void **state) {
    (void)state;
    refuses(
        "data = { kind = \"cifar10\"; path = \"x\";\n size = 64; };",
        "test.cfg:2: key `data.size` = 64, but images of data.kind = \"cifar10\" have a size of their own; "
        "leave it 0");
}

static void size_needs_an_augmentation_that_resizes(void **state) {
    (void)state;
    refuses("data = { kind = \"folder\"; path = \"x\"; size = 224;\n augment = \"crop_flip\"; };",
            "test.cfg:2: key `data.augment` = \"crop_flip\" does not bring images to data.size = 224; set "
            "\"resized_crop\" or \"none\"");
}

static void memory_is_not_negative(void **state) {
    (void)state;
    refuses_with("data = { memory_gb = -1.0; };", "test.cfg:1: key `data.memory_gb` = -1");
}

static void fewer_classes_than_the_data(void **state) {
    (void)state;
    refuses("net = { classes = 10; };\ndata = { kind = \"cifar100\"; path = \"x\"; };",
            "test.cfg:1: key `net.classes` = 10, but cifar100 has 100 classes");
}

static void three_ranks_for_a_stage(void **state) {
    (void)state;
    refuses("run = { ranks_per_stage = 3; };",
            "test.cfg:1: key `run.ranks_per_stage` = 3 is no power of two; use 0 (choose), 1, 2, 4, 8 ...");
}

static void negative_dropout(void **state) {
    (void)state;
    refuses("net = { dropout = -0.5; };",
            "test.cfg:1: key `net.dropout` = -0.5 is no probability; -1 stands for the architecture's own");
}

/* ---- overrides */

static void override_of_an_unknown_key(void **state) {
    (void)state;
    refuses_under(NULL, "train.lrr=1",
                  "--set train.lrr=1: key `train.lrr` is not known; nearest: `train.lr`");
}

static void override_out_of_range(void **state) {
    (void)state;
    refuses_under(
        NULL, "train.lr=-1",
        "--set train.lr=-1: key `train.lr` = -1 is out of range: it must be more than 0 and at most 1000000");
}

static void override_that_does_not_fit(void **state) {
    (void)state;
    refuses_under(NULL, "train.batch=99999999999999999999",
                  "--set train.batch=99999999999999999999: key `train.batch`: the integer "
                  "99999999999999999999 does not "
                  "fit into 64 bits");
}

static void override_without_equals(void **state) {
    (void)state;
    refuses_under(NULL, "train.lr",
                  "--set train.lr: write it as path=value, for example --set train.lr=0.05");
}

static void override_of_a_group(void **state) {
    (void)state;
    refuses_under(NULL, "train={}",
                  "--set train={}: `train` is a group; set its keys one by one, as in --set train.lr=0.05");
}

static void override_that_smuggles_in_another(void **state) {
    (void)state;
    refuses_under(NULL, "train.lr=1; momentum = 0.5",
                  "--set train.lr=1; momentum = 0.5: key `train.lr` takes "
                  "one value; give further keys a --set of their "
                  "own");
    refuses_under(NULL, "train.lr=1; }; net = { classes = 2",
                  "--set train.lr=1; }; net = { classes = 2: key `train.lr` takes one value; give further "
                  "keys a --set of "
                  "their own");
}

static void override_that_is_no_value(void **state) {
    (void)state;
    refuses_under(NULL, "train.lr=fast",
                  "--set train.lr=fast: key `train.lr`: `fast` is no value that libconfig can read");
    refuses_under(NULL, "train.lr=", "--set train.lr=: key `train.lr` needs a value");
}

static void override_with_an_include(void **state) {
    (void)state;
    refuses_under(NULL, "train.lr=@include \"/etc/passwd\"",
                  "--set train.lr=@include \"/etc/passwd\": @include is possible in files only");
}

static void override_of_pairs_is_checked(void **state) {
    (void)state;
    const char *override = "transfer.modes=signed";
    refuses_under("connect = { pairs = (\"signed-retrain\"); };", override,
                  "test.cfg:1: key `connect.pairs` holds \"signed-retrain\", which needs the mode "
                  "\"retrain\", which is not "
                  "in transfer.modes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_needs_image_files),
        cmocka_unit_test(size_needs_an_augmentation_that_resizes),
        cmocka_unit_test(memory_is_not_negative),
        cmocka_unit_test(unknown_key_names_the_nearest),
        cmocka_unit_test(key_outside_its_group_is_found),
        cmocka_unit_test(unknown_group_names_the_nearest),
        cmocka_unit_test(group_as_scalar),
        cmocka_unit_test(duplicate_key_names_both_lines),
        cmocka_unit_test(duplicate_group),
        cmocka_unit_test(shared_group_in_sweeps),
        cmocka_unit_test(equal_cases),
        cmocka_unit_test(string_for_number),
        cmocka_unit_test(float_for_integer),
        cmocka_unit_test(integer_for_bool),
        cmocka_unit_test(group_for_number),
        cmocka_unit_test(list_for_string),
        cmocka_unit_test(string_in_a_list_of_seeds),
        cmocka_unit_test(negative_learning_rate),
        cmocka_unit_test(no_classes),
        cmocka_unit_test(empty_minibatch),
        cmocka_unit_test(integer_beyond_32_bits_does_not_wrap),
        cmocka_unit_test(integer_beyond_64_bits),
        cmocka_unit_test(hexadecimal_beyond_64_bits),
        cmocka_unit_test(negative_seed),
        cmocka_unit_test(float_that_overflows),
        cmocka_unit_test(float_that_underflows),
        cmocka_unit_test(fraction_of_one),
        cmocka_unit_test(unknown_choice_names_the_nearest),
        cmocka_unit_test(unknown_network_names_the_nearest),
        cmocka_unit_test(range_upside_down),
        cmocka_unit_test(range_beyond_one),
        cmocka_unit_test(range_of_three),
        cmocka_unit_test(seeds_twice),
        cmocka_unit_test(too_many_seeds),
        cmocka_unit_test(control_character_in_a_path),
        cmocka_unit_test(long_path),
        cmocka_unit_test(round_beyond_the_search),
        cmocka_unit_test(round_zero),
        cmocka_unit_test(rounds_and_densities),
        cmocka_unit_test(density_beyond_the_search),
        cmocka_unit_test(pair_without_its_mode),
        cmocka_unit_test(noise_pair_without_orders),
        cmocka_unit_test(signed_pair_with_one_seed),
        cmocka_unit_test(mask_file_with_trained_weights),
        cmocka_unit_test(mask_file_with_a_search_pair),
        cmocka_unit_test(no_search_for_signs),
        cmocka_unit_test(rewinding_beyond_the_warmup),
        cmocka_unit_test(data_without_a_path),
        cmocka_unit_test(fewer_classes_than_the_data),
        cmocka_unit_test(three_ranks_for_a_stage),
        cmocka_unit_test(negative_dropout),
        cmocka_unit_test(override_of_an_unknown_key),
        cmocka_unit_test(override_out_of_range),
        cmocka_unit_test(override_that_does_not_fit),
        cmocka_unit_test(override_without_equals),
        cmocka_unit_test(override_of_a_group),
        cmocka_unit_test(override_that_smuggles_in_another),
        cmocka_unit_test(override_that_is_no_value),
        cmocka_unit_test(override_with_an_include),
        cmocka_unit_test(override_of_pairs_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
