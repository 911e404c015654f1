/* Sums of a gradient over samples and pixels. */
#include "kernels/fold.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/memory.h"

/* Per block in double; blocks are folded in float, as ranks are, so that the bits do not depend on where the
 * ranks' levels of the tree begin. */
int SG_VARIANT(sg_bias_gradient)(const sg_machine *m, int blocks, const sg_tensor *dy, float *db) {
    size_t channels = (size_t)dy->channels;
    sg_bands bands = sg_bands_of(dy);
    int chunks = sg_chunks(dy->channels);
    float *part;
    SG_TRY(SG_NEW(&part, channels * (size_t)(blocks > 0 ? blocks : 1)));
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            int first = chunk * SG_CHUNK, n = sg_chunk_size(dy->channels, chunk);
            double total[SG_CHUNK] = {0};
            for (int band = 0; band < bands.count; band++) {
                sg_lane_sums sum = {0};
                for (int row = band * bands.rows; row < sg_band_end(bands, band, dy); row++)
                    for (int col = 0; col < dy->width; col++)
                        sg_give((size_t)n * SG_LANES,
                                sg_tensor_at(dy, b, row, col) + (size_t)first * SG_LANES, sum, true);
                for (int c = 0; c < n; c++) total[c] += sg_row_sum(sum + c * SG_LANES);
            }
            for (int c = 0; c < n; c++) part[(size_t)b * channels + (size_t)(first + c)] = (float)total[c];
        }
    sg_fold(part, blocks, channels * sizeof *part, channels, sg_combine_float);
    memcpy(db, part, channels * sizeof *db);
    SG_FREE(part);
    return SG_OK;
}
