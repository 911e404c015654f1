/* What h5*.c share about libhdf5. Private to them. */
#ifndef SG_H5_COMMON_H
#define SG_H5_COMMON_H

#include <hdf5.h>

#include "pipeline/h5_block.h"

/* Call first, before any use of libhdf5: no error stacks on stderr, no plugins, no file locks (file systems
 * of clusters often have none; ours are never written in place). */
int sg_h5_prepare(void);

/* Native memory type of an element; not for strings. */
hid_t sg_h5_memory_type(enum sg_h5_type type);

/* The type of a stored data set's elements, -1 when it is none of ours. *width: bytes of a string. */
int sg_h5_type_of(hid_t stored, size_t *width);

/* An error whose reason is libhdf5's innermost. Returns code. */
int sg_h5_error(int code, const char *path, const char *what);

/* An attribute of the root. */
enum sg_h5_attribute_type { SG_H5_TEXT, SG_H5_INTEGER, SG_H5_UNSIGNED, SG_H5_REAL };
typedef struct sg_h5_attribute {
    char *name; /* owned by a content; in a file's listing */
    enum sg_h5_attribute_type type;
    char *text; /* likewise; SG_H5_TEXT */
    union {
        int64_t integer;
        uint64_t natural;
        double real;
    } value;
} sg_h5_attribute;

/* One entry of a content to be written, or of a file that is read. */
typedef struct sg_h5_item {
    sg_h5_entry entry; /* path: owned by a content; in a file's listing */
    size_t width;      /* bytes of an element */
    const void *data;  /* what is written or, of a foreign file, was read; NULL: to be read by libhdf5 */
    void *owned;       /* what data points at, when the content owns it */
    sg_h5_reader read; /* instead of data: gives it while it is written */
    void *context;     /* of read */
} sg_h5_item;

/* Bytes that grow: a listing of a file, as it goes through a pipe or a broadcast. After a failed allocation
 * the appending functions do nothing and status tells. */
typedef struct sg_h5_listing {
    char *byte; /* owned */
    size_t bytes, room;
    int status;
} sg_h5_listing;

void sg_h5_listing_number(sg_h5_listing *listing, uint64_t number);
void sg_h5_listing_text(sg_h5_listing *listing, const void *text, size_t bytes);
void sg_h5_listing_item(sg_h5_listing *listing, const sg_h5_entry *entry, size_t width, const void *data,
                        size_t data_bytes);

struct sg_h5_file {
    sg_comm *comm; /* borrowed; NULL alone */
    char *path, *kind;
    sg_h5_listing listing; /* what item and attribute point into */
    size_t items, attributes;
    sg_h5_item *item;
    sg_h5_attribute *attribute;
    size_t places;
    sg_h5_place *place; /* rank 0 of a file of ours: places of the items */
    bool foreign;       /* all data is in the listing */
    hid_t file;         /* rank 0 of a file of ours */
};

/* Spreads rank 0's listing, given its status so far, and makes the file's tables of it on every rank.
 * Collective. */
int sg_h5_share_listing(sg_h5_file *file, int status);

#endif
