/* The MNIST family's IDX files, plain and compressed. */
#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "pipeline/data.h"
#include "tests/reference/temporary.h"

enum { TRAIN = 40, TEST_SAMPLES = 12, HEIGHT = 28, WIDTH = 20, SIZE = HEIGHT * WIDTH };

static uint8_t byte_of(int split, int s, int p) { return (uint8_t)(split * 91 + s * 29 + p * 5 + p / WIDTH); }

static void put(unsigned char *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (24 - 8 * i));
}

typedef void (*writer)(const char *, const char *, const void *, size_t);

static void write_images(const char *name, int split, int count, writer write) {
    size_t size = 16 + (size_t)(count * SIZE);
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    put(bytes, 0x803);
    put(bytes + 4, (uint32_t)count);
    put(bytes + 8, HEIGHT);
    put(bytes + 12, WIDTH);
    for (int s = 0; s < count; s++)
        for (int p = 0; p < SIZE; p++) bytes[16 + s * SIZE + p] = byte_of(split, s, p);
    write(test_folder, name, bytes, size);
    free(bytes);
}

static void write_labels(const char *name, int split, int count, writer write) {
    unsigned char bytes[8 + TRAIN];
    put(bytes, 0x801);
    put(bytes + 4, (uint32_t)count);
    for (int s = 0; s < count; s++) bytes[8 + s] = (unsigned char)((s * 3 + split) % 10);
    write(test_folder, name, bytes, 8 + (size_t)count);
}

static void write_all(writer write, const char *suffix, const char *test) {
    char name[64];
    snprintf(name, sizeof name, "train-images-idx3-ubyte%s", suffix);
    write_images(name, 0, TRAIN, write);
    snprintf(name, sizeof name, "train-labels-idx1-ubyte%s", suffix);
    write_labels(name, 0, TRAIN, write);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte%s", test, suffix);
    write_images(name, 1, TEST_SAMPLES, write);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte%s", test, suffix);
    write_labels(name, 1, TEST_SAMPLES, write);
}

static int open_as(sg_data **data, int classes) {
    sg_data_options options = {.kind = "idx", .path = test_folder, .classes = classes, .threads = 2};
    return sg_data_open(data, &options, MPI_COMM_WORLD);
}

static void check_content(const sg_data *data) {
    assert_int_equal(data->classes, 10);
    assert_int_equal(data->channels, 1);
    assert_int_equal(data->height, HEIGHT);
    assert_int_equal(data->width, WIDTH);
    assert_true(data->mean[0] == 0.1307f && data->deviation[0] == 0.3081f);
    assert_int_equal(data->part[0].samples, TRAIN);
    assert_int_equal(data->part[1].samples, TEST_SAMPLES);
    for (int split = 0; split < SG_SPLITS; split++)
        for (int s = 0; s < (int)data->part[split].samples; s++) {
            assert_int_equal(data->part[split].label[s], (s * 3 + split) % 10);
            for (int p = 0; p < SIZE; p++)
                assert_int_equal(data->part[split].image[s * SIZE + p], byte_of(split, s, p));
        }
}

static void reads_plain_files(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_write, "", "t10k");
    assert_int_equal(open_as(&data, 0), SG_OK);
    check_content(data);
    sg_data_close(&data);
}

static void reads_compressed_files(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_gzip, ".gz", "t10k");
    assert_int_equal(open_as(&data, 10), SG_OK);
    check_content(data);
    sg_data_close(&data);
}

static void compression_does_not_change_the_fingerprint(void **state) {
    (void)state;
    sg_data *plain, *compressed;
    write_all(temporary_gzip, ".gz", "t10k");
    assert_int_equal(open_as(&compressed, 0), SG_OK);
    write_all(temporary_write, "", "t10k");
    assert_int_equal(open_as(&plain, 0), SG_OK);
    assert_true(plain->fingerprint == compressed->fingerprint);
    sg_data_close(&plain);
    sg_data_close(&compressed);
}

/* As EMNIST names its files. */
static void a_path_may_be_the_names_beginning(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_gzip, ".gz", "test");
    const char *const names[] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                 "test-images-idx3-ubyte.gz", "test-labels-idx1-ubyte.gz"};
    for (int i = 0; i < 4; i++) {
        char to[128];
        snprintf(to, sizeof to, "emnist-balanced-%s", names[i]);
        assert_int_equal(rename(in_folder(names[i]), in_folder(to)), 0);
    }
    sg_data_options options = {.kind = "idx", .path = in_folder("emnist-balanced-")};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    check_content(data);
    sg_data_close(&data);
}

static void missing_files_are_named(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_write, "", "t10k");
    assert_int_equal(unlink(in_folder("t10k-labels-idx1-ubyte")), 0);
    assert_int_equal(open_as(&data, 0), SG_NOINPUT);
    expect_message(
        "%s/t10k-labels-idx1-ubyte: is not there, nor with .gz; data.path names the directory with the four "
        "IDX files, or what comes before \"t10k\" in their names",
        test_folder);
}

static void a_wrong_magic_is_refused(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_write, "", "t10k");
    write_labels("train-images-idx3-ubyte", 0, TRAIN, temporary_write);
    assert_int_equal(open_as(&data, 0), SG_DATA);
    expect_message(
        "%s/train-images-idx3-ubyte: begins with 0x00000801 at byte 0; 0x00000803 (IDX images of bytes) was "
        "expected",
        test_folder);
}

static void truncated_files_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_write, "", "t10k");
    assert_int_equal(truncate(in_folder("train-images-idx3-ubyte"), 1000), 0);
    assert_int_equal(open_as(&data, 0), SG_DATA);
    expect_message(
        "%s/train-images-idx3-ubyte: has 1000 bytes, but its header (bytes 4 to 15) promises %d; it is "
        "truncated or damaged: fetch it again",
        test_folder, 16 + TRAIN * SIZE);
    assert_int_equal(truncate(in_folder("train-images-idx3-ubyte"), 2), 0);
    assert_int_equal(open_as(&data, 0), SG_DATA);
    expect_message(
        "%s/train-images-idx3-ubyte: ends at byte 2, where 2 more were expected; it is truncated; fetch it "
        "again",
        test_folder);
}

/* A header that promises terabytes must fail before they are allocated. */
static void promises_are_checked_against_the_files_size(void **state) {
    (void)state;
    sg_data *data;
    size_t size;
    write_all(temporary_gzip, ".gz", "t10k");
    unsigned char header[16];
    put(header, 0x803);
    put(header + 4, 0xffffffffu);
    put(header + 8, 16384);
    put(header + 12, 16384);
    temporary_gzip(test_folder, "train-images-idx3-ubyte.gz", header, sizeof header);
    free(temporary_read(test_folder, "train-images-idx3-ubyte.gz", &size));
    assert_int_equal(open_as(&data, 0), SG_DATA);
    expect_message("%s/train-images-idx3-ubyte.gz: its header promises %llu bytes of content, but its last 4 "
                   "bytes (byte "
                   "%zu) say 16; it is truncated or damaged: fetch it again",
                   test_folder, 16 + 0xffffffffull * 16384 * 16384, size - 4);
}

static void damaged_compression_is_refused(void **state) {
    (void)state;
    sg_data *data;
    size_t size;
    write_all(temporary_gzip, ".gz", "t10k");
    unsigned char *bytes = temporary_read(test_folder, "train-images-idx3-ubyte.gz", &size);
    bytes[size - 6] ^= 0x40; /* the checksum of the content */
    temporary_write(test_folder, "train-images-idx3-ubyte.gz", bytes, size);
    assert_int_equal(open_as(&data, 0), SG_DATA);
    assert_non_null(strstr(sg_error_message(), "train-images-idx3-ubyte.gz: "));
    assert_non_null(strstr(sg_error_message(), "incorrect data check"));
    bytes[size - 6] ^= 0x40;
    memmove(bytes + size / 2, bytes + size / 2 + 40, size - size / 2 - 40); /* 40 bytes lost in the middle */
    temporary_write(test_folder, "train-images-idx3-ubyte.gz", bytes, size - 40);
    assert_int_equal(open_as(&data, 0), SG_DATA);
    free(bytes);
}

static void labels_and_images_must_match(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_write, "", "t10k");
    write_labels("train-labels-idx1-ubyte", 0, TRAIN - 1, temporary_write);
    assert_int_equal(open_as(&data, 0), SG_DATA);
    expect_message(
        "%s/train-labels-idx1-ubyte: has %d labels (bytes 4 to 7) for %d images; the files do not belong "
        "together: fetch both again",
        test_folder, TRAIN - 1, TRAIN);
}

static void impossible_labels_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_all(temporary_write, "", "t10k");
    assert_int_equal(open_as(&data, 7), SG_DATA);
    expect_message("%s/train-labels-idx1-ubyte: the label at byte 11 is 9; 0 to 6 were expected: set "
                   "net.classes to what "
                   "the data set has",
                   test_folder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_folder_set_up, test_folder_tear_down)

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        TEST(reads_plain_files),
        TEST(reads_compressed_files),
        TEST(compression_does_not_change_the_fingerprint),
        TEST(a_path_may_be_the_names_beginning),
        TEST(missing_files_are_named),
        TEST(a_wrong_magic_is_refused),
        TEST(truncated_files_are_refused),
        TEST(promises_are_checked_against_the_files_size),
        TEST(damaged_compression_is_refused),
        TEST(labels_and_images_must_match),
        TEST(impossible_labels_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
