/* Live progress: what is written for `status`, and at what cost. */
#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline/log.h"
#include "pipeline/progress.h"
#include "tests/reference/temporary.h"

static sg_comm *world;
static char *dir;
static const sg_plan_stage fresh = {.id = "dense-s1"}, resumed = {.id = "dense-s2"};

/* Takes the place of the C library's. */
static int syncs;
int fsync(int descriptor) {
    (void)descriptor;
    syncs++;
    return 0;
}

static const char *line(const sg_plan_stage *stage) {
    static char text[512];
    sg_progress_read(dir, stage->id, text, sizeof text);
    return text;
}

static void a_line_is_written_without_syncs(void **state) {
    (void)state;
    const sg_progress progress = {
        .phase = "train", .epochs = 3, .step = 1, .steps = 4, .loss = 2.0, .accuracy = 0.25};
    syncs = 0;
    sg_progress_show(world, dir, &fresh, &progress);
    assert_string_equal(line(&fresh), "dense-s1: train 1/3, loss 2.0000, accuracy 25.0 %");
    assert_int_equal(syncs, 0);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What the line says is left, after the two seconds in which it is not rewritten. */
static int seconds_left(const sg_progress *progress) {
    struct timespec pause = {.tv_sec = 2, .tv_nsec = 100 * 1000 * 1000};
    int minutes, seconds;
    nanosleep(&pause, NULL);
    sg_progress_show(world, dir, &resumed, progress);
    const char *left = strrchr(line(&resumed), ',');
    if (left == NULL || sscanf(left, ", %d:%d left", &minutes, &seconds) != 2) return -1;
    return 60 * minutes + seconds;
}

/* A launch that goes on from the middle of 100 epochs, and then tests. */
static void what_is_left_follows_from_what_this_launch_did(void **state) {
    (void)state;
    sg_progress train = {.phase = "train", .epoch = 50, .epochs = 100, .step = 1, .steps = 2, .loss = 1.0};
    const sg_progress test = {.phase = "test", .step = 1, .steps = 10, .loss = 1.0};
    double began = now();
    sg_progress_show(world, dir, &resumed, &train);
    train.epoch = 51;
    train.step = 2; /* from 50.5 to 52 epochs */
    const sg_progress *const shown[] = {&train, &test};
    for (int i = 0; i < 2; i++) {
        int left = seconds_left(shown[i]);
        double longest = (now() - began) * 48.0 / 1.5, shortest = 2.1 * (i + 1) * 48.0 / 1.5 - 1.0;
        if (left < shortest || left > longest)
            fail_msg("%s: %d s left, expected %.0f to %.0f", shown[i]->phase, left, shortest, longest);
    }
}

/* Nothing comes after the last test of a network without running statistics. */
static void the_last_epoch_is_an_event(void **state) {
    (void)state;
    sg_plan_stage stages[] = {{.id = "dense-s3"}};
    const sg_plan plan = {.count = 1, .stages = stages};
    const sg_progress train = {.phase = "train", .epoch = 2, .epochs = 3, .step = 4, .steps = 4},
                      test = {.phase = "test", .step = 2, .steps = 2, .loss = 0.5, .accuracy = 0.75};
    sg_log_open(dir, true);
    sg_progress_open(&plan);
    sg_progress_show(world, dir, &stages[0], &train);
    sg_progress_show(world, dir, &stages[0], &test);
    sg_progress_end("dense-s3", true);
    sg_progress_close();
    sg_log_close();
    size_t size;
    char *events = (char *)temporary_read(dir, "log.jsonl", &size);
    events[size - 1] = '\0'; /* the last line's end */
    const char *event =
        strstr(events, "\"stage\":\"dense-s3\",\"epoch\":3,\"test_loss\":0.5,\"test_accuracy\":0.75}");
    if (event == NULL) fail_msg("no event of epoch 3 in: %s", events);
    free(events);
}

static int make_folder(void **state) {
    (void)state;
    dir = temporary_create();
    temporary_text(dir, "stages/dense-s1/key", "");
    temporary_text(dir, "stages/dense-s2/key", "");
    temporary_text(dir, "stages/dense-s3/key", "");
    return sg_comm_create(&world, MPI_COMM_WORLD);
}

static int remove_folder(void **state) {
    (void)state;
    sg_comm_destroy(&world);
    temporary_remove(&dir);
    return 0;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_written_without_syncs),
        cmocka_unit_test(what_is_left_follows_from_what_this_launch_did),
        cmocka_unit_test(the_last_epoch_is_an_event),
    };
    int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
    MPI_Finalize();
    return failed;
}
