/* The error record: message, trace, and the macros that leave a function. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/error.h"
#include "kernels/text.h"

static int fail_deep(int value) { return SG_FAIL(SG_DATA, "value %d is wrong", value); }

static int fail_through(int value, int *reached) {
    SG_TRY(fail_deep(value));
    *reached = 1;
    return SG_OK;
}

static int need_positive(int value) {
    SG_CHECK(value > 0, SG_CONFIG, "%d is not positive", value);
    return SG_OK;
}

static void assert_contains(const char *text, const char *part) {
    if (strstr(text, part) == NULL) fail_msg("expected \"%s\" in \"%s\"", part, text);
}

static int lines(const char *text) {
    int count = 0;
    for (; *text != '\0'; text++) count += *text == '\n';
    return count;
}

static void failing_records_code_message_and_place(void **state) {
    (void)state;
    assert_int_equal(fail_deep(7), SG_DATA);
    assert_string_equal(sg_error_message(), "value 7 is wrong");
    assert_contains(sg_error_trace(), "test_error.c:");
    assert_contains(sg_error_trace(), "fail_deep");
    assert_int_equal(lines(sg_error_trace()), 1);
}

static void try_leaves_the_function_and_adds_its_place(void **state) {
    (void)state;
    int reached = 0;
    assert_int_equal(fail_through(8, &reached), SG_DATA);
    assert_int_equal(reached, 0);
    assert_string_equal(sg_error_message(), "value 8 is wrong");
    assert_contains(sg_error_trace(), "fail_through");
    assert_int_equal(lines(sg_error_trace()), 2);
}

static void check_passes_what_holds(void **state) {
    (void)state;
    sg_error_clear();
    assert_int_equal(need_positive(1), SG_OK);
    assert_string_equal(sg_error_message(), "");
    assert_string_equal(sg_error_trace(), "");
}

static void check_refuses_with_its_message(void **state) {
    (void)state;
    assert_int_equal(need_positive(-3), SG_CONFIG);
    assert_string_equal(sg_error_message(), "-3 is not positive");
}

static void a_new_error_starts_a_new_record(void **state) {
    (void)state;
    int reached;
    fail_through(1, &reached);
    need_positive(0);
    assert_string_equal(sg_error_message(), "0 is not positive");
    assert_int_equal(lines(sg_error_trace()), 1);
}

static void success_adds_no_place(void **state) {
    (void)state;
    sg_error_clear();
    assert_int_equal(SG_AT(SG_OK), SG_OK);
    assert_string_equal(sg_error_trace(), "");
}

static void a_prefix_goes_before_the_message(void **state) {
    (void)state;
    assert_int_equal(sg_error_prefix(fail_deep(2), "reading %s: ", "x.h5"), SG_DATA);
    assert_string_equal(sg_error_message(), "reading x.h5: value 2 is wrong");
}

static void an_adopted_record_replaces_the_own_one(void **state) {
    (void)state;
    fail_deep(3);
    assert_int_equal(sg_error_adopt(SG_IO, "disk full", "  at rank 3\n"), SG_IO);
    assert_string_equal(sg_error_message(), "disk full");
    assert_string_equal(sg_error_trace(), "  at rank 3\n");
}

static void clearing_forgets_the_record(void **state) {
    (void)state;
    fail_deep(4);
    sg_error_clear();
    assert_string_equal(sg_error_message(), "");
    assert_string_equal(sg_error_trace(), "");
}

static void *fail_elsewhere(void *seen) {
    strcpy(seen, sg_error_message());
    fail_deep(5);
    return NULL;
}

static void every_thread_has_its_own_record(void **state) {
    (void)state;
    char seen[64] = "untouched";
    pthread_t thread;
    fail_deep(6);
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen, "");
    assert_string_equal(sg_error_message(), "value 6 is wrong");
}

static void a_message_too_long_is_cut_and_stays_a_string(void **state) {
    (void)state;
    char long_text[5000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(SG_FAIL(SG_USAGE, "%s", long_text), SG_USAGE);
    size_t length = strlen(sg_error_message());
    assert_in_range(length, 1000, sizeof long_text - 2);
    assert_int_equal(sg_error_prefix(SG_USAGE, "%s", long_text), SG_USAGE);
    assert_int_equal(strlen(sg_error_message()), length);
}

static void a_trace_too_long_is_cut_and_stays_a_string(void **state) {
    (void)state;
    fail_deep(9);
    for (int i = 0; i < 1000; i++) SG_AT(SG_DATA);
    assert_in_range(strlen(sg_error_trace()), 1000, 10000);
    assert_string_equal(sg_error_message(), "value 9 is wrong");
}

static void control_characters_do_not_reach_a_terminal(void **state) {
    (void)state;
    assert_int_equal(SG_FAIL(SG_DATA, "%s", "a\033]0;title\007b\x7f\r\n\tc"), SG_DATA);
    assert_string_equal(sg_error_message(), "a?]0;title?b??\n\tc");
    SG_FAIL(SG_DATA, "%s",
            "\xc2\x9b"
            "2J \x9b \xc3\xa9 \xe2\x82\xac \xc2\xa0");
    assert_string_equal(sg_error_message(), "??2J ? \xc3\xa9 \xe2\x82\xac \xc2\xa0");
    sg_error_prefix(SG_DATA, "%s", "\033[1m");
    assert_string_equal(sg_error_message(), "?[1m??2J ? \xc3\xa9 \xe2\x82\xac \xc2\xa0");
    assert_true(sg_text_is_plain("plain \xc3\xa9\n") && !sg_text_is_plain("\033[1m"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_records_code_message_and_place),
        cmocka_unit_test(try_leaves_the_function_and_adds_its_place),
        cmocka_unit_test(check_passes_what_holds),
        cmocka_unit_test(check_refuses_with_its_message),
        cmocka_unit_test(a_new_error_starts_a_new_record),
        cmocka_unit_test(success_adds_no_place),
        cmocka_unit_test(a_prefix_goes_before_the_message),
        cmocka_unit_test(an_adopted_record_replaces_the_own_one),
        cmocka_unit_test(clearing_forgets_the_record),
        cmocka_unit_test(every_thread_has_its_own_record),
        cmocka_unit_test(a_message_too_long_is_cut_and_stays_a_string),
        cmocka_unit_test(a_trace_too_long_is_cut_and_stays_a_string),
        cmocka_unit_test(control_characters_do_not_reach_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
