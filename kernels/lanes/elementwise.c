/* Sums and copies of whole tensors. */
#include "kernels/lanes/layers_internal.h"

int SG_VARIANT(sg_add)(const sg_machine *m, int blocks, const sg_tensor *a, const sg_tensor *b,
                       sg_tensor *y) {
    size_t count = (size_t)y->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int block = 0; block < blocks; block++)
        for (int row = 0; row < y->height; row++)
            for (int col = 0; col < y->width; col++) {
                const float *pa = sg_tensor_at(a, block, row, col), *pb = sg_tensor_at(b, block, row, col);
                float *py = sg_tensor_at(y, block, row, col);
                for (size_t i = 0; i < count; i += SG_WIDTH)
                    sg_store(py + i, sg_load(pa + i) + sg_load(pb + i));
            }
    return SG_OK;
}

int SG_VARIANT(sg_copy)(const sg_machine *m, int blocks, const sg_tensor *from, sg_tensor *to,
                        bool accumulate) {
    size_t count = (size_t)to->channels * SG_LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int block = 0; block < blocks; block++)
        for (int row = 0; row < to->height; row++)
            for (int col = 0; col < to->width; col++)
                sg_give(count, sg_tensor_at(from, block, row, col), sg_tensor_at(to, block, row, col),
                        accumulate);
    return SG_OK;
}
