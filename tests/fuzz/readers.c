#include "tests/fuzz/readers.h"

#include <stdlib.h>

#include "tests/fuzz/files.h"

enum { MOST = 1 << 22 /* bytes that are read, to stay fast */ };

static void expect(int status) {
    sg_fuzz_require(status == SG_OK || status == SG_DATA || status == SG_NOINPUT || status == SG_CONFIG,
                    "damaged data is damaged data");
}

static void read_part(const sg_data_kind *kind, const sg_data_options *options, const sg_data_scan *scan,
                      enum sg_data_split split, uint32_t first, uint32_t count) {
    size_t sample = (size_t)scan->height * (size_t)scan->width * (size_t)scan->channels;
    bool pixels = !scan->resized && sample <= MOST / (count + 1);
    if (kind->fetch == NULL && !pixels) return;
    uint8_t *image = pixels ? sg_fuzz_copy(NULL, count * sample) : NULL;
    int32_t *label = sg_fuzz_copy(NULL, count * sizeof *label);
    int status = kind->read(options, scan, split, first, count, image, label);
    expect(status);
    for (uint32_t i = 0; status == SG_OK && i < count; i++)
        sg_fuzz_require(label[i] >= 0 && label[i] < scan->classes, "labels are numbers of classes");
    free(image);
    free(label);
}

static void fetch_some(const sg_data_kind *kind, const sg_data_options *options, const sg_data_scan *scan,
                       enum sg_data_split split) {
    for (uint32_t i = 0; i < scan->samples[split] && i < 8; i++) {
        sg_stored stored;
        int status = kind->fetch(options, scan, split, i, &stored);
        expect(status);
        if (status == SG_OK) free(stored.bytes);
        if (scan->resized) kind->stored_size(scan, split, i);
    }
}

void sg_fuzz_read_all(const sg_data_kind *kind, const sg_data_options *options, const sg_blob *parts) {
    sg_data_scan scan = {.parts = parts};
    int status = kind->scan(options, &scan);
    expect(status);
    bool possible = scan.classes >= 1 && scan.classes <= SG_DATA_MAX_CLASSES && scan.height >= 1 &&
                    scan.height <= SG_DATA_MAX_SIDE && scan.width >= 1 && scan.width <= SG_DATA_MAX_SIDE &&
                    scan.channels >= 1 && scan.channels <= SG_DATA_CHANNELS;
    for (int s = 0; status == SG_OK && possible && s < SG_SPLITS; s++) {
        uint32_t samples = scan.samples[s], half = samples / 2;
        if (samples > MOST / 4) continue;
        if (half > 0) read_part(kind, options, &scan, (enum sg_data_split)s, 0, half);
        if (samples > half) read_part(kind, options, &scan, (enum sg_data_split)s, half, samples - half);
        if (kind->fetch != NULL) fetch_some(kind, options, &scan, (enum sg_data_split)s);
    }
    sg_blob_release(&scan.class_names);
    sg_blob_release(&scan.manifest);
}
