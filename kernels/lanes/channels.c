/* Layers that move or scale channels: squeeze-excite's gate, concatenation, ShuffleNet's shuffle. */
#include "kernels/lanes/layers_internal.h"

int SG_VARIANT(sg_scale_forward)(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *gate,
                                 sg_tensor *y) {
    size_t count = (size_t)x->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < x->height; row++)
            for (int col = 0; col < x->width; col++) {
                const float *px = sg_tensor_at(x, b, row, col), *pg = sg_tensor_at(gate, b, 0, 0);
                float *py = sg_tensor_at(y, b, row, col);
                for (size_t i = 0; i < count; i += SG_WIDTH)
                    sg_store(py + i, sg_load(px + i) * sg_load(pg + i));
            }
    return SG_OK;
}

int SG_VARIANT(sg_scale_backward)(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *gate,
                                  const sg_tensor *dy, sg_tensor *dx, bool accumulate_x, sg_tensor *dgate,
                                  bool accumulate_gate) {
    int chunks = sg_chunks(x->channels);
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            sg_lane_sums total = {0};
            size_t first = (size_t)chunk * SG_CHUNK * SG_LANES;
            size_t count = (size_t)sg_chunk_size(x->channels, chunk) * SG_LANES;
            const float *pg = sg_tensor_at(gate, b, 0, 0) + first;
            for (int row = 0; row < x->height; row++) {
                sg_lane_sums sum = {0};
                for (int col = 0; col < x->width; col++) {
                    const float *px = sg_tensor_at(x, b, row, col) + first;
                    const float *pdy = sg_tensor_at(dy, b, row, col) + first;
                    float *pdx = sg_tensor_at(dx, b, row, col) + first;
                    for (size_t i = 0; i < count; i += SG_WIDTH) {
                        sg_vec d = sg_load(pdy + i);
                        sg_store(sum + i, sg_fma(d, sg_load(px + i), sg_load(sum + i)));
                        sg_put(pdx + i, d * sg_load(pg + i), accumulate_x);
                    }
                }
                sg_give(count, sum, total, true);
            }
            sg_give(count, total, sg_tensor_at(dgate, b, 0, 0) + first, accumulate_gate);
        }
    return SG_OK;
}

int SG_VARIANT(sg_concat_forward)(const sg_machine *m, int blocks, const sg_tensor *a, const sg_tensor *b,
                                  sg_tensor *y) {
    size_t a_count = (size_t)a->channels * SG_LANES, b_count = (size_t)b->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int block = 0; block < blocks; block++)
        for (int row = 0; row < y->height; row++)
            for (int col = 0; col < y->width; col++) {
                float *py = sg_tensor_at(y, block, row, col);
                sg_give(a_count, sg_tensor_at(a, block, row, col), py, false);
                sg_give(b_count, sg_tensor_at(b, block, row, col), py + a_count, false);
            }
    return SG_OK;
}

int SG_VARIANT(sg_concat_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *da,
                                   bool accumulate_a, sg_tensor *db, bool accumulate_b) {
    size_t a_count = (size_t)da->channels * SG_LANES, b_count = (size_t)db->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int block = 0; block < blocks; block++)
        for (int row = 0; row < dy->height; row++)
            for (int col = 0; col < dy->width; col++) {
                const float *pdy = sg_tensor_at(dy, block, row, col);
                sg_give(a_count, pdy, sg_tensor_at(da, block, row, col), accumulate_a);
                sg_give(b_count, pdy + a_count, sg_tensor_at(db, block, row, col), accumulate_b);
            }
    return SG_OK;
}

int SG_VARIANT(sg_shuffle_forward)(const sg_machine *m, int blocks, int groups, const sg_tensor *x,
                                   sg_tensor *y) {
    int size = x->channels / groups;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < x->height; row++)
            for (int col = 0; col < x->width; col++) {
                const float *px = sg_tensor_at(x, b, row, col);
                float *py = sg_tensor_at(y, b, row, col);
                for (int c = 0; c < size; c++)
                    for (int g = 0; g < groups; g++)
                        sg_give(SG_LANES, px + (size_t)(g * size + c) * SG_LANES,
                                py + (size_t)(c * groups + g) * SG_LANES, false);
            }
    return SG_OK;
}

int SG_VARIANT(sg_shuffle_backward)(const sg_machine *m, int blocks, int groups, const sg_tensor *dy,
                                    sg_tensor *dx, bool accumulate) {
    int size = dx->channels / groups;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < dx->height; row++)
            for (int col = 0; col < dx->width; col++) {
                const float *pdy = sg_tensor_at(dy, b, row, col);
                float *pdx = sg_tensor_at(dx, b, row, col);
                for (int g = 0; g < groups; g++)
                    for (int c = 0; c < size; c++)
                        sg_give(SG_LANES, pdy + (size_t)(c * groups + g) * SG_LANES,
                                pdx + (size_t)(g * size + c) * SG_LANES, accumulate);
            }
    return SG_OK;
}
