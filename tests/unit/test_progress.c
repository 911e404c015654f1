/* Live progress: what is written for `status`, and at what cost. */
#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline/progress.h"
#include "tests/reference/temporary.h"

static sg_comm *world;
static char *dir;
static const sg_plan_stage stage = {.id = "dense-s1"};

/* Takes the place of the C library's. */
static int syncs;
int fsync(int descriptor) {
    (void)descriptor;
    syncs++;
    return 0;
}

static const char *line(void) {
    static char text[512];
    sg_progress_read(dir, stage.id, text, sizeof text);
    return text;
}

static void a_line_is_written_without_syncs(void **state) {
    (void)state;
    const sg_progress progress = {
        .phase = "train", .epochs = 3, .step = 1, .steps = 4, .loss = 2.0, .accuracy = 0.25};
    syncs = 0;
    sg_progress_show(world, dir, &stage, &progress);
    assert_ptr_equal(strstr(line(), "dense-s1: train 1/3, loss 2.0000, accuracy 25.0 %"), line());
    assert_int_equal(syncs, 0);
}

static int make_folder(void **state) {
    (void)state;
    dir = temporary_create();
    temporary_text(dir, "stages/dense-s1/key", "");
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
    };
    int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
    MPI_Finalize();
    return failed;
}
