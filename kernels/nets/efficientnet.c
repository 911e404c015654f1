/* EfficientNet-B0 (Tan & Le, ICML 2019) for small images: stem of stride 1, no 1x1 head before the pooling.
 */
#include "kernels/nets/family.h"

enum { STAGES = 7, WIDTH = 32 };

typedef struct stage {
    int expansion, out, blocks, kernel, stride;
} stage;

/* Squeeze and excite (Hu et al., CVPR 2018): a gate per channel from the mean over all pixels. */
static int squeeze_excite(sg_net *net, int x, int number, int squeezed) {
    int channels = net->layer[x].channels;
    sg_net_name down = sg_net_format("layers.%d.se.se1", number),
                up = sg_net_format("layers.%d.se.se2", number);
    int gate = sg_net_conv(net, sg_net_global_pool(net, x), down.text, squeezed, 1, 1, 0, 1, true);
    gate = sg_net_conv(net, sg_net_activation(net, gate, SG_SWISH), up.text, channels, 1, 1, 0, 1, true);
    return sg_net_scale(net, x, sg_net_activation(net, gate, SG_SIGMOID));
}

static int block(sg_net *net, int input, int number, const stage *s, int out, int stride) {
    static const char *const parts[6] = {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"};
    sg_net_name n[6];
    for (int i = 0; i < 6; i++) n[i] = sg_net_format("layers.%d.%s", number, parts[i]);
    int x = input, in = net->layer[input].channels, inside = in * s->expansion;
    if (s->expansion != 1) {
        sg_net_unit expand = {.conv = n[0].text,
                              .norm = n[1].text,
                              .out = inside,
                              .kernel = 1,
                              .stride = 1,
                              .groups = 1,
                              .residual = -1,
                              .activation = SG_SWISH};
        x = sg_net_conv_norm(net, x, &expand);
    }
    sg_net_unit spatial = {.conv = n[2].text,
                           .norm = n[3].text,
                           .out = inside,
                           .kernel = s->kernel,
                           .stride = stride,
                           .groups = inside,
                           .residual = -1,
                           .activation = SG_SWISH};
    x = sg_net_conv_norm(net, x, &spatial);
    x = squeeze_excite(net, x, number, in >= 4 ? in / 4 : 1);
    sg_net_unit project = {.conv = n[4].text,
                           .norm = n[5].text,
                           .out = out,
                           .kernel = 1,
                           .stride = 1,
                           .groups = 1,
                           .residual = stride == 1 && in == out ? input : -1,
                           .activation = SG_IDENTITY};
    return sg_net_conv_norm(net, x, &project);
}

void sg_net_build_efficientnet(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    static const stage stages[STAGES] = {{1, 16, 1, 3, 1}, {6, 24, 2, 3, 2},  {6, 40, 2, 5, 2},
                                         {6, 80, 3, 3, 2}, {6, 112, 3, 5, 1}, {6, 192, 4, 5, 2},
                                         {6, 320, 1, 3, 1}};
    sg_net_unit stem = {.conv = "conv1",
                        .norm = "bn1",
                        .out = options->width,
                        .kernel = 3,
                        .stride = 1,
                        .groups = 1,
                        .residual = -1,
                        .activation = SG_SWISH};
    int x = sg_net_conv_norm(net, 0, &stem), number = 0;
    for (int s = 0; s < STAGES; s++) {
        int out = sg_net_scaled(options, stages[s].out, WIDTH);
        for (int b = 0; b < stages[s].blocks; b++)
            x = block(net, x, number++, &stages[s], out, b == 0 ? stages[s].stride : 1);
    }
    x = sg_net_global_pool(net, x);
    sg_net_classifier(net, sg_net_drop(net, options, x, 0.2F), "linear", true);
}
