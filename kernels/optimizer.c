#include "kernels/optimizer.h"

#include <math.h>
#include <string.h>

#include "kernels/memory.h"

sg_optimizer_options sg_optimizer_usual(enum sg_optimizer_kind kind, double momentum, double weight_decay) {
    return (sg_optimizer_options){.kind = kind,
                                  .momentum = momentum,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .epsilon = 1e-8,
                                  .weight_decay = weight_decay};
}

int sg_optimizer_create(sg_optimizer **optimizer, const sg_optimizer_options *options,
                        const sg_survivors *survivors) {
    *optimizer = NULL;
    sg_optimizer *made;
    int status;
    SG_TRY(SG_NEW(&made, 1));
    made->options = *options;
    made->total = survivors->total;
    if ((status = SG_AT(SG_NEW(&made->first, made->total)))) goto failed;
    if (options->kind == SG_ADAM && (status = SG_AT(SG_NEW(&made->second, made->total)))) goto failed;
    *optimizer = made;
    return SG_OK;
failed:
    sg_optimizer_destroy(&made);
    return status;
}

void sg_optimizer_destroy(sg_optimizer **optimizer) {
    if (optimizer == NULL || *optimizer == NULL) return;
    sg_optimizer_leave(*optimizer, (*optimizer)->weights);
    SG_FREE((*optimizer)->first);
    SG_FREE((*optimizer)->second);
    SG_FREE(*optimizer);
}

/* Each rank stores a share, and has it near. */
static void fill(const sg_reduce *reduce, float *shared, const float *own, size_t count) {
    size_t from, to;
    sg_reduce_share(reduce->rank, reduce->size, count, &from, &to);
    memcpy(shared + from, own + from, (to - from) * sizeof *shared);
}

int sg_optimizer_join(sg_optimizer *o, sg_weights *weights, const sg_reduce *reduce) {
    enum { LINE = SG_ALIGNMENT / sizeof(float) };
    size_t values = sg_round_up(weights->net->values, LINE), moments = sg_round_up(o->total, LINE);
    float *shared;
    SG_TRY(reduce->share(reduce->context, values + (o->second != NULL ? 2 : 1) * moments, &shared));
    if (shared == NULL) return SG_OK;
    fill(reduce, shared, weights->values, weights->net->values);
    fill(reduce, shared + values, o->first, o->total);
    if (o->second != NULL) fill(reduce, shared + values + moments, o->second, o->total);
    o->reduce = reduce;
    o->weights = weights;
    o->shared = shared;
    o->own_values = weights->values;
    o->own_first = o->first;
    o->own_second = o->second;
    weights->values = shared;
    o->first = shared + values;
    if (o->second != NULL) o->second = shared + values + moments;
    return SG_AT(reduce->meet(reduce->context, shared));
}

void sg_optimizer_leave(sg_optimizer *o, sg_weights *weights) {
    if (o->shared == NULL) return;
    memcpy(o->own_values, weights->values, weights->net->values * sizeof *weights->values);
    memcpy(o->own_first, o->first, o->total * sizeof *o->first);
    if (o->second != NULL) memcpy(o->own_second, o->second, o->total * sizeof *o->second);
    weights->values = o->own_values;
    o->first = o->own_first;
    o->second = o->own_second;
    o->reduce->release(o->reduce->context, &o->shared);
}

/* The step's constants, computed in double, applied in float as PyTorch does. */
typedef struct rates {
    float decay, momentum, learning_rate;                  /* SGD */
    float beta1, rest1, beta2, rest2, step, root, epsilon; /* Adam; rest = 1 - beta */
} rates;

/* One parameter: survivor i is value[index[i]], or value[i] when all survive. */
typedef struct slice {
    size_t count;
    const uint32_t *index;
    float *value;
    const float *gradient;
    float *first, *second;
    const int8_t *sign; /* NULL, or of value */
} slice;

static inline float sgd(const rates *r, float w, float g, float *velocity) {
    g += r->decay * w;
    *velocity = r->momentum * *velocity + g;
    return w - r->learning_rate * *velocity;
}

/* Kingma and Ba (2015), with PyTorch's grouping: w -= step * m / (sqrt(v) / root + epsilon),
 * step = lr / (1 - beta1^t), root = sqrt(1 - beta2^t). */
static inline float adam(const rates *r, float w, float g, float *m, float *v) {
    g += r->decay * w;
    *m = r->beta1 * *m + r->rest1 * g;
    *v = r->beta2 * *v + r->rest2 * (g * g);
    return w - r->step * (*m / (sqrtf(*v) / r->root + r->epsilon));
}

/* Every element is independent, so threads change no bits. The loops are written out per kind and with and
 * without an index: those without one become vector code. */
enum { PARALLEL_COUNT = 16384 };

static void step_sgd(const rates *r, const slice *s, int threads) {
    const float *gradient = s->gradient;
    const uint32_t *index = s->index;
    float *value = s->value, *velocity = s->first;
    if (index == NULL) {
#pragma omp parallel for simd schedule(static) num_threads(threads) if (s->count > PARALLEL_COUNT)
        for (size_t i = 0; i < s->count; i++) value[i] = sgd(r, value[i], gradient[i], &velocity[i]);
    } else {
#pragma omp parallel for schedule(static) num_threads(threads) if (s->count > PARALLEL_COUNT)
        for (size_t i = 0; i < s->count; i++)
            value[index[i]] = sgd(r, value[index[i]], gradient[i], &velocity[i]);
    }
}

static void step_adam(const rates *r, const slice *s, int threads) {
    const float *gradient = s->gradient;
    const uint32_t *index = s->index;
    float *value = s->value, *first = s->first, *second = s->second;
    if (index == NULL) {
#pragma omp parallel for simd schedule(static) num_threads(threads) if (s->count > PARALLEL_COUNT)
        for (size_t i = 0; i < s->count; i++)
            value[i] = adam(r, value[i], gradient[i], &first[i], &second[i]);
    } else {
#pragma omp parallel for schedule(static) num_threads(threads) if (s->count > PARALLEL_COUNT)
        for (size_t i = 0; i < s->count; i++)
            value[index[i]] = adam(r, value[index[i]], gradient[i], &first[i], &second[i]);
    }
}

/* A weight that left its given side stops at zero, from where it may return. */
static void hold_signs(const slice *s, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (s->count > PARALLEL_COUNT)
    for (size_t i = 0; i < s->count; i++) {
        size_t at = s->index != NULL ? s->index[i] : i;
        if ((s->sign[at] > 0 && s->value[at] < 0) || (s->sign[at] < 0 && s->value[at] > 0)) s->value[at] = 0;
    }
}

/* This rank's share of a parameter's survivors. */
static slice share_slice(const sg_optimizer *o, slice s) {
    size_t from, to;
    if (o->shared == NULL) return s;
    sg_reduce_share(o->reduce->rank, o->reduce->size, s.count, &from, &to);
    s.count = to - from;
    s.gradient += from;
    s.first += from;
    if (s.second != NULL) s.second += from;
    if (s.index != NULL) {
        s.index += from;
        return s;
    }
    s.value += from;
    if (s.sign != NULL) s.sign += from;
    return s;
}

static int meet(const sg_optimizer *o) {
    return o->shared == NULL ? SG_OK : SG_AT(o->reduce->meet(o->reduce->context, o->shared));
}

int sg_optimizer_step(sg_optimizer *optimizer, const sg_machine *machine, sg_weights *weights,
                      const sg_survivors *survivors, const float *gradient, double learning_rate,
                      const int8_t *frozen_sign) {
    const sg_optimizer_options *o = &optimizer->options;
    double steps = (double)++optimizer->step;
    rates r = {.decay = (float)o->weight_decay,
               .momentum = (float)o->momentum,
               .learning_rate = (float)learning_rate};
    if (o->kind == SG_ADAM) {
        r.beta1 = (float)o->beta1, r.rest1 = (float)(1 - o->beta1);
        r.beta2 = (float)o->beta2, r.rest2 = (float)(1 - o->beta2);
        r.step = (float)(learning_rate / (1 - pow(o->beta1, steps)));
        r.root = (float)sqrt(1 - pow(o->beta2, steps));
        r.epsilon = (float)o->epsilon;
    }
    SG_TRY(meet(optimizer)); /* nobody reads the old values any more */
    for (int p = 0; p < survivors->params; p++) {
        size_t at = survivors->offset[p], value = weights->net->param[p].offset;
        slice s = {.count = survivors->support[p].count,
                   .index = survivors->support[p].index,
                   .value = weights->values + value,
                   .gradient = gradient + at,
                   .first = optimizer->first + at,
                   .second = optimizer->second != NULL ? optimizer->second + at : NULL,
                   .sign = frozen_sign != NULL ? frozen_sign + value : NULL};
        s = share_slice(optimizer, s);
        if (o->kind == SG_ADAM)
            step_adam(&r, &s, machine->threads);
        else
            step_sgd(&r, &s, machine->threads);
        if (s.sign != NULL) hold_signs(&s, machine->threads);
    }
    return SG_AT(meet(optimizer));
}
