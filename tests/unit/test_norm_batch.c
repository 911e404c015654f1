/* Batch norm: every variant against the double twin, and bits that depend on nothing but the input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/pixel_sums.h"
#include "kernels/tree.h"
#include "tests/reference/layer_fixture.h"

/* Tolerances, relative to the largest magnitude of the tensor (at least 1). Forward: the float mean and
 * inverse and three operations, about 5e-7. Backward: the same with means of products. dgamma and dbeta are
 * sums of n terms near 1 with parts in float lanes: their rounding grows like sqrt(n) ulp. */
enum { NONE, RESIDUAL, ACCUMULATED };
enum { IN_PLACE, APART, ADDED, PLACES }; /* where dx goes */
#define FORWARD_TOLERANCE 2e-6
#define BACKWARD_TOLERANCE 5e-6
#define SUM_TOLERANCE(n) fmax(2e-6, 2e-7 * sqrt((double)(n)))

typedef struct parameters {
    double *gamma, *beta, *mean, *variance, *dgamma, *dbeta; /* the twin's */
    sg_norm_batch n;
} parameters;

static parameters make_parameters(layer_run *run, int channels, enum sg_activation activation) {
    size_t c = (size_t)channels;
    parameters p = {.gamma = layer_random(run, c, 1, 0.5),
                    .beta = layer_random(run, c, 0, 0.5),
                    .mean = layer_zeros(run, c),
                    .variance = layer_zeros(run, c),
                    .dgamma = layer_zeros(run, c),
                    .dbeta = layer_zeros(run, c)};
    p.n = (sg_norm_batch){.gamma = layer_floats(run, p.gamma, c),
                          .beta = layer_floats(run, p.beta, c),
                          .mean = layer_floats(run, NULL, c),
                          .inverse = layer_floats(run, NULL, c),
                          .variance = layer_zeros(run, c),
                          .mean64 = layer_zeros(run, c),
                          .dgamma = layer_floats(run, NULL, c),
                          .dbeta = layer_floats(run, NULL, c),
                          .epsilon = 1e-5,
                          .activation = activation};
    return p;
}

static void one_shape(layer_run *run, ref_shape s, enum sg_activation activation, int residual_mode,
                      int place) {
    size_t count = ref_count(s), channels = (size_t)s.channels;
    parameters p = make_parameters(run, s.channels, activation);
    double *x = layer_random(run, count, 0.3, 1.7), *dy = layer_random(run, count, 0, 1);
    double *residual = residual_mode ? layer_random(run, count, 0, 1) : NULL;
    double *before = residual_mode == ACCUMULATED ? layer_random(run, count, 0, 1) : layer_zeros(run, count);
    double *y = layer_zeros(run, count);
    double *dx = place == ADDED ? layer_random(run, count, 0, 1) : layer_zeros(run, count);
    ref_norm_batch_forward(s, x, p.gamma, p.beta, residual, activation, 1e-5, p.mean, p.variance, y);

    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 0, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 1, NULL, 0);
    sg_tensor *tdy = layer_tensor(run, s, 1, dy, LAYER_GRADIENT), *tdr = layer_tensor(run, s, 1, before, 0);
    sg_tensor *tdx = place == IN_PLACE ? tdy
                     : place == ADDED  ? layer_tensor(run, s, 0, dx, LAYER_GRADIENT)
                                       : layer_tensor(run, s, 0, NULL, 5);
    sg_tensor *r = residual_mode ? layer_tensor(run, s, 2, residual, LAYER_ACTIVATION) : NULL;
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, tx, &p.n, NULL), SG_OK);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, r, ty, &p.n), SG_OK);
    for (size_t c = 0; c < channels; c++) {
        if (fabs(p.n.mean64[c] - p.mean[c]) > 1e-6 * fmax(1, fabs(p.mean[c])))
            fail_msg("mean of channel %zu is %.12g, expected %.12g", c, p.n.mean64[c], p.mean[c]);
        if (fabs(p.n.variance[c] - p.variance[c]) > 1e-6 * fmax(1, p.variance[c]))
            fail_msg("variance of channel %zu is %.12g, expected %.12g", c, p.n.variance[c], p.variance[c]);
    }
    layer_check(run, "y", ty, s, y, FORWARD_TOLERANCE, false);

    ref_norm_batch_backward(s, x, p.gamma, p.beta, residual, activation, 1e-5, dy, dx, before, p.dgamma,
                            p.dbeta);
    assert_int_equal(run->k->norm_batch_backward(run->m, &extent, tx, ty, r, tdy, tdx, place == ADDED,
                                                 residual_mode ? tdr : NULL, residual_mode == ACCUMULATED,
                                                 &p.n, NULL),
                     SG_OK);
    layer_check(run, "dx", tdx, s, dx, BACKWARD_TOLERANCE, true);
    if (residual_mode) layer_check(run, "dresidual", tdr, s, before, BACKWARD_TOLERANCE, true);
    double tolerance = SUM_TOLERANCE((size_t)s.samples * ref_pixels(s));
    layer_check_floats(run, "dgamma", p.n.dgamma, channels, p.dgamma, tolerance);
    layer_check_floats(run, "dbeta", p.n.dbeta, channels, p.dbeta, tolerance);
}

/* A tensor is told of in pieces, by threads that share bands: some of a row's values at a time, but the last
 * block's last row. */
static void tell_in_pieces(sg_pixel_sums *sums, const sg_tensor *t, int blocks) {
    const size_t row = (size_t)t->width * (size_t)t->channels;
#pragma omp parallel for num_threads(3) schedule(dynamic)
    for (int i = 0; i < blocks * t->height; i++) {
        if (i == blocks * t->height - 1) continue;
        for (size_t told = 0, piece; told < row; told += piece) {
            piece = row - told < 3 ? row - told : 3;
            sg_follow(&sums->follower, i / t->height, i % t->height, piece);
        }
    }
}

static void follow_shape(layer_run *run, ref_shape s, enum sg_activation activation, bool joined) {
    size_t count = ref_count(s), channels = (size_t)s.channels;
    parameters alone = make_parameters(run, s.channels, activation), followed = alone;
    float **filled[] = {&followed.n.mean, &followed.n.inverse, &followed.n.dgamma, &followed.n.dbeta};
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++)
        *filled[i] = layer_floats(run, NULL, channels);
    followed.n.mean64 = layer_zeros(run, channels);
    followed.n.variance = layer_zeros(run, channels);
    double *x = layer_random(run, count, 0.3, 1.7), *dy = layer_random(run, count, 0, 1);
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 0, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 1, NULL, 0);
    sg_tensor *tdy = layer_tensor(run, s, 1, dy, LAYER_GRADIENT);
    sg_tensor *r = NULL, *dr = joined ? layer_tensor(run, s, 0, NULL, 0) : NULL;
    if (joined) r = layer_tensor(run, s, 2, layer_random(run, count, 0, 1), LAYER_ACTIVATION);
    sg_tensor *dx[2] = {layer_tensor(run, s, 0, NULL, 0), layer_tensor(run, s, 0, NULL, 0)};
    sg_pixel_sums *sums;

    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, tx, &alone.n, NULL), SG_OK);
    assert_int_equal(run->k->norm_batch_follow(&sums, &extent, tx), SG_OK);
    tell_in_pieces(sums, tx, extent.blocks);
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, tx, &followed.n, sums), SG_OK);
    assert_memory_equal(alone.n.mean64, followed.n.mean64, channels * sizeof(double));
    assert_memory_equal(alone.n.variance, followed.n.variance, channels * sizeof(double));

    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, r, ty, &alone.n), SG_OK);
    assert_int_equal(
        run->k->norm_batch_backward(run->m, &extent, tx, ty, r, tdy, dx[0], false, dr, false, &alone.n, NULL),
        SG_OK);
    assert_int_equal(run->k->norm_batch_follow_gradient(&sums, &extent, tx, ty, r, tdy, &followed.n), SG_OK);
    tell_in_pieces(sums, tdy, extent.blocks);
    assert_int_equal(run->k->norm_batch_backward(run->m, &extent, tx, ty, r, tdy, dx[1], false, dr, false,
                                                 &followed.n, sums),
                     SG_OK);
    assert_memory_equal(alone.n.dgamma, followed.n.dgamma, channels * sizeof(float));
    assert_memory_equal(alone.n.dbeta, followed.n.dbeta, channels * sizeof(float));
    assert_memory_equal(dx[0]->data, dx[1]->data, (size_t)extent.blocks * dx[0]->block * sizeof(float));
}

static void followed_sums(layer_run *run) {
    static const ref_shape some[] = {{33, 70, 5, 7}, {16, 3, 3, 70}, {5, 64, 1, 1}, {40, 8, 9, 32}};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        for (int kind = SG_IDENTITY; kind <= SG_SWISH; kind++)
            follow_shape(run, some[i], (enum sg_activation)kind, i % 2);
}

static const ref_shape shapes[] = {
    {33, 3, 5, 7}, {16, 35, 3, 3}, {5, 64, 1, 1}, {17, 1, 2, 70}, {32, 8, 9, 4}};

static void without_residual(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = SG_IDENTITY; kind <= SG_SWISH; kind++)
            one_shape(run, shapes[i], (enum sg_activation)kind, NONE, (int)(i + (size_t)kind) % PLACES);
}

static void with_residual(layer_run *run) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = SG_IDENTITY; kind <= SG_SWISH; kind++)
            one_shape(run, shapes[i], (enum sg_activation)kind, i % 2 ? RESIDUAL : ACCUMULATED,
                      (int)(i + (size_t)kind) % PLACES);
}

/* Mean 1000, standard deviation 1: E[x^2] - E[x]^2 in float would give nothing but noise. The output's error
 * is that of the mean's rounding to float, 3e-5. */
static void large_mean(layer_run *run) {
    ref_shape s = {33, 5, 6, 6};
    parameters p = make_parameters(run, s.channels, SG_IDENTITY);
    double *x = layer_random(run, ref_count(s), 1000, 1), *y = layer_zeros(run, ref_count(s));
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 0, NULL, 0);
    ref_norm_batch_forward(s, x, p.gamma, p.beta, NULL, SG_IDENTITY, 1e-5, p.mean, p.variance, y);
    assert_int_equal(run->k->norm_batch_statistics(run->m, &extent, tx, &p.n, NULL), SG_OK);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, NULL, ty, &p.n), SG_OK);
    for (int c = 0; c < s.channels; c++) {
        if (fabs(p.n.mean64[c] - p.mean[c]) > 1e-7)
            fail_msg("mean of channel %d is %.12g, expected %.12g", c, p.n.mean64[c], p.mean[c]);
        if (fabs(p.n.variance[c] - p.variance[c]) > 1e-6)
            fail_msg("variance of channel %d is %.12g, expected %.12g", c, p.n.variance[c], p.variance[c]);
    }
    layer_check(run, "y", ty, s, y, 2e-5, false);
}

/* Evaluation reads the statistics that it is given. */
static void given_statistics(layer_run *run) {
    ref_shape s = {19, 9, 3, 4};
    parameters p = make_parameters(run, s.channels, SG_RELU);
    double *x = layer_random(run, ref_count(s), 0, 1), *y = layer_zeros(run, ref_count(s));
    sg_extent extent = layer_extent(run, s.samples);
    sg_tensor *tx = layer_tensor(run, s, 1, x, LAYER_ACTIVATION), *ty = layer_tensor(run, s, 0, NULL, 0);
    for (int c = 0; c < s.channels; c++) {
        p.n.mean[c] = 0.25f * (float)c, p.mean[c] = p.n.mean[c];
        p.variance[c] = 1 + 0.5 * c, p.n.inverse[c] = (float)(1 / sqrt(p.variance[c] + 1e-5));
    }
    ref_norm_batch_evaluate(s, x, p.gamma, p.beta, NULL, SG_RELU, 1e-5, p.mean, p.variance, y);
    assert_int_equal(run->k->norm_batch_forward(run->m, &extent, tx, NULL, ty, &p.n), SG_OK);
    layer_check(run, "y", ty, s, y, FORWARD_TOLERANCE, false);
}

/* ---- ranks, played one after the other */

/* What the ranks of one minibatch hand to combine. While recording it is kept; then the records are combined
 * as reduce.h says and every rank gets the result. */
typedef struct stage {
    char *record[4];
    int rank, size;
    bool recording;
} stage;

static int play_combine(void *context, void *data, size_t count, size_t element, sg_combine combine,
                        int blocks) {
    stage *s = context;
    size_t bytes = count * element;
    if (s->recording) {
        s->record[s->rank] = realloc(s->record[s->rank], bytes);
        assert_non_null(s->record[s->rank]);
        memcpy(s->record[s->rank], data, bytes);
        return SG_OK;
    }
    if (s->rank == 0)
        for (int distance = s->size / 2; distance > 0; distance /= 2)
            for (int r = 0; r < distance && r + distance < blocks; r++)
                combine(s->record[r], s->record[r + distance], count);
    memcpy(data, s->record[0], bytes);
    return SG_OK;
}

/* Runs f(run, rank's extent, context) on every rank twice: to record, to combine. */
typedef void (*rank_work)(layer_run *run, const sg_extent *extent, void *context);
static void on_ranks(layer_run *run, int samples, int size, rank_work work, void *context) {
    stage s = {.size = size};
    int global = layer_blocks(run, samples);
    for (int pass = 0; pass < 2; pass++)
        for (int rank = 0; rank < size; rank++) {
            sg_reduce reduce = {.context = &s, .rank = rank, .size = size, .combine = play_combine};
            sg_extent extent = {.blocks = sg_tree_local_blocks(global, rank, size),
                                .samples = samples,
                                .global_blocks = global,
                                .reduce = &reduce};
            s.rank = rank, s.recording = pass == 0;
            work(run, &extent, context);
        }
    for (int rank = 0; rank < size; rank++) free(s.record[rank]);
}

/* The minibatch as a whole, and each rank's blocks of it. */
typedef struct dealt {
    ref_shape s;
    double *x, *dy;
    parameters p[4];
    sg_tensor *tx[4], *tdy[4], *tdx[4];
} dealt;

static void deal_rank(layer_run *run, dealt *d, int size, int rank) {
    int lanes = run->m->lanes, global = layer_blocks(run, d->s.samples);
    int local = sg_tree_local_blocks(global, rank, size);
    size_t each = ref_count(d->s) / (size_t)d->s.samples;
    ref_shape own = d->s;
    own.samples = 0;
    for (int j = 0; j < local; j++) own.samples += sg_tree_block_samples(d->s.samples, lanes, j, rank, size);
    double *x = layer_zeros(run, ref_count(own)), *dy = layer_zeros(run, ref_count(own));
    for (int n = 0; n < own.samples; n++) {
        size_t from = (size_t)((n / lanes * size + rank) * lanes + n % lanes) * each;
        memcpy(x + (size_t)n * each, d->x + from, each * sizeof *x);
        memcpy(dy + (size_t)n * each, d->dy + from, each * sizeof *dy);
    }
    d->tx[rank] = layer_tensor(run, own, 0, x, LAYER_ACTIVATION);
    d->tdy[rank] = layer_tensor(run, own, 1, dy, LAYER_GRADIENT);
    d->tdx[rank] = layer_tensor(run, own, 0, NULL, 5);
    d->p[rank] = d->p[0];
    size_t c = (size_t)d->s.channels;
    sg_norm_batch *n = &d->p[rank].n;
    n->mean = layer_floats(run, NULL, c), n->inverse = layer_floats(run, NULL, c);
    n->variance = layer_zeros(run, c), n->mean64 = layer_zeros(run, c);
    n->dgamma = layer_floats(run, NULL, c), n->dbeta = layer_floats(run, NULL, c);
}

static void rank_statistics(layer_run *run, const sg_extent *extent, void *context) {
    dealt *d = context;
    int rank = extent->reduce->rank;
    assert_int_equal(run->k->norm_batch_statistics(run->m, extent, d->tx[rank], &d->p[rank].n, NULL), SG_OK);
}

static void rank_backward(layer_run *run, const sg_extent *extent, void *context) {
    dealt *d = context;
    int rank = extent->reduce->rank;
    assert_int_equal(run->k->norm_batch_backward(run->m, extent, d->tx[rank], NULL, NULL, d->tdy[rank],
                                                 d->tdx[rank], false, NULL, false, &d->p[rank].n, NULL),
                     SG_OK);
}

static void same_bits_on(layer_run *run, ref_shape s, int size) {
    size_t c = (size_t)s.channels;
    dealt one = {
        .s = s, .x = layer_random(run, ref_count(s), 0.3, 2), .dy = layer_random(run, ref_count(s), 0, 1)};
    one.p[0] = make_parameters(run, s.channels, SG_RELU);
    dealt many = one;
    deal_rank(run, &one, 1, 0);
    for (int rank = 0; rank < size; rank++) deal_rank(run, &many, size, rank);
    on_ranks(run, s.samples, 1, rank_statistics, &one);
    on_ranks(run, s.samples, size, rank_statistics, &many);
    on_ranks(run, s.samples, 1, rank_backward, &one);
    on_ranks(run, s.samples, size, rank_backward, &many);
    for (int rank = 0; rank < size; rank++) {
        const sg_norm_batch *a = &one.p[0].n, *b = &many.p[rank].n;
        assert_memory_equal(a->mean64, b->mean64, c * sizeof *a->mean64);
        assert_memory_equal(a->variance, b->variance, c * sizeof *a->variance);
        assert_memory_equal(a->inverse, b->inverse, c * sizeof *a->inverse);
        assert_memory_equal(a->dgamma, b->dgamma, c * sizeof *a->dgamma);
        assert_memory_equal(a->dbeta, b->dbeta, c * sizeof *a->dbeta);
        for (int j = 0; j < many.tdx[rank]->blocks; j++)
            assert_memory_equal(sg_tensor_at(one.tdx[0], j * size + rank, 0, 0),
                                sg_tensor_at(many.tdx[rank], j, 0, 0), one.tdx[0]->block * sizeof(float));
    }
}

/* Five blocks of 16 or three of 32, the last partly filled; four ranks, of which one may have no block. */
static void ranks(layer_run *run) {
    ref_shape s = {70, 5, 3, 4};
    same_bits_on(run, s, 2);
    same_bits_on(run, s, 4);
}
static void ranks_change_no_bits(void **state) { (void)state, layer_on_every_variant(ranks); }

LAYER_TESTS(without_residual)
LAYER_TESTS(with_residual)
LAYER_TESTS(large_mean)
LAYER_TESTS(given_statistics)

/* An output of over 16 MiB, which is stored past the caches. */
static void large_output(layer_run *run) {
    one_shape(run, (ref_shape){16, 9, 200, 150}, SG_RELU6, RESIDUAL, APART);
}
static void following_changes_no_bits(void **state) { (void)state, layer_on_every_variant(followed_sums); }
static void large_outputs_match_twin(void **state) { (void)state, layer_on_every_variant(large_output); }

int main(void) {
    const struct CMUnitTest tests[] = {
        LAYER_UNITS(without_residual),
        LAYER_UNITS(with_residual),
        LAYER_UNITS(large_mean),
        LAYER_UNITS(given_statistics),
        cmocka_unit_test(ranks_change_no_bits),
        cmocka_unit_test(large_outputs_match_twin),
        cmocka_unit_test(following_changes_no_bits),
    };
    return cmocka_run_group_tests_name("norm_batch", tests, NULL, NULL);
}
