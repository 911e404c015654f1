/* What `signet data` does with an open data set: check it, pack it. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"
#include "pipeline/data_lazy.h"
#include "pipeline/data_packed.h"
#include "pipeline/h5.h"

static size_t sample_bytes(const sg_data *data) {
    return (size_t)data->height * (size_t)data->width * (size_t)data->channels;
}

/* What one pass over a split finds. */
typedef struct tally {
    uint64_t sum[SG_DATA_CHANNELS], square[SG_DATA_CHANNELS]; /* of bytes, exact */
    uint64_t *hash;                                           /* [samples], owned */
    uint32_t damaged;                                         /* samples that cannot be read */
} tally;

/* What one thread needs for it. */
typedef struct counter {
    sg_lazy *lazy;
    uint8_t *image;
    tally own;
} counter;

static int count_sample(const sg_data *data, enum sg_data_split split, uint32_t sample, counter *c,
                        uint64_t *hash) {
    static const sg_look plain = {.augment = SG_AUGMENT_NONE};
    size_t size = sample_bytes(data);
    const uint8_t *image = data->lazy ? c->image : data->part[split].image + sample * size;
    if (data->lazy) SG_TRY(sg_lazy_get(c->lazy, split, sample, &plain, c->image));
    for (size_t i = 0; i < size; i += (size_t)data->channels)
        for (int k = 0; k < data->channels; k++) {
            uint64_t value = image[i + (size_t)k];
            c->own.sum[k] += value;
            c->own.square[k] += value * value;
        }
    *hash = XXH3_64bits(image, size);
    return SG_OK;
}

static int begin_counter(counter *c, const sg_data *data) {
    if (!data->lazy) return SG_OK;
    SG_TRY(SG_NEW(&c->image, sample_bytes(data)));
    return SG_AT(sg_lazy_create(&c->lazy, data));
}

/* Every sample of a split on all threads. Damaged files are named, each on a line of its own. */
static int count_part(const sg_data *data, enum sg_data_split split, FILE *out, tally *t) {
    sg_data_failure failure = {0};
    uint32_t samples = data->part[split].samples;
    SG_TRY(SG_NEW(&t->hash, samples));
#pragma omp parallel num_threads(sg_data_threads(data))
    {
        counter c = {0};
        int begun = SG_AT(begin_counter(&c, data));
        if (begun != SG_OK) sg_data_failure_note(&failure, 0, begun);
#pragma omp for schedule(dynamic, 16)
        for (uint32_t i = 0; i < samples; i++) {
            if (begun != SG_OK || sg_data_failure_before(&failure, i)) continue;
            int status = SG_AT(count_sample(data, split, i, &c, &t->hash[i]));
            if (status == SG_OK) continue;
            if (status != SG_DATA && status != SG_NOINPUT) {
                sg_data_failure_note(&failure, i, status);
                continue;
            }
#pragma omp critical(sg_data_damaged)
            fprintf(out, "damaged     %s\n", sg_error_message());
            c.own.damaged++;
            t->hash[i] = i; /* equal to no other by more than chance */
        }
#pragma omp critical(sg_data_tally)
        {
            for (int k = 0; k < data->channels; k++) {
                t->sum[k] += c.own.sum[k];
                t->square[k] += c.own.square[k];
            }
            t->damaged += c.own.damaged;
        }
        sg_lazy_destroy(&c.lazy);
        free(c.image);
    }
    return SG_AT(sg_data_failure_result(&failure));
}

/* Mean and deviation of byte / 255, per channel. */
static void print_part(const sg_data *data, enum sg_data_split split, const tally *t, FILE *out) {
    const sg_data_part *part = &data->part[split];
    double n = (double)(part->samples - t->damaged) * data->height * data->width, mean[SG_DATA_CHANNELS];
    fprintf(out, "%-12s%" PRIu32 " samples; mean", sg_data_split_name(split), part->samples);
    for (int c = 0; c < data->channels; c++) {
        mean[c] = n > 0.0 ? (double)t->sum[c] / n : 0.0;
        fprintf(out, " %.4f", mean[c] / 255.0);
    }
    fprintf(out, ", deviation");
    for (int c = 0; c < data->channels; c++)
        fprintf(out, " %.4f",
                n > 0.0 ? sqrt(fmax((double)t->square[c] / n - mean[c] * mean[c], 0.0)) / 255.0 : 0.0);
    fputc('\n', out);
}

/* Samples per class of both splits. Owned. */
static int count_classes(const sg_data *data, uint32_t (**count)[SG_SPLITS]) {
    SG_TRY(SG_NEW(count, (size_t)data->classes));
    for (int s = 0; s < SG_SPLITS; s++)
        for (uint32_t i = 0; i < data->part[s].samples; i++) (*count)[data->part[s].label[i]][s]++;
    return SG_OK;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t one = *(const uint64_t *)a, two = *(const uint64_t *)b;
    return one < two ? -1 : one > two;
}

/* Test images that are training images too, byte by byte as far as 64 bits of hash tell: their accuracy is
 * memory. Sorts the training images' hashes. */
static uint32_t count_leaks(const sg_data *data, const tally *train, const tally *test) {
    uint32_t leaks = 0, samples = data->part[SG_SPLIT_TRAIN].samples;
    qsort(train->hash, samples, sizeof *train->hash, compare_hashes);
    for (uint32_t i = 0; i < data->part[SG_SPLIT_TEST].samples; i++)
        leaks += bsearch(&test->hash[i], train->hash, samples, sizeof *train->hash, compare_hashes) != NULL;
    return leaks;
}

static void print_head(const sg_data *data, FILE *out) {
    fprintf(
        out,
        "data set    %s\nimages      %d x %d pixels (width x height), %d channel%s\nfingerprint %016" PRIx64
        "\n",
        data->name, data->width, data->height, data->channels, data->channels > 1 ? "s" : "",
        data->fingerprint);
    if (data->resized)
        fprintf(out, "resized     from files of other sizes; test images as they are cut out\n");
    fprintf(out, "normalised  by mean");
    for (int c = 0; c < data->channels; c++) fprintf(out, " %.4f", (double)data->mean[c]);
    fprintf(out, ", deviation");
    for (int c = 0; c < data->channels; c++) fprintf(out, " %.4f", (double)data->deviation[c]);
    fputc('\n', out);
}

static int check_content(const sg_data *data, tally t[SG_SPLITS], FILE *out) {
    uint32_t(*count)[SG_SPLITS];
    print_head(data, out);
    for (int s = 0; s < SG_SPLITS; s++) {
        SG_TRY(count_part(data, (enum sg_data_split)s, out, &t[s]));
        print_part(data, (enum sg_data_split)s, &t[s], out);
    }
    uint32_t leaks = count_leaks(data, &t[SG_SPLIT_TRAIN], &t[SG_SPLIT_TEST]);
    if (leaks > 0) fprintf(out, "warning     %" PRIu32 " test images are training images, too\n", leaks);
    SG_TRY(count_classes(data, &count));
    fprintf(out, "%-32s %10s %10s\n", "class", "train", "test");
    int empty = -1;
    for (int c = 0; c < data->classes; c++) {
        fprintf(out, "%6d %-25s %10" PRIu32 " %10" PRIu32 "\n", c, data->class_name[c],
                count[c][SG_SPLIT_TRAIN], count[c][SG_SPLIT_TEST]);
        if (count[c][SG_SPLIT_TRAIN] == 0 && empty < 0) empty = c;
    }
    SG_FREE(count);
    SG_CHECK(!ferror(out), SG_IO, "writing the check's output failed");
    uint32_t damaged = t[SG_SPLIT_TRAIN].damaged + t[SG_SPLIT_TEST].damaged;
    SG_CHECK(damaged == 0, SG_DATA, "data set %s: %" PRIu32 " image%s cannot be read; each is named above",
             data->name, damaged, damaged == 1 ? "" : "s");
    SG_CHECK(empty < 0, SG_DATA,
             "data set %s: class %d (%s) has no training sample: raise data.train_limit, or set "
             "net.classes to what the data set has",
             data->name, empty, data->class_name[empty]);
    return SG_OK;
}

int sg_data_check(const sg_data *data, FILE *out) {
    tally t[SG_SPLITS] = {0};
    int status = SG_AT(check_content(data, t, out));
    for (int s = 0; s < SG_SPLITS; s++) free(t[s].hash);
    return status;
}

/* ---- Packing. What is not in memory is streamed: at most a piece of it is held. */

typedef struct stream {
    const sg_data *data;
    enum sg_data_split split;
    uint64_t *start; /* [samples + 1] of each stored sample in the stream; owned */
} stream;

/* The sample that holds a byte of the stream. */
static uint32_t sample_at(const stream *s, uint64_t byte) {
    uint32_t low = 0, high = s->data->part[s->split].samples;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        *(s->start[middle] <= byte ? &low : &high) = middle;
    }
    return low;
}

/* The part of a stored sample that lies in bytes [first, end) of the stream. */
static int copy_stored(const stream *s, uint32_t sample, uint64_t first, uint64_t end, unsigned char *out) {
    uint64_t begin = s->start[sample], last = s->start[sample + 1];
    uint64_t from = begin > first ? begin : first, to = last < end ? last : end;
    if (from >= to) return SG_OK;
    sg_stored stored = {0};
    uint8_t *pixel = NULL;
    const unsigned char *bytes = NULL;
    int status = SG_AT(sg_data_fetch(s->data, s->split, sample, &stored));
    if (status == SG_OK && !s->data->resized && !stored.pixels) {
        status = SG_AT(SG_NEW(&pixel, sample_bytes(s->data)));
        if (status == SG_OK)
            status = SG_AT(sg_data_image_decode(stored.name, stored.bytes, stored.size, s->data->height,
                                                s->data->width, 8, pixel));
    }
    bytes = pixel != NULL ? pixel : stored.bytes;
    if (status == SG_OK) memcpy(out + (from - first), bytes + (from - begin), (size_t)(to - from));
    free(pixel);
    free(stored.bytes);
    return status;
}

static int read_stream(void *context, size_t first, size_t count, void *out) {
    const stream *s = context;
    sg_data_failure failure = {0};
    uint32_t from = sample_at(s, first), to = sample_at(s, first + count - 1);
#pragma omp parallel for schedule(dynamic, 8) num_threads(sg_data_threads(s->data))
    for (uint32_t i = from; i <= to; i++) {
        if (sg_data_failure_before(&failure, i)) continue;
        int status = SG_AT(copy_stored(s, i, first, first + count, out));
        if (status != SG_OK) sg_data_failure_note(&failure, i, status);
    }
    return SG_AT(sg_data_failure_result(&failure));
}

static int begin_stream(stream *s, const sg_data *data, enum sg_data_split split) {
    uint32_t samples = data->part[split].samples;
    *s = (stream){.data = data, .split = split};
    SG_TRY(SG_NEW(&s->start, (size_t)samples + 1));
    for (uint32_t i = 0; i < samples; i++)
        s->start[i + 1] =
            s->start[i] + (data->resized ? sg_data_stored_size(data, split, i) : sample_bytes(data));
    return SG_OK;
}

/* Image files as they are where their sizes differ: a crop needs the whole image. */
static int add_files(sg_h5_content *content, stream *s) {
    char path[64];
    uint32_t samples = s->data->part[s->split].samples;
    size_t bytes = s->start[samples];
    snprintf(path, sizeof path, SG_PACKED_FILES, sg_data_split_name(s->split));
    SG_TRY(sg_h5_add_stream(content, path, SG_H5_U8, 1, &bytes, read_stream, s));
    snprintf(path, sizeof path, SG_PACKED_STARTS, sg_data_split_name(s->split));
    return SG_AT(sg_h5_add_array(content, path, SG_H5_U64, (size_t)samples + 1, s->start));
}

static int add_part(sg_h5_content *content, const sg_data *data, enum sg_data_split split, stream *s) {
    const sg_data_part *part = &data->part[split];
    char path[64];
    size_t dims[] = {part->samples, (size_t)data->height, (size_t)data->width, (size_t)data->channels};
    snprintf(path, sizeof path, SG_PACKED_IMAGES, sg_data_split_name(split));
    if (data->lazy) SG_TRY(begin_stream(s, data, split));
    if (data->resized)
        SG_TRY(add_files(content, s));
    else if (data->lazy)
        SG_TRY(sg_h5_add_stream(content, path, SG_H5_U8, 4, dims, read_stream, s));
    else
        SG_TRY(sg_h5_add(content, path, SG_H5_U8, 4, dims, part->image));
    snprintf(path, sizeof path, SG_PACKED_LABELS, sg_data_split_name(split));
    return SG_AT(sg_h5_add_array(content, path, SG_H5_I32, part->samples, part->label));
}

static int add_all(sg_h5_content *content, const sg_data *data, stream streams[SG_SPLITS]) {
    for (int s = 0; s < SG_SPLITS; s++) SG_TRY(add_part(content, data, (enum sg_data_split)s, &streams[s]));
    if (data->resized) SG_TRY(sg_h5_set_integer(content, SG_PACKED_SIZE, data->height));
    SG_TRY(sg_h5_add_strings(content, SG_PACKED_CLASSES, (size_t)data->classes, data->class_name));
    SG_TRY(sg_h5_add_array(content, SG_PACKED_MEAN, SG_H5_F32, (size_t)data->channels, data->mean));
    SG_TRY(sg_h5_add_array(content, SG_PACKED_DEVIATION, SG_H5_F32, (size_t)data->channels, data->deviation));
    SG_TRY(sg_h5_set_text(content, SG_PACKED_NAME, data->name));
    return SG_AT(sg_h5_set_unsigned(content, SG_PACKED_FINGERPRINT, data->fingerprint));
}

int sg_data_pack(const sg_data *data, const char *path) {
    sg_h5_content *content;
    stream streams[SG_SPLITS] = {0};
    SG_TRY(sg_h5_content_create(&content, SG_PACKED_KIND));
    int status = SG_AT(add_all(content, data, streams));
    if (status == SG_OK) status = SG_AT(sg_h5_write(path, NULL, content));
    sg_h5_content_destroy(&content);
    for (int s = 0; s < SG_SPLITS; s++) free(streams[s].start);
    return status;
}
