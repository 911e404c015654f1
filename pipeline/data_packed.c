/* Packed data sets: one file of ours (pipeline/h5.h), written by `signet data pack`. The scanning rank
 * verifies every byte and finds where images and labels lie; all ranks then read their slices of the file
 * without libhdf5. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"
#include "pipeline/data_packed.h"
#include "pipeline/h5.h"

typedef struct manifest {
    uint64_t images[SG_SPLITS], labels[SG_SPLITS]; /* offsets in the file; of images or image files */
    uint64_t starts[SG_SPLITS]; /* image files: offset in the manifest of uint64 [samples + 1] */
} manifest;

/* The places of a split whose images are files. */
static int scan_files(const sg_data_options *options, sg_h5_file *file, enum sg_data_split split,
                      sg_data_scan *scan, manifest *m) {
    char files[64], starts[64], labels[64];
    snprintf(files, sizeof files, SG_PACKED_FILES, sg_data_split_name(split));
    snprintf(starts, sizeof starts, SG_PACKED_STARTS, sg_data_split_name(split));
    snprintf(labels, sizeof labels, SG_PACKED_LABELS, sg_data_split_name(split));
    const sg_h5_entry *f = sg_h5_find(file, files), *s = sg_h5_find(file, starts),
                      *l = sg_h5_find(file, labels);
    SG_CHECK(f != NULL && f->type == SG_H5_U8 && s != NULL && s->type == SG_H5_U64 && l != NULL &&
                 l->type == SG_H5_I32 && s->count == l->count + 1 && l->count <= INT32_MAX,
             SG_DATA, "%s: %s, %s and %s do not belong together; pack it again with `signet data pack`",
             options->path, files, starts, labels);
    scan->samples[split] = (uint32_t)l->count;
    m->starts[split] = scan->manifest.size;
    SG_TRY(sg_blob_add(&scan->manifest, NULL, s->count * sizeof(uint64_t)));
    uint64_t *start = (uint64_t *)(scan->manifest.bytes + m->starts[split]);
    SG_TRY(sg_h5_read_array(file, starts, SG_H5_U64, s->count, start));
    for (size_t i = 0; i < l->count; i++)
        SG_CHECK(start[i] <= start[i + 1] && start[i + 1] - start[i] <= SG_DATA_MAX_FILE &&
                     start[i + 1] <= f->count,
                 SG_DATA, "%s: %s: image %zu lies from byte %" PRIu64 " to %" PRIu64 " of %zu; pack it again",
                 options->path, starts, i, start[i], start[i + 1], f->count);
    SG_TRY(sg_h5_locate(file, files, &m->images[split]));
    return SG_AT(sg_h5_locate(file, labels, &m->labels[split]));
}

/* Image files: what the network sees is brought to one size. */
static int scan_all_files(const sg_data_options *options, sg_h5_file *file, sg_data_scan *scan, manifest *m) {
    int64_t size;
    for (int s = 0; s < SG_SPLITS; s++) SG_TRY(scan_files(options, file, (enum sg_data_split)s, scan, m));
    SG_TRY(sg_h5_get_integer(file, SG_PACKED_SIZE, &size));
    SG_CHECK(size >= 1 && size <= SG_DATA_MAX_SIDE, SG_DATA, "%s: %s is %lld; 1 to %d are possible",
             options->path, SG_PACKED_SIZE, (long long)size, SG_DATA_MAX_SIDE);
    scan->height = scan->width = options->size > 0 ? options->size : (int)size;
    scan->channels = 3;
    scan->resized = true;
    return SG_AT(sg_h5_get_unsigned(file, SG_PACKED_FINGERPRINT, &scan->content));
}

/* The images' shape and both places of a split. */
static int scan_split(const sg_data_options *options, const sg_h5_file *file, enum sg_data_split split,
                      sg_data_scan *scan, manifest *m) {
    char images[64], labels[64];
    snprintf(images, sizeof images, SG_PACKED_IMAGES, sg_data_split_name(split));
    snprintf(labels, sizeof labels, SG_PACKED_LABELS, sg_data_split_name(split));
    const sg_h5_entry *image = sg_h5_find(file, images), *label = sg_h5_find(file, labels);
    SG_CHECK(image != NULL && image->type == SG_H5_U8 && image->ndims == 4, SG_DATA,
             "%s: has no %s, an array of bytes with 4 dimensions; pack it again with `signet data pack`",
             options->path, images);
    SG_CHECK(
        label != NULL && label->type == SG_H5_I32 && label->ndims == 1 && label->dims[0] == image->dims[0],
        SG_DATA, "%s: has no %s with one int32 for each of %zu images; pack it again with `signet data pack`",
        options->path, labels, image->dims[0]);
    for (int d = 0; d < 4; d++)
        SG_CHECK(image->dims[d] <= INT32_MAX, SG_DATA, "%s: %s has %zu elements in a dimension",
                 options->path, images, image->dims[d]);
    int height = (int)image->dims[1], width = (int)image->dims[2], channels = (int)image->dims[3];
    SG_CHECK(split == SG_SPLIT_TRAIN ||
                 (height == scan->height && width == scan->width && channels == scan->channels),
             SG_DATA,
             "%s: test images of %d x %d pixels and %d channels, but training images of %d x %d and %d",
             options->path, height, width, channels, scan->height, scan->width, scan->channels);
    scan->samples[split] = (uint32_t)image->dims[0];
    scan->height = height;
    scan->width = width;
    scan->channels = channels;
    SG_TRY(sg_h5_locate(file, images, &m->images[split]));
    return SG_AT(sg_h5_locate(file, labels, &m->labels[split]));
}

static int scan_names(sg_h5_file *file, sg_data_scan *scan) {
    char **name;
    size_t count;
    SG_TRY(sg_h5_read_strings(file, SG_PACKED_CLASSES, &name, &count));
    int status = SG_OK;
    for (size_t c = 0; status == SG_OK && c < count; c++)
        status = SG_AT(sg_blob_add(&scan->class_names, name[c], strlen(name[c]) + 1));
    SG_FREE(name);
    scan->classes = count <= SG_DATA_MAX_CLASSES ? (int)count : 0; /* 0 is refused with the limits */
    return status;
}

static int scan_file(const sg_data_options *options, sg_h5_file *file, sg_data_scan *scan) {
    manifest m = {0};
    const char *name;
    char files[64];
    snprintf(files, sizeof files, SG_PACKED_FILES, sg_data_split_name(SG_SPLIT_TRAIN));
    SG_CHECK(strcmp(sg_h5_kind(file), SG_PACKED_KIND) == 0, SG_DATA,
             "%s: is a file of kind %s, and %s is wanted; `signet data pack` makes one", options->path,
             sg_h5_kind(file), SG_PACKED_KIND);
    SG_TRY(sg_blob_add(&scan->manifest, &m, sizeof m));
    if (sg_h5_find(file, files) != NULL) SG_TRY(scan_all_files(options, file, scan, &m));
    for (int s = 0; s < SG_SPLITS && !scan->resized; s++)
        SG_TRY(scan_split(options, file, (enum sg_data_split)s, scan, &m));
    SG_CHECK(options->size == 0 || (options->size == scan->height && options->size == scan->width), SG_CONFIG,
             "data.size = %d, but %s holds pixels of images of %d x %d; leave it 0, or pack the image files",
             options->size, options->path, scan->width, scan->height);
    memcpy(scan->manifest.bytes, &m, sizeof m);
    SG_CHECK(scan->channels >= 1 && scan->channels <= SG_DATA_CHANNELS, SG_DATA,
             "%s: images of %d channels; 1 to %d are possible", options->path, scan->channels,
             SG_DATA_CHANNELS);
    SG_TRY(scan_names(file, scan));
    for (int c = 0; c < SG_DATA_CHANNELS; c++) scan->deviation[c] = 1.0f;
    SG_TRY(sg_h5_read_array(file, SG_PACKED_MEAN, SG_H5_F32, (size_t)scan->channels, scan->mean));
    SG_TRY(sg_h5_read_array(file, SG_PACKED_DEVIATION, SG_H5_F32, (size_t)scan->channels, scan->deviation));
    for (int c = 0; c < scan->channels; c++)
        SG_CHECK(
            isfinite(scan->mean[c]) && isfinite(scan->deviation[c]) && scan->deviation[c] > 0.0f, SG_DATA,
            "%s: mean %g and deviation %g of channel %d; finite ones, the deviation above 0, are possible",
            options->path, (double)scan->mean[c], (double)scan->deviation[c], c);
    SG_TRY(sg_h5_get_text(file, SG_PACKED_NAME, &name));
    snprintf(scan->name, sizeof scan->name, "%s", name);
    return SG_OK;
}

static int scan_packed(const sg_data_options *options, sg_data_scan *scan) {
    sg_h5_file *file;
    SG_TRY(sg_h5_open(&file, options->path, NULL));
    int status = SG_AT(scan_file(options, file, scan));
    sg_h5_close(&file);
    return status;
}

static int read_packed(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                       uint32_t first, uint32_t count, uint8_t *image, int32_t *label) {
    const manifest *m = (const manifest *)scan->manifest.bytes;
    size_t size = (size_t)scan->height * (size_t)scan->width * (size_t)scan->channels;
    unsigned char *bytes;
    if (image != NULL)
        SG_TRY(
            sg_data_file_read(options->path, m->images[split] + first * (uint64_t)size, image, count * size));
    SG_TRY(SG_NEW(&bytes, 4 * (size_t)count));
    int status = SG_AT(
        sg_data_file_read(options->path, m->labels[split] + 4 * (uint64_t)first, bytes, 4 * (size_t)count));
    for (uint32_t i = 0; status == SG_OK && i < count; i++) {
        const unsigned char *b = bytes + 4 * (size_t)i;
        label[i] = (int32_t)((uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0]);
        if (label[i] < 0 || label[i] >= scan->classes)
            status = SG_FAIL(
                SG_DATA,
                "%s: the label at byte %" PRIu64 " is %" PRId32 "; 0 to %d were expected; pack it "
                "again with `signet data pack`",
                options->path, m->labels[split] + 4 * (uint64_t)(first + i), label[i], scan->classes - 1);
    }
    SG_FREE(bytes);
    return status;
}

static const uint64_t *starts_of(const sg_data_scan *scan, enum sg_data_split split) {
    const manifest *m = (const manifest *)scan->manifest.bytes;
    return (const uint64_t *)(scan->manifest.bytes + m->starts[split]);
}

static uint64_t size_in_packed(const sg_data_scan *scan, enum sg_data_split split, uint32_t sample) {
    const uint64_t *start = starts_of(scan, split) + sample;
    return start[1] - start[0];
}

static int fetch_packed(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                        uint32_t sample, sg_stored *stored) {
    const manifest *m = (const manifest *)scan->manifest.bytes;
    stored->pixels = !scan->resized;
    stored->size = scan->resized ? (size_t)size_in_packed(scan, split, sample)
                                 : (size_t)scan->height * (size_t)scan->width * (size_t)scan->channels;
    uint64_t at = scan->resized ? starts_of(scan, split)[sample] : sample * (uint64_t)stored->size;
    snprintf(stored->name, sizeof stored->name, "%.3900s: %s image %" PRIu32, options->path,
             sg_data_split_name(split), sample);
    SG_TRY(SG_NEW(&stored->bytes, stored->size + 1)); /* readers look at the first bytes of an empty one */
    int status = SG_AT(sg_data_file_read(options->path, m->images[split] + at, stored->bytes, stored->size));
    if (status != SG_OK) SG_FREE(stored->bytes);
    return status;
}

const sg_data_kind sg_data_packed = {.name = "packed",
                                     .usual = {3, 64, {100000, 10000}, false},
                                     .scan = scan_packed,
                                     .read = read_packed,
                                     .fetch = fetch_packed,
                                     .stored_size = size_in_packed};
