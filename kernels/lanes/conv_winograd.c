/* Winograd forward pass and data gradient. The data gradient is the forward pass on dy with the weights of
 * the two channel counts exchanged and turned by 180 degrees.
 *
 * Tiles of all blocks are numbered through and worked on in groups. For a group: transform the inputs into
 * one micro-panel [in][lanes] per tile and position, multiply by the packed weights, transform back into y.
 * Either each thread has groups of its own, which stay in its cache, or (few tiles, or weights so large that
 * every thread reading them all would cost more than sharing) the threads divide each group's channels and
 * positions among them. Every output is the same sums in the same order either way. */
#include "kernels/lanes/conv_winograd.h"

#include <omp.h>

#include "kernels/lanes/conv_winograd_tables.h"
#include "kernels/memory.h"

enum {
    GROUP_BYTES =
        512 << 10, /* transformed inputs and products of a group: what L2 holds beside the weights */
    GROUP_TILES = 16,
    GROUP_TILES_LEAST = 2,
    SHARED_WEIGHTS_BYTES = 4 << 20, /* packed weights from which on the threads divide them */
    PREPARE_STEPS = 16
};

typedef struct winograd {
    const winograd_form *form;
    const sg_machine *machine;
    bool data_gradient;
    int inputs, outputs; /* channels that are summed over, channels that are written */
    int height, width, tiles_down, tiles_across;
    int panels;                            /* of ukernel.rows outputs */
    int group;                             /* tiles that one thread's scratch holds */
    size_t packed_position;                /* floats from a position to the next in packed */
    size_t thread_values, thread_products; /* floats of one thread's scratch */
    float *zero;                           /* a pixel of zeros */
} winograd;

bool SG_VARIANT(sg_winograd_supports)(const sg_machine *machine, const sg_conv_shape *shape) {
    return shape->kernel_height == 3 && shape->kernel_width == 3 && shape->stride == 1 &&
           shape->padding == 1 && shape->groups == 1 && machine->lanes == SG_LANES &&
           machine->ukernel.rows >= WINOGRAD_LEAST_ROWS && machine->ukernel.rows <= WINOGRAD_MOST_ROWS;
}

static winograd plan(const winograd_form *form, const sg_machine *machine, const sg_conv_shape *shape,
                     bool data_gradient) {
    winograd w = {.form = form, .machine = machine, .data_gradient = data_gradient};
    w.inputs = data_gradient ? shape->out_channels : shape->in_channels;
    w.outputs = data_gradient ? shape->in_channels : shape->out_channels;
    w.height = shape->in_height;
    w.width = shape->in_width;
    w.tiles_down = winograd_ceil(w.height, form->tile);
    w.tiles_across = winograd_ceil(w.width, form->tile);
    int rows = machine->ukernel.rows;
    w.panels = winograd_ceil(w.outputs, rows);
    size_t tile_bytes =
        (size_t)form->positions * (size_t)(w.inputs + w.panels * rows) * SG_LANES * sizeof(float);
    size_t fit = GROUP_BYTES / tile_bytes;
    w.group = fit > GROUP_TILES ? GROUP_TILES : fit < GROUP_TILES_LEAST ? GROUP_TILES_LEAST : (int)fit;
    w.packed_position = winograd_position((size_t)w.panels * (size_t)w.inputs * (size_t)rows / SG_LANES + 1);
    /* One row more for each thread: the threads' rows together may be one short of odd. */
    size_t positions = (size_t)form->positions, tiles = (size_t)w.group;
    w.thread_values = positions * (winograd_position(tiles * (size_t)w.inputs) + SG_LANES);
    w.thread_products = positions * (winograd_position(tiles * (size_t)(w.panels * rows)) + SG_LANES);
    return w;
}

static size_t zero_size(const winograd *w) {
    return (size_t)(w->inputs > w->outputs ? w->inputs : w->outputs) * SG_LANES;
}

static sg_conv_bytes bytes(const winograd *w) {
    size_t scratch = (size_t)w->machine->threads * (w->thread_values + w->thread_products);
    return (sg_conv_bytes){.packed = (size_t)w->form->positions * w->packed_position * sizeof(float),
                           .scratch = scratch * sizeof(float),
                           .state = zero_size(w) * sizeof(float)};
}

void SG_VARIANT(sg_winograd_destroy)(void **state) {
    if (state == NULL || *state == NULL) return;
    winograd *w = *state;
    SG_FREE(w->zero);
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
    if (status != SG_OK) SG_VARIANT(sg_winograd_destroy)(state);
    return status;
}

/* The nine taps of `rows` outputs for inputs first..first+steps-1: taps[step][9][width], zero past the
 * outputs. */
static void collect_taps(const winograd *w, const float *weights, int panel, int first, int steps, int width,
                         float *taps) {
    int rows = w->machine->ukernel.rows;
    size_t output_stride = WINOGRAD_TAPS * (w->data_gradient ? 1 : (size_t)w->inputs);
    size_t input_stride = WINOGRAD_TAPS * (w->data_gradient ? (size_t)w->outputs : 1);
    for (int r = 0; r < rows; r++) {
        int output = panel * rows + r;
        const float *from = weights + (size_t)output * output_stride + (size_t)first * input_stride;
        for (int k = 0; k < steps; k++, from += input_stride) {
            float *to = taps + k * WINOGRAD_TAPS * width + r;
            for (int t = 0; t < WINOGRAD_TAPS; t++)
                to[t * width] =
                    output >= w->outputs ? 0.0f : from[w->data_gradient ? WINOGRAD_TAPS - 1 - t : t];
        }
    }
}

/* Packs one panel. Whole vectors are stored though a step has `rows` floats: what spills into the next steps
 * is overwritten when these follow, and near the panel's end the step is copied exactly. */
static void prepare_panel(const winograd *w, const float *weights, float *packed, int panel, int width) {
    int rows = w->machine->ukernel.rows, positions = w->form->positions;
    _Alignas(64) float taps[PREPARE_STEPS * WINOGRAD_TAPS * WINOGRAD_MOST_ROWS] = {0};
    _Alignas(64) float exact[WINOGRAD_POSITIONS * WINOGRAD_MOST_ROWS];
    for (int first = 0; first < w->inputs; first += PREPARE_STEPS) {
        int steps = w->inputs - first < PREPARE_STEPS ? w->inputs - first : PREPARE_STEPS;
        collect_taps(w, weights, panel, first, steps, width, taps);
        for (int k = 0; k < steps; k++) {
            const float *from = taps + k * WINOGRAD_TAPS * width;
            float *to = packed + ((size_t)panel * (size_t)w->inputs + (size_t)(first + k)) * (size_t)rows;
            if ((first + k) * rows + width <= w->inputs * rows) {
                w->form->weights(from, width, to, w->packed_position);
            } else {
                w->form->weights(from, width, exact, (size_t)width);
                for (int p = 0; p < positions; p++)
                    memcpy(to + (size_t)p * w->packed_position, exact + p * width,
                           (size_t)rows * sizeof(float));
            }
        }
    }
}

int SG_VARIANT(sg_winograd_prepare)(void *state, const float *weights, float *packed) {
    const winograd *w = state;
    int width = winograd_ceil(w->machine->ukernel.rows, SG_WIDTH) * SG_WIDTH;
#pragma omp parallel for num_threads(w->machine->threads) schedule(static)
    for (int panel = 0; panel < w->panels; panel++) prepare_panel(w, weights, packed, panel, width);
    return SG_OK;
}

/* What one run works on, and a tile's place in it. */
typedef struct job {
    const winograd *w;
    const sg_tensor *in, *out;
    const float *bias;
    const float *packed; /* [position][panel][inputs][rows] */
    float *values;       /* per thread [position][tile][inputs][lanes] */
    float *products;     /* per thread [position][tile][panels * rows][lanes] */
    bool accumulate;
    int tiles; /* of all blocks */
} job;

static void locate(const winograd *w, int tile, int *block, int *y, int *x) {
    int in_block = tile % (w->tiles_down * w->tiles_across);
    *block = tile / (w->tiles_down * w->tiles_across);
    *y = in_block / w->tiles_across * w->form->tile;
    *x = in_block % w->tiles_across * w->form->tile;
}

/* The tile whose pixels are fetched ahead while `tile` is worked on. */
static int following(const job *j, int tile) { return tile + 1 < j->tiles ? tile + 1 : tile; }

static void transform_inputs(const job *j, int first, int count, float *values, int member, int members) {
    const winograd *w = j->w;
    size_t channels = (size_t)w->inputs, item, to;
    size_t position = winograd_position((size_t)count * channels);
    winograd_share((size_t)count * channels, member, members, &item, &to);
    while (item < to) {
        size_t tile = item / channels, channel = item % channels;
        size_t last = channel + (to - item) < channels ? channel + (to - item) : channels;
        float *pixel[WINOGRAD_POSITIONS], *next[WINOGRAD_TILE * WINOGRAD_TILE];
        int block, y, x;
        locate(w, first + (int)tile, &block, &y, &x);
        winograd_gather(j->in, block, y - 1, x - 1, w->form->tile + 2, w->zero, pixel);
        locate(w, following(j, first + (int)tile), &block, &y, &x);
        winograd_gather(j->in, block, y + 1, x + 1, w->form->tile, w->zero, next);
        w->form->input((const float *const *)pixel, (const float *const *)next, (int)channel, (int)last,
                       values + item * SG_LANES, position);
        item += last - channel;
    }
}

static void multiply(const job *j, int count, const float *values, float *products, int member, int members) {
    const winograd *w = j->w;
    const sg_ukernel *u = &w->machine->ukernel;
    size_t rows = (size_t)u->rows, channels = (size_t)w->inputs, panels = (size_t)w->panels, item, to;
    size_t value_position = winograd_position((size_t)count * channels);
    size_t product_position = winograd_position((size_t)count * panels * rows);
    winograd_share((size_t)w->form->positions * panels, member, members, &item, &to);
    for (; item < to; item++) {
        size_t position = item / panels, panel = item % panels;
        const float *a = j->packed + position * w->packed_position + panel * channels * rows;
        const float *b = values + position * value_position;
        float *c = products + position * product_position + panel * rows * SG_LANES;
        for (int tile = 0; tile < count; tile++)
            u->run(u, u->rows, w->inputs, a, b + (size_t)tile * channels * SG_LANES,
                   c + (size_t)tile * panels * rows * SG_LANES, SG_LANES, false);
    }
}

static void transform_outputs(const job *j, int first, int count, const float *products, int member,
                              int members) {
    const winograd *w = j->w;
    size_t channels = (size_t)w->outputs, padded = (size_t)w->panels * (size_t)w->machine->ukernel.rows, item,
           to;
    size_t position = winograd_position((size_t)count * padded);
    winograd_share((size_t)count * channels, member, members, &item, &to);
    while (item < to) {
        size_t tile = item / channels, channel = item % channels;
        size_t last = channel + (to - item) < channels ? channel + (to - item) : channels;
        float *pixel[WINOGRAD_TILE * WINOGRAD_TILE], *next[WINOGRAD_TILE * WINOGRAD_TILE];
        int block, y, x;
        locate(w, first + (int)tile, &block, &y, &x);
        winograd_gather(j->out, block, y, x, w->form->tile, NULL, pixel);
        locate(w, following(j, first + (int)tile), &block, &y, &x);
        winograd_gather(j->out, block, y, x, w->form->tile, w->zero, next);
        w->form->output(products + (tile * padded + channel) * SG_LANES, position, j->bias, j->accumulate,
                        pixel, (const float *const *)next, (int)channel, (int)last);
        item += last - channel;
    }
}

/* All threads at one group. */
static void run_shared(const job *j, int first, int count, int member, int members) {
    transform_inputs(j, first, count, j->values, member, members);
#pragma omp barrier
    multiply(j, count, j->values, j->products, member, members);
#pragma omp barrier
    transform_outputs(j, first, count, j->products, member, members);
}

/* One thread at its own group. */
static void run_own(const job *j, int first, int count, int member) {
    const winograd *w = j->w;
    float *values = j->values + (size_t)member * w->thread_values;
    float *products = j->products + (size_t)member * w->thread_products;
    transform_inputs(j, first, count, values, 0, 1);
    multiply(j, count, values, products, 0, 1);
    transform_outputs(j, first, count, products, 0, 1);
}

int SG_VARIANT(sg_winograd_run)(void *state, const sg_conv_pass *pass) {
    const winograd *w = state;
    job j = {
        .w = w, .in = w->data_gradient ? pass->dy : pass->x, .out = w->data_gradient ? pass->dx : pass->y};
    j.bias = w->data_gradient ? NULL : pass->bias;
    j.accumulate = w->data_gradient && pass->accumulate;
    j.tiles = pass->blocks * w->tiles_down * w->tiles_across;
    int threads = w->machine->threads, tiles = j.tiles;
    j.packed = pass->packed;
    j.values = pass->scratch;
    j.products = pass->scratch + (size_t)threads * w->thread_values;
    size_t packed_bytes = (size_t)w->form->positions * w->packed_position * sizeof(float);
    bool shared = threads > 1 && (tiles < 4 * threads || packed_bytes >= SHARED_WEIGHTS_BYTES);
#pragma omp parallel num_threads(threads)
    {
        int member = omp_get_thread_num(), members = omp_get_num_threads();
        size_t from = 0, to = (size_t)tiles;
        int room = w->group * members;
        if (!shared) {
            winograd_share((size_t)tiles, member, members, &from, &to);
            room = w->group;
        }
        int groups = winograd_ceil((int)(to - from), room);
        for (int g = 0; g < groups; g++) {
            size_t begin, end;
            winograd_share(to - from, g, groups, &begin, &end);
            int first = (int)(from + begin), count = (int)(end - begin);
            if (shared)
                run_shared(&j, first, count, member, members);
            else
                run_own(&j, first, count, member);
        }
    }
    return SG_OK;
}

#define WINOGRAD_ENTRY(form, pass, data_gradient)                                                            \
    int SG_VARIANT(sg_##form##_##pass##_create)(void **state, const sg_machine *machine,                     \
                                                const sg_conv_shape *shape, const sg_support *support) {     \
        (void)support;                                                                                       \
        winograd planned = plan(&SG_VARIANT(sg_##form##_form), machine, shape, data_gradient);               \
        return create(state, &planned);                                                                      \
    }                                                                                                        \
    sg_conv_bytes SG_VARIANT(sg_##form##_##pass##_bytes)(                                                    \
        const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support, int blocks) {      \
        (void)support, (void)blocks;                                                                         \
        winograd planned = plan(&SG_VARIANT(sg_##form##_form), machine, shape, data_gradient);               \
        return bytes(&planned);                                                                              \
    }

WINOGRAD_ENTRY(winograd4, forward, false)
WINOGRAD_ENTRY(winograd4, data_gradient, true)
WINOGRAD_ENTRY(winograd2, forward, false)
WINOGRAD_ENTRY(winograd2, data_gradient, true)
