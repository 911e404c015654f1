/* A network as a table of layers: what each computes, from what, with which parameters. The table knows no
 * values, no memory and no machine; the executor (exec.h) runs it in float lane blocks, the tests' reference
 * runs the same table in double.
 *
 * kernels/nets/ builds networks: one file per family, one line per network in the registry (nets.c). */
#ifndef SG_NET_H
#define SG_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/conv.h"
#include "kernels/layers.h"

enum { SG_NAME_LENGTH = 96 };

enum sg_layer_kind {
    SG_LAYER_INPUT,
    SG_LAYER_CONV,       /* weight, optional bias; linear layers too (see conv.h) */
    SG_LAYER_BATCH_NORM, /* gamma, beta, statistics; optional residual input[1]; activation */
    SG_LAYER_LAYER_NORM, /* gamma, beta over channels */
    SG_LAYER_ACTIVATION,
    SG_LAYER_ADD, /* input[0] + input[1] */
    SG_LAYER_MAX_POOL,
    SG_LAYER_AVERAGE_POOL,
    SG_LAYER_GLOBAL_POOL,
    SG_LAYER_SCALE,   /* input[0] * gate input[1] */
    SG_LAYER_CONCAT,  /* channels of input[0], then of input[1] */
    SG_LAYER_SHUFFLE, /* groups */
    SG_LAYER_TOKENS,  /* pixels to tokens; class token and position parameters, either may be absent */
    SG_LAYER_FIRST_TOKEN,
    SG_LAYER_TRANSPOSE,
    SG_LAYER_ATTENTION, /* heads */
    SG_LAYER_DROPOUT
};

enum sg_role {
    SG_ROLE_WEIGHT, /* prunable: convolution and linear weights but the classifier's */
    SG_ROLE_BIAS,
    SG_ROLE_GAMMA, /* norm weight; initial value 1 */
    SG_ROLE_BETA,  /* norm bias; initial value 0 */
    SG_ROLE_CLASSIFIER_WEIGHT,
    SG_ROLE_CLASSIFIER_BIAS,
    SG_ROLE_EMBEDDING /* class token, position: trained, never pruned */
};

enum sg_init_kind { SG_INIT_CONSTANT, SG_INIT_UNIFORM /* [-scale, scale) */, SG_INIT_NORMAL /* sd scale */ };

typedef struct sg_param {
    char name[SG_NAME_LENGTH]; /* as in PyTorch's state_dict */
    enum sg_role role;
    int dimensions;
    size_t shape[4];
    size_t count;
    size_t offset; /* into sg_weights.values */
    enum sg_init_kind init;
    double scale; /* of init; the constant itself for SG_INIT_CONSTANT */
} sg_param;

/* Running statistics of one batch norm: <name>.running_mean, .running_var [channels], .num_batches_tracked.
 */
typedef struct sg_statistics {
    char name[SG_NAME_LENGTH];
    size_t channels;
    size_t offset; /* into sg_weights.mean and sg_weights.variance */
} sg_statistics;

typedef struct sg_layer {
    enum sg_layer_kind kind;
    char name[SG_NAME_LENGTH];
    int input[2];                /* earlier layers; -1 none. Batch norm: input[1] is the residual */
    int channels, height, width; /* of the output */
    sg_conv_shape conv;          /* SG_LAYER_CONV */
    int weight, bias;            /* parameter numbers, -1 none (gamma and beta; class token and position) */
    int statistics;              /* batch norm: number in net->statistics, else -1 */
    enum sg_activation activation;
    int kernel, stride, padding; /* pooling */
    int groups, heads;           /* shuffle; attention */
    float probability;           /* dropout */
    double epsilon;              /* norms: added to the variance */
} sg_layer;

typedef struct sg_net {
    char arch[32];
    int classes;
    sg_layer *layer;
    int layers;
    sg_param *param;
    int params;
    sg_statistics *statistics;
    int statistics_count;
    size_t values;           /* trainable numbers over all parameters */
    size_t channels_tracked; /* running means over all batch norms */
    int status;              /* builder: the first error; every builder call is a no-op after it */
} sg_net;

/* What to build. width 0: the architecture's own. Options beyond these belong to the family's file. */
typedef struct sg_net_options {
    const char *arch;
    int classes, width;
    int channels, image_height, image_width; /* of the input images, in pixels */
    bool imagenet;  /* ImageNet stems and torchvision variants (inputs of 112 pixels and more) */
    double dropout; /* < 0: the architecture's own */
    int depth;      /* vit, mlp_mixer: blocks; 0 = own; others: 0 */
} sg_net_options;

/* Builds the named network. SG_CONFIG: unknown name (nearest named), or an input too small for it. Owned. */
int sg_net_create(sg_net **net, const sg_net_options *options);
void sg_net_destroy(sg_net **net);

/* The registry: names in order, NULL at the end. */
const char *const *sg_net_names(void);

/* Number of the parameter with this name, or -1. */
int sg_net_find_param(const sg_net *net, const char *name);

size_t sg_net_count(const sg_net *net, enum sg_role role); /* values with this role */

/* FLOP of one sample's forward pass: 2 per multiply-add of convolutions and linear layers. */
double sg_net_flop(const sg_net *net);

const char *sg_layer_kind_name(enum sg_layer_kind kind); /* "conv", "batch_norm" ... */

/* ---- Builder, for kernels/nets/. Layers are numbered from 0 (the input), which only convolutions, linear
 * layers, sums and, as a residual, batch norms read. After an error (memory, shapes that do not fit) calls
 * return 0 and net->status tells; the network is then good for nothing but sg_net_destroy. Names are the
 * state_dict's prefixes: "layer1.0.conv1". */

/* Starts a network: layer 0, images [channels][height][width]. SG_CONFIG: impossible sizes. Owned. */
int sg_net_begin(sg_net **net, const char *arch, int classes, int channels, int height, int width);

int sg_net_conv(sg_net *net, int input, const char *name, int out, int kernel, int stride, int padding,
                int groups, bool bias);
/* torch.nn.Linear on a 1x1 input, per token, or (flattening C, H, W as torch does) on all pixels at once. */
int sg_net_linear(sg_net *net, int input, const char *name, int out, bool bias, bool per_pixel);
/* The classifier: a linear layer whose weights are never pruned. Flattens H, W. */
int sg_net_classifier(sg_net *net, int input, const char *name, bool bias);
/* residual -1: none. Epsilon is torch's 1e-5. */
int sg_net_batch_norm(sg_net *net, int input, const char *name, int residual, enum sg_activation activation);
int sg_net_layer_norm(sg_net *net, int input, const char *name, double epsilon);
int sg_net_activation(sg_net *net, int input, enum sg_activation activation);
int sg_net_add(sg_net *net, int a, int b);
int sg_net_max_pool(sg_net *net, int input, int kernel, int stride, int padding);
int sg_net_average_pool(sg_net *net, int input, int kernel, int stride, int padding);
int sg_net_global_pool(sg_net *net, int input);
int sg_net_scale(sg_net *net, int input, int gate);
int sg_net_concat(sg_net *net, int a, int b);
int sg_net_shuffle(sg_net *net, int input, int groups);
/* Names NULL: absent. Position has one row per token, the class token's first. */
int sg_net_tokens(sg_net *net, int input, const char *class_token, const char *position);
int sg_net_first_token(sg_net *net, int input);
/* Exchanges pixels and channels: out channels = H*W of the input, out_height * out_width = its channels. */
int sg_net_transpose(sg_net *net, int input, int out_height, int out_width);
int sg_net_attention(sg_net *net, int input, int heads);
int sg_net_dropout(sg_net *net, int input, float probability);
/* Changes how the parameter "<name>" is initialised (default: PyTorch's uniform with bound 1/sqrt(fan_in) for
 * weights and biases, 1 and 0 for norms, 0 for embeddings). */
void sg_net_set_init(sg_net *net, const char *name, enum sg_init_kind init, double scale);

#endif
