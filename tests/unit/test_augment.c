/* Augmentation: distribution and range of the draws, windows beyond the border, PIL's resampling. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pipeline/augment.h"

enum { HEIGHT = 9, WIDTH = 8, DRAWS = 20000 };

static void names_are_found(void **state) {
    (void)state;
    enum sg_augment augment;
    assert_int_equal(sg_augment_find("none", &augment), SG_OK);
    assert_int_equal(augment, SG_AUGMENT_NONE);
    assert_int_equal(sg_augment_find("crop_flip", &augment), SG_OK);
    assert_int_equal(augment, SG_AUGMENT_CROP_FLIP);
    assert_int_equal(sg_augment_find("resized_crop", &augment), SG_OK);
    assert_int_equal(augment, SG_AUGMENT_RESIZED_CROP);
    assert_int_equal(sg_augment_find(NULL, &augment), SG_OK);
    assert_int_equal(augment, SG_AUGMENT_NONE);
    assert_int_equal(sg_augment_find("flip", &augment), SG_CONFIG);
}

static void none_is_the_whole_image(void **state) {
    (void)state;
    sg_view view = sg_augment_draw(SG_AUGMENT_NONE, 1, 2, 3, 32, 48);
    assert_int_equal(view.top, 0);
    assert_int_equal(view.left, 0);
    assert_int_equal(view.height, 32);
    assert_int_equal(view.width, 48);
    assert_false(view.flip);
}

static void draws_depend_on_their_key_alone(void **state) {
    (void)state;
    for (int kind = SG_AUGMENT_CROP_FLIP; kind <= SG_AUGMENT_RESIZED_CROP; kind++) {
        int different[3] = {0};
        for (uint32_t s = 0; s < 100; s++) {
            sg_view a = sg_augment_draw((enum sg_augment)kind, 1, 2, s, 32, 32);
            sg_view b = sg_augment_draw((enum sg_augment)kind, 1, 2, s, 32, 32);
            assert_int_equal(a.top, b.top);
            assert_int_equal(a.left, b.left);
            assert_int_equal(a.height, b.height);
            assert_int_equal(a.width, b.width);
            assert_int_equal(a.flip, b.flip);
            sg_view other[] = {sg_augment_draw((enum sg_augment)kind, 2, 2, s, 32, 32),
                               sg_augment_draw((enum sg_augment)kind, 1, 3, s, 32, 32),
                               sg_augment_draw((enum sg_augment)kind, 1, 2, s + 100, 32, 32)};
            for (int i = 0; i < 3; i++)
                different[i] += a.top != other[i].top || a.left != other[i].left || a.flip != other[i].flip;
        }
        for (int i = 0; i < 3; i++)
            assert_true(different[i] > 90); /* equal by chance: 1 in 162, fewer for the other */
    }
}

/* 81 windows and their mirror images, all as often: 20,000 draws in 162 cells give 123 on average with a
 * deviation of 11; six deviations are allowed. */
static void crop_flip_is_uniform(void **state) {
    (void)state;
    static int count[9][9][2];
    memset(count, 0, sizeof count);
    for (uint32_t s = 0; s < DRAWS; s++) {
        sg_view view = sg_augment_draw(SG_AUGMENT_CROP_FLIP, 7, 1, s, 64, 64);
        assert_in_range(view.top + 4, 0, 8);
        assert_in_range(view.left + 4, 0, 8);
        assert_int_equal(view.height, 64);
        assert_int_equal(view.width, 64);
        count[view.top + 4][view.left + 4][view.flip]++;
    }
    for (int t = 0; t < 9; t++)
        for (int l = 0; l < 9; l++)
            for (int f = 0; f < 2; f++) assert_in_range(count[t][l][f], 123 - 66, 123 + 66);
}

/* Areas of the protocol's range, aspects of 3/4 to 4/3 up to rounding to whole pixels, inside the image. */
static void resized_crop_keeps_its_ranges(void **state) {
    (void)state;
    /* Large windows of extreme aspect do not fit and are drawn again, so the mean lies below the middle:
     * measured with 200,000 draws of a Python twin, with six deviations of the mean of 20,000 as tolerance.
     */
    static const struct {
        int side;
        double smallest, mean, tolerance;
    } sizes[] = {{64, 0.5, 0.6981, 0.0052}, {224, 0.08, 0.4798, 0.010}};
    for (int k = 0; k < 2; k++) {
        int side = sizes[k].side, flips = 0;
        double low = 1.0, high = 0.0, sum = 0.0;
        for (uint32_t s = 0; s < DRAWS; s++) {
            sg_view v = sg_augment_draw(SG_AUGMENT_RESIZED_CROP, 7, 1, s, side, side);
            assert_true(v.top >= 0 && v.left >= 0 && v.height >= 1 && v.width >= 1);
            assert_true(v.top + v.height <= side && v.left + v.width <= side);
            assert_true(v.width >= 0.75 * v.height - 1.5 && v.height >= 0.75 * v.width - 1.5);
            double area = (double)v.height * v.width / ((double)side * side);
            low = area < low ? area : low;
            high = area > high ? area : high;
            sum += area;
            flips += v.flip;
        }
        assert_true(fabs(low - sizes[k].smallest) < 0.02 && high > 0.99);
        if (fabs(sum / DRAWS - sizes[k].mean) > sizes[k].tolerance)
            fail_msg("mean area %.4f instead of %.4f within %.4f", sum / DRAWS, sizes[k].mean,
                     sizes[k].tolerance);
        assert_in_range(flips, DRAWS / 2 - 424, DRAWS / 2 + 424); /* six deviations */
    }
}

static void fill(uint8_t *image, int channels) {
    for (int i = 0; i < HEIGHT * WIDTH * channels; i++) image[i] = (uint8_t)(i * 31 + 7);
}

static void check_rows(int channels) {
    uint8_t image[HEIGHT * WIDTH * 3], row[WIDTH * 3];
    fill(image, channels);
    for (int top = -10; top <= 10; top++)
        for (int left = -10; left <= 10; left++)
            for (int flip = 0; flip < 2; flip++) {
                sg_view view = {.top = top, .left = left, .height = HEIGHT, .width = WIDTH, .flip = flip};
                for (int y = 0; y < HEIGHT; y++) {
                    sg_view_row(&view, image, HEIGHT, WIDTH, channels, y, row);
                    for (int x = 0; x < WIDTH; x++)
                        for (int c = 0; c < channels; c++) {
                            int from_y = y + top, from_x = (flip ? WIDTH - 1 - x : x) + left;
                            bool inside = from_y >= 0 && from_y < HEIGHT && from_x >= 0 && from_x < WIDTH;
                            int expected = inside ? image[(from_y * WIDTH + from_x) * channels + c] : 0;
                            if (row[x * channels + c] != expected)
                                fail_msg("view %d,%d%s at %d,%d channel %d: %d instead of %d", top, left,
                                         flip ? " mirrored" : "", y, x, c, row[x * channels + c], expected);
                        }
                }
            }
}

static void rows_are_cut_padded_and_mirrored(void **state) {
    (void)state;
    check_rows(3);
    check_rows(1);
}

/* Image.crop(...).resize((8, 9), Image.BILINEAR) by Pillow 9.4 of pixels (37 y + 59 x + 11 (x y mod 7)) mod
 * 256. */
static void resampling_gives_pillows_bytes(void **state) {
    (void)state;
    static const struct {
        sg_view view;
        uint8_t expected[HEIGHT * WIDTH];
    } cases[] = {
        {{.top = 1, .left = 2, .height = 5, .width = 3, .flip = false},
         {177, 181, 208, 234, 212, 142, 73,  61,  197, 196, 192, 187, 162, 116, 70,  62,  229, 220,
          164, 110, 79,  72,  66,  65,  148, 143, 109, 75,  66,  82,  98,  101, 39,  40,  46,  51,
          71,  106, 140, 146, 29,  33,  57,  81,  103, 124, 144, 148, 28,  33,  69,  106, 130, 144,
          156, 159, 60,  64,  86,  108, 135, 167, 199, 204, 80,  82,  96,  110, 138, 181, 224, 231}},
        {{.top = 2, .left = 0, .height = 7, .width = 8, .flip = true},
         {231, 227, 146, 65,  61,  236, 155, 74,  85,  244, 156, 119, 56,  105, 187, 99,  28,  151,
          202, 148, 85,  31,  224, 127, 57,  29,  199, 168, 122, 34,  205, 156, 86,  49,  12,  231,
          117, 80,  43,  185, 115, 69,  24,  234, 171, 126, 80,  214, 144, 89,  35,  237, 183, 129,
          75,  100, 172, 135, 73,  181, 203, 141, 78,  15,  197, 204, 134, 64,  250, 180, 110, 40}},
        {{.top = 4, .left = 3, .height = 1, .width = 5, .flip = false},
         {124, 135, 156, 221, 181, 37,  38,  49,  124, 135, 156, 221, 181, 37,  38,  49,  124, 135,
          156, 221, 181, 37,  38,  49,  124, 135, 156, 221, 181, 37,  38,  49,  124, 135, 156, 221,
          181, 37,  38,  49,  124, 135, 156, 221, 181, 37,  38,  49,  124, 135, 156, 221, 181, 37,
          38,  49,  124, 135, 156, 221, 181, 37,  38,  49,  124, 135, 156, 221, 181, 37,  38,  49}},
    };
    uint8_t image[HEIGHT * WIDTH], out[HEIGHT * WIDTH];
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) image[y * WIDTH + x] = (uint8_t)(y * 37 + x * 59 + x * y % 7 * 11);
    void *scratch = malloc(sg_view_scratch(HEIGHT, WIDTH, 1));
    assert_non_null(scratch);
    for (int k = 0; k < 3; k++) {
        sg_view_resample(&cases[k].view, image, HEIGHT, WIDTH, 1, scratch, out);
        for (int i = 0; i < HEIGHT * WIDTH; i++)
            if (out[i] != cases[k].expected[i])
                fail_msg("case %d, pixel %d: %d instead of %d", k, i, out[i], cases[k].expected[i]);
    }
    free(scratch);
}

static void channels_are_resampled_apart(void **state) {
    (void)state;
    uint8_t image[HEIGHT * WIDTH * 3], out[HEIGHT * WIDTH * 3], plane[HEIGHT * WIDTH], one[HEIGHT * WIDTH];
    fill(image, 3);
    void *scratch = malloc(sg_view_scratch(HEIGHT, WIDTH, 3));
    assert_non_null(scratch);
    sg_view view = {.top = 1, .left = 3, .height = 6, .width = 4, .flip = true};
    sg_view_resample(&view, image, HEIGHT, WIDTH, 3, scratch, out);
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < HEIGHT * WIDTH; i++) plane[i] = image[3 * i + c];
        sg_view_resample(&view, plane, HEIGHT, WIDTH, 1, scratch, one);
        for (int i = 0; i < HEIGHT * WIDTH; i++) assert_int_equal(out[3 * i + c], one[i]);
    }
    free(scratch);
}

static void a_whole_view_keeps_every_byte(void **state) {
    (void)state;
    uint8_t image[HEIGHT * WIDTH * 3], out[HEIGHT * WIDTH * 3];
    fill(image, 3);
    void *scratch = malloc(sg_view_scratch(HEIGHT, WIDTH, 3));
    assert_non_null(scratch);
    sg_view view = {.height = HEIGHT, .width = WIDTH};
    sg_view_resample(&view, image, HEIGHT, WIDTH, 3, scratch, out);
    assert_memory_equal(image, out, sizeof image);
    free(scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(none_is_the_whole_image),
        cmocka_unit_test(draws_depend_on_their_key_alone),
        cmocka_unit_test(crop_flip_is_uniform),
        cmocka_unit_test(resized_crop_keeps_its_ranges),
        cmocka_unit_test(rows_are_cut_padded_and_mirrored),
        cmocka_unit_test(resampling_gives_pillows_bytes),
        cmocka_unit_test(channels_are_resampled_apart),
        cmocka_unit_test(a_whole_view_keeps_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
