#include "tests/reference/check_conv.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "tests/reference/reference_conv.h"

/* Everything of one comparison; arrays are plain, tensors carry one block more than the pass may touch. */
typedef struct check {
    const sg_machine *machine;
    const sg_conv_algorithm *table;
    sg_conv_shape shape;
    sg_support support;
    int samples, blocks;
    uint64_t seed, digest;
    double tolerance, density;
    uint32_t draws;
    size_t weights, in_size, out_size;
    uint32_t *index;
    float *w, *bias, *x, *dy, *before;
    float *packed, *pass_memory; /* of the present pass */
    sg_conv_scratch scratch;     /* in pass_memory */
    double *w64, *bias64, *x64, *dy64;
    const double *want, *zero_bias_want; /* of the naive twins */
    char *message;
    size_t size;
} check;

static const float GARBAGE = 1234.5f;

static const char *const pass_names[SG_CONV_PASSES] = {"forward", "data gradient", "weight gradient"};

static int fail(check *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(check *k, const char *format, ...) {
    const sg_conv_shape *s = &k->shape;
    int used =
        snprintf(k->message, k->size,
                 "conv %d->%d groups %d kernel %dx%d stride %d padding %d on %dx%d, %d samples, density %g, "
                 "seed %llu, isa %s, lanes %d: ",
                 s->in_channels, s->out_channels, s->groups, s->kernel_height, s->kernel_width, s->stride,
                 s->padding, s->in_height, s->in_width, k->samples, k->density, (unsigned long long)k->seed,
                 k->machine->isa, k->machine->lanes);
    if (used < 0 || (size_t)used >= k->size) return 1;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(k->message + used, k->size - (size_t)used, format, arguments);
    va_end(arguments);
    return 1;
}

static uint32_t draw(check *k) {
    k->draws++;
    return sg_rng(k->seed, SG_RNG_TEST, k->draws, 0, 0).word[0];
}

static float draw_value(check *k) { return 2.0f * sg_uniform(draw(k)) - 1.0f; }

static void fill(check *k, float *values, double *doubles, size_t count) {
    for (size_t i = 0; i < count; i++) doubles[i] = values[i] = draw_value(k);
}

static void digest_bytes(check *k, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) k->digest = (k->digest ^ p[i]) * 1099511628211u;
}

/* A tensor of blocks + 1 blocks whose last block is a guard of GARBAGE. Unused lanes hold `unused`; without
 * nchw the interior is not a number, so that a result that still reads what it should overwrite shows. */
static int make_tensor(check *k, sg_tensor *t, int channels, int height, int width, int halo,
                       const float *nchw, float unused) {
    int lanes = k->machine->lanes;
    SG_TRY(sg_tensor_init(t, lanes, k->blocks + 1, channels, height, width, halo));
    if (nchw != NULL) sg_tensor_from_nchw(t, nchw, k->samples);
    for (int b = 0; b <= k->blocks; b++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < channels; c++)
                    for (int l = 0; l < lanes; l++)
                        if (b == k->blocks)
                            sg_tensor_at(t, b, y, x)[c * lanes + l] = GARBAGE;
                        else if (nchw == NULL)
                            sg_tensor_at(t, b, y, x)[c * lanes + l] = NAN;
                        else if (b * lanes + l >= k->samples)
                            sg_tensor_at(t, b, y, x)[c * lanes + l] = unused;
    return SG_OK;
}

/* Halo and pad rows zero, guard block untouched. Interiors are replaced by zero on the way. */
static int check_borders(check *k, const sg_tensor *t, const char *what) {
    size_t count = (size_t)t->blocks * t->block;
    float *copy;
    if (SG_NEW(&copy, count) != SG_OK) return fail(k, "%s", sg_error_message());
    memcpy(copy, t->base, count * sizeof *copy);
    int lanes = t->lanes, bad = 0;
    for (int b = 0; b < t->blocks; b++)
        for (int y = 0; y < t->height; y++)
            for (int x = 0; x < t->width; x++) {
                float *pixel = copy + (sg_tensor_at(t, b, y, x) - t->base);
                for (int i = 0; i < t->channels * lanes; i++) {
                    if (b == k->blocks && pixel[i] != GARBAGE && !bad)
                        bad = fail(
                            k,
                            "%s: block %d is behind pass->blocks but element %d of pixel (%d, %d) became %g",
                            what, b, i, y, x, (double)pixel[i]);
                    pixel[i] = 0.0f;
                }
            }
    for (size_t i = 0; i < count && !bad; i++)
        if (copy[i] != 0.0f)
            bad = fail(k, "%s: expected zero in halo and pad rows, float %zu of the allocation is %g", what,
                       i, (double)copy[i]);
    SG_FREE(copy);
    return bad;
}

static int compare(check *k, const char *what, const float *got, const double *want, size_t count,
                   double products) {
    double scale = sqrt(products < 1.0 ? 1.0 : products) / 3.0;
    for (size_t i = 0; i < count; i++) scale = fmax(scale, fabs(want[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= k->tolerance * scale))
            return fail(k, "%s: element %zu of %zu: expected %.9g, got %.9g, tolerance %g", what, i, count,
                        want[i], (double)got[i], k->tolerance * scale);
    return 0;
}

static int compare_tensor(check *k, const char *what, const sg_tensor *t, const double *want, size_t count,
                          double products, float *scratch) {
    sg_tensor_to_nchw(t, scratch, k->samples);
    if (compare(k, what, scratch, want, count, products)) return 1;
    if (check_borders(k, t, what)) return 1;
    digest_bytes(k, scratch, count * sizeof *scratch);
    return 0;
}

/* Lanes past the last sample: zero in a gradient, finite in an activation. */
static int check_unused_lanes(check *k, const sg_tensor *t, bool gradient, const char *what) {
    int lanes = t->lanes;
    for (int s = k->samples; s < k->blocks * lanes; s++)
        for (int y = 0; y < t->height; y++)
            for (int x = 0; x < t->width; x++)
                for (int c = 0; c < t->channels; c++) {
                    float value = sg_tensor_at(t, s / lanes, y, x)[c * lanes + s % lanes];
                    if (gradient ? value != 0.0f : !isfinite(value))
                        return fail(
                            k, "%s: expected %s in the unused lane %d, got %g at pixel (%d, %d), channel %d",
                            what, gradient ? "zero" : "a finite value", s % lanes, (double)value, y, x, c);
                }
    return 0;
}

static int call(check *k, int status, const char *what) {
    return status == SG_OK ? 0 : fail(k, "%s returned %d: %s", what, status, sg_error_message());
}

/* The results of a pass on one machine are kept here to be compared with those of another thread count. */
typedef struct output {
    sg_tensor first, second;
    float *dw;
} output;

static void release_output(output *o) {
    sg_tensor_release(&o->first);
    sg_tensor_release(&o->second);
    SG_FREE(o->dw);
}

/* A follower that keeps a digest of each band as it was when it was followed. */
typedef struct shadow {
    sg_follower follower; /* first member */
    const sg_tensor *tensor;
    uint64_t *digest; /* [block][band] */
    int *times;
} shadow;

static uint64_t digest_band(const sg_tensor *t, sg_bands bands, int block, int band) {
    uint64_t digest = 0;
    for (int row = band * bands.rows; row < sg_band_end(bands, band, t); row++)
        for (int column = 0; column < t->width; column++) {
            const float *pixel = sg_tensor_at(t, block, row, column);
            for (int i = 0; i < t->channels * t->lanes; i++) {
                uint32_t bits;
                memcpy(&bits, &pixel[i], sizeof bits);
                digest = digest * 0x9e3779b97f4a7c15u + bits;
            }
        }
    return digest;
}

static void keep_band(sg_follower *follower, int block, int band) {
    shadow *s = (shadow *)(void *)follower;
    int at = block * follower->bands.count + band;
    s->digest[at] = digest_band(s->tensor, follower->bands, block, band);
    s->times[at]++;
}

static int follow(check *k, shadow *s, const sg_tensor *t) {
    *s = (shadow){.tensor = t};
    size_t bands = (size_t)k->blocks * (size_t)sg_bands_of(t).count;
    int bad = call(k, sg_follower_begin(&s->follower, t, k->blocks), "making a follower") ||
              call(k, SG_NEW(&s->digest, bands), "making a follower") ||
              call(k, SG_NEW(&s->times, bands), "making a follower");
    s->follower.band = keep_band;
    return bad;
}

/* Every band was followed once, when it was complete, or not at all: then it says so. */
static int check_followed(check *k, shadow *s, const char *what) {
    int bad = 0, bands = s->follower.bands.count;
    for (int i = 0; i < k->blocks * bands && !bad; i++) {
        bool followed = sg_followed(&s->follower, i / bands, i % bands);
        if (s->times[i] != followed)
            bad = fail(k, "%s: band %d was followed %d times, said to be %d", what, i, s->times[i], followed);
        else if (followed && s->digest[i] != digest_band(s->tensor, s->follower.bands, i / bands, i % bands))
            bad = fail(k, "%s: band %d was followed before it was complete", what, i);
        else if (atomic_load(&s->follower.left[i]) > k->in_size + k->out_size)
            bad = fail(k, "%s: more than all of band %d was told of", what, i);
    }
    sg_follower_end(&s->follower);
    SG_FREE(s->digest);
    SG_FREE(s->times);
    return bad;
}

static int run_forward(check *k, const sg_conv_algorithm *a, void *state, output *o) {
    const sg_conv_shape *s = &k->shape;
    double products = k->density * (double)(s->in_channels / s->groups) * s->kernel_height * s->kernel_width;
    int halo = sg_conv_input_halo(s), out_halo = (int)(k->seed % 3), lanes = k->machine->lanes;
    sg_tensor x = {0};
    float *scratch = NULL;
    int bad =
        call(k,
             make_tensor(k, &x, s->in_channels, s->in_height, s->in_width, halo + (int)(k->seed % 2), k->x,
                         3.0f),
             "making x") ||
        call(k, make_tensor(k, &o->first, s->out_channels, s->out_height, s->out_width, out_halo, NULL, 0.0f),
             "making y") ||
        call(k, make_tensor(k, &o->second, s->out_channels, s->out_height, s->out_width, 0, NULL, 0.0f),
             "making y") ||
        call(k, SG_NEW(&scratch, (size_t)k->blocks * (size_t)lanes * k->out_size), "making scratch");
    sg_conv_pass with_bias = {.blocks = k->blocks,
                              .x = &x,
                              .y = &o->first,
                              .bias = k->bias,
                              .weights = k->w,
                              .packed = k->packed,
                              .scratch = k->scratch};
    sg_conv_pass without = with_bias;
    shadow kept = {0};
    without.y = &o->second;
    without.bias = NULL;
    bad = bad || follow(k, &kept, &o->first);
    with_bias.follower = &kept.follower;
    size_t count = (size_t)k->samples * k->out_size;
    bad =
        bad || call(k, a->run(state, &with_bias), "forward with bias") ||
        check_followed(k, &kept, "forward") || call(k, a->run(state, &without), "forward without bias") ||
        compare_tensor(k, "forward with bias", &o->first, k->want, count, products, scratch) ||
        compare_tensor(k, "forward without bias", &o->second, k->zero_bias_want, count, products, scratch) ||
        check_unused_lanes(k, &o->first, false, "forward");
    SG_FREE(scratch);
    sg_tensor_release(&x);
    return bad;
}

static int run_data_gradient(check *k, const sg_conv_algorithm *a, void *state, output *o) {
    const sg_conv_shape *s = &k->shape;
    double products = k->density * (double)(s->out_channels / s->groups) * s->kernel_height * s->kernel_width;
    int halo = sg_conv_gradient_halo(s), in_halo = (int)(k->seed % 3), lanes = k->machine->lanes;
    size_t count = (size_t)k->samples * k->in_size;
    sg_tensor dy = {0};
    float *scratch = NULL, *before = NULL;
    double *sum = NULL;
    int bad = call(k, SG_NEW(&scratch, (size_t)k->blocks * (size_t)lanes * k->in_size), "making scratch") ||
              call(k, SG_NEW(&before, count), "making scratch") ||
              call(k, SG_NEW(&sum, count), "making scratch");
    for (size_t i = 0; i < count && !bad; i++) {
        before[i] = k->before[i];
        sum[i] = k->want[i] + (double)before[i];
    }
    bad = bad ||
          call(k,
               make_tensor(k, &dy, s->out_channels, s->out_height, s->out_width, halo + (int)(k->seed % 2),
                           k->dy, 0.0f),
               "making dy") ||
          call(k, make_tensor(k, &o->first, s->in_channels, s->in_height, s->in_width, in_halo, NULL, 0.0f),
               "making dx") ||
          call(k, make_tensor(k, &o->second, s->in_channels, s->in_height, s->in_width, 0, before, 0.0f),
               "making dx");
    sg_conv_pass overwrite = {.blocks = k->blocks,
                              .dy = &dy,
                              .dx = &o->first,
                              .weights = k->w,
                              .packed = k->packed,
                              .scratch = k->scratch};
    sg_conv_pass add = overwrite;
    add.dx = &o->second;
    add.accumulate = true;
    shadow kept = {0};
    bad = bad || follow(k, &kept, &o->second);
    add.follower = &kept.follower;
    bad = bad || call(k, a->run(state, &overwrite), "data gradient") ||
          call(k, a->run(state, &add), "accumulating data gradient") ||
          check_followed(k, &kept, "data gradient") ||
          compare_tensor(k, "data gradient", &o->first, k->want, count, products, scratch) ||
          compare_tensor(k, "accumulating data gradient", &o->second, sum, count, products, scratch) ||
          check_unused_lanes(k, &o->first, true, "data gradient") ||
          check_unused_lanes(k, &o->second, true, "accumulating data gradient");
    SG_FREE(scratch);
    SG_FREE(before);
    SG_FREE(sum);
    sg_tensor_release(&dy);
    return bad;
}

static int run_weight_gradient(check *k, const sg_conv_algorithm *a, void *state, output *o) {
    const sg_conv_shape *s = &k->shape;
    size_t count = k->support.index != NULL ? k->support.count : k->weights;
    sg_tensor x = {0}, dy = {0};
    double *want = NULL;
    int bad = call(k, SG_NEW(&o->dw, count + 1), "making dw") ||
              call(k, SG_NEW(&want, count + 1), "making scratch") ||
              call(k,
                   make_tensor(k, &x, s->in_channels, s->in_height, s->in_width,
                               sg_conv_input_halo(s) + (int)(k->seed % 2), k->x, 3.0f),
                   "making x") ||
              call(k,
                   make_tensor(k, &dy, s->out_channels, s->out_height, s->out_width,
                               sg_conv_gradient_halo(s) + (int)(k->seed % 2), k->dy, 0.0f),
                   "making dy");
    for (size_t i = 0; i <= count && !bad; i++) o->dw[i] = GARBAGE;
    for (size_t i = 0; i < count && !bad; i++)
        want[i] = k->want[k->support.index != NULL ? k->support.index[i] : i];
    sg_conv_pass pass = {.blocks = k->blocks, .x = &x, .dy = &dy, .dw = o->dw, .scratch = k->scratch};
    bad =
        bad || call(k, a->run(state, &pass), "weight gradient") ||
        call(k, a->run(state, &pass), "weight gradient") ||
        compare(k, "weight gradient", o->dw, want, count, (double)k->samples * s->out_height * s->out_width);
    if (!bad && o->dw[count] != GARBAGE) bad = fail(k, "weight gradient: wrote behind its %zu sums", count);
    if (!bad) digest_bytes(k, o->dw, count * sizeof(float));
    SG_FREE(want);
    sg_tensor_release(&x);
    sg_tensor_release(&dy);
    return bad;
}

/* What memory holds that nobody has written: it must not matter, and one float behind it must stay. */
static int make_garbage(float **memory, size_t bytes) {
    size_t count = bytes / sizeof(float) + 1;
    SG_TRY(SG_NEW(memory, count));
    for (size_t i = 0; i < count; i++) (*memory)[i] = i + 1 < count ? NAN : GARBAGE;
    return SG_OK;
}

static bool is_broken(const float *memory, size_t bytes) {
    return memory != NULL && memory[bytes / sizeof(float)] != GARBAGE;
}

/* Scratch with a gap behind each piece, and garbage in it. */
static int make_scratch(check *k, const sg_conv_bytes *bytes, int threads) {
    enum { GAP = 1024 };
    size_t shared = (bytes->shared / GAP + 2) * GAP, own = (bytes->own / GAP + 2) * GAP;
    if (call(k, make_garbage(&k->pass_memory, shared + (size_t)threads * own), "making scratch")) return 1;
    k->scratch = (sg_conv_scratch){.shared = k->pass_memory,
                                   .own = k->pass_memory + shared / sizeof(float),
                                   .step = own / sizeof(float)};
    k->scratch.shared[bytes->shared / sizeof(float)] = GARBAGE;
    for (int t = 0; t < threads; t++) sg_conv_own(&k->scratch, t)[bytes->own / sizeof(float)] = GARBAGE;
    return 0;
}

static bool is_scratch_broken(const check *k, const sg_conv_bytes *bytes, int threads) {
    bool broken = is_broken(k->scratch.shared, bytes->shared);
    for (int t = 0; t < threads; t++) broken = broken || is_broken(sg_conv_own(&k->scratch, t), bytes->own);
    return broken;
}

/* One pass with a given number of threads. */
static int run_pass(check *k, enum sg_conv_pass_kind kind, const sg_machine *machine, output *o) {
    const sg_conv_algorithm *a = &k->table[kind];
    void *state = NULL;
    if (call(k, a->create(&state, machine, &k->shape, &k->support), "create")) return 1;
    sg_conv_bytes bytes = a->bytes(machine, &k->shape, &k->support, k->blocks);
    int bad = call(k, make_garbage(&k->packed, bytes.packed), "making packed weights") ||
              make_scratch(k, &bytes, machine->threads);
    if (!bad && a->prepare != NULL) {
        float *old;
        bad = call(k, SG_NEW(&old, k->weights), "making weights");
        for (size_t i = 0; i < k->weights && !bad; i++) old[i] = 2.0f * k->w[i];
        bad = bad || call(k, a->prepare(state, old, k->packed), "prepare") ||
              call(k, a->prepare(state, k->w, k->packed), "prepare");
        SG_FREE(old);
    }
    if (!bad)
        bad = kind == SG_CONV_FORWARD         ? run_forward(k, a, state, o)
              : kind == SG_CONV_DATA_GRADIENT ? run_data_gradient(k, a, state, o)
                                              : run_weight_gradient(k, a, state, o);
    a->destroy(&state);
    if (!bad && (is_broken(k->packed, bytes.packed) || is_scratch_broken(k, &bytes, machine->threads)))
        bad = fail(k, "%s: wrote behind its memory", pass_names[kind]);
    SG_FREE(k->packed);
    SG_FREE(k->pass_memory);
    if (!bad && state != NULL) bad = fail(k, "%s: destroy must clear the pointer", pass_names[kind]);
    return bad;
}

static bool same_tensor(const sg_tensor *a, const sg_tensor *b) {
    return a->base == NULL || memcmp(a->base, b->base, (size_t)a->blocks * a->block * sizeof(float)) == 0;
}

static int check_pass(check *k, enum sg_conv_pass_kind kind) {
    sg_machine one = *k->machine, many = *k->machine;
    one.threads = 1;
    many.threads = 2 + (int)(k->seed % 5);
    output with_one = {0}, with_many = {0};
    uint64_t digest = k->digest;
    int bad = run_pass(k, kind, &one, &with_one);
    uint64_t after_one = k->digest;
    k->digest = digest;
    bad = bad || run_pass(k, kind, &many, &with_many);
    if (!bad && (!same_tensor(&with_one.first, &with_many.first) ||
                 !same_tensor(&with_one.second, &with_many.second) || k->digest != after_one))
        bad = fail(k, "%s: expected the same bits with 1 and %d threads", pass_names[kind], many.threads);
    release_output(&with_one);
    release_output(&with_many);
    return bad;
}

static int make_data(check *k) {
    const sg_conv_shape *s = &k->shape;
    size_t in = (size_t)k->samples * k->in_size, out = (size_t)k->samples * k->out_size;
    size_t channels = (size_t)s->out_channels;
    SG_TRY(SG_NEW(&k->index, k->weights));
    SG_TRY(SG_NEW(&k->w, k->weights));
    SG_TRY(SG_NEW(&k->w64, k->weights));
    SG_TRY(SG_NEW(&k->bias, channels));
    SG_TRY(SG_NEW(&k->bias64, channels));
    SG_TRY(SG_NEW(&k->x, in));
    SG_TRY(SG_NEW(&k->x64, in));
    SG_TRY(SG_NEW(&k->before, in));
    SG_TRY(SG_NEW(&k->dy, out));
    SG_TRY(SG_NEW(&k->dy64, out));
    fill(k, k->x, k->x64, in);
    fill(k, k->dy, k->dy64, out);
    fill(k, k->w, k->w64, k->weights);
    fill(k, k->bias, k->bias64, channels);
    for (size_t i = 0; i < in; i++) k->before[i] = draw_value(k);
    if (k->density >= 1.0) return SG_OK;
    for (size_t i = 0; i < k->weights; i++)
        if ((double)sg_uniform(draw(k)) < k->density)
            k->index[k->support.count++] = (uint32_t)i;
        else
            k->w64[i] = k->w[i] = 0.0f;
    k->support.index = k->index;
    return SG_OK;
}

static void release_data(check *k) {
    float *floats[] = {k->w, k->bias, k->x, k->before, k->dy};
    double *doubles[] = {k->w64, k->bias64, k->x64, k->dy64};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) SG_FREE(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) SG_FREE(doubles[i]);
    SG_FREE(k->index);
}

/* What the naive twins gave for the last case, which is checked on one machine after the other; NULL: not
 * asked yet. */
static struct {
    sg_conv_shape shape;
    int samples;
    double density;
    uint64_t seed;
    double *pass[SG_CONV_PASSES], *zero_bias;
} known;

static void forget(void) {
    for (int kind = 0; kind < SG_CONV_PASSES; kind++) SG_FREE(known.pass[kind]);
    SG_FREE(known.zero_bias);
}

static bool is_known(const check *k) {
    return memcmp(&known.shape, &k->shape, sizeof known.shape) == 0 && known.samples == k->samples &&
           memcmp(&known.density, &k->density, sizeof known.density) == 0 && known.seed == k->seed;
}

static int ask_twins(check *k, enum sg_conv_pass_kind kind) {
    const sg_conv_shape *s = &k->shape;
    size_t in = (size_t)k->samples * k->in_size, out = (size_t)k->samples * k->out_size;
    size_t count = kind == SG_CONV_FORWARD ? out : kind == SG_CONV_DATA_GRADIENT ? in : k->weights;
    if (!is_known(k)) {
        forget();
        known.shape = *s;
        known.samples = k->samples;
        known.density = k->density;
        known.seed = k->seed;
    }
    if (known.pass[kind] == NULL) {
        SG_TRY(SG_NEW(&known.pass[kind], count));
        if (kind == SG_CONV_FORWARD) {
            SG_TRY(SG_NEW(&known.zero_bias, count));
            sg_ref_conv_forward(s, k->samples, k->x64, k->w64, k->bias64, known.pass[kind]);
            sg_ref_conv_forward(s, k->samples, k->x64, k->w64, NULL, known.zero_bias);
        } else if (kind == SG_CONV_DATA_GRADIENT) {
            sg_ref_conv_data_gradient(s, k->samples, k->dy64, k->w64, known.pass[kind]);
        } else {
            sg_ref_conv_weight_gradient(s, k->samples, k->x64, k->dy64, known.pass[kind], NULL);
        }
    }
    k->want = known.pass[kind];
    k->zero_bias_want = known.zero_bias;
    return SG_OK;
}

int sg_check_conv_digest(const sg_machine *machine, const sg_conv_algorithm table[SG_CONV_PASSES],
                         const sg_conv_shape *shape, int samples, double density, uint64_t seed,
                         double tolerance, uint64_t *digest, char *message, size_t size) {
    check k = {.machine = machine,
               .table = table,
               .shape = *shape,
               .samples = samples,
               .density = density,
               .seed = seed,
               .tolerance = tolerance,
               .message = message,
               .size = size};
    k.blocks = (samples + machine->lanes - 1) / machine->lanes;
    k.digest = 14695981039346656037u;
    k.weights = (size_t)shape->out_channels * (size_t)(shape->in_channels / shape->groups) *
                (size_t)shape->kernel_height * (size_t)shape->kernel_width;
    k.in_size = (size_t)shape->in_channels * (size_t)shape->in_height * (size_t)shape->in_width;
    k.out_size = (size_t)shape->out_channels * (size_t)shape->out_height * (size_t)shape->out_width;
    int bad = call(&k, make_data(&k), "making data");
    for (int kind = 0; kind < SG_CONV_PASSES && !bad; kind++) {
        if (table[kind].name == NULL || !table[kind].supports(machine, shape)) continue;
        bad = call(&k, ask_twins(&k, (enum sg_conv_pass_kind)kind), "asking the naive twins") ||
              check_pass(&k, (enum sg_conv_pass_kind)kind);
    }
    release_data(&k);
    if (digest != NULL) *digest = k.digest;
    return bad;
}

int sg_check_conv_algorithm(const sg_machine *machine, const sg_conv_algorithm table[SG_CONV_PASSES],
                            const sg_conv_shape *shape, int samples, double density, uint64_t seed,
                            double tolerance, char *message, size_t size) {
    return sg_check_conv_digest(machine, table, shape, samples, density, seed, tolerance, NULL, message,
                                size);
}

uint64_t sg_check_conv_seeds(uint64_t count) {
    return getenv("SIGNET_TEST_BRIEF") == NULL ? count : (count + 5) / 6;
}

sg_conv_shape sg_check_conv_shape(int in_channels, int out_channels, int groups, int kernel_height,
                                  int kernel_width, int stride, int padding, int in_height, int in_width) {
    return (sg_conv_shape){.in_channels = in_channels,
                           .out_channels = out_channels,
                           .groups = groups,
                           .kernel_height = kernel_height,
                           .kernel_width = kernel_width,
                           .stride = stride,
                           .padding = padding,
                           .in_height = in_height,
                           .in_width = in_width,
                           .out_height = (in_height + 2 * padding - kernel_height) / stride + 1,
                           .out_width = (in_width + 2 * padding - kernel_width) / stride + 1};
}
