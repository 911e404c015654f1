/* Weight gradient of the direct convolution:
 *     dw[o, q] = sum over blocks, output pixels, lanes of dy[o] x[q],
 * where a column q = (channel, tap row, tap column) in canonical order names one shifted input row. The sum
 * runs over lanes, so both sides are transposed into panels [pixel][lane][channel]: dy for the micro-kernel's
 * rows, x for its lanes. A tile of dw is finished over all blocks before the next one begins, so that the
 * partial sums of the tree over blocks stay in cache. Tiles without a surviving weight are skipped. */
#include <omp.h>
#include <string.h>

#include "kernels/lanes/conv_direct.h"
#include "kernels/lanes/tables.h"
#include "kernels/lanes/transpose.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

/* A micro-kernel call sums over PIXELS pixels: the x panel takes 16 KiB of L1 (at 16 lanes). A tile of dw has
 * at most TILE_SUMS sums, a part of L2, which sets how often a transposed panel is used. The sums' order
 * depends on PIXELS and the tree alone. */
enum { PIXELS = 256 / SG_LANES, TILE_SUMS = 49152, TILE_ROWS = 256, TILE_COLUMNS = 256 };
/* Of transposing a row panel and a column panel, as parts of their product. */
static const double ROW_COST = 0.4, COLUMN_COST = 0.7;
enum { TILE_COLUMN_PANELS = TILE_COLUMNS / SG_LANES, AHEAD = 3 /* pixels to prefetch */ };

typedef struct weight_gradient {
    const sg_machine *machine;
    sg_conv_shape shape;
    sg_support support;
    int rows, columns;             /* of a group's dw: output channels, weights per output channel */
    int row_panels, column_panels; /* of a group */
    int tile_rows, tile_columns;   /* of a tile, in panels */
    uint8_t *needed;      /* [group][row panel][column panel]: a weight survives here; NULL when dense */
    size_t *row_start;    /* [out_channels + 1]: where in the support a row begins; NULL when dense */
    ptrdiff_t *offset;    /* [columns, whole panels] from a pixel's first tap to the row of a column */
    int blocks, capacity; /* leaf and merges are for `blocks` and have room for `capacity` */
    int *leaf, *merges;
    size_t tile_size; /* floats of a tile */
} weight_gradient;

/* About the time that the threads take with so many tiles, in multiplications of a panel by a panel. */
static double cost_of(const weight_gradient *g, int down, int across) {
    int threads = g->machine->threads, tiles = g->shape.groups * down * across;
    double rows = sg_divide_up(g->row_panels, down), columns = sg_divide_up(g->column_panels, across);
    return sg_divide_up(tiles, threads) * (rows * columns + ROW_COST * rows + COLUMN_COST * columns);
}

/* The cheapest tiles that are small enough; no sum depends on them. */
static void choose_tiles(weight_gradient *g) {
    int rows = g->machine->ukernel.rows;
    int most_columns = sg_min(TILE_COLUMN_PANELS, g->column_panels);
    int most_rows = sg_min(TILE_ROWS, TILE_SUMS / (most_columns * SG_LANES)) / rows;
    most_rows = sg_min(most_rows > 0 ? most_rows : 1, g->row_panels);
    int least_down = sg_divide_up(g->row_panels, most_rows);
    int least_across = sg_divide_up(g->column_panels, most_columns);
    int threads = g->machine->threads, down = least_down, across = least_across;
    for (int d = least_down; d <= sg_min(g->row_panels, least_down * threads * 2); d++)
        for (int a = least_across; a <= sg_min(g->column_panels, least_across * threads * 2); a++)
            if (cost_of(g, d, a) < cost_of(g, down, across)) down = d, across = a;
    g->tile_rows = sg_divide_up(g->row_panels, down);
    g->tile_columns = sg_divide_up(g->column_panels, across);
}

static void describe(weight_gradient *g, const sg_machine *machine, const sg_conv_shape *shape,
                     const sg_support *support) {
    *g = (weight_gradient){.machine = machine, .shape = *shape, .support = *support};
    g->rows = shape->out_channels / shape->groups;
    g->columns = shape->in_channels / shape->groups * shape->kernel_height * shape->kernel_width;
    g->row_panels = sg_divide_up(g->rows, machine->ukernel.rows);
    g->column_panels = sg_divide_up(g->columns, SG_LANES);
    choose_tiles(g);
    g->tile_size = (size_t)g->tile_rows * (size_t)machine->ukernel.rows * (size_t)g->tile_columns * SG_LANES;
}

/* Panels of one chunk of pixels: dy's rows of a tile (a transpose spills up to three floats behind), x's
 * lanes. */
static size_t row_panel_size(const weight_gradient *g) {
    return (size_t)PIXELS * SG_LANES * (size_t)g->machine->ukernel.rows;
}
static size_t rows_size(const weight_gradient *g) {
    return (size_t)g->tile_rows * row_panel_size(g) + SG_LANES; /* rows, lanes: a multiple of SG_LANES */
}
static size_t scratch_size(const weight_gradient *g, int blocks) {
    return (size_t)sg_tree_depth(blocks) * g->tile_size + rows_size(g) + (size_t)PIXELS * SG_LANES * SG_LANES;
}

/* The order of the tree over `blocks` blocks. */
static int provide(weight_gradient *g, int blocks) {
    if (blocks > g->capacity) {
        SG_FREE(g->leaf);
        SG_FREE(g->merges);
        g->blocks = g->capacity = 0;
        SG_TRY(SG_NEW(&g->leaf, (size_t)blocks));
        SG_TRY(SG_NEW(&g->merges, (size_t)blocks));
        g->capacity = blocks;
    }
    if (blocks != g->blocks) sg_tree_order(blocks, g->leaf, g->merges);
    g->blocks = blocks;
    return SG_OK;
}

static int index_support(weight_gradient *g) {
    if (g->support.index == NULL) return SG_OK;
    size_t panels = (size_t)g->shape.groups * (size_t)g->row_panels * (size_t)g->column_panels;
    SG_TRY(SG_NEW(&g->needed, panels));
    SG_TRY(SG_NEW(&g->row_start, (size_t)g->shape.out_channels + 1));
    for (size_t i = 0; i < g->support.count; i++) {
        size_t row = g->support.index[i] / (size_t)g->columns,
               column = g->support.index[i] % (size_t)g->columns;
        size_t group = row / (size_t)g->rows,
               panel = row % (size_t)g->rows / (size_t)g->machine->ukernel.rows;
        g->needed[(group * (size_t)g->row_panels + panel) * (size_t)g->column_panels + column / SG_LANES] = 1;
        g->row_start[row + 1] = i + 1;
    }
    for (int row = 0; row < g->shape.out_channels; row++)
        if (g->row_start[row + 1] < g->row_start[row]) g->row_start[row + 1] = g->row_start[row];
    return SG_OK;
}

int SG_VARIANT(sg_conv_direct_create_weight)(void **state, const sg_machine *machine,
                                             const sg_conv_shape *shape, const sg_support *support) {
    weight_gradient *g;
    *state = NULL;
    SG_TRY(SG_NEW(&g, 1));
    describe(g, machine, shape, support);
    int status = SG_AT(SG_NEW(&g->offset, (size_t)g->column_panels * SG_LANES));
    if (status == SG_OK) status = SG_AT(index_support(g));
    *state = g;
    if (status != SG_OK) SG_VARIANT(sg_conv_direct_destroy_weight)(state);
    return status;
}

void SG_VARIANT(sg_conv_direct_destroy_weight)(void **state) {
    if (state == NULL || *state == NULL) return;
    weight_gradient *g = *state;
    SG_FREE(g->needed);
    SG_FREE(g->row_start);
    SG_FREE(g->offset);
    SG_FREE(g->leaf);
    SG_FREE(g->merges);
    SG_FREE(g);
    *state = NULL;
}

sg_conv_bytes SG_VARIANT(sg_conv_direct_bytes_weight)(const sg_machine *machine, const sg_conv_shape *shape,
                                                      const sg_support *support, int blocks) {
    weight_gradient g;
    describe(&g, machine, shape, support);
    return (sg_conv_bytes){.own = scratch_size(&g, blocks) * sizeof(float),
                           .state = (size_t)g.column_panels * SG_LANES * sizeof *g.offset};
}

/* One piece of dw: row panels [row_low, row_high) and column panels [column_low, column_high) of a group. */
typedef struct tile {
    int group, row_low, row_high, column_low, column_high;
    bool row_used[TILE_ROWS], column_used[TILE_COLUMN_PANELS];
} tile;

static bool is_needed(const weight_gradient *g, int group, int row_panel, int column_panel) {
    if (g->needed == NULL) return true;
    size_t panel = (size_t)group * (size_t)g->row_panels + (size_t)row_panel;
    return g->needed[panel * (size_t)g->column_panels + (size_t)column_panel] != 0;
}

/* False when no weight of the tile survives. */
static bool describe_tile(const weight_gradient *g, int item, tile *t) {
    int down = sg_divide_up(g->row_panels, g->tile_rows),
        across = sg_divide_up(g->column_panels, g->tile_columns);
    *t = (tile){.group = item / (down * across)};
    t->row_low = item / across % down * g->tile_rows;
    t->row_high = sg_min(t->row_low + g->tile_rows, g->row_panels);
    t->column_low = item % across * g->tile_columns;
    t->column_high = sg_min(t->column_low + g->tile_columns, g->column_panels);
    bool any = false;
    for (int r = t->row_low; r < t->row_high; r++)
        for (int c = t->column_low; c < t->column_high; c++)
            if (is_needed(g, t->group, r, c))
                any = t->row_used[r - t->row_low] = t->column_used[c - t->column_low] = true;
    return any;
}

/* to[lane][rows] from `count` lane rows. The last four rows come first: what they spill into the next lane's
 * first rows is overwritten after it. Rows past `count` repeat the last one; the micro-kernel leaves their
 * sums out. */
static void transpose_rows(const float *from, int count, int rows, float *to) {
    for (int low = (rows - 1) / 4 * 4; low >= 0; low -= 4) {
        const float *row[4];
        for (int i = 0; i < 4; i++) row[i] = from + (size_t)sg_min(low + i, count - 1) * SG_LANES;
        for (int n = 0; n < SG_LANES; n += 4)
            sg_transpose_4x4(row[0] + n, row[1] + n, row[2] + n, row[3] + n, to + n * rows + low,
                             (size_t)rows);
    }
}

/* to[lane][column] for the SG_LANES columns whose lane rows are at from + offset[column]. */
static void transpose_columns(const float *from, const ptrdiff_t *offset, float *to) {
    for (int c = 0; c < SG_LANES; c += 4) {
        const float *a = from + offset[c], *b = from + offset[c + 1];
        const float *d = from + offset[c + 2], *e = from + offset[c + 3];
        for (int n = 0; n < SG_LANES; n += 4)
            sg_transpose_4x4(a + n, b + n, d + n, e + n, to + n * SG_LANES + c, SG_LANES);
    }
}

/* Transposes touch a new line of memory per row, in an order that hardware does not foresee. */
static void fetch_rows(const float *from, int count) {
    for (int i = 0; i < count * SG_LANES; i += 16) __builtin_prefetch(from + i);
}

static void fetch_columns(const float *from, const ptrdiff_t *offset) {
    for (int c = 0; c < SG_LANES; c++)
        for (int i = 0; i < SG_LANES; i += 16) __builtin_prefetch(from + offset[c] + i);
}

/* dy rows of one row panel, count pixels from `first` on. */
static void pack_rows(const weight_gradient *g, const tile *t, const sg_tensor *dy, int block, int first,
                      int count, int panel, float *to) {
    int width = g->shape.out_width, rows = g->machine->ukernel.rows, m = sg_min(rows, g->rows - panel * rows);
    const float *from[PIXELS];
    for (int p = 0; p < count; p++) {
        from[p] = sg_tensor_at(dy, block, (first + p) / width, (first + p) % width) +
                  (size_t)(t->group * g->rows + panel * rows) * SG_LANES;
        if (p < AHEAD) fetch_rows(from[p], m);
    }
    for (int p = 0; p < count; p++) {
        if (p + AHEAD < count) fetch_rows(from[p + AHEAD], m);
        transpose_rows(from[p], m, rows, to + (size_t)p * SG_LANES * (size_t)rows);
    }
}

/* x rows of one column panel, likewise. */
static void pack_columns(const weight_gradient *g, const tile *t, const sg_tensor *x, int block, int first,
                         int count, int panel, float *to) {
    const sg_conv_shape *s = &g->shape;
    const ptrdiff_t *offset = g->offset + (size_t)panel * SG_LANES;
    const float *from[PIXELS];
    for (int p = 0; p < count; p++) {
        int i = (first + p) / s->out_width, j = (first + p) % s->out_width;
        from[p] = sg_tensor_at(x, block, i * s->stride - s->padding, j * s->stride - s->padding) +
                  (size_t)(t->group * (s->in_channels / s->groups)) * SG_LANES;
        if (p < AHEAD) fetch_columns(from[p], offset);
    }
    for (int p = 0; p < count; p++) {
        if (p + AHEAD < count) fetch_columns(from[p + AHEAD], offset);
        transpose_columns(from[p], offset, to + (size_t)p * SG_LANES * SG_LANES);
    }
}

/* One block's sums of the tile. */
static void sum_block(const weight_gradient *g, const tile *t, const sg_conv_pass *pass, int block,
                      float *sums, float *rows_panels, float *column_panel) {
    const sg_conv_shape *s = &g->shape;
    const sg_ukernel *u = &g->machine->ukernel;
    size_t stride = (size_t)g->tile_columns * SG_LANES, panel_size = row_panel_size(g);
    int pixels = s->out_height * s->out_width;
    for (int first = 0; first < pixels; first += PIXELS) {
        int count = sg_min(PIXELS, pixels - first);
        for (int r = t->row_low; r < t->row_high; r++)
            if (t->row_used[r - t->row_low])
                pack_rows(g, t, pass->dy, block, first, count, r,
                          rows_panels + (size_t)(r - t->row_low) * panel_size);
        for (int c = t->column_low; c < t->column_high; c++) {
            if (!t->column_used[c - t->column_low]) continue;
            pack_columns(g, t, pass->x, block, first, count, c, column_panel);
            for (int r = t->row_low; r < t->row_high; r++)
                if (is_needed(g, t->group, r, c))
                    u->run(u, sg_min(u->rows, g->rows - r * u->rows), count * SG_LANES,
                           rows_panels + (size_t)(r - t->row_low) * panel_size, column_panel,
                           sums + (size_t)(r - t->row_low) * (size_t)u->rows * stride +
                               (size_t)(c - t->column_low) * SG_LANES,
                           stride, first > 0);
        }
    }
}

static void add(float *restrict low, const float *restrict high, size_t count) {
    for (size_t i = 0; i < count; i += SG_WIDTH) sg_store(low + i, sg_load(low + i) + sg_load(high + i));
}

/* The first position in [low, high) of the support whose index is at least `value`. */
static size_t lower_bound(const uint32_t *index, size_t low, size_t high, size_t value) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void store_tile(const weight_gradient *g, const tile *t, const float *sums, float *dw) {
    size_t stride = (size_t)g->tile_columns * SG_LANES, columns = (size_t)g->columns;
    size_t first = (size_t)t->column_low * SG_LANES, end = (size_t)t->column_high * SG_LANES;
    if (end > columns) end = columns;
    int rows = g->machine->ukernel.rows, row_end = sg_min(t->row_high * rows, g->rows);
    for (int i = t->row_low * rows; i < row_end; i++) {
        size_t row = (size_t)t->group * (size_t)g->rows + (size_t)i, base = row * columns;
        const float *from = sums + (size_t)(i - t->row_low * rows) * stride;
        if (g->row_start == NULL) {
            memcpy(dw + base + first, from, (end - first) * sizeof *dw);
            continue;
        }
        const uint32_t *index = g->support.index;
        size_t last = g->row_start[row + 1];
        for (size_t w = lower_bound(index, g->row_start[row], last, base + first);
             w < last && index[w] < base + end; w++)
            dw[w] = from[index[w] - base - first];
    }
}

static void run_tile(const weight_gradient *g, const tile *t, const sg_conv_pass *pass, float *scratch) {
    float *rows_panels = scratch + (size_t)sg_tree_depth(pass->blocks) * g->tile_size;
    float *column_panel = rows_panels + rows_size(g);
    size_t top = 0;
    for (int i = 0; i < pass->blocks; i++) {
        sum_block(g, t, pass, g->leaf[i], scratch + top * g->tile_size, rows_panels, column_panel);
        top++;
        for (int merge = 0; merge < g->merges[i]; merge++) {
            top--;
            add(scratch + (top - 1) * g->tile_size, scratch + top * g->tile_size, g->tile_size);
        }
    }
    store_tile(g, t, scratch, pass->dw);
}

/* Columns behind the last one repeat it: their sums are left out in store_tile. */
static void locate_columns(weight_gradient *g, const sg_tensor *x) {
    int taps = g->shape.kernel_height * g->shape.kernel_width;
    for (int q = 0; q < g->column_panels * SG_LANES; q++) {
        int column = sg_min(q, g->columns - 1), tap = column % taps;
        g->offset[q] = (ptrdiff_t)(column / taps) * SG_LANES +
                       (ptrdiff_t)(tap / g->shape.kernel_width) * (ptrdiff_t)x->row +
                       (ptrdiff_t)(tap % g->shape.kernel_width) * (ptrdiff_t)x->pixel;
    }
}

int SG_VARIANT(sg_conv_direct_run_weight)(void *state, const sg_conv_pass *pass) {
    weight_gradient *g = state;
    SG_TRY(provide(g, pass->blocks));
    locate_columns(g, pass->x);
    int down = sg_divide_up(g->row_panels, g->tile_rows),
        across = sg_divide_up(g->column_panels, g->tile_columns);
#pragma omp parallel for num_threads(g->machine->threads) schedule(dynamic)
    for (int item = 0; item < g->shape.groups * down * across; item++) {
        tile t;
        if (describe_tile(g, item, &t))
            run_tile(g, &t, pass, sg_conv_own(&pass->scratch, omp_get_thread_num()));
    }
    return SG_OK;
}
