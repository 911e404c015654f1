/* One hash over named arrays: what tells two results apart. XXH3-128 over name, type, shape and bytes of
 * each, in the order in which they are added. Lengths are hashed with every part, so that no two lists run
 * together. Local. */
#ifndef SG_DIGEST_H
#define SG_DIGEST_H

#include "pipeline/h5.h"

enum { SG_DIGEST_TEXT = 33 }; /* 32 hexadecimal digits and a NUL */

typedef struct sg_digest sg_digest;

/* SG_NOMEM. */
int sg_digest_create(sg_digest **digest);
void sg_digest_destroy(sg_digest **digest);

/* data: dims[0] * ... elements, borrowed for the call. type not SG_H5_STRINGS. */
void sg_digest_add(sg_digest *digest, const char *name, enum sg_h5_type type, int ndims, const size_t *dims,
                   const void *data);
void sg_digest_add_text(sg_digest *digest, const char *name, const char *text);

/* The hash of all that was added so far; more may be added after. */
void sg_digest_text(const sg_digest *digest, char text[SG_DIGEST_TEXT]);

/* Adds the data sets of an open file below the groups "/weights", "/masks", "/signs" and "/metrics" but those
 * metrics whose name has "seconds" or "time" in it: nothing that differs between two runs of the same work.
 * Order of names, so that it does not matter in which order they were written. Collective over the file's
 * group. */
int sg_digest_add_file(sg_digest *digest, sg_h5_file *file);

#endif
