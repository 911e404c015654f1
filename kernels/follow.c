#include "kernels/follow.h"

#include "kernels/memory.h"

int sg_follower_begin(sg_follower *follower, const sg_tensor *tensor, int blocks) {
    sg_bands bands = follower->bands = sg_bands_of(tensor);
    size_t row = (size_t)tensor->width * (size_t)tensor->channels;
    SG_TRY(SG_NEW(&follower->left, (size_t)blocks * (size_t)bands.count));
    for (int b = 0; b < blocks; b++)
        for (int band = 0; band < bands.count; band++)
            atomic_init(&follower->left[b * bands.count + band],
                        row * (size_t)(sg_band_end(bands, band, tensor) - band * bands.rows));
    return SG_OK;
}

void sg_follower_end(sg_follower *follower) { SG_FREE(follower->left); }
