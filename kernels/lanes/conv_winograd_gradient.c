/* Winograd weight gradient: F(3x3, m x m). Every m x m tile of dy meets its (m+2)^2 patch of x; at each
 * position the sum over the tiles and lanes of a block is a matrix product of micro-panels, one tile giving
 * SG_LANES steps: x as [step][SG_LANES inputs], dy as [step][rows outputs], both transposed here.
 *
 * A block's tiles come in groups; sums [position][input panel][output panel][rows][lanes] stay in cache from
 * group to group. Then the sums of the block go back to nine taps each and are combined with the other
 * blocks' in the order of sg_tree_order: finished subtrees wait in `slots`.
 *
 * Threads share the packing of each group. After that they divide the positions among them or, where all
 * tiles of a block fit one group and the sums are many, rectangles of channels: then a thread's sums never
 * leave its cache. The length of a group is a function of the shape alone, so neither way shows in the bits.
 */
#include "kernels/lanes/conv_winograd.h"

#include <omp.h>

#include "kernels/lanes/conv_winograd_tables.h"
#include "kernels/lanes/conv_winograd_transpose.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

enum {
    GROUP_BYTES = 768 << 10,   /* packed panels of a group */
    GROUP_TILES_LEAST = 4,     /* fewer steps would leave the micro-kernel loading and storing sums */
    RECTANGLE_BYTES = 1 << 20, /* sums from which on they are worked on by rectangles */
    RECTANGLE_IN = 4,          /* panels of a rectangle */
    RECTANGLE_OUT = 4
};

typedef struct winograd_gradient {
    const winograd_form *form;
    const sg_machine *machine;
    sg_support support;
    int inputs, outputs, height, width, tiles_down, tiles_across;
    int in_panels, out_panels; /* of SG_LANES inputs, of ukernel.rows outputs */
    int group, groups;         /* most tiles of a group, groups of a block */
    bool rectangles;
    int rectangles_in, rectangles_out;
    size_t in_position, out_position, sum_position; /* floats from a position to the next */
    float *zero;                                    /* a pixel of zeros */
    size_t *starts; /* with a mask: where in dw the weights of [output][input panel] start */
    size_t slot;    /* floats of a slot: [input panel][output][9][SG_LANES] */
    int *leaf, *merges;
    int blocks; /* that leaf and merges have room for */
    /* Of the present run, in its scratch: */
    float *in;    /* [position][input panel][group * lanes][SG_LANES] */
    float *out;   /* [position][output panel][group * lanes][rows] */
    float *sums;  /* [position][input panel][output panel][rows][SG_LANES], or a rectangle's per thread */
    float *slots; /* finished subtrees */
} winograd_gradient;

/* Subtrees that wait at most, besides the one in work. */
static int waiting(int blocks) {
    int depth = 0;
    while ((1 << depth) < blocks) depth++;
    return depth;
}

static winograd_gradient plan(const winograd_form *form, const sg_machine *machine,
                              const sg_conv_shape *shape, const sg_support *support) {
    winograd_gradient g = {.form = form, .machine = machine, .support = *support};
    size_t rows = (size_t)machine->ukernel.rows, positions = (size_t)form->positions;
    g.inputs = shape->in_channels;
    g.outputs = shape->out_channels;
    g.height = shape->in_height;
    g.width = shape->in_width;
    g.tiles_down = winograd_ceil(g.height, form->tile);
    g.tiles_across = winograd_ceil(g.width, form->tile);
    g.in_panels = winograd_ceil(g.inputs, SG_LANES);
    g.out_panels = winograd_ceil(g.outputs, (int)rows);
    int tiles = g.tiles_down * g.tiles_across;
    size_t in_columns = (size_t)g.in_panels * SG_LANES, out_rows = (size_t)g.out_panels * rows;
    size_t fit = GROUP_BYTES / (positions * (in_columns + out_rows) * SG_LANES * sizeof(float));
    g.group = fit < GROUP_TILES_LEAST ? GROUP_TILES_LEAST : fit < (size_t)tiles ? (int)fit : tiles;
    g.groups = winograd_ceil(tiles, g.group);
    g.group = winograd_ceil(tiles, g.groups);
    g.in_position = winograd_position((size_t)g.group * in_columns);
    g.out_position = winograd_position((size_t)g.group * out_rows);
    g.rectangles_in = winograd_ceil(g.in_panels, RECTANGLE_IN);
    g.rectangles_out = winograd_ceil(g.out_panels, RECTANGLE_OUT);
    g.rectangles = g.groups == 1 && positions * in_columns * out_rows * sizeof(float) >= RECTANGLE_BYTES &&
                   g.rectangles_in * g.rectangles_out >= 2 * machine->threads;
    g.sum_position = winograd_position(g.rectangles ? (size_t)(RECTANGLE_IN * RECTANGLE_OUT) * rows
                                                    : (size_t)g.in_panels * out_rows);
    g.slot = (size_t)g.outputs * (size_t)g.in_panels * WINOGRAD_TAPS * SG_LANES;
    return g;
}

static size_t count_sums(const winograd_gradient *g) {
    return (size_t)(g->rectangles ? g->machine->threads : 1) * (size_t)g->form->positions * g->sum_position;
}

static size_t zero_size(const winograd_gradient *g) {
    return (size_t)(g->inputs > g->outputs ? g->inputs : g->outputs) * SG_LANES;
}

static size_t count_starts(const winograd_gradient *g) {
    return g->support.index == NULL ? 0 : (size_t)g->outputs * (size_t)g->in_panels + 1;
}

static sg_conv_bytes bytes(const winograd_gradient *g, int blocks) {
    size_t panels = (size_t)g->form->positions * (g->in_position + g->out_position);
    return (sg_conv_bytes){.scratch =
                               (panels + count_sums(g) + (size_t)waiting(blocks) * g->slot) * sizeof(float),
                           .state = zero_size(g) * sizeof(float) + count_starts(g) * sizeof(size_t)};
}

void SG_VARIANT(sg_winograd_weight_gradient_destroy)(void **state) {
    if (state == NULL || *state == NULL) return;
    winograd_gradient *g = *state;
    SG_FREE(g->zero);
    SG_FREE(g->starts);
    SG_FREE(g->leaf);
    SG_FREE(g->merges);
    free(g);
    *state = NULL;
}

/* Room for the tree over `blocks` blocks; the number is not known before the first run. */
static int reserve(winograd_gradient *g, int blocks) {
    if (blocks <= g->blocks) return SG_OK;
    g->blocks = 0;
    SG_FREE(g->leaf);
    SG_FREE(g->merges);
    SG_TRY(SG_NEW(&g->leaf, (size_t)blocks));
    SG_TRY(SG_NEW(&g->merges, (size_t)blocks));
    g->blocks = blocks;
    return SG_OK;
}

static int allocate(winograd_gradient *g) {
    SG_TRY(SG_NEW(&g->zero, zero_size(g)));
    if (g->support.index == NULL) return SG_OK;
    size_t chunks = (size_t)g->outputs * (size_t)g->in_panels, at = 0;
    SG_TRY(SG_NEW(&g->starts, count_starts(g)));
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        size_t output = chunk / (size_t)g->in_panels, channel = chunk % (size_t)g->in_panels * SG_LANES;
        size_t first = (output * (size_t)g->inputs + channel) * WINOGRAD_TAPS;
        while (at < g->support.count && g->support.index[at] < first) at++;
        g->starts[chunk] = at;
    }
    g->starts[chunks] = g->support.count;
    return SG_OK;
}

static int create(void **state, const winograd_gradient *planned) {
    winograd_gradient *g;
    *state = NULL;
    SG_TRY(SG_NEW(&g, 1));
    *g = *planned;
    *state = g;
    int status = SG_AT(allocate(g));
    if (status != SG_OK) SG_VARIANT(sg_winograd_weight_gradient_destroy)(state);
    return status;
}

/* Transforms and transposes the channels channel..channel+panel-1 of one tile of x or of dy, which has
 * `channels`; what is missing becomes zeros. strip[positions][8][lanes] is scratch. */
static void pack_tile(const winograd_form *form, bool is_input, float *const *pixel, float *const *next,
                      int channels, int channel, int panel, float *to, size_t position, float *strip) {
    enum { STRIP = TRANSPOSE_STRIP * SG_LANES };
    for (int first = (panel - 1) / TRANSPOSE_STRIP * TRANSPOSE_STRIP; first >= 0; first -= TRANSPOSE_STRIP) {
        int wanted = panel - first < TRANSPOSE_STRIP ? panel - first : TRANSPOSE_STRIP;
        int there = channels - channel - first;
        there = there < 0 ? 0 : there < wanted ? there : wanted;
        if (there > 0)
            (is_input ? form->input : form->gradient)((const float *const *)pixel, (const float *const *)next,
                                                      channel + first, channel + first + there, strip, STRIP);
        for (int p = 0; p < form->positions; p++) {
            if (there < wanted)
                memset(strip + p * STRIP + there * SG_LANES, 0,
                       (size_t)(wanted - there) * SG_LANES * sizeof(float));
            transpose_strip(strip + p * STRIP, to + (size_t)p * position, first, panel);
        }
    }
}

/* Packs tiles first..first+count-1 of a block. */
static void pack_group(winograd_gradient *g, const sg_conv_pass *pass, int block, int first, int count,
                       int member, int members) {
    _Alignas(64) float strip[WINOGRAD_POSITIONS * TRANSPOSE_STRIP * SG_LANES] = {0};
    enum { SQUARE = WINOGRAD_TILE * WINOGRAD_TILE };
    float *in_pixel[WINOGRAD_POSITIONS], *in_next[SQUARE], *out_pixel[SQUARE], *out_next[SQUARE];
    const winograd_form *form = g->form;
    int rows = g->machine->ukernel.rows, panels = g->in_panels + g->out_panels, gathered = -1;
    size_t item, to;
    winograd_share((size_t)count * (size_t)panels, member, members, &item, &to);
    for (; item < to; item++) {
        int panel = (int)item % panels, tile = (int)item / panels;
        if (tile != gathered) {
            int y = (first + tile) / g->tiles_across * form->tile,
                x = (first + tile) % g->tiles_across * form->tile;
            winograd_gather(pass->x, block, y - 1, x - 1, form->tile + 2, g->zero, in_pixel);
            winograd_gather(pass->dy, block, y, x, form->tile, g->zero, out_pixel);
            y = (first + tile + 1) / g->tiles_across * form->tile;
            x = (first + tile + 1) % g->tiles_across * form->tile;
            winograd_gather(pass->x, block, y + 1, x + 1, form->tile, g->zero, in_next);
            winograd_gather(pass->dy, block, y, x, form->tile, g->zero, out_next);
            gathered = tile;
        }
        if (panel < g->in_panels) {
            float *at = g->in + ((size_t)panel * (size_t)count + (size_t)tile) * SG_LANES * SG_LANES;
            pack_tile(form, true, in_pixel, in_next, g->inputs, panel * SG_LANES, SG_LANES, at,
                      g->in_position, strip);
        } else {
            panel -= g->in_panels;
            float *at = g->out + ((size_t)panel * (size_t)count + (size_t)tile) * SG_LANES * (size_t)rows;
            pack_tile(form, false, out_pixel, out_next, g->outputs, panel * rows, rows, at, g->out_position,
                      strip);
        }
    }
}

/* One product of panels: `count` tiles, into sums at `to`. */
static inline void multiply(const winograd_gradient *g, int position, int in_panel, int out_panel, int count,
                            float *to, bool accumulate) {
    const sg_ukernel *u = &g->machine->ukernel;
    size_t steps = (size_t)count * SG_LANES;
    const float *a =
        g->out + (size_t)position * g->out_position + (size_t)out_panel * steps * (size_t)u->rows;
    const float *b = g->in + (size_t)position * g->in_position + (size_t)in_panel * steps * SG_LANES;
    u->run(u, u->rows, (int)steps, a, b, to, SG_LANES, accumulate);
}

/* The nine taps of an output and an input panel, [9][SG_LANES], into dw: all of them or the survivors. */
static void deliver(const winograd_gradient *g, int output, int in_panel, const float *taps, float *dw) {
    size_t first = ((size_t)output * (size_t)g->inputs + (size_t)in_panel * SG_LANES) * WINOGRAD_TAPS;
    if (g->starts != NULL) {
        size_t chunk = (size_t)output * (size_t)g->in_panels + (size_t)in_panel;
        for (size_t i = g->starts[chunk]; i < g->starts[chunk + 1]; i++) {
            size_t place = g->support.index[i] - first;
            dw[i] = taps[place % WINOGRAD_TAPS * SG_LANES + place / WINOGRAD_TAPS];
        }
        return;
    }
    int channels = g->inputs - in_panel * SG_LANES;
    channels = channels < SG_LANES ? channels : SG_LANES;
    for (int c = 0; c < channels; c++)
        for (int t = 0; t < WINOGRAD_TAPS; t++)
            dw[first + (size_t)(c * WINOGRAD_TAPS + t)] = taps[t * SG_LANES + c];
}

/* Where a leaf's value goes: added to the `merges` topmost of `depth` waiting subtrees, then into their
 * place, or into dw when it was the last. */
typedef struct branch {
    int depth, merges;
    bool last;
    float *dw;
} branch;

static void finish(const winograd_gradient *g, const branch *to, int output, int in_panel, const float *sum) {
    enum { VALUE = WINOGRAD_TAPS * SG_LANES };
    _Alignas(64) float taps[VALUE];
    g->form->taps(sum, g->sum_position, taps);
    float *slots = g->slots + ((size_t)in_panel * (size_t)g->outputs + (size_t)output) * VALUE;
    for (int m = 1; m <= to->merges; m++) {
        const float *lower = slots + (size_t)(to->depth - m) * g->slot;
        for (int i = 0; i < VALUE; i += SG_WIDTH) sg_store(taps + i, sg_load(lower + i) + sg_load(taps + i));
    }
    if (to->last)
        deliver(g, output, in_panel, taps, to->dw);
    else
        memcpy(slots + (size_t)(to->depth - to->merges) * g->slot, taps, sizeof taps);
}

static void multiply_positions(winograd_gradient *g, int count, bool accumulate, int member, int members) {
    size_t tile = (size_t)g->machine->ukernel.rows * SG_LANES, panels = (size_t)g->in_panels, item, to;
    winograd_share((size_t)g->form->positions * panels, member, members, &item, &to);
    for (; item < to; item++) {
        size_t position = item / panels, in_panel = item % panels;
        float *sums = g->sums + position * g->sum_position + in_panel * (size_t)g->out_panels * tile;
        for (int o = 0; o < g->out_panels; o++)
            multiply(g, (int)position, (int)in_panel, o, count, sums + (size_t)o * tile, accumulate);
    }
}

static void finish_positions(const winograd_gradient *g, const branch *to, int member, int members) {
    size_t outputs = (size_t)g->outputs, padded = (size_t)(g->out_panels * g->machine->ukernel.rows), item,
           end;
    winograd_share(outputs * (size_t)g->in_panels, member, members, &item, &end);
    for (; item < end; item++) {
        size_t in_panel = item / outputs, output = item % outputs;
        finish(g, to, (int)output, (int)in_panel, g->sums + (in_panel * padded + output) * SG_LANES);
    }
}

/* All of a block at once, for one rectangle of channels. */
static void run_rectangle(winograd_gradient *g, const branch *to, int rectangle, int count, float *sums) {
    int rows = g->machine->ukernel.rows;
    int in = rectangle / g->rectangles_out * RECTANGLE_IN,
        out = rectangle % g->rectangles_out * RECTANGLE_OUT;
    int in_end = in + RECTANGLE_IN < g->in_panels ? in + RECTANGLE_IN : g->in_panels;
    int out_end = out + RECTANGLE_OUT < g->out_panels ? out + RECTANGLE_OUT : g->out_panels;
    for (int p = 0; p < g->form->positions; p++)
        for (int i = in; i < in_end; i++)
            for (int o = out; o < out_end; o++)
                multiply(g, p, i, o, count,
                         sums + (size_t)p * g->sum_position +
                             (size_t)((i - in) * RECTANGLE_OUT + o - out) * (size_t)rows * SG_LANES,
                         false);
    int outputs = out_end * rows < g->outputs ? out_end * rows : g->outputs;
    for (int i = in; i < in_end; i++)
        for (int o = out * rows; o < outputs; o++)
            finish(g, to, o, i, sums + (size_t)((i - in) * RECTANGLE_OUT * rows + o - out * rows) * SG_LANES);
}

static void run_rectangles(winograd_gradient *g, const branch *to, int count, int member, int members) {
    float *sums = g->sums + (size_t)member * (size_t)g->form->positions * g->sum_position;
    size_t item, end;
    winograd_share((size_t)(g->rectangles_in * g->rectangles_out), member, members, &item, &end);
    for (; item < end; item++) run_rectangle(g, to, (int)item, count, sums);
}

/* One block by all threads. */
static void run_block(winograd_gradient *g, const sg_conv_pass *pass, int block, const branch *to, int member,
                      int members) {
    int tiles = g->tiles_down * g->tiles_across;
    for (int group = 0; group < g->groups; group++) {
        int first = group * g->group, count = tiles - first < g->group ? tiles - first : g->group;
        pack_group(g, pass, block, first, count, member, members);
#pragma omp barrier
        if (g->rectangles)
            run_rectangles(g, to, count, member, members);
        else
            multiply_positions(g, count, group > 0, member, members);
#pragma omp barrier
    }
    if (!g->rectangles) finish_positions(g, to, member, members);
}

int SG_VARIANT(sg_winograd_weight_gradient_run)(void *state, const sg_conv_pass *pass) {
    winograd_gradient *g = state;
    SG_TRY(reserve(g, pass->blocks));
    g->in = pass->scratch;
    g->out = g->in + (size_t)g->form->positions * g->in_position;
    g->sums = g->out + (size_t)g->form->positions * g->out_position;
    g->slots = g->sums + count_sums(g);
    sg_tree_order(pass->blocks, g->leaf, g->merges);
#pragma omp parallel num_threads(g->machine->threads)
    {
        int member = omp_get_thread_num(), members = omp_get_num_threads(), depth = 0;
        for (int i = 0; i < pass->blocks; i++) {
            branch to = {
                .depth = depth, .merges = g->merges[i], .last = i == pass->blocks - 1, .dw = pass->dw};
            run_block(g, pass, g->leaf[i], &to, member, members);
            depth += 1 - g->merges[i];
        }
    }
    return SG_OK;
}

#define WINOGRAD_ENTRY(name)                                                                                 \
    int SG_VARIANT(sg_##name##_weight_gradient_create)(                                                      \
        void **state, const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support) {    \
        winograd_gradient planned = plan(&SG_VARIANT(sg_##name##_form), machine, shape, support);            \
        return create(state, &planned);                                                                      \
    }                                                                                                        \
    sg_conv_bytes SG_VARIANT(sg_##name##_weight_gradient_bytes)(                                             \
        const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support, int blocks) {      \
        winograd_gradient planned = plan(&SG_VARIANT(sg_##name##_form), machine, shape, support);            \
        return bytes(&planned, blocks);                                                                      \
    }

WINOGRAD_ENTRY(winograd4)
WINOGRAD_ENTRY(winograd2)
