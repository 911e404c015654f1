#include "tests/reference/reference_conv.h"

#include <string.h>

/* One product of the convolution: y[out] += w[weight] * x[in]. */
typedef struct product {
    size_t out, weight, in;
} product;

typedef void (*product_visitor)(void *context, product p);

/* Visits every product of one sample pair of planes; taps that fall on the padding are left out. Inlined with
 * its visitor: tests spend most of their time here. */
static inline __attribute__((always_inline)) void visit_products(const sg_conv_shape *s, int samples,
                                                                 product_visitor visit, void *context) {
    int in_group = s->in_channels / s->groups, out_group = s->out_channels / s->groups;
    for (int n = 0; n < samples; n++)
        for (int o = 0; o < s->out_channels; o++)
            for (int i = 0; i < s->out_height; i++)
                for (int j = 0; j < s->out_width; j++)
                    for (int c = 0; c < in_group; c++)
                        for (int r = 0; r < s->kernel_height; r++)
                            for (int q = 0; q < s->kernel_width; q++) {
                                int y = i * s->stride + r - s->padding, x = j * s->stride + q - s->padding;
                                if (y < 0 || y >= s->in_height || x < 0 || x >= s->in_width) continue;
                                int channel = o / out_group * in_group + c;
                                size_t in_plane = (size_t)n * (size_t)s->in_channels + (size_t)channel;
                                size_t out_plane = (size_t)n * (size_t)s->out_channels + (size_t)o;
                                size_t filter = (size_t)o * (size_t)in_group + (size_t)c;
                                visit(context, (product){(out_plane * (size_t)s->out_height + (size_t)i) *
                                                                 (size_t)s->out_width +
                                                             (size_t)j,
                                                         (filter * (size_t)s->kernel_height + (size_t)r) *
                                                                 (size_t)s->kernel_width +
                                                             (size_t)q,
                                                         (in_plane * (size_t)s->in_height + (size_t)y) *
                                                                 (size_t)s->in_width +
                                                             (size_t)x});
                            }
}

typedef struct operands {
    const double *x, *w, *dy;
    double *y, *dx, *dw;
} operands;

static void add_forward(void *context, product p) {
    operands *a = context;
    a->y[p.out] += a->w[p.weight] * a->x[p.in];
}

static void add_data_gradient(void *context, product p) {
    operands *a = context;
    a->dx[p.in] += a->w[p.weight] * a->dy[p.out];
}

static void add_weight_gradient(void *context, product p) {
    operands *a = context;
    a->dw[p.weight] += a->dy[p.out] * a->x[p.in];
}

void sg_ref_conv_forward(const sg_conv_shape *s, int samples, const double *x, const double *w,
                         const double *bias, double *y) {
    size_t plane = (size_t)s->out_height * (size_t)s->out_width, channels = (size_t)s->out_channels;
    for (size_t i = 0; i < (size_t)samples * channels * plane; i++)
        y[i] = bias != NULL ? bias[i / plane % channels] : 0.0;
    visit_products(s, samples, add_forward, &(operands){.x = x, .w = w, .y = y});
}

void sg_ref_conv_data_gradient(const sg_conv_shape *s, int samples, const double *dy, const double *w,
                               double *dx) {
    size_t pixels = (size_t)s->in_height * (size_t)s->in_width;
    memset(dx, 0, (size_t)samples * (size_t)s->in_channels * pixels * sizeof *dx);
    visit_products(s, samples, add_data_gradient, &(operands){.dy = dy, .w = w, .dx = dx});
}

void sg_ref_conv_weight_gradient(const sg_conv_shape *s, int samples, const double *x, const double *dy,
                                 double *dw, double *dbias) {
    size_t plane = (size_t)s->out_height * (size_t)s->out_width, channels = (size_t)s->out_channels;
    size_t weights =
        channels * (size_t)(s->in_channels / s->groups) * (size_t)s->kernel_height * (size_t)s->kernel_width;
    memset(dw, 0, weights * sizeof *dw);
    visit_products(s, samples, add_weight_gradient, &(operands){.x = x, .dy = dy, .dw = dw});
    if (dbias == NULL) return;
    memset(dbias, 0, channels * sizeof *dbias);
    for (size_t i = 0; i < (size_t)samples * channels * plane; i++) dbias[i / plane % channels] += dy[i];
}
