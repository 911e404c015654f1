/* The table of the depthwise convolution: sg_conv_algorithm, see kernels/conv.h. */
#ifndef SG_CONV_DEPTHWISE_H
#define SG_CONV_DEPTHWISE_H

#include "kernels/conv.h"
#include "kernels/lanes/simd.h"

bool SG_VARIANT(sg_conv_depthwise_supports)(const sg_machine *machine, const sg_conv_shape *shape);

int SG_VARIANT(sg_conv_depthwise_create_forward)(void **state, const sg_machine *machine,
                                                 const sg_conv_shape *shape, const sg_support *support);
int SG_VARIANT(sg_conv_depthwise_create_data)(void **state, const sg_machine *machine,
                                              const sg_conv_shape *shape, const sg_support *support);
int SG_VARIANT(sg_conv_depthwise_prepare)(void *state, const float *weights, float *packed);
int SG_VARIANT(sg_conv_depthwise_run_forward)(void *state, const sg_conv_pass *pass);
int SG_VARIANT(sg_conv_depthwise_run_data)(void *state, const sg_conv_pass *pass);
void SG_VARIANT(sg_conv_depthwise_destroy)(void **state);
sg_conv_bytes SG_VARIANT(sg_conv_depthwise_bytes)(const sg_machine *machine, const sg_conv_shape *shape,
                                                  const sg_support *support, int blocks);

int SG_VARIANT(sg_conv_depthwise_create_weight)(void **state, const sg_machine *machine,
                                                const sg_conv_shape *shape, const sg_support *support);
int SG_VARIANT(sg_conv_depthwise_run_weight)(void *state, const sg_conv_pass *pass);
void SG_VARIANT(sg_conv_depthwise_destroy_weight)(void **state);
sg_conv_bytes SG_VARIANT(sg_conv_depthwise_bytes_weight)(const sg_machine *machine,
                                                         const sg_conv_shape *shape,
                                                         const sg_support *support, int blocks);

#define SG_CONV_DEPTHWISE                                                                                    \
    {                                                                                                        \
        [SG_CONV_FORWARD] = {.name = "depthwise",                                                            \
                             .supports = SG_VARIANT(sg_conv_depthwise_supports),                             \
                             .create = SG_VARIANT(sg_conv_depthwise_create_forward),                         \
                             .prepare = SG_VARIANT(sg_conv_depthwise_prepare),                               \
                             .run = SG_VARIANT(sg_conv_depthwise_run_forward),                               \
                             .destroy = SG_VARIANT(sg_conv_depthwise_destroy),                               \
                             .bytes = SG_VARIANT(sg_conv_depthwise_bytes)},                                  \
        [SG_CONV_DATA_GRADIENT] = {.name = "depthwise",                                                      \
                                   .supports = SG_VARIANT(sg_conv_depthwise_supports),                       \
                                   .create = SG_VARIANT(sg_conv_depthwise_create_data),                      \
                                   .prepare = SG_VARIANT(sg_conv_depthwise_prepare),                         \
                                   .run = SG_VARIANT(sg_conv_depthwise_run_data),                            \
                                   .destroy = SG_VARIANT(sg_conv_depthwise_destroy),                         \
                                   .bytes = SG_VARIANT(sg_conv_depthwise_bytes)},                            \
        [SG_CONV_WEIGHT_GRADIENT] = {                                                                        \
            .name = "depthwise",                                                                             \
            .supports = SG_VARIANT(sg_conv_depthwise_supports),                                              \
            .create = SG_VARIANT(sg_conv_depthwise_create_weight),                                           \
            .run = SG_VARIANT(sg_conv_depthwise_run_weight),                                                 \
            .destroy = SG_VARIANT(sg_conv_depthwise_destroy_weight),                                         \
            .bytes = SG_VARIANT(sg_conv_depthwise_bytes_weight)                                              \
        }                                                                                                    \
    }

#endif
