/* Files for tests: a temporary directory, and what is written into it. Failures end the test. */
#ifndef SG_TEST_TEMPORARY_H
#define SG_TEST_TEMPORARY_H

#include <stddef.h>
#include <stdint.h>

/* A fresh directory below TMPDIR (or /tmp); owned, removed with all it holds by temporary_remove. */
char *temporary_create(void);
void temporary_remove(char **directory);

/* Path of a file in it; borrowed until the sixteenth call after this one. */
const char *temporary_path(const char *directory, const char *name);

/* The directory of tests that are set up and torn down, each or as a group, with these; and a file in it, as
 * temporary_path has it. */
extern char *test_folder;
int test_folder_set_up(void **state);
int test_folder_tear_down(void **state);
const char *in_folder(const char *name);

/* Writes directory/name, making the directories between. */
void temporary_write(const char *directory, const char *name, const void *bytes, size_t size);
void temporary_text(const char *directory, const char *name, const char *text);

/* The same, compressed as gzip does. */
void temporary_gzip(const char *directory, const char *name, const void *bytes, size_t size);

/* What a file holds; owned. */
unsigned char *temporary_read(const char *directory, const char *name, size_t *size);

/* Images of height x width by libjpeg (channels 1: grey, 3: RGB, 4: CMYK as Adobe writes it, inverted) and
 * libpng (bits 8 or 16 a channel; channels 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; bytes as they go
 * into the file). */
void temporary_jpeg(const char *directory, const char *name, const uint8_t *pixels, int height, int width,
                    int channels, int quality);
void temporary_png(const char *directory, const char *name, const uint8_t *pixels, int height, int width,
                   int channels, int bits);

/* assert_string_equal(sg_error_message(), what the format makes). */
void expect_message(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
