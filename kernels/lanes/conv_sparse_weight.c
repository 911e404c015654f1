/* Weight gradient of the sparse convolution, at surviving positions only.
 *
 * A group of up to 8 output gradients of one row (output channel) stays in registers; each surviving weight
 * of the row adds the products with what it reads to its own lane row of sums. At the end of a block of
 * samples the lane rows are reduced to numbers, and those are combined over blocks in the order of
 * sg_tree_order.
 *
 * The order of one sum is fixed: strips of columns from left to right, groups from top to bottom, in a group
 * one chain over even and one over odd pixels. How many groups are in registers at once is the instruction
 * set's. */
#include "kernels/lanes/simd.h"

#include <omp.h>

#include "kernels/fold.h"
#include "kernels/lanes/ahead.h"
#include "kernels/lanes/conv_sparse.h"
#include "kernels/lanes/row_sums.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/steps.h"
#include "kernels/memory.h"
#include "kernels/sparse.h"

enum { GROUP_PIXELS = 8, MOST_COLUMNS = 8 };
/* In registers at once: output gradients of GROUPS groups, TOGETHER vectors of each lane row, and two sums of
 * each vector. With AVX-512 that is a whole lane row, elsewhere a vector of the line that a pass takes. */
#if SG_VECTOR_BYTES == 64
enum { GROUPS = 32 / SG_LANES, TOGETHER = SG_ROW, PASS = SG_LANES };
#else
enum { GROUPS = 1, TOGETHER = 1, PASS = SG_LINE };
#endif
enum { MOST_PIXELS = GROUPS * GROUP_PIXELS };
static const sg_sparse_tile largest_tile = {MOST_COLUMNS, MOST_PIXELS, SG_LINES};
/* Lane rows of sums that stay in L2; tasks per thread in a wave. */
enum { MOST_SUMS = 2048, TASKS = 4 };

/* Some rows of one chunk: weights begin..end of the structure. */
typedef struct piece {
    uint32_t begin, end;
    int chunk, first, last;
} piece;

typedef struct state {
    sg_sparse *sparse;
    piece *pieces;
    int count, threads;
    size_t most;     /* weights of the largest piece, at most */
    sg_queue *queue; /* [threads], of the present wave */
} state;

typedef struct group {
    const float *in, *dy;
    ptrdiff_t in_line, in_column, dy_line, dy_column;
    const uint32_t *start;
    const int32_t *offset, *row_offset;
    float *sums;
    bool add; /* to what they are already */
    int first, last;
    sg_ahead *ahead_in, *ahead_dy;
} group;

/* PASS lanes of each lane row, from lane `pass` on. lines, columns and groups (one below the other) are
 * constants where this is inlined. */
static inline __attribute__((always_inline)) void sum_rows(const group *t, const int lines, const int columns,
                                                           const int groups, const int pass) {
    /* Copies: a store to the sums might change *t, for all the compiler knows. */
    const uint32_t *start = t->start;
    const int32_t *offset = t->offset;
    const bool add = t->add;
    const ptrdiff_t in_line = t->in_line;
    const sg_steps step = sg_steps_of(t->in_column, columns);
    float *sums = t->sums;
    for (int row = t->first, last = t->last; row < last; row++) {
        size_t begin = start[row], end = start[row + 1];
        const float *dy = t->dy + t->row_offset[row];
        sg_ahead_fetch(t->ahead_in);
        sg_ahead_fetch(t->ahead_dy);
        for (int slice = pass; slice < pass + PASS; slice += TOGETHER * SG_WIDTH) {
            sg_vec gradient[MOST_PIXELS][TOGETHER];
#pragma GCC unroll 16
            for (int l = 0; l < groups * lines; l++)
#pragma GCC unroll 8
                for (int c = 0; c < columns; c++)
#pragma GCC unroll 2
                    for (int v = 0; v < TOGETHER; v++)
                        gradient[l * columns + c][v] =
                            sg_load(dy + slice + v * SG_WIDTH + l * t->dy_line + c * t->dy_column);
            const float *in = t->in + slice;
            float *sum = sums + slice;
            SG_OPAQUE(in);
            for (size_t j = begin; j < end; j++) {
                const float *p = in + offset[j];
                sg_vec even[TOGETHER];
#pragma GCC unroll 2
                for (int v = 0; v < TOGETHER; v++)
                    even[v] = add ? sg_load(sum + v * SG_WIDTH) : sg_splat(0.0f);
#pragma GCC unroll 2
                for (int g = 0; g < groups; g++) {
                    sg_vec odd[TOGETHER];
#pragma GCC unroll 2
                    for (int v = 0; v < TOGETHER; v++) odd[v] = sg_splat(0.0f);
#pragma GCC unroll 8
                    for (int l = 0; l < lines; l++, p += in_line) {
                        const float *four = p + step.by[4];
                        SG_OPAQUE(four);
#pragma GCC unroll 8
                        for (int c = 0; c < columns; c++) {
                            int i = l * columns + c;
#pragma GCC unroll 2
                            for (int v = 0; v < TOGETHER; v++) {
                                sg_vec x = sg_load(sg_steps_at(&step, p, four, c) + v * SG_WIDTH);
                                sg_vec y = gradient[g * lines * columns + i][v];
                                if (i % 2 == 0)
                                    even[v] = sg_fma(y, x, even[v]);
                                else if (i == 1)
                                    odd[v] = y * x;
                                else
                                    odd[v] = sg_fma(y, x, odd[v]);
                            }
                        }
                    }
                    if (lines * columns == 1) continue;
#pragma GCC unroll 2
                    for (int v = 0; v < TOGETHER; v++) even[v] = even[v] + odd[v];
                }
#pragma GCC unroll 2
                for (int v = 0; v < TOGETHER; v++) sg_store(sum + v * SG_WIDTH, even[v]);
                sum += SG_LANES;
            }
        }
        sums += (end - begin) * SG_LANES;
    }
}

/* What a pass reads of all lane rows stays in L1. */
static inline __attribute__((always_inline)) void sum_groups(const group *t, const int lines,
                                                             const int columns, const int groups) {
    for (int pass = 0; pass < SG_LANES; pass += PASS) sum_rows(t, lines, columns, groups, pass);
}

#define GROUP(lines, columns)                                                                                \
    static void group_##lines##x##columns(const group *t) { sum_groups(t, lines, columns, 1); }
#define FULL(lines, columns)                                                                                 \
    GROUP(lines, columns)                                                                                    \
    static void full_##columns(const group *t) { sum_groups(t, lines, columns, GROUPS); }
/* clang-format off */
FULL(8, 1) GROUP(7, 1) GROUP(6, 1) GROUP(5, 1) GROUP(4, 1) GROUP(3, 1) GROUP(2, 1) GROUP(1, 1)
FULL(4, 2) GROUP(3, 2) GROUP(2, 2) GROUP(1, 2)
FULL(2, 3) GROUP(1, 3)
FULL(2, 4) GROUP(1, 4)
FULL(1, 5) FULL(1, 6) FULL(1, 7) FULL(1, 8)

/* Part of a group, [columns - 1][lines - 1]; and GROUPS whole ones. */
typedef void (*group_function)(const group *t);
static const group_function partial[MOST_COLUMNS][GROUP_PIXELS] = {
    {group_1x1, group_2x1, group_3x1, group_4x1, group_5x1, group_6x1, group_7x1, group_8x1},
    {group_1x2, group_2x2, group_3x2, group_4x2},
    {group_1x3, group_2x3},
    {group_1x4, group_2x4},
    {group_1x5}, {group_1x6}, {group_1x7}, {group_1x8},
};
static const group_function full[MOST_COLUMNS] = {full_1, full_2, full_3, full_4,
                                                  full_5, full_6, full_7, full_8};
/* clang-format on */
static const int lines_of[MOST_COLUMNS] = {8, 4, 2, 2, 1, 1, 1, 1};

/* Channels first..first+count-1 of the input are what a piece reads. */
static void channels_of(const sg_sparse *a, const piece *work, int *first, int *count) {
    int groups = a->shape.groups, of_group = a->shape.in_channels / groups, rows = a->rows / groups;
    *first = work->chunk * a->chunk;
    *count = sg_min(a->chunk, of_group - *first);
    if (groups == 1) return;
    *first = work->first / rows * of_group;
    *count = (work->last - 1) / rows * of_group + of_group - *first;
}

/* The sums of one piece over one block. */
static void sum_block(const state *s, const piece *work, const sg_conv_pass *pass, int block, float *sums) {
    const sg_sparse *a = s->sparse;
    const sg_conv_shape *shape = &a->shape;
    const sg_tensor *x = pass->x, *dy = pass->dy;
    int width = shape->out_width, height = shape->out_height;
    ptrdiff_t in_column = (ptrdiff_t)x->pixel * shape->stride, in_line = (ptrdiff_t)x->row * shape->stride;
    ptrdiff_t dy_column = (ptrdiff_t)dy->pixel, dy_line = (ptrdiff_t)dy->row;
    if (width == 1) { /* a column of pixels is a row of them, too */
        width = height;
        height = 1;
        in_column = in_line;
        dy_column = dy_line;
    }
    group t = {.in_line = in_line,
               .in_column = in_column,
               .dy_line = dy_line,
               .dy_column = dy_column,
               .start = a->start + (size_t)work->chunk * (size_t)a->rows,
               .offset = a->offset,
               .row_offset = a->row_offset,
               .sums = sums,
               .first = work->first,
               .last = work->last};
    const float *in = sg_tensor_at(x, block, -shape->padding, -shape->padding),
                *gradient = sg_tensor_at(dy, block, 0, 0);
    int first_channel, channels, rows = work->last - work->first, calls = rows * SG_LANES / PASS;
    channels_of(a, work, &first_channel, &channels);
    bool pays = sg_ahead_pays(x, dy, pass->blocks);
    ptrdiff_t furthest = (shape->kernel_height - 1) * (ptrdiff_t)x->row +
                         (shape->kernel_width - 1) * (ptrdiff_t)x->pixel + first_channel * SG_LANES;
    int strips = (width + MOST_COLUMNS - 1) / MOST_COLUMNS, least = width / strips, wider = width % strips;
    for (int i = 0; i < strips; i++) {
        int columns = least + (i < wider), lines = lines_of[columns - 1];
        for (int line = 0, taken; line < height; line += taken) {
            t.in = in + line * in_line;
            t.dy = gradient + line * dy_line;
            taken = sg_min(lines, height - line);
            bool whole = taken == lines && height - line >= GROUPS * lines;
            if (whole) taken = GROUPS * lines;
            int below = sg_min(taken, height - line - taken);
            sg_area read = {in_line, in_column, below, columns, 0},
                    multiplied = {dy_line, dy_column, below, columns, 0};
            sg_ahead ahead_in =
                sg_ahead_of(&read, t.in + taken * in_line + furthest, NULL, channels, calls, pays);
            sg_ahead ahead_dy = sg_ahead_of(&multiplied, t.dy + taken * dy_line + a->row_offset[work->first],
                                            NULL, rows, calls, pays);
            t.ahead_in = &ahead_in;
            t.ahead_dy = &ahead_dy;
            if (whole)
                full[columns - 1](&t);
            else
                partial[columns - 1][taken - 1](&t);
            t.add = true;
        }
        in += columns * in_column;
        gradient += columns * dy_column;
    }
}

/* Adds up a piece's numbers over blocks, and puts them into dw. */
static void combine_piece(const state *s, const piece *work, const sg_conv_pass *pass, float *numbers) {
    const sg_sparse *a = s->sparse;
    sg_fold(numbers, pass->blocks, s->most * sizeof *numbers, work->end - work->begin, sg_combine_float);
    size_t bucket = (size_t)work->chunk * (size_t)a->rows;
    for (int row = work->first; row < work->last; row++) {
        uint32_t begin = a->start[bucket + (size_t)row], end = a->start[bucket + (size_t)row + 1];
        if (begin < end)
            memcpy(pass->dw + a->first[bucket + (size_t)row], numbers + (begin - work->begin),
                   (end - begin) * sizeof *numbers);
    }
}

/* Part `part` of `parts` of a piece: some of its rows. */
static piece part_of(const state *s, piece whole, int part, int parts) {
    const uint32_t *start = s->sparse->start + (size_t)whole.chunk * (size_t)s->sparse->rows;
    int rows = whole.last - whole.first;
    piece p = {.chunk = whole.chunk,
               .first = whole.first + (int)((int64_t)rows * part / parts),
               .last = whole.first + (int)((int64_t)rows * (part + 1) / parts)};
    p.begin = start[p.first];
    p.end = start[p.last];
    return p;
}

/* The fewest parts of each of `tasks` tasks that leave no thread idle for long. */
static int count_parts(int tasks, int threads) {
    int parts = 1;
    while (parts < TASKS * threads) {
        int rounds = sg_divide_up(tasks * parts, threads); /* of the busiest thread */
        if (8 * rounds * threads <= 9 * tasks * parts) break;
        parts++;
    }
    return parts;
}

static int pieces_of_wave(int threads, int blocks) {
    return sg_divide_up(threads > 1 ? TASKS * threads : 1, blocks);
}

/* Pieces go in waves, so that the numbers of a wave stay small. Within one, each (piece, block) is a task of
 * its own, cut into parts only where threads would be idle: every part reads the whole input again. */
int SG_VARIANT(sg_conv_sparse_run_weight)(void *opaque, const sg_conv_pass *pass) {
    state *s = opaque;
    int blocks = pass->blocks;
    SG_TRY(sg_sparse_bind(s->sparse, pass->x, pass->dy));
    int wave = sg_min(s->count, pieces_of_wave(s->threads, blocks));
    float *all = pass->scratch.shared; /* numbers: [piece of the wave][block][most] */
#pragma omp parallel num_threads(s->threads)
    for (int first = 0; first < s->count; first += wave) {
        int pieces = sg_min(wave, s->count - first), parts = count_parts(pieces * blocks, s->threads);
        float *sums = sg_conv_own(&pass->scratch, omp_get_thread_num()); /* [most][lanes] */
#pragma omp single
        sg_fill_queues(s->queue, (size_t)pieces * (size_t)blocks * (size_t)parts, s->threads);
        for (size_t task; sg_take(s->queue, omp_get_thread_num(), s->threads, &task);) {
            int part = (int)task % parts, i = (int)task / parts % pieces, block = (int)task / parts / pieces;
            const piece *whole = &s->pieces[first + i];
            piece work = part_of(s, *whole, part, parts);
            if (work.begin == work.end) continue;
            sum_block(s, &work, pass, block, sums);
            sg_row_sums(sums, work.end - work.begin,
                        all + (size_t)(i * blocks + block) * s->most + (work.begin - whole->begin));
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int i = 0; i < pieces; i++)
            combine_piece(s, &s->pieces[first + i], pass, all + (size_t)(i * blocks) * s->most);
    }
    return SG_OK;
}

/* Cuts every chunk's rows into pieces of about as many weights, MOST_SUMS (or one row) at most. Only counts
 * when pieces is NULL. */
static int cut(const sg_sparse *a, piece *pieces) {
    int count = 0;
    for (int chunk = 0; chunk < a->chunks; chunk++) {
        const uint32_t *start = a->start + (size_t)chunk * (size_t)a->rows;
        for (int first = 0, last; first < a->rows; first = last) {
            size_t left = start[a->rows] - start[first], parts = (left + MOST_SUMS - 1) / MOST_SUMS;
            last = first + 1;
            while (last < a->rows && (start[last + 1] - start[first]) * parts <= left) last++;
            size_t weights = start[last] - start[first];
            if (weights == 0) continue;
            if (pieces != NULL)
                pieces[count] = (piece){
                    .begin = start[first], .end = start[last], .chunk = chunk, .first = first, .last = last};
            count++;
        }
    }
    return count;
}

/* Of a piece, at most, with any mask of so many weights; in whole steps of sg_row_sums. */
static size_t most_weights(const sg_conv_shape *shape, const sg_support *support) {
    size_t count = support->index != NULL ? support->count : sg_conv_weights(shape);
    size_t row = (size_t)sg_sparse_chunk(shape, support, false, largest_tile) *
                 (size_t)(shape->kernel_height * shape->kernel_width);
    size_t most = row > MOST_SUMS ? row : MOST_SUMS;
    return sg_round_up(count < most ? count : most, SG_ROWS_TOGETHER);
}

int SG_VARIANT(sg_conv_sparse_create_weight)(void **opaque, const sg_machine *machine,
                                             const sg_conv_shape *shape, const sg_support *support) {
    *opaque = NULL;
    state *s;
    SG_TRY(SG_NEW(&s, 1));
    *opaque = s;
    s->threads = machine->threads;
    s->most = most_weights(shape, support);
    int status = SG_AT(sg_sparse_create(&s->sparse, shape, support, false,
                                        sg_sparse_chunk(shape, support, false, largest_tile)));
    if (status != SG_OK) goto failed;
    s->count = cut(s->sparse, NULL);
    if ((status = SG_AT(SG_NEW(&s->pieces, (size_t)s->count)))) goto failed;
    cut(s->sparse, s->pieces);
    if ((status = SG_AT(SG_NEW(&s->queue, (size_t)s->threads)))) goto failed;
    return SG_OK;
failed:
    SG_VARIANT(sg_conv_sparse_destroy_weight)(opaque);
    return status;
}

void SG_VARIANT(sg_conv_sparse_destroy_weight)(void **opaque) {
    if (opaque == NULL || *opaque == NULL) return;
    state *s = *opaque;
    sg_sparse_destroy(&s->sparse);
    free(s->pieces);
    free(s->queue);
    free(s);
    *opaque = NULL;
}

sg_conv_bytes SG_VARIANT(sg_conv_sparse_bytes_weight)(const sg_machine *machine, const sg_conv_shape *shape,
                                                      const sg_support *support, int blocks) {
    size_t most = most_weights(shape, support);
    size_t arrays = (size_t)pieces_of_wave(machine->threads, blocks) * (size_t)blocks;
    return (sg_conv_bytes){.shared = arrays * most * sizeof(float),
                           .own = most * SG_LANES * sizeof(float),
                           .state = sg_sparse_bytes(shape, support, largest_tile)};
}
