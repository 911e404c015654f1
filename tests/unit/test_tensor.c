/* The lane-blocked tensor: strides, zeroing, padding, and the way from and to plain arrays. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/tensor.h"

static const int shapes[][6] = {/* lanes, blocks, channels, height, width, halo */
                                {16, 1, 3, 4, 5, 0},
                                {16, 2, 8, 3, 3, 1},
                                {16, 3, 64, 2, 1, 2},
                                {32, 2, 5, 1, 7, 1},
                                {32, 1, 16, 2, 2, 0}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static sg_tensor make(const int *s) {
    sg_tensor t;
    assert_int_equal(sg_tensor_init(&t, s[0], s[1], s[2], s[3], s[4], s[5]), SG_OK);
    return t;
}

/* Floats of padding. */
static void pixels_of_multiples_of_512_bytes_are_padded(void **state) {
    (void)state;
    static const int padding[][3] = {{16, 1, 0},     {16, 3, 0},    {16, 7, 0},     {16, 8, 16},
                                     {16, 9, 0},     {16, 20, 0},   {16, 56, 16},   {16, 64, 80},
                                     {16, 100, 0},   {16, 504, 80}, {16, 512, 336}, {32, 248, 80},
                                     {32, 256, 336}, {32, 3, 0},    {32, 4, 16},    {32, 6, 0},
                                     {32, 8, 16},    {32, 28, 16},  {32, 32, 80}};
    for (size_t i = 0; i < sizeof padding / sizeof *padding; i++) {
        const int *p = padding[i];
        assert_int_equal(sg_tensor_shape(p[0], 1, p[1], 1, 1, 0).pixel, p[1] * p[0] + p[2]);
    }
}

static void strides_follow_from_the_shape(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const int *s = shapes[i];
        sg_tensor t = make(s);
        int values = s[2] * s[0], padding = values % 128 != 0 ? 0
                                            : values < 1024   ? 16
                                                              : 80; /* below 32 KiB */
        size_t pixel = (size_t)(values + padding);
        assert_int_equal(t.pixel, pixel);
        assert_int_equal(t.row, (size_t)(s[4] + 2 * s[5]) * pixel);
        assert_int_equal(t.block, (size_t)(s[3] + 2 * s[5]) * t.row);
        assert_int_equal(sg_tensor_bytes(&t), (size_t)s[1] * t.block * sizeof(float));
        sg_tensor_release(&t);
    }
}

static void the_halo_lies_inside_the_allocation(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        sg_tensor t = make(shapes[i]);
        int last = t.blocks - 1;
        const float *first = sg_tensor_at(&t, 0, -t.halo, -t.halo);
        const float *end = sg_tensor_at(&t, last, t.height - 1 + t.halo, t.width - 1 + t.halo) + t.pixel;
        assert_ptr_equal(first, t.base);
        assert_ptr_equal(end, t.base + (size_t)t.blocks * t.block);
        sg_tensor_release(&t);
    }
}

static void lane_rows_are_aligned(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        sg_tensor t = make(shapes[i]);
        for (int y = 0; y < t.height; y++)
            for (int x = 0; x < t.width; x++)
                assert_int_equal((uintptr_t)sg_tensor_at(&t, t.blocks - 1, y, x) % SG_ALIGNMENT, 0);
        sg_tensor_release(&t);
    }
}

static void a_new_tensor_is_zero(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        sg_tensor t = make(shapes[i]);
        for (size_t j = 0; j < (size_t)t.blocks * t.block; j++) assert_true(t.base[j] == 0.0f);
        sg_tensor_release(&t);
    }
}

/* The value at (sample, channel, y, x), different everywhere. */
static float value(const sg_tensor *t, int sample, int channel, int y, int x) {
    return (float)(1 + ((sample * t->channels + channel) * t->height + y) * t->width + x);
}

static float *make_plain(const sg_tensor *t, int samples) {
    float *nchw, *at;
    assert_int_equal(SG_NEW(&nchw, (size_t)samples * (size_t)(t->channels * t->height * t->width)), SG_OK);
    at = nchw;
    for (int s = 0; s < samples; s++)
        for (int c = 0; c < t->channels; c++)
            for (int y = 0; y < t->height; y++)
                for (int x = 0; x < t->width; x++) *at++ = value(t, s, c, y, x);
    return nchw;
}

static void samples_become_lanes(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        sg_tensor t = make(shapes[i]);
        int samples = t.blocks * t.lanes - 3;
        float *plain = make_plain(&t, samples);
        sg_tensor_from_nchw(&t, plain, samples);
        for (int s = 0; s < t.blocks * t.lanes; s++)
            for (int c = 0; c < t.channels; c++)
                for (int y = 0; y < t.height; y++)
                    for (int x = 0; x < t.width; x++) {
                        float got = sg_tensor_at(&t, s / t.lanes, y, x)[c * t.lanes + s % t.lanes];
                        float want = s < samples ? value(&t, s, c, y, x) : 0.0f;
                        if (got != want)
                            fail_msg("sample %d, channel %d, pixel (%d, %d): expected %g, got %g", s, c, y, x,
                                     (double)want, (double)got);
                    }
        SG_FREE(plain);
        sg_tensor_release(&t);
    }
}

static void filling_leaves_halo_and_pad_rows_zero(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        sg_tensor t = make(shapes[i]);
        int samples = t.blocks * t.lanes;
        float *plain = make_plain(&t, samples);
        sg_tensor_from_nchw(&t, plain, samples);
        size_t filled = 0, wanted = (size_t)samples * (size_t)(t.channels * t.height * t.width);
        for (size_t j = 0; j < (size_t)t.blocks * t.block; j++) filled += t.base[j] != 0.0f;
        assert_int_equal(filled, wanted);
        SG_FREE(plain);
        sg_tensor_release(&t);
    }
}

static void plain_arrays_come_back_unchanged(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++)
        for (int missing = 0; missing < 17; missing += 8) {
            sg_tensor t = make(shapes[i]);
            int samples = t.blocks * t.lanes - missing;
            if (samples > 0) {
                size_t bytes = (size_t)samples * (size_t)(t.channels * t.height * t.width) * sizeof(float);
                float *plain = make_plain(&t, samples), *back;
                assert_int_equal(SG_NEW(&back, bytes / sizeof *back), SG_OK);
                sg_tensor_from_nchw(&t, plain, samples);
                sg_tensor_to_nchw(&t, back, samples);
                assert_memory_equal(plain, back, bytes);
                SG_FREE(plain);
                SG_FREE(back);
            }
            sg_tensor_release(&t);
        }
}

static void releasing_clears_and_tolerates_nothing(void **state) {
    (void)state;
    sg_tensor t = make(shapes[0]), zero = {0};
    sg_tensor_release(&t);
    assert_memory_equal(&t, &zero, sizeof t);
    sg_tensor_release(&t);
    sg_tensor_release(NULL);
}

static void too_large_a_tensor_is_refused_by_name(void **state) {
    (void)state;
    sg_tensor t;
    assert_int_equal(sg_tensor_init(&t, 16, 1 << 10, 1 << 16, 1 << 14, 1 << 14, 0), SG_NOMEM);
    if (strstr(sg_error_message(), "out of memory") == NULL)
        fail_msg("expected a message about memory, got \"%s\"", sg_error_message());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_of_multiples_of_512_bytes_are_padded),
        cmocka_unit_test(strides_follow_from_the_shape),
        cmocka_unit_test(the_halo_lies_inside_the_allocation),
        cmocka_unit_test(lane_rows_are_aligned),
        cmocka_unit_test(a_new_tensor_is_zero),
        cmocka_unit_test(samples_become_lanes),
        cmocka_unit_test(filling_leaves_halo_and_pad_rows_zero),
        cmocka_unit_test(plain_arrays_come_back_unchanged),
        cmocka_unit_test(releasing_clears_and_tolerates_nothing),
        cmocka_unit_test(too_large_a_tensor_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
