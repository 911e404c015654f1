/* What a run directory remembers of its data: written, read back, and refused when somebody has edited it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pipeline/facts.h"
#include "pipeline/file.h"
#include "pipeline/lock.h"
#include "pipeline/progress.h"
#include "tests/reference/temporary.h"

static void test_facts_come_back(void **state) {
    (void)state;
    const sg_plan_case_facts cases[2] = {{.fingerprint = "00ff00ff00ff00ff",
                                          .channels = 3,
                                          .height = 32,
                                          .width = 24,
                                          .train_samples = 50000,
                                          .test_samples = 10000},
                                         {.fingerprint = "1",
                                          .channels = 1,
                                          .height = 28,
                                          .width = 28,
                                          .train_samples = 1,
                                          .test_samples = 2,
                                          .mask_digest = "0123456789abcdef0123456789abcdef"}};
    const sg_plan_facts facts = {.cases = cases, .arithmetic = "haswell 6x16 lanes 16"};
    sg_plan_case_facts read[2];
    char arithmetic[256], *directory = temporary_create();
    assert_int_equal(sg_facts_write(directory, &facts, 2), SG_OK);
    assert_int_equal(sg_facts_read(directory, 2, read, arithmetic), SG_OK);
    assert_string_equal(arithmetic, facts.arithmetic);
    for (int c = 0; c < 2; c++) {
        assert_string_equal(read[c].fingerprint, cases[c].fingerprint);
        assert_string_equal(read[c].mask_digest, cases[c].mask_digest);
        assert_int_equal(read[c].channels, cases[c].channels);
        assert_int_equal(read[c].height, cases[c].height);
        assert_int_equal(read[c].width, cases[c].width);
        assert_int_equal(read[c].train_samples, cases[c].train_samples);
        assert_int_equal(read[c].test_samples, cases[c].test_samples);
    }
    temporary_remove(&directory);
}

/* Each line would reach the builders of networks and tables as a size. */
static void test_impossible_facts_are_refused(void **state) {
    (void)state;
    static const char *const lines[] = {
        "",
        "f 3 32 32 100 100",
        "f 3 32 32 100 100 - more",
        "f -3 32 32 100 100 -",
        "f 3 0 32 100 100 -",
        "f 3 32 99999 100 100 -",
        "f 3 32 32 4294967296 100 -",
        "f 3 32 32 100 99999999999999999999 -",
        "f 3 32 32 1e3 100 -",
        "f 3000000 32 32 100 100 -",
        "f 3 32 32 100 100 0123456789abcdef0123456789abcdef0",
        "0123456789012345678901234567890123456789012345678901234567890123 3 32 32 100 100 -"};
    char *directory = temporary_create();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[512], expected[512], arithmetic[256];
        sg_plan_case_facts read;
        snprintf(text, sizeof text, "haswell\n%s\n", lines[i]);
        assert_int_equal(sg_file_write_text(temporary_path(directory, "facts"), text), SG_OK);
        int status = sg_facts_read(directory, 1, &read, arithmetic);
        if (status != SG_DATA) fail_msg("\"%s\": status %d, expected %d", lines[i], status, SG_DATA);
        snprintf(expected, sizeof expected, "%s/facts: line 2 does not describe a case of config.cfg",
                 directory);
        if (strncmp(sg_error_message(), expected, strlen(expected)) != 0)
            fail_msg("\"%s\": message \"%s\", expected \"%s...\"", lines[i], sg_error_message(), expected);
    }
    temporary_remove(&directory);
}

/* Somebody may put anything into a run directory; `status` shows what is there. */
static void test_small_files_are_not_trusted(void **state) {
    (void)state;
    char *directory = temporary_create(), arithmetic[256], line[512];
    sg_plan_case_facts read;
    assert_int_equal(mkfifo(temporary_path(directory, "facts"), 0600), 0); /* nobody writes to it */
    assert_int_equal(sg_facts_read(directory, 1, &read, arithmetic), SG_NOINPUT);
    assert_int_equal(mkdir(temporary_path(directory, "stages"), 0700), 0);
    assert_int_equal(mkdir(temporary_path(directory, "stages/a"), 0700), 0);
    temporary_text(directory, "stages/a/progress",
                   "a: epoch 1\033]0;title\007\xc2\x9b"
                   "2J\nmore\n");
    sg_progress_read(directory, "a", line, sizeof line);
    assert_string_equal(line, "a: epoch 1?]0;title???2J");
    temporary_text(directory, "lock", "host = \033[2Jnode\npid = 7\nsince = yesterday\n");
    sg_lock_holder(directory, line, sizeof line);
    assert_string_equal(line, "host ?[2Jnode, process 7, since yesterday");
    temporary_remove(&directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_come_back),
        cmocka_unit_test(test_impossible_facts_are_refused),
        cmocka_unit_test(test_small_files_are_not_trusted),
    };
    return cmocka_run_group_tests_name("facts", tests, NULL, NULL);
}
