/* Sparse convolution, forward and data gradient: one kernel, on the structure or the transposed structure.
 *
 * The sums of a tile of pixels of one row (output channel) stay in registers while the row's surviving
 * weights stream past, one fused multiply-add with a memory operand per pixel. A sum takes its weights in the
 * structure's order, whatever the tile, so bits depend neither on the tile nor on the instruction set nor on
 * threads. */
#include "kernels/lanes/simd.h"

#include <omp.h>

#include "kernels/lanes/ahead.h"
#include "kernels/lanes/conv_sparse.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/steps.h"
#include "kernels/memory.h"
#include "kernels/sparse.h"

#define WIDE_TILES (SG_VECTOR_BYTES == 64 && SG_LANES == 16)
/* Vectors that may be summed at once: registers less weight and operand. Columns and lines of a tile. */
enum { MOST_SUMS = SG_VECTOR_BYTES == 64 ? 16 : 12, MOST_COLUMNS = WIDE_TILES ? 8 : 4, MOST_LINES = 16 };

/* Independent pieces per thread, so that none waits long for the last one. */
enum { PIECES = 4 };

typedef struct state {
    sg_sparse *sparse;
    sg_sparse_tile largest;
    int threads;
    sg_queue *queue; /* [threads], of the present phase */
} state;

/* The largest tile for a layer. Lane rows of up to two vectors are read whole, as their parts come into L1
 * together: half as many pixels take half of L1. With few channels all of them fit for twice the pixels, too,
 * which then share more of what they read; parts that are cache lines of their own are read whole all the
 * same. */
static sg_sparse_tile largest_tile(const sg_conv_shape *shape, bool transposed) {
    int channels = (transposed ? shape->out_channels : shape->in_channels) / shape->groups;
    int columns = MOST_COLUMNS + shape->kernel_width - 1,
        lines = MOST_SUMS / MOST_COLUMNS + shape->kernel_height - 1;
    bool whole = SG_ROW <= 2 && (SG_LINES == 2 || columns * lines * channels > SG_SPARSE_LINES);
    return (sg_sparse_tile){MOST_COLUMNS, whole ? MOST_SUMS / SG_ROW : MOST_SUMS, SG_LINES};
}

/* One tile: where it reads and writes, and the rows that it computes. */
typedef struct tile {
    const float *in;
    float *out;
    ptrdiff_t in_line, in_column, out_line, out_column; /* floats between the tile's lines and columns */
    const uint32_t *start;                              /* of this phase and chunk, by row */
    const int32_t *offset, *row_offset;
    const float *value, *bias;
    int first, last; /* rows */
    bool add;        /* to what is there already */
    sg_ahead *ahead_in, *ahead_out;
} tile;

/* lines, columns and together (vectors of a lane row summed at once) are constants where this is inlined. */
static inline __attribute__((always_inline)) void sum_tile(const tile *t, const int lines, const int columns,
                                                           const int together) {
    /* Copies: a store to the sums might change *t, for all the compiler knows. */
    const int32_t *offset = t->offset;
    const float *value = t->value;
    const ptrdiff_t in_line = t->in_line;
    const sg_steps step = sg_steps_of(t->in_column, columns);
    for (int row = t->first; row < t->last; row++) {
        size_t begin = t->start[row], end = t->start[row + 1];
        sg_ahead_fetch(t->ahead_in);
        sg_ahead_fetch(t->ahead_out);
        if (begin == end && t->add) continue;
        for (int slice = 0; slice < SG_ROW; slice += together) {
            const float *in = t->in + slice * SG_WIDTH;
            float *out = t->out + t->row_offset[row] + slice * SG_WIDTH;
            sg_vec sum[MOST_SUMS];
            sg_vec initial = sg_splat(t->bias != NULL ? t->bias[row] : 0.0f);
#pragma GCC unroll 16
            for (int l = 0; l < lines; l++)
#pragma GCC unroll 8
                for (int c = 0; c < columns; c++)
#pragma GCC unroll 8
                    for (int v = 0; v < together; v++)
                        sum[(l * columns + c) * together + v] =
                            t->add ? sg_load(out + l * t->out_line + c * t->out_column + v * SG_WIDTH)
                                   : initial;
            for (size_t j = begin; j < end; j++) {
                const float *p = in + offset[j];
                sg_vec w = sg_splat(value[j]);
#pragma GCC unroll 16
                for (int l = 0; l < lines; l++, p += in_line) {
                    const float *four = p + step.by[4];
#pragma GCC unroll 8
                    for (int c = 0; c < columns; c++) {
                        const float *pixel = sg_steps_at(&step, p, four, c);
                        if (together > 1) SG_OPAQUE(pixel); /* one address for all its vectors */
#pragma GCC unroll 8
                        for (int v = 0; v < together; v++) {
                            sg_vec *s = &sum[(l * columns + c) * together + v];
                            *s = sg_fma(w, sg_load(pixel + v * SG_WIDTH), *s);
                        }
                    }
                }
            }
#pragma GCC unroll 16
            for (int l = 0; l < lines; l++)
#pragma GCC unroll 8
                for (int c = 0; c < columns; c++)
#pragma GCC unroll 8
                    for (int v = 0; v < together; v++)
                        sg_store(out + l * t->out_line + c * t->out_column + v * SG_WIDTH,
                                 sum[(l * columns + c) * together + v]);
        }
    }
}

#define TOGETHER(pixels)                                                                                     \
    ((pixels)*SG_ROW <= MOST_SUMS ? SG_ROW : (pixels)*2 <= MOST_SUMS && SG_ROW % 2 == 0 ? 2 : 1)
#define TILE(lines, columns)                                                                                 \
    static void tile_##lines##x##columns(const tile *t) {                                                    \
        sum_tile(t, lines, columns, TOGETHER((lines) * (columns)));                                          \
    }
/* clang-format off */
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(6, 1) TILE(8, 1) TILE(12, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(6, 2)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3)
TILE(1, 4) TILE(2, 4) TILE(3, 4)
#if WIDE_TILES
TILE(16, 1) TILE(8, 2) TILE(5, 3) TILE(4, 4)
TILE(1, 5) TILE(2, 5) TILE(3, 5)
TILE(1, 6) TILE(2, 6)
TILE(1, 7) TILE(2, 7)
TILE(1, 8) TILE(2, 8)
#define WIDE(entry) entry
#else
#define WIDE(entry)
#endif

/* [columns - 1][lines - 1]; NULL where there is no such tile. */
typedef void (*tile_function)(const tile *t);
static const tile_function tiles[MOST_COLUMNS][MOST_LINES] = {
    {[0] = tile_1x1, [1] = tile_2x1, [2] = tile_3x1, [3] = tile_4x1, [5] = tile_6x1, [7] = tile_8x1,
     [11] = tile_12x1, WIDE([15] = tile_16x1)},
    {[0] = tile_1x2, [1] = tile_2x2, [2] = tile_3x2, [3] = tile_4x2, [5] = tile_6x2, WIDE([7] = tile_8x2)},
    {[0] = tile_1x3, [1] = tile_2x3, [2] = tile_3x3, [3] = tile_4x3, WIDE([4] = tile_5x3)},
    {[0] = tile_1x4, [1] = tile_2x4, [2] = tile_3x4, WIDE([3] = tile_4x4)},
#if WIDE_TILES
    {[0] = tile_1x5, [1] = tile_2x5, [2] = tile_3x5},
    {[0] = tile_1x6, [1] = tile_2x6},
    {[0] = tile_1x7, [1] = tile_2x7},
    {[0] = tile_1x8, [1] = tile_2x8},
#endif
};
/* clang-format on */

/* One axis of what is computed: blocks, rows or columns of pixels. */
typedef struct axis {
    int count;
    ptrdiff_t in, out; /* floats from one to the next */
    int block, row;    /* of what is written, from one to the next */
} axis;

static int most_lines(int columns, int pixels) {
    int lines = pixels / columns < MOST_LINES ? pixels / columns : MOST_LINES;
    while (tiles[columns - 1][lines - 1] == NULL) lines--;
    return lines;
}

/* Pixels of one phase, of all blocks: tiles take columns along the first axis and lines along the second,
 * each (third, group of lines) is a piece of work. Small images take their lines from several blocks. */
typedef struct grid {
    axis column, line, outer;
    int column_tiles, columns, wider; /* `wider` tiles of columns + 1, then tiles of columns */
    int group, groups;                /* lines in a group */
} grid;

static grid make_grid(axis blocks, axis height, axis width, int pixels) {
    grid g;
    if (width.count == 1 && height.count > 1) {
        axis swap = width;
        width = height;
        height = swap;
    }
    if (width.count == 1) {
        axis swap = width;
        width = blocks;
        blocks = swap;
    }
    g.column = width;
    g.column_tiles = sg_divide_up(width.count, MOST_COLUMNS);
    g.columns = width.count / g.column_tiles;
    g.wider = width.count % g.column_tiles;
    g.group = most_lines(g.columns + (g.wider > 0), pixels);
    bool take_blocks = sg_min(blocks.count, g.group) > sg_min(height.count, g.group);
    g.line = take_blocks ? blocks : height;
    g.outer = take_blocks ? height : blocks;
    g.groups = sg_divide_up(g.line.count, g.group);
    return g;
}

/* What is fetched ahead: with a pixel that is written, the furthest that is read for it. */
typedef struct fetching {
    bool pays;
    ptrdiff_t furthest; /* floats from the pixel that offsets count from */
    int channels;       /* of what is read */
} fetching;

/* Where a piece begins; the one behind the last is only fetched. */
static ptrdiff_t piece_in(const grid *g, int piece) {
    return piece / g->groups * g->outer.in + piece % g->groups * g->group * g->line.in;
}
static ptrdiff_t piece_out(const grid *g, int piece) {
    return piece / g->groups * g->outer.out + piece % g->groups * g->group * g->line.out;
}

/* All tiles of one piece: rows first..last of a group of lines, all columns, so many chunks. */
static void sum_piece(const state *s, const grid *g, const fetching *f, tile t, int chunks, int piece) {
    const sg_sparse *a = s->sparse;
    int lines = sg_min(g->group, g->line.count - piece % g->groups * g->group), rows = t.last - t.first;
    const float *in = t.in + piece_in(g, piece), *next_in = t.in + piece_in(g, piece + 1);
    float *out = t.out + piece_out(g, piece), *next_out = t.out + piece_out(g, piece + 1);
    const uint32_t *start = t.start;
    bool add = t.add;
    for (int i = 0, columns; i < g->column_tiles; i++) {
        columns = g->columns + (i < g->wider);
        if (i + 1 < g->column_tiles) {
            next_in = in + columns * g->column.in;
            next_out = out + columns * g->column.out;
        }
        sg_area read = {g->line.in, g->column.in, lines, columns, 0};
        sg_area written = {g->line.out, g->column.out, lines, columns, 0};
        sg_ahead ahead_in =
            sg_ahead_of(&read, next_in + f->furthest, NULL, f->channels, rows * chunks, f->pays);
        sg_ahead ahead_out =
            sg_ahead_of(&written, next_out + a->row_offset[t.first], NULL, rows, rows * chunks, f->pays);
        t.ahead_in = &ahead_in;
        t.ahead_out = &ahead_out;
        for (int line = 0, taken; line < lines; line += taken) {
            taken = lines - line;
            while (tiles[columns - 1][taken - 1] == NULL) taken--;
            t.in = in + line * g->line.in;
            t.out = out + line * g->line.out;
            t.add = add;
            for (int chunk = 0; chunk < chunks; chunk++) {
                t.start = start + (size_t)chunk * (size_t)a->rows;
                tiles[columns - 1][taken - 1](&t);
                t.add = true;
            }
        }
        in = next_in;
        out = next_out;
    }
}

/* Tells of a piece, whose rows are so many channels; first_row is the phase's. */
static void tell(sg_follower *follower, const grid *g, int outer, int group, int first_row, int channels) {
    int first_line = group * g->group, lines = sg_min(g->group, g->line.count - first_line);
    bool joined = g->column.block == 0 && g->column.row == 0;
    int together = joined ? g->column.count : 1;
    for (int line = first_line; line < first_line + lines && follower != NULL; line++)
        for (int column = 0; column < g->column.count; column += together)
            sg_follow(follower, outer * g->outer.block + line * g->line.block + column * g->column.block,
                      first_row + outer * g->outer.row + line * g->line.row + column * g->column.row,
                      (size_t)together * (size_t)channels);
}

/* in and out point at the pixels that (0, 0) of this phase reads from and writes to, the latter in first_row;
 * furthest: floats from the former to the last pixel that it reads. */
static void sum_phase(const state *s, int phase, const sg_conv_pass *pass, const float *in, float *out,
                      axis blocks, axis height, axis width, int first_row, ptrdiff_t furthest) {
    const sg_sparse *a = s->sparse;
    if (height.count <= 0 || width.count <= 0) return;
    size_t buckets = (size_t)a->chunks * (size_t)a->rows;
    const uint32_t *start = a->start + (size_t)phase * buckets;
    bool add = a->transposed && pass->accumulate, empty = start[0] == start[buckets];
    /* Where there are no weights, the bias or zeros are written once, or nothing is added. */
    int chunks = !empty ? a->chunks : add ? 0 : 1;
    grid g = make_grid(blocks, height, width, s->largest.pixels);
    tile t = {.in = in,
              .out = out,
              .in_line = g.line.in,
              .in_column = g.column.in,
              .out_line = g.line.out,
              .out_column = g.column.out,
              .start = start,
              .offset = a->offset,
              .row_offset = a->row_offset,
              .value = pass->packed,
              .bias = a->transposed ? NULL : pass->bias,
              .add = add};
    sg_follower *follower = a->linear ? NULL : pass->follower; /* its rows are no channels */
    const sg_tensor *from = a->transposed ? pass->dy : pass->x, *to = a->transposed ? pass->dx : pass->y;
    fetching f = {.pays = !a->linear && !empty && sg_ahead_pays(from, to, pass->blocks),
                  .furthest = furthest,
                  .channels = from->channels};
    int tasks = g.outer.count * g.groups;
    int parts = sg_min(a->rows, sg_divide_up(PIECES * s->threads, tasks));
    sg_fill_queues(s->queue, (size_t)tasks * (size_t)parts, s->threads);
#pragma omp parallel num_threads(s->threads)
    for (size_t item; sg_take(s->queue, omp_get_thread_num(), s->threads, &item);) {
        tile own = t;
        int task = (int)item / parts, part = (int)item % parts;
        own.first = (int)((int64_t)a->rows * part / parts);
        own.last = (int)((int64_t)a->rows * (part + 1) / parts);
        if (chunks > 0) sum_piece(s, &g, &f, own, chunks, task);
        tell(follower, &g, task / g.groups, task % g.groups, first_row, own.last - own.first);
    }
}

int SG_VARIANT(sg_conv_sparse_run_forward)(void *opaque, const sg_conv_pass *pass) {
    state *s = opaque;
    sg_sparse *a = s->sparse;
    const sg_conv_shape *shape = &a->shape;
    SG_TRY(sg_sparse_bind(a, pass->x, pass->y));
    ptrdiff_t stride = shape->stride;
    axis blocks = {pass->blocks, (ptrdiff_t)pass->x->block, (ptrdiff_t)pass->y->block, 1, 0};
    axis height = {shape->out_height, stride * (ptrdiff_t)pass->x->row, (ptrdiff_t)pass->y->row, 0, 1};
    axis width = {shape->out_width, stride * (ptrdiff_t)pass->x->pixel, (ptrdiff_t)pass->y->pixel, 0, 0};
    sum_phase(s, 0, pass, sg_tensor_at(pass->x, 0, -shape->padding, -shape->padding), pass->y->data, blocks,
              height, width, 0,
              (shape->kernel_height - 1) * (ptrdiff_t)pass->x->row +
                  (shape->kernel_width - 1) * (ptrdiff_t)pass->x->pixel);
    return SG_OK;
}

int SG_VARIANT(sg_conv_sparse_run_data)(void *opaque, const sg_conv_pass *pass) {
    state *s = opaque;
    sg_sparse *a = s->sparse;
    const sg_conv_shape *shape = &a->shape;
    SG_TRY(sg_sparse_bind(a, pass->dy, pass->dx));
    axis blocks = {pass->blocks, (ptrdiff_t)pass->dy->block, (ptrdiff_t)pass->dx->block, 1, 0};
    if (a->linear) { /* one output pixel; every input value is a row */
        axis one = {1, 0, 0, 0, 0};
        sum_phase(s, 0, pass, pass->dy->data, pass->dx->data, blocks, one, one, 0, 0);
        return SG_OK;
    }
    int stride = shape->stride;
    for (int phase = 0; phase < a->phases; phase++) {
        int y = phase / stride, x = phase % stride;
        axis height = {sg_sparse_phase_size(a, shape->in_height, y), (ptrdiff_t)pass->dy->row,
                       stride * (ptrdiff_t)pass->dx->row, 0, stride};
        axis width = {sg_sparse_phase_size(a, shape->in_width, x), (ptrdiff_t)pass->dy->pixel,
                      stride * (ptrdiff_t)pass->dx->pixel, 0, 0};
        ptrdiff_t furthest = (y + shape->padding) / stride * (ptrdiff_t)pass->dy->row +
                             (x + shape->padding) / stride * (ptrdiff_t)pass->dy->pixel;
        sum_phase(s, phase, pass, pass->dy->data, sg_tensor_at(pass->dx, 0, y, x), blocks, height, width, y,
                  furthest);
    }
    return SG_OK;
}

static int create(void **opaque, const sg_machine *machine, const sg_conv_shape *shape,
                  const sg_support *support, bool transposed) {
    *opaque = NULL;
    state *s;
    SG_TRY(SG_NEW(&s, 1));
    s->threads = machine->threads;
    s->largest = largest_tile(shape, transposed);
    int chunk = sg_sparse_chunk(shape, support, transposed, s->largest);
    *opaque = s;
    int status = SG_AT(sg_sparse_create(&s->sparse, shape, support, transposed, chunk));
    if (status == SG_OK) status = SG_AT(SG_NEW(&s->queue, (size_t)s->threads));
    if (status != SG_OK) SG_VARIANT(sg_conv_sparse_destroy)(opaque);
    return status;
}

int SG_VARIANT(sg_conv_sparse_create_forward)(void **opaque, const sg_machine *machine,
                                              const sg_conv_shape *shape, const sg_support *support) {
    return create(opaque, machine, shape, support, false);
}

int SG_VARIANT(sg_conv_sparse_create_data)(void **opaque, const sg_machine *machine,
                                           const sg_conv_shape *shape, const sg_support *support) {
    return create(opaque, machine, shape, support, true);
}

int SG_VARIANT(sg_conv_sparse_prepare)(void *opaque, const float *weights, float *packed) {
    state *s = opaque;
    sg_sparse_pack(s->sparse, weights, packed, s->threads);
    return SG_OK;
}

void SG_VARIANT(sg_conv_sparse_destroy)(void **opaque) {
    if (opaque == NULL || *opaque == NULL) return;
    state *s = *opaque;
    sg_sparse_destroy(&s->sparse);
    free(s->queue);
    free(s);
    *opaque = NULL;
}

bool SG_VARIANT(sg_conv_sparse_supports)(const sg_machine *machine, const sg_conv_shape *shape) {
    return sg_sparse_fits(shape, machine->lanes);
}

sg_conv_bytes SG_VARIANT(sg_conv_sparse_bytes)(const sg_machine *machine, const sg_conv_shape *shape,
                                               const sg_support *support, int blocks) {
    (void)machine, (void)blocks;
    size_t count = support->index != NULL ? support->count : sg_conv_weights(shape);
    return (sg_conv_bytes){.packed = count * sizeof(float),
                           .state = sg_sparse_bytes(shape, support, largest_tile(shape, false))};
}
