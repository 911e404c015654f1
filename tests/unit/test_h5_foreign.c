/* HDF5 files of other origin: what is harmless is read, what is not is refused, and nothing hangs or crashes
 * the process that asks. This program is also the child that reads. */
#include <fcntl.h>
#include <hdf5.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/h5.h"
#include "tests/reference/status.h"
#include "tests/reference/temporary.h"

static const char *name; /* of the file that a test has made */
static const char *self; /* by its name: under valgrind /proc/self/exe is valgrind */

/* Refused, with this in the message, and without a handle. */
static void assert_refused(int expected, const char *text) {
    sg_h5_file *file;
    int status = sg_h5_open_foreign(&file, name, NULL, self);
    if (status != expected) fail_msg("status %d, expected %d: %s", status, expected, sg_error_message());
    if (strstr(sg_error_message(), text) == NULL)
        fail_msg("message \"%s\" does not say \"%s\"", sg_error_message(), text);
    assert_null(file);
}

static hid_t create(const char *file_name) {
    name = in_folder(file_name);
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    assert_true(H5Gclose(H5Gcreate2(file, "/weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    return file;
}

static void put(hid_t file, const char *path, hid_t stored, hid_t memory, int ndims, const hsize_t *dims,
                hid_t creation, const void *data) {
    hid_t space = ndims == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(ndims, dims, NULL);
    hid_t set = H5Dcreate2(file, path, stored, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    assert_true(set >= 0);
    if (data != NULL) assert_true(H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

static const float values[6] = {1, -2, 0.5f, 4, -8, 0};

static void put_values(hid_t file, const char *path) {
    put(file, path, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 2, (hsize_t[]){2, 3}, H5P_DEFAULT, values);
}

static void harmless_types_are_read(void **state) {
    (void)state;
    hid_t file = create("good.h5"), compressed = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t shape[2] = {2, 3};
    H5Pset_chunk(compressed, 2, shape);
    H5Pset_deflate(compressed, 6);
    int8_t sign[6] = {1, -1, 0, 1, -1, 0};
    int64_t batches = 12345678901;
    H5Gclose(H5Gcreate2(file, "/signs", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(H5Gcreate2(file, "/masks", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    put_values(file, "/weights/fc.weight");
    put(file, "/weights/double", H5T_IEEE_F64BE, H5T_NATIVE_FLOAT, 2, shape, H5P_DEFAULT, values);
    put(file, "/weights/zipped", H5T_IEEE_F32BE, H5T_NATIVE_FLOAT, 2, shape, compressed, values);
    put(file, "/weights/bn.num_batches_tracked", H5T_STD_I64LE, H5T_NATIVE_INT64, 0, NULL, H5P_DEFAULT,
        &batches);
    put(file, "/masks/fc.weight", H5T_STD_U8LE, H5T_NATIVE_INT8, 2, shape, H5P_DEFAULT,
        (int8_t[6]){1, 1, 0, 1, 1, 0});
    put(file, "/signs/fc.weight", H5T_STD_I8LE, H5T_NATIVE_INT8, 2, shape, H5P_DEFAULT, sign);
    H5Pclose(compressed);
    H5Fclose(file);

    sg_h5_file *read;
    assert_ok(sg_h5_open_foreign(&read, name, NULL, self));
    assert_string_equal(sg_h5_kind(read), "");
    assert_int_equal(sg_h5_entries(read), 6);
    const char *const floats[] = {"/weights/fc.weight", "/weights/double", "/weights/zipped"};
    for (int i = 0; i < 3; i++) {
        float got[6] = {0};
        assert_ok(sg_h5_read(read, floats[i], SG_H5_F32, 2, (size_t[]){2, 3}, got));
        assert_memory_equal(got, values, sizeof got);
    }
    int64_t tracked;
    assert_ok(sg_h5_read_scalar(read, "/weights/bn.num_batches_tracked", SG_H5_I64, &tracked));
    assert_true(tracked == batches);
    int8_t signs[6];
    uint8_t mask[6];
    assert_ok(sg_h5_read(read, "/signs/fc.weight", SG_H5_I8, 2, (size_t[]){2, 3}, signs));
    assert_memory_equal(signs, sign, sizeof sign);
    assert_ok(sg_h5_read(read, "/masks/fc.weight", SG_H5_U8, 2, (size_t[]){2, 3}, mask));
    assert_int_equal(mask[2], 0);
    sg_h5_close(&read);
}

static void a_file_of_ours_is_verified(void **state) {
    (void)state;
    sg_h5_content *content;
    assert_ok(sg_h5_content_create(&content, "weights"));
    assert_ok(sg_h5_add_array(content, "/weights/a", SG_H5_F32, 6, values));
    name = in_folder("ours.h5");
    assert_ok(sg_h5_write(name, NULL, content));
    sg_h5_content_destroy(&content);
    sg_h5_file *file;
    assert_ok(sg_h5_open_foreign(&file, name, NULL, self));
    assert_string_equal(sg_h5_kind(file), "weights");
    sg_h5_close(&file);
    int descriptor = open(name, O_RDWR);
    assert_int_equal(pwrite(descriptor, "x", 1, 5000), 1);
    close(descriptor);
    assert_refused(SG_DATA, "is damaged in");
}

static void links_are_refused(void **state) {
    (void)state;
    hid_t file = create("links.h5");
    H5Lcreate_external("good.h5", "/weights/fc.weight", file, "/weights/a", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    assert_refused(SG_DATA, "soft or external link");
    file = create("links.h5");
    H5Lcreate_soft("/elsewhere", file, "/weights/a", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    assert_refused(SG_DATA, "soft or external link");
    file = create("links.h5");
    H5Ldelete(file, "/weights", H5P_DEFAULT);
    H5Lcreate_external("good.h5", "/weights", file, "/weights", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    assert_refused(SG_DATA, "soft or external link");
}

static void external_storage_is_refused(void **state) {
    (void)state;
    hid_t file = create("external.h5"), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(creation, "/etc/hostname", 0, 24);
    put(file, "/weights/a", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, (hsize_t[]){6}, creation, NULL);
    H5Pclose(creation);
    H5Fclose(file);
    assert_refused(SG_DATA, "outside the file");
}

static void virtual_data_sets_are_refused(void **state) {
    (void)state;
    hid_t file = create("virtual.h5"), creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(2, (hsize_t[]){2, 3}, NULL);
    H5Pset_virtual(creation, space, "good.h5", "/weights/fc.weight", space);
    put(file, "/weights/a", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 2, (hsize_t[]){2, 3}, creation, NULL);
    H5Sclose(space);
    H5Pclose(creation);
    H5Fclose(file);
    assert_refused(SG_DATA, "virtual data set");
}

static void data_that_is_not_there_is_refused(void **state) {
    (void)state;
    hid_t file = create("huge.h5");
    put(file, "/weights/a", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 2, (hsize_t[]){1 << 20, 1 << 20}, H5P_DEFAULT,
        NULL);
    H5Fclose(file);
    assert_refused(SG_DATA, "claims more data");
    file = create("huge.h5");
    put(file, "/weights/a", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, (hsize_t[]){1000}, H5P_DEFAULT, NULL);
    H5Fclose(file);
    assert_refused(SG_DATA, "claims more data");
}

static void zip_bombs_are_refused(void **state) {
    (void)state;
    enum { N = 32 << 20 };
    hid_t file = create("bomb.h5"), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 1, (hsize_t[]){N / 8});
    H5Pset_deflate(creation, 1);
    float *zeros;
    assert_ok(SG_NEW(&zeros, N));
    put(file, "/weights/a", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, (hsize_t[]){N}, creation, zeros);
    SG_FREE(zeros);
    H5Pclose(creation);
    H5Fclose(file);
    assert_refused(SG_DATA, "claims more data");
}

static void other_things_are_refused(void **state) {
    (void)state;
    hid_t file = create("other.h5");
    put(file, "/weights/a", H5T_STD_I16LE, H5T_NATIVE_FLOAT, 2, (hsize_t[]){2, 3}, H5P_DEFAULT, values);
    H5Fclose(file);
    assert_refused(SG_DATA, "is neither float32");
    file = create("other.h5");
    H5Gclose(H5Gcreate2(file, "/weights/layer1", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    assert_refused(SG_DATA, "is no data set");
    file = create("other.h5");
    H5Ldelete(file, "/weights", H5P_DEFAULT);
    H5Fclose(file);
    assert_refused(SG_DATA, "has neither /weights");
    name = in_folder("text");
    assert_ok(sg_file_write(name, "this is no HDF5 file", 20));
    assert_refused(SG_DATA, "is no HDF5 file");
    assert_ok(sg_file_write(name, "", 0));
    assert_refused(SG_DATA, "is no HDF5 file");
    name = in_folder("nowhere");
    assert_refused(SG_NOINPUT, "no such file");
}

/* Damaged in a place after place: an answer each time, with data or an error, and soon. */
static void damage_neither_hangs_nor_crashes(void **state) {
    (void)state;
    hid_t file = create("damaged.h5");
    put_values(file, "/weights/fc.weight");
    put_values(file, "/weights/fc.bias");
    H5Fclose(file);
    char *data;
    size_t size;
    assert_ok(sg_file_read(name, 1 << 20, &data, &size));
    setenv("SIGNET_READ_SECONDS", "3", 1);
    for (size_t i = 8; i < size; i += size / 60) {
        data[i] = (char)~data[i];
        assert_ok(sg_file_write(name, data, size));
        data[i] = (char)~data[i];
        sg_h5_file *read;
        int status = sg_h5_open_foreign(&read, name, NULL, self);
        if (status != SG_OK && status != SG_DATA)
            fail_msg("byte %zu: status %d: %s", i, status, sg_error_message());
        sg_h5_close(&read);
    }
    unsetenv("SIGNET_READ_SECONDS");
    SG_FREE(data);
}

static void a_reader_that_hangs_is_ended(void **state) {
    (void)state;
    hid_t file = create("hang");
    H5Fclose(file);
    setenv("SIGNET_READ_SECONDS", "0.3", 1);
    setenv("SIGNET_TEST_CHILD", "hang", 1);
    assert_refused(SG_DATA, "took more than");
    unsetenv("SIGNET_READ_SECONDS");
    setenv("SIGNET_TEST_CHILD", "crash", 1);
    assert_refused(SG_DATA, "crashed on it (signal 11)");
    setenv("SIGNET_TEST_CHILD", "leave", 1);
    assert_refused(SG_DATA, "gave up (exit code 3)");
    setenv("SIGNET_TEST_CHILD", "lie", 1);
    assert_refused(SG_DATA, "sent nonsense");
    unsetenv("SIGNET_TEST_CHILD");
}

static int child(const char *path, int descriptor) {
    const char *how = getenv("SIGNET_TEST_CHILD");
    if (how == NULL) return sg_h5_foreign_child(path, descriptor);
    if (strcmp(how, "hang") == 0) pause();
    if (strcmp(how, "crash") == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (strcmp(how, "lie") == 0) {
        uint64_t header[4] = {0x31464753, 0, UINT64_MAX / 2, 0};
        return write(descriptor, header, sizeof header) == sizeof header ? 0 : 1;
    }
    return 3;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "read-foreign") == 0) return child(argv[2], atoi(argv[3]));
    self = argv[0];
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(harmless_types_are_read),
        cmocka_unit_test(a_file_of_ours_is_verified),
        cmocka_unit_test(links_are_refused),
        cmocka_unit_test(external_storage_is_refused),
        cmocka_unit_test(virtual_data_sets_are_refused),
        cmocka_unit_test(data_that_is_not_there_is_refused),
        cmocka_unit_test(zip_bombs_are_refused),
        cmocka_unit_test(other_things_are_refused),
        cmocka_unit_test(damage_neither_hangs_nor_crashes),
        cmocka_unit_test(a_reader_that_hangs_is_ended),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
