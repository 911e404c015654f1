#include "kernels/select.h"

#include <math.h>
#include <string.h>

#include "kernels/memory.h"

/* A magnitude is the 31 bits below the sign; as integers they are ordered as the numbers are. They are ranked
 * in two digits, the upper one in 15 bits, the lower in 16. */
enum { LOW_BITS = 16, LOW_BINS = 1 << LOW_BITS, HIGH_BINS = 1 << (31 - LOW_BITS), LOW_MASK = LOW_BINS - 1 };
static const uint32_t magnitude_bits = 0x7fffffffu, infinity_bits = 0x7f800000u;

static uint32_t magnitude(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & magnitude_bits;
}

size_t sg_prune_count(size_t n, double fraction) {
    const uint64_t unit = 1000000000000000u; /* 10^15: doubles below 1 are spaced more finely than that */
    uint64_t pruned = (uint64_t)llround(fraction * (double)unit);
    return (size_t)((unsigned __int128)n * (unit - pruned) / unit);
}

/* Where a descending walk over the bins has passed `wanted` values: the bin, and how many of it are still
 * wanted. */
static uint32_t find_bin(const size_t *bin, uint32_t bins, size_t *wanted) {
    uint32_t b = bins - 1;
    while (bin[b] < *wanted) {
        *wanted -= bin[b];
        b--;
    }
    return b;
}

static bool prunable(const sg_param *param) { return param->role == SG_ROLE_WEIGHT; }

/* high[digit] counts the surviving magnitudes; *n is their number. */
static int count_high(const sg_weights *weights, size_t *high, size_t *n) {
    *n = 0;
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        if (!prunable(param)) continue;
        const float *values = weights->values + param->offset;
        const uint8_t *mask = weights->mask + param->offset;
        for (size_t i = 0; i < param->count; i++) {
            if (!mask[i]) continue;
            uint32_t bits = magnitude(values[i]);
            SG_CHECK(
                bits < infinity_bits, SG_FAILED,
                "%s: weight %zu is %s, so weights cannot be ranked; training has diverged: try a smaller "
                "learning rate",
                param->name, i, bits == infinity_bits ? "infinite" : "not a number");
            high[bits >> LOW_BITS]++;
            (*n)++;
        }
    }
    return SG_OK;
}

static void count_low(const sg_weights *weights, uint32_t digit, size_t *low) {
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        if (!prunable(param)) continue;
        const float *values = weights->values + param->offset;
        const uint8_t *mask = weights->mask + param->offset;
        for (size_t i = 0; i < param->count; i++) {
            uint32_t bits = magnitude(values[i]);
            if (mask[i] && bits >> LOW_BITS == digit) low[bits & LOW_MASK]++;
        }
    }
}

/* What is above the threshold stays, and the first `ties` of those that equal it. */
static void apply(sg_weights *weights, uint32_t threshold, size_t ties) {
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        if (!prunable(param)) continue;
        float *values = weights->values + param->offset;
        uint8_t *mask = weights->mask + param->offset;
        for (size_t i = 0; i < param->count; i++) {
            if (!mask[i]) continue;
            uint32_t bits = magnitude(values[i]);
            if (bits > threshold) continue;
            if (bits == threshold && ties > 0) {
                ties--;
                continue;
            }
            mask[i] = 0;
            values[i] = 0.0f;
        }
    }
}

int sg_prune_global(sg_weights *weights, double fraction, size_t *kept) {
    int status;
    size_t *bins = NULL, n = 0;
    SG_CHECK(fraction >= 0.0 && fraction < 1.0, SG_CONFIG,
             "a fraction of %g cannot be pruned; it must be at least 0 and below 1", fraction);
    SG_TRY(SG_NEW(&bins, (size_t)HIGH_BINS + LOW_BINS));
    size_t *high = bins, *low = bins + HIGH_BINS;
    if ((status = SG_AT(count_high(weights, high, &n)))) goto done;
    size_t stay = sg_prune_count(n, fraction);
    if (stay == 0) {
        status = SG_FAIL(SG_CONFIG,
                         "pruning %g of %zu surviving weights leaves none: rounds that prune to nothing; use "
                         "fewer rounds or a smaller prune_fraction",
                         fraction, n);
        goto done;
    }
    size_t wanted = stay;
    uint32_t digit = find_bin(high, HIGH_BINS, &wanted);
    count_low(weights, digit, low);
    uint32_t rest = find_bin(low, LOW_BINS, &wanted);
    apply(weights, digit << LOW_BITS | rest, wanted);
    if (kept != NULL) *kept = stay;
done:
    free(bins);
    return status;
}
