/* Our files: HDF5 behind a user block that vouches for every byte.
 *
 *   user block   magic "SIGNET\r\n\x1a\n", format version, kind, length and hash of all that follows,
 *                an index of the data sets (path, place, checksum), a hash of the block itself: h5_block.h
 *   HDF5         contiguous little-endian data sets with an attribute "xxh3_64" each; attributes of the root
 *
 * A reader checks block, length and hash before libhdf5 sees a byte. A writer publishes a file by renaming
 * its temporary one when all ranks agree that it is whole and on the disk.
 *
 * comm: the group that reads or writes together, or NULL for one process by itself. Then "collective" is
 * local. */
#ifndef SG_H5_H
#define SG_H5_H

#include <stddef.h>
#include <stdint.h>

#include "pipeline/comm.h"

enum sg_h5_type {
    SG_H5_F32,
    SG_H5_F64,
    SG_H5_U8,
    SG_H5_I8,
    SG_H5_I32,
    SG_H5_I64,
    SG_H5_U64,
    SG_H5_STRINGS /* one row of text per element; a data set of one dimension */
};
enum { SG_H5_MAX_DIMS = 8 };

const char *sg_h5_type_name(enum sg_h5_type type);
size_t sg_h5_type_size(enum sg_h5_type type); /* 0 for strings */

/* ---- Writing: name everything, then write it at once. */

typedef struct sg_h5_content sg_h5_content;

/* kind: what the file is ("checkpoint", "signed-mask", ...), below 48 bytes. Local. */
int sg_h5_content_create(sg_h5_content **content, const char *kind);
void sg_h5_content_destroy(sg_h5_content **content);

/* A data set at "/group/name" (groups are made as needed; names may have dots). data: dims[0] * ... elements,
 * the same on every rank, borrowed until the content is written. count 0 dims is a scalar; a dimension of 0
 * is legal. Local. */
int sg_h5_add(sg_h5_content *content, const char *path, enum sg_h5_type type, int ndims, const size_t *dims,
              const void *data);

/* The same, for data that is not in memory: while writing, read(context, first, count, out) gives the
 * elements first .. first + count - 1 (of all dimensions together), in order and in pieces of at most 64 MiB.
 * Only for content that is written without a group. Local. */
typedef int (*sg_h5_reader)(void *context, size_t first, size_t count, void *out);
int sg_h5_add_stream(sg_h5_content *content, const char *path, enum sg_h5_type type, int ndims,
                     const size_t *dims, sg_h5_reader read, void *context);
int sg_h5_add_strings(sg_h5_content *content, const char *path, size_t count, const char *const *text);

/* One-dimensional, or a scalar whose value is copied. */
int sg_h5_add_array(sg_h5_content *content, const char *path, enum sg_h5_type type, size_t count,
                    const void *data);
int sg_h5_add_scalar(sg_h5_content *content, const char *path, enum sg_h5_type type, const void *value);

/* Attributes of the root; values are copied. Local. */
int sg_h5_set_text(sg_h5_content *content, const char *name, const char *text);
int sg_h5_set_integer(sg_h5_content *content, const char *name, int64_t value);
int sg_h5_set_unsigned(sg_h5_content *content, const char *name, uint64_t value);
int sg_h5_set_real(sg_h5_content *content, const char *name, double value);

/* Writes PATH: space is reserved, every rank writes its slices, all sync and agree, then the temporary file
 * (PATH.tmp; without a group that of sg_file_temporary) is renamed. After an error PATH is what it was
 * before, or, when nothing but the sync of its directory failed, the new file, which a power cut may undo;
 * the temporary file is gone. Collective; all ranks return the same status: SG_CANTCREATE, SG_IO. When
 * libhdf5 fails to close the file the job ends with 74 after printing why, because MPI_Finalize crashes from
 * then on.
 */
int sg_h5_write(const char *path, sg_comm *comm, const sg_h5_content *content);

/* ---- Reading. */

typedef struct sg_h5_file sg_h5_file;

typedef struct sg_h5_entry {
    const char *path; /* "/weights/conv1.weight" */
    enum sg_h5_type type;
    int ndims;
    size_t dims[SG_H5_MAX_DIMS];
    size_t count; /* elements */
} sg_h5_entry;

/* Opens a file of ours. Ranks share the hashing; rank 0 alone opens it in libhdf5 and broadcasts what is
 * read. SG_NOINPUT; SG_DATA names the file and, where it can be told, the damaged data sets, and files of a
 * newer version or of other origin. Collective. */
int sg_h5_open(sg_h5_file **file, const char *path, sg_comm *comm);

/* Opens an HDF5 file of other origin: data sets of float32, float64 (becomes float32), uint8, int8 and int64
 * right below /weights, /masks and /signs, read by a child process with limits on memory and time; links that
 * lead elsewhere, external storage and virtual data sets are refused. program: the executable whose
 * subcommand `read-foreign FILE DESCRIPTOR` calls sg_h5_foreign_child; NULL: this process's own. A file of
 * ours is taken as well, verified as sg_h5_open does. Collective. */
int sg_h5_open_foreign(sg_h5_file **file, const char *path, sg_comm *comm, const char *program);
int sg_h5_foreign_child(const char *path, int descriptor); /* returns the child's exit code */

/* Local; NULL tolerated. */
void sg_h5_close(sg_h5_file **file);

/* What there is, in the order in which it was written; on every rank. kind is "" for a foreign file. Local,
 * borrowed. */
const char *sg_h5_kind(const sg_h5_file *file);
size_t sg_h5_entries(const sg_h5_file *file);
const sg_h5_entry *sg_h5_entry_at(const sg_h5_file *file, size_t i);
const sg_h5_entry *sg_h5_find(const sg_h5_file *file, const char *path); /* NULL when there is none */

/* Reads a data set into out, on every rank. Type and shape must be these: SG_DATA names both otherwise, and a
 * path that is not there. The data set's checksum is checked. Collective; all return the same status. */
int sg_h5_read(sg_h5_file *file, const char *path, enum sg_h5_type type, int ndims, const size_t *dims,
               void *out);
int sg_h5_read_array(sg_h5_file *file, const char *path, enum sg_h5_type type, size_t count, void *out);
int sg_h5_read_scalar(sg_h5_file *file, const char *path, enum sg_h5_type type, void *out);

/* Where the elements of a data set lie in the file, one after the other and little-endian: for readers that
 * take slices of large data sets themselves. On rank 0, of a file of ours; SG_DATA when there is no such data
 * set. Local. */
int sg_h5_locate(const sg_h5_file *file, const char *path, uint64_t *offset);

/* *text: *count texts in one block that is freed with SG_FREE(*text). Collective. */
int sg_h5_read_strings(sg_h5_file *file, const char *path, char ***text, size_t *count);

/* Attributes of the root. has: on every rank. get: SG_DATA when it is absent or of another type. text is
 * borrowed from the file. Local. */
size_t sg_h5_attributes(const sg_h5_file *file);
const char *sg_h5_attribute_at(const sg_h5_file *file, size_t i, char *value,
                               size_t room); /* name; value as text */
bool sg_h5_has(const sg_h5_file *file, const char *name);
int sg_h5_get_text(const sg_h5_file *file, const char *name, const char **text);
int sg_h5_get_integer(const sg_h5_file *file, const char *name, int64_t *value);
int sg_h5_get_unsigned(const sg_h5_file *file, const char *name, uint64_t *value);
int sg_h5_get_real(const sg_h5_file *file, const char *name, double *value);

/* ---- Checking without libhdf5: block, length, hash, then every data set's checksum by the block's index.
 * report (may be NULL) gets one line for each thing that is wrong, one for a file that cannot be read among
 * them. SG_OK, SG_DATA (the message is the first line), SG_NOINPUT, SG_IO. Local. */
int sg_h5_verify(const char *path, void (*report)(void *context, const char *line), void *context);

#endif
