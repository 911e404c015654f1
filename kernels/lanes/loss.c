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

/* Of one block, per lane: the largest logit and its class, the first of equals, and the label's logit. */
typedef struct found {
    sg_vec largest[SG_ROW], of_label[SG_ROW];
    sg_ivec first[SG_ROW];
} found;

static found find(int classes, const float *logits, const sg_ivec *label) {
    found f;
    for (int v = 0; v < SG_ROW; v++) {
        f.largest[v] = sg_load(logits + v * SG_WIDTH);
        f.of_label[v] = sg_splat(0.0f);
        f.first[v] = (sg_ivec){0};
    }
    for (int c = 0; c < classes; c++)
        for (int v = 0; v < SG_ROW; v++) {
            sg_vec z = sg_load(logits + (size_t)c * SG_LANES + v * SG_WIDTH);
            sg_ivec above = (sg_ivec)(z > f.largest[v]), here = (sg_ivec)(label[v] == c);
            f.largest[v] = sg_pick(above, z, f.largest[v]);
            f.first[v] = (above & c) | (f.first[v] & ~above);
            f.of_label[v] = sg_pick(here, z, f.of_label[v]);
        }
    return f;
}

/* sum[lane] = the sum over classes of exp(logit - largest), whose terms go to e [classes][lanes] unless it is
 * NULL. */
static void sum_exponentials(int classes, const float *logits, const sg_vec *largest, float *e, double *sum) {
    float scratch[SG_LANES] __attribute__((aligned(64)));
    for (int lane = 0; lane < SG_LANES; lane++) sum[lane] = 0.0;
    for (int c = 0; c < classes; c++) {
        float *row = e != NULL ? e + (size_t)c * SG_LANES : scratch;
        for (int v = 0; v < SG_ROW; v++)
            sg_store(row + v * SG_WIDTH,
                     sg_exp(sg_load(logits + (size_t)c * SG_LANES + v * SG_WIDTH) - largest[v]));
        for (int lane = 0; lane < SG_LANES; lane++) sum[lane] += row[lane];
    }
}

static score score_lanes(const found *f, const double *sum, const int32_t *label) {
    double loss[SG_LANES], right[SG_LANES];
    float largest[SG_LANES], of_label[SG_LANES];
    int32_t best[SG_LANES];
    memcpy(largest, f->largest, sizeof largest);
    memcpy(of_label, f->of_label, sizeof of_label);
    memcpy(best, f->first, sizeof best);
    for (int lane = 0; lane < SG_LANES; lane++) {
        bool used = label[lane] >= 0;
        loss[lane] = used ? log_plain(sum[lane]) + ((double)largest[lane] - (double)of_label[lane]) : 0.0;
        right[lane] = used && best[lane] == label[lane];
    }
    return (score){sg_row_sum_double(loss), sg_row_sum_double(right)};
}

/* d [classes][lanes], from exp(logit - largest): the softmax less 1 at the label, over samples; zero in
 * unused lanes. */
static void make_gradient(int classes, int samples, const sg_ivec *label, const double *sum, float *d) {
    float scale[SG_LANES] __attribute__((aligned(64)));
    for (int lane = 0; lane < SG_LANES; lane++) scale[lane] = (float)(1.0 / (sum[lane] * samples));
    for (int c = 0; c < classes; c++)
        for (int v = 0; v < SG_ROW; v++) {
            float *at = d + (size_t)c * SG_LANES + v * SG_WIDTH;
            sg_vec hit = sg_pick((sg_ivec)(label[v] == c), sg_splat((float)(1.0 / samples)), sg_splat(0.0f));
            sg_vec slope = sg_load(at) * sg_load(scale + v * SG_WIDTH) - hit;
            sg_store(at, sg_pick((sg_ivec)(label[v] < 0), sg_splat(0.0f), slope));
        }
}

/* One block: logits, dlogits (or NULL) [classes][lanes]. */
static score score_block(int classes, int samples, const float *logits, const int32_t *label,
                         float *dlogits) {
    sg_ivec want[SG_ROW];
    double sum[SG_LANES];
    memcpy(want, label, sizeof want);
    found f = find(classes, logits, want);
    sum_exponentials(classes, logits, f.largest, dlogits, sum);
    if (dlogits != NULL) make_gradient(classes, samples, want, sum, dlogits);
    return score_lanes(&f, sum, label);
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
