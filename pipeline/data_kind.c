#include "pipeline/data_kind.h"

#include <string.h>

#include "kernels/memory.h"

#define KIND_NAME(name) #name,
#define KIND_TABLE(name) &sg_data_##name,

static const sg_data_kind *const table[] = {SG_DATA_KINDS(KIND_TABLE) NULL};

const char *const sg_data_kinds[] = {SG_DATA_KINDS(KIND_NAME) NULL};

int sg_data_kind_find(const char *name, const sg_data_kind **kind) {
    char known[256] = "";
    for (int k = 0; table[k] != NULL; k++) {
        if (strcmp(name, table[k]->name) == 0) {
            *kind = table[k];
            return SG_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", k ? ", " : "", table[k]->name);
    }
    return SG_FAIL(SG_CONFIG, "data.kind = \"%s\" is not known; there are %s", name, known);
}

const char *sg_data_split_name(enum sg_data_split split) {
    return split == SG_SPLIT_TRAIN ? "train" : "test";
}

void sg_data_normalise(sg_data_scan *scan, const float mean[SG_DATA_CHANNELS],
                       const float deviation[SG_DATA_CHANNELS]) {
    memcpy(scan->mean, mean, sizeof scan->mean);
    memcpy(scan->deviation, deviation, sizeof scan->deviation);
}

int sg_blob_add(sg_blob *blob, const void *bytes, size_t size) {
    if (size > blob->capacity - blob->size) {
        size_t capacity = blob->capacity ? blob->capacity : 256;
        while (capacity - blob->size < size) {
            SG_CHECK(capacity <= SIZE_MAX / 4, SG_NOMEM, "out of memory: a list of %zu bytes cannot grow",
                     blob->size);
            capacity *= 2;
        }
        unsigned char *grown;
        SG_TRY(SG_NEW(&grown, capacity));
        if (blob->size > 0) memcpy(grown, blob->bytes, blob->size);
        free(blob->bytes);
        blob->bytes = grown;
        blob->capacity = capacity;
    }
    if (bytes != NULL && size > 0) memcpy(blob->bytes + blob->size, bytes, size);
    if (bytes == NULL && size > 0) memset(blob->bytes + blob->size, 0, size);
    blob->size += size;
    return SG_OK;
}

void sg_blob_release(sg_blob *blob) {
    free(blob->bytes);
    *blob = (sg_blob){0};
}

void sg_data_failure_note(sg_data_failure *failure, uint32_t sample, int code) {
#pragma omp critical(sg_data_failure)
    if (failure->code == SG_OK || sample < failure->sample) {
        failure->sample = sample;
        failure->code = code;
        snprintf(failure->message, sizeof failure->message, "%s", sg_error_message());
        snprintf(failure->trace, sizeof failure->trace, "%s", sg_error_trace());
    }
}

bool sg_data_failure_before(sg_data_failure *failure, uint32_t sample) {
    bool before;
#pragma omp critical(sg_data_failure)
    before = failure->code != SG_OK && failure->sample < sample;
    return before;
}

int sg_data_failure_result(const sg_data_failure *failure) {
    return failure->code == SG_OK ? SG_OK : sg_error_adopt(failure->code, failure->message, failure->trace);
}
