#include "pipeline/loader.h"

#include <inttypes.h>
#include <omp.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/tree.h"
#include "pipeline/augment.h"
#include "pipeline/data_kind.h"
#include "pipeline/data_lazy.h"

enum { BYTES = 256, LANE_LIMIT = 64 };

struct sg_loader {
    const sg_data *data; /* borrowed */
    const sg_data_part *part;
    enum sg_data_split split;
    enum sg_augment augment;
    int batch, rank, size, lanes, threads;
    uint32_t minibatches;

    /* The epoch's order, kept until another one is asked for. */
    uint32_t *order; /* [samples] */
    bool have_order;
    uint64_t seed;
    uint32_t epoch;

    sg_tensor input; /* owns the memory of the largest minibatch */
    sg_batch out;
    sg_view *view;       /* [local blocks * lanes] */
    float *value;        /* [channels][256] the normalised value of a byte */
    uint8_t *resampled;  /* [local blocks * lanes] images; NULL unless augmentation changes sizes, or lazy */
    sg_lazy **lazy;      /* [threads]; NULL unless the data set is lazy */
    unsigned char *work; /* [threads][work_size]: byte rows of a block's lanes, or resampling's scratch */
    size_t work_size;
};

/* PyTorch's ToTensor and Normalize, operation by operation, in float: the same bits. */
static void make_values(const sg_data *data, float *value) {
    for (int c = 0; c < data->channels; c++)
        for (int byte = 0; byte < BYTES; byte++)
            value[c * BYTES + byte] = ((float)byte / 255.0f - data->mean[c]) / data->deviation[c];
}

static int create(sg_loader *l, const sg_data *data, enum sg_data_split split, int batch, int halo,
                  const char *augment) {
    SG_CHECK(batch >= 1 && l->size >= 1 && l->rank >= 0 && l->rank < l->size && l->lanes >= 1 &&
                 l->lanes <= LANE_LIMIT && halo >= 0 && l->threads >= 1,
             SG_INTERNAL,
             "a loader for minibatches of %d on rank %d of %d with %d lanes, halo %d, %d threads", batch,
             l->rank, l->size, l->lanes, halo, l->threads);
    SG_TRY(sg_augment_find(augment, &l->augment));
    SG_CHECK(!data->resized || l->augment != SG_AUGMENT_CROP_FLIP, SG_CONFIG,
             "data.augment = \"crop_flip\" needs images of one size, and those of data set %s differ; set "
             "\"resized_crop\" or \"none\"",
             data->name);
    l->data = data;
    l->split = split;
    l->part = &data->part[split];
    l->batch = (uint32_t)batch < l->part->samples ? batch : (int)l->part->samples;
    l->minibatches = (l->part->samples - 1) / (uint32_t)batch + 1;
    int blocks = sg_divide_up(l->batch, l->lanes), local = sg_tree_local_blocks(blocks, l->rank, l->size);
    size_t slots = (size_t)local * (size_t)l->lanes;
    size_t image = (size_t)data->height * (size_t)data->width * (size_t)data->channels;
    l->work_size = (size_t)l->lanes * (size_t)(data->width * data->channels);
    size_t scratch = sg_view_scratch(data->height, data->width, data->channels);
    if (l->augment == SG_AUGMENT_RESIZED_CROP) {
        if (scratch > l->work_size) l->work_size = scratch;
    }
    if (l->augment == SG_AUGMENT_RESIZED_CROP || data->lazy) SG_TRY(SG_NEW(&l->resampled, slots * image));
    if (data->lazy) {
        SG_TRY(SG_NEW(&l->lazy, (size_t)l->threads));
        for (int t = 0; t < l->threads; t++) SG_TRY(sg_lazy_create(&l->lazy[t], data));
    }
    l->work_size = (l->work_size + SG_ALIGNMENT - 1) / SG_ALIGNMENT * SG_ALIGNMENT;
    SG_TRY(SG_NEW(&l->work, (size_t)l->threads * l->work_size));
    SG_TRY(SG_NEW(&l->order, l->part->samples));
    SG_TRY(SG_NEW(&l->view, slots));
    SG_TRY(SG_NEW(&l->out.label, slots));
    SG_TRY(SG_NEW(&l->out.sample, slots));
    SG_TRY(SG_NEW(&l->value, (size_t)(data->channels * BYTES)));
    make_values(data, l->value);
    return SG_AT(sg_tensor_init(&l->input, l->lanes, local, data->channels, data->height, data->width, halo));
}

int sg_loader_create(sg_loader **loader, const sg_data *data, enum sg_data_split split, int batch, int rank,
                     int size, int lanes, int halo, int threads, const char *augment) {
    *loader = NULL;
    sg_loader *l;
    SG_TRY(SG_NEW(&l, 1));
    l->rank = rank;
    l->size = size;
    l->lanes = lanes;
    l->threads = threads;
    int status = SG_AT(create(l, data, split, batch, halo, augment));
    if (status == SG_OK)
        *loader = l;
    else
        sg_loader_destroy(&l);
    return status;
}

void sg_loader_destroy(sg_loader **loader) {
    if (loader == NULL || *loader == NULL) return;
    sg_loader *l = *loader;
    sg_tensor_release(&l->input);
    for (int t = 0; l->lazy != NULL && t < l->threads; t++) sg_lazy_destroy(&l->lazy[t]);
    free(l->lazy);
    free(l->resampled);
    free(l->work);
    free(l->order);
    free(l->view);
    free(l->out.label);
    free(l->out.sample);
    free(l->value);
    SG_FREE(*loader);
}

static void prepare_order(sg_loader *l, const sg_order *order, uint32_t epoch) {
    if (!order->shuffle || (l->have_order && l->seed == order->seed && l->epoch == epoch)) return;
    sg_permutation(order->seed, SG_RNG_ORDER, epoch, l->part->samples, l->order);
    l->have_order = true;
    l->seed = order->seed;
    l->epoch = epoch;
}

/* A lane row for each value of an image row: lane i from bytes[i][at], through the channel's table. lanes is
 * a constant where it matters, so that the compiler unrolls the row. */
static inline __attribute__((always_inline)) void widen_row(const uint8_t *bytes, size_t stride,
                                                            const float *value, int width, int channels,
                                                            int lanes, int used, size_t pixel, float *out) {
    for (int x = 0; x < width; x++, out += pixel)
        for (int c = 0; c < channels; c++) {
            const uint8_t *from = bytes + x * channels + c;
            const float *table = value + c * BYTES;
            float *row = out + c * lanes;
            for (int i = 0; i < lanes; i++) row[i] = i < used ? table[from[(size_t)i * stride]] : 0.0f;
        }
}

/* Image row y of the local block j. */
static void fill_row(sg_loader *l, int j, int y) {
    const sg_data *data = l->data;
    int lanes = l->lanes, width = data->width, channels = data->channels;
    size_t stride = (size_t)(width * channels), image = stride * (size_t)data->height;
    uint8_t *bytes = l->work + (size_t)omp_get_thread_num() * l->work_size;
    int used = sg_tree_block_samples(l->out.samples, lanes, j, l->rank, l->size);
    for (int i = 0; i < used; i++) {
        size_t slot = (size_t)(j * lanes + i);
        if (l->lazy != NULL ||
            (l->resampled != NULL && (l->view[slot].height != data->height || l->view[slot].width != width)))
            memcpy(bytes + (size_t)i * stride, l->resampled + slot * image + (size_t)y * stride, stride);
        else
            sg_view_row(&l->view[slot], l->part->image + (size_t)l->out.sample[slot] * image, data->height,
                        width, channels, y, bytes + (size_t)i * stride);
    }
    float *out = sg_tensor_at(&l->input, j, y, 0);
    size_t pixel = l->input.pixel;
    if (used == 16 && lanes == 16 && channels == 3)
        widen_row(bytes, stride, l->value, width, 3, 16, 16, pixel, out);
    else if (used == 32 && lanes == 32 && channels == 3)
        widen_row(bytes, stride, l->value, width, 3, 32, 32, pixel, out);
    else
        widen_row(bytes, stride, l->value, width, channels, lanes, used, pixel, out);
}

/* Reads the minibatch's samples of a lazy data set, as they are looked at. */
static int read_samples(sg_loader *l, const sg_look *look, int slots) {
    sg_data_failure failure = {0};
    size_t image = (size_t)l->data->height * (size_t)l->data->width * (size_t)l->data->channels;
#pragma omp parallel for num_threads(l->threads) schedule(dynamic, 1)
    for (int slot = 0; slot < slots; slot++) {
        if (l->out.label[slot] < 0 || sg_data_failure_before(&failure, (uint32_t)slot)) continue;
        int status = SG_AT(sg_lazy_get(l->lazy[omp_get_thread_num()], l->split, l->out.sample[slot], look,
                                       l->resampled + (size_t)slot * image));
        if (status != SG_OK) sg_data_failure_note(&failure, (uint32_t)slot, status);
    }
    return SG_AT(sg_data_failure_result(&failure));
}

int sg_loader_get(sg_loader *l, const sg_order *order, uint32_t epoch, uint32_t index,
                  const sg_batch **batch) {
    SG_CHECK(index < l->minibatches, SG_INTERNAL, "minibatch %" PRIu32 " of an epoch of %" PRIu32, index,
             l->minibatches);
    const sg_data *data = l->data;
    prepare_order(l, order, epoch);
    uint32_t first = index * (uint32_t)l->batch, left = l->part->samples - first;
    l->out.samples = left < (uint32_t)l->batch ? (int)left : l->batch;
    l->out.blocks = sg_divide_up(l->out.samples, l->lanes);
    int local = sg_tree_local_blocks(l->out.blocks, l->rank, l->size), slots = local * l->lanes;
    enum sg_augment augment = order->augment ? l->augment : SG_AUGMENT_NONE;

    for (int slot = 0; slot < slots; slot++) {
        int at = (slot / l->lanes * l->size + l->rank) * l->lanes + slot % l->lanes;
        bool used = at < l->out.samples;
        uint32_t position = first + (uint32_t)at;
        uint32_t sample = !used ? 0 : order->shuffle ? l->order[position] : position;
        l->out.sample[slot] = sample;
        l->out.label[slot] = used ? l->part->label[sample] : -1;
        if (used && l->lazy == NULL)
            l->view[slot] =
                sg_augment_draw(augment, order->augment_seed, epoch, sample, data->height, data->width);
    }
    size_t image = (size_t)data->height * (size_t)data->width * (size_t)data->channels;
    sg_look look = {.augment = augment, .seed = order->augment_seed, .epoch = epoch};
    if (l->lazy != NULL) SG_TRY(read_samples(l, &look, slots));
#pragma omp parallel num_threads(l->threads)
    {
        if (l->lazy == NULL && augment == SG_AUGMENT_RESIZED_CROP) {
#pragma omp for schedule(static)
            for (int slot = 0; slot < slots; slot++)
                if (l->out.label[slot] >= 0)
                    sg_view_resample(&l->view[slot], l->part->image + (size_t)l->out.sample[slot] * image,
                                     data->height, data->width, data->channels,
                                     l->work + (size_t)omp_get_thread_num() * l->work_size,
                                     l->resampled + (size_t)slot * image);
        }
#pragma omp for collapse(2) schedule(static)
        for (int j = 0; j < local; j++)
            for (int y = 0; y < data->height; y++) fill_row(l, j, y);
    }
    l->out.input = l->input;
    l->out.input.base = NULL; /* a view */
    l->out.input.blocks = local;
    *batch = &l->out;
    return SG_OK;
}

static int get(void *context, const sg_order *order, uint32_t epoch, uint32_t index, const sg_batch **batch) {
    return sg_loader_get(context, order, epoch, index, batch);
}

void sg_loader_source(sg_loader *loader, sg_source *source) {
    *source = (sg_source){.context = loader,
                          .samples = loader->part->samples,
                          .minibatches = loader->minibatches,
                          .classes = loader->data->classes,
                          .get = get};
}
