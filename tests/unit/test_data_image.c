/* Image files that are truncated, damaged, no images, or made to cost memory or time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>
#include <jpeglib.h>
#include <zlib.h>

#include "pipeline/data_kind.h"
#include "tests/reference/picture.h"
#include "tests/reference/temporary.h"

static void expect_broken(const char *start, const char *within) {
    uint8_t rgb[PIXELS * 3];
    char prefix[4096];
    assert_int_equal(sg_data_image_read(in_folder("a.jpg"), SIDE, SIDE, rgb), SG_DATA);
    snprintf(prefix, sizeof prefix, "%s/a.jpg: %s", test_folder, start);
    const char *message = sg_error_message();
    if (strncmp(message, prefix, strlen(prefix)) != 0 || strstr(message, within) == NULL)
        fail_msg("message \"%s\" does not begin with \"%s\" and contain \"%s\"", message, prefix, within);
}

static void truncated_images_are_refused(void **state) {
    (void)state;
    size_t size;
    temporary_jpeg(test_folder, "a.jpg", picture(0, 3), SIDE, SIDE, 3, 95);
    free(temporary_read(test_folder, "a.jpg", &size));
    assert_int_equal(truncate(in_folder("a.jpg"), (off_t)size - 40), 0);
    expect_broken("is damaged or truncated at or before byte ", "Premature end of JPEG file");
    temporary_png(test_folder, "a.jpg", picture(0, 3), SIDE, SIDE, 3, 8);
    free(temporary_read(test_folder, "a.jpg", &size));
    assert_int_equal(truncate(in_folder("a.jpg"), (off_t)size - 20), 0);
    expect_broken("is damaged or truncated at or before byte ", "the file ends too early");
}

static void damaged_images_are_refused(void **state) {
    (void)state;
    size_t size;
    temporary_png(test_folder, "a.jpg", picture(0, 3), SIDE, SIDE, 3, 8);
    unsigned char *bytes = temporary_read(test_folder, "a.jpg", &size);
    bytes[size / 2] ^= 0x10;
    temporary_write(test_folder, "a.jpg", bytes, size);
    free(bytes);
    expect_broken("is damaged or truncated at or before byte ", "fetch it again or remove it");
}

static void what_is_no_image_is_refused(void **state) {
    (void)state;
    temporary_text(test_folder, "a.jpg", "<html>404</html>");
    expect_broken("is neither JPEG nor PNG by its first bytes (byte 0: 3c 68 74)", "convert or remove it");
    temporary_text(test_folder, "a.jpg", "");
    expect_broken("is empty (0 bytes)", "fetch it again or remove it");
}

/* A small file may claim any size; nothing is allocated or decoded on its word. */
static void bombs_are_refused(void **state) {
    (void)state;
    size_t size;
    int height, width;
    temporary_jpeg(test_folder, "a.jpg", picture(0, 3), SIDE, SIDE, 3, 95);
    unsigned char *bytes = temporary_read(test_folder, "a.jpg", &size);
    size_t at = 0;
    while (!(bytes[at] == 0xff && bytes[at + 1] == 0xc0)) at++; /* SOF0: length, precision, height, width */
    bytes[at + 5] = bytes[at + 7] = 0x3f;
    bytes[at + 6] = bytes[at + 8] = 0xf0;
    assert_int_equal(sg_data_image_probe("a.jpg", bytes, size, &height, &width), SG_DATA);
    expect_message(
        "a.jpg: claims 16368 x 16368 pixels in %zu bytes, which cannot be: it is damaged; remove it", size);
    bytes[at + 5] = bytes[at + 7] = 0x7f;
    assert_int_equal(sg_data_image_probe("a.jpg", bytes, size, &height, &width), SG_DATA);
    expect_message("a.jpg: claims 32752 x 32752 pixels; sides of 1 to 16384 and 268435456 pixels in all "
                   "are the limit");
    free(bytes);
}

/* Peak memory of this process so far, in bytes. */
static size_t peak_memory(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return 1024 * (size_t)used.ru_maxrss;
}

static void add_chunk(FILE *out, const char *type, const unsigned char *data, size_t size) {
    unsigned char number[4];
    uLong sum = crc32(crc32(0, (const Bytef *)type, 4), data, (uInt)size);
    for (int i = 0; i < 4; i++) number[i] = (unsigned char)(size >> (24 - 8 * i));
    fwrite(number, 1, 4, out);
    fwrite(type, 1, 4, out);
    fwrite(data, 1, size, out);
    for (int i = 0; i < 4; i++) number[i] = (unsigned char)(sum >> (24 - 8 * i));
    fwrite(number, 1, 4, out);
}

/* Compressed texts beside the pixels: 40 of 4 MiB, of 4 KiB each in the file. */
static void texts_in_a_png_are_not_unfolded(void **state) {
    (void)state;
    enum { TEXTS = 40, TEXT = 4 << 20 };
    size_t size;
    uint8_t rgb[PIXELS * 3];
    temporary_png(test_folder, "a.jpg", picture(0, 3), SIDE, SIDE, 3, 8);
    unsigned char *png = temporary_read(test_folder, "a.jpg", &size), *text = malloc(TEXT);
    uLongf packed = compressBound(TEXT);
    unsigned char *chunk = malloc(3 + packed);
    assert_true(png != NULL && text != NULL && chunk != NULL);
    memset(text, 'x', TEXT);
    memcpy(chunk, "k\0", 3); /* keyword, its end, the method */
    assert_int_equal(compress2(chunk + 3, &packed, text, TEXT, 9), Z_OK);
    FILE *out = fopen(in_folder("a.jpg"), "w");
    assert_non_null(out);
    enum { HEADER = 8 + 25 };
    fwrite(png, 1, HEADER, out);
    for (int i = 0; i < TEXTS; i++) add_chunk(out, "zTXt", chunk, 3 + packed);
    fwrite(png + HEADER, 1, size - HEADER, out);
    fclose(out);
    free(text);
    free(chunk);
    size_t before = peak_memory();
    assert_int_equal(sg_data_image_read(in_folder("a.jpg"), SIDE, SIDE, rgb), SG_OK);
    assert_memory_equal(rgb, picture(0, 3), sizeof rgb);
    assert_true(peak_memory() - before < 64u << 20);
    free(png);
}

/* Each scan of a progressive JPEG costs a pass over all of it, however little it says: here one for each bit
 * of each coefficient of each colour. */
static void endless_scans_are_refused(void **state) {
    (void)state;
    enum { COEFFICIENTS = 63, BITS = 3, SCANS = 1 + 3 * COEFFICIENTS * BITS };
    static jpeg_scan_info scan[SCANS];
    int scans = 1;
    scan[0] = (jpeg_scan_info){.comps_in_scan = 3, .component_index = {0, 1, 2}};
    for (int colour = 0; colour < 3; colour++)
        for (int bit = BITS - 1; bit >= 0; bit--)
            for (int k = 1; k <= COEFFICIENTS; k++)
                scan[scans++] = (jpeg_scan_info){.comps_in_scan = 1,
                                                 .component_index = {colour},
                                                 .Ss = k,
                                                 .Se = k,
                                                 .Ah = bit == BITS - 1 ? 0 : bit + 1,
                                                 .Al = bit};
    struct jpeg_compress_struct info = {0};
    struct jpeg_error_mgr errors;
    FILE *out = fopen(in_folder("a.jpg"), "w");
    assert_non_null(out);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_stdio_dest(&info, out);
    info.image_height = info.image_width = SIDE;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    info.scan_info = scan;
    info.num_scans = SCANS;
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < SIDE; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(picture(0, 3) + (size_t)y * SIDE * 3);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    fclose(out);
    expect_broken("is damaged or truncated at or before byte ", "Invalid progressive parameters");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_folder_set_up, test_folder_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(truncated_images_are_refused),    TEST(damaged_images_are_refused),
        TEST(what_is_no_image_is_refused),     TEST(bombs_are_refused),
        TEST(texts_in_a_png_are_not_unfolded), TEST(endless_scans_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
