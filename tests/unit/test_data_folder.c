/* Image folders: JPEG and PNG of every colour space, Tiny-ImageNet's layout, and what is refused. */
#include <fcntl.h>
#include <mpi.h>
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
#include <xxhash.h>

#include "pipeline/data.h"
#include "pipeline/data_kind.h"
#include "pipeline/data_listing.h"
#include "tests/reference/picture.h"
#include "tests/reference/temporary.h"

static int open_folder(sg_data **data) {
    sg_data_options options = {.kind = "folder", .path = test_folder, .threads = 2};
    return sg_data_open(data, &options, MPI_COMM_WORLD);
}

/* Two classes, 3 training images and 2 test images each; class ant is PNG, class bee JPEG. */
static void write_folder(const char *test) {
    char name[128];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "train/ant/%d.png", i);
        temporary_png(test_folder, name, picture(i, 3), SIDE, SIDE, 3, 8);
        snprintf(name, sizeof name, "train/bee/%d.jpg", i);
        temporary_jpeg(test_folder, name, picture(i + 2, 3), SIDE, SIDE, 3, 95);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/ant/%d.PNG", test, i);
        temporary_png(test_folder, name, picture(i + 1, 3), SIDE, SIDE, 3, 8);
        snprintf(name, sizeof name, "%s/bee/%d.JPEG", test, i);
        temporary_jpeg(test_folder, name, picture(i + 3, 3), SIDE, SIDE, 3, 95);
    }
}

static void reads_a_folder(void **state) {
    (void)state;
    sg_data *data;
    write_folder("test");
    temporary_text(test_folder, "train/ant/notes.txt", "not an image");
    temporary_text(test_folder, "train/.hidden/x.jpg", "not looked at");
    assert_int_equal(open_folder(&data), SG_OK);
    assert_int_equal(data->classes, 2);
    assert_string_equal(data->class_name[0], "ant");
    assert_string_equal(data->class_name[1], "bee");
    assert_int_equal(data->channels, 3);
    assert_int_equal(data->height, SIDE);
    assert_int_equal(data->width, SIDE);
    assert_int_equal(data->part[0].samples, 6);
    assert_int_equal(data->part[1].samples, 4);
    assert_true(data->mean[0] == 0.485f && data->deviation[2] == 0.225f);
    int ants[3] = {0};
    for (int s = 0; s < 6; s++) {
        if (data->part[0].label[s] != 0) continue;
        for (int i = 0; i < 3; i++) /* PNG keeps every byte */
            if (memcmp(data->part[0].image + s * PIXELS * 3, picture(i, 3), PIXELS * 3) == 0) ants[i]++;
    }
    for (int i = 0; i < 3; i++) assert_int_equal(ants[i], 1);
    sg_data_close(&data);
}

static void val_serves_as_test(void **state) {
    (void)state;
    sg_data *data;
    write_folder("val");
    assert_int_equal(open_folder(&data), SG_OK);
    assert_int_equal(data->part[1].samples, 4);
    sg_data_close(&data);
}

/* Neither sorted by class nor different next time; a limit takes a mixture. */
static void the_order_is_a_fixed_shuffle(void **state) {
    (void)state;
    sg_data *data;
    char name[128];
    int32_t label[40];
    write_folder("test");
    for (int i = 3; i < 20; i++) {
        snprintf(name, sizeof name, "train/ant/%d.png", i);
        temporary_png(test_folder, name, picture(i, 3), SIDE, SIDE, 3, 8);
        snprintf(name, sizeof name, "train/bee/%d.png", i);
        temporary_png(test_folder, name, picture(i, 3), SIDE, SIDE, 3, 8);
    }
    assert_int_equal(open_folder(&data), SG_OK);
    assert_int_equal(data->part[0].samples, 40);
    memcpy(label, data->part[0].label, sizeof label);
    uint64_t fingerprint = data->fingerprint;
    sg_data_close(&data);
    int first_half = 0;
    for (int s = 0; s < 20; s++) first_half += label[s];
    assert_in_range(first_half, 5, 15); /* 10 on average, deviation 1.6; 0 if it were sorted */
    assert_int_equal(open_folder(&data), SG_OK);
    assert_memory_equal(label, data->part[0].label, sizeof label);
    assert_true(data->fingerprint == fingerprint);
    sg_data_close(&data);
    assert_int_equal(rename(in_folder("train/ant/3.png"), in_folder("train/ant/zz.png")), 0);
    assert_int_equal(open_folder(&data), SG_OK);
    assert_true(data->fingerprint != fingerprint);
    sg_data_close(&data);
}

static void reads_tiny_imagenet_as_it_unpacks(void **state) {
    (void)state;
    sg_data *data;
    char name[128];
    temporary_text(test_folder, "wnids.txt", "n02\nn01\n");
    temporary_text(test_folder, "words.txt", "n01\tgoldfish\nn02\tfrog\n");
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "train/n0%d/images/n0%d_%d.JPEG", i % 2 + 1, i % 2 + 1, i / 2);
        temporary_jpeg(test_folder, name, picture(i, 3), SIDE, SIDE, 3, 95);
        snprintf(name, sizeof name, "val/images/val_%d.JPEG", i);
        temporary_jpeg(test_folder, name, picture(i, 3), SIDE, SIDE, 3, 100);
        snprintf(name, sizeof name, "test/images/test_%d.JPEG", i); /* has no labels: not read */
        temporary_text(test_folder, name, "no image");
    }
    temporary_text(test_folder, "train/n01/n01_boxes.txt", "n01_0.JPEG\t0\t10\t63\t58\n");
    temporary_text(test_folder, "val/val_annotations.txt",
                   "val_0.JPEG\tn01\t0\t32\t44\t62\nval_1.JPEG\tn02\t52\t55\t57\t59\n"
                   "val_2.JPEG\tn02\t4\t0\t60\t55\r\nval_3.JPEG\tn02\t3\t3\t63\t63\n");
    assert_int_equal(open_folder(&data), SG_OK);
    assert_int_equal(data->classes, 2);
    assert_string_equal(data->class_name[0], "n01");
    assert_int_equal(data->part[0].samples, 4);
    assert_int_equal(data->part[1].samples, 4);
    static const int expected[] = {0, 1, 1, 1};
    int seen[4] = {0};
    for (int s = 0; s < 4; s++) {
        int which =
            (data->part[1].image[s * PIXELS * 3] - 40 + 10) / 20; /* the corner's level tells which it is */
        assert_in_range(which, 0, 3);
        assert_int_equal(data->part[1].label[s], expected[which]);
        seen[which]++;
    }
    for (int i = 0; i < 4; i++) assert_int_equal(seen[i], 1);
    sg_data_close(&data);
}

/* One image as the only one of its class, and what becomes of it. */
static void read_one(const char *name, uint8_t *rgb) {
    assert_int_equal(sg_data_image_read(in_folder(name), SIDE, SIDE, rgb), SG_OK);
}

static void grey_becomes_rgb(void **state) {
    (void)state;
    uint8_t rgb[PIXELS * 3];
    temporary_png(test_folder, "a.png", picture(0, 1), SIDE, SIDE, 1, 8);
    read_one("a.png", rgb);
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < 3; c++) assert_int_equal(rgb[3 * p + c], picture(0, 1)[p]);
    temporary_jpeg(test_folder, "a.jpg", picture(0, 1), SIDE, SIDE, 1, 100);
    read_one("a.jpg", rgb);
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < 3; c++)
            assert_in_range(rgb[3 * p + c], picture(0, 1)[p] - 2, picture(0, 1)[p] + 2);
}

static void alpha_is_dropped(void **state) {
    (void)state;
    uint8_t rgb[PIXELS * 3];
    temporary_png(test_folder, "a.png", picture(1, 4), SIDE, SIDE, 4, 8);
    read_one("a.png", rgb);
    const uint8_t *rgba = picture(1, 4);
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < 3; c++) assert_int_equal(rgb[3 * p + c], rgba[4 * p + c]);
}

static void sixteen_bits_become_eight(void **state) {
    (void)state;
    uint8_t deep[PIXELS * 6], rgb[PIXELS * 3];
    for (int i = 0; i < PIXELS * 6; i++) deep[i] = (uint8_t)(i * 7);
    temporary_png(test_folder, "a.png", deep, SIDE, SIDE, 3, 16);
    read_one("a.png", rgb);
    for (int i = 0; i < PIXELS * 3; i++) assert_int_equal(rgb[i], deep[2 * i]);
}

/* libjpeg marks CMYK files as Adobe's, whose inks are inverted: light = 255 - ink, times the same of black.
 */
static void cmyk_becomes_rgb(void **state) {
    (void)state;
    uint8_t rgb[PIXELS * 3];
    temporary_jpeg(test_folder, "a.jpg", picture(2, 4), SIDE, SIDE, 4, 100);
    read_one("a.jpg", rgb);
    const uint8_t *cmyk = picture(2, 4);
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < 3; c++) {
            int expected = cmyk[4 * p + c] * cmyk[4 * p + 3] / 255;
            assert_in_range(rgb[3 * p + c], expected > 3 ? expected - 3 : 0,
                            expected + 3); /* quality 100: 1 or 2 levels */
        }
}

/* ImageNet has such a file. */
static void a_png_may_be_named_jpeg(void **state) {
    (void)state;
    uint8_t rgb[PIXELS * 3];
    temporary_png(test_folder, "a.JPEG", picture(3, 3), SIDE, SIDE, 3, 8);
    read_one("a.JPEG", rgb);
    assert_memory_equal(rgb, picture(3, 3), PIXELS * 3);
}

static void missing_directories_are_named(void **state) {
    (void)state;
    sg_data *data;
    assert_int_equal(open_folder(&data), SG_NOINPUT);
    expect_message(
        "%s: holds no train directory; train and test (or val) were expected, with one subdirectory for each "
        "class",
        test_folder);
    temporary_png(test_folder, "train/ant/0.png", picture(0, 3), SIDE, SIDE, 3, 8);
    assert_int_equal(open_folder(&data), SG_NOINPUT);
    expect_message("%s: holds no test or val directory; train and test (or val) were expected, with one "
                   "subdirectory for "
                   "each class",
                   test_folder);
}

static void empty_classes_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_folder("test");
    temporary_text(test_folder, "train/cow/readme.txt", "later");
    assert_int_equal(open_folder(&data), SG_DATA);
    expect_message(
        "%s/train/cow: holds no JPEG or PNG file; remove the class from train and test, or fetch its images",
        test_folder);
}

static void unknown_test_classes_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_folder("test");
    temporary_png(test_folder, "test/cow/0.png", picture(0, 3), SIDE, SIDE, 3, 8);
    assert_int_equal(open_folder(&data), SG_DATA);
    expect_message("%s/test/cow: is a class that %s/train does not have; both need the same subdirectories",
                   test_folder, test_folder);
}

static void unknown_annotated_classes_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_folder("val");
    temporary_png(test_folder, "val/images/0.png", picture(0, 3), SIDE, SIDE, 3, 8);
    temporary_text(test_folder, "val/val_annotations.txt", "9.png\tant\t0\n");
    assert_int_equal(open_folder(&data), SG_NOINPUT);
    expect_message("%s/val/images/9.png: is no file that can be read; fetch it or remove it from the list",
                   test_folder);
    temporary_text(test_folder, "val/val_annotations.txt", "0.png\tant\t0\n1.png\tcow\t0\n");
    assert_int_equal(open_folder(&data), SG_DATA);
    expect_message("%s/val/val_annotations.txt: the line at byte 12 names the class \"cow\", which %s/train "
                   "does not have",
                   test_folder, test_folder);
    temporary_text(test_folder, "val/val_annotations.txt", "0.png ant\n");
    assert_int_equal(open_folder(&data), SG_DATA);
    expect_message("%s/val/val_annotations.txt: the line at byte 0 is \"0.png ant\"; a file name, a tab and "
                   "a class were "
                   "expected",
                   test_folder);
}

static void foreign_formats_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_folder("test");
    temporary_text(test_folder, "train/ant/x.webp", "RIFF");
    assert_int_equal(open_folder(&data), SG_DATA);
    expect_message("%s/train/ant/x.webp: is of a kind that cannot be read; convert it to PNG or JPEG",
                   test_folder);
}

static void other_sizes_are_refused(void **state) {
    (void)state;
    uint8_t rgb[PIXELS * 3];
    temporary_png(test_folder, "a.png", picture(0, 3), SIDE, SIDE / 2, 3, 8);
    assert_int_equal(sg_data_image_read(in_folder("a.png"), SIDE, SIDE, rgb), SG_DATA);
    expect_message(
        "%s/a.png: has 8 x 16 pixels (width x height), but the data set's first images have 16 x 16; "
        "set data.size (to 224, say) to have all brought to one size",
        test_folder);
}

static void changed_files_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_folder("test");
    sg_data_options options = {.kind = "folder", .path = test_folder, .memory_gb = 1e-9};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    assert_true(data->lazy);
    sg_stored stored;
    temporary_text(test_folder, "test/ant/0.PNG", "x");
    int refused = 0;
    for (uint32_t i = 0; i < 4; i++) {
        if (sg_data_fetch(data, SG_SPLIT_TEST, i, &stored) == SG_OK) {
            free(stored.bytes);
            continue;
        }
        refused++;
        if (strstr(sg_error_message(), "/test/ant/0.PNG: has 1 bytes, but ") == NULL)
            fail_msg("message \"%s\"", sg_error_message());
    }
    assert_int_equal(refused, 1);
    sg_data_close(&data);
}

/* The listing of a thousand files is kept; a file that comes or goes is seen all the same. */
static void large_listings_are_kept(void **state) {
    (void)state;
    sg_data *data;
    char name[64];
    size_t size;
    struct timespec past[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    static const char *const folders[] = {"train", "test", "train/ant", "train/bee", "test/ant", "test/bee"};
    write_folder("test");
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "train/ant/x%d.png", i);
        assert_int_equal(link(in_folder("train/ant/0.png"), in_folder(name)), 0);
    }
    assert_int_equal(open_folder(&data), SG_OK);
    uint64_t fingerprint = data->fingerprint;
    sg_data_close(&data);
    assert_int_not_equal(access(in_folder(".signet-listing"), F_OK), 0); /* changed just now */
    for (int i = 0; i < 6; i++) assert_int_equal(utimensat(AT_FDCWD, in_folder(folders[i]), past, 0), 0);
    for (int i = 0; i < 2; i++) { /* listed, then recalled */
        assert_int_equal(open_folder(&data), SG_OK);
        assert_true(data->fingerprint == fingerprint);
        assert_int_equal(data->part[0].samples, 1006);
        sg_data_close(&data);
        free(temporary_read(test_folder, ".signet-listing", &size));
        assert_true(size > 1000 * 32);
    }
    assert_int_equal(unlink(in_folder("train/ant/x7.png")), 0);
    assert_int_equal(open_folder(&data), SG_OK);
    assert_int_equal(data->part[0].samples, 1005);
    assert_true(data->fingerprint != fingerprint);
    sg_data_close(&data);
}

/* A listing that was kept and is damaged is made anew. */
static void damaged_listings_do_not_count(void **state) {
    (void)state;
    sg_data *data;
    write_folder("test");
    temporary_text(test_folder, ".signet-listing", "signet listing1\0000000000000000000000000000000000");
    assert_int_equal(open_folder(&data), SG_OK);
    assert_int_equal(data->part[0].samples, 6);
    sg_data_close(&data);
}

/* A kept listing with a right hash that names a class which is not there. */
static void listings_cannot_invent_classes(void **state) {
    (void)state;
    sg_data *data;
    sg_blob listing = {0};
    write_folder("test");
    for (int split = 0; split < SG_SPLITS; split++)
        assert_int_equal(sg_listing_add(&listing, split, 0, 99, 1, "train/ant/0.png"), SG_OK);
    uint64_t header[4] = {0, 0, listing.size, XXH3_64bits(listing.bytes, listing.size)};
    memcpy(header, "signet listing1", 16);
    unsigned char *bytes = malloc(sizeof header + listing.size);
    assert_non_null(bytes);
    memcpy(bytes, header, sizeof header);
    memcpy(bytes + sizeof header, listing.bytes, listing.size);
    temporary_write(test_folder, ".signet-listing", bytes, sizeof header + listing.size);
    free(bytes);
    sg_blob_release(&listing);
    assert_int_equal(open_folder(&data), SG_DATA);
    expect_message("%s: the kept listing gives train/ant/0.png a class that is not there; remove "
                   "%s/.signet-listing",
                   test_folder, test_folder);
}

/* Of several broken files the same one is reported, whatever the threads. */
static void the_first_broken_file_is_reported(void **state) {
    (void)state;
    sg_data *data;
    char first[2048] = "";
    write_folder("test");
    temporary_text(test_folder, "train/ant/0.png", "x");
    temporary_text(test_folder, "train/ant/1.png", "x");
    temporary_text(test_folder, "train/bee/1.jpg", "x");
    for (int threads = 1; threads <= 4; threads++) {
        sg_data_options options = {.kind = "folder", .path = test_folder, .threads = threads};
        assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_DATA);
        if (threads > 1) assert_string_equal(sg_error_message(), first);
        snprintf(first, sizeof first, "%s", sg_error_message());
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_folder_set_up, test_folder_tear_down)

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        TEST(reads_a_folder),
        TEST(val_serves_as_test),
        TEST(the_order_is_a_fixed_shuffle),
        TEST(reads_tiny_imagenet_as_it_unpacks),
        TEST(grey_becomes_rgb),
        TEST(alpha_is_dropped),
        TEST(sixteen_bits_become_eight),
        TEST(cmyk_becomes_rgb),
        TEST(a_png_may_be_named_jpeg),
        TEST(missing_directories_are_named),
        TEST(empty_classes_are_refused),
        TEST(unknown_test_classes_are_refused),
        TEST(unknown_annotated_classes_are_refused),
        TEST(foreign_formats_are_refused),
        TEST(other_sizes_are_refused),
        TEST(changed_files_are_refused),
        TEST(large_listings_are_kept),
        TEST(damaged_listings_do_not_count),
        TEST(listings_cannot_invent_classes),
        TEST(the_first_broken_file_is_reported),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
