/* Direct convolution: every product of the formula, summed by the micro-kernel. Any shape. */
#ifndef SG_LANES_CONV_DIRECT_H
#define SG_LANES_CONV_DIRECT_H

#include "kernels/conv.h"
#include "kernels/lanes/simd.h"

bool SG_VARIANT(sg_conv_direct_supports)(const sg_machine *machine, const sg_conv_shape *shape);

/* Forward and data gradient, conv_direct.c. */
int SG_VARIANT(sg_conv_direct_create_forward)(void **state, const sg_machine *machine,
                                              const sg_conv_shape *shape, const sg_support *support);
int SG_VARIANT(sg_conv_direct_create_data)(void **state, const sg_machine *machine,
                                           const sg_conv_shape *shape, const sg_support *support);
int SG_VARIANT(sg_conv_direct_prepare)(void *state, const float *weights, float *packed);
int SG_VARIANT(sg_conv_direct_run)(void *state, const sg_conv_pass *pass);
void SG_VARIANT(sg_conv_direct_destroy)(void **state);
sg_conv_bytes SG_VARIANT(sg_conv_direct_bytes_forward)(const sg_machine *machine, const sg_conv_shape *shape,
                                                       const sg_support *support, int blocks);
sg_conv_bytes SG_VARIANT(sg_conv_direct_bytes_data)(const sg_machine *machine, const sg_conv_shape *shape,
                                                    const sg_support *support, int blocks);

/* Weight gradient, conv_direct_weight.c. */
int SG_VARIANT(sg_conv_direct_create_weight)(void **state, const sg_machine *machine,
                                             const sg_conv_shape *shape, const sg_support *support);
int SG_VARIANT(sg_conv_direct_run_weight)(void *state, const sg_conv_pass *pass);
void SG_VARIANT(sg_conv_direct_destroy_weight)(void **state);
sg_conv_bytes SG_VARIANT(sg_conv_direct_bytes_weight)(const sg_machine *machine, const sg_conv_shape *shape,
                                                      const sg_support *support, int blocks);

#define SG_CONV_DIRECT                                                                                       \
    {                                                                                                        \
        {"direct",                                                                                           \
         SG_VARIANT(sg_conv_direct_supports),                                                                \
         SG_VARIANT(sg_conv_direct_create_forward),                                                          \
         SG_VARIANT(sg_conv_direct_prepare),                                                                 \
         SG_VARIANT(sg_conv_direct_run),                                                                     \
         SG_VARIANT(sg_conv_direct_destroy),                                                                 \
         SG_VARIANT(sg_conv_direct_bytes_forward)},                                                          \
            {"direct",                                                                                       \
             SG_VARIANT(sg_conv_direct_supports),                                                            \
             SG_VARIANT(sg_conv_direct_create_data),                                                         \
             SG_VARIANT(sg_conv_direct_prepare),                                                             \
             SG_VARIANT(sg_conv_direct_run),                                                                 \
             SG_VARIANT(sg_conv_direct_destroy),                                                             \
             SG_VARIANT(sg_conv_direct_bytes_data)},                                                         \
            {"direct",                                                                                       \
             SG_VARIANT(sg_conv_direct_supports),                                                            \
             SG_VARIANT(sg_conv_direct_create_weight),                                                       \
             NULL,                                                                                           \
             SG_VARIANT(sg_conv_direct_run_weight),                                                          \
             SG_VARIANT(sg_conv_direct_destroy_weight),                                                      \
             SG_VARIANT(sg_conv_direct_bytes_weight)},                                                       \
    }

#endif
