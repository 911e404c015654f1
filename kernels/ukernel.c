#include "kernels/machine.h"

#include <blis.h>
#include <stdio.h>
#include <string.h>

#include "kernels/variant.h"

/* What differs between BLIS 0.9 and later releases is the look-up of a kernel and the constness of its
 * arguments. */
typedef void (*blis_ukernel)(dim_t m, dim_t n, dim_t k, const float *alpha, const float *a, const float *b,
                             const float *beta, float *c, inc_t c_rows, inc_t c_columns, auxinfo_t *next,
                             const cntx_t *context);

#if defined(BLIS_VERSION_MAJOR) && BLIS_VERSION_MAJOR >= 1
#define SG_BLIS_LOOKUP(context) bli_cntx_get_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, context)
#else
#define SG_BLIS_LOOKUP(context) bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, context)
#endif

static const float one = 1.0f, zero = 0.0f;

/* Wide register block (6x16): B's rows are our lanes. */
static void run_wide(const sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                     size_t c_stride, bool accumulate) {
    auxinfo_t next;
    memset(&next, 0, sizeof next);
    bli_auxinfo_set_next_a((void *)a, &next);
    bli_auxinfo_set_next_b((void *)b, &next);
    ((blis_ukernel)u->blis)(m, u->lanes, k, &one, a, b, accumulate ? &one : &zero, c, (inc_t)c_stride, 1,
                            &next, u->context);
}

/* Tall register block (32x12): the operands change places, our lanes are the rows of its C. */
static void run_tall(const sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                     size_t c_stride, bool accumulate) {
    auxinfo_t next;
    memset(&next, 0, sizeof next);
    bli_auxinfo_set_next_a((void *)b, &next);
    bli_auxinfo_set_next_b((void *)a, &next);
    ((blis_ukernel)u->blis)(u->lanes, m, k, &one, b, a, accumulate ? &one : &zero, c, 1, (inc_t)c_stride,
                            &next, u->context);
}

int sg_ukernel_init(sg_ukernel *u, const struct sg_variant *variant) {
    *u = (sg_ukernel){.lanes = variant->lanes};
    bli_init();
    const cntx_t *context = bli_gks_query_cntx();
    int rows = (int)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, (cntx_t *)context);
    int columns = (int)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, (cntx_t *)context);
    bool wide = columns == variant->lanes, tall = !wide && rows == variant->lanes;
    if (!wide && !tall) {
        snprintf(u->name, sizeof u->name, "own");
        u->rows = variant->own_rows;
        u->run = variant->own_ukernel;
        return SG_OK;
    }
    snprintf(u->name, sizeof u->name, "%s", bli_arch_string(bli_arch_query_id()));
    u->rows = wide ? rows : columns;
    u->run = wide ? run_wide : run_tall;
    u->blis = (void *)SG_BLIS_LOOKUP((cntx_t *)context);
    u->context = context;
    return SG_OK;
}
