/* The image that tests of image files write and expect. */
#ifndef SG_TEST_PICTURE_H
#define SG_TEST_PICTURE_H

#include <stdint.h>

enum { SIDE = 16, PIXELS = SIDE * SIDE };

/* A smooth image, which JPEG keeps to within a few levels; differs with `which`. */
static inline const uint8_t *picture(int which, int channels) {
    static uint8_t pixels[PIXELS * 4];
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < channels; c++)
            pixels[p * channels + c] =
                (uint8_t)(40 + 5 * (p % SIDE) + 4 * (p / SIDE) + 20 * (which % 5) + 15 * c);
    return pixels;
}

#endif
