/* Packing and checking: what was packed comes back, damage is found, and the summary says what there is. */
#include <glob.h>
#include <inttypes.h>
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

#include "pipeline/data.h"
#include "pipeline/h5.h"
#include "tests/reference/temporary.h"

enum { TRAIN = 60, TEST_SAMPLES = 20, SIZE = 3072 };

static sg_data *shapes;

static int set_up(void **state) {
    test_folder_set_up(state);
    sg_data_options options = {.kind = "shapes", .train_limit = TRAIN, .test_limit = TEST_SAMPLES, .seed = 8};
    return sg_data_open(&shapes, &options, MPI_COMM_WORLD);
}
static int tear_down(void **state) {
    sg_data_close(&shapes);
    return test_folder_tear_down(state);
}

static int open_packed(sg_data **data, uint32_t train) {
    sg_data_options options = {.kind = "packed", .path = in_folder("a.h5"), .train_limit = train};
    return sg_data_open(data, &options, MPI_COMM_WORLD);
}

static void what_is_packed_comes_back(void **state) {
    (void)state;
    sg_data *data;
    assert_int_equal(sg_data_pack(shapes, in_folder("a.h5")), SG_OK);
    glob_t found;
    assert_int_equal(glob(in_folder("*.tmp"), 0, NULL, &found), GLOB_NOMATCH);
    assert_int_equal(open_packed(&data, 0), SG_OK);
    assert_string_equal(data->name, "shapes");
    assert_int_equal(data->classes, 10);
    assert_int_equal(data->height, 32);
    assert_int_equal(data->width, 32);
    assert_int_equal(data->channels, 3);
    for (int c = 0; c < 10; c++) assert_string_equal(data->class_name[c], shapes->class_name[c]);
    assert_memory_equal(data->mean, shapes->mean, sizeof data->mean);
    assert_memory_equal(data->deviation, shapes->deviation, sizeof data->deviation);
    for (int s = 0; s < SG_SPLITS; s++) {
        assert_int_equal(data->part[s].samples, shapes->part[s].samples);
        assert_memory_equal(data->part[s].image, shapes->part[s].image, shapes->part[s].samples * SIZE);
        assert_memory_equal(data->part[s].label, shapes->part[s].label,
                            shapes->part[s].samples * sizeof(int32_t));
    }
    assert_true(data->fingerprint == shapes->fingerprint);
    sg_data_close(&data);
}

static void limits_take_the_first_samples(void **state) {
    (void)state;
    sg_data *data;
    assert_int_equal(sg_data_pack(shapes, in_folder("a.h5")), SG_OK);
    assert_int_equal(open_packed(&data, 7), SG_OK);
    assert_int_equal(data->part[0].samples, 7);
    assert_memory_equal(data->part[0].image, shapes->part[0].image, 7 * SIZE);
    sg_data_close(&data);
    assert_int_equal(open_packed(&data, TRAIN + 1), SG_CONFIG);
}

/* A single changed bit anywhere must be found: in the block, in HDF5's structure, in pixels, at the end. */
static void damage_is_found(void **state) {
    (void)state;
    sg_data *data;
    size_t size;
    assert_int_equal(sg_data_pack(shapes, in_folder("a.h5")), SG_OK);
    unsigned char *bytes = temporary_read(test_folder, "a.h5", &size);
    for (int k = 0; k < 24; k++) {
        size_t at = k == 23 ? size - 1 : 20 + (size_t)k * (size - 21) / 23;
        bytes[at] ^= 4;
        temporary_write(test_folder, "a.h5", bytes, size);
        bytes[at] ^= 4;
        int status = open_packed(&data, 0);
        if (status != SG_DATA) fail_msg("bit flipped at byte %zu of %zu: status %d", at, size, status);
        assert_non_null(strstr(sg_error_message(), "a.h5"));
    }
    temporary_write(test_folder, "a.h5", bytes, size - 100);
    assert_int_equal(open_packed(&data, 0), SG_DATA);
    free(bytes);
}

static void other_files_are_refused(void **state) {
    (void)state;
    sg_data *data;
    assert_int_equal(open_packed(&data, 0), SG_NOINPUT);
    temporary_text(test_folder, "a.h5", "no HDF5");
    assert_int_equal(open_packed(&data, 0), SG_DATA);
    sg_h5_content *content;
    assert_int_equal(sg_h5_content_create(&content, "checkpoint"), SG_OK);
    int32_t one = 1;
    assert_int_equal(sg_h5_add_scalar(content, "/x", SG_H5_I32, &one), SG_OK);
    assert_int_equal(sg_h5_write(in_folder("a.h5"), NULL, content), SG_OK);
    sg_h5_content_destroy(&content);
    assert_int_equal(open_packed(&data, 0), SG_DATA);
    expect_message(
        "%s/a.h5: is a file of kind checkpoint, and data-set is wanted; `signet data pack` makes one",
        test_folder);
}

/* Files of the right kind whose content does not fit. */
static void impossible_labels_are_refused(void **state) {
    (void)state;
    sg_data *data;
    int32_t labels[TRAIN];
    sg_data wrong = *shapes;
    memcpy(labels, shapes->part[0].label, sizeof labels);
    labels[5] = 10;
    wrong.part[0].label = labels;
    assert_int_equal(sg_data_pack(&wrong, in_folder("a.h5")), SG_OK);
    assert_int_equal(open_packed(&data, 0), SG_DATA);
    assert_non_null(
        strstr(sg_error_message(), "is 10; 0 to 9 were expected; pack it again with `signet data pack`"));
}

static void packing_into_nowhere_fails(void **state) {
    (void)state;
    assert_int_equal(sg_data_pack(shapes, in_folder("none/a.h5")), SG_CANTCREATE);
    assert_non_null(strstr(sg_error_message(), "none/a.h5"));
}

/* What sg_data_check prints; owned. */
static char *check(const sg_data *data, int *status) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    *status = sg_data_check(data, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void the_check_says_what_there_is(void **state) {
    (void)state;
    int status;
    uint8_t image[8] = {0, 255, 51, 51, 0, 255, 102, 102}, test[4] = {9, 9, 9, 9};
    int32_t label[2] = {1, 0}, test_label[1] = {1};
    const char *const names[] = {"cat", "dog"};
    sg_data data = {.name = "pets",
                    .classes = 2,
                    .channels = 2,
                    .height = 1,
                    .width = 2,
                    .class_name = names,
                    .mean = {0.5f, 0.25f},
                    .deviation = {0.125f, 1.0f},
                    .fingerprint = 0xabc,
                    .part = {{2, image, label}, {1, test, test_label}}};
    char *text = check(&data, &status);
    assert_int_equal(status, SG_OK);
    /* channel 0: 0, 51, 0, 102: mean 0.15, variance (0 + .04 + 0 + .16) / 4 - .0225 = 0.0275;
     * channel 1: 255, 51, 255, 102: mean 0.65, variance (1 + .04 + 1 + .16) / 4 - .4225 = 0.1275 */
    assert_string_equal(text, "data set    pets\n"
                              "images      2 x 1 pixels (width x height), 2 channels\n"
                              "fingerprint 0000000000000abc\n"
                              "normalised  by mean 0.5000 0.2500, deviation 0.1250 1.0000\n"
                              "train       2 samples; mean 0.1500 0.6500, deviation 0.1658 0.3571\n"
                              "test        1 samples; mean 0.0353 0.0353, deviation 0.0000 0.0000\n"
                              "class                                 train       test\n"
                              "     0 cat                                1          0\n"
                              "     1 dog                                1          1\n");
    free(text);
}

static void the_check_finds_test_images_in_training(void **state) {
    (void)state;
    int status;
    sg_data leaky = *shapes;
    leaky.part[SG_SPLIT_TEST].image = shapes->part[SG_SPLIT_TRAIN].image + 3 * SIZE;
    leaky.part[SG_SPLIT_TEST].samples = 5;
    char *text = check(&leaky, &status);
    assert_int_equal(status, SG_OK);
    assert_non_null(strstr(text, "warning     5 test images are training images, too\n"));
    free(text);
}

static void the_check_fails_for_empty_classes(void **state) {
    (void)state;
    int status;
    sg_data *few;
    sg_data_options options = {.kind = "shapes", .train_limit = 3, .test_limit = 3};
    assert_int_equal(sg_data_open(&few, &options, MPI_COMM_WORLD), SG_OK);
    int present[10] = {0}, missing = 0;
    for (int i = 0; i < 3; i++) present[few->part[0].label[i]] = 1;
    while (present[missing]) missing++;
    free(check(few, &status));
    assert_int_equal(status, SG_DATA);
    expect_message("data set shapes: class %d (%s) has no training sample: raise data.train_limit, or set "
                   "net.classes to "
                   "what the data set has",
                   missing, few->class_name[missing]);
    sg_data_close(&few);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        TEST(what_is_packed_comes_back),
        TEST(limits_take_the_first_samples),
        TEST(damage_is_found),
        TEST(other_files_are_refused),
        TEST(impossible_labels_are_refused),
        TEST(packing_into_nowhere_fails),
        TEST(the_check_says_what_there_is),
        TEST(the_check_finds_test_images_in_training),
        TEST(the_check_fails_for_empty_classes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
