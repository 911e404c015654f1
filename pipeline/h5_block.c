#include "pipeline/h5_block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "kernels/text.h"
#include "pipeline/file.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the user block and its checksums are written for little-endian machines"
#endif

enum {
    AT_VERSION = 12,
    AT_BYTES = 16,
    AT_LENGTH = 24,
    AT_HASH = 32,
    AT_INDEX = 48,
    AT_PIECE = 56,
    AT_KIND = 64,
    AT_OWN_HASH = 112,
    AT_PLACES = 128,
    PLACE_BYTES = 28, /* without the path */
    MAX_BLOCK_BYTES = 1 << 30,
    MAX_PATH_BYTES = 4096
};

static const char magic[AT_VERSION] = "SIGNET\r\n\x1a\n";

static void put(unsigned char *to, const void *value, size_t bytes) { memcpy(to, value, bytes); }
static uint64_t get64(const unsigned char *from) {
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}
static uint32_t get32(const unsigned char *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static sg_h5_hash hash_bytes(const void *data, size_t bytes) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    sg_h5_hash hash;
    memcpy(hash.byte, canonical.digest, sizeof hash.byte);
    return hash;
}

uint64_t sg_h5_checksum(const void *data, size_t bytes) { return XXH3_64bits(data, bytes); }

uint64_t sg_h5_block_size(const char *const *paths, size_t count) {
    uint64_t need = AT_PLACES, size = SG_H5_BLOCK_BYTES;
    for (size_t i = 0; i < count; i++) need += PLACE_BYTES + strlen(paths[i]);
    while (size < need) size *= 2;
    return size;
}

int sg_h5_block_write(int descriptor, const char *path, const sg_h5_block *block) {
    unsigned char *bytes;
    SG_TRY(SG_NEW(&bytes, block->bytes));
    uint32_t version = SG_H5_VERSION;
    uint64_t piece = SG_H5_PIECE_BYTES;
    put(bytes, magic, sizeof magic);
    put(bytes + AT_VERSION, &version, sizeof version);
    put(bytes + AT_BYTES, &block->bytes, 8);
    put(bytes + AT_LENGTH, &block->length, 8);
    put(bytes + AT_HASH, block->hash.byte, sizeof block->hash.byte);
    put(bytes + AT_PIECE, &piece, 8);
    put(bytes + AT_KIND, block->kind, sizeof block->kind);
    unsigned char *at = bytes + AT_PLACES;
    for (size_t i = 0; i < block->places; i++) {
        const sg_h5_place *place = &block->place[i];
        uint32_t length = (uint32_t)strlen(place->path);
        put(at, &place->offset, 8);
        put(at + 8, &place->bytes, 8);
        put(at + 16, &place->checksum, 8);
        put(at + 24, &length, 4);
        put(at + PLACE_BYTES, place->path, length);
        at += PLACE_BYTES + length;
    }
    uint64_t index = (uint64_t)(at - bytes) - AT_PLACES;
    put(bytes + AT_INDEX, &index, 8);
    sg_h5_hash own = hash_bytes(bytes, block->bytes);
    put(bytes + AT_OWN_HASH, own.byte, sizeof own.byte);
    int status = SG_AT(sg_file_write_at(descriptor, path, bytes, block->bytes, 0));
    SG_FREE(bytes);
    return status;
}

/* What is at the start of a file that is none of ours. */
static int not_ours(const char *path, const unsigned char *bytes, uint64_t size) {
    static const unsigned char hdf5[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    SG_CHECK(size > 0, SG_DATA, "%s: is empty; remove it, and run again what was to write it", path);
    if (size >= sizeof hdf5 && memcmp(bytes, hdf5, sizeof hdf5) == 0)
        return SG_FAIL(
            SG_DATA,
            "%s: is an HDF5 file that signet did not write (no user block); weights of other origin "
            "are taken by --init and --weights only",
            path);
    if (size >= 6 && memcmp(bytes, magic, 6) == 0)
        return SG_FAIL(
            SG_DATA,
            "%s: its first line is damaged, as by a transfer in text mode; copy it again in binary "
            "mode",
            path);
    return SG_FAIL(SG_DATA, "%s: is no signet file, or its first bytes are damaged", path);
}

static int read_places(sg_h5_block *block, const unsigned char *at, uint64_t bytes, const char *path) {
    size_t capacity = 0;
    for (const unsigned char *end = at + bytes; at < end;) {
        SG_CHECK(end - at >= PLACE_BYTES, SG_DATA, "%s: the index of its data sets is cut off", path);
        uint32_t length = get32(at + 24);
        SG_CHECK(length <= MAX_PATH_BYTES && end - at - PLACE_BYTES >= (ptrdiff_t)length, SG_DATA,
                 "%s: the index of its data sets is cut off", path);
        if (block->places == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            sg_h5_place *larger;
            SG_TRY(SG_NEW(&larger, capacity));
            if (block->places > 0) memcpy(larger, block->place, block->places * sizeof *larger);
            SG_FREE(block->place);
            block->place = larger;
        }
        sg_h5_place *place = &block->place[block->places];
        *place = (sg_h5_place){.offset = get64(at), .bytes = get64(at + 8), .checksum = get64(at + 16)};
        SG_TRY(SG_NEW(&place->path, (size_t)length + 1));
        block->places++;
        memcpy(place->path, at + PLACE_BYTES, length);
        SG_CHECK(strlen(place->path) == length && sg_text_is_plain(place->path), SG_DATA,
                 "%s: the index of its data sets holds a name that signet does not write", path);
        uint64_t total = block->bytes + block->length;
        SG_CHECK(place->bytes <= total && place->offset <= total - place->bytes, SG_DATA,
                 "%s: %s lies outside the file", path, place->path);
        at += PLACE_BYTES + length;
    }
    return SG_OK;
}

static int check_block(sg_h5_block *block, unsigned char *bytes, uint64_t size, const char *path) {
    sg_h5_hash stored;
    memcpy(stored.byte, bytes + AT_OWN_HASH, sizeof stored.byte);
    memset(bytes + AT_OWN_HASH, 0, sizeof stored.byte);
    sg_h5_hash own = hash_bytes(bytes, block->bytes);
    SG_CHECK(
        memcmp(&own, &stored, sizeof own) == 0, SG_DATA,
        "%s: its user block (the first %llu bytes) is damaged; use another copy, or remove it and run again",
        path, (unsigned long long)block->bytes);
    uint32_t version = get32(bytes + AT_VERSION);
    SG_CHECK(version <= SG_H5_VERSION, SG_DATA,
             "%s: has format version %u, and this signet reads up to %d; use the newer signet that wrote it",
             path, version, SG_H5_VERSION);
    block->length = get64(bytes + AT_LENGTH);
    memcpy(block->hash.byte, bytes + AT_HASH, sizeof block->hash.byte);
    memcpy(block->kind, bytes + AT_KIND, sizeof block->kind);
    uint64_t index = get64(bytes + AT_INDEX);
    SG_CHECK(block->kind[SG_H5_KIND_BYTES - 1] == '\0' && get64(bytes + AT_PIECE) == SG_H5_PIECE_BYTES &&
                 index <= block->bytes - AT_PLACES,
             SG_DATA, "%s: its user block makes no sense, though its hash is right; signet has a bug", path);
    uint64_t follows = size - block->bytes;
    SG_CHECK(follows >= block->length, SG_DATA,
             "%s: is truncated: %llu of %llu bytes are there; use another copy, or remove it and run again",
             path, (unsigned long long)size, (unsigned long long)(block->length + block->bytes));
    SG_CHECK(follows == block->length, SG_DATA, "%s: %llu bytes too many at its end", path,
             (unsigned long long)(follows - block->length));
    return SG_AT(read_places(block, bytes + AT_PLACES, index, path));
}

int sg_h5_block_read(sg_h5_block *block, int descriptor, const char *path) {
    *block = (sg_h5_block){0};
    struct stat about;
    if (fstat(descriptor, &about) != 0) return sg_file_read_error(path, "examine", errno);
    uint64_t size = (uint64_t)about.st_size;
    unsigned char first[AT_PLACES] = {0};
    size_t there = size < sizeof first ? (size_t)size : sizeof first;
    SG_TRY(sg_file_read_at(descriptor, path, first, there, 0));
    if (there < sizeof magic || memcmp(first, magic, sizeof magic) != 0) return not_ours(path, first, size);
    block->bytes = get64(first + AT_BYTES);
    SG_CHECK(block->bytes >= SG_H5_BLOCK_BYTES && block->bytes <= MAX_BLOCK_BYTES &&
                 (block->bytes & (block->bytes - 1)) == 0,
             SG_DATA, "%s: its user block is damaged; use another copy, or remove it and run again", path);
    SG_CHECK(size >= block->bytes, SG_DATA, "%s: is truncated within its user block: %llu of %llu bytes",
             path, (unsigned long long)size, (unsigned long long)block->bytes);
    unsigned char *bytes;
    SG_TRY(SG_NEW(&bytes, block->bytes));
    int status = SG_AT(sg_file_read_at(descriptor, path, bytes, block->bytes, 0));
    if (status == SG_OK) status = SG_AT(check_block(block, bytes, size, path));
    SG_FREE(bytes);
    if (status != SG_OK) sg_h5_block_release(block);
    return status;
}

void sg_h5_block_release(sg_h5_block *block) {
    for (size_t i = 0; i < block->places; i++) SG_FREE(block->place[i].path);
    SG_FREE(block->place);
    *block = (sg_h5_block){0};
}

int sg_h5_hash_file(sg_h5_hash *hash, int descriptor, const char *path, uint64_t offset, uint64_t length,
                    sg_comm *comm) {
    int rank = comm == NULL ? 0 : sg_comm_rank(comm), size = comm == NULL ? 1 : sg_comm_size(comm);
    uint64_t pieces = (length + SG_H5_PIECE_BYTES - 1) / SG_H5_PIECE_BYTES;
    sg_h5_hash *each = NULL;
    unsigned char *piece = NULL;
    int status = SG_AT(SG_NEW(&each, pieces));
    if (status == SG_OK)
        status = SG_AT(SG_NEW(&piece, length < SG_H5_PIECE_BYTES ? length : SG_H5_PIECE_BYTES));
    for (uint64_t i = (uint64_t)rank; status == SG_OK && i < pieces; i += (uint64_t)size) {
        uint64_t first = i * SG_H5_PIECE_BYTES, left = length - first;
        size_t bytes = left < SG_H5_PIECE_BYTES ? (size_t)left : SG_H5_PIECE_BYTES;
        if ((status = SG_AT(sg_file_read_at(descriptor, path, piece, bytes, offset + first))) == SG_OK)
            each[i] = hash_bytes(piece, bytes);
    }
    if (comm != NULL) {
        status = SG_AT(sg_comm_agree(comm, status));
        if (status == SG_OK && size > 1) /* pieces of the others are zeros */
            status = SG_AT(sg_comm_check(MPI_Allreduce(MPI_IN_PLACE, each, (int)(pieces * sizeof *each),
                                                       MPI_BYTE, MPI_BOR, sg_comm_mpi(comm)),
                                         "MPI_Allreduce"));
    }
    if (status == SG_OK) *hash = hash_bytes(each, pieces * sizeof *each);
    SG_FREE(each);
    SG_FREE(piece);
    return status;
}

int sg_h5_checksum_file(uint64_t *checksum, int descriptor, const char *path, uint64_t offset,
                        uint64_t bytes) {
    unsigned char *piece = NULL;
    size_t room = bytes < SG_H5_PIECE_BYTES ? (size_t)bytes : SG_H5_PIECE_BYTES;
    XXH3_state_t *state = XXH3_createState();
    int status = state == NULL || XXH3_64bits_reset(state) != XXH_OK
                     ? SG_FAIL(SG_NOMEM, "out of memory: hash state")
                     : SG_AT(SG_NEW(&piece, room));
    for (uint64_t done = 0; status == SG_OK && done < bytes;) {
        size_t part = bytes - done < SG_H5_PIECE_BYTES ? (size_t)(bytes - done) : SG_H5_PIECE_BYTES;
        if ((status = SG_AT(sg_file_read_at(descriptor, path, piece, part, offset + done))) == SG_OK)
            XXH3_64bits_update(state, piece, part);
        done += part;
    }
    if (status == SG_OK) *checksum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    SG_FREE(piece);
    return status;
}

int sg_h5_open_plain(int *descriptor, const char *path, uint64_t *bytes) {
    /* Not blocking: a FIFO of that name would wait for a writer. */
    *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*descriptor < 0) return sg_file_read_error(path, "open", errno);
    struct stat about;
    int status = SG_OK;
    if (fstat(*descriptor, &about) != 0)
        status = sg_file_read_error(path, "examine", errno);
    else if (S_ISDIR(about.st_mode))
        status = sg_file_read_error(path, "open", EISDIR);
    else if (!S_ISREG(about.st_mode))
        status = SG_FAIL(SG_NOINPUT, "%s: is no regular file", path);
    else
        *bytes = (uint64_t)about.st_size;
    if (status != SG_OK) {
        close(*descriptor);
        *descriptor = -1;
    }
    return status;
}
