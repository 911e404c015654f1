#include "kernels/memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

void *sg_alloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        SG_FAIL(SG_NOMEM, "out of memory: %zu elements of %zu bytes is more than an address can reach", count,
                size);
        return NULL;
    }
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : SG_ALIGNMENT;
    size_t total = sg_round_up(bytes + SG_READABLE_SLACK, alignment);
    void *block = aligned_alloc(alignment, total);
    if (block == NULL) {
        SG_FAIL(SG_NOMEM,
                "out of memory: %zu bytes refused; use a smaller minibatch, more ranks per stage or nodes "
                "with more memory (signet plan predicts the need)",
                bytes);
        return NULL;
    }
    if (bytes >= HUGE_PAGE) madvise(block, total, MADV_HUGEPAGE); /* a hint: failure changes nothing */
    memset(block, 0, total);
    return block;
}
