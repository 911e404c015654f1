/* The digest tells any two lists of named arrays apart, and nothing else. */
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
#include "pipeline/digest.h"

static void assert_ok(int status) {
    if (status != SG_OK) fail_msg("status %d: %s\n%s", status, sg_error_message(), sg_error_trace());
}

static const float values[6] = {1, 2, 3, 4, 5, 6};

typedef struct digest_text {
    char text[SG_DIGEST_TEXT];
} digest_text;

static digest_text of(const char *name, enum sg_h5_type type, int ndims, const size_t *dims,
                      const void *data) {
    sg_digest *digest;
    digest_text result;
    assert_ok(sg_digest_create(&digest));
    sg_digest_add(digest, name, type, ndims, dims, data);
    sg_digest_text(digest, result.text);
    sg_digest_destroy(&digest);
    assert_null(digest);
    return result;
}

static void equal_arrays_have_equal_digests(void **state) {
    (void)state;
    digest_text a = of("w", SG_H5_F32, 2, (size_t[]){2, 3}, values),
                b = of("w", SG_H5_F32, 2, (size_t[]){2, 3}, values);
    assert_int_equal(strlen(a.text), 32);
    assert_int_equal(strspn(a.text, "0123456789abcdef"), 32);
    assert_string_equal(a.text, b.text);
}

static void name_type_shape_and_values_count(void **state) {
    (void)state;
    float other[6];
    memcpy(other, values, sizeof other);
    other[5] = 7;
    digest_text a = of("w", SG_H5_F32, 2, (size_t[]){2, 3}, values);
    assert_string_not_equal(a.text, of("v", SG_H5_F32, 2, (size_t[]){2, 3}, values).text);
    assert_string_not_equal(a.text, of("w", SG_H5_I32, 2, (size_t[]){2, 3}, values).text);
    assert_string_not_equal(a.text, of("w", SG_H5_F32, 2, (size_t[]){3, 2}, values).text);
    assert_string_not_equal(a.text, of("w", SG_H5_F32, 1, (size_t[]){6}, values).text);
    assert_string_not_equal(a.text, of("w", SG_H5_F32, 2, (size_t[]){2, 3}, other).text);
}

static void arrays_do_not_run_together(void **state) {
    (void)state;
    sg_digest *digest;
    digest_text ab, a_b;
    assert_ok(sg_digest_create(&digest));
    sg_digest_add_text(digest, "n", "ab");
    sg_digest_add_text(digest, "n", "");
    sg_digest_text(digest, ab.text);
    sg_digest_destroy(&digest);
    assert_ok(sg_digest_create(&digest));
    sg_digest_add_text(digest, "n", "a");
    sg_digest_add_text(digest, "n", "b");
    sg_digest_text(digest, a_b.text);
    sg_digest_destroy(&digest);
    assert_string_not_equal(ab.text, a_b.text);
}

/* Writes a file with the two weights in this order, and this time; its digest. */
static digest_text of_file(bool swapped, double seconds, float first) {
    char path[] = "/tmp/signet-digest-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    sg_h5_content *content;
    const char *names[2] = {"/weights/a", "/weights/b"};
    const float b = 2;
    assert_ok(sg_h5_content_create(&content, "result"));
    for (int i = 0; i < 2; i++) {
        int which = swapped ? 1 - i : i;
        assert_ok(sg_h5_add_scalar(content, names[which], SG_H5_F32, which == 0 ? &first : &b));
    }
    assert_ok(sg_h5_add_scalar(content, "/metrics/seconds", SG_H5_F64, &seconds));
    assert_ok(sg_h5_write(path, NULL, content));
    sg_h5_content_destroy(&content);
    sg_h5_file *file;
    sg_digest *digest;
    digest_text result;
    assert_ok(sg_h5_open(&file, path, NULL));
    assert_ok(sg_digest_create(&digest));
    assert_ok(sg_digest_add_file(digest, file));
    sg_digest_text(digest, result.text);
    sg_digest_destroy(&digest);
    sg_h5_close(&file);
    assert_int_equal(unlink(path), 0);
    return result;
}

static void a_files_order_and_clocks_do_not_count(void **state) {
    (void)state;
    digest_text a = of_file(false, 1.0, 1);
    assert_string_equal(a.text, of_file(true, 1.0, 1).text);
    assert_string_equal(a.text, of_file(false, 99.0, 1).text);
    assert_string_not_equal(a.text, of_file(false, 1.0, 3).text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_arrays_have_equal_digests),
        cmocka_unit_test(name_type_shape_and_values_count),
        cmocka_unit_test(arrays_do_not_run_together),
        cmocka_unit_test(a_files_order_and_clocks_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
