/* What an image folder holds, as one list of bytes: made in parts by all ranks, joined on one, and kept
 * beside the images, because asking for the sizes of a million files takes minutes on a parallel file system.
 *
 * Private to data_folder.c. All functions are local. */
#ifndef SG_DATA_LISTING_H
#define SG_DATA_LISTING_H

#include "pipeline/data_kind.h"

enum { SG_LISTING_WATCHED = -1 };

/* Followed by its name, with a zero behind it, up to the next multiple of 8. */
typedef struct sg_listing_record {
    uint32_t bytes;       /* of all of it */
    int32_t split;        /* or SG_LISTING_WATCHED: a directory or file that a listing depends on */
    int32_t label, order; /* of the sample; records of a split are sorted by order, then as they were added */
    uint64_t
        value;   /* bytes of the image file; of what is watched, when it was changed last, in nanoseconds */
    char name[]; /* relative to data.path */
} sg_listing_record;

int sg_listing_add(sg_blob *listing, int split, int order, int label, uint64_t value, const char *name);

/* Adds something to be watched; one that is not there has the time 0. */
int sg_listing_watch(sg_blob *listing, const char *root, const char *name);

/* The records of one split, in order. *record is owned, what it points at lies in the listing. */
int sg_listing_sorted(const sg_blob *listing, enum sg_data_split split, const sg_listing_record ***record,
                      size_t *count);

/* The listing that was kept, if nothing watched has changed since. False: there is none, or none that counts.
 */
bool sg_listing_recall(const char *root, sg_blob *listing);

/* Keeps the listing of a large folder as root/.signet-listing, if the folder may be written and has not been
 * changed in the last seconds; nothing is lost otherwise. */
void sg_listing_keep(const char *root, const sg_blob *listing);

#endif
