#include "pipeline/augment.h"

#include <math.h>
#include <string.h>

#include "kernels/rng.h"
#include "pipeline/resample.h"

enum { PADDING = 4, ATTEMPTS = 10, SMALL_SIDE = 64 };

int sg_augment_find(const char *name, enum sg_augment *augment) {
    static const char *const names[] = {[SG_AUGMENT_NONE] = "none",
                                        [SG_AUGMENT_CROP_FLIP] = "crop_flip",
                                        [SG_AUGMENT_RESIZED_CROP] = "resized_crop"};
    for (int k = 0; k < (int)(sizeof names / sizeof *names); k++)
        if (name == NULL || strcmp(name, names[k]) == 0) {
            *augment = (enum sg_augment)k;
            return SG_OK;
        }
    return SG_FAIL(SG_CONFIG, "data.augment = \"%s\" is not known; there are none, crop_flip, resized_crop",
                   name);
}

static sg_view draw_crop_flip(uint64_t seed, uint32_t epoch, uint32_t sample, int height, int width) {
    sg_random r = sg_rng(seed, SG_RNG_AUGMENT, epoch, sample, 0);
    return (sg_view){.top = (int)sg_below(r.word[0], 2 * PADDING + 1) - PADDING,
                     .left = (int)sg_below(r.word[1], 2 * PADDING + 1) - PADDING,
                     .height = height,
                     .width = width,
                     .flip = r.word[2] >> 31};
}

double sg_augment_smallest(int height, int width) {
    return height <= SMALL_SIDE && width <= SMALL_SIDE ? 0.5 : 0.08;
}

/* torchvision's RandomResizedCrop.get_params: ten tries for a window of random area and aspect that fits,
 * then the largest centred one of an allowed aspect. */
sg_view sg_augment_resized_crop(uint64_t seed, uint32_t epoch, uint32_t sample, int height, int width,
                                double smallest) {
    const double low = 3.0 / 4.0, high = 4.0 / 3.0;
    sg_view view = {.height = height,
                    .width = width,
                    .flip = sg_rng(seed, SG_RNG_AUGMENT, epoch, sample, ATTEMPTS).word[0] >> 31};
    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        sg_random r = sg_rng(seed, SG_RNG_AUGMENT, epoch, sample, attempt);
        double area = height * (double)width * (smallest + (1.0 - smallest) * sg_open_uniform(r.word[0]));
        double aspect = exp(log(low) + (log(high) - log(low)) * sg_open_uniform(r.word[1]));
        int w = (int)lrint(sqrt(area * aspect)), h = (int)lrint(sqrt(area / aspect));
        if (w < 1 || w > width || h < 1 || h > height) continue;
        view.width = w;
        view.height = h;
        view.top = (int)sg_below(r.word[2], (uint32_t)(height - h + 1));
        view.left = (int)sg_below(r.word[3], (uint32_t)(width - w + 1));
        return view;
    }
    double ratio = (double)width / height;
    if (ratio < low) view.height = (int)lrint(width / low);
    if (ratio > high) view.width = (int)lrint(height * high);
    view.top = (height - view.height) / 2;
    view.left = (width - view.width) / 2;
    return view;
}

sg_view sg_augment_draw(enum sg_augment augment, uint64_t seed, uint32_t epoch, uint32_t sample, int height,
                        int width) {
    switch (augment) {
    case SG_AUGMENT_CROP_FLIP:
        return draw_crop_flip(seed, epoch, sample, height, width);
    case SG_AUGMENT_RESIZED_CROP:
        return sg_augment_resized_crop(seed, epoch, sample, height, width,
                                       sg_augment_smallest(height, width));
    case SG_AUGMENT_NONE:
        break;
    }
    return (sg_view){.height = height, .width = width};
}

static void mirror_row(uint8_t *row, int width, int channels) {
    for (int a = 0, b = width - 1; a < b; a++, b--)
        for (int c = 0; c < channels; c++) {
            uint8_t kept = row[a * channels + c];
            row[a * channels + c] = row[b * channels + c];
            row[b * channels + c] = kept;
        }
}

void sg_view_mirror(uint8_t *image, int height, int width, int channels) {
    for (int y = 0; y < height; y++)
        mirror_row(image + (size_t)y * (size_t)width * (size_t)channels, width, channels);
}

void sg_view_row(const sg_view *view, const uint8_t *image, int height, int width, int channels, int y,
                 uint8_t *out) {
    int from = y + view->top;
    size_t size = (size_t)(width * channels);
    if (from < 0 || from >= height) {
        memset(out, 0, size);
        return;
    }
    const uint8_t *row = image + (size_t)from * size;
    int first = view->left < 0 ? 0 : view->left,
        last = view->left + width; /* columns of the image: [first, last) */
    if (last > width) last = width;
    if (last <= first) {
        memset(out, 0, size);
        return;
    }
    size_t before = (size_t)((first - view->left) * channels), inside = (size_t)((last - first) * channels);
    memset(out, 0, before);
    memcpy(out + before, row + (size_t)first * (size_t)channels, inside);
    memset(out + before + inside, 0, size - before - inside);
    if (view->flip) mirror_row(out, width, channels);
}

size_t sg_view_scratch(int height, int width, int channels) {
    sg_span down = sg_span_whole(0, height, height), across = sg_span_whole(0, width, width);
    return sg_resample_scratch(&down, &across, channels);
}

void sg_view_resample(const sg_view *view, const uint8_t *image, int height, int width, int channels,
                      void *scratch, uint8_t *out) {
    sg_span down = sg_span_whole(view->top, view->height, height);
    sg_span across = sg_span_whole(view->left, view->width, width);
    sg_resample(&down, &across, image, width, channels, scratch, out);
    if (view->flip) sg_view_mirror(out, height, width, channels);
}
