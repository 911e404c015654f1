/* JPEG and PNG. The first byte chooses by how much a JPEG is reduced. */
#include <stdlib.h>

#include "pipeline/data_kind.h"
#include "tests/fuzz/files.h"

enum { MOST = 1 << 20 /* pixels that are decoded, to stay fast */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int eighths[] = {8, 4, 2, 1};
    sg_fuzz_input input = {data, size};
    int part = eighths[sg_fuzz_byte(&input) % 4], height = 0, width = 0;
    unsigned char *bytes = sg_fuzz_copy(input.at, input.left);
    int status = sg_data_image_probe("fuzz", bytes, input.left, &height, &width);
    sg_fuzz_require(status == SG_OK || status == SG_DATA, "a damaged image is damaged data");
    if (status == SG_OK) {
        sg_fuzz_require(height >= 1 && width >= 1 && height <= SG_DATA_MAX_SIDE && width <= SG_DATA_MAX_SIDE,
                        "sides are within the limit");
        if (sg_data_image_is_png(bytes, input.left)) part = 8;
        if (height * (int64_t)width <= MOST) {
            uint8_t *rgb = sg_fuzz_copy(NULL, 3 * (size_t)sg_data_image_reduced(height, part) *
                                                  (size_t)sg_data_image_reduced(width, part));
            status = sg_data_image_decode("fuzz", bytes, input.left, height, width, part, rgb);
            sg_fuzz_require(status == SG_OK || status == SG_DATA, "a damaged image is damaged data");
            free(rgb);
        }
    }
    free(bytes);
    return 0;
}
