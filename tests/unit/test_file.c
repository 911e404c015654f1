/* Whole files: writers of one path do not meet, and what killed ones leave does not pile up. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/h5.h"
#include "tests/reference/status.h"
#include "tests/reference/temporary.h"

enum { SIZE = 300000 };

static char large[SIZE];

static int files(void) {
    int count = 0;
    DIR *folder = opendir(test_folder);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static int write_text(const char *path) { return sg_file_write(path, large, SIZE); }

static int write_h5(const char *path) {
    sg_h5_content *content;
    assert_ok(sg_h5_content_create(&content, "tables"));
    assert_ok(sg_h5_add_array(content, "/large", SG_H5_I8, SIZE, large));
    int status = sg_h5_write(path, NULL, content);
    sg_h5_content_destroy(&content);
    return status;
}

/* Two processes, each writing the file many times over. */
static void write_together(int (*write_one)(const char *), const char *path, int times) {
    pid_t child[2];
    fflush(NULL);
    for (int c = 0; c < 2; c++) {
        child[c] = fork();
        assert_true(child[c] >= 0);
        if (child[c] != 0) continue;
        memset(large, 'a' + c, SIZE);
        for (int i = 0; i < times; i++)
            if (write_one(path) != SG_OK) {
                fprintf(stderr, "%s\n", sg_error_message());
                _exit(1);
            }
        _exit(0);
    }
    for (int c = 0; c < 2; c++) {
        int status;
        assert_int_equal(waitpid(child[c], &status, 0), child[c]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(files(), 1);
}

static void two_processes_write_one_file(void **state) {
    (void)state;
    const char *path = in_folder("a.csv");
    char *data;
    size_t bytes;
    write_together(write_text, path, 200);
    assert_ok(sg_file_read(path, 2 * SIZE, &data, &bytes));
    assert_int_equal(bytes, SIZE);
    for (size_t i = 1; i < bytes; i++) assert_int_equal(data[i], data[0]);
    SG_FREE(data);
}

static void two_processes_write_one_h5_file(void **state) {
    (void)state;
    const char *path = in_folder("a.h5");
    write_together(write_h5, path, 40);
    assert_ok(sg_h5_verify(path, NULL, NULL));
}

/* A child that is stopped or killed (SIGXFSZ) in the middle of writing. */
static void wait_for_ever(int number) {
    (void)number;
    for (;;) pause();
}

static pid_t leave_half(const char *path, void (*on_limit)(int)) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child != 0) return child;
    struct rlimit limit = {.rlim_cur = SIZE / 2, .rlim_max = SIZE / 2}, none = {0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGXFSZ, on_limit);
    alarm(60);
    if (setrlimit(RLIMIT_FSIZE, &limit) == 0) write_text(path);
    _exit(1);
}

static void a_killed_writer_leaves_nothing_for_long(void **state) {
    (void)state;
    const char *path = in_folder("a.csv");
    for (int i = 0; i < 3; i++) {
        int status;
        pid_t child = leave_half(path, SIG_DFL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(files(), 1); /* its half, and none of those before it */
    }
    assert_ok(write_text(path));
    assert_int_equal(files(), 1);
}

static void a_living_writer_keeps_its_file(void **state) {
    (void)state;
    const char *path = in_folder("a.csv");
    pid_t child = leave_half(path, wait_for_ever);
    struct timespec moment = {.tv_nsec = 10000000};
    for (int i = 0; i < 1000 && files() == 0; i++) nanosleep(&moment, NULL);
    assert_ok(write_text(path));
    assert_int_equal(files(), 2);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_ok(write_text(path));
    assert_int_equal(files(), 1);
}

/* Whether another host's process lives cannot be known. */
static void another_hosts_file_goes_after_a_day(void **state) {
    (void)state;
    const char *path = in_folder("a.csv");
    char *name;
    unsigned place;
    assert_ok(sg_file_temporary(&name, path));
    assert_int_equal(sscanf(name + strlen(path), ".%8x", &place), 1);
    SG_FREE(name);
    char other[64], near[64];
    snprintf(other, sizeof other, "a.csv.%08x-1.tmp", place ^ 1);
    snprintf(near, sizeof near, "aa.csv.%08x-1.tmp", place ^ 1); /* another file's */
    temporary_text(test_folder, other, "");
    temporary_text(test_folder, near, "");
    assert_ok(write_text(path));
    assert_int_equal(files(), 3);
    struct timespec old[2] = {{.tv_sec = time(NULL) - 25 * 3600}, {.tv_sec = time(NULL) - 25 * 3600}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder(other), old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, in_folder(near), old, 0), 0);
    assert_ok(write_text(path));
    assert_int_equal(files(), 2);
    assert_int_equal(access(in_folder(other), F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_processes_write_one_file, test_folder_set_up,
                                        test_folder_tear_down),
        cmocka_unit_test_setup_teardown(two_processes_write_one_h5_file, test_folder_set_up,
                                        test_folder_tear_down),
        cmocka_unit_test_setup_teardown(a_killed_writer_leaves_nothing_for_long, test_folder_set_up,
                                        test_folder_tear_down),
        cmocka_unit_test_setup_teardown(a_living_writer_keeps_its_file, test_folder_set_up,
                                        test_folder_tear_down),
        cmocka_unit_test_setup_teardown(another_hosts_file_goes_after_a_day, test_folder_set_up,
                                        test_folder_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
