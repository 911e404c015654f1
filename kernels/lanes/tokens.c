/* Between pixels and tokens (vision transformers) and between tokens and channels (mixers). */
#include "kernels/fold.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/memory.h"

/* Pixel number p of a block, row by row. */
static float *pixel_at(const sg_tensor *t, int block, int p) {
    return sg_tensor_at(t, block, p / t->width, p % t->width);
}

int SG_VARIANT(sg_tokens_forward)(const sg_machine *m, int blocks, const sg_tensor *x,
                                  const float *class_token, const float *position, sg_tensor *y) {
    int pixels = x->height * x->width, tokens = y->height * y->width, extra = tokens - pixels;
    int channels = x->channels;
    SG_CHECK(extra == (class_token != NULL), SG_INTERNAL, "tokens: %d tokens from %d pixels %s a class token",
             tokens, pixels, class_token != NULL ? "with" : "without");
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int t = 0; t < tokens; t++) {
            const float *px = t < extra ? NULL : pixel_at(x, b, t - extra);
            const float *added = position != NULL ? position + (size_t)t * (size_t)channels : NULL;
            float *py = pixel_at(y, b, t);
            for (int c = 0; c < channels; c++)
                for (int v = 0; v < SG_ROW; v++) {
                    int i = c * SG_LANES + v * SG_WIDTH;
                    sg_vec value = px != NULL ? sg_load(px + i) : sg_splat(class_token[c]);
                    if (added != NULL) value += added[c];
                    sg_store(py + i, value);
                }
        }
    return SG_OK;
}

/* sums[blocks][rows][channels]: the lane sums of dy's first rows tokens, folded over blocks in float (see
 * bias_gradient.c) into sums[0]. */
static void token_sums(const sg_machine *m, int blocks, int rows, const sg_tensor *dy, float *sums) {
    size_t channels = (size_t)dy->channels, count = (size_t)rows * channels;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int t = 0; t < rows; t++)
            for (size_t c = 0; c < channels; c++)
                sums[(size_t)b * count + (size_t)t * channels + c] =
                    sg_row_sum(pixel_at(dy, b, t) + c * SG_LANES);
    sg_fold(sums, blocks, count * sizeof *sums, count, sg_combine_float);
}

int SG_VARIANT(sg_tokens_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                                   float *dclass_token, float *dposition, bool accumulate) {
    int pixels = dx->height * dx->width, tokens = dy->height * dy->width, extra = tokens - pixels;
    size_t channels = (size_t)dx->channels;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int p = 0; p < pixels; p++)
            sg_give(channels * SG_LANES, pixel_at(dy, b, p + extra), pixel_at(dx, b, p), accumulate);
    if (dclass_token == NULL && dposition == NULL) return SG_OK;
    int rows = dposition != NULL ? tokens : 1;
    float *sums;
    SG_TRY(SG_NEW(&sums, (size_t)(blocks > 0 ? blocks : 1) * (size_t)rows * channels));
    token_sums(m, blocks, rows, dy, sums);
    if (dclass_token != NULL) memcpy(dclass_token, sums, channels * sizeof *sums);
    if (dposition != NULL) memcpy(dposition, sums, (size_t)rows * channels * sizeof *sums);
    SG_FREE(sums);
    return SG_OK;
}

int SG_VARIANT(sg_first_token_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y) {
    (void)m;
    for (int b = 0; b < blocks; b++)
        sg_give((size_t)x->channels * SG_LANES, sg_tensor_at(x, b, 0, 0), sg_tensor_at(y, b, 0, 0), false);
    return SG_OK;
}

int SG_VARIANT(sg_first_token_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                                        bool accumulate) {
    size_t count = (size_t)dx->channels * SG_LANES;
    int pixels = dx->height * dx->width;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int p = 0; p < pixels; p++) {
            if (p == 0)
                sg_give(count, sg_tensor_at(dy, b, 0, 0), pixel_at(dx, b, 0), accumulate);
            else if (!accumulate)
                memset(pixel_at(dx, b, p), 0, count * sizeof(float));
        }
    return SG_OK;
}

/* to's pixel c, channel p (+)= from's pixel p, channel c. */
static void exchange(const sg_machine *m, int blocks, const sg_tensor *from, sg_tensor *to, bool accumulate) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int c = 0; c < from->channels; c++) {
            float *out = pixel_at(to, b, c);
            for (int row = 0; row < from->height; row++)
                for (int col = 0; col < from->width; col++, out += SG_LANES)
                    sg_give(SG_LANES, sg_tensor_at(from, b, row, col) + (size_t)c * SG_LANES, out,
                            accumulate);
        }
}

static int check_exchange(const sg_tensor *from, const sg_tensor *to) {
    SG_CHECK(from->channels == to->height * to->width && to->channels == from->height * from->width,
             SG_INTERNAL, "transpose: %d channels of %dx%d pixels do not become %d channels of %dx%d pixels",
             from->channels, from->height, from->width, to->channels, to->height, to->width);
    return SG_OK;
}

int SG_VARIANT(sg_transpose_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y) {
    SG_TRY(check_exchange(x, y));
    exchange(m, blocks, x, y, false);
    return SG_OK;
}

int SG_VARIANT(sg_transpose_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                                      bool accumulate) {
    SG_TRY(check_exchange(dy, dx));
    exchange(m, blocks, dy, dx, accumulate);
    return SG_OK;
}
