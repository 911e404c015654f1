#include "kernels/rng.h"

#include <Random123/philox.h>
#include <math.h>

sg_random sg_rng(uint64_t seed, enum sg_purpose purpose, uint32_t a, uint32_t b, uint32_t c) {
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t counter = {{(uint32_t)purpose, a, b, c}};
    philox4x32_ctr_t drawn = philox4x32(counter, key);
    return (sg_random){{drawn.v[0], drawn.v[1], drawn.v[2], drawn.v[3]}};
}

void sg_normal_pair(uint32_t first, uint32_t second, float out[2]) {
    double radius = sqrt(-2.0 * log(sg_open_uniform(first)));
    double angle = 6.283185307179586 * sg_open_uniform(second);
    out[0] = (float)(radius * cos(angle));
    out[1] = (float)(radius * sin(angle));
}

void sg_permutation(uint64_t seed, enum sg_purpose purpose, uint32_t epoch, uint32_t n, uint32_t *order) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i-- > 1;) {
        uint32_t j = sg_below(sg_rng(seed, purpose, epoch, i, 0).word[0], i + 1);
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
