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

/* Of all bands and local blocks, for sums first..first+count-1. */
static void combine_local(const sg_pixel_sums *s, size_t first, size_t count) {
    int blocks = s->extent.blocks, bands = s->follower.bands.count;
    size_t skip = first * s->element;
    for (int block = 0; block < blocks; block++)
        for (int band = 1; band < bands; band++)
            s->combine(part_of(s, block, 0) + skip, part_of(s, block, band) + skip, count);
    sg_fold(s->part + skip, blocks, (size_t)bands * s->count * s->element, count, s->combine);
}

/* Sums what was not followed, and combines all that is local; queue: [threads]. */
static void sum_local(const sg_pixel_sums *s, sg_queue *queue, int threads) {
    size_t bands = (size_t)s->follower.bands.count, chunks = (size_t)sg_chunks(s->channels);
    size_t items = (size_t)s->extent.blocks * bands * chunks;
    sg_fill_queues(queue, items, threads);
#pragma omp parallel num_threads(threads)
    {
        /* Backwards: a pass that goes over the tensor next begins with what is in the caches. */
        for (size_t i; sg_take_backwards(queue, omp_get_thread_num(), threads, items, &i);) {
            int chunk = (int)(i % chunks), block = (int)(i / chunks / bands),
                band = (int)(i / chunks % bands);
            if (!sg_followed(&s->follower, block, band))
                s->sum(s, block, band, chunk, part_of(s, block, band));
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (size_t first = 0; first < s->count; first += SG_CHUNK)
            combine_local(s, first, s->count - first < SG_CHUNK ? s->count - first : SG_CHUNK);
    }
}

int sg_pixel_sums_finish(sg_pixel_sums *s, int threads) {
    sg_queue *queue;
    SG_TRY(SG_NEW(&queue, (size_t)threads));
    sum_local(s, queue, threads);
    free(queue);
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
