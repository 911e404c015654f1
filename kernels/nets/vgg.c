/* VGG with batch norm (Simonyan & Zisserman, ICLR 2015), torchvision's names: features.N counts convolution,
 * norm, activation and pooling. Small images end in one linear layer, ImageNet in torchvision's three. */
#include "kernels/nets/family.h"

enum { POOL = 0 };

static int build_features(sg_net *net, const sg_net_options *options, int variant) {
    static const int vgg11[] = {64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL, -1};
    static const int vgg16[] = {64,  64,  POOL, 128,  128, POOL, 256, 256,  256, POOL,
                                512, 512, 512,  POOL, 512, 512,  512, POOL, -1};
    int x = 0, position = 0;
    for (const int *item = variant == 16 ? vgg16 : vgg11; *item >= 0; item++) {
        if (*item == POOL) {
            x = sg_net_max_pool(net, x, 2, 2, 0);
            position++;
            continue;
        }
        sg_net_name conv = sg_net_format("features.%d", position),
                    norm = sg_net_format("features.%d", position + 1);
        sg_net_unit unit = {.conv = conv.text,
                            .norm = norm.text,
                            .out = sg_net_scaled(options, *item, 64),
                            .kernel = 3,
                            .stride = 1,
                            .groups = 1,
                            .residual = -1,
                            .activation = SG_RELU,
                            .bias = true};
        x = sg_net_conv_norm(net, x, &unit);
        position += 3;
    }
    return x;
}

void sg_net_build_vgg(sg_net *net, const sg_net_options *options, int variant) {
    int x = build_features(net, options, variant);
    if (net->status != SG_OK) return;
    int height = net->layer[x].height, width = net->layer[x].width;
    if (!options->imagenet) {
        if (height > 1 || width > 1) x = sg_net_global_pool(net, x);
        sg_net_classifier(net, sg_net_drop(net, options, x, 0), "classifier", true);
        return;
    }
    if (height != 7 || width != 7) {
        net->status =
            SG_FAIL(SG_CONFIG, "its classifier for ImageNet needs 7x7 pixels (224x224 images), not %dx%d",
                    height, width);
        return;
    }
    x = sg_net_linear(net, x, "classifier.0", sg_net_scaled(options, 4096, 64), true, false);
    x = sg_net_drop(net, options, sg_net_activation(net, x, SG_RELU), 0.5F);
    x = sg_net_linear(net, x, "classifier.3", sg_net_scaled(options, 4096, 64), true, false);
    x = sg_net_drop(net, options, sg_net_activation(net, x, SG_RELU), 0.5F);
    sg_net_classifier(net, x, "classifier.6", true);
}
