#include "kernels/conv.h"

#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/variant.h"

/* Where one algorithm overtakes another: below which density sparse sums win against depthwise, direct and
 * Winograd. Results depend on these numbers through rounding, so a changed number is a changed arithmetic.
 * They stand where `signet bench algorithms` sees the curves cross. */
static const double SPARSE_BELOW_DEPTHWISE = 0.4, SPARSE_BELOW_DIRECT = 0.48;
/* A direct sum over few products, or for few outputs, leaves the micro-kernel idle between its loads and
 * stores: so many of either double the density. */
static const double FEW_PRODUCTS = 14.0;
/* Winograd's transforms cost as much per channel as some channels of products, so with few of them it loses
 * its lead sooner; so do F(2x2,3x3) and stride 2, which save less, and the weight gradient where a block has
 * few tiles to share the way back of its sums to nine taps. */
static const double SPARSE_BELOW_WINOGRAD = 0.2, TRANSFORM_CHANNELS = 14.0, TAPS_TILES = 0.4;
static const double WINOGRAD2_SOONER = 1.35, WINOGRAD4S2_SOONER = 1.8;
/* With this few input channels a direct sum is too short for the micro-kernel: sparse at every density. */
enum { FEW_CHANNELS = 4 };
/* The direct weight gradient transposes both tensors first; so many products per value transposed double the
 * density, unless there are so few pixels that adding up the lanes of each weight's sum costs as much. */
static const double SPARSE_BELOW_WEIGHT = 0.5, WEIGHT_PRODUCTS = 50.0;
enum { WEIGHT_PIXELS = 64 };
/* F(4x4,3x3) makes 36 products where direct sums make 144. It loses its lead where the last tiles are mostly
 * waste. */
enum { WINOGRAD4_PIXELS = 4 };
static const double WINOGRAD4_WASTE = 1.3;
/* F(2x2,3x3) makes 16 products of 36, stride 2 makes 81 of 144: they must save more than their transforms
 * cost, which a single pixel, or a tile that is mostly outside, does not. */
static const double WINOGRAD_GAIN = 1.25;
enum { WINOGRAD_CHANNELS = 8 }; /* of input and output, at least */

struct sg_conv {
    const sg_machine *machine;
    sg_conv_shape shape;
    sg_support support;
    const sg_conv_algorithm *algorithm[SG_CONV_PASSES];
    void *state[SG_CONV_PASSES];
};

size_t sg_conv_weights(const sg_conv_shape *shape) {
    return (size_t)shape->out_channels * (size_t)(shape->in_channels / shape->groups) *
           (size_t)shape->kernel_height * (size_t)shape->kernel_width;
}

enum { PAGE = 4096 }; /* scratch is made of whole ones: threads share no page of it */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

sg_conv_bytes sg_conv_most_bytes(const sg_conv_algorithm *algorithm, const sg_machine *machine,
                                 const sg_conv_shape *shape, const sg_support *support, int most_blocks) {
    sg_conv_bytes most = {0};
    for (int blocks = 1; blocks <= most_blocks; blocks++) {
        sg_conv_bytes bytes = algorithm->bytes(machine, shape, support, blocks);
        most.packed = larger(most.packed, bytes.packed);
        most.shared = larger(most.shared, bytes.shared);
        most.own = larger(most.own, bytes.own);
        most.state = larger(most.state, bytes.state);
    }
    return most;
}

size_t sg_conv_scratch_bytes(size_t shared, size_t own, int threads) {
    return sg_round_up(shared, PAGE) + (size_t)threads * sg_round_up(own, PAGE);
}

sg_conv_scratch sg_conv_lay_scratch(float *memory, size_t shared, size_t own) {
    return (sg_conv_scratch){.shared = memory,
                             .own = memory + sg_round_up(shared, PAGE) / sizeof *memory,
                             .step = sg_round_up(own, PAGE) / sizeof *memory,
                             .shared_bytes = shared,
                             .own_bytes = own};
}

int sg_conv_input_halo(const sg_conv_shape *shape) { return shape->padding; }

/* Output rows q = (i + padding - r) / stride that meet input row i < in through tap r < kernel: the lowest is
 * -(kernel - 1 - padding) / stride, the highest (in - 1 + padding) / stride, both rounded towards zero. */
static int gradient_reach(const sg_conv_shape *shape, int kernel, int in, int out) {
    int below = (kernel - 1 - shape->padding) / shape->stride;
    int above = (in - 1 + shape->padding) / shape->stride - (out - 1);
    int reach = below > above ? below : above;
    return reach > 0 ? reach : 0;
}

bool sg_conv_is_linear(const sg_conv_shape *shape) {
    return shape->padding == 0 && shape->kernel_height == shape->in_height &&
           shape->kernel_width == shape->in_width;
}

int sg_conv_gradient_halo(const sg_conv_shape *shape) {
    if (sg_conv_is_linear(shape)) return 0;
    int rows = gradient_reach(shape, shape->kernel_height, shape->in_height, shape->out_height);
    int columns = gradient_reach(shape, shape->kernel_width, shape->in_width, shape->out_width);
    return rows > columns ? rows : columns;
}

static bool usable(const sg_conv_algorithm *algorithm, const sg_machine *machine,
                   const sg_conv_shape *shape) {
    return algorithm->name != NULL && algorithm->supports(machine, shape);
}

/* With padding 1 the output has its input's size, or half of it, rounded up, at stride 2, where the data
 * gradient's tiles are twice as large: it has the same tiles as the forward pass. */
static bool suits_winograd(const sg_conv_shape *s) {
    return s->kernel_height == 3 && s->kernel_width == 3 && s->stride <= 2 && s->padding == 1 &&
           s->groups == 1 && s->in_channels >= WINOGRAD_CHANNELS && s->out_channels >= WINOGRAD_CHANNELS;
}

static double count_tiles(const sg_conv_shape *s, int tile) {
    return (double)sg_divide_up(s->out_height, tile) * sg_divide_up(s->out_width, tile);
}

static bool suits_winograd4(const sg_conv_shape *s) {
    return s->stride == 1 && s->out_height >= WINOGRAD4_PIXELS && s->out_width >= WINOGRAD4_PIXELS &&
           16.0 * count_tiles(s, 4) <= WINOGRAD4_WASTE * (double)s->out_height * (double)s->out_width;
}

static double direct_products(const sg_conv_shape *s) { return 9.0 * s->out_height * s->out_width; }

static bool suits_winograd2(const sg_conv_shape *s) {
    return s->stride == 1 && WINOGRAD_GAIN * 16.0 * count_tiles(s, 2) <= direct_products(s);
}

static bool suits_winograd4s2(const sg_conv_shape *s) {
    return s->stride == 2 && WINOGRAD_GAIN * 81.0 * count_tiles(s, 4) <= direct_products(s);
}

/* Products of a sum, or sums that a value is used for: the fewer. */
static double fewest_products(const sg_conv_shape *s, bool forward) {
    int in = s->in_channels / s->groups, out = s->out_channels / s->groups;
    int products = (forward ? in : out) * s->kernel_height * s->kernel_width, sums = forward ? out : in;
    return products < sums ? products : sums;
}

/* Products of the weight gradient per value that is transposed for them: of dy once, of x for every tap. */
static double weight_products(const sg_conv_shape *s) {
    double columns = (double)s->in_channels / s->groups * s->kernel_height * s->kernel_width;
    double rows = (double)s->out_channels / s->groups;
    return 2.0 * columns * rows / (columns + rows);
}

/* The density below which sparse sums win against `dense`. */
static double sparse_below(const sg_variant *v, const sg_conv_algorithm *dense, const sg_conv_shape *s,
                           enum sg_conv_pass_kind kind) {
    bool forward = kind == SG_CONV_FORWARD, weight = kind == SG_CONV_WEIGHT_GRADIENT;
    if (dense == &v->depthwise[kind]) return SPARSE_BELOW_DEPTHWISE;
    if (dense != &v->direct[kind]) {
        int channels = s->in_channels < s->out_channels ? s->in_channels : s->out_channels;
        int tile = dense == &v->winograd2[kind] ? 2 : 4;
        double below = SPARSE_BELOW_WINOGRAD * (1.0 + TRANSFORM_CHANNELS / channels);
        if (tile == 2) below *= WINOGRAD2_SOONER;
        if (dense == &v->winograd4s2[kind]) below *= WINOGRAD4S2_SOONER;
        if (weight) below *= 1.0 + TAPS_TILES / count_tiles(s, tile);
        return below;
    }
    if (forward && s->groups == 1 && s->in_channels <= FEW_CHANNELS) return INFINITY;
    if (sg_conv_is_linear(s)) return SPARSE_BELOW_DIRECT;
    if (!weight) return SPARSE_BELOW_DIRECT * (1.0 + FEW_PRODUCTS / fewest_products(s, forward));
    bool few = s->out_height * s->out_width < WEIGHT_PIXELS;
    return SPARSE_BELOW_WEIGHT * (few ? 1.0 : 1.0 + WEIGHT_PRODUCTS / weight_products(s));
}

const sg_conv_algorithm *sg_conv_choose(const sg_machine *machine, const sg_conv_shape *shape,
                                        const sg_support *support, enum sg_conv_pass_kind kind) {
    const sg_variant *v = machine->variant;
    double density = 1.0;
    if (support != NULL && support->index != NULL)
        density = (double)support->count / (double)sg_conv_weights(shape);

    bool depthwise =
        shape->groups > 1 && shape->groups == shape->in_channels && shape->groups == shape->out_channels;
    const sg_conv_algorithm *dense = &v->direct[kind];
    if (depthwise && usable(&v->depthwise[kind], machine, shape)) {
        dense = &v->depthwise[kind];
    } else if (machine->winograd && suits_winograd(shape)) {
        if (suits_winograd4(shape) && usable(&v->winograd4[kind], machine, shape))
            dense = &v->winograd4[kind];
        else if (suits_winograd2(shape) && usable(&v->winograd2[kind], machine, shape))
            dense = &v->winograd2[kind];
        else if (suits_winograd4s2(shape) && usable(&v->winograd4s2[kind], machine, shape))
            dense = &v->winograd4s2[kind];
    }
    if (machine->sparse && density < sparse_below(v, dense, shape, kind) &&
        usable(&v->sparse[kind], machine, shape))
        return &v->sparse[kind];
    return dense;
}

static int extent(int in, int kernel, const sg_conv_shape *s) {
    return (in + 2 * s->padding - kernel) / s->stride + 1;
}

static int check_shape(const sg_conv_shape *s) {
    SG_CHECK(s->in_channels >= 1 && s->out_channels >= 1 && s->kernel_height >= 1 && s->kernel_width >= 1 &&
                 s->stride >= 1 && s->padding >= 0,
             SG_INTERNAL,
             "convolution %d -> %d, kernel %dx%d, stride %d, padding %d: every size must be positive",
             s->in_channels, s->out_channels, s->kernel_height, s->kernel_width, s->stride, s->padding);
    SG_CHECK(s->groups >= 1 && s->in_channels % s->groups == 0 && s->out_channels % s->groups == 0,
             SG_INTERNAL, "convolution %d -> %d: %d groups do not divide the channels", s->in_channels,
             s->out_channels, s->groups);
    SG_CHECK(s->in_height + 2 * s->padding >= s->kernel_height &&
                 s->in_width + 2 * s->padding >= s->kernel_width,
             SG_INTERNAL, "convolution kernel %dx%d is larger than its input of %dx%d pixels with padding %d",
             s->kernel_height, s->kernel_width, s->in_height, s->in_width, s->padding);
    int height = extent(s->in_height, s->kernel_height, s), width = extent(s->in_width, s->kernel_width, s);
    SG_CHECK(s->out_height == height && s->out_width == width, SG_INTERNAL,
             "convolution of %dx%d pixels gives %dx%d, not %dx%d", s->in_height, s->in_width, height, width,
             s->out_height, s->out_width);
    return SG_OK;
}

static void release_states(sg_conv *conv) {
    for (int kind = 0; kind < SG_CONV_PASSES; kind++)
        if (conv->state[kind] != NULL) conv->algorithm[kind]->destroy(&conv->state[kind]);
}

static int make_state(sg_conv *conv, int kind) {
    if (conv->state[kind] != NULL) return SG_OK;
    return conv->algorithm[kind]->create(&conv->state[kind], conv->machine, &conv->shape, &conv->support);
}

int sg_conv_create(sg_conv **conv, const sg_machine *machine, const sg_conv_shape *shape) {
    *conv = NULL;
    SG_TRY(check_shape(shape));
    sg_conv *made;
    SG_TRY(SG_NEW(&made, 1));
    made->machine = machine;
    made->shape = *shape;
    sg_support dense = {.count = sg_conv_weights(shape), .index = NULL};
    int status = SG_AT(sg_conv_set_support(made, &dense));
    if (status != SG_OK)
        sg_conv_destroy(&made);
    else
        *conv = made;
    return status;
}

void sg_conv_destroy(sg_conv **conv) {
    if (conv == NULL || *conv == NULL) return;
    release_states(*conv);
    SG_FREE(*conv);
}

int sg_conv_set_support(sg_conv *conv, const sg_support *support) {
    release_states(conv);
    conv->support = *support;
    for (int kind = 0; kind < SG_CONV_PASSES; kind++) {
        conv->algorithm[kind] =
            sg_conv_choose(conv->machine, &conv->shape, support, (enum sg_conv_pass_kind)kind);
        SG_CHECK(conv->algorithm[kind]->name != NULL, SG_INTERNAL,
                 "no convolution algorithm for pass %d in the kernels for %s", kind, conv->machine->isa);
    }
    return SG_OK;
}

int sg_conv_prepare(sg_conv *conv, enum sg_conv_pass_kind kind, const float *weights, float *packed) {
    SG_TRY(make_state(conv, (int)kind));
    const sg_conv_algorithm *algorithm = conv->algorithm[kind];
    return algorithm->prepare == NULL ? SG_OK : SG_AT(algorithm->prepare(conv->state[kind], weights, packed));
}

static int check_tensor(const char *name, const sg_tensor *t, int blocks, int channels, int height, int width,
                        int halo) {
    SG_CHECK(t != NULL, SG_INTERNAL, "convolution pass without its tensor %s", name);
    SG_CHECK(t->channels == channels && t->height == height && t->width == width && t->blocks >= blocks &&
                 t->halo >= halo,
             SG_INTERNAL,
             "convolution tensor %s has %d blocks of %dx%d pixels, %d channels, halo %d; needed are %d "
             "blocks of %dx%d "
             "pixels, %d channels, halo %d",
             name, t->blocks, t->height, t->width, t->channels, t->halo, blocks, height, width, channels,
             halo);
    return SG_OK;
}

int sg_conv_run(sg_conv *conv, enum sg_conv_pass_kind kind, const sg_conv_pass *pass) {
    const sg_conv_shape *s = &conv->shape;
    bool packs = conv->algorithm[kind]->prepare != NULL;
    SG_CHECK(pass->scratch.own != NULL, SG_INTERNAL, "convolution pass %d runs without scratch", (int)kind);
    SG_CHECK(!packs || (pass->weights != NULL && pass->packed != NULL), SG_INTERNAL,
             "convolution pass %d runs without weights, or without what sg_conv_prepare makes of them",
             (int)kind);
    SG_TRY(make_state(conv, (int)kind));
    int blocks = pass->blocks;
    if (kind != SG_CONV_DATA_GRADIENT)
        SG_TRY(check_tensor("x", pass->x, blocks, s->in_channels, s->in_height, s->in_width,
                            sg_conv_input_halo(s)));
    if (kind == SG_CONV_FORWARD)
        SG_TRY(check_tensor("y", pass->y, blocks, s->out_channels, s->out_height, s->out_width, 0));
    else
        SG_TRY(check_tensor("dy", pass->dy, blocks, s->out_channels, s->out_height, s->out_width,
                            sg_conv_gradient_halo(s)));
    if (kind == SG_CONV_DATA_GRADIENT)
        SG_TRY(check_tensor("dx", pass->dx, blocks, s->in_channels, s->in_height, s->in_width, 0));
    if (kind == SG_CONV_WEIGHT_GRADIENT)
        SG_CHECK(pass->dw != NULL, SG_INTERNAL, "convolution weight gradient without dw");
    if (blocks == 0) {
        if (kind == SG_CONV_WEIGHT_GRADIENT) memset(pass->dw, 0, conv->support.count * sizeof *pass->dw);
        return SG_OK;
    }
    sg_conv_bytes takes = conv->algorithm[kind]->bytes(conv->machine, s, &conv->support, blocks);
    SG_CHECK(
        takes.shared <= pass->scratch.shared_bytes && takes.own <= pass->scratch.own_bytes, SG_INTERNAL,
        "convolution pass %d over %d blocks takes %zu bytes of scratch and %zu a thread; it has %zu and %zu",
        (int)kind, blocks, takes.shared, takes.own, pass->scratch.shared_bytes, pass->scratch.own_bytes);
    return conv->algorithm[kind]->run(conv->state[kind], pass);
}
