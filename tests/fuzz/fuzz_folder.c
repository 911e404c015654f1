/* Image folders: a listing that was kept, with a right header, or Tiny-ImageNet's lists of classes and
 * annotations; then two images. An input is: which of them, the length of the text or listing, that, and an
 * image. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/readers.h"

/* As pipeline/data_listing.c writes it. */
static void write_listing(const sg_fuzz_input *listing) {
    uint64_t numbers[2] = {listing->left, XXH3_64bits(listing->at, listing->left)};
    uint8_t *bytes = sg_fuzz_copy(NULL, 32 + listing->left);
    memcpy(bytes, "signet listing1", 16);
    memcpy(bytes + 16, numbers, sizeof numbers);
    if (listing->left > 0) memcpy(bytes + 32, listing->at, listing->left);
    sg_fuzz_write(".signet-listing", bytes, 32 + listing->left);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sg_fuzz_input input = {data, size};
    unsigned what = sg_fuzz_byte(&input);
    size_t length = sg_fuzz_number(&input, 8192);
    sg_fuzz_input text = sg_fuzz_part(&input, length);
    sg_fuzz_remove(".signet-listing");
    sg_fuzz_remove("val/val_annotations.txt");
    sg_fuzz_remove("wnids.txt");
    sg_fuzz_write("train/a/1.png", input.at, input.left);
    sg_fuzz_write("train/b/1.jpg", input.at, input.left);
    sg_fuzz_write("val/a/1.png", input.at, input.left);
    sg_fuzz_write("val/images/1.png", input.at, input.left);
    if ((what & 1) == 0) write_listing(&text);
    if (what & 1) sg_fuzz_write("val/val_annotations.txt", text.at, text.left);
    if (what & 2) sg_fuzz_write("wnids.txt", text.at, text.left);

    sg_data_options options = {.path = sg_fuzz_folder(), .size = what & 4 ? 32 : 0};
    sg_blob parts = {0};
    if (sg_data_folder.recall(&options, &parts) || sg_data_folder.list(&options, 0, 1, &parts) == SG_OK)
        sg_fuzz_read_all(&sg_data_folder, &options, &parts);
    sg_blob_release(&parts);
    return 0;
}
