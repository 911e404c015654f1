#include "kernels/tensor.h"

#include <string.h>

#include "kernels/memory.h"

enum {
    LINE = 64 / sizeof(float),
    ALIASED = 512 / sizeof(float),
    SETS = 4096 / sizeof(float),  /* of L1 */
    PAGES = 32768 / sizeof(float) /* from which on pixels share sets of the TLB */
};

static size_t pixel_stride(int lanes, int channels) {
    size_t values = (size_t)channels * (size_t)lanes;
    if (values % ALIASED != 0) return values;
    return values + LINE * (values < SETS ? 1 : values < PAGES ? 5 : 21);
}

size_t sg_tensor_bytes(const sg_tensor *tensor) {
    return (size_t)tensor->blocks * tensor->block * sizeof(float);
}

sg_tensor sg_tensor_shape(int lanes, int blocks, int channels, int height, int width, int halo) {
    sg_tensor tensor = {.blocks = blocks,
                        .channels = channels,
                        .height = height,
                        .width = width,
                        .halo = halo,
                        .lanes = lanes};
    tensor.pixel = pixel_stride(lanes, channels);
    tensor.row = (size_t)(width + 2 * halo) * tensor.pixel;
    tensor.block = (size_t)(height + 2 * halo) * tensor.row;
    return tensor;
}

void sg_tensor_lay(sg_tensor *tensor, float *memory) {
    tensor->data = memory + (size_t)tensor->halo * (tensor->row + tensor->pixel);
}

int sg_tensor_init(sg_tensor *tensor, int lanes, int blocks, int channels, int height, int width, int halo) {
    *tensor = sg_tensor_shape(lanes, blocks, channels, height, width, halo);
    SG_TRY(SG_NEW(&tensor->base, (size_t)blocks * tensor->block));
    sg_tensor_lay(tensor, tensor->base);
    return SG_OK;
}

/* A row's right halo and the next row's left one are neighbours. */
void sg_tensor_clear_halo(const sg_tensor *t, int threads) {
    size_t halo = (size_t)t->halo, above = halo * (t->row + t->pixel) * sizeof(float);
    size_t between = 2 * halo * t->pixel * sizeof(float);
    if (halo == 0) return;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int b = 0; b < t->blocks; b++) {
        memset(sg_tensor_at(t, b, -t->halo, -t->halo), 0, above);
        for (int y = 0; y + 1 < t->height; y++) memset(sg_tensor_at(t, b, y, t->width), 0, between);
        memset(sg_tensor_at(t, b, t->height - 1, t->width), 0, above);
    }
}

void sg_tensor_release(sg_tensor *tensor) {
    if (tensor == NULL) return;
    free(tensor->base);
    *tensor = (sg_tensor){0};
}

void sg_tensor_from_nchw(sg_tensor *tensor, const float *nchw, int samples) {
    size_t channels = (size_t)tensor->channels, height = (size_t)tensor->height,
           width = (size_t)tensor->width;
    int lanes = tensor->lanes;
    for (int s = 0; s < tensor->blocks * lanes; s++)
        for (int y = 0; y < tensor->height; y++)
            for (int x = 0; x < tensor->width; x++)
                for (size_t c = 0; c < channels; c++)
                    sg_tensor_at(tensor, s / lanes, y, x)[c * (size_t)lanes + (size_t)(s % lanes)] =
                        s < samples
                            ? nchw[(((size_t)s * channels + c) * height + (size_t)y) * width + (size_t)x]
                            : 0.0f;
}

void sg_tensor_to_nchw(const sg_tensor *tensor, float *nchw, int samples) {
    size_t channels = (size_t)tensor->channels, height = (size_t)tensor->height,
           width = (size_t)tensor->width;
    int lanes = tensor->lanes;
    for (int s = 0; s < samples; s++)
        for (int y = 0; y < tensor->height; y++)
            for (int x = 0; x < tensor->width; x++)
                for (size_t c = 0; c < channels; c++)
                    nchw[(((size_t)s * channels + c) * height + (size_t)y) * width + (size_t)x] =
                        sg_tensor_at(tensor, s / lanes, y, x)[c * (size_t)lanes + (size_t)(s % lanes)];
}
