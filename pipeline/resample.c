#include "pipeline/resample.h"

#include <math.h>

enum { PRECISION = 32 - 8 - 2 }; /* PIL's fixed point: bits of a weight behind the point */

sg_span sg_span_whole(int first, int count, int out) {
    return (sg_span){.first = first,
                     .count = count,
                     .begin = 0.0,
                     .end = count,
                     .out = out,
                     .out_first = 0,
                     .out_count = out};
}

/* The triangle reaches one output pixel to each side, or one input pixel where the image grows. */
static double support_of(const sg_span *span) {
    double scale = (span->end - span->begin) / span->out;
    return scale > 1.0 ? scale : 1.0;
}

static int taps_of(const sg_span *span) { return (int)ceil(support_of(span)) * 2 + 1; }

/* For each wanted pixel the first input pixel, how many there are, and their weights. */
typedef struct taps {
    int32_t *first, *count, *weight; /* [out_count], [out_count], [out_count][limit] */
    int limit;
} taps;

static size_t taps_size(const sg_span *span) {
    return (size_t)span->out_count * (size_t)(2 + taps_of(span)) * sizeof(int32_t);
}

/* PIL's precompute_coeffs and normalize_coeffs_8bpc. */
static taps make_taps(const sg_span *span, int32_t *memory) {
    taps t = {.first = memory,
              .count = memory + span->out_count,
              .weight = memory + 2 * span->out_count,
              .limit = taps_of(span)};
    double scale = (span->end - span->begin) / span->out, support = support_of(span), inverse = 1.0 / support;
    for (int i = 0; i < span->out_count; i++) {
        double centre = span->begin + (span->out_first + i + 0.5) * scale, sum = 0.0;
        int first = (int)(centre - support + 0.5), last = (int)(centre + support + 0.5);
        int32_t *weight = t.weight + (size_t)i * (size_t)t.limit;
        if (first < 0) first = 0;
        if (last > span->count) last = span->count;
        for (int k = first; k < last; k++) sum += fmax(1.0 - fabs((k - centre + 0.5) * inverse), 0.0);
        for (int k = first; k < last; k++) {
            double value = fmax(1.0 - fabs((k - centre + 0.5) * inverse), 0.0) / sum;
            weight[k - first] = (int32_t)(0.5 + value * (1 << PRECISION));
        }
        t.first[i] = first;
        t.count[i] = last - first;
    }
    return t;
}

static uint8_t rounded(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

size_t sg_resample_scratch(const sg_span *down, const sg_span *across, int channels) {
    return taps_size(down) + taps_size(across) +
           (size_t)down->count * (size_t)across->out_count * (size_t)channels;
}

/* One row; channels is a constant where it matters. */
static inline __attribute__((always_inline)) void row_across(const taps *t, int out, const uint8_t *from,
                                                             int channels, uint8_t *to) {
    for (int x = 0; x < out; x++) {
        const int32_t *weight = t->weight + (size_t)x * (size_t)t->limit;
        const uint8_t *pixel = from + (size_t)t->first[x] * (size_t)channels;
        for (int c = 0; c < channels; c++) {
            int32_t sum = 1 << (PRECISION - 1);
            for (int k = 0; k < t->count[x]; k++) sum += pixel[k * channels + c] * weight[k];
            to[x * channels + c] = rounded(sum);
        }
    }
}

void sg_resample(const sg_span *down, const sg_span *across, const uint8_t *image, int width, int channels,
                 void *scratch, uint8_t *out) {
    taps x = make_taps(across, scratch);
    taps y = make_taps(down, (int32_t *)scratch + taps_size(across) / sizeof(int32_t));
    uint8_t *middle = (uint8_t *)scratch + taps_size(across) + taps_size(down); /* [down->count][row] */
    size_t row = (size_t)(across->out_count * channels), stride = (size_t)width * (size_t)channels;
    const uint8_t *from = image + (size_t)down->first * stride + (size_t)(across->first * channels);
    int last = down->out_count - 1; /* rows are read in ascending order */
    for (int j = y.first[0]; j < y.first[last] + y.count[last]; j++) {
        if (channels == 3)
            row_across(&x, across->out_count, from + (size_t)j * stride, 3, middle + (size_t)j * row);
        else
            row_across(&x, across->out_count, from + (size_t)j * stride, channels, middle + (size_t)j * row);
    }
    for (int i = 0; i < down->out_count; i++) {
        const int32_t *weight = y.weight + (size_t)i * (size_t)y.limit;
        const uint8_t *above = middle + (size_t)y.first[i] * row;
        for (size_t k = 0; k < row; k++) {
            int32_t sum = 1 << (PRECISION - 1);
            for (int j = 0; j < y.count[i]; j++) sum += above[(size_t)j * row + k] * weight[j];
            out[(size_t)i * row + k] = rounded(sum);
        }
    }
}
