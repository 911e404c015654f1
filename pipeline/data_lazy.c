#include "pipeline/data_lazy.h"

#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"
#include "pipeline/resample.h"

enum { SPARE = 2 /* pixels of a reduced image that become one */ };

struct sg_lazy {
    const sg_data *data;    /* borrowed */
    uint8_t *pixel;         /* a decoded image */
    unsigned char *scratch; /* of resampling */
    size_t pixel_room, scratch_room;
};

int sg_lazy_create(sg_lazy **lazy, const sg_data *data) {
    SG_TRY(SG_NEW(lazy, 1));
    (*lazy)->data = data;
    return SG_OK;
}

void sg_lazy_destroy(sg_lazy **lazy) {
    if (lazy == NULL || *lazy == NULL) return;
    free((*lazy)->pixel);
    free((*lazy)->scratch);
    SG_FREE(*lazy);
}

static int make_room(unsigned char **memory, size_t *room, size_t bytes) {
    if (bytes <= *room) return SG_OK;
    SG_FREE(*memory);
    *room = 0;
    SG_TRY(SG_NEW(memory, bytes + bytes / 4));
    *room = bytes + bytes / 4;
    return SG_OK;
}

/* Resize of the shorter side, CenterCrop. Python rounds halves to even, as lrint does. */
static void centre(int height, int width, int size, sg_span *down, sg_span *across) {
    int shorter = height < width ? height : width, side = (int)lrint(size * 8.0 / 7.0);
    *down = sg_span_whole(0, height, (int)((int64_t)side * height / shorter));
    *across = sg_span_whole(0, width, (int)((int64_t)side * width / shorter));
    down->out_first = (int)lrint((down->out - size) / 2.0);
    across->out_first = (int)lrint((across->out - size) / 2.0);
    down->out_count = across->out_count = size;
}

static double scale_of(const sg_span *span) { return (span->end - span->begin) / span->out; }

/* The smallest scale of decoding that leaves antialiasing its work. */
static int choose_eighths(const sg_span *down, const sg_span *across) {
    double scale = fmin(scale_of(down), scale_of(across));
    for (int eighths = 1; eighths < 8; eighths *= 2)
        if (scale * eighths >= 8.0 * SPARE) return eighths;
    return 8;
}

/* The same interval of the reduced image, `side` pixels long. */
static void reduce(sg_span *span, int eighths, int side) {
    double begin = (span->first + span->begin) * eighths / 8.0,
           end = (span->first + span->end) * eighths / 8.0;
    int last = (int)ceil(end) < side ? (int)ceil(end) : side;
    span->first = (int)floor(begin);
    span->count = last - span->first;
    span->begin = begin - span->first;
    span->end = end - span->first;
}

static int decode(sg_lazy *l, const sg_stored *stored, int height, int width, int eighths) {
    size_t bytes =
        3 * (size_t)sg_data_image_reduced(height, eighths) * (size_t)sg_data_image_reduced(width, eighths);
    SG_TRY(make_room(&l->pixel, &l->pixel_room, bytes));
    return SG_AT(
        sg_data_image_decode(stored->name, stored->bytes, stored->size, height, width, eighths, l->pixel));
}

/* An image of any size. */
static int bring_to_size(sg_lazy *l, const sg_stored *stored, uint32_t sample, const sg_look *look,
                         uint8_t *out) {
    const sg_data *data = l->data;
    int height, width, eighths = 8;
    sg_span down, across;
    sg_view view = {.flip = false};
    SG_TRY(sg_data_image_probe(stored->name, stored->bytes, stored->size, &height, &width));
    if (look->augment == SG_AUGMENT_RESIZED_CROP) {
        view = sg_augment_resized_crop(look->seed, look->epoch, sample, height, width,
                                       sg_augment_smallest(data->height, data->width));
        down = sg_span_whole(view.top, view.height, data->height);
        across = sg_span_whole(view.left, view.width, data->width);
    } else {
        centre(height, width, data->height, &down, &across);
    }
    if (!sg_data_image_is_png(stored->bytes, stored->size)) eighths = choose_eighths(&down, &across);
    SG_TRY(decode(l, stored, height, width, eighths));
    if (eighths < 8) {
        reduce(&down, eighths, sg_data_image_reduced(height, eighths));
        reduce(&across, eighths, sg_data_image_reduced(width, eighths));
    }
    SG_TRY(make_room(&l->scratch, &l->scratch_room, sg_resample_scratch(&down, &across, data->channels)));
    sg_resample(&down, &across, l->pixel, sg_data_image_reduced(width, eighths), data->channels, l->scratch,
                out);
    if (view.flip) sg_view_mirror(out, data->height, data->width, data->channels);
    return SG_OK;
}

/* An image of the data set's size. */
static int look_at_own_size(sg_lazy *l, const uint8_t *pixel, uint32_t sample, const sg_look *look,
                            uint8_t *out) {
    const sg_data *data = l->data;
    int height = data->height, width = data->width, channels = data->channels;
    sg_view view = sg_augment_draw(look->augment, look->seed, look->epoch, sample, height, width);
    if (look->augment == SG_AUGMENT_RESIZED_CROP) {
        SG_TRY(make_room(&l->scratch, &l->scratch_room, sg_view_scratch(height, width, channels)));
        sg_view_resample(&view, pixel, height, width, channels, l->scratch, out);
        return SG_OK;
    }
    for (int y = 0; y < height; y++)
        sg_view_row(&view, pixel, height, width, channels, y, out + (size_t)y * (size_t)(width * channels));
    return SG_OK;
}

int sg_lazy_get(sg_lazy *lazy, enum sg_data_split split, uint32_t sample, const sg_look *look, uint8_t *out) {
    const sg_data *data = lazy->data;
    sg_stored stored = {0};
    int status = SG_AT(sg_data_fetch(data, split, sample, &stored));
    if (status == SG_OK && data->resized) {
        status = SG_AT(bring_to_size(lazy, &stored, sample, look, out));
    } else if (status == SG_OK && stored.pixels) {
        status = SG_AT(look_at_own_size(lazy, stored.bytes, sample, look, out));
    } else if (status == SG_OK) {
        status = SG_AT(decode(lazy, &stored, data->height, data->width, 8));
        if (status == SG_OK) status = SG_AT(look_at_own_size(lazy, lazy->pixel, sample, look, out));
    }
    SG_FREE(stored.bytes);
    return status;
}
