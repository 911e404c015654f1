/* Augmentation: where in its image a sample of an epoch is looked at. Keyed by (seed, epoch, sample): the
 * same on any rank and thread. Local. */
#ifndef SG_AUGMENT_H
#define SG_AUGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/error.h"

enum sg_augment {
    SG_AUGMENT_NONE,
    SG_AUGMENT_CROP_FLIP, /* torchvision: RandomCrop(size, padding=4), black outside; RandomHorizontalFlip */
    SG_AUGMENT_RESIZED_CROP /* RandomResizedCrop(size), bilinear with antialiasing as PIL;
                               RandomHorizontalFlip */
};

/* A window of the image: its upper left corner, which may lie outside, its size, and whether it is mirrored.
 */
typedef struct sg_view {
    int top, left, height, width;
    bool flip;
} sg_view;

/* SG_CONFIG: unknown name. NULL: none. */
int sg_augment_find(const char *name, enum sg_augment *augment);

/* The view of a sample in an epoch, from sg_rng(seed, SG_RNG_AUGMENT, epoch, sample, 0 ...). resized_crop
 * takes areas from 1/2 for images up to 64 pixels wide and high (Tiny-ImageNet), from 0.08 for larger ones.
 */
sg_view sg_augment_draw(enum sg_augment augment, uint64_t seed, uint32_t epoch, uint32_t sample, int height,
                        int width);

/* resized_crop's window of an image of height x width: torchvision's RandomResizedCrop with scale (smallest,
 * 1), ratio (3/4, 4/3), and whether it is mirrored. */
sg_view sg_augment_resized_crop(uint64_t seed, uint32_t epoch, uint32_t sample, int height, int width,
                                double smallest);

/* The protocol's smallest area for a network that sees images of height x width. */
double sg_augment_smallest(int height, int width);

/* Mirrors an image in place. */
void sg_view_mirror(uint8_t *image, int height, int width, int channels);

/* Row y of a view of the image's own size: out[width * channels] from image[height][width][channels], zero
 * where the view lies outside. */
void sg_view_row(const sg_view *view, const uint8_t *image, int height, int width, int channels, int y,
                 uint8_t *out);

/* Bytes of scratch that sg_view_resample needs for images of this size. */
size_t sg_view_scratch(int height, int width, int channels);

/* A view inside the image, brought to the image's own size and mirrored if it says so:
 * out[height][width][channels]. Bilinear with antialiasing and 8-bit passes, horizontal first: the bytes of
 * PIL's resize. */
void sg_view_resample(const sg_view *view, const uint8_t *image, int height, int width, int channels,
                      void *scratch, uint8_t *out);

#endif
