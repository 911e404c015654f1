/* A multilayer perceptron on flattened images: two hidden layers of `width` units. */
#include "kernels/nets/family.h"

void sg_net_build_mlp(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    int x = sg_net_activation(net, sg_net_linear(net, 0, "fc1", options->width, true, false), SG_RELU);
    x = sg_net_activation(net, sg_net_linear(net, x, "fc2", options->width, true, false), SG_RELU);
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "fc3", true);
}
