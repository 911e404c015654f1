/* Pooling. Forward splits rows of outputs, backward (whose windows overlap in dx) splits channels. */
#include "kernels/lanes/layers_internal.h"

typedef struct window {
    int y0, y1, x0, x1; /* rows and columns of x inside the window */
} window;

static window window_of(const sg_tensor *x, int row, int col, int kernel, int stride, int padding) {
    int y = row * stride - padding, left = col * stride - padding;
    return (window){y < 0 ? 0 : y, y + kernel < x->height ? y + kernel : x->height, left < 0 ? 0 : left,
                    left + kernel < x->width ? left + kernel : x->width};
}

static void clear_chunk(sg_tensor *t, int block, size_t first, size_t count) {
    for (int row = 0; row < t->height; row++)
        for (int col = 0; col < t->width; col++)
            memset(sg_tensor_at(t, block, row, col) + first, 0, count * sizeof(float));
}

/* ---- maximum */

int SG_VARIANT(sg_max_pool_forward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                                    const sg_tensor *x, sg_tensor *y) {
    size_t count = (size_t)y->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < y->height; row++)
            for (int col = 0; col < y->width; col++) {
                window w = window_of(x, row, col, kernel, stride, padding);
                float *py = sg_tensor_at(y, b, row, col);
                for (size_t i = 0; i < count; i += SG_WIDTH) {
                    sg_vec best = sg_splat(-INFINITY);
                    for (int wy = w.y0; wy < w.y1; wy++)
                        for (int wx = w.x0; wx < w.x1; wx++) {
                            sg_vec v = sg_load(sg_tensor_at(x, b, wy, wx) + i);
                            /* NaN wins, so that a diverged network shows. */
                            best = sg_pick((sg_ivec)(v > best) | (sg_ivec)(v != v), v, best);
                        }
                    sg_store(py + i, best);
                }
            }
    return SG_OK;
}

int SG_VARIANT(sg_max_pool_backward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                                     const sg_tensor *x, const sg_tensor *y, const sg_tensor *dy,
                                     sg_tensor *dx, bool accumulate) {
    int chunks = sg_chunks(x->channels);
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            size_t first = (size_t)chunk * SG_CHUNK * SG_LANES;
            size_t count = (size_t)sg_chunk_size(x->channels, chunk) * SG_LANES;
            if (!accumulate) clear_chunk(dx, b, first, count);
            for (int row = 0; row < y->height; row++)
                for (int col = 0; col < y->width; col++) {
                    window w = window_of(x, row, col, kernel, stride, padding);
                    const float *py = sg_tensor_at(y, b, row, col) + first;
                    const float *pdy = sg_tensor_at(dy, b, row, col) + first;
                    for (size_t i = 0; i < count; i += SG_WIDTH) {
                        sg_vec best = sg_load(py + i), d = sg_load(pdy + i);
                        sg_ivec open = (sg_ivec)(best == best); /* no tap has taken the gradient yet */
                        for (int wy = w.y0; wy < w.y1; wy++)
                            for (int wx = w.x0; wx < w.x1; wx++) {
                                float *pdx = sg_tensor_at(dx, b, wy, wx) + first + i;
                                sg_vec v = sg_load(sg_tensor_at(x, b, wy, wx) + first + i);
                                sg_ivec takes = open & (sg_ivec)(v == best);
                                sg_store(pdx, sg_load(pdx) + (sg_vec)((sg_ivec)d & takes));
                                open &= ~takes;
                            }
                    }
                }
        }
    return SG_OK;
}

/* ---- average */

int SG_VARIANT(sg_average_pool_forward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                                        const sg_tensor *x, sg_tensor *y) {
    size_t count = (size_t)y->channels * SG_LANES;
    float area = (float)(kernel * kernel);
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < y->height; row++)
            for (int col = 0; col < y->width; col++) {
                window w = window_of(x, row, col, kernel, stride, padding);
                float *py = sg_tensor_at(y, b, row, col);
                for (size_t i = 0; i < count; i += SG_WIDTH) {
                    sg_vec sum = sg_splat(0.0f);
                    for (int wy = w.y0; wy < w.y1; wy++)
                        for (int wx = w.x0; wx < w.x1; wx++) sum += sg_load(sg_tensor_at(x, b, wy, wx) + i);
                    sg_store(py + i, sum / area);
                }
            }
    return SG_OK;
}

int SG_VARIANT(sg_average_pool_backward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                                         const sg_tensor *dy, sg_tensor *dx, bool accumulate) {
    int chunks = sg_chunks(dx->channels);
    float area = (float)(kernel * kernel);
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            size_t first = (size_t)chunk * SG_CHUNK * SG_LANES;
            size_t count = (size_t)sg_chunk_size(dx->channels, chunk) * SG_LANES;
            if (!accumulate) clear_chunk(dx, b, first, count);
            for (int row = 0; row < dy->height; row++)
                for (int col = 0; col < dy->width; col++) {
                    window w = window_of(dx, row, col, kernel, stride, padding);
                    const float *pdy = sg_tensor_at(dy, b, row, col) + first;
                    for (size_t i = 0; i < count; i += SG_WIDTH) {
                        sg_vec share = sg_load(pdy + i) / area;
                        for (int wy = w.y0; wy < w.y1; wy++)
                            for (int wx = w.x0; wx < w.x1; wx++) {
                                float *pdx = sg_tensor_at(dx, b, wy, wx) + first + i;
                                sg_store(pdx, sg_load(pdx) + share);
                            }
                    }
                }
        }
    return SG_OK;
}

/* ---- mean over all pixels */

int SG_VARIANT(sg_global_pool_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y) {
    int chunks = sg_chunks(x->channels);
    float pixels = (float)(x->height * x->width);
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            sg_lane_sums total = {0};
            size_t first = (size_t)chunk * SG_CHUNK * SG_LANES;
            size_t count = (size_t)sg_chunk_size(x->channels, chunk) * SG_LANES;
            /* Rows first, then their sums: the error grows with height + width, not with the area. */
            for (int row = 0; row < x->height; row++) {
                sg_lane_sums sum = {0};
                for (int col = 0; col < x->width; col++)
                    sg_give(count, sg_tensor_at(x, b, row, col) + first, sum, true);
                sg_give(count, sum, total, true);
            }
            float *py = sg_tensor_at(y, b, 0, 0) + first;
            for (size_t i = 0; i < count; i += SG_WIDTH) sg_store(py + i, sg_load(total + i) / pixels);
        }
    return SG_OK;
}

int SG_VARIANT(sg_global_pool_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                                        bool accumulate) {
    size_t count = (size_t)dx->channels * SG_LANES;
    float pixels = (float)(dx->height * dx->width);
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < dx->height; row++)
            for (int col = 0; col < dx->width; col++) {
                const float *pdy = sg_tensor_at(dy, b, 0, 0);
                float *pdx = sg_tensor_at(dx, b, row, col);
                for (size_t i = 0; i < count; i += SG_WIDTH)
                    sg_put(pdx + i, sg_load(pdy + i) / pixels, accumulate);
            }
    return SG_OK;
}
