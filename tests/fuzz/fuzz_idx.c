/* MNIST's files, plain, compressed here, or as compressed bytes. An input is, for each of the four files, how
 * it is stored and how many bytes it takes, and then those bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/readers.h"

enum storage { PLAIN, COMPRESSED, GIVEN, STORAGES };

static void write_compressed(const char *name, const sg_fuzz_input *part) {
    z_stream z = {0};
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) exit(71);
    size_t room = deflateBound(&z, part->left);
    uint8_t *packed = sg_fuzz_copy(NULL, room);
    z.next_in = (uint8_t *)(uintptr_t)part->at;
    z.avail_in = (unsigned)part->left;
    z.next_out = packed;
    z.avail_out = (unsigned)room;
    deflate(&z, Z_FINISH);
    sg_fuzz_write(name, packed, z.total_out);
    deflateEnd(&z);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    sg_fuzz_input input = {data, size};
    enum storage how[4];
    size_t bytes[4];
    for (int f = 0; f < 4; f++) {
        how[f] = (enum storage)(sg_fuzz_byte(&input) % STORAGES);
        bytes[f] = sg_fuzz_number(&input, UINT16_MAX);
    }
    for (int f = 0; f < 4; f++) {
        char zipped[64];
        sg_fuzz_input part = sg_fuzz_part(&input, bytes[f]);
        snprintf(zipped, sizeof zipped, "%s.gz", names[f]);
        sg_fuzz_remove(how[f] == PLAIN ? zipped : names[f]);
        if (how[f] == COMPRESSED)
            write_compressed(zipped, &part);
        else
            sg_fuzz_write(how[f] == PLAIN ? names[f] : zipped, part.at, part.left);
    }
    sg_fuzz_read_all(&sg_data_idx, &(sg_data_options){.path = sg_fuzz_folder()}, NULL);
    return 0;
}
