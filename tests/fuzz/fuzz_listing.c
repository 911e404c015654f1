/* What the child process sends that reads files of other origin: a hostile file may have taken it over. */
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/h5_common.h"
#include "tests/fuzz/files.h"

static void use_entry(sg_h5_file *file, const sg_h5_entry *entry, size_t bytes) {
    sg_fuzz_require(strlen(entry->path) < bytes, "a path is text");
    if (entry->type == SG_H5_STRINGS) {
        char **text;
        size_t count;
        if (sg_h5_read_strings(file, entry->path, &text, &count) == SG_OK) {
            for (size_t i = 0; i < count; i++) sg_fuzz_require(strlen(text[i]) < bytes, "an element is text");
            SG_FREE(text);
        }
        return;
    }
    sg_fuzz_require(entry->count <= bytes, "there are no more elements than bytes");
    void *out = sg_fuzz_copy(NULL, entry->count * sg_h5_type_size(entry->type));
    sg_fuzz_require(sg_h5_read(file, entry->path, entry->type, entry->ndims, entry->dims, out) == SG_OK ||
                        sg_h5_find(file, entry->path) != entry,
                    "what is listed can be read");
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sg_h5_file *file;
    if (SG_NEW(&file, 1) != SG_OK) exit(71);
    *file = (sg_h5_file){.path = strdup("fuzz.h5"), .foreign = true, .file = H5I_INVALID_HID};
    file->listing = (sg_h5_listing){.byte = sg_fuzz_copy(data, size), .bytes = size, .room = size};
    int status = sg_h5_share_listing(file, SG_OK);
    sg_fuzz_require(status == SG_OK || status == SG_DATA, "nonsense is damaged data");
    for (size_t i = 0; status == SG_OK && i < sg_h5_entries(file); i++)
        use_entry(file, sg_h5_entry_at(file, i), size);
    for (size_t i = 0; status == SG_OK && i < sg_h5_attributes(file); i++) {
        char value[64];
        const char *text, *name = sg_h5_attribute_at(file, i, value, sizeof value);
        int64_t integer;
        sg_fuzz_require(strlen(value) < sizeof value, "a value is text");
        if (sg_h5_get_text(file, name, &text) == SG_OK)
            sg_fuzz_require(strlen(text) < size, "a value is text");
        else if (sg_h5_get_integer(file, name, &integer) != SG_OK)
            sg_error_clear();
    }
    sg_h5_close(&file);
    return 0;
}
