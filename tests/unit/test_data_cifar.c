/* CIFAR's binary files: found, read in order, limited, and refused when they are damaged. */
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

#define URL10 "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
#define URL100 "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
enum { PER_FILE = 6, PIXELS = 3072 };

/* Byte of sample s (of its split), channel c, pixel p: differs between neighbours of every kind. */
static uint8_t byte_of(int split, int s, int c, int p) {
    return (uint8_t)(split * 101 + s * 37 + c * 85 + p * 3 + p / 32);
}

/* `count` records of a split from sample `first` on, with `labels` label bytes; the last counts. */
static size_t records(unsigned char *to, int split, int first, int count, int labels, int classes) {
    unsigned char *at = to;
    for (int s = first; s < first + count; s++) {
        if (labels == 2) *at++ = 200; /* the coarse label is not looked at */
        *at++ = (unsigned char)((s * 7 + split) % classes);
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < 1024; p++) *at++ = byte_of(split, s, c, p);
    }
    return (size_t)(at - to);
}

static void write_cifar10(const char *folder) {
    static unsigned char buffer[PER_FILE * (PIXELS + 1)];
    char name[256];
    for (int f = 0; f < 5; f++) {
        snprintf(name, sizeof name, "%sdata_batch_%d.bin", folder, f + 1);
        temporary_write(test_folder, name, buffer, records(buffer, 0, f * PER_FILE, PER_FILE, 1, 10));
    }
    snprintf(name, sizeof name, "%stest_batch.bin", folder);
    temporary_write(test_folder, name, buffer, records(buffer, 1, 0, PER_FILE, 1, 10));
}

static int open_as(sg_data **data, const char *kind, uint32_t train, uint32_t test) {
    sg_data_options options = {
        .kind = kind, .path = test_folder, .train_limit = train, .test_limit = test, .threads = 2};
    return sg_data_open(data, &options, MPI_COMM_WORLD);
}

static void check_content(const sg_data *data, int classes) {
    for (int split = 0; split < SG_SPLITS; split++)
        for (uint32_t s = 0; s < data->part[split].samples; s++) {
            assert_int_equal(data->part[split].label[s], ((int)s * 7 + split) % classes);
            for (int p = 0; p < 1024; p++)
                for (int c = 0; c < 3; c++)
                    assert_int_equal(data->part[split].image[s * PIXELS + (uint32_t)(3 * p + c)],
                                     byte_of(split, (int)s, c, p));
        }
}

static void reads_cifar10(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("");
    temporary_text(test_folder, "batches.meta.txt",
                   "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_OK);
    assert_string_equal(data->name, "cifar10");
    assert_int_equal(data->classes, 10);
    assert_int_equal(data->channels, 3);
    assert_int_equal(data->height, 32);
    assert_int_equal(data->width, 32);
    assert_int_equal(data->part[SG_SPLIT_TRAIN].samples, 5 * PER_FILE);
    assert_int_equal(data->part[SG_SPLIT_TEST].samples, PER_FILE);
    assert_string_equal(data->class_name[0], "airplane");
    assert_string_equal(data->class_name[9], "truck");
    assert_true(data->mean[0] == 0.4914f && data->deviation[2] == 0.2010f);
    check_content(data, 10);
    sg_data_close(&data);
    assert_null(data);
}

static void finds_the_archives_folder_one_level_down(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("cifar-10-batches-bin/");
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_OK);
    check_content(data, 10);
    assert_string_equal(data->class_name[3], "3"); /* without batches.meta.txt classes are numbered */
    sg_data_close(&data);
}

static void reads_fine_labels_of_cifar100(void **state) {
    (void)state;
    static unsigned char buffer[20 * (PIXELS + 2)];
    sg_data *data;
    temporary_write(test_folder, "cifar-100-binary/train.bin", buffer, records(buffer, 0, 0, 20, 2, 100));
    temporary_write(test_folder, "cifar-100-binary/test.bin", buffer, records(buffer, 1, 0, 4, 2, 100));
    assert_int_equal(open_as(&data, "cifar100", 0, 0), SG_OK);
    assert_int_equal(data->classes, 100);
    assert_int_equal(data->part[SG_SPLIT_TRAIN].samples, 20);
    check_content(data, 100);
    sg_data_close(&data);
}

static void limits_are_the_first_samples(void **state) {
    (void)state;
    sg_data *all, *few;
    write_cifar10("");
    assert_int_equal(open_as(&all, "cifar10", 0, 0), SG_OK);
    assert_int_equal(open_as(&few, "cifar10", PER_FILE + 2, 3), SG_OK);
    assert_int_equal(few->part[0].samples, PER_FILE + 2);
    assert_int_equal(few->part[1].samples, 3);
    assert_memory_equal(all->part[0].image, few->part[0].image, (PER_FILE + 2) * PIXELS);
    assert_true(all->fingerprint != few->fingerprint);
    sg_data_close(&few);
    sg_data_close(&all);
}

static void a_limit_beyond_the_data_is_refused(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("");
    assert_int_equal(open_as(&data, "cifar10", 31, 0), SG_CONFIG);
    assert_null(data);
    expect_message(
        "data.train_limit = 31, but data set cifar10 has 30 train samples: lower it, or 0 for all");
}

static void the_fingerprint_follows_every_byte(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("");
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_OK);
    uint64_t before = data->fingerprint;
    sg_data_close(&data);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_OK);
    assert_true(data->fingerprint == before);
    sg_data_close(&data);
    size_t size;
    unsigned char *bytes = temporary_read(test_folder, "test_batch.bin", &size);
    bytes[size - 1] ^= 1;
    temporary_write(test_folder, "test_batch.bin", bytes, size);
    free(bytes);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_OK);
    assert_true(data->fingerprint != before);
    sg_data_close(&data);
}

static void missing_files_are_named(void **state) {
    (void)state;
    sg_data *data;
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_NOINPUT);
    expect_message(
        "%s: holds neither data_batch_1.bin nor cifar-10-batches-bin/data_batch_1.bin; the binary version of "
        "the data set unpacks to that (" URL10 ")",
        test_folder);
    write_cifar10("");
    assert_int_equal(unlink(in_folder("data_batch_4.bin")), 0);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_NOINPUT);
    expect_message("%s/data_batch_4.bin: cannot be opened: No such file or directory", test_folder);
}

static void truncated_files_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("");
    assert_int_equal(truncate(in_folder("data_batch_2.bin"), 10000), 0);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_DATA);
    expect_message("%s/data_batch_2.bin: has 10000 bytes, which is no whole number of 3073-byte records (the "
                   "last begins "
                   "at byte 9219); it is truncated or of another kind: fetch " URL10 " again",
                   test_folder);
    assert_int_equal(truncate(in_folder("data_batch_2.bin"), 3073), 0);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_DATA);
    expect_message(
        "%s/data_batch_2.bin: has 3073 bytes where data_batch_1.bin has 18438; one of them is incomplete: "
        "fetch " URL10 " again",
        test_folder);
    assert_int_equal(truncate(in_folder("data_batch_2.bin"), 0), 0);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_DATA);
}

static void impossible_labels_are_refused(void **state) {
    (void)state;
    sg_data *data;
    size_t size;
    write_cifar10("");
    unsigned char *bytes = temporary_read(test_folder, "data_batch_3.bin", &size);
    bytes[2 * 3073] = 10;
    temporary_write(test_folder, "data_batch_3.bin", bytes, size);
    free(bytes);
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_DATA);
    expect_message(
        "%s/data_batch_3.bin: the label at byte 6146 is 10; 0 to 9 were expected; the file is damaged or of "
        "another kind: fetch " URL10 " again",
        test_folder);
}

static void wrong_class_names_are_refused(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("");
    temporary_text(test_folder, "batches.meta.txt", "cat\ndog\n");
    assert_int_equal(open_as(&data, "cifar10", 0, 0), SG_DATA);
    expect_message("%s/batches.meta.txt: names 2 classes where 10 were expected; fetch it again or remove it",
                   test_folder);
}

static void another_number_of_classes_is_refused(void **state) {
    (void)state;
    sg_data *data;
    write_cifar10("");
    sg_data_options options = {.kind = "cifar10", .path = test_folder, .classes = 100};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_CONFIG);
    expect_message("net.classes = 100, but data set cifar10 has 10 classes: set net.classes = 10");
}

static void unknown_kinds_are_refused(void **state) {
    (void)state;
    sg_data *data;
    assert_int_equal(open_as(&data, "cifar", 0, 0), SG_CONFIG);
    expect_message(
        "data.kind = \"cifar\" is not known; there are shapes, cifar10, cifar100, idx, folder, packed");
    sg_data_options options = {.kind = "cifar10"};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_CONFIG);
    expect_message("data.kind = \"cifar10\" needs data.path, the place where the data set is");
}

static void closing_nothing_is_fine(void **state) {
    (void)state;
    sg_data *data = NULL;
    sg_data_close(&data);
    sg_data_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_folder_set_up, test_folder_tear_down)

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        TEST(reads_cifar10),
        TEST(finds_the_archives_folder_one_level_down),
        TEST(reads_fine_labels_of_cifar100),
        TEST(limits_are_the_first_samples),
        TEST(a_limit_beyond_the_data_is_refused),
        TEST(the_fingerprint_follows_every_byte),
        TEST(missing_files_are_named),
        TEST(truncated_files_are_refused),
        TEST(impossible_labels_are_refused),
        TEST(wrong_class_names_are_refused),
        TEST(another_number_of_classes_is_refused),
        TEST(unknown_kinds_are_refused),
        TEST(closing_nothing_is_fine),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
