/* The command line: what is taken, what is refused and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pipeline/cli.h"

enum { WORDS = 600 };

/* Parses words that are separated by single blanks; they stay valid until the next call. */
static int parse(sg_cli *cli, const char *line) {
    static char words[1 << 14];
    static char *argv[WORDS];
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL && argc < WORDS; word = strtok(NULL, " "))
        argv[argc++] = word;
    return sg_cli_parse(cli, argc, argv);
}

static void accepts(sg_cli *cli, const char *line) {
    if (parse(cli, line) != SG_OK) fail_msg("`%s`: %s", line, sg_error_message());
}

static void refuses(const char *line, const char *message) {
    sg_cli cli;
    int status = parse(&cli, line);
    assert_int_equal(status, SG_USAGE);
    assert_string_equal(sg_error_message(), message);
}

static void options_stand_anywhere(void **state) {
    (void)state;
    sg_cli cli;
    accepts(&cli, "run --out a demo.cfg --retry-failed");
    assert_string_equal(cli.out, "a");
    assert_string_equal(cli.positional[0], "demo.cfg");
    assert_int_equal(cli.positionals, 1);
    assert_true(cli.retry_failed);
    assert_false(cli.recompute);
}

static void values_follow_a_blank_or_an_equals_sign(void **state) {
    (void)state;
    sg_cli cli;
    accepts(&cli, "run demo.cfg --out=a=b --time-limit 2.5");
    assert_string_equal(cli.out, "a=b");
    assert_true(cli.time_limit_minutes == 2.5);
}

static void overrides_are_collected_in_order(void **state) {
    (void)state;
    sg_cli cli;
    accepts(&cli, "plan demo.cfg --set train.lr=1 --set=train.lr=2");
    assert_int_equal(cli.override_count, 2);
    assert_string_equal(cli.overrides[0], "train.lr=1");
    assert_string_equal(cli.overrides[1], "train.lr=2");
}

static void two_dashes_end_the_options(void **state) {
    (void)state;
    sg_cli cli;
    accepts(&cli, "inspect --digest -- --strange.h5");
    assert_string_equal(cli.positional[0], "--strange.h5");
    assert_true(cli.digest);
}

static void seeds_have_63_bits(void **state) {
    (void)state;
    sg_cli cli;
    accepts(&cli, "train demo.cfg --seed 9223372036854775807");
    assert_true(cli.has_seed && cli.seed == INT64_MAX);
    refuses("train demo.cfg --seed 9223372036854775808",
            "train: option --seed takes an integer from 0 to 2^63 - 1, got `9223372036854775808`");
    refuses("train demo.cfg --seed -1", "train: option --seed takes an integer from 0 to 2^63 - 1, got `-1`");
    refuses("train demo.cfg --seed 1x", "train: option --seed takes an integer from 0 to 2^63 - 1, got `1x`");
}

static void unknown_option_names_the_nearest(void **state) {
    (void)state;
    refuses("run demo.cfg --retry-faild",
            "run: option --retry-faild is not known; nearest: --retry-failed; see signet run --help");
}

static void options_belong_to_their_command(void **state) {
    (void)state;
    refuses("plan demo.cfg --digest",
            "plan: option --digest is not known; nearest: --set; see signet plan --help");
}

static void single_dash_is_no_option(void **state) {
    (void)state;
    refuses("run demo.cfg -o x",
            "run: option -o is not known; options begin with two dashes; see signet run --help");
}

static void missing_value(void **state) {
    (void)state;
    refuses("run demo.cfg --out", "run: option --out needs a value: --out DIR");
    refuses("run demo.cfg --out=", "run: option --out needs DIR, got nothing");
}

static void value_for_a_flag(void **state) {
    (void)state;
    refuses("run demo.cfg --recompute=yes", "run: option --recompute takes no value");
}

static void numbers_are_checked(void **state) {
    (void)state;
    const char *const values[] = {"x", "1x", "0", "-3", "inf", "nan", "1e999"};
    for (int i = 0; i < 7; i++) {
        char line[64], message[128];
        snprintf(line, sizeof line, "run demo.cfg --time-limit %s", values[i]);
        snprintf(message, sizeof message, "run: option --time-limit takes a number above 0, got `%s`",
                 values[i]);
        refuses(line, message);
    }
}

static void missing_argument(void **state) {
    (void)state;
    refuses("run --recompute", "run: an argument is missing; usage: signet run CONFIG");
    refuses("connect demo.cfg a.h5", "connect: an argument is missing; usage: signet connect CONFIG A B");
}

static void one_argument_too_many(void **state) {
    (void)state;
    refuses("run a.cfg b.cfg", "run: `b.cfg` is one argument too many; usage: signet run CONFIG");
}

static void unknown_command(void **state) {
    (void)state;
    refuses("frobnicate", "`frobnicate` is not a command; see signet --help");
}

static void too_many_overrides(void **state) {
    (void)state;
    char line[1 << 13] = "plan x";
    for (int i = 0; i <= SG_CLI_OVERRIDES; i++) strcat(line, " --set a.b=1");
    refuses(line, "plan: more than 256 --set");
}

static char *help_of(const char *command) {
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(sg_cli_print_command_help(out, command), SG_OK);
    fclose(out);
    return text;
}

static void every_command_of_the_manual_has_help(void **state) {
    (void)state;
    const char *const names[] = {"run",     "plan",    "status", "collect", "train", "eval",
                                 "connect", "inspect", "verify", "data",    "bench", "doctor"};
    for (int i = 0; i < 12; i++) {
        char *text = help_of(names[i]), usage[64];
        snprintf(usage, sizeof usage, "usage: signet %s", names[i]);
        assert_int_equal(strncmp(text, usage, strlen(usage)), 0);
        assert_non_null(strstr(text, "--help"));
        free(text);
    }
}

static void help_says_what_a_command_does(void **state) {
    (void)state;
    char *text = help_of("verify");
    assert_non_null(strstr(text, "checks every checksum and names each damaged file"));
    free(text);
}

static void help_lists_the_options(void **state) {
    (void)state;
    char *text = help_of("run");
    const char *const options[] = {"--out DIR", "--set PATH=VALUE", "--retry-failed", "--recompute",
                                   "--time-limit MINUTES"};
    for (int i = 0; i < 5; i++)
        if (strstr(text, options[i]) == NULL) fail_msg("`%s` is not in: %s", options[i], text);
    free(text);
}

static void general_help_lists_the_commands_it_is_given(void **state) {
    (void)state;
    char *text;
    size_t size;
    const char *const names[] = {"plan", "verify"};
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    sg_cli_print_help(out, names, 2);
    fclose(out);
    assert_non_null(strstr(text, "  plan "));
    assert_non_null(strstr(text, "  verify "));
    assert_null(strstr(text, "  doctor "));
    assert_non_null(strstr(text, "exit codes: 0 done"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(values_follow_a_blank_or_an_equals_sign),
        cmocka_unit_test(overrides_are_collected_in_order),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(seeds_have_63_bits),
        cmocka_unit_test(unknown_option_names_the_nearest),
        cmocka_unit_test(options_belong_to_their_command),
        cmocka_unit_test(single_dash_is_no_option),
        cmocka_unit_test(missing_value),
        cmocka_unit_test(value_for_a_flag),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(missing_argument),
        cmocka_unit_test(one_argument_too_many),
        cmocka_unit_test(unknown_command),
        cmocka_unit_test(too_many_overrides),
        cmocka_unit_test(every_command_of_the_manual_has_help),
        cmocka_unit_test(help_says_what_a_command_does),
        cmocka_unit_test(help_lists_the_options),
        cmocka_unit_test(general_help_lists_the_commands_it_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
