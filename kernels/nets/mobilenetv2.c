/* MobileNetV2 (Sandler et al., CVPR 2018). For small images the variant that is common for CIFAR: rectifiers
 * instead of ReLU6, every block expands, every block of stride 1 is residual, with a projection where the
 * channels change. For ImageNet torchvision's. */
#include "kernels/nets/family.h"

typedef struct stage {
    int expansion, out, blocks, stride;
} stage;

enum { STAGES = 7, HEAD = 1280, WIDTH = 32 };

/* What differs from block to block. */
typedef struct block_form {
    int inside, out, stride, residual;
    enum sg_activation activation;
} block_form;

/* 1x1 expansion (unless there is none: its name NULL), depthwise 3x3, 1x1; names in pairs convolution, norm.
 */
static int inverted_block(sg_net *net, int x, const block_form *form, const char *expand,
                          const char *expand_norm, const char *spatial, const char *spatial_norm,
                          const char *project, const char *project_norm) {
    if (expand != NULL) {
        sg_net_unit first = {.conv = expand,
                             .norm = expand_norm,
                             .out = form->inside,
                             .kernel = 1,
                             .stride = 1,
                             .groups = 1,
                             .residual = -1,
                             .activation = form->activation};
        x = sg_net_conv_norm(net, x, &first);
    }
    sg_net_unit second = {.conv = spatial,
                          .norm = spatial_norm,
                          .out = form->inside,
                          .kernel = 3,
                          .stride = form->stride,
                          .groups = form->inside,
                          .residual = -1,
                          .activation = form->activation};
    x = sg_net_conv_norm(net, x, &second);
    sg_net_unit third = {.conv = project,
                         .norm = project_norm,
                         .out = form->out,
                         .kernel = 1,
                         .stride = 1,
                         .groups = 1,
                         .residual = form->residual,
                         .activation = SG_IDENTITY};
    return sg_net_conv_norm(net, x, &third);
}

static int small_block(sg_net *net, int x, int number, const stage *s, int out, int stride) {
    sg_net_name n[8];
    static const char *const parts[8] = {"conv1", "bn1", "conv2",      "bn2",
                                         "conv3", "bn3", "shortcut.0", "shortcut.1"};
    for (int i = 0; i < 8; i++) n[i] = sg_net_format("layers.%d.%s", number, parts[i]);
    int in = net->layer[x].channels, residual = -1;
    if (stride == 1 && in == out) residual = x;
    if (stride == 1 && in != out) {
        sg_net_unit projection = {.conv = n[6].text,
                                  .norm = n[7].text,
                                  .out = out,
                                  .kernel = 1,
                                  .stride = 1,
                                  .groups = 1,
                                  .residual = -1,
                                  .activation = SG_IDENTITY};
        residual = sg_net_conv_norm(net, x, &projection);
    }
    block_form form = {.inside = in * s->expansion,
                       .out = out,
                       .stride = stride,
                       .residual = residual,
                       .activation = SG_RELU};
    return inverted_block(net, x, &form, n[0].text, n[1].text, n[2].text, n[3].text, n[4].text, n[5].text);
}

static int large_block(sg_net *net, int x, int number, const stage *s, int out, int stride) {
    sg_net_name n[6];
    static const char *const parts[6] = {"0.0", "0.1", "1.0", "1.1", "2", "3"};
    static const char *const plain_parts[6] = {"", "", "0.0", "0.1", "1", "2"};
    bool expands = s->expansion != 1;
    for (int i = 0; i < 6; i++)
        n[i] = sg_net_format("features.%d.conv.%s", number, expands ? parts[i] : plain_parts[i]);
    int in = net->layer[x].channels;
    block_form form = {.inside = in * s->expansion,
                       .out = out,
                       .stride = stride,
                       .residual = stride == 1 && in == out ? x : -1,
                       .activation = SG_RELU6};
    return inverted_block(net, x, &form, expands ? n[0].text : NULL, n[1].text, n[2].text, n[3].text,
                          n[4].text, n[5].text);
}

static int blocks(sg_net *net, const sg_net_options *options, int x, const stage *stages, int first,
                  int (*block)(sg_net *, int, int, const stage *, int, int)) {
    for (int s = 0; s < STAGES; s++) {
        int out = sg_net_scaled(options, stages[s].out, WIDTH);
        for (int b = 0; b < stages[s].blocks; b++)
            x = block(net, x, first++, &stages[s], out, b == 0 ? stages[s].stride : 1);
    }
    return x;
}

static void build_small(sg_net *net, const sg_net_options *options) {
    static const stage stages[STAGES] = {{1, 16, 1, 1}, {6, 24, 2, 1},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                         {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    sg_net_unit stem = {.conv = "conv1",
                        .norm = "bn1",
                        .out = options->width,
                        .kernel = 3,
                        .stride = 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU};
    int x = blocks(net, options, sg_net_conv_norm(net, 0, &stem), stages, 0, small_block);
    sg_net_unit head = {.conv = "conv2",
                        .norm = "bn2",
                        .out = sg_net_scaled(options, HEAD, WIDTH),
                        .kernel = 1,
                        .stride = 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU};
    x = sg_net_global_pool(net, sg_net_conv_norm(net, x, &head));
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "linear", true);
}

static void build_large(sg_net *net, const sg_net_options *options) {
    static const stage stages[STAGES] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                         {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    sg_net_unit stem = {.conv = "features.0.0",
                        .norm = "features.0.1",
                        .out = options->width,
                        .kernel = 3,
                        .stride = 2,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU6};
    int x = blocks(net, options, sg_net_conv_norm(net, 0, &stem), stages, 1, large_block);
    sg_net_unit head = {.conv = "features.18.0",
                        .norm = "features.18.1",
                        .out = sg_net_scaled(options, HEAD, WIDTH),
                        .kernel = 1,
                        .stride = 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU6};
    x = sg_net_global_pool(net, sg_net_conv_norm(net, x, &head));
    sg_net_classifier(net, sg_net_drop(net, options, x, 0.2F), "classifier.1", true);
    for (int l = 0; l < net->layers; l++)
        if (net->layer[l].kind == SG_LAYER_CONV && net->param[net->layer[l].weight].role == SG_ROLE_WEIGHT)
            sg_net_kaiming_fan_out(net, net->layer[l].name);
    sg_net_set_init(net, "classifier.1.weight", SG_INIT_NORMAL, 0.01);
    sg_net_set_init(net, "classifier.1.bias", SG_INIT_CONSTANT, 0);
}

void sg_net_build_mobilenetv2(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    if (options->imagenet)
        build_large(net, options);
    else
        build_small(net, options);
}
