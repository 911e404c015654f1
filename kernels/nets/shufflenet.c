/* ShuffleNet v1 with 3 groups (Zhang et al., CVPR 2018) for small images. Every convolution has a bias. */
#include "kernels/nets/family.h"

enum { GROUPS = 3, WIDTH = 24 };

typedef struct unit_form {
    int stage, number, out, stride;
} unit_form;

static int conv_norm(sg_net *net, int input, const unit_form *form, const char *module, int out, int kernel,
                     int stride, int groups, int residual, enum sg_activation activation) {
    sg_net_name conv = sg_net_format("stage%d.%d.%s.0", form->stage, form->number, module);
    sg_net_name norm = sg_net_format("stage%d.%d.%s.1", form->stage, form->number, module);
    sg_net_unit unit = {.conv = conv.text,
                        .norm = norm.text,
                        .out = out,
                        .kernel = kernel,
                        .stride = stride,
                        .groups = groups,
                        .residual = residual,
                        .activation = activation,
                        .bias = true};
    return sg_net_conv_norm(net, input, &unit);
}

/* A unit of stride 2 puts its pooled input in front of the new channels instead of adding it. */
static int shuffle_unit(sg_net *net, int input, const unit_form *form) {
    bool halves = form->stride != 1;
    int middle = form->out / 4;
    int out = halves ? form->out - net->layer[input].channels : form->out;
    int x = conv_norm(net, input, form, "bottlneck.0.pointwise", middle, 1, 1, GROUPS, -1, SG_RELU);
    x = sg_net_shuffle(net, x, GROUPS);
    x = conv_norm(net, x, form, "depthwise.depthwise", middle, 3, form->stride, middle, -1, SG_IDENTITY);
    x = conv_norm(net, x, form, "expand.pointwise", out, 1, 1, GROUPS, halves ? -1 : input,
                  halves ? SG_IDENTITY : SG_RELU);
    if (!halves) return x;
    x = sg_net_concat(net, sg_net_average_pool(net, input, 3, 2, 1), x);
    return sg_net_activation(net, x, SG_RELU);
}

void sg_net_build_shufflenet(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    static const int units[3] = {4, 8, 4}, channels[3] = {240, 480, 960};
    sg_net_unit stem = {.conv = "conv1.conv",
                        .norm = "conv1.bn",
                        .out = options->width,
                        .kernel = 3,
                        .stride = 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_RELU,
                        .bias = true};
    int x = sg_net_conv_norm(net, 0, &stem);
    for (int stage = 0; stage < 3; stage++)
        for (int unit = 0; unit < units[stage]; unit++) {
            unit_form form = {.stage = stage + 2,
                              .number = unit,
                              .out = sg_net_scaled(options, channels[stage], WIDTH),
                              .stride = unit == 0 ? 2 : 1};
            x = shuffle_unit(net, x, &form);
        }
    x = sg_net_global_pool(net, x);
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "fc", true);
}
