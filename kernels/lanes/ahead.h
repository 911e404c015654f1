/* Fetches what a kernel will soon read or write into L2, a few lines at every call, in the order of
 * addresses.
 *
 * For a kernel that takes channel after channel of a tile of pixels and so moves along dozens of streams:
 * where its tensors are larger than L2, it waits for memory otherwise. Fetching into L1 does not help. */
#ifndef SG_AHEAD_H
#define SG_AHEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/lanes/simd.h"
#include "kernels/memory.h"
#include "kernels/tensor.h"

/* Floats of a line, lines of a lane row. */
enum { SG_LINE = 64 / sizeof(float), SG_LINES = SG_LANES / SG_LINE };

/* Two tensors of so many bytes together leave the threads' L2. */
enum { SG_AHEAD_BYTES = 4 << 20 };

/* Whether a pass over `blocks` blocks of two tensors is worth fetching for. */
static inline bool sg_ahead_pays(const sg_tensor *a, const sg_tensor *b, int blocks) {
    return (a->block + b->block) * (size_t)blocks * sizeof(float) >= SG_AHEAD_BYTES;
}

/* The pixels of one piece of work. */
typedef struct sg_area {
    ptrdiff_t row, pixel; /* floats from one to the next */
    int rows, pixels;     /* pixels of a row */
    int lead;             /* rows that the first tile needs */
} sg_area;

/* A walk over the lines of a piece behind its first `lead` rows, which the walk over the piece before has
 * fetched, and over those of the piece that follows. */
typedef struct sg_ahead {
    const sg_area *area; /* borrowed */
    const float *line, *next;
    int width;               /* lines of a pixel */
    int lines, pixels, rows; /* left of the pixel, of the row, before the next piece */
    int lead, step;          /* rows of the next piece; lines to fetch at a call, 0: none at all */
} sg_ahead;

/* data and next: the first pixel's first channel of the piece and of the one that follows, or NULL. The walk
 * takes so many calls; they do nothing unless it pays. */
static inline sg_ahead sg_ahead_of(const sg_area *area, const float *data, const float *next, int channels,
                                   int calls, bool pays) {
    int lead = sg_min(area->lead, area->rows), width = channels * SG_LINES;
    return (sg_ahead){.area = area,
                      .line = data + lead * area->row,
                      .next = next,
                      .width = width,
                      .lines = width,
                      .pixels = area->pixels,
                      .rows = area->rows - lead,
                      .lead = next != NULL ? lead : 0,
                      .step = pays ? sg_divide_up(area->rows * area->pixels * width, calls) : 0};
}

static __attribute__((noinline)) void sg_ahead_lines(sg_ahead *a) {
    for (int left = a->step; left > 0;) {
        if (a->rows == 0) {
            if (a->lead == 0) return;
            a->line = a->next;
            a->rows = a->lead;
            a->lead = 0;
        }
        int count = sg_min(left, a->lines);
        for (int i = 0; i < count; i++) __builtin_prefetch(a->line + i * SG_LINE, 0, 2);
        a->line += count * SG_LINE;
        left -= count;
        a->lines -= count;
        if (a->lines > 0) return;
        a->line += a->area->pixel - a->width * SG_LINE;
        a->lines = a->width;
        if (--a->pixels > 0) continue;
        a->line += a->area->row - a->area->pixels * a->area->pixel;
        a->pixels = a->area->pixels;
        a->rows--;
    }
}

/* One call of the walk. */
static inline void sg_ahead_fetch(sg_ahead *a) {
    if (a->step > 0) sg_ahead_lines(a);
}

#endif
