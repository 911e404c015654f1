#include "kernels/net.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"

/* Bounds far above any network of use that keep every product below in range. */
enum { CHANNELS_MAX = 1 << 20, PIXELS_MAX = 1 << 14, KERNEL_MAX = 1 << 14 };

static const char *const kind_name[] = {
    "input",    "conv",         "batch_norm",  "layer_norm", "activation", "add",
    "max_pool", "average_pool", "global_pool", "scale",      "concat",     "shuffle",
    "tokens",   "first_token",  "transpose",   "attention",  "dropout",
};

const char *sg_layer_kind_name(enum sg_layer_kind kind) { return kind_name[kind]; }

/* Arrays hold 16 entries, then double whenever their count reaches the next power of two. */
static int grow(void **array, int count, size_t size) {
    bool full = count == 0 || (count >= 16 && (count & (count - 1)) == 0);
    if (!full) return SG_OK;
    char *larger = sg_alloc(count == 0 ? 16 : 2 * (size_t)count, size);
    if (larger == NULL) return SG_AT(SG_NOMEM);
    if (count > 0) memcpy(larger, *array, (size_t)count * size);
    free(*array);
    *array = larger;
    return SG_OK;
}

static int set_name(char out[SG_NAME_LENGTH], const char *prefix, const char *suffix) {
    int length = snprintf(out, SG_NAME_LENGTH, "%s%s", prefix, suffix);
    SG_CHECK(length > 0 && length < SG_NAME_LENGTH, SG_INTERNAL, "the name \"%s%s\" does not fit", prefix,
             suffix);
    return SG_OK;
}

/* Nobody makes the images' gradient: what reads them must do without a place for it. */
static bool may_read_image(enum sg_layer_kind kind, int input) {
    return kind == SG_LAYER_CONV || kind == SG_LAYER_ADD || (kind == SG_LAYER_BATCH_NORM && input == 1);
}

/* Appends a layer with its first input's shape, which the caller then changes. name NULL: kind and number. */
static int add_layer(sg_net *net, enum sg_layer_kind kind, const char *name, int a, int b, sg_layer **made) {
    SG_CHECK(a >= 0 && a < net->layers && b < net->layers, SG_INTERNAL,
             "%s layer %d reads layers %d and %d, which do not precede it", kind_name[kind], net->layers, a,
             b);
    void *array = net->layer;
    int status = grow(&array, net->layers, sizeof *net->layer);
    net->layer = array;
    SG_TRY(status);
    sg_layer *layer = &net->layer[net->layers];
    const sg_layer *from = &net->layer[a];
    *layer = (sg_layer){.kind = kind,
                        .input = {a, b},
                        .channels = from->channels,
                        .height = from->height,
                        .width = from->width,
                        .weight = -1,
                        .bias = -1,
                        .statistics = -1};
    if (name != NULL)
        SG_TRY(set_name(layer->name, name, ""));
    else
        snprintf(layer->name, sizeof layer->name, "%s%d", kind_name[kind], net->layers);
    for (int i = 0; i < 2; i++)
        SG_CHECK(layer->input[i] != 0 || may_read_image(kind, i), SG_INTERNAL,
                 "layer %s reads the image, which only convolutions, linear layers, sums and residuals can; "
                 "put one of them between",
                 layer->name);
    *made = layer;
    return SG_OK;
}

/* What a parameter is, apart from its name. */
typedef struct param_form {
    enum sg_role role;
    int dimensions;
    size_t shape[4];
    enum sg_init_kind init;
    double scale;
} param_form;

static int add_param(sg_net *net, const char *prefix, const char *suffix, const param_form *form,
                     int *number) {
    void *array = net->param;
    int status = grow(&array, net->params, sizeof *net->param);
    net->param = array;
    SG_TRY(status);
    sg_param *param = &net->param[net->params];
    *param = (sg_param){.role = form->role,
                        .dimensions = form->dimensions,
                        .count = 1,
                        .offset = net->values,
                        .init = form->init,
                        .scale = form->scale};
    SG_TRY(set_name(param->name, prefix, suffix));
    SG_CHECK(sg_net_find_param(net, param->name) < 0, SG_INTERNAL, "two parameters are named %s",
             param->name);
    for (int d = 0; d < form->dimensions; d++) {
        param->shape[d] = form->shape[d];
        param->count *= form->shape[d];
        /* Positions inside a parameter are 32 bits wide (sg_support), signed in BLIS's strides. */
        SG_CHECK(param->count >= 1 && param->count <= INT32_MAX, SG_CONFIG,
                 "%s would have more than 2^31 values: reduce the width or the image", param->name);
    }
    net->values += param->count;
    *number = net->params++;
    return SG_OK;
}

static int add_norm_params(sg_net *net, const char *name, size_t channels, sg_layer *layer) {
    param_form gamma = {SG_ROLE_GAMMA, 1, {channels}, SG_INIT_CONSTANT, 1.0};
    param_form beta = {SG_ROLE_BETA, 1, {channels}, SG_INIT_CONSTANT, 0.0};
    SG_TRY(add_param(net, name, ".weight", &gamma, &layer->weight));
    return SG_AT(add_param(net, name, ".bias", &beta, &layer->bias));
}

/* Makes the layer part of the network; its number. After an error the network is good for nothing but
 * destroy. */
static int commit(sg_net *net, int status) {
    if (status != SG_OK) {
        net->status = status;
        return 0;
    }
    return net->layers++;
}

/* Pixels of a window's output along one axis, at least 1. */
static int window(const sg_layer *layer, const char *axis, int in, int kernel, int stride, int padding,
                  int *out) {
    SG_CHECK(kernel >= 1 && kernel <= KERNEL_MAX && stride >= 1 && padding >= 0 && padding < kernel,
             SG_INTERNAL, "layer %s: kernel %d, stride %d, padding %d", layer->name, kernel, stride, padding);
    SG_CHECK(in + 2 * padding >= kernel, SG_CONFIG,
             "the image is too small: layer %s has %d pixels of %s left for a "
             "window of %d",
             layer->name, in, axis, kernel);
    *out = (in + 2 * padding - kernel) / stride + 1;
    return SG_OK;
}

static int same_shape(const sg_net *net, const sg_layer *layer, int a, int b, bool channels) {
    const sg_layer *one = &net->layer[a], *two = &net->layer[b];
    bool same = one->height == two->height && one->width == two->width &&
                (!channels || one->channels == two->channels);
    SG_CHECK(same, SG_INTERNAL, "layer %s joins %s (%dx%dx%d) and %s (%dx%dx%d)", layer->name, one->name,
             one->channels, one->height, one->width, two->name, two->channels, two->height, two->width);
    return SG_OK;
}

/* ---- Layers with weights. */

/* A convolution or linear layer, of which the caller gives the window; dimensions 4 or 2 of its weight. */
typedef struct conv_form {
    int out, kernel_height, kernel_width, stride, padding, groups, dimensions;
    bool bias, classifier;
} conv_form;

static int add_conv(sg_net *net, int input, const char *name, const conv_form *form) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_CONV, name, input, -1, &layer));
    sg_conv_shape *conv = &layer->conv;
    *conv = (sg_conv_shape){.in_channels = layer->channels,
                            .out_channels = form->out,
                            .groups = form->groups,
                            .kernel_height = form->kernel_height,
                            .kernel_width = form->kernel_width,
                            .stride = form->stride,
                            .padding = form->padding,
                            .in_height = layer->height,
                            .in_width = layer->width};
    SG_CHECK(form->out >= 1 && form->out <= CHANNELS_MAX, SG_CONFIG,
             "layer %s would have %d channels; 1 to %d are possible", name, form->out, CHANNELS_MAX);
    SG_CHECK(form->groups >= 1 && conv->in_channels % form->groups == 0 && form->out % form->groups == 0,
             SG_CONFIG,
             "layer %s: %d inputs and %d outputs do not divide into %d groups; choose another width", name,
             conv->in_channels, form->out, form->groups);
    SG_TRY(window(layer, "height", conv->in_height, form->kernel_height, form->stride, form->padding,
                  &conv->out_height));
    SG_TRY(window(layer, "width", conv->in_width, form->kernel_width, form->stride, form->padding,
                  &conv->out_width));
    layer->channels = conv->out_channels;
    layer->height = conv->out_height;
    layer->width = conv->out_width;

    size_t in = (size_t)(conv->in_channels / form->groups), out = (size_t)form->out;
    size_t height = (size_t)form->kernel_height, width = (size_t)form->kernel_width;
    size_t fan_in = in * height * width;
    /* kaiming_uniform(a = sqrt 5): gain sqrt(2 / 6) times sqrt(3 / fan_in). */
    double bound = 1.0 / sqrt((double)fan_in);
    param_form weight = {form->classifier ? SG_ROLE_CLASSIFIER_WEIGHT : SG_ROLE_WEIGHT,
                         form->dimensions,
                         {out, in, height, width},
                         SG_INIT_UNIFORM,
                         bound};
    if (form->dimensions == 2) weight.shape[1] = fan_in;
    SG_TRY(add_param(net, name, ".weight", &weight, &layer->weight));
    if (form->bias) {
        param_form bias = {
            form->classifier ? SG_ROLE_CLASSIFIER_BIAS : SG_ROLE_BIAS, 1, {out}, SG_INIT_UNIFORM, bound};
        SG_TRY(add_param(net, name, ".bias", &bias, &layer->bias));
    }
    return SG_OK;
}

int sg_net_conv(sg_net *net, int input, const char *name, int out, int kernel, int stride, int padding,
                int groups, bool bias) {
    if (net->status != SG_OK) return 0;
    conv_form form = {.out = out,
                      .kernel_height = kernel,
                      .kernel_width = kernel,
                      .stride = stride,
                      .padding = padding,
                      .groups = groups,
                      .dimensions = 4,
                      .bias = bias};
    return commit(net, SG_AT(add_conv(net, input, name, &form)));
}

static int linear(sg_net *net, int input, const char *name, int out, bool bias, bool per_pixel,
                  bool classifier) {
    if (net->status != SG_OK) return 0;
    bool valid = input >= 0 && input < net->layers; /* add_layer says what is wrong */
    bool whole = valid && !per_pixel;
    conv_form form = {.out = out,
                      .kernel_height = whole ? net->layer[input].height : 1,
                      .kernel_width = whole ? net->layer[input].width : 1,
                      .stride = 1,
                      .groups = 1,
                      .dimensions = 2,
                      .bias = bias,
                      .classifier = classifier};
    return commit(net, SG_AT(add_conv(net, input, name, &form)));
}

int sg_net_linear(sg_net *net, int input, const char *name, int out, bool bias, bool per_pixel) {
    return linear(net, input, name, out, bias, per_pixel, false);
}

int sg_net_classifier(sg_net *net, int input, const char *name, bool bias) {
    return linear(net, input, name, net->classes, bias, false, true);
}

/* ---- Norms. */

static int add_statistics(sg_net *net, const char *name, size_t channels, int *number) {
    void *array = net->statistics;
    int status = grow(&array, net->statistics_count, sizeof *net->statistics);
    net->statistics = array;
    SG_TRY(status);
    sg_statistics *tracked = &net->statistics[net->statistics_count];
    *tracked = (sg_statistics){.channels = channels, .offset = net->channels_tracked};
    SG_TRY(set_name(tracked->name, name, ""));
    net->channels_tracked += channels;
    *number = net->statistics_count++;
    return SG_OK;
}

static int add_batch_norm(sg_net *net, int input, const char *name, int residual,
                          enum sg_activation activation) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_BATCH_NORM, name, input, residual, &layer));
    if (residual >= 0) SG_TRY(same_shape(net, layer, input, residual, true));
    layer->activation = activation;
    layer->epsilon = 1e-5;
    SG_TRY(add_norm_params(net, name, (size_t)layer->channels, layer));
    return SG_AT(add_statistics(net, name, (size_t)layer->channels, &layer->statistics));
}

int sg_net_batch_norm(sg_net *net, int input, const char *name, int residual, enum sg_activation activation) {
    return net->status != SG_OK ? 0
                                : commit(net, SG_AT(add_batch_norm(net, input, name, residual, activation)));
}

static int add_layer_norm(sg_net *net, int input, const char *name, double epsilon) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_LAYER_NORM, name, input, -1, &layer));
    layer->epsilon = epsilon;
    return SG_AT(add_norm_params(net, name, (size_t)layer->channels, layer));
}

int sg_net_layer_norm(sg_net *net, int input, const char *name, double epsilon) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_layer_norm(net, input, name, epsilon)));
}

/* ---- Layers without weights. */

static int add_activation(sg_net *net, int input, enum sg_activation activation) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_ACTIVATION, NULL, input, -1, &layer));
    layer->activation = activation;
    return SG_OK;
}

int sg_net_activation(sg_net *net, int input, enum sg_activation activation) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_activation(net, input, activation)));
}

static int add_sum(sg_net *net, int a, int b) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_ADD, NULL, a, b, &layer));
    SG_CHECK(b >= 0, SG_INTERNAL, "layer %s needs two inputs", layer->name);
    return SG_AT(same_shape(net, layer, a, b, true));
}

int sg_net_add(sg_net *net, int a, int b) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_sum(net, a, b)));
}

static int add_pool(sg_net *net, enum sg_layer_kind kind, int input, int kernel, int stride, int padding) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, kind, NULL, input, -1, &layer));
    SG_TRY(window(layer, "height", layer->height, kernel, stride, padding, &layer->height));
    SG_TRY(window(layer, "width", layer->width, kernel, stride, padding, &layer->width));
    SG_CHECK(2 * padding <= kernel, SG_INTERNAL, "layer %s: padding %d is more than half of the window",
             layer->name, padding);
    layer->kernel = kernel;
    layer->stride = stride;
    layer->padding = padding;
    return SG_OK;
}

int sg_net_max_pool(sg_net *net, int input, int kernel, int stride, int padding) {
    if (net->status != SG_OK) return 0;
    return commit(net, SG_AT(add_pool(net, SG_LAYER_MAX_POOL, input, kernel, stride, padding)));
}

int sg_net_average_pool(sg_net *net, int input, int kernel, int stride, int padding) {
    if (net->status != SG_OK) return 0;
    return commit(net, SG_AT(add_pool(net, SG_LAYER_AVERAGE_POOL, input, kernel, stride, padding)));
}

/* Layers that keep the channels of one pixel: the mean of all, or the first token. */
static int add_single_pixel(sg_net *net, enum sg_layer_kind kind, int input) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, kind, NULL, input, -1, &layer));
    layer->height = layer->width = 1;
    return SG_OK;
}

int sg_net_global_pool(sg_net *net, int input) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_single_pixel(net, SG_LAYER_GLOBAL_POOL, input)));
}

int sg_net_first_token(sg_net *net, int input) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_single_pixel(net, SG_LAYER_FIRST_TOKEN, input)));
}

static int add_scale(sg_net *net, int input, int gate) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_SCALE, NULL, input, gate, &layer));
    SG_CHECK(gate >= 0 && net->layer[gate].channels == layer->channels && net->layer[gate].height == 1 &&
                 net->layer[gate].width == 1,
             SG_INTERNAL, "layer %s needs a gate of %dx1x1", layer->name, layer->channels);
    return SG_OK;
}

int sg_net_scale(sg_net *net, int input, int gate) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_scale(net, input, gate)));
}

static int add_concat(sg_net *net, int a, int b) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_CONCAT, NULL, a, b, &layer));
    SG_CHECK(b >= 0, SG_INTERNAL, "layer %s needs two inputs", layer->name);
    SG_TRY(same_shape(net, layer, a, b, false));
    layer->channels += net->layer[b].channels;
    return SG_OK;
}

int sg_net_concat(sg_net *net, int a, int b) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_concat(net, a, b)));
}

static int add_shuffle(sg_net *net, int input, int groups) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_SHUFFLE, NULL, input, -1, &layer));
    SG_CHECK(groups >= 1 && layer->channels % groups == 0, SG_CONFIG,
             "layer %s: %d channels do not divide into %d groups; choose another width", layer->name,
             layer->channels, groups);
    layer->groups = groups;
    return SG_OK;
}

int sg_net_shuffle(sg_net *net, int input, int groups) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_shuffle(net, input, groups)));
}

static int add_tokens(sg_net *net, int input, const char *class_token, const char *position) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_TOKENS, NULL, input, -1, &layer));
    size_t channels = (size_t)layer->channels;
    layer->height = layer->height * layer->width + (class_token != NULL);
    layer->width = 1;
    if (class_token != NULL) {
        param_form form = {SG_ROLE_EMBEDDING, 3, {1, 1, channels}, SG_INIT_CONSTANT, 0.0};
        SG_TRY(add_param(net, class_token, "", &form, &layer->weight));
    }
    if (position != NULL) {
        param_form form = {SG_ROLE_EMBEDDING, 3, {1, (size_t)layer->height, channels}, SG_INIT_CONSTANT, 0.0};
        SG_TRY(add_param(net, position, "", &form, &layer->bias));
    }
    return SG_OK;
}

int sg_net_tokens(sg_net *net, int input, const char *class_token, const char *position) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_tokens(net, input, class_token, position)));
}

static int add_transpose(sg_net *net, int input, int out_height, int out_width) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_TRANSPOSE, NULL, input, -1, &layer));
    SG_CHECK(out_height >= 1 && out_width >= 1 && out_height <= layer->channels &&
                 (int64_t)out_height * out_width == layer->channels,
             SG_INTERNAL, "layer %s: %d channels are not %dx%d pixels", layer->name, layer->channels,
             out_height, out_width);
    layer->channels = layer->height * layer->width;
    layer->height = out_height;
    layer->width = out_width;
    return SG_OK;
}

int sg_net_transpose(sg_net *net, int input, int out_height, int out_width) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_transpose(net, input, out_height, out_width)));
}

static int add_attention(sg_net *net, int input, int heads) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_ATTENTION, NULL, input, -1, &layer));
    SG_CHECK(heads >= 1 && layer->channels % (3 * heads) == 0 && layer->width == 1, SG_CONFIG,
             "layer %s: %d channels are not queries, keys and values of %d heads; choose another width",
             layer->name, layer->channels, heads);
    layer->heads = heads;
    layer->channels /= 3;
    return SG_OK;
}

int sg_net_attention(sg_net *net, int input, int heads) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_attention(net, input, heads)));
}

static int add_dropout(sg_net *net, int input, float probability) {
    sg_layer *layer = NULL;
    SG_TRY(add_layer(net, SG_LAYER_DROPOUT, NULL, input, -1, &layer));
    SG_CHECK(probability >= 0 && probability < 1, SG_CONFIG, "dropout %g is not in [0, 1)",
             (double)probability);
    SG_CHECK(layer->height == 1 && layer->width == 1, SG_INTERNAL, "layer %s: dropout works on one pixel",
             layer->name);
    layer->probability = probability;
    return SG_OK;
}

int sg_net_dropout(sg_net *net, int input, float probability) {
    return net->status != SG_OK ? 0 : commit(net, SG_AT(add_dropout(net, input, probability)));
}

void sg_net_set_init(sg_net *net, const char *name, enum sg_init_kind init, double scale) {
    if (net->status != SG_OK) return;
    int number = sg_net_find_param(net, name);
    if (number < 0) {
        net->status = SG_FAIL(SG_INTERNAL, "no parameter is named %s", name);
        return;
    }
    net->param[number].init = init;
    net->param[number].scale = scale;
}

/* ---- The network as a whole. */

static int add_input(sg_net *net, int channels, int height, int width) {
    SG_CHECK(channels >= 1 && channels <= CHANNELS_MAX && height >= 1 && height <= PIXELS_MAX && width >= 1 &&
                 width <= PIXELS_MAX,
             SG_CONFIG,
             "images of %d channels, %dx%d pixels: 1 to %d channels and 1 to %d pixels a side are possible",
             channels, height, width, CHANNELS_MAX, PIXELS_MAX);
    SG_CHECK(net->classes >= 1 && net->classes <= CHANNELS_MAX, SG_CONFIG, "%d classes: 1 to %d are possible",
             net->classes, CHANNELS_MAX);
    void *array = NULL;
    SG_TRY(grow(&array, 0, sizeof *net->layer));
    net->layer = array;
    net->layer[0] = (sg_layer){.kind = SG_LAYER_INPUT,
                               .name = "input",
                               .input = {-1, -1},
                               .channels = channels,
                               .height = height,
                               .width = width,
                               .weight = -1,
                               .bias = -1,
                               .statistics = -1};
    net->layers = 1;
    return SG_OK;
}

int sg_net_begin(sg_net **net, const char *arch, int classes, int channels, int height, int width) {
    *net = NULL;
    sg_net *made = NULL;
    SG_TRY(SG_NEW(&made, 1));
    snprintf(made->arch, sizeof made->arch, "%s", arch);
    made->classes = classes;
    int status = SG_AT(add_input(made, channels, height, width));
    if (status != SG_OK) sg_net_destroy(&made);
    *net = made;
    return status;
}

void sg_net_destroy(sg_net **net) {
    if (net == NULL || *net == NULL) return;
    free((*net)->layer);
    free((*net)->param);
    free((*net)->statistics);
    SG_FREE(*net);
}

int sg_net_find_param(const sg_net *net, const char *name) {
    for (int p = 0; p < net->params; p++)
        if (strcmp(net->param[p].name, name) == 0) return p;
    return -1;
}

size_t sg_net_count(const sg_net *net, enum sg_role role) {
    size_t count = 0;
    for (int p = 0; p < net->params; p++)
        if (net->param[p].role == role) count += net->param[p].count;
    return count;
}

double sg_net_flop(const sg_net *net) {
    double flop = 0;
    for (int l = 0; l < net->layers; l++) {
        const sg_layer *layer = &net->layer[l];
        if (layer->kind != SG_LAYER_CONV) continue;
        flop += 2.0 * (double)net->param[layer->weight].count * layer->height * layer->width;
    }
    return flop;
}
