/* Configurations that want to crash, hang or read what they should not; and includes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "pipeline/config.h"
#include "tests/reference/refuse.h"
#include "tests/reference/temporary.h"

/* ---- hostile text */

static void syntax_error_has_its_line(void **state) {
    (void)state;
    refuses_with("net = {\n classes = 10;\n width = = 3;\n};", "test.cfg:3: syntax error; is a quote");
}

static void unclosed_string(void **state) {
    (void)state;
    refuses("data = {\n path = \"abc;\n};",
            "test.cfg:2: key `data.path`: a string is not closed on its line");
}

static void unclosed_comment(void **state) {
    (void)state;
    refuses("net = { };\n/* no end\n\n", "test.cfg:2: a comment is opened here and not closed");
}

static void deep_nesting(void **state) {
    (void)state;
    enum { DEPTH = 200000 };
    char *text = malloc(DEPTH + 16);
    assert_non_null(text);
    strcpy(text, "x = ");
    memset(text + 4, '(', DEPTH);
    text[DEPTH + 4] = '\0';
    refuses(text, "test.cfg:1: groups and lists are nested more than 16 deep");
    free(text);
}

static void many_settings(void **state) {
    (void)state;
    char *text = malloc(1 << 17);
    assert_non_null(text);
    size_t used = (size_t)sprintf(text, "x = ( {");
    for (int i = 0; i < 5000; i++) used += (size_t)sprintf(text + used, "a%d=1;", i);
    sprintf(text + used, "} );");
    refuses(text, "test.cfg:1: more than 4096 settings");
    free(text);
}

static void long_numbers_and_names(void **state) {
    (void)state;
    char text[512];
    snprintf(text, sizeof text, "train = { batch = %0200d; };", 1);
    refuses_with(text, "the number 00000000000000000000... is longer than 63 digits");
    memset(text, 'a', 300);
    strcpy(text + 300, " = 1;");
    refuses_with(text, "the name `aaaaaaaaaaaaaaaaaaaa...` is longer than 63 characters");
}

static void include_in_text(void **state) {
    (void)state;
    refuses("\n@include \"x.cfg\"\n", "test.cfg:2: @include is possible in files only");
}

/* ---- files */

static void write_text(const char *name, const char *text) { temporary_text(test_folder, name, text); }

/* Loading folder/main.cfg fails so; FOLDER in the message stands for the folder. */
static void load_refused(int code, const char *message) {
    char expected[16384], *out = expected;
    for (const char *c = message; *c != '\0';) {
        bool here = strncmp(c, "FOLDER", 6) == 0;
        out += here ? sprintf(out, "%s", test_folder) : sprintf(out, "%c", *c);
        c += here ? 6 : 1;
    }
    sg_run_config *config;
    int status = sg_config_load(&config, in_folder("main.cfg"), NULL, 0);
    assert_null(config);
    assert_string_equal(sg_error_message(), expected);
    assert_int_equal(status, code);
}

static void include_of_a_file_below(void **state) {
    (void)state;
    write_text("sub/train.cfg", "train = {\n  lr = 0.25;\n};\n");
    write_text("main.cfg", "net = { classes = 7; };\n@include \"sub/train.cfg\"\nrun = { threads = 2; };\n");
    sg_run_config *config;
    if (sg_config_load(&config, in_folder("main.cfg"), NULL, 0) != SG_OK) fail_msg("%s", sg_error_message());
    assert_true(config->cases[0].train.lr == 0.25);
    assert_int_equal(config->run.threads, 2);
    sg_config_destroy(&config);
}

static void errors_name_the_included_file(void **state) {
    (void)state;
    write_text("part.cfg", "\n\ntrain = { lrr = 0.25; };\n");
    write_text("main.cfg", "@include \"part.cfg\"\n");
    load_refused(SG_CONFIG, "FOLDER/part.cfg:3: key `train.lrr` is not known; nearest: `train.lr`");
}

static void lines_count_on_behind_an_include(void **state) {
    (void)state;
    write_text("part.cfg", "net = { classes = 7; };\n\n\n");
    write_text("main.cfg", "@include \"part.cfg\"\n\ntrain = { lrr = 0.25; };\n");
    load_refused(SG_CONFIG, "FOLDER/main.cfg:3: key `train.lrr` is not known; nearest: `train.lr`");
}

/* libconfig 1.5 ends the process on this. */
static void include_of_a_directory(void **state) {
    (void)state;
    write_text("main.cfg", "@include \"sub\"\n");
    load_refused(SG_CONFIG, "FOLDER/main.cfg:1: @include: FOLDER/sub: is not a regular file");
}

static void include_of_a_pipe_does_not_hang(void **state) {
    (void)state;
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    write_text("main.cfg", "@include \"pipe\"\n");
    load_refused(SG_CONFIG, "FOLDER/main.cfg:1: @include: FOLDER/pipe: is not a regular file");
}

static void include_of_nothing(void **state) {
    (void)state;
    write_text("main.cfg", "@include \"absent.cfg\"\n");
    load_refused(SG_CONFIG, "FOLDER/main.cfg:1: @include: absent.cfg: No such file or directory");
}

static void include_outside_the_folder(void **state) {
    (void)state;
    /* As far up as there is to go, wherever the folder is. */
    const char *const ways[] = {"/etc/passwd", "../../../../../../../../../../../../../../../../etc/passwd",
                                "link"};
    assert_int_equal(symlink("/etc/passwd", in_folder("link")), 0);
    for (int i = 0; i < 3; i++) {
        char text[128], message[512];
        snprintf(text, sizeof text, "@include \"%s\"\n", ways[i]);
        write_text("main.cfg", text);
        snprintf(message, sizeof message,
                 "FOLDER/main.cfg:1: @include: %s: lies outside the configuration's folder FOLDER; only "
                 "files below it can be "
                 "included",
                 ways[i]);
        load_refused(SG_CONFIG, message);
    }
}

static void include_of_itself(void **state) {
    (void)state;
    write_text("main.cfg", "@include \"main.cfg\"\n");
    load_refused(SG_CONFIG, "FOLDER/main.cfg:1: files include each other more than 8 deep");
}

static void include_without_quotes(void **state) {
    (void)state;
    write_text("main.cfg", "@include <main.cfg>\n");
    load_refused(SG_CONFIG, "FOLDER/main.cfg:1: @include takes one file name in double quotes");
}

static void include_that_doubles(void **state) {
    (void)state;
    char filler[300001];
    memset(filler, '#', 300000);
    filler[300000] = '\0';
    filler[299999] = '\n';
    /* Comments vanish from the text; blanks stay. */
    memset(filler, ' ', 299999);
    write_text("part.cfg", filler);
    write_text(
        "main.cfg",
        "@include \"part.cfg\"\n@include \"part.cfg\"\n@include \"part.cfg\"\n@include \"part.cfg\"\n");
    load_refused(
        SG_CONFIG,
        "FOLDER/main.cfg:4: @include: part.cfg: configurations are limited to 1048576 bytes, includes "
        "counted");
}

static void nul_byte(void **state) {
    (void)state;
    temporary_write(test_folder, "main.cfg", "net = { };\ntr\0ain = { };\n", 24);
    load_refused(SG_CONFIG, "FOLDER/main.cfg:2: a NUL byte; this is not a text file");
}

static void huge_file(void **state) {
    (void)state;
    write_text("main.cfg", "");
    assert_int_equal(truncate(in_folder("main.cfg"), (off_t)1 << 40), 0);
    load_refused(SG_CONFIG, "FOLDER/main.cfg: configurations are limited to 1048576 bytes, includes counted");
}

static void absent_file(void **state) {
    (void)state;
    unlink(in_folder("main.cfg"));
    load_refused(SG_NOINPUT, "FOLDER/main.cfg: cannot be opened: No such file or directory");
}

static void directory_as_file(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_folder("main.cfg"), 0755), 0);
    load_refused(SG_NOINPUT, "FOLDER/main.cfg: is not a regular file");
    assert_int_equal(rmdir(in_folder("main.cfg")), 0);
}

static void windows_line_ends_and_marks_are_taken(void **state) {
    (void)state;
    write_text("main.cfg", "\xef\xbb\xbfnet = {\r\n  classes = 7; # seven\r\n};\r\n");
    sg_run_config *config;
    if (sg_config_load(&config, in_folder("main.cfg"), NULL, 0) != SG_OK) fail_msg("%s", sg_error_message());
    assert_int_equal(config->cases[0].net.classes, 7);
    sg_config_destroy(&config);
}

/* Whatever a damaged file holds, it is read or refused with a message; a crash or a hang ends the program. */
static void damaged_texts_never_crash(void **state) {
    (void)state;
    enum { TRIALS = 600, LENGTH = 1 << 15 };
    char *good = calloc(1, LENGTH), *bad = calloc(1, LENGTH);
    assert_true(good != NULL && bad != NULL);
    FILE *file = fopen("configs/example.cfg", "r");
    assert_non_null(file);
    size_t length = fread(good, 1, LENGTH - 1, file);
    fclose(file);
    static const char bytes[] = "{}()[]=:;,\"\\/*#@+-.0159eExL\n\t tfa\x01\x80\xff";
    uint32_t random = 12345;
    int refused = 0;
    for (int i = 0; i < TRIALS; i++) {
        memcpy(bad, good, length + 1);
        for (int j = 0; j <= i % 4; j++) {
            random = random * 1664525u + 1013904223u;
            size_t at = (random >> 8) % length;
            random = random * 1664525u + 1013904223u;
            bad[at] = bytes[(random >> 8) % (sizeof bytes - 1)];
        }
        sg_run_config *config;
        sg_error_clear();
        int status = sg_config_parse(&config, "bad.cfg", bad, NULL, 0);
        if (status == SG_OK) {
            sg_config_destroy(&config);
        } else {
            refused++;
            assert_int_equal(status, SG_CONFIG);
            assert_null(config);
            assert_int_equal(strncmp(sg_error_message(), "bad.cfg", 7), 0);
        }
    }
    assert_in_range(refused, TRIALS / 10, TRIALS);
    free(good);
    free(bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syntax_error_has_its_line),
        cmocka_unit_test(unclosed_string),
        cmocka_unit_test(unclosed_comment),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(many_settings),
        cmocka_unit_test(long_numbers_and_names),
        cmocka_unit_test(include_in_text),
        cmocka_unit_test(include_of_a_file_below),
        cmocka_unit_test(errors_name_the_included_file),
        cmocka_unit_test(lines_count_on_behind_an_include),
        cmocka_unit_test(include_of_a_directory),
        cmocka_unit_test(include_of_a_pipe_does_not_hang),
        cmocka_unit_test(include_of_nothing),
        cmocka_unit_test(include_outside_the_folder),
        cmocka_unit_test(include_of_itself),
        cmocka_unit_test(include_without_quotes),
        cmocka_unit_test(include_that_doubles),
        cmocka_unit_test(nul_byte),
        cmocka_unit_test(huge_file),
        cmocka_unit_test(absent_file),
        cmocka_unit_test(directory_as_file),
        cmocka_unit_test(windows_line_ends_and_marks_are_taken),
        cmocka_unit_test(damaged_texts_never_crash),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
