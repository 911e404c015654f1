/* Packed data sets whose bytes are right and whose content is not: a file is written with data sets of types,
 * shapes and values by the input, under the names that the reader looks for. */
#include <stdlib.h>
#include <string.h>

#include "pipeline/data_packed.h"
#include "pipeline/h5.h"
#include "tests/fuzz/files.h"
#include "tests/fuzz/readers.h"

enum { MOST_ELEMENTS = 4096 };

static void check(int status) { sg_fuzz_require(status == SG_OK, "the file can be written"); }

/* Type, shape and values by the input; `usual` where it says so. */
static void add(sg_h5_content *content, sg_fuzz_input *input, const char *path, enum sg_h5_type usual,
                int ndims, size_t *dims, void **owned) {
    unsigned how = sg_fuzz_byte(input);
    enum sg_h5_type type = how & 1 ? (enum sg_h5_type)(sg_fuzz_byte(input) % SG_H5_STRINGS) : usual;
    if (how & 2) return;
    if (how & 4) {
        ndims = sg_fuzz_byte(input) % 5;
        for (int d = 0; d < ndims; d++) dims[d] = sg_fuzz_byte(input) % 8;
    }
    size_t count = 1;
    for (int d = 0; d < ndims; d++) count *= dims[d];
    sg_fuzz_input values = sg_fuzz_part(input, how & 8 ? 64 : 16);
    uint8_t *bytes = calloc(count + 1, 8);
    if (bytes == NULL) exit(71);
    for (size_t i = 0; values.left > 0 && i < count * sg_h5_type_size(type); i++)
        bytes[i] = values.at[i % values.left];
    check(sg_h5_add(content, path, type, ndims, dims, bytes));
    *owned = bytes;
}

static void add_names(sg_h5_content *content, sg_fuzz_input *input) {
    char text[4][16] = {""};
    const char *const names[] = {text[0], text[1], text[2], text[3]};
    size_t count = sg_fuzz_byte(input) % 5;
    for (size_t i = 0; i < count; i++) {
        sg_fuzz_input part = sg_fuzz_part(input, sg_fuzz_byte(input) % 15);
        if (part.left > 0) memcpy(text[i], part.at, part.left);
    }
    if (sg_fuzz_byte(input) % 8 != 7) check(sg_h5_add_strings(content, SG_PACKED_CLASSES, count, names));
}

static void add_attributes(sg_h5_content *content, sg_fuzz_input *input) {
    unsigned what = sg_fuzz_byte(input);
    char name[80] = "";
    sg_fuzz_input part = sg_fuzz_part(input, sg_fuzz_byte(input) % sizeof name);
    for (size_t i = 0; i + 1 < sizeof name && i < part.left; i++) name[i] = (char)part.at[i];
    if ((what & 1) == 0) check(sg_h5_set_text(content, SG_PACKED_NAME, name));
    if ((what & 2) == 0) check(sg_h5_set_integer(content, SG_PACKED_SIZE, (int8_t)sg_fuzz_byte(input) * 200));
    if ((what & 4) == 0) check(sg_h5_set_unsigned(content, SG_PACKED_FINGERPRINT, sg_fuzz_byte(input)));
    if ((what & 9) == 9) check(sg_h5_set_real(content, SG_PACKED_NAME, 1.5));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sg_fuzz_input input = {data, size};
    bool files = sg_fuzz_byte(&input) & 1;
    sg_h5_content *content;
    void *owned[10] = {NULL};
    int used = 0;
    check(sg_h5_content_create(&content, SG_PACKED_KIND));
    for (int s = 0; s < SG_SPLITS; s++) {
        size_t samples = sg_fuzz_byte(&input) % 8, side = sg_fuzz_byte(&input) % 8;
        size_t images[8] = {samples, side, side, 1 + sg_fuzz_byte(&input) % 4}, starts[8] = {samples + 1};
        size_t labels[8] = {samples}, bytes[8] = {sg_fuzz_number(&input, MOST_ELEMENTS)};
        const char *split = sg_data_split_name((enum sg_data_split)s);
        char name[64];
        snprintf(name, sizeof name, SG_PACKED_LABELS, split);
        add(content, &input, name, SG_H5_I32, 1, labels, &owned[used++]);
        snprintf(name, sizeof name, SG_PACKED_FILES, split);
        if (files) add(content, &input, name, SG_H5_U8, 1, bytes, &owned[used++]);
        snprintf(name, sizeof name, SG_PACKED_STARTS, split);
        if (files) add(content, &input, name, SG_H5_U64, 1, starts, &owned[used++]);
        snprintf(name, sizeof name, SG_PACKED_IMAGES, split);
        if (!files) add(content, &input, name, SG_H5_U8, 4, images, &owned[used++]);
    }
    size_t channels = 1 + sg_fuzz_byte(&input) % 4;
    add(content, &input, SG_PACKED_MEAN, SG_H5_F32, 1, (size_t[8]){channels}, &owned[used++]);
    add(content, &input, SG_PACKED_DEVIATION, SG_H5_F32, 1, (size_t[8]){channels}, &owned[used++]);
    add_names(content, &input);
    add_attributes(content, &input);

    char path[256];
    snprintf(path, sizeof path, "%s/packed.h5", sg_fuzz_folder());
    check(sg_h5_write(path, NULL, content));
    sg_h5_content_destroy(&content);
    while (used > 0) free(owned[--used]);
    sg_fuzz_read_all(&sg_data_packed, &(sg_data_options){.path = path}, NULL);
    return 0;
}
