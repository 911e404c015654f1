/* JPEG and PNG files to RGB bytes. Both libraries jump out of their calls on errors, so everything that has
 * to be released lives in a struct of the caller. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jpeglib.h>
#include <jerror.h>
#include <png.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"

enum {
    MAX_SCANS = 500,  /* of a progressive JPEG: each costs a pass over the image, however small the file */
    USUAL_SCANS = 20, /* that a large image may have, too */
    RATIO = 1100,     /* deflate reaches 1032 : 1, JPEG less: a file that claims more lies about its size */
    SMALL = 1 << 16   /* bytes of pixels that any file may claim */
};

typedef struct picture {
    const char *path;           /* for messages */
    const unsigned char *bytes; /* the file */
    size_t size;
    int height, width; /* expected */
    int eighths;       /* JPEG: 8 decodes to the full size, 1, 2, 4 to so many eighths of it */
    int found_height, found_width;
    uint8_t *rgb; /* NULL: only the size is asked for */
} picture;

bool sg_data_image_named(const char *name) {
    const char *end = strrchr(name, '.');
    return end != NULL &&
           (strcasecmp(end, ".jpg") == 0 || strcasecmp(end, ".jpeg") == 0 || strcasecmp(end, ".png") == 0);
}

/* The claimed size, before anything of that size is allocated or decoded. */
static int check_claim(picture *p, uint64_t height, uint64_t width) {
    SG_CHECK(height >= 1 && width >= 1 && height <= SG_DATA_MAX_SIDE && width <= SG_DATA_MAX_SIDE &&
                 height * width <= SG_DATA_MAX_PIXELS,
             SG_DATA,
             "%s: claims %" PRIu64 " x %" PRIu64
             " pixels; sides of 1 to %d and %d pixels in all are the limit",
             p->path, width, height, SG_DATA_MAX_SIDE, SG_DATA_MAX_PIXELS);
    SG_CHECK(height * width * 3 <= SMALL + (uint64_t)p->size * RATIO, SG_DATA,
             "%s: claims %" PRIu64 " x %" PRIu64
             " pixels in %zu bytes, which cannot be: it is damaged; remove it",
             p->path, width, height, p->size);
    p->found_height = (int)height;
    p->found_width = (int)width;
    SG_CHECK(p->rgb == NULL || (p->found_height == p->height && p->found_width == p->width), SG_DATA,
             "%s: has %d x %d pixels (width x height), but the data set's first images have %d x %d; set "
             "data.size (to 224, say) to have all brought to one size",
             p->path, p->found_width, p->found_height, p->width, p->height);
    return SG_OK;
}

/* ---- JPEG. */

typedef struct jpeg_reader {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    uint8_t *cmyk; /* one row, owned */
} jpeg_reader;

static void jpeg_failed(j_common_ptr info) { longjmp(((jpeg_reader *)info->client_data)->back, 1); }

/* Warnings mean damaged content, which libjpeg fills with grey; a few are about content that is merely odd.
 */
static void jpeg_said(j_common_ptr info, int level) {
    int code = info->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR)
        jpeg_failed(info);
}

static int most_scans(uint64_t pixels) {
    const uint64_t work = UINT64_C(1) << 31; /* pixels of all scans together: ten seconds or so */
    uint64_t scans = work / pixels;
    return scans > MAX_SCANS ? MAX_SCANS : scans < USUAL_SCANS ? USUAL_SCANS : (int)scans;
}

static void jpeg_progressed(j_common_ptr info) {
    j_decompress_ptr image = (j_decompress_ptr)info;
    if (image->input_scan_number > most_scans((uint64_t)image->image_height * image->image_width)) {
        info->err->msg_code = JERR_BAD_PROGRESSION;
        jpeg_failed(info);
    }
}

/* Adobe stores inverted inks. */
static void cmyk_to_rgb(const uint8_t *cmyk, bool inverted, int width, uint8_t *rgb) {
    for (int x = 0; x < width; x++) {
        int key = inverted ? cmyk[4 * x + 3] : 255 - cmyk[4 * x + 3];
        for (int c = 0; c < 3; c++) {
            int light = inverted ? cmyk[4 * x + c] : 255 - cmyk[4 * x + c];
            rgb[3 * x + c] = (uint8_t)((light * key + 127) / 255);
        }
    }
}

/* Between the two calls of setjmp's caller nothing is kept in variables that a jump could lose. */
static int read_jpeg_inside(picture *p, jpeg_reader *r) {
    struct jpeg_decompress_struct *info = &r->info;
    jpeg_create_decompress(info);
    info->progress = &r->progress;
    jpeg_mem_src(info, p->bytes, (unsigned long)p->size);
    jpeg_read_header(info, TRUE);
    SG_TRY(check_claim(p, info->image_height, info->image_width));
    if (p->rgb == NULL) return SG_OK;
    bool inks = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    info->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    info->scale_num = (unsigned)p->eighths;
    info->scale_denom = 8;
    jpeg_start_decompress(info);
    SG_CHECK(info->output_height == (unsigned)sg_data_image_reduced(p->height, p->eighths) &&
                 info->output_width == (unsigned)sg_data_image_reduced(p->width, p->eighths),
             SG_INTERNAL, "%s: libjpeg gives %u x %u pixels for %d/8 of %d x %d", p->path, info->output_width,
             info->output_height, p->eighths, p->width, p->height);
    int width = (int)info->output_width;
    if (inks) SG_TRY(SG_NEW(&r->cmyk, 4 * (size_t)width));
    while (info->output_scanline < info->output_height) {
        uint8_t *to = p->rgb + (size_t)info->output_scanline * (size_t)width * 3, *row = inks ? r->cmyk : to;
        jpeg_read_scanlines(info, &row, 1);
        if (inks) cmyk_to_rgb(r->cmyk, info->saw_Adobe_marker, width, to);
    }
    jpeg_finish_decompress(info);
    return SG_OK;
}

static int read_jpeg(picture *p) {
    jpeg_reader r;
    memset(&r, 0, sizeof r);
    r.info.err = jpeg_std_error(&r.errors);
    r.errors.error_exit = jpeg_failed;
    r.errors.emit_message = jpeg_said;
    r.progress.progress_monitor = jpeg_progressed;
    r.info.client_data = &r;
    int status;
    if (setjmp(r.back) == 0) {
        status = SG_AT(read_jpeg_inside(p, &r));
    } else {
        char why[JMSG_LENGTH_MAX];
        r.errors.format_message((j_common_ptr)&r.info, why);
        size_t left = r.info.src != NULL ? r.info.src->bytes_in_buffer : p->size;
        status =
            SG_FAIL(SG_DATA,
                    "%s: is damaged or truncated at or before byte %zu of %zu: %s; fetch it again or remove "
                    "it",
                    p->path, left <= p->size ? p->size - left : p->size, p->size, why);
    }
    jpeg_destroy_decompress(&r.info);
    free(r.cmyk);
    return status;
}

/* ---- PNG. */

typedef struct png_reader {
    picture *p;
    png_structp png;
    png_infop info;
    size_t offset;
    char why[128];
    int status; /* of a check of ours that failed */
} png_reader;

static void png_failed(png_structp png, png_const_charp why) {
    png_reader *r = png_get_error_ptr(png);
    snprintf(r->why, sizeof r->why, "%s", why);
    png_longjmp(png, 1);
}
static void png_warned(png_structp png, png_const_charp why) {
    (void)png;
    (void)why;
}

static void png_fetch(png_structp png, png_bytep to, size_t bytes) {
    png_reader *r = png_get_io_ptr(png);
    if (bytes > r->p->size - r->offset) png_error(png, "the file ends too early");
    memcpy(to, r->p->bytes + r->offset, bytes);
    r->offset += bytes;
}

static int read_png_inside(png_reader *r) {
    picture *p = r->p;
    png_set_read_fn(r->png, r, png_fetch);
    /* What is not needed for the pixels is skipped: a thousand compressed texts can unfold to gigabytes. */
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_user_limits(r->png, SG_DATA_MAX_SIDE, SG_DATA_MAX_SIDE);
    png_read_info(r->png, r->info);
    SG_TRY(check_claim(p, png_get_image_height(r->png, r->info), png_get_image_width(r->png, r->info)));
    if (p->rgb == NULL) return SG_OK;
    png_set_palette_to_rgb(r->png);
    png_set_expand_gray_1_2_4_to_8(r->png);
    png_set_gray_to_rgb(r->png);
    png_set_strip_16(r->png);
    png_set_strip_alpha(r->png);
    int passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    SG_CHECK(png_get_rowbytes(r->png, r->info) == (size_t)p->width * 3, SG_INTERNAL,
             "%s: libpng gives rows of %zu bytes where %d were expected", p->path,
             png_get_rowbytes(r->png, r->info), p->width * 3);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < p->height; y++)
            png_read_row(r->png, p->rgb + (size_t)y * (size_t)p->width * 3, NULL);
    png_read_end(r->png, NULL);
    return SG_OK;
}

static int read_png(picture *p) {
    png_reader r;
    memset(&r, 0, sizeof r);
    r.p = p;
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, png_failed, png_warned);
    SG_CHECK(r.png != NULL, SG_NOMEM, "out of memory: libpng has none");
    if (setjmp(png_jmpbuf(r.png)) == 0) {
        r.info = png_create_info_struct(r.png);
        r.status =
            r.info == NULL ? SG_FAIL(SG_NOMEM, "out of memory: libpng has none") : SG_AT(read_png_inside(&r));
    } else {
        r.status = SG_FAIL(SG_DATA,
                           "%s: is damaged or truncated at or before byte %zu of %zu: %s; fetch it again or "
                           "remove it",
                           p->path, r.offset, p->size, r.why);
    }
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return r.status;
}

/* ---- Either, by its first bytes: names lie (ImageNet has a PNG named .JPEG). */

static int read_picture(picture *p) {
    const unsigned char *b = p->bytes;
    if (sg_data_image_is_png(b, p->size)) return SG_AT(read_png(p));
    if (p->size >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff) return SG_AT(read_jpeg(p));
    SG_CHECK(p->size > 0, SG_DATA, "%s: is empty (0 bytes); fetch it again or remove it", p->path);
    return SG_FAIL(SG_DATA,
                   "%s: is neither JPEG nor PNG by its first bytes (byte 0: %02x %02x %02x); convert or "
                   "remove it",
                   p->path, b[0], p->size > 1 ? b[1] : 0, p->size > 2 ? b[2] : 0);
}

bool sg_data_image_is_png(const unsigned char *bytes, size_t size) {
    return size >= 8 && png_sig_cmp(bytes, 0, 8) == 0;
}

int sg_data_image_reduced(int side, int eighths) { return (side * eighths + 7) / 8; }

int sg_data_image_probe(const char *name, const unsigned char *bytes, size_t size, int *height, int *width) {
    picture p = {.path = name, .bytes = bytes, .size = size};
    SG_TRY(read_picture(&p));
    *height = p.found_height;
    *width = p.found_width;
    return SG_OK;
}

int sg_data_image_decode(const char *name, const unsigned char *bytes, size_t size, int height, int width,
                         int eighths, uint8_t *rgb) {
    picture p = {.path = name,
                 .bytes = bytes,
                 .size = size,
                 .height = height,
                 .width = width,
                 .eighths = eighths,
                 .rgb = rgb};
    return SG_AT(read_picture(&p));
}

int sg_data_image_read(const char *path, int height, int width, uint8_t *rgb) {
    unsigned char *bytes;
    size_t size;
    SG_TRY(sg_data_file_load(path, SG_DATA_MAX_FILE, &bytes, &size));
    int status = SG_AT(sg_data_image_decode(path, bytes, size, height, width, 8, rgb));
    SG_FREE(bytes);
    return status;
}
