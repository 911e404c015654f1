/* Files with a right user block, made to do harm: anyone can compute a hash. What HDF5 itself says is checked
 * against the index before it is believed. */
#include <fcntl.h>
#include <hdf5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "pipeline/h5_common.h"
#include "tests/reference/status.h"
#include "tests/reference/temporary.h"

static const char *path;
static const float values[4] = {1, 2, 3, 4};

static hid_t begin(void) {
    hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    path = in_folder("a.h5");
    H5Pset_userblock(creation, SG_H5_BLOCK_BYTES);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, H5P_DEFAULT);
    assert_true(file >= 0);
    H5Pclose(creation);
    H5Gclose(H5Gcreate2(file, "/weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    return file;
}

static void put(hid_t file, hsize_t elements, hid_t creation, const void *data) {
    hid_t space = H5Screate_simple(1, &elements, NULL);
    hid_t set = H5Dcreate2(file, "/weights/a", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    assert_true(set >= 0);
    if (data != NULL) assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

/* Puts a user block in front that is right in every respect, with this place for the data set. */
static void seal(hid_t file, const char *name, uint64_t offset, uint64_t bytes) {
    H5Fclose(file);
    int descriptor = open(path, O_RDWR);
    off_t size = lseek(descriptor, 0, SEEK_END);
    char named[64];
    snprintf(named, sizeof named, "%s", name);
    sg_h5_place place = {.offset = offset, .bytes = bytes, .path = named};
    if (offset > 0)
        assert_int_equal(sg_h5_checksum_file(&place.checksum, descriptor, path, offset, bytes), SG_OK);
    sg_h5_block block = {.bytes = SG_H5_BLOCK_BYTES,
                         .length = (uint64_t)size - SG_H5_BLOCK_BYTES,
                         .kind = "weights",
                         .places = 1,
                         .place = &place};
    assert_int_equal(sg_h5_hash_file(&block.hash, descriptor, path, block.bytes, block.length, NULL), SG_OK);
    assert_int_equal(sg_h5_block_write(descriptor, path, &block), SG_OK);
    close(descriptor);
}

static void assert_refused(const char *text) {
    sg_h5_file *file;
    int status = sg_h5_open(&file, path, NULL);
    assert_null(file);
    if (status != SG_DATA || strstr(sg_error_message(), text) == NULL)
        fail_msg("status %d and \"%s\", expected %d and \"%s\"", status, sg_error_message(), SG_DATA, text);
}

static uint64_t place_of(hid_t file) {
    hid_t set = H5Dopen2(file, "/weights/a", H5P_DEFAULT);
    haddr_t offset = H5Dget_offset(set);
    H5Dclose(set);
    return offset;
}

static void an_honest_file_is_taken(void **state) {
    (void)state;
    sg_h5_file *read;
    float back[4] = {0};
    hid_t file = begin();
    put(file, 4, H5P_DEFAULT, values);
    seal(file, "/weights/a", place_of(file), sizeof values);
    if (sg_h5_open(&read, path, NULL) != SG_OK) fail_msg("%s", sg_error_message());
    assert_int_equal(sg_h5_read_array(read, "/weights/a", SG_H5_F32, 4, back), SG_OK);
    assert_memory_equal(back, values, sizeof values);
    sg_h5_close(&read);
}

static void sizes_that_the_file_does_not_have_are_refused(void **state) {
    (void)state;
    hid_t file = begin(), creation = H5Pcreate(H5P_DATASET_CREATE);
    put(file, (hsize_t)1 << 40, H5P_DEFAULT, NULL); /* never written: takes no space */
    seal(file, "/weights/a", 0, 0);
    assert_refused("/weights/a does not lie where the index says");
    file = begin();
    H5Pset_chunk(creation, 1, (hsize_t[]){4});
    put(file, 4, creation, values);
    seal(file, "/weights/a", SG_H5_BLOCK_BYTES, sizeof values);
    assert_refused("/weights/a does not lie where the index says");
    H5Pclose(creation);
}

static void data_elsewhere_is_refused(void **state) {
    (void)state;
    hid_t file = begin(), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(creation, "/etc/hostname", 0, sizeof values);
    put(file, 4, creation, NULL);
    H5Pclose(creation);
    seal(file, "/weights/a", SG_H5_BLOCK_BYTES, sizeof values);
    assert_refused("/weights/a does not lie where the index says");
    file = begin();
    put(file, 4, H5P_DEFAULT, values);
    uint64_t place = place_of(file);
    H5Lcreate_external(path, "/weights/a", file, "/weights/b", H5P_DEFAULT, H5P_DEFAULT);
    seal(file, "/weights/b", place, sizeof values);
    assert_refused("a data set of the index is not there");
}

/* libhdf5 writes as many values as the attribute has. */
static void attributes_of_many_values_are_refused(void **state) {
    (void)state;
    hid_t file = begin(), space = H5Screate_simple(1, (hsize_t[]){500}, NULL);
    put(file, 4, H5P_DEFAULT, values);
    uint64_t place = place_of(file);
    int64_t many[500] = {0};
    hid_t attribute = H5Acreate2(file, "epoch", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT64, many);
    H5Aclose(attribute);
    H5Sclose(space);
    seal(file, "/weights/a", place, sizeof values);
    assert_refused("an attribute has a type that signet does not write");
}

static void names_with_control_characters_are_refused(void **state) {
    (void)state;
    hid_t file = begin();
    put(file, 4, H5P_DEFAULT, values);
    seal(file, "/weights/\033[2Ja", place_of(file), sizeof values);
    assert_refused("a name that signet does not write");
}

/* ---- What a child process sends that a hostile file has taken over. */

static void add_entry(sg_h5_listing *listing, size_t elements, size_t width, size_t bytes) {
    sg_h5_entry entry = {.path = "/weights/a", .type = SG_H5_F32, .ndims = 1, .dims = {elements}};
    sg_h5_listing_number(listing, 1);
    sg_h5_listing_text(listing, "", 1);
    sg_h5_listing_number(listing, 1);
    sg_h5_listing_item(listing, &entry, width, values, bytes);
}

static int parse(sg_h5_listing listing) {
    sg_h5_file *file;
    assert_int_equal(SG_NEW(&file, 1), SG_OK);
    *file = (sg_h5_file){.foreign = true, .file = H5I_INVALID_HID, .listing = listing};
    assert_int_equal(SG_NEW(&file->path, 8), SG_OK);
    int status = sg_h5_share_listing(file, SG_OK);
    sg_h5_close(&file);
    return status;
}

static void a_listing_has_the_data_that_it_claims(void **state) {
    (void)state;
    const size_t claimed[] = {4, (size_t)1 << 40, 5};
    for (int i = 0; i < 3; i++) {
        sg_h5_listing listing = {0};
        add_entry(&listing, claimed[i], sizeof(float), i == 1 ? 0 : sizeof values);
        sg_h5_listing_number(&listing, 0);
        assert_int_equal(parse(listing), i == 0 ? SG_OK : SG_DATA);
    }
}

static void a_listing_has_attributes_of_known_types(void **state) {
    (void)state;
    for (uint64_t type = SG_H5_INTEGER; type <= SG_H5_REAL + 1; type++) {
        sg_h5_listing listing = {0};
        add_entry(&listing, 4, sizeof(float), sizeof values);
        sg_h5_listing_number(&listing, 1);
        sg_h5_listing_number(&listing, 2);
        sg_h5_listing_text(&listing, "x", 2);
        sg_h5_listing_number(&listing, type);
        sg_h5_listing_number(&listing, 1);
        assert_int_equal(parse(listing), type <= SG_H5_REAL ? SG_OK : SG_DATA);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_file_is_taken),
        cmocka_unit_test(sizes_that_the_file_does_not_have_are_refused),
        cmocka_unit_test(data_elsewhere_is_refused),
        cmocka_unit_test(attributes_of_many_values_are_refused),
        cmocka_unit_test(names_with_control_characters_are_refused),
        cmocka_unit_test(a_listing_has_the_data_that_it_claims),
        cmocka_unit_test(a_listing_has_attributes_of_known_types),
    };
    if (sg_h5_prepare() != SG_OK) return 70;
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
