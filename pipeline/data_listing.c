#include "pipeline/data_listing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/memory.h"

#define FILE_NAME ".signet-listing"
enum {
    LEAST = 1000 /* records worth keeping */,
    SETTLED = 2 /* seconds after which a change shows in the time */
};
static const uint64_t MILLIARD = 1000000000;
static const char MAGIC[16] = "signet listing1";

/* The file: this, then the listing. */
typedef struct header {
    char magic[sizeof MAGIC];
    uint64_t bytes, hash; /* of the listing */
} header;

int sg_listing_add(sg_blob *listing, int split, int order, int label, uint64_t value, const char *name) {
    size_t length = strlen(name) + 1, bytes = (sizeof(sg_listing_record) + length + 7) / 8 * 8;
    sg_listing_record record = {
        .bytes = (uint32_t)bytes, .split = split, .label = label, .order = order, .value = value};
    SG_TRY(sg_blob_add(listing, &record, sizeof record));
    SG_TRY(sg_blob_add(listing, name, length));
    return SG_AT(sg_blob_add(listing, NULL, bytes - sizeof record - length));
}

static uint64_t time_of(const char *root, const char *name) {
    struct stat found;
    char *path = sg_data_file_join(root, name);
    if (path == NULL) {
        sg_error_clear();
        return 0;
    }
    bool there = stat(path, &found) == 0;
    free(path);
    return there ? (uint64_t)found.st_mtim.tv_sec * MILLIARD + (uint64_t)found.st_mtim.tv_nsec : 0;
}

int sg_listing_watch(sg_blob *listing, const char *root, const char *name) {
    return SG_AT(sg_listing_add(listing, SG_LISTING_WATCHED, 0, 0, time_of(root, name), name));
}

/* The record at an offset, or NULL where it does not lie within the listing. */
static const sg_listing_record *record_at(const sg_blob *listing, size_t at) {
    if (listing->size - at < sizeof(sg_listing_record)) return NULL;
    const sg_listing_record *record = (const sg_listing_record *)(listing->bytes + at);
    bool good =
        record->bytes > sizeof *record && record->bytes % 8 == 0 && record->bytes <= listing->size - at;
    return good && memchr(record->name, 0, record->bytes - sizeof *record) != NULL ? record : NULL;
}

/* Records were added in the order of their addresses. */
static int compare_records(const void *a, const void *b) {
    const sg_listing_record *one = *(const sg_listing_record *const *)a,
                            *two = *(const sg_listing_record *const *)b;
    if (one->order != two->order) return one->order < two->order ? -1 : 1;
    return one < two ? -1 : one > two;
}

int sg_listing_sorted(const sg_blob *listing, enum sg_data_split split, const sg_listing_record ***record,
                      size_t *count) {
    size_t found = 0;
    const sg_listing_record *next;
    for (size_t at = 0; at < listing->size; at += next->bytes) {
        next = record_at(listing, at);
        SG_CHECK(next != NULL, SG_INTERNAL, "a listing of %zu bytes is damaged at byte %zu", listing->size,
                 at);
        found += next->split == (int)split;
    }
    SG_TRY(SG_NEW(record, found));
    *count = 0;
    for (size_t at = 0; at < listing->size; at += next->bytes) {
        next = record_at(listing, at);
        if (next->split == (int)split) (*record)[(*count)++] = next;
    }
    if (found > 1) qsort(*record, found, sizeof **record, compare_records);
    return SG_OK;
}

static bool is_current(const char *root, const sg_blob *listing) {
    for (size_t at = 0; at < listing->size;) {
        const sg_listing_record *record = record_at(listing, at);
        if (record == NULL) return false;
        if (record->split == SG_LISTING_WATCHED && time_of(root, record->name) != record->value) return false;
        at += record->bytes;
    }
    return true;
}

bool sg_listing_recall(const char *root, sg_blob *listing) {
    header h;
    uint64_t size;
    bool good = false;
    char *path = sg_data_file_join(root, FILE_NAME);
    if (path != NULL && sg_data_file_type(path) == 'f' && sg_data_file_size(path, &size) == SG_OK &&
        size > sizeof h && sg_data_file_read(path, 0, &h, sizeof h) == SG_OK &&
        memcmp(h.magic, MAGIC, sizeof MAGIC) == 0 && h.bytes == size - sizeof h &&
        sg_blob_add(listing, NULL, (size_t)h.bytes) == SG_OK &&
        sg_data_file_read(path, sizeof h, listing->bytes, listing->size) == SG_OK)
        good = XXH3_64bits(listing->bytes, listing->size) == h.hash && is_current(root, listing);
    free(path);
    if (!good) sg_blob_release(listing);
    sg_error_clear(); /* without it the folder is listed */
    return good;
}

static bool is_settled(const sg_blob *listing) {
    size_t records = 0;
    uint64_t now = (uint64_t)time(NULL);
    for (size_t at = 0; at < listing->size; records++) {
        const sg_listing_record *record = record_at(listing, at);
        if (record == NULL) return false;
        if (record->split == SG_LISTING_WATCHED && record->value / MILLIARD + SETTLED > now) return false;
        at += record->bytes;
    }
    return records >= LEAST;
}

static bool write_all(int file, const void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t wrote = write(file, (const char *)bytes + done, size - done);
        if (wrote <= 0) return false;
        done += (size_t)wrote;
    }
    return true;
}

void sg_listing_keep(const char *root, const sg_blob *listing) {
    header h = {.bytes = listing->size, .hash = XXH3_64bits(listing->bytes, listing->size)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    if (!is_settled(listing)) return;
    char *path = sg_data_file_join(root, FILE_NAME),
         *temporary = sg_data_file_join(root, FILE_NAME ".XXXXXX");
    int file = path != NULL && temporary != NULL ? mkstemp(temporary) : -1;
    if (file >= 0) {
        bool good = fchmod(file, 0644) == 0 && write_all(file, &h, sizeof h) &&
                    write_all(file, listing->bytes, listing->size);
        good = close(file) == 0 && good;
        if (!good || rename(temporary, path) != 0) unlink(temporary);
    }
    free(path);
    free(temporary);
    sg_error_clear();
}
