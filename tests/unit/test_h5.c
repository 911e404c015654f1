/* Our files, by one process alone: what is written is read, and no damage goes unseen. */
#include <dlfcn.h>
#include <fcntl.h>
#include <glob.h>
#include <hdf5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/h5.h"
#include "tests/reference/status.h"
#include "tests/reference/temporary.h"

static const float weights[6] = {1.5f, -0.0f, 3e-39f, -2.f, 1e30f, 0.1f};
static const uint8_t mask[6] = {1, 0, 1, 1, 0, 1};

static void write_small(const char *path) {
    sg_h5_content *content;
    assert_ok(sg_h5_content_create(&content, "checkpoint"));
    const size_t shape[4] = {3, 2, 1, 1};
    assert_ok(sg_h5_add(content, "/weights/layer1.0.conv1.weight", SG_H5_F32, 4, shape, weights));
    assert_ok(sg_h5_add(content, "/masks/layer1.0.conv1.weight", SG_H5_U8, 4, shape, mask));
    int64_t step = -5;
    assert_ok(sg_h5_add_scalar(content, "/optimizer/step", SG_H5_I64, &step));
    assert_ok(sg_h5_add_array(content, "/metrics/loss", SG_H5_F64, 0, NULL));
    const char *text[] = {"first", "", "the third \xc3\xa9"};
    assert_ok(sg_h5_add_strings(content, "/metrics/note", 3, text));
    assert_ok(sg_h5_set_text(content, "configuration", "a = 1;\nb = \"two\";\n"));
    assert_ok(sg_h5_set_text(content, "empty", ""));
    assert_ok(sg_h5_set_integer(content, "epoch", -7));
    assert_ok(sg_h5_set_unsigned(content, "seed", UINT64_MAX));
    assert_ok(sg_h5_set_real(content, "seconds", 0.1));
    assert_ok(sg_h5_write(path, NULL, content));
    sg_h5_content_destroy(&content);
    assert_null(content);
}

static char *bytes_of(const char *path, size_t *size) {
    char *data;
    assert_ok(sg_file_read(path, 1 << 30, &data, size));
    return data;
}

static void what_is_written_is_read(void **state) {
    (void)state;
    const char *path = in_folder("a.h5");
    write_small(path);
    sg_h5_file *file;
    assert_ok(sg_h5_open(&file, path, NULL));
    assert_string_equal(sg_h5_kind(file), "checkpoint");
    assert_int_equal(sg_h5_entries(file), 5);
    const sg_h5_entry *entry = sg_h5_find(file, "/weights/layer1.0.conv1.weight");
    assert_non_null(entry);
    assert_int_equal(entry->ndims, 4);
    assert_int_equal(entry->dims[0], 3);
    assert_int_equal(entry->count, 6);
    float got[6];
    assert_ok(sg_h5_read(file, entry->path, SG_H5_F32, 4, (size_t[]){3, 2, 1, 1}, got));
    assert_memory_equal(got, weights, sizeof got);
    uint8_t bits[6];
    assert_ok(sg_h5_read(file, "/masks/layer1.0.conv1.weight", SG_H5_U8, 4, (size_t[]){3, 2, 1, 1}, bits));
    assert_memory_equal(bits, mask, sizeof bits);
    int64_t step = 0;
    assert_ok(sg_h5_read_scalar(file, "/optimizer/step", SG_H5_I64, &step));
    assert_int_equal(step, -5);
    assert_ok(sg_h5_read_array(file, "/metrics/loss", SG_H5_F64, 0, NULL));
    char **text;
    size_t count;
    assert_ok(sg_h5_read_strings(file, "/metrics/note", &text, &count));
    assert_int_equal(count, 3);
    assert_string_equal(text[0], "first");
    assert_string_equal(text[1], "");
    assert_string_equal(text[2], "the third \xc3\xa9");
    SG_FREE(text);
    sg_h5_close(&file);
    assert_null(file);
}

static void attributes_come_back(void **state) {
    (void)state;
    const char *name = in_folder("a.h5");
    write_small(name);
    sg_h5_file *file;
    assert_ok(sg_h5_open(&file, name, NULL));
    const char *text;
    int64_t epoch;
    uint64_t seed;
    double seconds;
    assert_ok(sg_h5_get_text(file, "configuration", &text));
    assert_string_equal(text, "a = 1;\nb = \"two\";\n");
    assert_ok(sg_h5_get_text(file, "empty", &text));
    assert_string_equal(text, "");
    assert_ok(sg_h5_get_integer(file, "epoch", &epoch));
    assert_true(epoch == -7);
    assert_ok(sg_h5_get_unsigned(file, "seed", &seed));
    assert_true(seed == UINT64_MAX);
    assert_ok(sg_h5_get_real(file, "seconds", &seconds));
    assert_true(seconds == 0.1);
    assert_true(sg_h5_has(file, "seed"));
    assert_false(sg_h5_has(file, "sead"));
    assert_int_equal(sg_h5_attributes(file), 5);
    assert_error(sg_h5_get_text(file, "epoch", &text), SG_DATA, "is an integer, and text is wanted");
    assert_error(sg_h5_get_real(file, "nothing", &seconds), SG_DATA, "has no attribute nothing");
    sg_h5_close(&file);
}

static void a_long_attribute_comes_back(void **state) {
    (void)state;
    enum { LENGTH = 300000 };
    char *text;
    const char *got;
    assert_ok(SG_NEW(&text, LENGTH + 1));
    memset(text, 'x', LENGTH);
    sg_h5_content *content;
    assert_ok(sg_h5_content_create(&content, "long"));
    assert_ok(sg_h5_set_text(content, "configuration", text));
    const char *name = in_folder("long.h5");
    assert_ok(sg_h5_write(name, NULL, content));
    sg_h5_content_destroy(&content);
    sg_h5_file *file;
    assert_ok(sg_h5_open(&file, name, NULL));
    assert_ok(sg_h5_get_text(file, "configuration", &got));
    assert_string_equal(got, text);
    sg_h5_close(&file);
    SG_FREE(text);
}

static void a_wrong_shape_or_type_is_refused(void **state) {
    (void)state;
    const char *name = in_folder("a.h5");
    write_small(name);
    sg_h5_file *file;
    float out[16];
    assert_ok(sg_h5_open(&file, name, NULL));
    assert_error(
        sg_h5_read(file, "/weights/layer1.0.conv1.weight", SG_H5_F32, 4, (size_t[]){2, 3, 1, 1}, out),
        SG_DATA, "is float32[3, 2, 1, 1], and float32[2, 3, 1, 1] is wanted");
    assert_error(sg_h5_read_array(file, "/weights/layer1.0.conv1.weight", SG_H5_F32, 6, out), SG_DATA,
                 "float32[6] is wanted");
    assert_error(sg_h5_read(file, "/masks/layer1.0.conv1.weight", SG_H5_F32, 4, (size_t[]){3, 2, 1, 1}, out),
                 SG_DATA, "is uint8[3, 2, 1, 1]");
    assert_error(sg_h5_read_array(file, "/weights/none", SG_H5_F32, 6, out), SG_DATA, "has no /weights/none");
    sg_h5_close(&file);
}

static void the_same_content_gives_the_same_bytes(void **state) {
    (void)state;
    size_t size, again;
    const char *name = in_folder("a.h5");
    write_small(name);
    char *first = bytes_of(name, &size);
    usleep(1100000); /* HDF5 would note the second of a group's making */
    name = in_folder("b.h5");
    write_small(name);
    char *second = bytes_of(name, &again);
    assert_int_equal(size, again);
    assert_memory_equal(first, second, size);
    SG_FREE(first);
    SG_FREE(second);
}

static void assert_no_temporary_file(void) {
    glob_t found;
    assert_int_equal(glob(in_folder("*.tmp"), 0, NULL, &found), GLOB_NOMATCH);
}

static void no_temporary_file_is_left(void **state) {
    (void)state;
    write_small(in_folder("a.h5"));
    assert_no_temporary_file();
}

static void a_full_index_enlarges_the_block(void **state) {
    (void)state;
    enum { SETS = 400 };
    sg_h5_content *content;
    float values[SETS];
    char path[128];
    assert_ok(sg_h5_content_create(&content, "many"));
    for (int i = 0; i < SETS; i++) {
        values[i] = (float)i;
        snprintf(path, sizeof path, "/weights/a.rather.long.name.of.a.parameter.number.%d.weight", i);
        assert_ok(sg_h5_add_scalar(content, path, SG_H5_F32, &values[i]));
    }
    const char *name = in_folder("many.h5");
    assert_ok(sg_h5_write(name, NULL, content));
    sg_h5_content_destroy(&content);
    assert_ok(sg_h5_verify(name, NULL, NULL));
    sg_h5_file *file;
    assert_ok(sg_h5_open(&file, name, NULL));
    assert_int_equal(sg_h5_entries(file), SETS);
    float value;
    assert_ok(sg_h5_read_scalar(file, path, SG_H5_F32, &value));
    assert_true(value == SETS - 1);
    sg_h5_close(&file);
}

static void overwrite(const char *path, const char *data, size_t size) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void every_flipped_byte_is_seen(void **state) {
    (void)state;
    size_t size;
    const char *name = in_folder("a.h5");
    write_small(name);
    char *data = bytes_of(name, &size);
    name = in_folder("flipped.h5");
    overwrite(name, data, size);
    int descriptor = open(name, O_RDWR);
    assert_true(descriptor >= 0);
    for (size_t i = 0; i < size; i++) {
        char flipped = (char)(data[i] ^ (1 << i % 8));
        assert_int_equal(pwrite(descriptor, &flipped, 1, (off_t)i), 1);
        if (sg_h5_verify(name, NULL, NULL) != SG_DATA) fail_msg("byte %zu flipped, verified all the same", i);
        if (i % 97 == 0) {
            sg_h5_file *file;
            if (sg_h5_open(&file, name, NULL) != SG_DATA)
                fail_msg("byte %zu flipped, opened all the same", i);
            assert_null(file);
        }
        assert_int_equal(pwrite(descriptor, &data[i], 1, (off_t)i), 1);
    }
    assert_ok(sg_h5_verify(name, NULL, NULL));
    close(descriptor);
    SG_FREE(data);
}

static void every_truncation_is_seen(void **state) {
    (void)state;
    size_t size;
    const char *name = in_folder("a.h5");
    write_small(name);
    char *data = bytes_of(name, &size);
    name = in_folder("short.h5");
    overwrite(name, data, size);
    for (size_t kept = size; kept-- > 0;) {
        assert_int_equal(truncate(name, (off_t)kept), 0);
        if (sg_h5_verify(name, NULL, NULL) != SG_DATA)
            fail_msg("cut to %zu bytes, verified all the same", kept);
    }
    SG_FREE(data);
}

static void bytes_at_the_end_are_seen(void **state) {
    (void)state;
    const char *name = in_folder("a.h5");
    write_small(name);
    FILE *out = fopen(name, "ab");
    assert_non_null(out);
    fputc(0, out);
    fclose(out);
    sg_h5_file *file;
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA, "1 bytes too many");
}

static char reported[4][512];
static int reports;

static void collect(void *context, const char *line) {
    (void)context;
    if (reports < 4) snprintf(reported[reports], sizeof reported[0], "%s", line);
    reports++;
}

static char *find(char *data, size_t size, const void *what, size_t bytes) {
    for (size_t i = 0; i + bytes <= size; i++)
        if (memcmp(data + i, what, bytes) == 0) return data + i;
    return NULL;
}

/* Finds the weights' bytes in the file and flips one of them; likewise the mask's. */
static void damaged_data_sets_are_named(void **state) {
    (void)state;
    size_t size;
    const char *name = in_folder("a.h5");
    write_small(name);
    char *data = bytes_of(name, &size);
    char *at = find(data, size, weights, sizeof weights), *bits = find(data, size, mask, sizeof mask);
    assert_non_null(at);
    assert_non_null(bits);
    at[5] ^= 1;
    overwrite(name, data, size);
    reports = 0;
    assert_error(sg_h5_verify(name, collect, NULL), SG_DATA, "/weights/layer1.0.conv1.weight is damaged");
    assert_int_equal(reports, 1);
    sg_h5_file *file;
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA, "is damaged in /weights/layer1.0.conv1.weight; use");
    bits[0] ^= 1;
    overwrite(name, data, size);
    reports = 0;
    assert_error(sg_h5_verify(name, collect, NULL), SG_DATA, "is damaged");
    assert_int_equal(reports, 2);
    assert_non_null(strstr(reported[1], "/masks/layer1.0.conv1.weight is damaged"));
    SG_FREE(data);
}

/* Makes the block's own hash right again: XXH3-128 at byte 112 of 4096, over the block with zeros there. */
static void reseal(char *block) {
    XXH128_canonical_t hash;
    memset(block + 112, 0, 16);
    XXH128_canonicalFromHash(&hash, XXH3_128bits(block, 4096));
    memcpy(block + 112, hash.digest, 16);
}

static void a_newer_version_is_named(void **state) {
    (void)state;
    size_t size;
    const char *name = in_folder("a.h5");
    write_small(name);
    char *data = bytes_of(name, &size);
    data[12] = 2; /* version; the block's own hash does not fit now, so it is a damaged block */
    overwrite(name, data, size);
    assert_error(sg_h5_verify(name, NULL, NULL), SG_DATA, "user block");
    reseal(data);
    overwrite(name, data, size);
    sg_h5_file *file;
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA,
                 "has format version 2, and this signet reads up to 1");
    SG_FREE(data);
}

static void other_files_are_refused(void **state) {
    (void)state;
    sg_h5_file *file;
    const char *name = in_folder("other");
    overwrite(name, "", 0);
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA, "is empty");
    overwrite(name, "\x89HDF\r\n\x1a\nand so on", 18);
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA, "that signet did not write");
    overwrite(name, "SIGNET\n\x1a\n", 9);
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA, "binary mode");
    overwrite(name, "a text", 6);
    assert_error(sg_h5_open(&file, name, NULL), SG_DATA, "is no signet file");
    assert_error(sg_h5_open(&file, in_folder("nowhere"), NULL), SG_NOINPUT, "no such file");
    assert_error(sg_h5_open(&file, test_folder, NULL), SG_NOINPUT, "is a directory");
    name = in_folder("fifo");
    assert_int_equal(mkfifo(name, 0600), 0);
    assert_error(sg_h5_open(&file, name, NULL), SG_NOINPUT, "no regular file");
}

static void a_missing_directory_is_told(void **state) {
    (void)state;
    sg_h5_content *content;
    assert_ok(sg_h5_content_create(&content, "checkpoint"));
    assert_error(sg_h5_write(in_folder("no/such/a.h5"), NULL, content), SG_CANTCREATE, "does not exist");
    sg_h5_content_destroy(&content);
}

/* In a child: the limit would hold for the tests after it. */
static void a_failed_write_leaves_the_old_file(void **state) {
    (void)state;
    size_t size, after;
    const char *path = in_folder("a.h5");
    write_small(path);
    char *before = bytes_of(path, &size);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        enum { N = 1 << 20 };
        static float large[N];
        SG_FREE(before);
        struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(100);
        sg_h5_content *content;
        if (sg_h5_content_create(&content, "checkpoint") != SG_OK) _exit(101);
        if (sg_h5_add_array(content, "/weights/large", SG_H5_F32, N, large) != SG_OK) _exit(102);
        if (sg_h5_write(path, NULL, content) != SG_IO) _exit(103);
        if (strstr(sg_error_message(), "ulimit -f") == NULL) _exit(104);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    char *again = bytes_of(path, &after);
    assert_int_equal(size, after);
    assert_memory_equal(before, again, size);
    assert_no_temporary_file();
    SG_FREE(before);
    SG_FREE(again);
}

/* The whole file is there, and the last step fails. */
static void a_failed_rename_leaves_no_temporary_file(void **state) {
    (void)state;
    sg_h5_content *content;
    float one = 1;
    assert_int_equal(mkdir(in_folder("taken.h5"), 0700), 0);
    assert_ok(sg_h5_content_create(&content, "checkpoint"));
    assert_ok(sg_h5_add_scalar(content, "/a", SG_H5_F32, &one));
    int status = sg_h5_write(in_folder("taken.h5"), NULL, content);
    sg_h5_content_destroy(&content);
    assert_error(status, SG_IO, "cannot rename to");
    assert_no_temporary_file();
}

/* Stands in front of libhdf5's. */
static bool close_fails;
herr_t H5Fclose(hid_t file) {
    herr_t (*real)(hid_t) = (herr_t(*)(hid_t))dlsym(RTLD_NEXT, "H5Fclose");
    return close_fails ? -1 : real(file);
}

static void a_failed_close_ends_the_process_with_74(void **state) {
    (void)state;
    size_t size, after;
    const char *name = in_folder("a.h5");
    write_small(name);
    char *before = bytes_of(name, &size);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        SG_FREE(before);
        close_fails = true;
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(100);
        write_small(name);
        _exit(101);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), SG_IO);
    char *again = bytes_of(name, &after);
    assert_int_equal(size, after);
    assert_memory_equal(before, again, size);
    SG_FREE(before);
    SG_FREE(again);
}

static void adding_twice_is_a_bug(void **state) {
    (void)state;
    sg_h5_content *content;
    float one = 1;
    assert_ok(sg_h5_content_create(&content, "checkpoint"));
    assert_ok(sg_h5_add_scalar(content, "/a", SG_H5_F32, &one));
    assert_error(sg_h5_add_scalar(content, "/a", SG_H5_F32, &one), SG_INTERNAL, "added twice");
    assert_error(sg_h5_add_scalar(content, "b", SG_H5_F32, &one), SG_INTERNAL, "no path");
    sg_h5_content_destroy(&content);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(attributes_come_back),
        cmocka_unit_test(a_long_attribute_comes_back),
        cmocka_unit_test(a_wrong_shape_or_type_is_refused),
        cmocka_unit_test(the_same_content_gives_the_same_bytes),
        cmocka_unit_test(no_temporary_file_is_left),
        cmocka_unit_test(a_full_index_enlarges_the_block),
        cmocka_unit_test(every_flipped_byte_is_seen),
        cmocka_unit_test(every_truncation_is_seen),
        cmocka_unit_test(bytes_at_the_end_are_seen),
        cmocka_unit_test(damaged_data_sets_are_named),
        cmocka_unit_test(a_newer_version_is_named),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(a_missing_directory_is_told),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(a_failed_rename_leaves_no_temporary_file),
        cmocka_unit_test(a_failed_close_ends_the_process_with_74),
        cmocka_unit_test(adding_twice_is_a_bug),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
