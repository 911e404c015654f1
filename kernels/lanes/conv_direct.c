/* Direct convolution on the micro-kernel: forward, and the data gradient as the transposed operation.
 *
 * A column is one output pixel of one block: a sum over k = (tap row, tap column, channel of the group) of
 * packed weights times lane rows. With a single tap those rows are the tensor itself; with more they are
 * gathered into a panel that stays in L1 and L2 while all output channels use it.
 *
 * The data gradient of stride s falls into s x s parts, one per parity of the pixel: inside a part it is a
 * stride-1 convolution with every s-th tap, so no product with an inserted zero is made: dx[i] = sum over r =
 * rho (mod s) of w[r] dy[(i + padding - r) / s],   rho = (i + padding) mod s. In a linear layer every pixel
 * is a part of one tap. */
#include <omp.h>

#include "kernels/lanes/conv_direct.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/tables.h"
#include "kernels/memory.h"

/* DEPTH steps of k at a time: B panels of a tile then stay in L2 and an A panel in L1. TILE columns share an
 * A panel unless all A panels of a step fit into L1 together (SMALL floats); they are also a piece of
 * parallel work, some panels of them where each thread would have less than ITEMS_PER_THREAD: the last pieces
 * are what threads wait for. The sums' order depends on DEPTH alone.
 *
 * So many weights of a single tap that they leave L2 before they are used (LARGE) are packed while a pass
 * runs: some panels (OWN floats at most) and DEPTH steps at a time, for a thread's share of the columns, at
 * least LARGE_LEAST and at most LARGE_MOST of them. A piece of work is then a single panel of these columns.
 */
enum {
    DEPTH = 512,
    TILE = 8,
    SMALL = 4096,
    ITEMS_PER_THREAD = 16,
    LARGE = 1 << 18,
    OWN = 1 << 16,
    LARGE_LEAST = 64,
    LARGE_MOST = 256
};

/* Output pixels (out_row + i * out_step, out_column + j * out_step), i < rows, j < columns, with their taps:
 * tap (t, u) reads input pixel (in_row + i * in_step + t, ...) with kernel element (tap_row + t * tap_step,
 * ...). */
typedef struct direct_part {
    int taps_high, taps_wide;
    int rows, columns;
    int out_row, out_column, in_row, in_column;
    int tap_row, tap_column;
    size_t packed; /* offset of its weights, in floats: [group][panel][k][rows of the micro-kernel] */
} direct_part;

typedef struct direct {
    const sg_machine *machine;
    sg_conv_shape shape;
    bool transposed;
    int inner, outer; /* channels of a group that are summed over, and that come out */
    int out_step, in_step, tap_step;
    int panels;
    bool large; /* weights: packed while the pass runs */
    int most;   /* pieces of work that a thread takes at a time */
    int parts;
    direct_part *part;
    sg_queue *queue; /* [parts][threads], of the present run */
} direct;

/* Taps and pixels of one dimension of a part of the data gradient. */
typedef struct parity {
    int taps, count, in, tap;
} parity;

static parity parity_of(int first, int step, int padding, int kernel, int in) {
    int rho = (first + padding) % step;
    parity p = {.count = sg_divide_up(in - first, step)};
    p.taps = rho < kernel ? sg_divide_up(kernel - rho, step) : 0;
    p.in = (first + padding - rho) / step - (p.taps - 1);
    p.tap = rho + (p.taps - 1) * step;
    return p;
}

static size_t part_depth(const direct *d, const direct_part *p) {
    return (size_t)p->taps_high * (size_t)p->taps_wide * (size_t)d->inner;
}

static void describe_forward(direct *d) {
    const sg_conv_shape *s = &d->shape;
    d->out_step = d->tap_step = 1;
    d->in_step = s->stride;
    d->part[0] = (direct_part){.taps_high = s->kernel_height,
                               .taps_wide = s->kernel_width,
                               .rows = s->out_height,
                               .columns = s->out_width,
                               .in_row = -s->padding,
                               .in_column = -s->padding};
}

static int rows_of_parts(const sg_conv_shape *s) {
    return sg_min(sg_conv_is_linear(s) ? s->in_height : s->stride, s->in_height);
}

static int columns_of_parts(const sg_conv_shape *s) {
    return sg_min(sg_conv_is_linear(s) ? s->in_width : s->stride, s->in_width);
}

static void describe_data_gradient(direct *d) {
    const sg_conv_shape *s = &d->shape;
    int high = rows_of_parts(s), wide = columns_of_parts(s);
    bool linear = sg_conv_is_linear(s);
    /* A linear layer has one output pixel, so that any step beyond the kernel describes it; rows and columns
     * then differ, but no part has a second pixel. */
    int row_step = linear ? s->in_height : s->stride, column_step = linear ? s->in_width : s->stride;
    d->out_step = s->stride;
    d->in_step = 1;
    d->tap_step = -s->stride;
    for (int a = 0; a < high; a++)
        for (int b = 0; b < wide; b++) {
            parity row = parity_of(a, row_step, s->padding, s->kernel_height, s->in_height);
            parity column = parity_of(b, column_step, s->padding, s->kernel_width, s->in_width);
            d->part[a * wide + b] = (direct_part){.taps_high = row.taps,
                                                  .taps_wide = column.taps,
                                                  .rows = row.count,
                                                  .columns = column.count,
                                                  .out_row = a,
                                                  .out_column = b,
                                                  .in_row = row.in,
                                                  .in_column = column.in,
                                                  .tap_row = row.tap,
                                                  .tap_column = column.tap};
        }
}

/* Floats that a thread has of a panel at a time, where weights are large. */
static size_t own_panel_size(const direct *d) {
    return (size_t)d->machine->ukernel.rows * (size_t)sg_min(d->inner, DEPTH);
}

static void describe(direct *d, const sg_machine *machine, const sg_conv_shape *shape, bool transposed) {
    int in = shape->in_channels / shape->groups, out = shape->out_channels / shape->groups;
    *d = (direct){.machine = machine, .shape = *shape, .transposed = transposed};
    d->inner = transposed ? out : in;
    d->outer = transposed ? in : out;
    d->panels = sg_divide_up(d->outer, machine->ukernel.rows);
    d->parts = transposed ? rows_of_parts(shape) * columns_of_parts(shape) : 1;
    d->large = shape->kernel_height * shape->kernel_width == 1 && sg_conv_weights(shape) >= LARGE;
    int fit = sg_max(1, (int)(OWN / own_panel_size(d)));
    d->most = d->large ? sg_divide_up(d->panels, sg_divide_up(d->panels, fit)) : 1;
}

static size_t packed_size(const direct *d) {
    size_t taps = (size_t)d->shape.kernel_height * (size_t)d->shape.kernel_width;
    return d->large ? 0
                    : (size_t)d->shape.groups * (size_t)d->panels * (size_t)d->machine->ukernel.rows *
                          (size_t)d->inner * taps;
}

/* A single tap is never gathered; the data gradient's parts are smaller than the whole kernel. */
static size_t scratch_size(const direct *d) {
    size_t depth = (size_t)d->shape.kernel_height * (size_t)d->shape.kernel_width * (size_t)d->inner;
    if (d->large) return (size_t)d->most * own_panel_size(d);
    if (depth == (size_t)d->inner || (d->transposed && sg_conv_is_linear(&d->shape))) return 0;
    return (size_t)TILE * (depth < DEPTH ? depth : DEPTH) * SG_LANES;
}

static int create(void **state, const sg_machine *machine, const sg_conv_shape *shape, bool transposed) {
    direct *d;
    *state = NULL;
    SG_TRY(SG_NEW(&d, 1));
    describe(d, machine, shape, transposed);
    int status;
    if ((status = SG_AT(SG_NEW(&d->part, (size_t)d->parts)))) goto done;
    if ((status = SG_AT(SG_NEW(&d->queue, (size_t)d->parts * (size_t)machine->threads)))) goto done;
    if (transposed)
        describe_data_gradient(d);
    else
        describe_forward(d);
    size_t offset = 0;
    for (int p = 0; p < d->parts; p++) {
        d->part[p].packed = offset;
        offset += (size_t)shape->groups * (size_t)d->panels * (size_t)machine->ukernel.rows *
                  part_depth(d, &d->part[p]);
    }
done:
    *state = d;
    if (status != SG_OK) SG_VARIANT(sg_conv_direct_destroy)(state);
    return status;
}

int SG_VARIANT(sg_conv_direct_create_forward)(void **state, const sg_machine *machine,
                                              const sg_conv_shape *shape, const sg_support *support) {
    (void)support; /* pruned weights are zeros among the others */
    return create(state, machine, shape, false);
}

int SG_VARIANT(sg_conv_direct_create_data)(void **state, const sg_machine *machine,
                                           const sg_conv_shape *shape, const sg_support *support) {
    (void)support;
    return create(state, machine, shape, true);
}

void SG_VARIANT(sg_conv_direct_destroy)(void **state) {
    if (state == NULL || *state == NULL) return;
    direct *d = *state;
    SG_FREE(d->part);
    SG_FREE(d->queue);
    SG_FREE(d);
    *state = NULL;
}

bool SG_VARIANT(sg_conv_direct_supports)(const sg_machine *machine, const sg_conv_shape *shape) {
    (void)machine, (void)shape;
    return true;
}

static sg_conv_bytes bytes(const sg_machine *machine, const sg_conv_shape *shape, bool transposed) {
    direct d;
    describe(&d, machine, shape, transposed);
    return (sg_conv_bytes){.packed = packed_size(&d) * sizeof(float),
                           .own = scratch_size(&d) * sizeof(float),
                           .state = (size_t)d.parts *
                                    (sizeof *d.part + (size_t)machine->threads * sizeof *d.queue)};
}

sg_conv_bytes SG_VARIANT(sg_conv_direct_bytes_forward)(const sg_machine *machine, const sg_conv_shape *shape,
                                                       const sg_support *support, int blocks) {
    (void)support, (void)blocks;
    return bytes(machine, shape, false);
}

sg_conv_bytes SG_VARIANT(sg_conv_direct_bytes_data)(const sg_machine *machine, const sg_conv_shape *shape,
                                                    const sg_support *support, int blocks) {
    (void)support, (void)blocks;
    return bytes(machine, shape, true);
}

/* `steps` steps of one tap of an A panel: rows `stride` floats apart, steps `step_stride`. Most micro-kernels
 * have 6 rows, and rows often lie side by side: constants where this is inlined. */
static inline __attribute__((always_inline)) void pack_steps(float *to, const float *from,
                                                             const size_t stride, size_t step_stride,
                                                             int steps, const size_t rows) {
    for (int k = 0; k < steps; k++, to += rows, from += step_stride) {
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++) to[i] = from[i * stride];
    }
}

/* Steps first..first+steps-1 of tap t of an A panel, at `to`; rows past the last channel are zero. */
static void pack(const direct *d, const direct_part *p, int group, int panel, int t, int first, int steps,
                 const float *weights, float *to) {
    const sg_conv_shape *s = &d->shape;
    size_t rows = (size_t)d->machine->ukernel.rows;
    size_t taps = (size_t)s->kernel_height * (size_t)s->kernel_width;
    size_t filter = (size_t)(s->in_channels / s->groups) * taps;
    size_t step_stride = d->transposed ? filter : taps, stride = d->transposed ? taps : filter;
    int row = p->tap_row + t / p->taps_wide * d->tap_step;
    int column = p->tap_column + t % p->taps_wide * d->tap_step;
    int there = d->outer - panel * (int)rows;
    const float *from = weights + (size_t)group * (size_t)(s->out_channels / s->groups) * filter +
                        (size_t)first * step_stride + (size_t)panel * rows * stride +
                        (size_t)(row * s->kernel_width + column);
    if (there < (int)rows) {
        memset(to, 0, (size_t)steps * rows * sizeof *to);
        for (int k = 0; k < steps; k++)
            pack_steps(to + (size_t)k * rows, from + (size_t)k * step_stride, stride, 0, 1, (size_t)there);
    } else if (rows == 6 && stride == 1) {
        pack_steps(to, from, 1, step_stride, steps, 6);
    } else if (rows == 6) {
        pack_steps(to, from, stride, step_stride, steps, 6);
    } else {
        pack_steps(to, from, stride, step_stride, steps, rows);
    }
}

/* A panels first..first+count-1: [panel][k][rows]; k runs over (tap row, tap column, channel). Some channels
 * at a time, so that all taps and panels that lie side by side in the weights are read while they are in L1.
 */
static void pack_panels(const direct *d, const direct_part *p, int group, int first, int count,
                        const float *weights, float *packed) {
    enum { STEPS = 16 };
    size_t rows = (size_t)d->machine->ukernel.rows, panel_size = rows * part_depth(d, p);
    packed += p->packed + (size_t)group * (size_t)d->panels * panel_size;
    for (int c = 0; c < d->inner; c += STEPS)
        for (int panel = first; panel < first + count; panel++)
            for (int t = 0; t < p->taps_high * p->taps_wide; t++)
                pack(d, p, group, panel, t, c, sg_min(STEPS, d->inner - c), weights,
                     packed + (size_t)panel * panel_size + (size_t)(t * d->inner + c) * rows);
}

int SG_VARIANT(sg_conv_direct_prepare)(void *state, const float *weights, float *packed) {
    enum { TOGETHER = 8 };
    const direct *d = state;
    if (d->large) return SG_OK;
    int together = d->transposed ? TOGETHER : 1;
    int batches = sg_divide_up(d->panels, together), of_part = d->shape.groups * batches;
#pragma omp parallel for num_threads(d->machine->threads) schedule(static)
    for (int i = 0; i < d->parts * of_part; i++) {
        int first = i % batches * together, group = i % of_part / batches;
        int count = sg_min(together, d->panels - first);
        pack_panels(d, &d->part[i / of_part], group, first, count, weights, packed);
    }
    return SG_OK;
}

/* What one run needs besides the state. */
typedef struct direct_run {
    const direct *d;
    const sg_tensor *from;
    const sg_tensor *to;
    const float *bias, *weights, *packed;
    bool accumulate;
    sg_follower *follower;
    int chunks; /* pieces of the output panels: more where the columns are too few for the threads */
} direct_run;

static inline void copy_rows(float *restrict to, const float *restrict from, size_t rows) {
    for (size_t i = 0; i < rows * SG_LANES; i += SG_WIDTH) sg_store(to + i, sg_load(from + i));
}

/* Lane rows of k in [first, first + count) of the column whose tap (0, 0) is at `from`. A run is what lies
 * together in memory: a pixel's channels of the group, or a whole row of taps where a pixel has nothing else.
 */
static void gather(const direct *d, const direct_part *p, const sg_tensor *t, const float *from, size_t first,
                   size_t count, float *panel) {
    bool joined = t->pixel == (size_t)d->inner * SG_LANES;
    size_t run = (size_t)d->inner * (joined ? (size_t)p->taps_wide : 1);
    size_t runs_per_row = joined ? 1 : (size_t)p->taps_wide;
    size_t number = first / run, skip = first % run;
    while (count > 0) {
        size_t length = run - skip < count ? run - skip : count;
        copy_rows(panel,
                  from + number / runs_per_row * t->row + number % runs_per_row * t->pixel + skip * SG_LANES,
                  length);
        panel += length * SG_LANES;
        count -= length;
        skip = 0;
        number++;
    }
}

/* Are all k of a column one run in the tensor? */
static bool is_contiguous(const direct *d, const direct_part *p, const sg_tensor *t) {
    if (p->taps_high * p->taps_wide == 1) return true;
    return t->pixel == (size_t)d->inner * SG_LANES &&
           (p->taps_high == 1 || t->row == (size_t)p->taps_wide * t->pixel);
}

static void fill_rows(float *to, const float *values, int count) {
    for (int i = 0; i < count; i++) {
        sg_vec value = sg_splat(values != NULL ? values[i] : 0.0f);
        for (int v = 0; v < SG_ROW; v++) sg_store(to + i * SG_LANES + v * SG_WIDTH, value);
    }
}

/* Up to TILE columns, output panels [low, high) of one group, steps [k, k + steps) of their sums: panel
 * `low`'s weights of these steps at a, the next panel's panel_size floats behind it. */
typedef struct direct_tile {
    int group, first, columns, low, high;
    size_t k, steps;
    const float *a;
    size_t panel_size;
} direct_tile;

static void run_tile(const direct_run *r, const direct_part *p, const direct_tile *tile, float *scratch) {
    const direct *d = r->d;
    const sg_ukernel *u = &d->machine->ukernel;
    size_t pad = (size_t)u->rows;
    int low = tile->low, channels = sg_min(tile->high * u->rows, d->outer) - low * u->rows;
    const float *bias = r->bias == NULL ? NULL : r->bias + tile->group * d->outer + low * u->rows;
    const float *b[TILE];
    float *to[TILE];
    bool contiguous = tile->steps == 0 || is_contiguous(d, p, r->from);
    for (int t = 0; t < tile->columns; t++) {
        int column = tile->first + t, j = column % p->columns, i = column / p->columns % p->rows;
        int block = column / p->columns / p->rows;
        const float *from =
            sg_tensor_at(r->from, block, p->in_row + i * d->in_step, p->in_column + j * d->in_step) +
            (size_t)(tile->group * d->inner) * SG_LANES;
        to[t] = sg_tensor_at(r->to, block, p->out_row + i * d->out_step, p->out_column + j * d->out_step) +
                (size_t)(tile->group * d->outer + low * u->rows) * SG_LANES;
        if (tile->k == 0 && (bias != NULL || (tile->steps == 0 && !r->accumulate)))
            fill_rows(to[t], bias, channels);
        float *gathered = scratch + (size_t)t * tile->steps * SG_LANES;
        b[t] = contiguous ? from + tile->k * SG_LANES : gathered;
        if (!contiguous) gather(d, p, r->from, from, tile->k, tile->steps, gathered);
    }
    bool add = r->accumulate || bias != NULL || tile->k > 0;
    for (int panel = low; panel < tile->high && tile->steps > 0; panel++) {
        int m = sg_min(u->rows, d->outer - panel * u->rows);
        const float *a = tile->a + (size_t)(panel - low) * tile->panel_size;
        for (int t = 0; t < tile->columns; t++)
            u->run(u, m, (int)tile->steps, a, b[t], to[t] + (size_t)(panel - low) * pad * SG_LANES, SG_LANES,
                   add);
    }
}

/* Columns first..end-1 of one group. */
static void run_packed(const direct_run *r, const direct_part *p, int group, int first, int end, int low,
                       int high, float *scratch) {
    const direct *d = r->d;
    size_t depth = part_depth(d, p), pad = (size_t)d->machine->ukernel.rows;
    bool small = (size_t)(high - low) * pad * (depth < DEPTH ? depth : DEPTH) <= SMALL;
    direct_tile tile = {.group = group, .low = low, .high = high, .panel_size = pad * depth};
    const float *a = r->packed + p->packed + (size_t)(group * d->panels + low) * pad * depth;
    for (tile.first = first; tile.first < end; tile.first += tile.columns) {
        tile.columns = sg_min(small ? 1 : TILE, end - tile.first);
        tile.k = 0;
        do {
            tile.steps = depth - tile.k < DEPTH ? depth - tile.k : DEPTH;
            tile.a = a + tile.k * pad;
            run_tile(r, p, &tile, scratch);
            tile.k += tile.steps;
        } while (tile.k < depth);
    }
}

/* A tile's weights, of a single tap, for all columns; some steps at a time, so that the data gradient's
 * panels, which lie side by side in the weights, are read while they are in L1. */
static void pack_large(const direct *d, const direct_part *p, const direct_tile *tile, const float *weights,
                       float *own) {
    int together = d->transposed ? 16 : (int)tile->steps, steps = (int)tile->steps;
    for (int k = 0; k < steps; k += together)
        for (int panel = tile->low; panel < tile->high; panel++)
            pack(d, p, tile->group, panel, 0, (int)tile->k + k, sg_min(together, steps - k), weights,
                 own + (size_t)(panel - tile->low) * tile->panel_size +
                     (size_t)(k * d->machine->ukernel.rows));
}

/* The same, and packs the weights, which are of a single tap. */
static void run_large(const direct_run *r, const direct_part *p, int group, int first, int end, int low,
                      int high, float *own) {
    const direct *d = r->d;
    size_t depth = part_depth(d, p), pad = (size_t)d->machine->ukernel.rows;
    direct_tile tile = {.group = group, .low = low, .high = high, .a = own};
    do {
        tile.steps = depth - tile.k < DEPTH ? depth - tile.k : DEPTH;
        tile.panel_size = pad * tile.steps;
        pack_large(d, p, &tile, r->weights, own);
        for (tile.first = first; tile.first < end; tile.first += tile.columns) {
            tile.columns = sg_min(TILE, end - tile.first);
            run_tile(r, p, &tile, NULL);
        }
        tile.k += tile.steps;
    } while (tile.k < depth);
}

/* Tells of columns first..end-1, a row of pixels at a time. */
static void tell(const direct_run *r, const direct_part *p, int first, int end, int low, int high) {
    const direct *d = r->d;
    int rows = d->machine->ukernel.rows, channels = sg_min(high * rows, d->outer) - low * rows;
    for (int columns; first < end; first += columns) {
        int number = first / p->columns, row = p->out_row + number % p->rows * d->out_step;
        columns = sg_min(end, (number + 1) * p->columns) - first;
        sg_follow(r->follower, number / p->rows, row, (size_t)columns * (size_t)channels);
    }
}

/* Columns of a piece of work. */
static int item_columns(const direct *d, const direct_part *p, int blocks) {
    if (!d->large) return TILE;
    int share = sg_divide_up(blocks * p->rows * p->columns, d->machine->threads);
    return sg_min(sg_max(sg_divide_up(share, TILE) * TILE, LARGE_LEAST), LARGE_MOST);
}

/* Pieces of work in a row: [range of columns][group][chunk of the panels]. */
static void run_items(const direct_run *r, const direct_part *p, sg_span items, int blocks, float *scratch) {
    const direct *d = r->d;
    int columns = item_columns(d, p, blocks);
    size_t chunks = (size_t)r->chunks, groups = (size_t)d->shape.groups;
    for (size_t item = items.from, next; item < items.to; item = next) {
        next = (item / chunks + 1) * chunks;
        if (next > items.to) next = items.to;
        int chunk = (int)(item % chunks), group = (int)(item / chunks % groups);
        int first = (int)(item / chunks / groups) * columns;
        int end = sg_min(first + columns, blocks * p->rows * p->columns);
        int low = d->panels * chunk / r->chunks;
        int high = d->panels * (chunk + (int)(next - item)) / r->chunks;
        (d->large ? run_large : run_packed)(r, p, group, first, end, low, high, scratch);
        tell(r, p, first, end, low, high);
    }
}

/* Pieces of work of a part. */
static size_t count_items(const direct *d, const direct_part *p, int blocks, int chunks) {
    int ranges = sg_divide_up(blocks * p->rows * p->columns, item_columns(d, p, blocks));
    return (size_t)ranges * (size_t)d->shape.groups * (size_t)chunks;
}

/* Into how many pieces the panels are cut, so that there is work for all threads. */
static int count_chunks(const direct *d, int blocks) {
    if (d->large) return d->panels;
    size_t wanted = d->machine->threads > 1 ? (size_t)d->machine->threads * ITEMS_PER_THREAD : 1, items = 0;
    for (int i = 0; i < d->parts; i++) items += count_items(d, &d->part[i], blocks, 1);
    if (items == 0 || items >= wanted) return 1;
    size_t chunks = (wanted + items - 1) / items;
    return chunks < (size_t)d->panels ? (int)chunks : d->panels;
}

int SG_VARIANT(sg_conv_direct_run)(void *state, const sg_conv_pass *pass) {
    direct *d = state;
    direct_run r = {.d = d,
                    .from = d->transposed ? pass->dy : pass->x,
                    .to = d->transposed ? pass->dx : pass->y,
                    .bias = d->transposed ? NULL : pass->bias,
                    .weights = pass->weights,
                    .packed = pass->packed,
                    .accumulate = d->transposed && pass->accumulate,
                    .follower = pass->follower,
                    .chunks = count_chunks(d, pass->blocks)};
    int threads = d->machine->threads;
    for (int i = 0; i < d->parts; i++)
        sg_fill_queues(d->queue + i * threads, count_items(d, &d->part[i], pass->blocks, r.chunks), threads);
#pragma omp parallel num_threads(threads)
    {
        int member = omp_get_thread_num();
        float *scratch = sg_conv_own(&pass->scratch, member);
        sg_span items;
        for (int i = 0; i < d->parts; i++)
            while (sg_take_some(d->queue + i * threads, member, threads, (size_t)d->most, &items))
                run_items(&r, &d->part[i], items, pass->blocks, scratch);
    }
    return SG_OK;
}
