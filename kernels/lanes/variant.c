/* Gathers this instruction set's kernels into its table. */
#include "kernels/lanes/simd.h"
#include "kernels/lanes/tables.h"
#include "kernels/variant.h"

#define SG_TEXT_(x) #x
#define SG_TEXT(x) SG_TEXT_(x)

enum { OWN_ROWS = 6 };

/* The micro-kernel where BLIS's register block does not fit the lanes: the same sums, p ascending, one
 * multiply-add at a time. */
static void own_ukernel(const sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                        size_t c_stride, bool accumulate) {
    (void)u;
    for (int i = 0; i < m; i++) {
        sg_vec sum[SG_ROW];
        for (int v = 0; v < SG_ROW; v++) sum[v] = sg_splat(0.0f);
        for (int p = 0; p < k; p++) {
            sg_vec factor = sg_splat(a[p * OWN_ROWS + i]);
            for (int v = 0; v < SG_ROW; v++)
                sum[v] = sg_fma(factor, sg_load(b + (size_t)p * SG_LANES + v * SG_WIDTH), sum[v]);
        }
        float *row = c + (size_t)i * c_stride;
        for (int v = 0; v < SG_ROW; v++) {
            if (accumulate) sum[v] = sg_load(row + v * SG_WIDTH) + sum[v];
            sg_store(row + v * SG_WIDTH, sum[v]);
        }
    }
}

extern const sg_variant SG_VARIANT(sg_variant);
const sg_variant SG_VARIANT(sg_variant) = {
    .isa = SG_TEXT(SG_ISA),
    .lanes = SG_LANES,
    .direct = SG_CONV_DIRECT,
    .winograd4 = SG_CONV_WINOGRAD4,
    .winograd2 = SG_CONV_WINOGRAD2,
    .winograd4s2 = SG_CONV_WINOGRAD4S2,
    .sparse = SG_CONV_SPARSE,
    .depthwise = SG_CONV_DEPTHWISE,
    .layers = SG_LAYERS,
    .peak = SG_PEAK,
    .own_rows = OWN_ROWS,
    .own_ukernel = own_ukernel,
};
