/* Requests to stop. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline/signals.h"
#include "tests/reference/temporary.h"

/* Runs a check in a child, since a request is for ever; 0 when it holds. */
static int in_child(int (*check)(void)) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(check());
    int status;
    if (waitpid(child, &status, 0) != child) fail_msg("no child");
    if (!WIFEXITED(status)) fail_msg("the child ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static int number;
static const char *expected;

static int stops_by_signal(void) {
    if (sg_signals_install() != SG_OK || sg_stop_requested()) return 1;
    raise(number);
    if (!sg_stop_requested() || strcmp(sg_stop_reason(), expected) != 0) return 2;
    raise(SIGTERM); /* a second one changes nothing */
    raise(SIGUSR1);
    return sg_stop_requested() && strcmp(sg_stop_reason(), expected) == 0 ? 0 : 3;
}

static void each_signal_asks_to_stop(void **state) {
    (void)state;
    const struct {
        int number;
        const char *name;
    } all[] = {{SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        number = all[i].number;
        expected = all[i].name;
        assert_int_equal(in_child(stops_by_signal), 0);
    }
}

static int writes_past_the_limit(void) {
    struct rlimit limit = {.rlim_cur = 16, .rlim_max = 16};
    if (sg_signals_install() != SG_OK || setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    char data[64] = "";
    int descriptor = open(in_folder("limited"), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    if (descriptor < 0) return 2;
    return write(descriptor, data, sizeof data) == 16 && write(descriptor, data, sizeof data) == -1 ? 0 : 3;
}

static void a_file_size_limit_is_an_error_and_no_death(void **state) {
    (void)state;
    assert_int_equal(in_child(writes_past_the_limit), 0);
}

static int stops_by_time(void) {
    sg_signals_limit(0.01, 0.2); /* 0.6 s less 0.2 */
    if (sg_stop_requested()) return 1;
    struct timespec half = {.tv_nsec = 500 * 1000 * 1000};
    nanosleep(&half, NULL);
    return sg_stop_requested() && strcmp(sg_stop_reason(), "the time limit") == 0 ? 0 : 2;
}

static void the_time_limit_asks_to_stop_before_it_is_over(void **state) {
    (void)state;
    assert_int_equal(in_child(stops_by_time), 0);
}

static int stops_by_time_since_the_start(void) {
    struct timespec half = {.tv_nsec = 500 * 1000 * 1000};
    sg_signals_begin();
    nanosleep(&half, NULL);
    sg_signals_limit(60.0, 0.2);
    if (sg_stop_requested()) return 1;
    sg_signals_limit(0.01, 0.2); /* 0.6 s less 0.2: over already */
    return sg_stop_requested() ? 0 : 2;
}

static void the_time_limit_counts_from_the_start(void **state) {
    (void)state;
    assert_int_equal(in_child(stops_by_time_since_the_start), 0);
}

/* A squeue that prints what the test wants, first in PATH. */
static char answer[64];
static int asks_squeue(void) {
    char text[8192];
    const char *path = in_folder("squeue");
    FILE *file = fopen(path, "w");
    if (file == NULL) return 11;
    fprintf(file, "#!/bin/sh\nif [ \"$*\" = \"-h -j %s -o %%L\" ]; then echo '%s'; fi\n",
            getenv("SLURM_ARRAY_JOB_ID") == NULL ? "4711" : "4700_3", answer);
    if (fclose(file) != 0 || chmod(path, 0700) != 0) return 12;
    snprintf(text, sizeof text, "%s:%s", test_folder, getenv("PATH"));
    setenv("PATH", text, 1);
    setenv("SLURM_JOB_ID", "4711", 1);
    sg_signals_limit(0, 0.5); /* half of what is left, when that is less */
    struct timespec moment = {.tv_nsec = 900 * 1000 * 1000};
    nanosleep(&moment, NULL);
    return sg_stop_requested() ? 1 : 0;
}

static void slurm_is_asked_for_its_limit(void **state) {
    (void)state;
    const struct {
        const char *text;
        int stops;
    } all[] = {{"0:01", 1},    {"00:00:01", 1}, {"1-00:00:01", 0}, {"1:00:01", 0}, {"UNLIMITED", 0},
               {"INVALID", 0}, {"", 0}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(answer, sizeof answer, "%s", all[i].text);
        int stopped = in_child(asks_squeue);
        if (stopped != all[i].stops) fail_msg("%s: %d, expected %d", all[i].text, stopped, all[i].stops);
    }
}

/* One task's job number may be the whole array's, for which squeue answers several times. */
static void an_array_is_asked_for_its_own_task(void **state) {
    (void)state;
    snprintf(answer, sizeof answer, "0:01");
    setenv("SLURM_ARRAY_JOB_ID", "4700", 1);
    setenv("SLURM_ARRAY_TASK_ID", "3", 1);
    int stopped = in_child(asks_squeue);
    unsetenv("SLURM_ARRAY_JOB_ID");
    unsetenv("SLURM_ARRAY_TASK_ID");
    assert_int_equal(stopped, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_signal_asks_to_stop),
        cmocka_unit_test(a_file_size_limit_is_an_error_and_no_death),
        cmocka_unit_test(the_time_limit_asks_to_stop_before_it_is_over),
        cmocka_unit_test(the_time_limit_counts_from_the_start),
        cmocka_unit_test(slurm_is_asked_for_its_limit),
        cmocka_unit_test(an_array_is_asked_for_its_own_task),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
