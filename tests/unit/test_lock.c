/* The run directory's lock: one holder at a time, however many want it, and none that is dead keeps it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline/lock.h"
#include "pipeline/signals.h"
#include "tests/reference/status.h"
#include "tests/reference/temporary.h"

static void write_lock(const char *text, int age_seconds) {
    FILE *file = fopen(in_folder("lock"), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    struct timespec now, times[2];
    clock_gettime(CLOCK_REALTIME, &now);
    times[0] = times[1] = (struct timespec){.tv_sec = now.tv_sec - age_seconds};
    assert_int_equal(utimensat(AT_FDCWD, in_folder("lock"), times, 0), 0);
}

static int wait_for(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child) fail_msg("no child %d", (int)child);
    if (!WIFEXITED(status)) fail_msg("child ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* The folder is empty but for a lock that is held. */
static void assert_clean(bool held) {
    char command[4200];
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = '%s'", test_folder, held ? "lock" : "");
    if (system(command) != 0) fail_msg("%s has other files than %s", test_folder, held ? "lock" : "none");
}

/* A process that maps memory after it took the lock is still the same process. */
static void a_holder_that_grows_keeps_the_lock(void **state) {
    (void)state;
    sg_lock *lock, *second = NULL;
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    void *more = mmap(NULL, 64u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(more != MAP_FAILED);
    int status = sg_lock_acquire(&second, test_folder, false);
    munmap(more, 64u << 20);
    assert_error(status, SG_BUSY, "is in use by host");
    assert_null(second);
    assert_ok(sg_lock_check(test_folder, sg_lock_token(lock)));
    sg_lock_release(&lock);
    assert_clean(false);
}

static void a_lock_is_taken_and_released(void **state) {
    (void)state;
    sg_lock *lock;
    char text[256];
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    assert_clean(true);
    assert_ok(sg_lock_check(test_folder, sg_lock_token(lock)));
    sg_lock_holder(test_folder, text, sizeof text);
    char expected[64];
    snprintf(expected, sizeof expected, "process %d", (int)getpid());
    assert_non_null(strstr(text, expected));
    sg_lock_release(&lock);
    assert_null(lock);
    assert_clean(false);
    sg_lock_holder(test_folder, text, sizeof text);
    assert_string_equal(text, "");
}

static void a_live_holder_is_named(void **state) {
    (void)state;
    sg_lock *lock;
    setenv("SLURM_JOB_ID", "4711", 1);
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    unsetenv("SLURM_JOB_ID");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        sg_lock *second;
        int status = sg_lock_acquire(&second, test_folder, false);
        bool told =
            strstr(sg_error_message(), "job 4711") != NULL && strstr(sg_error_message(), "--wait") != NULL;
        _exit(status == SG_BUSY ? (told ? 0 : 1) : 2);
    }
    assert_int_equal(wait_for(child), 0);
    sg_lock_release(&lock);
    assert_clean(false);
}

static void a_dead_holder_loses_it(void **state) {
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        sg_lock *lock;
        _exit(sg_lock_acquire(&lock, test_folder, false)); /* never released */
    }
    assert_int_equal(wait_for(child), 0);
    assert_clean(true);
    sg_lock *lock;
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    assert_ok(sg_lock_check(test_folder, sg_lock_token(lock)));
    sg_lock_release(&lock);
    assert_clean(false);
}

/* The child's launcher (a process between) dies at once; the child itself 4.5 s later. */
static void a_dying_holder_is_waited_for(void **state) {
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    pid_t launcher = fork();
    if (launcher == 0) {
        if (fork() == 0) {
            sg_lock *lock;
            char status = (char)sg_lock_acquire(&lock, test_folder, false);
            if (write(ready[1], &status, 1) != 1) _exit(1);
            struct timespec a_while = {.tv_sec = 4, .tv_nsec = 500 * 1000 * 1000};
            nanosleep(&a_while, NULL);
            _exit(0);
        }
        close(ready[1]);
        char status;
        _exit(read(ready[0], &status, 1) == 1 ? status : 1);
    }
    assert_int_equal(wait_for(launcher), 0);
    close(ready[0]);
    close(ready[1]);
    sg_lock *lock;
    assert_ok(sg_lock_acquire(&lock, test_folder, false)); /* longer than a live holder is waited for */
    sg_lock_release(&lock);
    assert_clean(false);
}

static void a_reused_process_number_is_no_holder(void **state) {
    (void)state;
    sg_lock *lock;
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    char text[2048], start[64];
    FILE *file = fopen(in_folder("lock"), "r");
    assert_non_null(file);
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    sg_lock_release(&lock);
    char *at = strstr(text, "start = ");
    assert_non_null(at);
    snprintf(start, sizeof start, "%s", at);
    at[8] = at[8] == '9' ? '8' : '9'; /* the same pid, which is alive, begun at another time */
    write_lock(text, 0);
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    sg_lock_release(&lock);
}

static void a_live_lease_elsewhere_is_respected(void **state) {
    (void)state;
    sg_lock *lock;
    write_lock("host = elsewhere\npid = 77\njob = 12\nsince = yesterday\nnonce = n\n",
               SG_LOCK_LEASE_SECONDS - 30);
    assert_error(sg_lock_acquire(&lock, test_folder, false), SG_BUSY,
                 "in use by host elsewhere, process 77, job 12, since yesterday");
    assert_null(lock);
    assert_clean(true);
    assert_int_equal(unlink(in_folder("lock")), 0);
}

static void an_expired_lease_elsewhere_is_taken_over(void **state) {
    (void)state;
    sg_lock *lock;
    write_lock("host = elsewhere\npid = 77\nnonce = n\n", SG_LOCK_LEASE_SECONDS + 30);
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    sg_lock_release(&lock);
    assert_clean(false);
}

static void a_damaged_lock_counts_by_its_lease(void **state) {
    (void)state;
    sg_lock *lock;
    write_lock("\x01\x02", 0);
    assert_error(sg_lock_acquire(&lock, test_folder, false), SG_BUSY, "somebody who left no name");
    write_lock("", SG_LOCK_LEASE_SECONDS + 30);
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    sg_lock_release(&lock);
}

static void a_broken_lock_is_noticed(void **state) {
    (void)state;
    sg_lock *lock;
    assert_ok(sg_lock_break(test_folder));
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    assert_ok(sg_lock_break(test_folder));
    assert_error(sg_lock_check(test_folder, sg_lock_token(lock)), SG_BUSY, "no longer ours");
    write_lock("host = elsewhere\npid = 77\nnonce = n\n", 0);
    assert_error(sg_lock_check(test_folder, sg_lock_token(lock)), SG_BUSY, "host elsewhere");
    sg_lock_release(&lock); /* and does not remove the other's */
    assert_clean(true);
    assert_int_equal(unlink(in_folder("lock")), 0);
}

static void waiting_gets_it_in_the_end(void **state) {
    (void)state;
    sg_lock *lock;
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        sg_lock *second;
        int status = sg_lock_acquire(&second, test_folder, true);
        if (status == SG_OK) sg_lock_release(&second);
        _exit(status);
    }
    struct timespec half = {.tv_nsec = 500 * 1000 * 1000};
    nanosleep(&half, NULL);
    assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
    sg_lock_release(&lock);
    assert_int_equal(wait_for(child), 0);
    assert_clean(false);
}

static void waiting_ends_when_asked_to_stop(void **state) {
    (void)state;
    sg_lock *lock;
    write_lock("host = elsewhere\npid = 77\nnonce = n\n", 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (sg_signals_install() != SG_OK) _exit(1);
        raise(SIGTERM);
        _exit(sg_lock_acquire(&lock, test_folder, true));
    }
    assert_int_equal(wait_for(child), SG_INTERRUPTED);
    assert_int_equal(unlink(in_folder("lock")), 0);
}

/* Many processes at once, over a dead holder's lock: each that gets in makes a file that must not be there
 * yet. */
static void racing_takers_get_in_one_at_a_time(void **state) {
    (void)state;
    enum { TAKERS = 12, TURNS = 4 };
    pid_t child[TAKERS];
    const char *inside = in_folder("inside");
    write_lock("host = elsewhere\npid = 77\nnonce = n\n", SG_LOCK_LEASE_SECONDS + 30);
    fflush(NULL);
    for (int i = 0; i < TAKERS; i++) {
        child[i] = fork();
        if (child[i] != 0) continue;
        for (int turn = 0; turn < TURNS; turn++) {
            sg_lock *lock;
            if (sg_lock_acquire(&lock, test_folder, true) != SG_OK) _exit(1);
            int descriptor = open(inside, O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (descriptor < 0) _exit(2);
            struct timespec moment = {.tv_nsec = 1000 * 1000};
            nanosleep(&moment, NULL);
            close(descriptor);
            if (unlink(inside) != 0) _exit(3);
            if (sg_lock_check(test_folder, sg_lock_token(lock)) != SG_OK) _exit(4);
            if (turn == TURNS - 1 && i % 2 == 0) _exit(0); /* dies as its holder */
            sg_lock_release(&lock);
        }
        _exit(0);
    }
    for (int i = 0; i < TAKERS; i++) assert_int_equal(wait_for(child[i]), 0);
    sg_lock *lock;
    assert_ok(sg_lock_acquire(&lock, test_folder, false));
    sg_lock_release(&lock);
    assert_clean(false);
}

static void a_missing_directory_is_told(void **state) {
    (void)state;
    sg_lock *lock;
    assert_error(sg_lock_acquire(&lock, in_folder("nowhere"), false), SG_CANTCREATE, "does not exist");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_is_taken_and_released),
        cmocka_unit_test(a_holder_that_grows_keeps_the_lock),
        cmocka_unit_test(a_live_holder_is_named),
        cmocka_unit_test(a_dead_holder_loses_it),
        cmocka_unit_test(a_dying_holder_is_waited_for),
        cmocka_unit_test(a_reused_process_number_is_no_holder),
        cmocka_unit_test(a_live_lease_elsewhere_is_respected),
        cmocka_unit_test(an_expired_lease_elsewhere_is_taken_over),
        cmocka_unit_test(a_damaged_lock_counts_by_its_lease),
        cmocka_unit_test(a_broken_lock_is_noticed),
        cmocka_unit_test(waiting_gets_it_in_the_end),
        cmocka_unit_test(waiting_ends_when_asked_to_stop),
        cmocka_unit_test(racing_takers_get_in_one_at_a_time),
        cmocka_unit_test(a_missing_directory_is_told),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
