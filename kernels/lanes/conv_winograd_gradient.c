/* Winograd weight gradient. Every tile of dy meets its patch of x; at each position of the weights the sum
 * over the tiles and lanes of a block is a matrix product of micro-panels: x as [step][SG_LANES inputs], dy
 * as [step][rows outputs], both transposed here. A tile gives SG_LANES steps for every position of its values
 * that meets the weight.
 *
 * A block's tiles come in groups, whose length is a function of the shape alone, as are the bits. The sums of
 * a block go back to nine taps each and are combined with the other blocks' in the order of sg_tree_order:
 * finished subtrees wait in `slots`.
 *
 * Threads hand each other as little as they can, since what one core has just written is slow to read, and
 * to write again, for another:
 * - by positions, where the sums are few or the groups many: the threads form teams, a block each; only the
 *   taps of the teams' blocks meet. A team is one thread as long as there are blocks enough, and takes the
 *   next one of a phase when it has done one; inside a larger team threads divide the packing of each group
 *   and then the positions;
 * - by rectangles of channels, where the sums are many and all tiles of a block fit one group: the threads
 *   pack a phase of several blocks, then each takes rectangles, whose sums and taps stay in its cache. */
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
    RECTANGLE_OUT = 4,
    PHASE_BYTES = 12 << 20,          /* packed panels of a phase */
    SLOTS_BYTES = 4 << 20,           /* taps of a phase's blocks, by positions */
    VALUE = WINOGRAD_TAPS * SG_LANES /* floats of the taps of one output and one input panel */
};

typedef struct winograd_gradient {
    const winograd_form *form;
    winograd_meetings meetings;
    const sg_machine *machine;
    sg_support support;
    int inputs, outputs, tiles_down, tiles_across;
    int in_panels, out_panels; /* of SG_LANES inputs, of ukernel.rows outputs */
    int group, groups;         /* most tiles of a group, groups of a block */
    bool rectangles;
    int rectangles_in, rectangles_out;
    size_t in_position, out_position, sum_position; /* floats from a position to the next */
    float *zero;                                    /* a pixel of zeros */
    size_t *starts;  /* with a mask: where in dw the weights of [output][input panel] start */
    sg_queue *queue; /* [threads] */
    int *leaf, *merges;
    int blocks; /* that leaf and merges have room for */
} winograd_gradient;

/* The scratch of a run. A team's, where threads form teams, is that of the thread of its number. */
typedef struct layout {
    bool own_packed; /* each team has packed groups of its own */
    int leaves;      /* groups that are packed at once */
    int phase;       /* blocks, by positions, that are done before their taps meet */
    int slots;       /* subtrees that wait at most */
    size_t slot;     /* floats of a slot: [input panel][output][VALUE] */
    bool own_slots;  /* each thread has slots, of a rectangle's size */
} layout;

/* One run: its scratch and the tree's order. */
typedef struct job {
    const winograd_gradient *g;
    const sg_conv_pass *pass;
    layout layout;
} job;

static winograd_gradient plan(const winograd_form *form, const sg_machine *machine,
                              const sg_conv_shape *shape, const sg_support *support) {
    winograd_gradient g = {
        .form = form, .meetings = winograd_meet(form), .machine = machine, .support = *support};
    size_t rows = (size_t)machine->ukernel.rows, positions = (size_t)winograd_positions(form);
    g.inputs = shape->in_channels;
    g.outputs = shape->out_channels;
    g.tiles_down = sg_divide_up(shape->out_height, form->tile);
    g.tiles_across = sg_divide_up(shape->out_width, form->tile);
    g.in_panels = sg_divide_up(g.inputs, SG_LANES);
    g.out_panels = sg_divide_up(g.outputs, (int)rows);
    int tiles = g.tiles_down * g.tiles_across;
    size_t in_columns = (size_t)g.in_panels * SG_LANES, out_rows = (size_t)g.out_panels * rows;
    size_t fit = GROUP_BYTES / (positions * (in_columns + out_rows) * SG_LANES * sizeof(float));
    g.group = fit < GROUP_TILES_LEAST ? GROUP_TILES_LEAST : fit < (size_t)tiles ? (int)fit : tiles;
    g.groups = sg_divide_up(tiles, g.group);
    g.group = sg_divide_up(tiles, g.groups);
    g.in_position = winograd_position((size_t)g.group * in_columns);
    g.out_position = winograd_position((size_t)g.group * out_rows);
    g.rectangles_in = sg_divide_up(g.in_panels, RECTANGLE_IN);
    g.rectangles_out = sg_divide_up(g.out_panels, RECTANGLE_OUT);
    size_t sums = (size_t)winograd_weights(form) * in_columns * out_rows;
    g.rectangles = g.groups == 1 && sums * sizeof(float) >= RECTANGLE_BYTES &&
                   g.rectangles_in * g.rectangles_out >= 2 * machine->threads;
    g.sum_position = winograd_position(g.rectangles ? (size_t)(RECTANGLE_IN * RECTANGLE_OUT) * rows
                                                    : (size_t)g.in_panels * out_rows);
    return g;
}

static layout lay_out(const winograd_gradient *g, int blocks) {
    int threads = g->machine->threads, teams = threads < blocks ? threads : blocks, waiting = 0;
    while ((1 << waiting) < blocks) waiting++;
    layout l = {.own_packed = !g->rectangles, .leaves = 1, .phase = 1, .slots = waiting};
    l.slot = (size_t)g->outputs * (size_t)g->in_panels * VALUE;
    if (g->rectangles) {
        size_t group_bytes =
            (size_t)winograd_positions(g->form) * (g->in_position + g->out_position) * sizeof(float);
        int fit = (int)(PHASE_BYTES / group_bytes), phases = sg_divide_up(blocks, sg_max(fit, 1));
        l.leaves = sg_divide_up(blocks, phases);
        l.own_slots = phases == 1;
        if (l.own_slots) l.slot = (size_t)(RECTANGLE_IN * RECTANGLE_OUT * g->machine->ukernel.rows) * VALUE;
    } else if (teams > 1) {
        int fit = (int)(SLOTS_BYTES / (l.slot * sizeof(float)));
        l.phase = sg_max(sg_min(fit, blocks) / teams, 1) * teams;
        l.slots += l.phase;
    }
    return l;
}

static size_t in_size(const winograd_gradient *g) {
    return (size_t)winograd_positions(g->form) * g->in_position;
}
static size_t out_size(const winograd_gradient *g) {
    return (size_t)winograd_positions(g->form) * g->out_position;
}
static size_t sums_size(const winograd_gradient *g) {
    return (size_t)winograd_weights(g->form) * g->sum_position;
}

static size_t zero_size(const winograd_gradient *g) {
    return (size_t)(g->inputs > g->outputs ? g->inputs : g->outputs) * SG_LANES;
}

static size_t count_starts(const winograd_gradient *g) {
    return g->support.index == NULL ? 0 : (size_t)g->outputs * (size_t)g->in_panels + 1;
}

static sg_conv_bytes bytes(const winograd_gradient *g, int blocks) {
    layout l = lay_out(g, blocks);
    size_t packed = (size_t)l.leaves * (in_size(g) + out_size(g)), slots = (size_t)l.slots * l.slot;
    size_t shared = (l.own_packed ? 0 : packed) + (l.own_slots ? 0 : slots);
    return (sg_conv_bytes){.shared = shared * sizeof(float),
                           .own = (packed + sums_size(g) + slots - shared) * sizeof(float),
                           .state = zero_size(g) * sizeof(float) + count_starts(g) * sizeof(size_t)};
}

/* Packed groups of a thread or of all: per group
 *   [weight][input panel][positions * tiles * lanes][SG_LANES] of x, and
 *   [weight][output panel][positions * tiles * lanes][rows] of dy. */
static float *group_at(const job *j, int member, int leaf) {
    float *first = j->layout.own_packed ? sg_conv_own(&j->pass->scratch, member) : j->pass->scratch.shared;
    return first + (size_t)leaf * (in_size(j->g) + out_size(j->g));
}

/* [weight][input panel][output panel][rows][SG_LANES] */
static float *sums_of(const job *j, int member) {
    return j->layout.own_packed ? group_at(j, member, j->layout.leaves)
                                : sg_conv_own(&j->pass->scratch, member);
}

/* [slot], of a thread or of all. */
static float *slots_of(const job *j, int member) {
    if (j->layout.own_slots) return sums_of(j, member) + sums_size(j->g);
    return j->layout.own_packed ? j->pass->scratch.shared : group_at(j, member, j->layout.leaves);
}

void SG_VARIANT(sg_winograd_weight_gradient_destroy)(void **state) {
    if (state == NULL || *state == NULL) return;
    winograd_gradient *g = *state;
    SG_FREE(g->zero);
    SG_FREE(g->starts);
    SG_FREE(g->queue);
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
    SG_TRY(SG_NEW(&g->queue, (size_t)g->machine->threads));
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

/* One group's packed x or dy: panels of `width` of its channels, `count` tiles. */
typedef struct packing {
    const winograd_gradient *g;
    int channels, width, count;
    float *to;
    size_t position; /* floats from a position of values to the next, all panels */
} packing;

static inline packing packing_of(const winograd_gradient *g, bool is_input, float *group, int count) {
    if (is_input) return (packing){g, g->inputs, SG_LANES, count, group, g->in_position};
    return (packing){g, g->outputs, g->machine->ukernel.rows, count, group + in_size(g), g->out_position};
}

/* Positions of values that meet a weight's. */
static inline int repeats(const winograd_gradient *g, int weight) {
    return g->meetings.first[weight + 1] - g->meetings.first[weight];
}

/* The steps of a panel for one weight: position by position of its values, tile by tile. */
static inline float *steps_of(const packing *p, int weight, int panel) {
    return p->to + (size_t)p->g->meetings.first[weight] * p->position +
           (size_t)(panel * repeats(p->g, weight) * p->count * p->width) * SG_LANES;
}

/* Transforms and transposes the channels of one panel of a tile. What a panel holds beyond its channels only
 * meets sums that are not read. strip[positions][8][lanes] is scratch. */
static void pack_tile(const packing *p, int panel, int tile, bool is_input, float *const *pixel,
                      float *const *next, float *strip) {
    enum { STRIP = TRANSPOSE_STRIP * SG_LANES };
    const winograd_form *form = p->g->form;
    int channel = panel * p->width, weights = winograd_weights(form);
    size_t tile_size = (size_t)p->width * SG_LANES, all_tiles = (size_t)p->count * tile_size;
    for (int first = (p->width - 1) / TRANSPOSE_STRIP * TRANSPOSE_STRIP; first >= 0;
         first -= TRANSPOSE_STRIP) {
        int wanted = p->width - first < TRANSPOSE_STRIP ? p->width - first : TRANSPOSE_STRIP;
        int there = p->channels - channel - first;
        if (there <= 0) continue;
        (is_input ? form->input
                  : form->gradient)((const float *const *)pixel, (const float *const *)next, channel + first,
                                    channel + first + (there < wanted ? there : wanted), strip, STRIP);
        const float *from = strip;
        for (int w = 0; w < weights; w++) {
            float *to = steps_of(p, w, panel) + (size_t)tile * tile_size;
            for (int i = repeats(p->g, w); i > 0; i--, from += STRIP, to += all_tiles)
                transpose_strip(from, to, first, p->width);
        }
    }
}

/* What is packed of a group: panels of x and of dy, of some tiles. */
typedef struct portion {
    sg_span tiles, ins, outs;
} portion;

/* A member's share: of the tiles where there are enough of them, or of the panels. */
static portion share_of(const winograd_gradient *g, int count, int member, int members) {
    portion all = {sg_share((size_t)count, 0, 1), sg_share((size_t)g->in_panels, 0, 1),
                   sg_share((size_t)g->out_panels, 0, 1)};
    if (count >= 2 * members) {
        all.tiles = sg_share((size_t)count, member, members);
    } else {
        all.ins = sg_share((size_t)g->in_panels, member, members);
        all.outs = sg_share((size_t)g->out_panels, member, members);
    }
    return all;
}

/* Packs part of tiles first..first+count-1 of a block. */
static void pack_group(const job *j, float *group, int block, int first, int count, portion part) {
    _Alignas(64) float strip[WINOGRAD_POSITIONS * TRANSPOSE_STRIP * SG_LANES];
    const winograd_gradient *g = j->g;
    const winograd_form *form = g->form;
    memset(strip, 0, (size_t)winograd_positions(form) * TRANSPOSE_STRIP * SG_LANES * sizeof *strip);
    const sg_tensor *x = j->pass->x, *dy = j->pass->dy;
    packing in = packing_of(g, true, group, count), out = packing_of(g, false, group, count);
    for (size_t tile = part.tiles.from; tile < part.tiles.to; tile++) {
        float *in_pixel[WINOGRAD_PATCH], *in_next[WINOGRAD_STEP];
        float *out_pixel[WINOGRAD_TILE], *out_next[WINOGRAD_TILE];
        int at = first + (int)tile, size = form->tile;
        int down = at / g->tiles_across, across = at % g->tiles_across;
        winograd_gather_patch(form, x, block, down, across, g->zero, in_pixel);
        winograd_gather(dy, block, down * size, across * size, size, g->zero, out_pixel);
        down = (at + 1) / g->tiles_across, across = (at + 1) % g->tiles_across;
        winograd_gather_step(form, x, block, down, across, g->zero, in_next);
        winograd_gather(dy, block, down * size, across * size, size, g->zero, out_next);
        for (size_t panel = part.ins.from; panel < part.ins.to; panel++)
            pack_tile(&in, (int)panel, (int)tile, true, in_pixel, in_next, strip);
        for (size_t panel = part.outs.from; panel < part.outs.to; panel++)
            pack_tile(&out, (int)panel, (int)tile, false, out_pixel, out_next, strip);
    }
}

/* One product of panels of a group into sums at `to`. */
static inline void multiply(const packing *in, const packing *out, int weight, int in_panel, int out_panel,
                            float *to, bool accumulate) {
    const winograd_gradient *g = in->g;
    const sg_ukernel *u = &g->machine->ukernel;
    u->run(u, u->rows, repeats(g, weight) * in->count * SG_LANES, steps_of(out, weight, out_panel),
           steps_of(in, weight, in_panel), to, SG_LANES, accumulate);
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
} branch;

static branch branch_of(const job *j, int i, int depth) {
    return (branch){.depth = depth, .merges = j->g->merges[i], .last = i == j->pass->blocks - 1};
}

/* `slots` is the place of these taps in the first slot. */
static void combine(const job *j, branch to, float *slots, float *taps, int output, int in_panel) {
    for (int m = 1; m <= to.merges; m++) {
        const float *lower = slots + (size_t)(to.depth - m) * j->layout.slot;
        for (int i = 0; i < VALUE; i += SG_WIDTH) sg_store(taps + i, sg_load(lower + i) + sg_load(taps + i));
    }
    if (to.last)
        deliver(j->g, output, in_panel, taps, j->pass->dw);
    else
        memcpy(slots + (size_t)(to.depth - to.merges) * j->layout.slot, taps, VALUE * sizeof *taps);
}

static void finish(const job *j, branch to, const float *sum, float *slots, int output, int in_panel) {
    _Alignas(64) float taps[VALUE];
    j->g->form->taps(sum, j->g->sum_position, taps);
    combine(j, to, slots, taps, output, in_panel);
}

static void multiply_positions(const job *j, int team, int count, bool accumulate, int member, int members) {
    const winograd_gradient *g = j->g;
    size_t tile = (size_t)g->machine->ukernel.rows * SG_LANES, panels = (size_t)g->in_panels;
    float *group = group_at(j, team, 0);
    packing in = packing_of(g, true, group, count), out = packing_of(g, false, group, count);
    sg_span items = sg_share((size_t)winograd_weights(g->form) * panels, member, members);
    for (size_t item = items.from; item < items.to; item++) {
        size_t weight = item / panels, in_panel = item % panels;
        float *sums = sums_of(j, team) + weight * g->sum_position + in_panel * (size_t)g->out_panels * tile;
        for (int o = 0; o < g->out_panels; o++)
            multiply(&in, &out, (int)weight, (int)in_panel, o, sums + (size_t)o * tile, accumulate);
    }
}

static void finish_positions(const job *j, int team, branch to, int member, int members) {
    const winograd_gradient *g = j->g;
    const float *sums = sums_of(j, team);
    size_t outputs = (size_t)g->outputs, padded = (size_t)(g->out_panels * g->machine->ukernel.rows);
    sg_span items = sg_share((size_t)(g->outputs * g->in_panels), member, members);
    for (size_t item = items.from; item < items.to; item++) {
        size_t in_panel = item / outputs, output = item % outputs;
        finish(j, to, sums + (in_panel * padded + output) * SG_LANES, slots_of(j, team) + item * VALUE,
               (int)output, (int)in_panel);
    }
}

/* One block by a team. */
static void run_block(const job *j, int team, int block, branch to, int member, int members) {
    const winograd_gradient *g = j->g;
    int tiles = g->tiles_down * g->tiles_across;
    for (int group = 0; group < g->groups; group++) {
        int first = group * g->group, count = tiles - first < g->group ? tiles - first : g->group;
        pack_group(j, group_at(j, team, 0), block, first, count, share_of(g, count, member, members));
        if (members > 1) {
#pragma omp barrier
        }
        multiply_positions(j, team, count, group > 0, member, members);
        if (members > 1) {
#pragma omp barrier
        }
    }
    finish_positions(j, team, to, member, members);
}

/* Combines the leaves i..i+leaves-1, which wait one above the other from `depth` on. */
static void combine_leaves(const job *j, int i, int leaves, int depth, int member, int members) {
    _Alignas(64) float taps[VALUE];
    sg_span items = sg_share((size_t)(j->g->outputs * j->g->in_panels), member, members);
    for (size_t item = items.from; item < items.to; item++) {
        float *slots = slots_of(j, member) + item * VALUE;
        for (int leaf = 0, top = depth; leaf < leaves; leaf++) {
            branch to = branch_of(j, i + leaf, top);
            memcpy(taps, slots + (size_t)(depth + leaf) * j->layout.slot, sizeof taps);
            combine(j, to, slots, taps, (int)item % j->g->outputs, (int)item / j->g->outputs);
            top += 1 - to.merges;
        }
    }
}

static int depth_after(const job *j, int i, int leaves, int depth) {
    for (int k = 0; k < leaves; k++) depth += 1 - j->g->merges[i + k];
    return depth;
}

/* The leaves i..i+leaves-1, each by the next thread that is free. */
static void run_leaves(const job *j, int i, int leaves, int depth, int member, int members) {
    const winograd_gradient *g = j->g;
#pragma omp single
    sg_fill_queues(g->queue, (size_t)leaves, members);
    for (size_t leaf; sg_take(g->queue, member, members, &leaf);)
        run_block(j, member, g->leaf[i + (int)leaf], (branch){.depth = depth + (int)leaf}, 0, 1);
}

/* The leaves i..i+teams-1, each by a team. */
static void run_teams(const job *j, int i, int teams, int depth, int member, int members) {
    int size = members / teams, team = member / size;
    branch to = teams == 1 ? branch_of(j, i, depth) : (branch){.depth = depth + team};
    run_block(j, team, j->g->leaf[i + team], to, member % size, size);
}

/* As many equal teams as there are blocks left for. All threads pass the same barriers. */
static void run_by_positions(const job *j, int member, int members) {
    for (int i = 0, depth = 0, leaves, teams = members; i < j->pass->blocks; i += leaves) {
        int left = j->pass->blocks - i;
        while (teams > left || members % teams != 0) teams--;
        leaves = teams < members ? teams : sg_min(j->layout.phase, left) / teams * teams;
        if (leaves > teams)
            run_leaves(j, i, leaves, depth, member, members);
        else
            run_teams(j, i, teams, depth, member, members);
        if (leaves > 1) {
#pragma omp barrier
            combine_leaves(j, i, leaves, depth, member, members);
#pragma omp barrier
        }
        depth = depth_after(j, i, leaves, depth);
    }
}

/* Blocks i..i+leaves-1 of the tree's order for one rectangle of channels. */
static void run_rectangle(const job *j, int rectangle, int i, int leaves, int depth, int member) {
    const winograd_gradient *g = j->g;
    int rows = g->machine->ukernel.rows;
    int in = rectangle / g->rectangles_out * RECTANGLE_IN,
        out = rectangle % g->rectangles_out * RECTANGLE_OUT;
    int in_end = in + RECTANGLE_IN < g->in_panels ? in + RECTANGLE_IN : g->in_panels;
    int out_end = out + RECTANGLE_OUT < g->out_panels ? out + RECTANGLE_OUT : g->out_panels;
    int outputs = (out_end * rows < g->outputs ? out_end * rows : g->outputs) - out * rows;
    float *sums = sums_of(j, member), *slots = slots_of(j, member);
    for (int leaf = 0; leaf < leaves; leaf++) {
        branch to = branch_of(j, i + leaf, depth);
        float *group = group_at(j, member, leaf);
        packing x = packing_of(g, true, group, g->group), dy = packing_of(g, false, group, g->group);
        for (int w = 0; w < winograd_weights(g->form); w++)
            for (int ip = in; ip < in_end; ip++)
                for (int op = out; op < out_end; op++)
                    multiply(&x, &dy, w, ip, op,
                             sums + (size_t)w * g->sum_position +
                                 (size_t)((ip - in) * RECTANGLE_OUT + op - out) * (size_t)rows * SG_LANES,
                             false);
        for (int ip = in; ip < in_end; ip++)
            for (int o = 0; o < outputs; o++) {
                size_t local = (size_t)((ip - in) * RECTANGLE_OUT * rows + o);
                size_t global = (size_t)ip * (size_t)g->outputs + (size_t)(out * rows + o);
                finish(j, to, sums + local * SG_LANES, slots + (j->layout.own_slots ? local : global) * VALUE,
                       out * rows + o, ip);
            }
        depth += 1 - to.merges;
    }
}

static void run_by_rectangles(const job *j, int member, int members) {
    const winograd_gradient *g = j->g;
    portion part = share_of(g, g->group, member, members);
    for (int i = 0, depth = 0, leaves = j->layout.leaves; i < j->pass->blocks; i += leaves) {
        if (leaves > j->pass->blocks - i) leaves = j->pass->blocks - i;
        for (int leaf = 0; leaf < leaves; leaf++)
            pack_group(j, group_at(j, member, leaf), g->leaf[i + leaf], 0, g->group, part);
#pragma omp single nowait
        sg_fill_queues(g->queue, (size_t)(g->rectangles_in * g->rectangles_out), members);
#pragma omp barrier
        for (size_t r; sg_take(g->queue, member, members, &r);)
            run_rectangle(j, (int)r, i, leaves, depth, member);
#pragma omp barrier
        depth = depth_after(j, i, leaves, depth);
    }
}

int SG_VARIANT(sg_winograd_weight_gradient_run)(void *state, const sg_conv_pass *pass) {
    winograd_gradient *g = state;
    SG_TRY(reserve(g, pass->blocks));
    sg_tree_order(pass->blocks, g->leaf, g->merges);
    job j = {.g = g, .pass = pass, .layout = lay_out(g, pass->blocks)};
#pragma omp parallel num_threads(g->machine->threads)
    {
        int member = omp_get_thread_num(), members = omp_get_num_threads();
        if (g->rectangles)
            run_by_rectangles(&j, member, members);
        else
            run_by_positions(&j, member, members);
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
WINOGRAD_ENTRY(winograd4s2)
