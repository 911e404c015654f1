/* Lazy data sets: images of many sizes against PIL, samples that are read when needed against the same ones
 * in memory, and files that are broken. */
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
#include <xxhash.h>

#include "pipeline/data_kind.h"
#include "pipeline/data_lazy.h"
#include "pipeline/h5.h"
#include "pipeline/loader.h"
#include "tests/reference/temporary.h"

enum { SIZE = 224, OUT = SIZE * SIZE * 3, MOST = 1100 };

/* Waves of several lengths, from 3 pixels to the whole image, and an edge: what antialiasing is for. Integers
 * only, so that the bytes are the same anywhere. */
static const uint8_t *picture(int height, int width) {
    static uint8_t pixel[MOST * MOST * 3];
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                pixel[(y * width + x) * 3 + c] =
                    (uint8_t)(x * 97 / width + y * 59 / height + (x + c * y) % 31 +
                              (x * y / (64 + 9 * c)) % 37 + (x > y ? 30 : 0));
    return pixel;
}

/* A folder whose images have these sizes; the only image of train/a is the one that is looked at. */
static sg_data *open_with(int height, int width, bool png) {
    sg_data *data;
    if (png)
        temporary_png(test_folder, "train/a/0.png", picture(height, width), height, width, 3, 8);
    else
        temporary_jpeg(test_folder, "train/a/0.jpg", picture(height, width), height, width, 3, 95);
    temporary_png(test_folder, "test/a/0.png", picture(20, 30), 20, 30, 3, 8);
    sg_data_options options = {.kind = "folder", .path = test_folder, .size = SIZE, .threads = 2};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    assert_true(data->lazy && data->resized);
    assert_null(data->part[0].image);
    return data;
}

static void look(const sg_data *data, enum sg_augment augment, uint64_t seed, uint8_t *out) {
    sg_lazy *lazy;
    sg_look how = {.augment = augment, .seed = seed, .epoch = 1};
    assert_int_equal(sg_lazy_create(&lazy, data), SG_OK);
    if (sg_lazy_get(lazy, SG_SPLIT_TRAIN, 0, &how, out) != SG_OK) fail_msg("%s", sg_error_message());
    sg_lazy_destroy(&lazy);
}

/* What PIL makes of directory/file by these statements; false where there is no PIL. */
static bool ask_pil(const char *file, const char *statements, uint8_t *expected) {
    char command[4096];
    if (system("/usr/bin/python3 -c 'import PIL' 2>/dev/null") != 0) return false;
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c 'import sys; from PIL import Image; B = Image.BILINEAR; "
             "im = Image.open(\"%s/%s\").convert(\"RGB\"); w, h = im.size; %s; "
             "sys.stdout.buffer.write(im.tobytes())'",
             test_folder, file, statements);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fread(expected, 1, OUT, pipe), OUT);
    assert_int_equal(pclose(pipe), 0);
    return true;
}

static int worst(const uint8_t *a, const uint8_t *b, double *mean) {
    int most = 0;
    double sum = 0;
    for (int i = 0; i < OUT; i++) {
        int away = abs(a[i] - b[i]);
        most = away > most ? away : most;
        sum += away;
    }
    if (mean != NULL) *mean = sum / OUT;
    return most;
}

static const char CENTRE[] =
    "W, H = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256); im = im.resize((W, H), B); "
    "t, l = int(round((H - 224) / 2.0)), int(round((W - 224) / 2.0)); im = im.crop((l, t, l + 224, t + 224))";

/* The hash is that of PIL 9.4's bytes where a machine has no PIL. */
static void check_centre(int height, int width, uint64_t hash) {
    static uint8_t out[OUT], expected[OUT];
    sg_data *data = open_with(height, width, true);
    look(data, SG_AUGMENT_NONE, 0, out);
    if (ask_pil("train/a/0.png", CENTRE, expected)) {
        int most = worst(out, expected, NULL);
        if (most > 0) fail_msg("%d x %d: up to %d grey levels from PIL's", width, height, most);
    }
    if (XXH3_64bits(out, OUT) != hash)
        fail_msg("%d x %d: hash %016llx instead of %016llx", width, height,
                 (unsigned long long)XXH3_64bits(out, OUT), (unsigned long long)hash);
    sg_data_close(&data);
}

static void test_images_are_pils_wide(void **state) {
    (void)state;
    check_centre(375, 500, UINT64_C(0xd48f1be3500e3302));
}
static void test_images_are_pils_tall(void **state) {
    (void)state;
    check_centre(501, 333, UINT64_C(0xa67a38a7a9d99d5b));
}
static void test_images_are_pils_small(void **state) {
    (void)state;
    check_centre(40, 51, UINT64_C(0x18b499ea6c907ae3));
}

/* The crop is drawn as documented (its distribution: test_augment.c), cut out and resized as torchvision
 * does. */
static void training_images_are_pils(void **state) {
    (void)state;
    static uint8_t out[OUT], expected[OUT];
    char statements[512];
    sg_data *data = open_with(375, 500, true);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        sg_view v = sg_augment_resized_crop(seed, 1, 0, 375, 500, 0.08);
        look(data, SG_AUGMENT_RESIZED_CROP, seed, out);
        snprintf(statements, sizeof statements, "im = im.crop((%d, %d, %d, %d)).resize((224, 224), B)%s",
                 v.left, v.top, v.left + v.width, v.top + v.height,
                 v.flip ? ".transpose(Image.FLIP_LEFT_RIGHT)" : "");
        if (!ask_pil("train/a/0.png", statements, expected)) skip();
        int most = worst(out, expected, NULL);
        if (most > 0) fail_msg("seed %d: up to %d grey levels from PIL's", (int)seed, most);
    }
    sg_data_close(&data);
}

/* 1024 pixels become 224 by way of 512 (4/8): the rest of the way is the triangle's. The bounds are twice
 * what this image, far rougher than photographs, shows: 4 grey levels, 0.47 on average. */
static void reduced_decoding_is_close(void **state) {
    (void)state;
    static uint8_t out[OUT], expected[OUT];
    double mean;
    sg_data *data = open_with(1054, 1054, false);
    look(data, SG_AUGMENT_NONE, 0, out);
    if (!ask_pil("train/a/0.jpg", CENTRE, expected)) skip();
    int most = worst(out, expected, &mean);
    print_message("reduced decoding: %d grey levels at most, %.3f on average\n", most, mean);
    if (most > 8 || mean > 0.93) fail_msg("up to %d grey levels from PIL's, %.3f on average", most, mean);
    sg_data_close(&data);
}

/* Read when needed or kept in memory: the same minibatches. */
static void lazy_and_resident_agree(void **state) {
    (void)state;
    char name[64];
    sg_data *data[2];
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "train/%c/%d.%s", 'a' + i % 2, i, i % 3 ? "jpg" : "png");
        if (i % 3)
            temporary_jpeg(test_folder, name, picture(20, 18) + 3 * i, 20, 18, 3, 90);
        else
            temporary_png(test_folder, name, picture(20, 18) + 3 * i, 20, 18, 3, 8);
    }
    temporary_png(test_folder, "test/a/0.png", picture(20, 18), 20, 18, 3, 8);
    temporary_png(test_folder, "test/b/0.png", picture(20, 18), 20, 18, 3, 8);
    for (int k = 0; k < 2; k++) {
        sg_data_options options = {
            .kind = "folder", .path = test_folder, .memory_gb = k ? 1e-6 : 1.0, .threads = 2};
        assert_int_equal(sg_data_open(&data[k], &options, MPI_COMM_WORLD), SG_OK);
        assert_int_equal(data[k]->lazy, k);
    }
    assert_true(data[0]->fingerprint == data[1]->fingerprint);
    const char *const augment[] = {"none", "crop_flip", "resized_crop"};
    for (int a = 0; a < 3; a++) {
        sg_loader *loader[2];
        const sg_batch *batch[2];
        sg_order order = {.seed = 4, .shuffle = true, .augment = true, .augment_seed = 5};
        for (int k = 0; k < 2; k++) {
            assert_int_equal(
                sg_loader_create(&loader[k], data[k], SG_SPLIT_TRAIN, 12, 0, 1, 16, 1, 1 + k, augment[a]),
                SG_OK);
            assert_int_equal(sg_loader_get(loader[k], &order, 3, 0, &batch[k]), SG_OK);
        }
        for (int y = 0; y < 20; y++)
            assert_memory_equal(sg_tensor_at(&batch[0]->input, 0, y, 0),
                                sg_tensor_at(&batch[1]->input, 0, y, 0), 18 * 3 * 16 * sizeof(float));
        for (int k = 0; k < 2; k++) sg_loader_destroy(&loader[k]);
    }
    for (int k = 0; k < 2; k++) sg_data_close(&data[k]);
}

static void sizes_that_differ_become_224(void **state) {
    (void)state;
    sg_data *data;
    sg_loader *loader;
    temporary_png(test_folder, "train/a/0.png", picture(30, 40), 30, 40, 3, 8);
    temporary_png(test_folder, "train/a/1.png", picture(40, 40), 40, 40, 3, 8);
    temporary_png(test_folder, "test/a/0.png", picture(30, 40), 30, 40, 3, 8);
    sg_data_options options = {.kind = "folder", .path = test_folder};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    assert_int_equal(data->height, 224);
    assert_int_equal(data->width, 224);
    assert_true(data->resized);
    assert_int_equal(sg_loader_create(&loader, data, SG_SPLIT_TRAIN, 2, 0, 1, 16, 1, 1, "crop_flip"),
                     SG_CONFIG);
    assert_null(loader);
    expect_message(
        "data.augment = \"crop_flip\" needs images of one size, and those of data set %s differ; set "
        "\"resized_crop\" or \"none\"",
        strrchr(test_folder, '/') + 1);
    sg_data_close(&data);
}

/* The bytes of an APP1 segment are not looked at: whatever a broken camera wrote there, and also its
 * rotation, which torchvision's loader leaves alone. */
static void exif_is_ignored(void **state) {
    (void)state;
    static uint8_t plain[OUT], marked[OUT];
    size_t size;
    sg_data *data = open_with(50, 60, false);
    look(data, SG_AUGMENT_NONE, 0, plain);
    sg_data_close(&data);
    unsigned char *bytes = temporary_read(test_folder, "train/a/0.jpg", &size), *longer = malloc(size + 20);
    static const unsigned char segment[20] = {0xff, 0xe1, 0, 18,  'E', 'x',  'i',
                                              'f',  0,    0, 'M', 'M', 0xff, 0xff};
    assert_non_null(longer);
    memcpy(longer, bytes, 2);
    memcpy(longer + 2, segment, 20);
    memcpy(longer + 22, bytes + 2, size - 2);
    temporary_write(test_folder, "train/a/0.jpg", longer, size + 20);
    free(bytes);
    free(longer);
    sg_data_options options = {.kind = "folder", .path = test_folder, .size = SIZE};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    look(data, SG_AUGMENT_NONE, 0, marked);
    assert_memory_equal(plain, marked, OUT);
    sg_data_close(&data);
}

/* Whatever the number of threads, the first of the minibatch is named. */
static void truncated_files_are_named(void **state) {
    (void)state;
    size_t size;
    char path[4096];
    temporary_jpeg(test_folder, "train/a/0.jpg", picture(50, 60), 50, 60, 3, 95);
    temporary_jpeg(test_folder, "train/a/1.jpg", picture(70, 60), 70, 60, 3, 95);
    temporary_png(test_folder, "test/a/0.png", picture(20, 30), 20, 30, 3, 8);
    free(temporary_read(test_folder, "train/a/1.jpg", &size));
    snprintf(path, sizeof path, "%s", in_folder("train/a/1.jpg"));
    assert_int_equal(truncate(path, (off_t)size / 2), 0);
    for (int threads = 1; threads <= 3; threads++) {
        sg_data *data;
        sg_loader *loader;
        const sg_batch *batch;
        sg_order order = {.augment = true};
        sg_data_options options = {.kind = "folder", .path = test_folder, .threads = threads};
        assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
        assert_int_equal(
            sg_loader_create(&loader, data, SG_SPLIT_TRAIN, 2, 0, 1, 16, 1, threads, "resized_crop"), SG_OK);
        assert_int_equal(sg_loader_get(loader, &order, 0, 0, &batch), SG_DATA);
        if (strncmp(sg_error_message(), path, strlen(path)) != 0 ||
            strstr(sg_error_message(), "Premature end of JPEG file") == NULL)
            fail_msg("message \"%s\" does not name %s and what is wrong", sg_error_message(), path);
        sg_loader_destroy(&loader);
        sg_data_close(&data);
    }
}

static void write_three(void) {
    temporary_jpeg(test_folder, "train/a/0.jpg", picture(50, 60), 50, 60, 3, 95);
    temporary_png(test_folder, "train/b/1.png", picture(70, 60), 70, 60, 3, 8);
    temporary_jpeg(test_folder, "test/b/0.jpg", picture(240, 230), 240, 230, 3, 90);
}

/* Packed, the image files stay what they are: the same minibatch from folder, packed file and a packed copy
 * of it. */
static void packed_files_give_the_same(void **state) {
    (void)state;
    static uint8_t out[3][2][OUT];
    sg_data *data;
    char path[3][4096];
    write_three();
    snprintf(path[0], sizeof path[0], "%s", test_folder);
    for (int k = 1; k < 3; k++) snprintf(path[k], sizeof path[k], "%s/%d.h5", test_folder, k);
    for (int k = 0; k < 3; k++) {
        sg_data_options options = {.kind = k == 0 ? "folder" : "packed", .path = path[k], .threads = 2};
        if (sg_data_open(&data, &options, MPI_COMM_WORLD) != SG_OK) fail_msg("%s", sg_error_message());
        assert_true(data->lazy && data->resized);
        assert_int_equal(data->height, SIZE);
        assert_int_equal(data->classes, 2);
        assert_int_equal(data->part[0].samples, 2);
        look(data, SG_AUGMENT_NONE, 0, out[k][0]);
        look(data, SG_AUGMENT_RESIZED_CROP, 3, out[k][1]);
        assert_memory_equal(out[k], out[0], sizeof out[0]);
        if (k < 2 && sg_data_pack(data, path[k + 1]) != SG_OK) fail_msg("%s", sg_error_message());
        sg_data_close(&data);
    }
}

/* Pixels that exceed the budget are packed a piece at a time, and read from the file when needed, with the
 * same fingerprint as in memory. */
static void packed_pixels_may_be_lazy(void **state) {
    (void)state;
    sg_data *data[2], *folder;
    uint8_t out[32 * 32 * 3];
    sg_data_options made = {.kind = "shapes", .train_limit = 30, .test_limit = 10};
    assert_int_equal(sg_data_open(&folder, &made, MPI_COMM_WORLD), SG_OK);
    assert_int_equal(sg_data_pack(folder, in_folder("0.h5")), SG_OK);
    sg_data_close(&folder);
    for (int k = 0; k < 2; k++) {
        sg_data_options options = {
            .kind = "packed", .path = in_folder(k ? "1.h5" : "0.h5"), .memory_gb = 1e-6};
        assert_int_equal(sg_data_open(&folder, &options, MPI_COMM_WORLD), SG_OK);
        assert_true(folder->lazy && !folder->resized);
        if (k == 0) assert_int_equal(sg_data_pack(folder, in_folder("1.h5")), SG_OK);
        assert_int_equal(sg_h5_verify(in_folder("1.h5"), NULL, NULL), SG_OK);
        sg_data_close(&folder);
        for (int m = 0; m < 2; m++) {
            options.memory_gb = m ? 1e-6 : 1.0;
            assert_int_equal(sg_data_open(&data[m], &options, MPI_COMM_WORLD), SG_OK);
        }
        assert_false(data[0]->lazy);
        assert_true(data[0]->fingerprint == data[1]->fingerprint);
        sg_lazy *lazy;
        sg_look how = {.augment = SG_AUGMENT_NONE};
        assert_int_equal(sg_lazy_create(&lazy, data[1]), SG_OK);
        for (uint32_t i = 0; i < 30; i++) {
            assert_int_equal(sg_lazy_get(lazy, SG_SPLIT_TRAIN, i, &how, out), SG_OK);
            assert_memory_equal(out, data[0]->part[0].image + i * sizeof out, sizeof out);
            assert_int_equal(data[0]->part[0].label[i], data[1]->part[0].label[i]);
        }
        sg_lazy_destroy(&lazy);
        for (int m = 0; m < 2; m++) sg_data_close(&data[m]);
    }
    sg_data_options wrong = {.kind = "packed", .path = in_folder("0.h5"), .size = 64};
    assert_int_equal(sg_data_open(&folder, &wrong, MPI_COMM_WORLD), SG_CONFIG);
    expect_message(
        "data.size = 64, but %s/0.h5 holds pixels of images of 32 x 32; leave it 0, or pack the image files",
        test_folder);
}

/* A check goes on after a damaged file and names every one. */
static void checking_names_every_damaged_file(void **state) {
    (void)state;
    sg_data *data;
    char *text;
    size_t size;
    write_three();
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "test/b/0.jpg" : "train/a/0.jpg";
        free(temporary_read(test_folder, name, &size));
        assert_int_equal(truncate(in_folder(name), (off_t)size / 2), 0);
    }
    sg_data_options options = {.kind = "folder", .path = test_folder, .threads = 2};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(sg_data_check(data, out), SG_DATA);
    fclose(out);
    expect_message("data set %s: 2 images cannot be read; each is named above",
                   strrchr(test_folder, '/') + 1);
    for (int i = 0; i < 2; i++) {
        char line[4200];
        snprintf(line, sizeof line, "damaged     %s/%s: is damaged or truncated", test_folder,
                 i ? "test/b/0.jpg" : "train/a/0.jpg");
        if (strstr(text, line) == NULL) fail_msg("\"%s\" is not in\n%s", line, text);
    }
    free(text);
    sg_data_close(&data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_folder_set_up, test_folder_tear_down)

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        TEST(test_images_are_pils_wide),
        TEST(test_images_are_pils_tall),
        TEST(test_images_are_pils_small),
        TEST(training_images_are_pils),
        TEST(reduced_decoding_is_close),
        TEST(lazy_and_resident_agree),
        TEST(exif_is_ignored),
        TEST(sizes_that_differ_become_224),
        TEST(truncated_files_are_named),
        TEST(packed_files_give_the_same),
        TEST(packed_pixels_may_be_lazy),
        TEST(checking_names_every_damaged_file),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
