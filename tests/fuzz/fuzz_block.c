/* The user block and the checks before libhdf5. An input is: what is made right in it, the bytes of the block
 * and what follows it. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "pipeline/h5_block.h"
#include "tests/fuzz/files.h"

enum { MAGIC_RIGHT = 1, SIZE_RIGHT = 2, LENGTH_RIGHT = 4, CONTENT_RIGHT = 8, BLOCK_RIGHT = 16 };
enum { AT_SIZE = 16, AT_LENGTH = 24, AT_HASH = 32, AT_PIECE = 56, AT_OWN_HASH = 112 };

static void put_hash(uint8_t *to, const void *bytes, size_t size) {
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(bytes, size));
    memcpy(to, hash.digest, sizeof hash.digest);
}

static void make_right(uint8_t *block, const sg_fuzz_input *tail, unsigned what) {
    const uint64_t size = SG_H5_BLOCK_BYTES, piece = SG_H5_PIECE_BYTES, length = tail->left;
    if (what & MAGIC_RIGHT) memcpy(block, "SIGNET\r\n\x1a\n\0\0\1\0\0", 16);
    if (what & SIZE_RIGHT) {
        memcpy(block + AT_SIZE, &size, 8);
        memcpy(block + AT_PIECE, &piece, 8);
    }
    if (what & LENGTH_RIGHT) memcpy(block + AT_LENGTH, &length, 8);
    if (what & CONTENT_RIGHT) { /* the hash of the hashes of pieces, of which there is one */
        uint8_t inner[16];
        put_hash(inner, tail->at, tail->left);
        put_hash(block + AT_HASH, inner, tail->left > 0 ? sizeof inner : 0);
    }
    if (what & BLOCK_RIGHT) {
        memset(block + AT_OWN_HASH, 0, 16);
        put_hash(block + AT_OWN_HASH, block, SG_H5_BLOCK_BYTES);
    }
}

static void count_lines(void *context, const char *line) {
    sg_fuzz_require(line[0] != '\0', "a report has text");
    ++*(int *)context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sg_fuzz_input input = {data, size};
    unsigned what = sg_fuzz_byte(&input);
    size_t bytes = sg_fuzz_number(&input, SG_H5_BLOCK_BYTES);
    sg_fuzz_input head = sg_fuzz_part(&input, bytes);
    size_t block_size = what & SIZE_RIGHT ? SG_H5_BLOCK_BYTES : head.left;
    uint8_t *file = calloc(1, SG_H5_BLOCK_BYTES + input.left);
    if (file == NULL) exit(71);
    if (head.left > 0) memcpy(file, head.at, head.left);
    make_right(file, &input, what);
    if (input.left > 0) memcpy(file + block_size, input.at, input.left);
    int lines = 0,
        status = sg_h5_verify(sg_fuzz_write("file.h5", file, block_size + input.left), count_lines, &lines);
    sg_fuzz_require(status == SG_OK || status == SG_DATA, "a damaged file is damaged data");
    sg_fuzz_require((status == SG_OK) == (lines == 0), "what is damaged is reported");
    free(file);
    return 0;
}
