/* The Winograd tables' functions, for tables.h. */
#ifndef SG_LANES_CONV_WINOGRAD_TABLES_H
#define SG_LANES_CONV_WINOGRAD_TABLES_H

#include "kernels/conv.h"
#include "kernels/lanes/simd.h"

bool SG_VARIANT(sg_winograd_supports)(const sg_machine *machine, const sg_conv_shape *shape);
bool SG_VARIANT(sg_winograd_stride2_supports)(const sg_machine *machine, const sg_conv_shape *shape);

#define SG_WINOGRAD_DECLARE_PASS(form, pass)                                                                 \
    int SG_VARIANT(sg_##form##_##pass##_create)(void **state, const sg_machine *machine,                     \
                                                const sg_conv_shape *shape, const sg_support *support);      \
    sg_conv_bytes SG_VARIANT(sg_##form##_##pass##_bytes)(                                                    \
        const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support, int blocks);

#define SG_WINOGRAD_DECLARE(form)                                                                            \
    SG_WINOGRAD_DECLARE_PASS(form, forward)                                                                  \
    SG_WINOGRAD_DECLARE_PASS(form, data_gradient)                                                            \
    SG_WINOGRAD_DECLARE_PASS(form, weight_gradient)

SG_WINOGRAD_DECLARE(winograd4)
SG_WINOGRAD_DECLARE(winograd2)
SG_WINOGRAD_DECLARE(winograd4s2)

/* The forward pass and the data gradient share their states' type, the weight gradient has its own; either
 * serves all forms. */
int SG_VARIANT(sg_winograd_prepare)(void *state, const float *weights, float *packed);
int SG_VARIANT(sg_winograd_run)(void *state, const sg_conv_pass *pass);
void SG_VARIANT(sg_winograd_destroy)(void **state);
int SG_VARIANT(sg_winograd_weight_gradient_run)(void *state, const sg_conv_pass *pass);
void SG_VARIANT(sg_winograd_weight_gradient_destroy)(void **state);

#define SG_WINOGRAD_TABLE(form, supports)                                                                    \
    {                                                                                                        \
        {#form,                                                                                              \
         SG_VARIANT(supports),                                                                               \
         SG_VARIANT(sg_##form##_forward_create),                                                             \
         SG_VARIANT(sg_winograd_prepare),                                                                    \
         SG_VARIANT(sg_winograd_run),                                                                        \
         SG_VARIANT(sg_winograd_destroy),                                                                    \
         SG_VARIANT(sg_##form##_forward_bytes)},                                                             \
            {#form,                                                                                          \
             SG_VARIANT(supports),                                                                           \
             SG_VARIANT(sg_##form##_data_gradient_create),                                                   \
             SG_VARIANT(sg_winograd_prepare),                                                                \
             SG_VARIANT(sg_winograd_run),                                                                    \
             SG_VARIANT(sg_winograd_destroy),                                                                \
             SG_VARIANT(sg_##form##_data_gradient_bytes)},                                                   \
        {                                                                                                    \
#form, SG_VARIANT(supports), SG_VARIANT(sg_##form##_weight_gradient_create), NULL,               \
                SG_VARIANT(sg_winograd_weight_gradient_run),                                                 \
                SG_VARIANT(sg_winograd_weight_gradient_destroy),                                             \
                SG_VARIANT(sg_##form##_weight_gradient_bytes)                                                \
        }                                                                                                    \
    }

#endif
