#include "pipeline/augment.h"

#include <math.h>
#include <string.h>

#include "kernels/rng.h"

enum { PADDING = 4, ATTEMPTS = 10, SMALL_SIDE = 64 };
enum {
    TAPS = 3,
    PRECISION = 22
}; /* PIL: bilinear without reduction reads at most 3 values; 32 - 8 - 2 bits */

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

/* torchvision's RandomResizedCrop.get_params: ten tries for a window of random area and aspect that fits,
 * then the largest centred one of an allowed aspect. */
static sg_view draw_resized_crop(uint64_t seed, uint32_t epoch, uint32_t sample, int height, int width) {
    const double low = 3.0 / 4.0, high = 4.0 / 3.0;
    double smallest = height <= SMALL_SIDE && width <= SMALL_SIDE ? 0.5 : 0.08;
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
        return draw_resized_crop(seed, epoch, sample, height, width);
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

/* The weights with which `in` values become `out` values, out >= in: PIL's precompute_coeffs for the triangle
 * filter, in its fixed point. */
typedef struct taps {
    int first, count;
    int32_t weight[TAPS];
} taps;

static void make_taps(int in, int out, taps *t) {
    double scale = (double)in / out;
    for (int i = 0; i < out; i++) {
        double centre = (i + 0.5) * scale, weight[TAPS], sum = 0.0;
        int first = (int)(centre - 1.0 + 0.5), last = (int)(centre + 1.0 + 0.5);
        if (first < 0) first = 0;
        if (last > in) last = in;
        t[i].first = first;
        t[i].count = last - first;
        for (int k = 0; k < t[i].count; k++) {
            double away = fabs(k + first - centre + 0.5);
            weight[k] = away < 1.0 ? 1.0 - away : 0.0;
            sum += weight[k];
        }
        for (int k = 0; k < t[i].count; k++)
            t[i].weight[k] = (int32_t)(0.5 + weight[k] / sum * (1 << PRECISION));
    }
}

static uint8_t rounded(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

size_t sg_view_scratch(int height, int width, int channels) {
    return (size_t)(height + width) * sizeof(taps) + (size_t)height * (size_t)width * (size_t)channels;
}

void sg_view_resample(const sg_view *view, const uint8_t *image, int height, int width, int channels,
                      void *scratch, uint8_t *out) {
    taps *across = scratch, *down = across + width;
    uint8_t *middle = (uint8_t *)(down + height); /* [view->height][width][channels] */
    size_t row = (size_t)(width * channels);
    make_taps(view->width, width, across);
    make_taps(view->height, height, down);
    for (int y = 0; y < view->height; y++) {
        const uint8_t *from = image + (size_t)(view->top + y) * row + (size_t)(view->left * channels);
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) {
                int32_t sum = 1 << (PRECISION - 1);
                for (int k = 0; k < across[x].count; k++)
                    sum += from[(across[x].first + k) * channels + c] * across[x].weight[k];
                middle[(size_t)y * row + (size_t)(x * channels + c)] = rounded(sum);
            }
    }
    for (int y = 0; y < height; y++) {
        const uint8_t *from = middle + (size_t)down[y].first * row;
        for (size_t i = 0; i < row; i++) {
            int32_t sum = 1 << (PRECISION - 1);
            for (int k = 0; k < down[y].count; k++) sum += from[(size_t)k * row + i] * down[y].weight[k];
            out[(size_t)y * row + i] = rounded(sum);
        }
        if (view->flip) mirror_row(out + (size_t)y * row, width, channels);
    }
}
