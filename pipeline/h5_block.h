/* The user block in front of our HDF5 files. All numbers little-endian.
 *
 *     0  magic "SIGNET\r\n\x1a\n", 2 zero bytes
 *    12  uint32 format version
 *    16  uint64 bytes of the block: a power of two, 4096 or more (H5Pset_userblock)
 *    24  uint64 bytes after the block
 *    32  hash of what follows the block: XXH3-128 (canonical) over the XXH3-128 hashes of its pieces of 4 MiB
 *    48  uint64 bytes of the index
 *    56  uint64 bytes of a piece
 *    64  kind, padded with zeros
 *   112  XXH3-128 of the block, with these 16 bytes as zeros; here in every version
 *   128  index, per data set: uint64 place in the file, uint64 bytes, uint64 XXH3-64,
 *        uint32 length of the path, path
 *
 * Private to h5*.c. */
#ifndef SG_H5_BLOCK_H
#define SG_H5_BLOCK_H

#include "pipeline/h5.h"

enum { SG_H5_VERSION = 1, SG_H5_BLOCK_BYTES = 4096, SG_H5_KIND_BYTES = 48, SG_H5_PIECE_BYTES = 4 << 20 };

typedef struct sg_h5_hash {
    unsigned char byte[16];
} sg_h5_hash;

/* A data set's place in the file; bytes 0: it has none. */
typedef struct sg_h5_place {
    uint64_t offset, bytes, checksum;
    char *path; /* owned */
} sg_h5_place;

typedef struct sg_h5_block {
    uint64_t bytes;  /* of the block */
    uint64_t length; /* of what follows */
    sg_h5_hash hash;
    char kind[SG_H5_KIND_BYTES];
    size_t places;
    sg_h5_place *place; /* owned */
} sg_h5_block;

/* Bytes that a block takes whose index has these paths. */
uint64_t sg_h5_block_size(const char *const *paths, size_t count);

/* Writes the block at the start of an open file. Local. */
int sg_h5_block_write(int descriptor, const char *path, const sg_h5_block *block);

/* Reads and checks the block, the file's length included. SG_DATA says what is wrong. Local. */
int sg_h5_block_read(sg_h5_block *block, int descriptor, const char *path);
void sg_h5_block_release(sg_h5_block *block);

/* Hash of the length bytes from offset on; ranks take pieces in turn. Collective over comm (NULL: local). */
int sg_h5_hash_file(sg_h5_hash *hash, int descriptor, const char *path, uint64_t offset, uint64_t length,
                    sg_comm *comm);

/* The checksum of a part of a file, and of memory. */
int sg_h5_checksum_file(uint64_t *checksum, int descriptor, const char *path, uint64_t offset,
                        uint64_t bytes);
uint64_t sg_h5_checksum(const void *data, size_t bytes);

/* Opens for reading: a regular file; *bytes is its size. */
int sg_h5_open_plain(int *descriptor, const char *path, uint64_t *bytes);

#endif
