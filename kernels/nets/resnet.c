/* Residual networks (He et al., CVPR 2016): the CIFAR family of 6n + 2 layers and torchvision's 18 and 50. */
#include <stdbool.h>

#include "kernels/nets/family.h"

typedef struct block_form {
    sg_net_name name; /* "layer1.0" */
    int middle, out;  /* channels inside the block and behind it */
    int stride;
    bool bottleneck;
    bool kaiming; /* torchvision's initialisation; otherwise PyTorch's default */
} block_form;

static int conv_norm(sg_net *net, int input, const block_form *form, const char *conv, const char *norm,
                     int out, int kernel, int stride, int residual, enum sg_activation activation) {
    sg_net_name conv_name = sg_net_format("%s.%s", form->name.text, conv);
    sg_net_name norm_name = sg_net_format("%s.%s", form->name.text, norm);
    sg_net_unit unit = {.conv = conv_name.text,
                        .norm = norm_name.text,
                        .out = out,
                        .kernel = kernel,
                        .stride = stride,
                        .groups = 1,
                        .residual = residual,
                        .activation = activation};
    int layer = sg_net_conv_norm(net, input, &unit);
    if (form->kaiming) sg_net_kaiming_fan_out(net, conv_name.text);
    return layer;
}

/* The stride of a bottleneck sits on its 3x3 convolution, as in torchvision. */
static int residual_block(sg_net *net, int input, const block_form *form) {
    int shortcut = input, x;
    if (form->stride != 1 || net->layer[input].channels != form->out)
        shortcut = conv_norm(net, input, form, "downsample.0", "downsample.1", form->out, 1, form->stride, -1,
                             SG_IDENTITY);
    if (!form->bottleneck) {
        x = conv_norm(net, input, form, "conv1", "bn1", form->middle, 3, form->stride, -1, SG_RELU);
        return conv_norm(net, x, form, "conv2", "bn2", form->out, 3, 1, shortcut, SG_RELU);
    }
    x = conv_norm(net, input, form, "conv1", "bn1", form->middle, 1, 1, -1, SG_RELU);
    x = conv_norm(net, x, form, "conv2", "bn2", form->middle, 3, form->stride, -1, SG_RELU);
    return conv_norm(net, x, form, "conv3", "bn3", form->out, 1, 1, shortcut, SG_RELU);
}

/* stages of blocks[stage] blocks; channels double and pixels halve from stage to stage. */
static void build(sg_net *net, const sg_net_options *options, int x, int stages, const int *blocks,
                  bool bottleneck, bool kaiming) {
    for (int stage = 0; stage < stages; stage++) {
        for (int b = 0; b < blocks[stage]; b++) {
            int middle = options->width << stage;
            block_form form = {.name = sg_net_format("layer%d.%d", stage + 1, b),
                               .middle = middle,
                               .out = bottleneck ? 4 * middle : middle,
                               .stride = stage > 0 && b == 0 ? 2 : 1,
                               .bottleneck = bottleneck,
                               .kaiming = kaiming};
            x = residual_block(net, x, &form);
        }
    }
    x = sg_net_global_pool(net, x);
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "fc", true);
}

void sg_net_build_resnet_cifar(sg_net *net, const sg_net_options *options, int variant) {
    int blocks[3] = {variant, variant, variant};
    sg_net_unit stem = {.conv = "conv1",
                        .norm = "bn1",
                        .out = options->width,
                        .kernel = 3,
                        .stride = 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU};
    build(net, options, sg_net_conv_norm(net, 0, &stem), 3, blocks, false, false);
}

/* For small images the stem keeps every pixel, and, as a replaced layer, the default initialisation. */
void sg_net_build_resnet(sg_net *net, const sg_net_options *options, int variant) {
    static const int blocks18[4] = {2, 2, 2, 2}, blocks50[4] = {3, 4, 6, 3};
    bool large = options->imagenet;
    sg_net_unit stem = {.conv = "conv1",
                        .norm = "bn1",
                        .out = options->width,
                        .kernel = large ? 7 : 3,
                        .stride = large ? 2 : 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU};
    int x = sg_net_conv_norm(net, 0, &stem);
    if (large) {
        sg_net_kaiming_fan_out(net, "conv1");
        x = sg_net_max_pool(net, x, 3, 2, 1);
    }
    build(net, options, x, 4, variant == 50 ? blocks50 : blocks18, variant == 50, true);
}
