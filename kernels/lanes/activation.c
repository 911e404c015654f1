/* Activations as layers of their own (batch norm has its built in). */
#include "kernels/lanes/functions.h"
#include "kernels/lanes/layers_internal.h"

static inline __attribute__((always_inline)) void forward(const enum sg_activation kind, size_t count,
                                                          const float *x, float *y) {
    for (size_t i = 0; i < count; i += SG_WIDTH) sg_store(y + i, sg_activate(kind, sg_load(x + i)));
}

static inline __attribute__((always_inline)) void backward(const enum sg_activation kind, size_t count,
                                                           const float *x, const float *dy, float *dx,
                                                           bool accumulate) {
    for (size_t i = 0; i < count; i += SG_WIDTH)
        sg_put(dx + i, sg_activate_back(kind, sg_load(x + i), sg_load(dy + i)), accumulate);
}

/* One pair per activation, so that the choice is outside the loops. */
#define ACTIVATION(name, kind)                                                                               \
    static void name##_forward(size_t count, const float *x, float *y) { forward(kind, count, x, y); }       \
    static void name##_backward(size_t count, const float *x, const float *dy, float *dx, bool accumulate) { \
        backward(kind, count, x, dy, dx, accumulate);                                                        \
    }
ACTIVATION(identity, SG_IDENTITY)
ACTIVATION(relu, SG_RELU)
ACTIVATION(relu6, SG_RELU6)
ACTIVATION(swish, SG_SWISH)
ACTIVATION(gelu, SG_GELU)
ACTIVATION(sigmoid, SG_SIGMOID)

static const struct {
    void (*forward)(size_t count, const float *x, float *y);
    void (*backward)(size_t count, const float *x, const float *dy, float *dx, bool accumulate);
} activations[] = {[SG_IDENTITY] = {identity_forward, identity_backward},
                   [SG_RELU] = {relu_forward, relu_backward},
                   [SG_RELU6] = {relu6_forward, relu6_backward},
                   [SG_SWISH] = {swish_forward, swish_backward},
                   [SG_GELU] = {gelu_forward, gelu_backward},
                   [SG_SIGMOID] = {sigmoid_forward, sigmoid_backward}};

int SG_VARIANT(sg_activation_forward)(const sg_machine *m, int blocks, enum sg_activation kind,
                                      const sg_tensor *x, sg_tensor *y) {
    size_t count = (size_t)x->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < x->height; row++)
            for (int col = 0; col < x->width; col++)
                activations[kind].forward(count, sg_tensor_at(x, b, row, col), sg_tensor_at(y, b, row, col));
    return SG_OK;
}

int SG_VARIANT(sg_activation_backward)(const sg_machine *m, int blocks, enum sg_activation kind,
                                       const sg_tensor *x, const sg_tensor *dy, sg_tensor *dx,
                                       bool accumulate) {
    size_t count = (size_t)x->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < x->height; row++)
            for (int col = 0; col < x->width; col++)
                activations[kind].backward(count, sg_tensor_at(x, b, row, col), sg_tensor_at(dy, b, row, col),
                                           sg_tensor_at(dx, b, row, col), accumulate);
    return SG_OK;
}
