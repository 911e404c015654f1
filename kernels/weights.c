#include "kernels/weights.h"

#include <string.h>

#include "kernels/memory.h"
#include "kernels/rng.h"

int sg_weights_create(sg_weights **weights, const sg_net *net) {
    *weights = NULL;
    sg_weights *made;
    SG_TRY(SG_NEW(&made, 1));
    *made = (sg_weights){.net = net};
    int status = SG_OK;
    if ((status = SG_AT(SG_NEW(&made->values, net->values)))) goto failed;
    if ((status = SG_AT(SG_NEW(&made->mean, net->channels_tracked)))) goto failed;
    if ((status = SG_AT(SG_NEW(&made->variance, net->channels_tracked)))) goto failed;
    if ((status = SG_AT(SG_NEW(&made->mask, net->values)))) goto failed;
    memset(made->mask, 1, net->values);
    sg_weights_reset_statistics(made);
    *weights = made;
    return SG_OK;
failed:
    sg_weights_destroy(&made);
    return status;
}

void sg_weights_destroy(sg_weights **weights) {
    if (weights == NULL || *weights == NULL) return;
    free((*weights)->values);
    free((*weights)->mean);
    free((*weights)->variance);
    free((*weights)->mask);
    SG_FREE(*weights);
}

/* Four elements at a time: one Philox block gives four uniforms or two normal pairs. */
static void init_param(const sg_param *param, uint32_t number, uint64_t seed, float *values) {
    for (size_t i = 0; i < param->count; i += 4) {
        float drawn[4];
        sg_random random = sg_rng(seed, SG_RNG_INIT, number, (uint32_t)(i / 4), 0);
        if (param->init == SG_INIT_NORMAL) {
            sg_normal_pair(random.word[0], random.word[1], drawn);
            sg_normal_pair(random.word[2], random.word[3], drawn + 2);
        } else {
            for (int k = 0; k < 4; k++) drawn[k] = 2.0f * sg_uniform(random.word[k]) - 1.0f;
        }
        for (size_t k = 0; k < 4 && i + k < param->count; k++)
            values[i + k] =
                (float)(param->init == SG_INIT_CONSTANT ? param->scale : param->scale * (double)drawn[k]);
    }
}

void sg_weights_init(sg_weights *weights, uint64_t seed) {
    const sg_net *net = weights->net;
    for (int p = 0; p < net->params; p++)
        init_param(&net->param[p], (uint32_t)p, seed, weights->values + net->param[p].offset);
    sg_weights_apply_mask(weights);
    sg_weights_reset_statistics(weights);
}

void sg_weights_reset_statistics(sg_weights *weights) {
    for (size_t i = 0; i < weights->net->channels_tracked; i++) {
        weights->mean[i] = 0.0f;
        weights->variance[i] = 1.0f;
    }
    weights->batches = 0;
}

void sg_weights_copy(sg_weights *to, const sg_weights *from) {
    const sg_net *net = from->net;
    memcpy(to->values, from->values, net->values * sizeof *to->values);
    memcpy(to->mask, from->mask, net->values * sizeof *to->mask);
    memcpy(to->mean, from->mean, net->channels_tracked * sizeof *to->mean);
    memcpy(to->variance, from->variance, net->channels_tracked * sizeof *to->variance);
    to->batches = from->batches;
}

void sg_weights_apply_mask(sg_weights *weights) {
    for (size_t i = 0; i < weights->net->values; i++)
        if (!weights->mask[i]) weights->values[i] = 0.0f;
}

void sg_weights_interpolate(sg_weights *out, const sg_weights *one, const sg_weights *two, double lambda) {
    const sg_net *net = one->net;
    for (size_t i = 0; i < net->values; i++) {
        if (lambda == 1.0)
            out->values[i] = one->values[i];
        else if (lambda == 0.0)
            out->values[i] = two->values[i];
        else
            out->values[i] =
                (float)(lambda * (double)one->values[i] + (1.0 - lambda) * (double)two->values[i]);
    }
    memcpy(out->mask, one->mask, net->values * sizeof *out->mask);
    sg_weights_reset_statistics(out);
}

size_t sg_weights_prunable(const sg_net *net) { return sg_net_count(net, SG_ROLE_WEIGHT); }

size_t sg_weights_surviving(const sg_weights *weights) {
    size_t surviving = 0;
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        if (param->role != SG_ROLE_WEIGHT) continue;
        for (size_t i = 0; i < param->count; i++) surviving += weights->mask[param->offset + i];
    }
    return surviving;
}

double sg_weights_density(const sg_weights *weights) {
    size_t prunable = sg_weights_prunable(weights->net);
    return prunable == 0 ? 1.0 : (double)sg_weights_surviving(weights) / (double)prunable;
}

int sg_survivors_create(sg_survivors **survivors, const sg_weights *weights) {
    *survivors = NULL;
    const sg_net *net = weights->net;
    sg_survivors *made;
    SG_TRY(SG_NEW(&made, 1));
    *made = (sg_survivors){.params = net->params};
    int status = SG_OK;
    if ((status = SG_AT(SG_NEW(&made->support, (size_t)net->params)))) goto failed;
    if ((status = SG_AT(SG_NEW(&made->offset, (size_t)net->params)))) goto failed;
    size_t masked = 0; /* surviving values of the parameters that need an index */
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        size_t count = 0;
        for (size_t i = 0; i < param->count; i++) count += weights->mask[param->offset + i];
        made->support[p].count = count;
        made->offset[p] = made->total;
        made->total += count;
        if (count < param->count) masked += count;
    }
    if ((status = SG_AT(SG_NEW(&made->storage, masked)))) goto failed;
    uint32_t *next = made->storage;
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        if (made->support[p].count == param->count) continue;
        made->support[p].index = next;
        for (size_t i = 0; i < param->count; i++)
            if (weights->mask[param->offset + i]) *next++ = (uint32_t)i;
    }
    *survivors = made;
    return SG_OK;
failed:
    sg_survivors_destroy(&made);
    return status;
}

void sg_survivors_destroy(sg_survivors **survivors) {
    if (survivors == NULL || *survivors == NULL) return;
    free((*survivors)->support);
    free((*survivors)->offset);
    free((*survivors)->storage);
    SG_FREE(*survivors);
}
