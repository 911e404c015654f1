#include "kernels/pixel_sums.h"

#include <omp.h>

#include "kernels/fold.h"
#include "kernels/lanes/share.h"
#include "kernels/memory.h"

static char *part_of(const sg_pixel_sums *s, int block, int band) {
    size_t number = (size_t)block * (size_t)s->follower.bands.count + (size_t)band;
    return s->part + number * s->count * s->element;
}

static void sum_band(sg_follower *follower, int block, int band) {
    const sg_pixel_sums *s = (const sg_pixel_sums *)(const void *)follower;
    for (int chunk = 0; chunk < sg_chunks(s->channels); chunk++)
        s->sum(s, block, band, chunk, part_of(s, block, band));
}

int sg_pixel_sums_begin(sg_pixel_sums *s, const sg_tensor *tensor) {
    int blocks = s->extent.blocks;
    s->channels = tensor->channels;
    s->follower.band = sum_band;
    SG_TRY(sg_follower_begin(&s->follower, tensor, blocks));
    size_t parts = (size_t)(blocks > 0 ? blocks : 1) * (size_t)s->follower.bands.count;
    return SG_AT(SG_NEW(&s->part, parts * s->count * s->element));
}

int sg_pixel_sums_finish(sg_pixel_sums *s, int threads) {
    int blocks = s->extent.blocks, bands = s->follower.bands.count, chunks = sg_chunks(s->channels);
#pragma omp parallel num_threads(threads)
    {
        /* Backwards: a pass that goes over the tensor next begins with what is in the caches. */
        sg_span items = sg_share((size_t)blocks * (size_t)bands * (size_t)chunks, omp_get_thread_num(),
                                 omp_get_num_threads());
        for (size_t i = items.to; i-- > items.from;) {
            int chunk = (int)(i % (size_t)chunks), number = (int)(i / (size_t)chunks);
            int block = number / bands, band = number % bands;
            if (!sg_followed(&s->follower, block, band))
                s->sum(s, block, band, chunk, part_of(s, block, band));
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int block = 0; block < blocks; block++)
            for (int band = 1; band < bands; band++)
                s->combine(part_of(s, block, 0), part_of(s, block, band), s->count);
    }
    sg_fold(s->part, blocks, (size_t)bands * s->count * s->element, s->count, s->combine);
    const sg_reduce *reduce = s->extent.reduce;
    return SG_AT(
        reduce->combine(reduce->context, s->part, s->count, s->element, s->combine, s->extent.global_blocks));
}

void sg_pixel_sums_destroy(sg_pixel_sums **sums) {
    if (sums == NULL || *sums == NULL) return;
    sg_follower_end(&(*sums)->follower);
    free((*sums)->part);
    free((*sums)->terms);
    SG_FREE(*sums);
}
