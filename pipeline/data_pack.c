/* What `signet data` does with an open data set: check it, pack it. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"
#include "pipeline/data_packed.h"
#include "pipeline/h5.h"

static size_t sample_bytes(const sg_data *data) {
    return (size_t)data->height * (size_t)data->width * (size_t)data->channels;
}

/* Mean and deviation of byte / 255, per channel, from exact integer sums. */
static void measure(const sg_data *data, const sg_data_part *part, int channel, double *mean,
                    double *deviation) {
    size_t values = part->samples * sample_bytes(data), step = (size_t)data->channels;
    uint64_t sum = 0, square = 0;
    for (size_t i = (size_t)channel; i < values; i += step) {
        uint64_t value = part->image[i];
        sum += value;
        square += value * value;
    }
    double n = (double)(values / step), m = (double)sum / n;
    *mean = m / 255.0;
    *deviation = sqrt(fmax((double)square / n - m * m, 0.0)) / 255.0;
}

static void print_part(const sg_data *data, enum sg_data_split split, FILE *out) {
    const sg_data_part *part = &data->part[split];
    fprintf(out, "%-12s%" PRIu32 " samples; mean", sg_data_split_name(split), part->samples);
    double mean[SG_DATA_CHANNELS], deviation[SG_DATA_CHANNELS];
    for (int c = 0; c < data->channels; c++) measure(data, part, c, &mean[c], &deviation[c]);
    for (int c = 0; c < data->channels; c++) fprintf(out, " %.4f", mean[c]);
    fprintf(out, ", deviation");
    for (int c = 0; c < data->channels; c++) fprintf(out, " %.4f", deviation[c]);
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
 * memory. */
static int count_leaks(const sg_data *data, uint32_t *leaks) {
    const sg_data_part *train = &data->part[SG_SPLIT_TRAIN], *test = &data->part[SG_SPLIT_TEST];
    size_t size = sample_bytes(data);
    uint64_t *known;
    SG_TRY(SG_NEW(&known, train->samples));
    for (uint32_t i = 0; i < train->samples; i++) known[i] = XXH3_64bits(train->image + i * size, size);
    qsort(known, train->samples, sizeof *known, compare_hashes);
    *leaks = 0;
    for (uint32_t i = 0; i < test->samples; i++) {
        uint64_t hash = XXH3_64bits(test->image + i * size, size);
        *leaks += bsearch(&hash, known, train->samples, sizeof hash, compare_hashes) != NULL;
    }
    SG_FREE(known);
    return SG_OK;
}

int sg_data_check(const sg_data *data, FILE *out) {
    uint32_t(*count)[SG_SPLITS], leaks = 0;
    SG_TRY(count_leaks(data, &leaks));
    SG_TRY(count_classes(data, &count));
    fprintf(
        out,
        "data set    %s\nimages      %d x %d pixels (width x height), %d channel%s\nfingerprint %016" PRIx64
        "\n",
        data->name, data->width, data->height, data->channels, data->channels > 1 ? "s" : "",
        data->fingerprint);
    fprintf(out, "normalised  by mean");
    for (int c = 0; c < data->channels; c++) fprintf(out, " %.4f", (double)data->mean[c]);
    fprintf(out, ", deviation");
    for (int c = 0; c < data->channels; c++) fprintf(out, " %.4f", (double)data->deviation[c]);
    fputc('\n', out);
    for (int s = 0; s < SG_SPLITS; s++) print_part(data, (enum sg_data_split)s, out);
    if (leaks > 0) fprintf(out, "warning     %" PRIu32 " test images are training images, too\n", leaks);
    fprintf(out, "%-32s %10s %10s\n", "class", "train", "test");
    int empty = -1;
    for (int c = 0; c < data->classes; c++) {
        fprintf(out, "%6d %-25s %10" PRIu32 " %10" PRIu32 "\n", c, data->class_name[c],
                count[c][SG_SPLIT_TRAIN], count[c][SG_SPLIT_TEST]);
        if (count[c][SG_SPLIT_TRAIN] == 0 && empty < 0) empty = c;
    }
    SG_FREE(count);
    SG_CHECK(!ferror(out), SG_IO, "writing the check's output failed");
    SG_CHECK(empty < 0, SG_DATA,
             "data set %s: class %d (%s) has no training sample: raise data.train_limit, or set "
             "net.classes to what the data set has",
             data->name, empty, data->class_name[empty]);
    return SG_OK;
}

static int add_part(sg_h5_content *content, const sg_data *data, enum sg_data_split split) {
    const sg_data_part *part = &data->part[split];
    char path[64];
    size_t dims[] = {part->samples, (size_t)data->height, (size_t)data->width, (size_t)data->channels};
    snprintf(path, sizeof path, SG_PACKED_IMAGES, sg_data_split_name(split));
    SG_TRY(sg_h5_add(content, path, SG_H5_U8, 4, dims, part->image));
    snprintf(path, sizeof path, SG_PACKED_LABELS, sg_data_split_name(split));
    return SG_AT(sg_h5_add_array(content, path, SG_H5_I32, part->samples, part->label));
}

static int add_all(sg_h5_content *content, const sg_data *data) {
    for (int s = 0; s < SG_SPLITS; s++) SG_TRY(add_part(content, data, (enum sg_data_split)s));
    SG_TRY(sg_h5_add_strings(content, SG_PACKED_CLASSES, (size_t)data->classes, data->class_name));
    SG_TRY(sg_h5_add_array(content, SG_PACKED_MEAN, SG_H5_F32, (size_t)data->channels, data->mean));
    SG_TRY(sg_h5_add_array(content, SG_PACKED_DEVIATION, SG_H5_F32, (size_t)data->channels, data->deviation));
    SG_TRY(sg_h5_set_text(content, SG_PACKED_NAME, data->name));
    return SG_AT(sg_h5_set_unsigned(content, SG_PACKED_FINGERPRINT, data->fingerprint));
}

int sg_data_pack(const sg_data *data, const char *path) {
    sg_h5_content *content;
    SG_TRY(sg_h5_content_create(&content, SG_PACKED_KIND));
    int status = SG_AT(add_all(content, data));
    if (status == SG_OK) status = SG_AT(sg_h5_write(path, NULL, content));
    sg_h5_content_destroy(&content);
    return status;
}
