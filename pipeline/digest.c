#include "pipeline/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kernels/memory.h"

struct sg_digest {
    XXH3_state_t *state;
};

int sg_digest_create(sg_digest **digest) {
    SG_TRY(SG_NEW(digest, 1));
    (*digest)->state = XXH3_createState();
    if ((*digest)->state == NULL || XXH3_128bits_reset((*digest)->state) != XXH_OK) {
        sg_digest_destroy(digest);
        return SG_FAIL(SG_NOMEM, "out of memory: hash state");
    }
    return SG_OK;
}

void sg_digest_destroy(sg_digest **digest) {
    if (*digest == NULL) return;
    XXH3_freeState((*digest)->state);
    SG_FREE(*digest);
}

static void add_number(sg_digest *digest, uint64_t number) {
    XXH3_128bits_update(digest->state, &number, sizeof number);
}

static void add_bytes(sg_digest *digest, const void *data, size_t bytes) {
    add_number(digest, bytes);
    if (bytes > 0) XXH3_128bits_update(digest->state, data, bytes);
}

void sg_digest_add(sg_digest *digest, const char *name, enum sg_h5_type type, int ndims, const size_t *dims,
                   const void *data) {
    size_t bytes = sg_h5_type_size(type);
    add_bytes(digest, name, strlen(name));
    add_number(digest, type);
    add_number(digest, (uint64_t)ndims);
    for (int d = 0; d < ndims; d++) {
        add_number(digest, dims[d]);
        bytes *= dims[d];
    }
    add_bytes(digest, data, bytes);
}

void sg_digest_add_text(sg_digest *digest, const char *name, const char *text) {
    add_bytes(digest, name, strlen(name));
    add_number(digest, SG_H5_STRINGS);
    add_bytes(digest, text, strlen(text));
}

void sg_digest_text(const sg_digest *digest, char text[SG_DIGEST_TEXT]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(digest->state));
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", canonical.digest[i]);
}

static bool starts(const char *path, const char *group) { return strncmp(path, group, strlen(group)) == 0; }

static bool counts(const char *path) {
    if (starts(path, "/metrics/")) return strstr(path, "seconds") == NULL && strstr(path, "time") == NULL;
    return starts(path, "/weights/") || starts(path, "/masks/") || starts(path, "/signs/");
}

static int by_path(const void *a, const void *b) {
    return strcmp((*(const sg_h5_entry *const *)a)->path, (*(const sg_h5_entry *const *)b)->path);
}

static int add_strings(sg_digest *digest, sg_h5_file *file, const sg_h5_entry *entry) {
    char **text;
    size_t count;
    SG_TRY(sg_h5_read_strings(file, entry->path, &text, &count));
    for (size_t i = 0; i < count; i++) sg_digest_add_text(digest, entry->path, text[i]);
    SG_FREE(text);
    return SG_OK;
}

static int add_entry(sg_digest *digest, sg_h5_file *file, const sg_h5_entry *entry) {
    if (entry->type == SG_H5_STRINGS) return SG_AT(add_strings(digest, file, entry));
    void *data = sg_alloc(entry->count, sg_h5_type_size(entry->type));
    if (data == NULL) return SG_AT(SG_NOMEM);
    int status = SG_AT(sg_h5_read(file, entry->path, entry->type, entry->ndims, entry->dims, data));
    if (status == SG_OK) sg_digest_add(digest, entry->path, entry->type, entry->ndims, entry->dims, data);
    SG_FREE(data);
    return status;
}

int sg_digest_add_file(sg_digest *digest, sg_h5_file *file) {
    const sg_h5_entry **entry;
    size_t n = 0;
    SG_TRY(SG_NEW(&entry, sg_h5_entries(file)));
    for (size_t i = 0; i < sg_h5_entries(file); i++)
        if (counts(sg_h5_entry_at(file, i)->path)) entry[n++] = sg_h5_entry_at(file, i);
    qsort(entry, n, sizeof *entry, by_path);
    int status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < n; i++) status = SG_AT(add_entry(digest, file, entry[i]));
    SG_FREE(entry);
    return status;
}
