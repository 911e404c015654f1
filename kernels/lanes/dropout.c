/* Inverted dropout on a vector per sample (Srivastava et al., 2014). Nothing is stored: backward draws again.
 */
#include "kernels/lanes/layers_internal.h"
#include "kernels/rng.h"

enum { CHANNEL_BITS = 20 };

static void drop(const sg_machine *m, int blocks, float probability, uint64_t seed, uint32_t step,
                 uint32_t layer, const uint32_t *sample, const sg_tensor *from, sg_tensor *to,
                 bool accumulate) {
    int channels = from->channels;
    float factor = (float)(1.0 / (1.0 - (double)probability));
#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int first = 0; first < channels; first += 4) {
            float keep[4][SG_LANES] __attribute__((aligned(64)));
            for (int lane = 0; lane < SG_LANES; lane++) {
                sg_random drawn = sg_rng(seed, SG_RNG_DROPOUT, step, sample[b * SG_LANES + lane],
                                         (layer << CHANNEL_BITS) + (uint32_t)first / 4);
                for (int i = 0; i < 4; i++)
                    keep[i][lane] = sg_uniform(drawn.word[i]) >= probability ? factor : 0.0f;
            }
            for (int c = first; c < channels && c < first + 4; c++)
                for (int v = 0; v < SG_ROW; v++) {
                    size_t i = (size_t)c * SG_LANES + (size_t)(v * SG_WIDTH);
                    sg_put(sg_tensor_at(to, b, 0, 0) + i,
                           sg_load(sg_tensor_at(from, b, 0, 0) + i) * sg_load(keep[c - first] + v * SG_WIDTH),
                           accumulate);
                }
        }
}

int SG_VARIANT(sg_dropout_forward)(const sg_machine *m, int blocks, float probability, uint64_t seed,
                                   uint32_t step, uint32_t layer, const uint32_t *sample, const sg_tensor *x,
                                   sg_tensor *y) {
    drop(m, blocks, probability, seed, step, layer, sample, x, y, false);
    return SG_OK;
}

int SG_VARIANT(sg_dropout_backward)(const sg_machine *m, int blocks, float probability, uint64_t seed,
                                    uint32_t step, uint32_t layer, const uint32_t *sample,
                                    const sg_tensor *dy, sg_tensor *dx, bool accumulate) {
    drop(m, blocks, probability, seed, step, layer, sample, dy, dx, accumulate);
    return SG_OK;
}
