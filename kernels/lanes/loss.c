/* Softmax cross-entropy. Exponentials in float, sums over classes and samples in double. */
#include "kernels/fold.h"
#include "kernels/lanes/functions.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

/* log(x) for normal x >= 1 by x = 2^e f, f in [sqrt(1/2), sqrt(2)), log f = 2 artanh((f - 1) / (f + 1)); to 2
 * ulp, from additions, multiplications and divisions alone. NaN and infinity pass through. */
static double log_plain(double x) {
    static const double ln2 = 0.69314718055994530942;
    int exponent;
    if (!(x < INFINITY)) return x;
    double f = frexp(x, &exponent);
    if (f < 0.70710678118654752440) f *= 2, exponent--;
    double s = (f - 1) / (f + 1), square = s * s, sum = 0;
    for (int i = 25; i > 0; i -= 2) sum = sum * square + 1.0 / i;
    return exponent * ln2 + 2 * s * sum;
}

typedef struct score {
    double loss, correct; /* counts are exact in double */
} score;

static void combine_scores(void *low, const void *high, size_t count) {
    sg_combine_double(low, high, 2 * count);
}

/* One block: logits, dlogits (or NULL) [classes][lanes]. */
static score score_block(int classes, int samples, const float *logits, const int32_t *label,
                         float *dlogits) {
    sg_vec largest[SG_ROW], of_label[SG_ROW];
    sg_ivec first[SG_ROW], want[SG_ROW];
    double sum[SG_LANES] = {0}, loss[SG_LANES], right[SG_LANES];
    float e[SG_LANES] __attribute__((aligned(64))), out[2][SG_LANES] __attribute__((aligned(64)));
    int32_t best[SG_LANES] __attribute__((aligned(64)));
    for (int v = 0; v < SG_ROW; v++) {
        memcpy(&want[v], label + v * SG_WIDTH, sizeof want[v]);
        largest[v] = sg_load(logits + v * SG_WIDTH);
        of_label[v] = sg_splat(0.0f);
        first[v] = (sg_ivec){0};
    }
    for (int c = 0; c < classes; c++)
        for (int v = 0; v < SG_ROW; v++) {
            sg_vec z = sg_load(logits + (size_t)c * SG_LANES + v * SG_WIDTH);
            sg_ivec above = (sg_ivec)(z > largest[v]), here = (sg_ivec)(want[v] == c);
            largest[v] = sg_pick(above, z, largest[v]);
            first[v] = (above & c) | (first[v] & ~above);
            of_label[v] = sg_pick(here, z, of_label[v]);
        }
    for (int c = 0; c < classes; c++) {
        float *row = dlogits != NULL ? dlogits + (size_t)c * SG_LANES : e;
        for (int v = 0; v < SG_ROW; v++)
            sg_store(row + v * SG_WIDTH,
                     sg_exp(sg_load(logits + (size_t)c * SG_LANES + v * SG_WIDTH) - largest[v]));
        for (int lane = 0; lane < SG_LANES; lane++) sum[lane] += row[lane];
    }
    for (int v = 0; v < SG_ROW; v++) {
        sg_store(out[0] + v * SG_WIDTH, largest[v]);
        sg_store(out[1] + v * SG_WIDTH, of_label[v]);
        memcpy(best + v * SG_WIDTH, &first[v], sizeof first[v]);
    }
    for (int lane = 0; lane < SG_LANES; lane++) {
        bool used = label[lane] >= 0;
        loss[lane] = used ? log_plain(sum[lane]) + ((double)out[0][lane] - (double)out[1][lane]) : 0.0;
        right[lane] = used && best[lane] == label[lane];
        e[lane] = used ? (float)(1.0 / (sum[lane] * samples)) : 0.0f;
    }
    for (int c = 0; c < classes && dlogits != NULL; c++)
        for (int v = 0; v < SG_ROW; v++) {
            float *at = dlogits + (size_t)c * SG_LANES + v * SG_WIDTH;
            sg_vec hit = sg_pick((sg_ivec)(want[v] == c), sg_splat((float)(1.0 / samples)), sg_splat(0.0f));
            sg_vec d = sg_load(at) * sg_load(e + v * SG_WIDTH) - hit;
            sg_store(at, sg_pick((sg_ivec)(want[v] < 0), sg_splat(0.0f), d));
        }
    return (score){sg_row_sum_double(loss), sg_row_sum_double(right)};
}

int SG_VARIANT(sg_loss)(const sg_machine *m, const sg_extent *extent, const sg_tensor *logits,
                        const int32_t *label, sg_tensor *dlogits, double *loss_sum, int64_t *correct) {
    int blocks = extent->blocks, classes = logits->channels;
    score *part;
    for (int i = 0; i < blocks * SG_LANES; i++)
        SG_CHECK(label[i] < classes, SG_DATA,
                 "label %d of sample %d of the local minibatch is not below the number of "
                 "classes, %d; check net.classes and the data set",
                 (int)label[i], i, classes);
    SG_TRY(SG_NEW(&part, (size_t)(blocks > 0 ? blocks : 1)));
#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        part[b] = score_block(classes, extent->samples, sg_tensor_at(logits, b, 0, 0), label + b * SG_LANES,
                              dlogits != NULL ? sg_tensor_at(dlogits, b, 0, 0) : NULL);
    sg_fold(part, blocks, sizeof *part, 1, combine_scores);
    *loss_sum = part[0].loss;
    *correct = (int64_t)part[0].correct;
    SG_FREE(part);
    return SG_OK;
}
