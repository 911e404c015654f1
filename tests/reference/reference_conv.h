/* Naive twins of kernels/conv.h: plain [sample][channel][height][width] arrays in double, one sum at a time,
 * in the order of the formula. Weights are canonical, [out][in/groups][kernel_height][kernel_width]. All
 * arrays are borrowed and results are overwritten. Local; cannot fail. */
#ifndef SG_REFERENCE_CONV_H
#define SG_REFERENCE_CONV_H

#include "kernels/conv.h"

/* y [samples][out_channels][out_height][out_width]; bias [out_channels] or NULL. */
void sg_ref_conv_forward(const sg_conv_shape *s, int samples, const double *x, const double *w,
                         const double *bias, double *y);

/* dx [samples][in_channels][in_height][in_width]. */
void sg_ref_conv_data_gradient(const sg_conv_shape *s, int samples, const double *dy, const double *w,
                               double *dx);

/* dw has the shape of the weights; dbias [out_channels] or NULL. */
void sg_ref_conv_weight_gradient(const sg_conv_shape *s, int samples, const double *x, const double *dy,
                                 double *dw, double *dbias);

#endif
