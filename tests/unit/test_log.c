/* The log: events are one JSON object a line, whatever the text, and never mix. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/log.h"
#include "tests/reference/temporary.h"

/* What log.jsonl has, freshly begun. */
static char *events(void) {
    char *text;
    size_t bytes;
    if (sg_file_read(in_folder("log.jsonl"), 1 << 24, &text, &bytes) != SG_OK)
        fail_msg("%s", sg_error_message());
    return text;
}

static void assert_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", text, part);
}

static void texts_are_escaped(void **state) {
    (void)state;
    char out[64];
    assert_string_equal(sg_log_escape("a\"b\\c\nd\x01\xc3\xa9", out, sizeof out),
                        "\"a\\\"b\\\\c\\u000ad\\u0001\xc3\xa9\"");
    assert_string_equal(sg_log_escape("", out, sizeof out), "\"\"");
}

static void a_long_text_is_cut_and_still_quoted(void **state) {
    (void)state;
    char out[16], text[200];
    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t size = 3; size <= sizeof out; size++) {
        sg_log_escape(text, out, size);
        size_t length = strlen(out);
        assert_true(length < size);
        assert_true(out[0] == '"' && out[length - 1] == '"');
        assert_int_equal((length - 2) % 6, 0); /* no half of an escape */
    }
}

static void an_event_is_one_line(void **state) {
    (void)state;
    unlink(in_folder("log.jsonl"));
    sg_log_open(test_folder, true);
    sg_log_event("begin", "\"number\":%d", 1);
    sg_log_event("epoch", "\"epoch\":%d,\"loss\":%.3f", 3, 1.5);
    sg_log_close();
    sg_log_event("after", "\"number\":%d", 2); /* closed: nothing */
    char *text = events();
    assert_has(text, "{\"time\":\"");
    assert_has(text, "\"event\":\"begin\",\"number\":1}\n");
    assert_has(text, "\"event\":\"epoch\",\"epoch\":3,\"loss\":1.500}\n");
    assert_null(strstr(text, "after"));
    SG_FREE(text);
}

static void launches_append(void **state) {
    (void)state;
    unlink(in_folder("log.jsonl"));
    for (int launch = 0; launch < 2; launch++) {
        sg_log_open(test_folder, true);
        sg_log_event("launch", "\"number\":%d", launch);
        sg_log_close();
    }
    char *text = events();
    assert_has(text, "\"number\":0}\n");
    assert_has(text, "\"number\":1}\n");
    SG_FREE(text);
}

static void processes_do_not_mix_lines(void **state) {
    (void)state;
    enum { PROCESSES = 4, LINES = 200, LENGTH = 1000 };
    unlink(in_folder("log.jsonl"));
    fflush(NULL);
    for (int p = 0; p < PROCESSES; p++) {
        if (fork() != 0) continue;
        char text[LENGTH + 1];
        memset(text, 'a' + p, LENGTH);
        text[LENGTH] = '\0';
        sg_log_open(test_folder, true);
        for (int i = 0; i < LINES; i++) sg_log_event("fill", "\"text\":\"%s\"", text);
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    char *text = events(), *rest = NULL;
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest), lines++) {
        char *filling = strstr(line, "\"text\":\"");
        assert_non_null(filling);
        filling += 8;
        char same[2] = {filling[0], '\0'};
        assert_int_equal(strspn(filling, same), LENGTH);
        assert_string_equal(filling + LENGTH, "\"}");
    }
    assert_int_equal(lines, PROCESSES * LINES);
    SG_FREE(text);
}

static void quiet_hides_lines_but_no_warnings(void **state) {
    (void)state;
    const char *name = in_folder("stderr");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (freopen(name, "w", stderr) == NULL) _exit(1);
        sg_log_open(NULL, true);
        sg_log_info("not to be seen");
        sg_log_warning("mind the %s", "gap");
        fflush(stderr);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    char *text;
    size_t bytes;
    assert_int_equal(sg_file_read(name, 4096, &text, &bytes), SG_OK);
    assert_has(text, "warning: mind the gap\n");
    assert_null(strstr(text, "not to be seen"));
    SG_FREE(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_escaped),          cmocka_unit_test(a_long_text_is_cut_and_still_quoted),
        cmocka_unit_test(an_event_is_one_line),       cmocka_unit_test(launches_append),
        cmocka_unit_test(processes_do_not_mix_lines), cmocka_unit_test(quiet_hides_lines_but_no_warnings),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
