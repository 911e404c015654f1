/* Winograd forward pass and data gradient, which reads dy and the turned weights with the two channel counts
 * exchanged.
 *
 * Tiles of all blocks are numbered through and worked on in groups. For a group: transform the inputs into
 * one micro-panel [in][lanes] per tile and position, multiply by the transformed weights, transform back into
 * y. Every output is the same sums in the same order in each of the ways of doing so.
 *
 * Small groups stay in a thread's cache. Large weights are packed panel by panel when a group comes to them,
 * and a group is as large as the last cache allows: transformed, weights are 4 times as many (m = 4), and to
 * memory and back they would cost more than the transform.
 *
 * Where tiles are enough, each thread has groups of its own. Else all threads work on one group: on shares of
 * its channels and positions or, with large weights, each on batches of panels. A thread that is done with
 * its groups or batches takes what others have left. */
#include "kernels/lanes/conv_winograd.h"

#include <omp.h>

#include "kernels/lanes/conv_winograd_tables.h"
#include "kernels/lanes/conv_winograd_transpose.h"
#include "kernels/memory.h"

enum {
    GROUP_BYTES =
        512 << 10, /* transformed inputs and products of a group: what L2 holds beside the weights */
    GROUP_TILES = 16,
    GROUP_TILES_LEAST = 2,
    LARGE_WEIGHTS_BYTES = 4 << 20, /* transformed weights from which on they are large, */
    LARGE_GROUP_BYTES = 8 << 20,   /* then the transformed inputs of a group, */
    LARGE_GROUP_TILES = 64,
    BATCH_BYTES = 1 << 20, /* and the transformed weights that a thread has at once: L2 */
    PACK_STEPS = 16,
    PACK_STRIDE = PACK_STEPS * WINOGRAD_MOST_ROWS
};

typedef struct winograd {
    const winograd_form *form;
    winograd_meetings meetings;
    const sg_machine *machine;
    bool data_gradient;
    int inputs, outputs; /* channels that are summed over, channels that are written */
    int height, width;   /* of what is written */
    int tiles_down, tiles_across;
    int panels;         /* of ukernel.rows outputs */
    bool large;         /* weights: packed while the pass runs */
    int batch;          /* panels that a thread has at once where weights are large, else all */
    int group;          /* most tiles of a group: a thread's or, with large weights, of all threads */
    size_t packed_step; /* floats from a position to the next in packed weights: all, or a thread's */
    float *zero;        /* a pixel of zeros */
    sg_queue *queue;    /* [threads] */
} winograd;

/* Floats of scratch: of each thread, or of all together where threads share values or products. */
typedef struct room {
    size_t values, weights, products;
    bool shared_values, shared_products;
} room;

static bool supports(const sg_machine *machine, const sg_conv_shape *shape) {
    return shape->kernel_height == 3 && shape->kernel_width == 3 && shape->padding == 1 &&
           shape->groups == 1 && machine->lanes == SG_LANES && machine->ukernel.rows >= WINOGRAD_LEAST_ROWS &&
           machine->ukernel.rows <= WINOGRAD_MOST_ROWS;
}

bool SG_VARIANT(sg_winograd_supports)(const sg_machine *machine, const sg_conv_shape *shape) {
    return shape->stride == 1 && supports(machine, shape);
}

bool SG_VARIANT(sg_winograd_stride2_supports)(const sg_machine *machine, const sg_conv_shape *shape) {
    return shape->stride == 2 && supports(machine, shape);
}

static winograd plan(const winograd_form *form, const sg_machine *machine, const sg_conv_shape *shape,
                     bool data_gradient) {
    winograd w = {
        .form = form, .meetings = winograd_meet(form), .machine = machine, .data_gradient = data_gradient};
    w.inputs = data_gradient ? shape->out_channels : shape->in_channels;
    w.outputs = data_gradient ? shape->in_channels : shape->out_channels;
    w.height = data_gradient ? shape->in_height : shape->out_height;
    w.width = data_gradient ? shape->in_width : shape->out_width;
    w.tiles_down = sg_divide_up(w.height, form->tile);
    w.tiles_across = sg_divide_up(w.width, form->tile);
    int rows = machine->ukernel.rows;
    w.panels = sg_divide_up(w.outputs, rows);
    size_t positions = (size_t)winograd_positions(form), inputs = (size_t)w.inputs;
    size_t panel = inputs * (size_t)rows;
    size_t panel_bytes = (size_t)winograd_weights(form) * panel * sizeof(float);
    w.large = panel_bytes * (size_t)w.panels >= LARGE_WEIGHTS_BYTES;
    w.batch = w.panels;
    size_t group_bytes = GROUP_BYTES, most = GROUP_TILES, tile_rows = inputs + (size_t)(w.panels * rows);
    if (w.large) {
        int fit = (int)(BATCH_BYTES / panel_bytes);
        w.batch = fit < 1 ? 1 : fit < w.panels ? fit : w.panels;
        group_bytes = LARGE_GROUP_BYTES;
        most = LARGE_GROUP_TILES;
        tile_rows = inputs;
    }
    size_t fit = group_bytes / (positions * tile_rows * SG_LANES * sizeof(float));
    w.group = (int)(fit > most ? most : fit < GROUP_TILES_LEAST ? GROUP_TILES_LEAST : fit);
    w.packed_step = winograd_position(panel * (size_t)w.batch / SG_LANES + 1);
    return w;
}

static int count_tiles(const winograd *w, int blocks) { return blocks * w->tiles_down * w->tiles_across; }

/* Whether there are tiles enough for groups of their own. */
static bool own_groups(const winograd *w, int blocks) {
    int threads = w->machine->threads, tiles = count_tiles(w, blocks);
    return threads == 1 || (w->large ? sg_divide_up(tiles, w->group) >= threads : tiles >= 4 * threads);
}

static room room_of(const winograd *w, int blocks) {
    bool own = own_groups(w, blocks);
    room r = {.shared_values = !own, .shared_products = !own && !w->large};
    size_t positions = (size_t)winograd_positions(w->form), tiles = (size_t)w->group;
    if (r.shared_products) tiles *= (size_t)w->machine->threads;
    r.values = positions * winograd_position(tiles * (size_t)w->inputs);
    r.weights = w->large ? (size_t)winograd_weights(w->form) * w->packed_step : 0;
    r.products = positions * winograd_position(tiles * (size_t)(w->batch * w->machine->ukernel.rows));
    return r;
}

static size_t zero_size(const winograd *w) {
    return (size_t)(w->inputs > w->outputs ? w->inputs : w->outputs) * SG_LANES;
}

static sg_conv_bytes bytes(const winograd *w, int blocks) {
    room r = room_of(w, blocks);
    size_t packed = w->large ? 0 : (size_t)winograd_weights(w->form) * w->packed_step;
    size_t shared = (r.shared_values ? r.values : 0) + (r.shared_products ? r.products : 0);
    size_t all = r.values + r.weights + r.products;
    return (sg_conv_bytes){.packed = packed * sizeof(float),
                           .shared = shared * sizeof(float),
                           .own = (all - shared) * sizeof(float),
                           .state = zero_size(w) * sizeof(float)};
}

void SG_VARIANT(sg_winograd_destroy)(void **state) {
    if (state == NULL || *state == NULL) return;
    winograd *w = *state;
    SG_FREE(w->zero);
    SG_FREE(w->queue);
    free(w);
    *state = NULL;
}

static int create(void **state, const winograd *planned) {
    winograd *w;
    *state = NULL;
    SG_TRY(SG_NEW(&w, 1));
    *w = *planned;
    *state = w;
    int status = SG_AT(SG_NEW(&w->zero, zero_size(w)));
    if (status == SG_OK) status = SG_AT(SG_NEW(&w->queue, (size_t)w->machine->threads));
    if (status != SG_OK) SG_VARIANT(sg_winograd_destroy)(state);
    return status;
}

/* The nine taps of `rows` outputs for inputs first..first+steps-1: tap t of them at taps[t * PACK_STRIDE],
 * there [step][rows]; zero past the outputs. */
static inline __attribute__((always_inline)) void collect_taps(const winograd *w, const bool data_gradient,
                                                               const float *weights, int panel, int first,
                                                               int steps, float *taps) {
    int rows = w->machine->ukernel.rows, left = w->outputs - panel * rows;
    size_t output_stride = WINOGRAD_TAPS * (data_gradient ? 1 : (size_t)w->inputs);
    size_t input_stride = WINOGRAD_TAPS * (data_gradient ? (size_t)w->outputs : 1);
    size_t ahead = WINOGRAD_TAPS * (size_t)(data_gradient ? rows : PACK_STEPS); /* the next call's */
    const float *from = weights + (size_t)(panel * rows) * output_stride + (size_t)first * input_stride;
    for (int k = 0; k < steps; k++, from += input_stride, taps += rows) {
        /* Few of these streams are ones that the hardware's prefetchers follow. */
        for (int r = 0; r < rows; r++) __builtin_prefetch(from + (size_t)r * output_stride + ahead);
        if (left >= rows) {
            transpose_taps(from, output_stride, rows, data_gradient, taps, PACK_STRIDE);
            continue;
        }
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < WINOGRAD_TAPS; t++)
                taps[(data_gradient ? WINOGRAD_TAPS - 1 - t : t) * PACK_STRIDE + r] =
                    r < left ? from[(size_t)r * output_stride + (size_t)t] : 0.0f;
    }
}

/* Some inputs of one panel, to packed[position][inputs][rows]: their taps stay in L1. */
static void pack_inputs(const winograd *w, const float *weights, int panel, int first, float *packed) {
    _Alignas(64) float taps[WINOGRAD_TAPS * PACK_STRIDE];
    int left = w->inputs - first, steps = left < PACK_STEPS ? left : PACK_STEPS;
    size_t rows = (size_t)w->machine->ukernel.rows;
    if (w->data_gradient)
        collect_taps(w, true, weights, panel, first, steps, taps);
    else
        collect_taps(w, false, weights, panel, first, steps, taps);
    w->form->weights(taps, PACK_STRIDE, steps * (int)rows, packed + (size_t)first * rows, w->packed_step);
}

/* Panels first_panel..first_panel+panels-1 to packed[position][panel][inputs][rows], in the order in which
 * their weights lie in memory. */
static void pack_panels(const winograd *w, const float *weights, int first_panel, int panels, float *packed) {
    size_t panel_size = (size_t)(w->inputs * w->machine->ukernel.rows);
    if (w->data_gradient) {
        for (int first = 0; first < w->inputs; first += PACK_STEPS)
            for (int panel = 0; panel < panels; panel++)
                pack_inputs(w, weights, first_panel + panel, first, packed + (size_t)panel * panel_size);
    } else {
        for (int panel = 0; panel < panels; panel++)
            for (int first = 0; first < w->inputs; first += PACK_STEPS)
                pack_inputs(w, weights, first_panel + panel, first, packed + (size_t)panel * panel_size);
    }
}

int SG_VARIANT(sg_winograd_prepare)(void *state, const float *weights, float *packed) {
    enum { TOGETHER = 8 };
    const winograd *w = state;
    if (w->large) return SG_OK;
    int together = w->data_gradient ? TOGETHER : 1, batches = sg_divide_up(w->panels, together);
#pragma omp parallel for num_threads(w->machine->threads) schedule(static)
    for (int i = 0; i < batches; i++) {
        int first = i * together, left = w->panels - first;
        pack_panels(w, weights, first, left < together ? left : together,
                    packed + (size_t)first * (size_t)w->inputs * (size_t)w->machine->ukernel.rows);
    }
    return SG_OK;
}

/* What one run works on. */
typedef struct job {
    const winograd *w;
    const sg_tensor *in, *out;
    const float *bias;
    const float *packed;  /* [position][panel][inputs][rows] */
    const float *weights; /* as they are, if large */
    room room;
    const sg_conv_scratch *scratch;
    bool accumulate;
    sg_follower *follower;
    int tiles;  /* of all blocks */
    int groups; /* that they are cut into */
    bool own;   /* a group is one thread's work, else all threads' */
} job;

/* [position][tile][inputs][lanes], of the group that a thread works on. */
static float *values_of(const job *j, int member) {
    return j->room.shared_values ? j->scratch->shared : sg_conv_own(j->scratch, member);
}

/* [position][panel][inputs][rows], large weights that a thread has packed. */
static float *own_packed(const job *j, int member) {
    return sg_conv_own(j->scratch, member) + (j->room.shared_values ? 0 : j->room.values);
}

/* [position][tile][panels * rows][lanes] */
static float *products_of(const job *j, int member) {
    return j->room.shared_products ? j->scratch->shared + j->room.values
                                   : own_packed(j, member) + j->room.weights;
}

/* The block of a tile, and its row and column among the block's tiles. */
static void locate(const winograd *w, int tile, int *block, int *down, int *across) {
    int in_block = tile % (w->tiles_down * w->tiles_across);
    *block = tile / (w->tiles_down * w->tiles_across);
    *down = in_block / w->tiles_across;
    *across = in_block % w->tiles_across;
}

static void gather_outputs(const job *j, int tile, float *outside, float **pixel) {
    int block, down, across, size = j->w->form->tile;
    locate(j->w, tile, &block, &down, &across);
    winograd_gather(j->out, block, down * size, across * size, size, outside, pixel);
}

/* The tile whose pixels are fetched ahead while `tile` is worked on. */
static int following(const job *j, int tile) { return tile + 1 < j->tiles ? tile + 1 : tile; }

static void transform_inputs(const job *j, int first, int count, float *values, int member, int members) {
    const winograd *w = j->w;
    size_t channels = (size_t)w->inputs;
    size_t position = winograd_position((size_t)count * channels);
    sg_span share = sg_share((size_t)count * channels, member, members);
    for (size_t item = share.from; item < share.to;) {
        size_t tile = item / channels, channel = item % channels;
        size_t last = channel + (share.to - item) < channels ? channel + (share.to - item) : channels;
        float *pixel[WINOGRAD_PATCH], *next[WINOGRAD_STEP];
        int block, down, across;
        locate(w, first + (int)tile, &block, &down, &across);
        winograd_gather_patch(w->form, j->in, block, down, across, w->zero, pixel);
        locate(w, following(j, first + (int)tile), &block, &down, &across);
        winograd_gather_step(w->form, j->in, block, down, across, w->zero, next);
        w->form->input((const float *const *)pixel, (const float *const *)next, (int)channel, (int)last,
                       values + item * SG_LANES, position);
        item += last - channel;
    }
}

/* A member's share of the positions of `panels` packed panels. */
static void multiply(const job *j, int count, const float *values, const float *packed, int panels,
                     float *products, int member, int members) {
    const winograd *w = j->w;
    const sg_ukernel *u = &w->machine->ukernel;
    size_t channels = (size_t)w->inputs, panel_rows = (size_t)(panels * u->rows);
    size_t value_position = winograd_position((size_t)count * channels);
    size_t product_position = winograd_position((size_t)count * panel_rows);
    sg_span share = sg_share((size_t)(winograd_positions(w->form) * panels), member, members);
    int weight = 0;
    for (size_t item = share.from; item < share.to; item++) {
        size_t position = item / (size_t)panels, panel = item % (size_t)panels * (size_t)u->rows;
        while (w->meetings.first[weight + 1] <= (int)position) weight++;
        const float *a = packed + (size_t)weight * w->packed_step + panel * channels;
        const float *b = values + position * value_position;
        float *c = products + position * product_position + panel * SG_LANES;
        for (int tile = 0; tile < count; tile++)
            u->run(u, u->rows, w->inputs, a, b + (size_t)tile * channels * SG_LANES,
                   c + (size_t)tile * panel_rows * SG_LANES, SG_LANES, false);
    }
}

/* A member's share of the outputs of panels first_panel..first_panel+panels-1. */
static void transform_outputs(const job *j, int first, int count, int first_panel, int panels,
                              const float *products, int member, int members) {
    const winograd *w = j->w;
    int rows = w->machine->ukernel.rows, first_channel = first_panel * rows;
    int left = w->outputs - first_channel;
    size_t padded = (size_t)(panels * rows), channels = (size_t)(left < panels * rows ? left : panels * rows);
    size_t position = winograd_position((size_t)count * padded);
    sg_span share = sg_share((size_t)count * channels, member, members);
    for (size_t item = share.from; item < share.to;) {
        size_t tile = item / channels, channel = item % channels;
        size_t last = channel + (share.to - item) < channels ? channel + (share.to - item) : channels;
        float *pixel[WINOGRAD_TILE], *next[WINOGRAD_TILE];
        gather_outputs(j, first + (int)tile, NULL, pixel);
        gather_outputs(j, following(j, first + (int)tile), w->zero, next);
        w->form->output(products + (tile * padded + channel) * SG_LANES, position, j->bias, j->accumulate,
                        pixel, (const float *const *)next, first_channel + (int)channel,
                        first_channel + (int)last);
        item += last - channel;
    }
}

/* All threads at one group. */
static void run_shared(const job *j, int first, int count, int member, int members) {
    const winograd *w = j->w;
    float *values = values_of(j, member), *products = products_of(j, member);
    transform_inputs(j, first, count, values, member, members);
#pragma omp barrier
    multiply(j, count, values, j->packed, w->panels, products, member, members);
#pragma omp barrier
    transform_outputs(j, first, count, 0, w->panels, products, member, members);
}

/* Tells of all outputs of a group. */
static void tell(const job *j, int first, int count) {
    const winograd *w = j->w;
    for (int tile = first; tile < first + count && j->follower != NULL; tile++) {
        int block, down, across, size = w->form->tile;
        locate(w, tile, &block, &down, &across);
        int left = w->width - across * size, columns = left < size ? left : size;
        for (int row = down * size; row < (down + 1) * size && row < w->height; row++)
            sg_follow(j->follower, block, row, (size_t)columns * (size_t)w->outputs);
    }
}

static int count_batches(const winograd *w) { return sg_divide_up(w->panels, w->batch); }

/* One batch of panels of a group by one thread, out of the group's values. */
static void run_batch(const job *j, int first, int count, int batch, int member) {
    const winograd *w = j->w;
    int first_panel = batch * w->batch, left = w->panels - first_panel;
    int panels = left < w->batch ? left : w->batch;
    float *own = own_packed(j, member), *products = products_of(j, member);
    if (w->large) pack_panels(w, j->weights, first_panel, panels, own);
    multiply(j, count, values_of(j, member), w->large ? own : j->packed, panels, products, 0, 1);
    transform_outputs(j, first, count, first_panel, panels, products, 0, 1);
}

/* One thread at its own group. */
static void run_own(const job *j, int first, int count, int member) {
    transform_inputs(j, first, count, values_of(j, member), 0, 1);
    for (int batch = 0; batch < count_batches(j->w); batch++) run_batch(j, first, count, batch, member);
    tell(j, first, count);
}

/* All threads at one group with large weights. */
static void run_shared_large(const job *j, int first, int count, int member, int members) {
    sg_queue *queue = j->w->queue;
    transform_inputs(j, first, count, values_of(j, member), member, members);
#pragma omp single nowait
    sg_fill_queues(queue, (size_t)count_batches(j->w), members);
#pragma omp barrier
    for (size_t batch; sg_take(queue, member, members, &batch);)
        run_batch(j, first, count, (int)batch, member);
#pragma omp barrier
}

static void run_group(const job *j, int group, int member, int members) {
    sg_span tiles = sg_share((size_t)j->tiles, group, j->groups);
    int first = (int)tiles.from, count = (int)(tiles.to - tiles.from);
    if (j->own)
        run_own(j, first, count, member);
    else
        (j->w->large ? run_shared_large : run_shared)(j, first, count, member, members);
}

int SG_VARIANT(sg_winograd_run)(void *state, const sg_conv_pass *pass) {
    const winograd *w = state;
    int threads = w->machine->threads;
    job j = {.w = w,
             .packed = pass->packed,
             .weights = pass->weights,
             .room = room_of(w, pass->blocks),
             .scratch = &pass->scratch};
    j.in = w->data_gradient ? pass->dy : pass->x;
    j.out = w->data_gradient ? pass->dx : pass->y;
    j.bias = w->data_gradient ? NULL : pass->bias;
    j.accumulate = w->data_gradient && pass->accumulate;
    j.follower = pass->follower;
    j.tiles = count_tiles(w, pass->blocks);
    j.own = own_groups(w, pass->blocks);
    j.groups = j.own ? threads * sg_divide_up(sg_divide_up(j.tiles, threads), w->group)
                     : sg_divide_up(j.tiles, w->group * (w->large ? 1 : threads));
    if (j.groups > j.tiles) j.groups = j.tiles;
    if (j.own) sg_fill_queues(w->queue, (size_t)j.groups, threads);
#pragma omp parallel num_threads(threads)
    {
        int member = omp_get_thread_num(), members = omp_get_num_threads();
        if (j.own) {
            for (size_t group; sg_take(w->queue, member, threads, &group);)
                run_group(&j, (int)group, member, members);
        } else {
            for (int group = 0; group < j.groups; group++) run_group(&j, group, member, members);
        }
    }
    return SG_OK;
}

#define WINOGRAD_ENTRY(name, pass, form, data_gradient)                                                      \
    int SG_VARIANT(sg_##name##_##pass##_create)(void **state, const sg_machine *machine,                     \
                                                const sg_conv_shape *shape, const sg_support *support) {     \
        (void)support;                                                                                       \
        winograd planned = plan(&SG_VARIANT(sg_##form##_form), machine, shape, data_gradient);               \
        return create(state, &planned);                                                                      \
    }                                                                                                        \
    sg_conv_bytes SG_VARIANT(sg_##name##_##pass##_bytes)(                                                    \
        const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support, int blocks) {      \
        (void)support;                                                                                       \
        winograd planned = plan(&SG_VARIANT(sg_##form##_form), machine, shape, data_gradient);               \
        return bytes(&planned, blocks);                                                                      \
    }

WINOGRAD_ENTRY(winograd4, forward, winograd4, false)
WINOGRAD_ENTRY(winograd4, data_gradient, winograd4, true)
WINOGRAD_ENTRY(winograd2, forward, winograd2, false)
WINOGRAD_ENTRY(winograd2, data_gradient, winograd2, true)
WINOGRAD_ENTRY(winograd4s2, forward, winograd4s2, false)
WINOGRAD_ENTRY(winograd4s2, data_gradient, winograd4s2_data, true)
