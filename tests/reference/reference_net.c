#include "tests/reference/reference_net.h"

#include <string.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "tests/reference/reference_conv.h"
#include "tests/reference/reference_layers.h"

static ref_shape shape_of(const sg_ref_net *ref, int l) {
    const sg_layer *layer = &ref->net->layer[l];
    return (ref_shape){ref->samples, layer->channels, layer->height, layer->width};
}

static size_t output_count(const sg_ref_net *ref, int l) { return ref_count(shape_of(ref, l)); }

static int create_layer(sg_ref_net *ref, int l) {
    const sg_layer *layer = &ref->net->layer[l];
    sg_ref_layer *own = &ref->layer[l];
    size_t channels = (size_t)layer->channels;
    SG_TRY(SG_NEW(&own->output, output_count(ref, l)));
    SG_TRY(SG_NEW(&own->gradient, output_count(ref, l)));
    if (layer->kind == SG_LAYER_BATCH_NORM || layer->kind == SG_LAYER_LAYER_NORM) {
        SG_TRY(SG_NEW(&own->gamma, channels));
        SG_TRY(SG_NEW(&own->beta, channels));
        SG_TRY(SG_NEW(&own->mean, channels));
        SG_TRY(SG_NEW(&own->variance, channels));
    }
    if (layer->kind == SG_LAYER_ATTENTION) {
        size_t tokens = (size_t)layer->height;
        SG_TRY(SG_NEW(&own->probabilities, (size_t)ref->samples * (size_t)layer->heads * tokens * tokens));
    }
    if (layer->kind == SG_LAYER_DROPOUT) SG_TRY(SG_NEW(&own->keep, output_count(ref, l)));
    return SG_OK;
}

static int create_arrays(sg_ref_net *ref) {
    const sg_net *net = ref->net;
    SG_TRY(SG_NEW(&ref->values, net->values));
    SG_TRY(SG_NEW(&ref->gradient, net->values));
    SG_TRY(SG_NEW(&ref->mask, net->values));
    SG_TRY(SG_NEW(&ref->mean, net->channels_tracked));
    SG_TRY(SG_NEW(&ref->variance, net->channels_tracked));
    memset(ref->mask, 1, net->values);
    for (size_t c = 0; c < net->channels_tracked; c++) ref->variance[c] = 1;
    SG_TRY(SG_NEW(&ref->layer, (size_t)net->layers));
    for (int l = 0; l < net->layers; l++) SG_TRY(create_layer(ref, l));
    return SG_OK;
}

int sg_ref_net_create(sg_ref_net **ref, const sg_net *net, int samples) {
    *ref = NULL;
    sg_ref_net *made = NULL;
    SG_TRY(SG_NEW(&made, 1));
    *made = (sg_ref_net){.net = net, .samples = samples, .alpha = 1};
    int status = SG_AT(create_arrays(made));
    if (status != SG_OK) sg_ref_net_destroy(&made);
    *ref = made;
    return status;
}

void sg_ref_net_destroy(sg_ref_net **ref) {
    if (ref == NULL || *ref == NULL) return;
    sg_ref_net *r = *ref;
    for (int l = 0; r->layer != NULL && l < r->net->layers; l++) {
        sg_ref_layer *own = &r->layer[l];
        free(own->output), free(own->gradient);
        free(own->gamma), free(own->beta);
        free(own->mean), free(own->variance);
        free(own->probabilities), free(own->keep);
    }
    free(r->layer), free(r->values), free(r->gradient), free(r->mask), free(r->mean), free(r->variance);
    SG_FREE(*ref);
}

void sg_ref_net_set_images(sg_ref_net *ref, const double *images) {
    memcpy(ref->layer[0].output, images, output_count(ref, 0) * sizeof *images);
}

static double *param_values(const sg_ref_net *ref, int number) {
    return number < 0 ? NULL : ref->values + ref->net->param[number].offset;
}

static double *param_gradient(const sg_ref_net *ref, int number) {
    return number < 0 ? NULL : ref->gradient + ref->net->param[number].offset;
}

/* ---- Forward. */

/* gamma' = alpha gamma + (1 - alpha), beta' = alpha beta (AWS, eq. 3). */
static void interpolate_norm(const sg_ref_net *ref, int l) {
    const sg_layer *layer = &ref->net->layer[l];
    const double *gamma = param_values(ref, layer->weight), *beta = param_values(ref, layer->bias);
    for (int c = 0; c < layer->channels; c++) {
        ref->layer[l].gamma[c] = ref->alpha * gamma[c] + (1 - ref->alpha);
        ref->layer[l].beta[c] = ref->alpha * beta[c];
    }
}

static void batch_norm(sg_ref_net *ref, int l, const double *x, const double *residual, bool training) {
    const sg_layer *layer = &ref->net->layer[l];
    sg_ref_layer *own = &ref->layer[l];
    ref_shape s = shape_of(ref, l);
    size_t offset = ref->net->statistics[layer->statistics].offset;
    double *mean = ref->mean + offset, *variance = ref->variance + offset;
    interpolate_norm(ref, l);
    if (!training) {
        ref_norm_batch_evaluate(s, x, own->gamma, own->beta, residual, layer->activation, layer->epsilon,
                                mean, variance, own->output);
        return;
    }
    ref_norm_batch_forward(s, x, own->gamma, own->beta, residual, layer->activation, layer->epsilon,
                           own->mean, own->variance, own->output);
    double count = (double)s.samples * (double)ref_pixels(s);
    double unbiased = count > 1 ? count / (count - 1) : 1;
    for (int c = 0; c < s.channels; c++) {
        mean[c] = 0.9 * mean[c] + 0.1 * own->mean[c];
        variance[c] = 0.9 * variance[c] + 0.1 * unbiased * own->variance[c];
    }
}

/* The bits of kernels/layers.h: a channel is kept when its uniform number is not below the probability. */
static void dropout(sg_ref_net *ref, int l, const double *x, bool training) {
    const sg_layer *layer = &ref->net->layer[l];
    sg_ref_layer *own = &ref->layer[l];
    if (!training) {
        memcpy(own->output, x, output_count(ref, l) * sizeof *x);
        return;
    }
    for (int n = 0; n < ref->samples; n++) {
        uint32_t sample = ref->sample != NULL ? ref->sample[n] : (uint32_t)n;
        for (int c = 0; c < layer->channels; c++) {
            sg_random random = sg_rng(ref->dropout_seed, SG_RNG_DROPOUT, ref->step, sample,
                                      ((uint32_t)l << 20) + (uint32_t)c / 4);
            own->keep[n * layer->channels + c] = sg_uniform(random.word[c % 4]) >= layer->probability;
        }
    }
    ref_dropout_forward(output_count(ref, l), (double)layer->probability, own->keep, x, own->output);
}

static void forward_layer(sg_ref_net *ref, int l, bool training) {
    const sg_layer *layer = &ref->net->layer[l];
    sg_ref_layer *own = &ref->layer[l];
    int in = layer->input[0], in2 = layer->input[1];
    ref_shape sx = shape_of(ref, in), sy = shape_of(ref, l);
    const double *x = ref->layer[in].output, *x2 = in2 < 0 ? NULL : ref->layer[in2].output;
    double *y = own->output;
    const double *weight = param_values(ref, layer->weight), *bias = param_values(ref, layer->bias);
    int kernel = layer->kernel, stride = layer->stride, padding = layer->padding;
    switch (layer->kind) {
    case SG_LAYER_INPUT:
        break;
    case SG_LAYER_CONV:
        sg_ref_conv_forward(&layer->conv, ref->samples, x, weight, bias, y);
        break;
    case SG_LAYER_BATCH_NORM:
        batch_norm(ref, l, x, x2, training);
        break;
    case SG_LAYER_LAYER_NORM:
        interpolate_norm(ref, l);
        ref_norm_layer_forward(sx, x, own->gamma, own->beta, layer->epsilon, y);
        break;
    case SG_LAYER_ACTIVATION:
        ref_activation_forward(ref_count(sx), layer->activation, x, y);
        break;
    case SG_LAYER_ADD:
        for (size_t i = 0; i < ref_count(sx); i++) y[i] = x[i] + x2[i];
        break;
    case SG_LAYER_MAX_POOL:
        ref_max_pool_forward(sx, kernel, stride, padding, x, y);
        break;
    case SG_LAYER_AVERAGE_POOL:
        ref_average_pool_forward(sx, kernel, stride, padding, x, y);
        break;
    case SG_LAYER_GLOBAL_POOL:
        ref_global_pool_forward(sx, x, y);
        break;
    case SG_LAYER_SCALE:
        ref_scale_forward(sx, x, x2, y);
        break;
    case SG_LAYER_CONCAT:
        ref_concat_forward(sx, ref->net->layer[in2].channels, x, x2, y);
        break;
    case SG_LAYER_SHUFFLE:
        ref_shuffle_forward(sx, layer->groups, x, y);
        break;
    case SG_LAYER_TOKENS:
        ref_tokens_forward(sx, x, weight, bias, y);
        break;
    case SG_LAYER_FIRST_TOKEN:
        ref_first_token_forward(sx, x, y);
        break;
    case SG_LAYER_TRANSPOSE:
        ref_transpose_forward(sx, x, y);
        break;
    case SG_LAYER_ATTENTION:
        ref_attention_forward(sy, layer->heads, x, own->probabilities, y);
        break;
    case SG_LAYER_DROPOUT:
        dropout(ref, l, x, training);
        break;
    }
}

const double *sg_ref_net_forward(sg_ref_net *ref, bool training) {
    for (int l = 1; l < ref->net->layers; l++) forward_layer(ref, l, training);
    return ref->layer[ref->net->layers - 1].output;
}

double sg_ref_net_loss(sg_ref_net *ref, const int32_t *label, int64_t *correct) {
    const sg_ref_layer *last = &ref->layer[ref->net->layers - 1];
    return ref_loss(ref->samples, ref->net->classes, last->output, label, NULL, correct) / ref->samples;
}

/* ---- Backward. */

static int backward_conv(sg_ref_net *ref, const sg_layer *layer, const double *x, const double *dy,
                         double *dx) {
    sg_ref_conv_weight_gradient(&layer->conv, ref->samples, x, dy, param_gradient(ref, layer->weight),
                                param_gradient(ref, layer->bias));
    if (layer->input[0] == 0) return SG_OK; /* nobody asks for the images' gradient */
    size_t count = output_count(ref, layer->input[0]);
    double *sum = NULL;
    SG_TRY(SG_NEW(&sum, count));
    sg_ref_conv_data_gradient(&layer->conv, ref->samples, dy, param_values(ref, layer->weight), sum);
    for (size_t i = 0; i < count; i++) dx[i] += sum[i];
    free(sum);
    return SG_OK;
}

static int backward_layer(sg_ref_net *ref, int l) {
    const sg_layer *layer = &ref->net->layer[l];
    const sg_ref_layer *own = &ref->layer[l];
    int in = layer->input[0], in2 = layer->input[1];
    ref_shape sx = shape_of(ref, in), sy = shape_of(ref, l);
    const double *x = ref->layer[in].output, *x2 = in2 < 0 ? NULL : ref->layer[in2].output;
    const double *dy = own->gradient;
    double *dx = ref->layer[in].gradient, *dx2 = in2 < 0 ? NULL : ref->layer[in2].gradient;
    double *dweight = param_gradient(ref, layer->weight), *dbias = param_gradient(ref, layer->bias);
    int kernel = layer->kernel, stride = layer->stride, padding = layer->padding;
    switch (layer->kind) {
    case SG_LAYER_INPUT:
        break;
    case SG_LAYER_CONV:
        return SG_AT(backward_conv(ref, layer, x, dy, dx));
    case SG_LAYER_BATCH_NORM:
        ref_norm_batch_backward(sx, x, own->gamma, own->beta, x2, layer->activation, layer->epsilon, dy, dx,
                                dx2, dweight, dbias);
        break;
    case SG_LAYER_LAYER_NORM:
        ref_norm_layer_backward(sx, x, own->gamma, layer->epsilon, dy, dx, dweight, dbias);
        break;
    case SG_LAYER_ACTIVATION:
        ref_activation_backward(ref_count(sx), layer->activation, x, dy, dx);
        break;
    case SG_LAYER_ADD:
        for (size_t i = 0; i < ref_count(sx); i++) dx[i] += dy[i];
        for (size_t i = 0; i < ref_count(sx); i++) dx2[i] += dy[i];
        break;
    case SG_LAYER_MAX_POOL:
        ref_max_pool_backward(sx, kernel, stride, padding, x, dy, dx);
        break;
    case SG_LAYER_AVERAGE_POOL:
        ref_average_pool_backward(sx, kernel, stride, padding, dy, dx);
        break;
    case SG_LAYER_GLOBAL_POOL:
        ref_global_pool_backward(sx, dy, dx);
        break;
    case SG_LAYER_SCALE:
        ref_scale_backward(sx, x, x2, dy, dx, dx2);
        break;
    case SG_LAYER_CONCAT:
        ref_concat_backward(sx, ref->net->layer[in2].channels, dy, dx, dx2);
        break;
    case SG_LAYER_SHUFFLE:
        ref_shuffle_backward(sx, layer->groups, dy, dx);
        break;
    case SG_LAYER_TOKENS:
        ref_tokens_backward(sx, dy, dx, dweight, dbias);
        break;
    case SG_LAYER_FIRST_TOKEN:
        ref_first_token_backward(sx, dy, dx);
        break;
    case SG_LAYER_TRANSPOSE:
        ref_transpose_backward(sx, dy, dx);
        break;
    case SG_LAYER_ATTENTION:
        ref_attention_backward(sy, layer->heads, x, own->probabilities, dy, dx);
        break;
    case SG_LAYER_DROPOUT:
        ref_dropout_backward(output_count(ref, l), (double)layer->probability, own->keep, dy, dx);
        break;
    }
    return SG_OK;
}

int sg_ref_net_backward(sg_ref_net *ref, const int32_t *label) {
    const sg_net *net = ref->net;
    int last = net->layers - 1;
    int64_t correct = 0;
    memset(ref->gradient, 0, net->values * sizeof *ref->gradient);
    for (int l = 0; l < net->layers; l++)
        memset(ref->layer[l].gradient, 0, output_count(ref, l) * sizeof *ref->layer[l].gradient);
    ref_loss(ref->samples, net->classes, ref->layer[last].output, label, ref->layer[last].gradient, &correct);
    for (int l = last; l >= 1; l--) SG_TRY(backward_layer(ref, l));
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        bool norm = param->role == SG_ROLE_GAMMA || param->role == SG_ROLE_BETA;
        for (size_t i = param->offset; i < param->offset + param->count; i++)
            ref->gradient[i] *= (norm ? ref->alpha : 1) * ref->mask[i];
    }
    return SG_OK;
}
