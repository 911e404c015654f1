/* SGD and Adam: PyTorch's numbers, a double twin over many steps, pruned weights, frozen signs, threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/optimizer.h"
#include "kernels/rng.h"

static const sg_optimizer_options sgd = {.kind = SG_SGD, .momentum = 0.9, .weight_decay = 5e-4};
static const sg_optimizer_options adam = {
    .kind = SG_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 1e-2};

/* Two parameters, the first with every third value pruned, the second dense. */
typedef struct model {
    sg_net net;
    sg_param param[2];
    sg_weights weights;
    sg_support support[2];
    size_t offset[2];
    sg_survivors survivors;
    sg_machine machine;
    float *gradient;
} model;

static float random_value(uint32_t at, uint32_t step) {
    return sg_uniform(sg_rng(5, SG_RNG_TEST, at, step, 0).word[0]) - 0.5f;
}

static model *model_create(size_t first, size_t second, int threads) {
    model *m;
    uint32_t *index;
    assert_int_equal(SG_NEW(&m, 1), SG_OK);
    m->param[0].count = first, m->param[1].count = second, m->param[1].offset = first;
    m->net = (sg_net){.param = m->param, .params = 2, .values = first + second};
    m->weights.net = &m->net;
    m->machine.threads = threads;
    assert_int_equal(SG_NEW(&m->weights.values, first + second), SG_OK);
    assert_int_equal(SG_NEW(&index, first), SG_OK);
    size_t kept = 0;
    for (uint32_t i = 0; i < first; i++)
        if (i % 3 != 1) index[kept++] = i;
    for (uint32_t i = 0; i < first + second; i++)
        m->weights.values[i] = i < first && i % 3 == 1 ? 0 : random_value(i, 0);
    m->support[0] = (sg_support){kept, index};
    m->support[1] = (sg_support){second, NULL};
    m->offset[1] = kept;
    m->survivors =
        (sg_survivors){.params = 2, .support = m->support, .offset = m->offset, .total = kept + second};
    m->survivors.storage = index;
    assert_int_equal(SG_NEW(&m->gradient, m->survivors.total), SG_OK);
    return m;
}

static void model_destroy(model *m) {
    free(m->weights.values), free(m->survivors.storage), free(m->gradient), free(m);
}

/* Where survivor i is among all values. */
static size_t position(const model *m, size_t i) {
    return i < m->offset[1] ? m->support[0].index[i] : m->param[1].offset + i - m->offset[1];
}

static void run_steps(model *m, const sg_optimizer_options *options, double rate, int steps,
                      const int8_t *sign) {
    sg_optimizer *o;
    assert_int_equal(sg_optimizer_create(&o, options, &m->survivors), SG_OK);
    for (int step = 1; step <= steps; step++) {
        for (size_t i = 0; i < m->survivors.total; i++)
            m->gradient[i] = random_value((uint32_t)i, (uint32_t)step);
        sg_optimizer_step(o, &m->machine, &m->weights, &m->survivors, m->gradient, rate, sign);
    }
    assert_int_equal(o->step, steps);
    sg_optimizer_destroy(&o);
    assert_null(o);
}

/* torch 1.13, float32: SGD(lr 0.1, momentum 0.9, weight_decay 5e-4), Adam(lr 1e-2, weight_decay 1e-2). */
static void torch_numbers(const sg_optimizer_options *options, double rate, const float expected[3][4]) {
    static const float start[4] = {0.5f, -0.25f, 1.5f, -2.0f};
    static const float gradient[3][4] = {
        {0.1f, -0.2f, 0.3f, 0.0f}, {-0.4f, 0.5f, 0.05f, 1.0f}, {0.3f, 0.3f, -0.7f, 0.2f}};
    model *m = model_create(1, 4, 1);
    sg_optimizer *o;
    memcpy(m->weights.values + 1, start, sizeof start);
    assert_int_equal(sg_optimizer_create(&o, options, &m->survivors), SG_OK);
    for (int step = 0; step < 3; step++) {
        memcpy(m->gradient + 1, gradient[step], sizeof gradient[step]);
        sg_optimizer_step(o, &m->machine, &m->weights, &m->survivors, m->gradient, rate, NULL);
        for (int i = 0; i < 4; i++) /* two ulp: torch may fuse a product into a sum */
            if (fabsf(m->weights.values[1 + i] - expected[step][i]) >
                2.4e-7f * fmaxf(1, fabsf(expected[step][i])))
                fail_msg("step %d, weight %d is %.9g, PyTorch's %.9g", step, i,
                         (double)m->weights.values[1 + i], (double)expected[step][i]);
    }
    sg_optimizer_destroy(&o);
    model_destroy(m);
}

static void sgd_agrees_with_torch(void **state) {
    static const float expected[3][4] = {{0.489975005f, -0.229987502f, 1.46992505f, -1.99989998f},
                                         {0.520928025f, -0.261964738f, 1.43778408f, -2.09970999f},
                                         {0.518759668f, -0.320731163f, 1.47878528f, -2.20943403f}};
    (void)state;
    torch_numbers(&sgd, 0.1, expected);
}

static void adam_agrees_with_torch(void **state) {
    static const float expected[3][4] = {{0.49000001f, -0.239999995f, 1.49000001f, -1.99000001f},
                                         {0.495471805f, -0.244368359f, 1.48193502f, -1.99730325f},
                                         {0.495040596f, -0.250418425f, 1.48507202f, -2.0040102f}};
    (void)state;
    torch_numbers(&adam, 0.01, expected);
}

/* Against the formulas in double. 20 steps of float rounding: 1e-6 of weights below 10. */
static void agrees_with_twin(const sg_optimizer_options *options, double rate) {
    enum { STEPS = 20 };
    model *m = model_create(31, 29, 2);
    double w[60], first[60] = {0}, second[60] = {0};
    for (size_t i = 0; i < m->survivors.total; i++) w[i] = m->weights.values[position(m, i)];
    run_steps(m, options, rate, STEPS, NULL);
    for (int step = 1; step <= STEPS; step++)
        for (size_t i = 0; i < m->survivors.total; i++) {
            double g = random_value((uint32_t)i, (uint32_t)step) + options->weight_decay * w[i];
            if (options->kind == SG_SGD) {
                first[i] = step == 1 ? g : options->momentum * first[i] + g;
                w[i] -= rate * first[i];
                continue;
            }
            first[i] = options->beta1 * first[i] + (1 - options->beta1) * g;
            second[i] = options->beta2 * second[i] + (1 - options->beta2) * g * g;
            double m_hat = first[i] / (1 - pow(options->beta1, step));
            double v_hat = second[i] / (1 - pow(options->beta2, step));
            w[i] -= rate * m_hat / (sqrt(v_hat) + options->epsilon);
        }
    for (size_t i = 0; i < m->survivors.total; i++)
        if (fabs(m->weights.values[position(m, i)] - w[i]) > 1e-6)
            fail_msg("survivor %zu is %.9g, expected %.9g", i, (double)m->weights.values[position(m, i)],
                     w[i]);
    model_destroy(m);
}
static void sgd_agrees_with_twin(void **state) { (void)state, agrees_with_twin(&sgd, 0.05); }
static void adam_agrees_with_twin(void **state) { (void)state, agrees_with_twin(&adam, 0.01); }

static void pruned_weights_stay_zero(void **state) {
    (void)state;
    model *m = model_create(300, 10, 1);
    run_steps(m, &sgd, 0.1, 5, NULL);
    run_steps(m, &adam, 0.1, 5, NULL);
    for (size_t i = 1; i < 300; i += 3)
        if (m->weights.values[i] != 0)
            fail_msg("pruned weight %zu is %g, not 0", i, (double)m->weights.values[i]);
    model_destroy(m);
}

/* A weight that would cross is zero after the step; momentum goes on, so it may come back; unsigned ones are
 * free. */
static void frozen_signs_stop_at_zero(void **state) {
    static const sg_optimizer_options plain = {.kind = SG_SGD, .momentum = 0.5};
    static const float start[4] = {0.1f, -0.1f, 0.1f, -0.1f}, against[4] = {2, -2, 2, -2},
                       back[4] = {-3, 3, -3, 3};
    static const int8_t sign[5] = {0, 1, -1, 0, 0};
    (void)state;
    model *m = model_create(1, 4, 1);
    sg_optimizer *o;
    memcpy(m->weights.values + 1, start, sizeof start);
    assert_int_equal(sg_optimizer_create(&o, &plain, &m->survivors), SG_OK);
    memcpy(m->gradient + 1, against, sizeof against);
    sg_optimizer_step(o, &m->machine, &m->weights, &m->survivors, m->gradient, 0.1, sign);
    const float *w = m->weights.values + 1;
    assert_true(w[0] == 0 && w[1] == 0);
    assert_true(w[2] < 0 && w[3] > 0);
    assert_true(o->first[1] == 2 && o->first[2] == -2);
    memcpy(m->gradient + 1, back, sizeof back);
    sg_optimizer_step(o, &m->machine, &m->weights, &m->survivors, m->gradient, 0.1, sign);
    if (fabsf(w[0] - 0.2f) > 1e-6f || fabsf(w[1] + 0.2f) > 1e-6f)
        fail_msg("weights came back to %g and %g, expected 0.2 and -0.2", (double)w[0], (double)w[1]);
    sg_optimizer_destroy(&o);
    model_destroy(m);
}

static void threads_change_no_bits(void **state) {
    (void)state;
    const sg_optimizer_options *kinds[] = {&sgd, &adam};
    for (int k = 0; k < 2; k++) {
        model *one = model_create(60001, 40007, 1), *three = model_create(60001, 40007, 3);
        run_steps(one, kinds[k], 0.01, 2, NULL);
        run_steps(three, kinds[k], 0.01, 2, NULL);
        if (memcmp(one->weights.values, three->weights.values, one->net.values * sizeof(float)) != 0)
            fail_msg("%s: 1 and 3 threads give different bits", k == 0 ? "SGD" : "Adam");
        model_destroy(one), model_destroy(three);
    }
}

/* One rank that shares memory with itself. */
static int share(void *context, size_t count, float **data) {
    (void)context;
    return SG_NEW(data, count);
}

/* Destroyed while it is joined, as after an error, an optimizer gives the weights their own memory back. */
static void destroy_leaves_first(void **state) {
    (void)state;
    sg_reduce reduce = sg_reduce_alone;
    reduce.share = share;
    const sg_optimizer_options *kinds[] = {&sgd, &adam};
    for (int k = 0; k < 2; k++) {
        model *m = model_create(50, 30, 1), *twin = model_create(50, 30, 1);
        const float *own = m->weights.values;
        sg_optimizer *o;
        run_steps(twin, kinds[k], 0.1, 1, NULL);
        assert_int_equal(sg_optimizer_create(&o, kinds[k], &m->survivors), SG_OK);
        assert_int_equal(sg_optimizer_join(o, &m->weights, &reduce), SG_OK);
        assert_ptr_not_equal(m->weights.values, own);
        memcpy(m->gradient, twin->gradient, m->survivors.total * sizeof *m->gradient);
        assert_int_equal(
            sg_optimizer_step(o, &m->machine, &m->weights, &m->survivors, m->gradient, 0.1, NULL), SG_OK);
        sg_optimizer_destroy(&o);
        assert_null(o);
        assert_ptr_equal(m->weights.values, own);
        assert_memory_equal(own, twin->weights.values, m->net.values * sizeof *own);
        model_destroy(m), model_destroy(twin);
    }
}

static void usual_options_are_torchs(void **state) {
    (void)state;
    sg_optimizer_options o = sg_optimizer_usual(SG_ADAM, 0.9, 1e-2);
    assert_int_equal(o.kind, SG_ADAM);
    assert_true(o.beta1 == adam.beta1 && o.beta2 == adam.beta2 && o.epsilon == adam.epsilon);
    assert_true(o.momentum == sgd.momentum && o.weight_decay == adam.weight_decay);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd_agrees_with_torch),    cmocka_unit_test(adam_agrees_with_torch),
        cmocka_unit_test(sgd_agrees_with_twin),     cmocka_unit_test(adam_agrees_with_twin),
        cmocka_unit_test(pruned_weights_stay_zero), cmocka_unit_test(frozen_signs_stop_at_zero),
        cmocka_unit_test(threads_change_no_bits),   cmocka_unit_test(destroy_leaves_first),
        cmocka_unit_test(usual_options_are_torchs),
    };
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
