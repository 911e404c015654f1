/* Bilinear resampling with antialiasing: the bytes of PIL's Image.resize(..., BILINEAR), which is what
 * torchvision's transforms call. Two 8-bit passes, horizontal first. Local. */
#ifndef SG_RESAMPLE_H
#define SG_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

/* One direction: pixels [first, first + count) of the image may be read; of these, the interval [begin, end),
 * counted from `first`, becomes `out` pixels, of which [out_first, out_first + out_count) are wanted. */
typedef struct sg_span {
    int first, count;
    double begin, end;
    int out, out_first, out_count;
} sg_span;

/* The pixels [first, first + count) as a whole to `out` pixels, all of them wanted. */
sg_span sg_span_whole(int first, int count, int out);

/* Bytes of scratch for one call. */
size_t sg_resample_scratch(const sg_span *down, const sg_span *across, int channels);

/* image[...][width][channels], of which the spans' pixels are read, to
 * out[down->out_count][across->out_count][channels]. scratch is aligned for any type. */
void sg_resample(const sg_span *down, const sg_span *across, const uint8_t *image, int width, int channels,
                 void *scratch, uint8_t *out);

#endif
