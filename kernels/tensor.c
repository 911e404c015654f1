#include "kernels/tensor.h"

#include <string.h>

#include "kernels/memory.h"

static size_t pixel_stride(int lanes, int channels) {
    return (size_t)(channels + sg_pixel_padding(channels)) * (size_t)lanes;
}

size_t sg_tensor_bytes(int lanes, int blocks, int channels, int height, int width, int halo) {
    return (size_t)blocks * (size_t)(height + 2 * halo) * (size_t)(width + 2 * halo) *
           pixel_stride(lanes, channels) * sizeof(float);
}

int sg_tensor_init(sg_tensor *tensor, int lanes, int blocks, int channels, int height, int width, int halo) {
    *tensor = (sg_tensor){.blocks = blocks,
                          .channels = channels,
                          .height = height,
                          .width = width,
                          .halo = halo,
                          .lanes = lanes};
    tensor->pixel = pixel_stride(lanes, channels);
    tensor->row = (size_t)(width + 2 * halo) * tensor->pixel;
    tensor->block = (size_t)(height + 2 * halo) * tensor->row;
    SG_TRY(SG_NEW(&tensor->base, (size_t)blocks * tensor->block));
    tensor->data = tensor->base + (size_t)halo * (tensor->row + tensor->pixel);
    return SG_OK;
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
