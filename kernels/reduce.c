#include "kernels/reduce.h"

static int combine_alone(void *context, void *data, size_t count, size_t element, sg_combine combine,
                         int blocks) {
    (void)context, (void)data, (void)count, (void)element, (void)combine, (void)blocks;
    return SG_OK;
}

static int sum_begin_alone(void *context, float *data, size_t count, int blocks) {
    (void)context, (void)data, (void)count, (void)blocks;
    return SG_OK;
}

static int nothing(void *context) {
    (void)context;
    return SG_OK;
}

const sg_reduce sg_reduce_alone = {.rank = 0,
                                   .size = 1,
                                   .combine = combine_alone,
                                   .sum_begin = sum_begin_alone,
                                   .progress = nothing,
                                   .finish = nothing};

void sg_combine_float(void *low, const void *high, size_t count) {
    float *sum = low;
    const float *addend = high;
    for (size_t i = 0; i < count; i++) sum[i] += addend[i];
}

void sg_combine_double(void *low, const void *high, size_t count) {
    double *sum = low;
    const double *addend = high;
    for (size_t i = 0; i < count; i++) sum[i] += addend[i];
}
