#include "tests/reference/temporary.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include "kernels/error.h"

enum { PATHS = 16, PATH_SIZE = 4096 };

char *temporary_create(void) {
    const char *base = getenv("TMPDIR");
    char *path = malloc(PATH_SIZE);
    assert_non_null(path);
    snprintf(path, PATH_SIZE, "%s/signet-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *at) {
    (void)found, (void)type, (void)at;
    return remove(path);
}

void temporary_remove(char **directory) {
    if (*directory == NULL) return;
    assert_int_equal(nftw(*directory, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(*directory);
    *directory = NULL;
}

const char *temporary_path(const char *directory, const char *name) {
    static char paths[PATHS][PATH_SIZE];
    static int next;
    char *path = paths[next++ % PATHS];
    int length = snprintf(path, PATH_SIZE, "%s/%s", directory, name);
    assert_true(length > 0 && length < PATH_SIZE);
    return path;
}

char *test_folder;

int test_folder_set_up(void **state) {
    (void)state;
    test_folder = temporary_create();
    return 0;
}

int test_folder_tear_down(void **state) {
    (void)state;
    temporary_remove(&test_folder);
    return 0;
}

const char *in_folder(const char *name) { return temporary_path(test_folder, name); }

static FILE *create(const char *directory, const char *name) {
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s", temporary_path(directory, name));
    for (char *slash = path + strlen(directory) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) fail_msg("cannot make %s: %s", path, strerror(errno));
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    if (file == NULL) fail_msg("cannot write %s: %s", path, strerror(errno));
    return file;
}

void temporary_write(const char *directory, const char *name, const void *bytes, size_t size) {
    FILE *file = create(directory, name);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void temporary_text(const char *directory, const char *name, const char *text) {
    temporary_write(directory, name, text, strlen(text));
}

void temporary_gzip(const char *directory, const char *name, const void *bytes, size_t size) {
    FILE *file = create(directory, name);
    fclose(file);
    gzFile stream = gzopen(temporary_path(directory, name), "wb6");
    assert_non_null(stream);
    assert_int_equal(gzwrite(stream, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(stream), Z_OK);
}

unsigned char *temporary_read(const char *directory, const char *name, size_t *size) {
    FILE *file = fopen(temporary_path(directory, name), "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

void temporary_jpeg(const char *directory, const char *name, const uint8_t *pixels, int height, int width,
                    int channels, int quality) {
    struct jpeg_compress_struct info = {0};
    struct jpeg_error_mgr errors;
    FILE *file = create(directory, name);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_stdio_dest(&info, file);
    info.image_height = (JDIMENSION)height;
    info.image_width = (JDIMENSION)width;
    info.input_components = channels;
    info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = (JSAMPROW)(pixels + (size_t)(y * width * channels));
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    assert_int_equal(fclose(file), 0);
}

void temporary_png(const char *directory, const char *name, const uint8_t *pixels, int height, int width,
                   int channels, int bits) {
    static const int type[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                               PNG_COLOR_TYPE_RGB_ALPHA};
    FILE *file = create(directory, name);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(info);
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, bits, type[channels],
                 PNG_INTERLACE_ADAM7, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_bytep *rows = malloc((size_t)height * sizeof *rows);
    assert_non_null(rows);
    for (int y = 0; y < height; y++) rows[y] = (png_bytep)pixels + (size_t)(y * width * channels * bits / 8);
    png_set_rows(png, info, rows);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    free(rows);
    assert_int_equal(fclose(file), 0);
}

void expect_message(const char *format, ...) {
    char expected[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    assert_string_equal(sg_error_message(), expected);
}
