#include "kernels/reduce.h"

#include "kernels/memory.h"

static int combine_alone(void *context, void *data, size_t count, size_t element, sg_combine combine,
                         int blocks) {
    (void)context, (void)data, (void)count, (void)element, (void)combine, (void)blocks;
    return SG_OK;
}

static int allocate_alone(void *context, size_t count, float **data) {
    (void)context;
    return SG_AT(SG_NEW(data, count));
}

static void release_alone(void *context, float **data) {
    (void)context;
    SG_FREE(*data);
}

static int share_alone(void *context, size_t count, float **data) {
    (void)context, (void)count;
    *data = NULL;
    return SG_OK;
}

static int meet_alone(void *context, float *data) {
    (void)context, (void)data;
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
                                   .allocate = allocate_alone,
                                   .release = release_alone,
                                   .share = share_alone,
                                   .meet = meet_alone,
                                   .sum_begin = sum_begin_alone,
                                   .progress = nothing,
                                   .finish = nothing};

void sg_reduce_share(int rank, int size, size_t count, size_t *from, size_t *to) {
    enum { LINE = SG_ALIGNMENT / sizeof(float) };
    size_t lines = sg_round_up(count, LINE) / LINE;
    *from = lines * (size_t)rank / (size_t)size * LINE;
    *to = lines * ((size_t)rank + 1) / (size_t)size * LINE;
    if (*to > count) *to = count;
}

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
