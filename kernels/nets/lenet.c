/* LeNet-5 (LeCun et al., 1998) with rectifiers and maximum pooling; fc1 adapts to the size of the image. */
#include "kernels/nets/family.h"

void sg_net_build_lenet(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    int x = sg_net_conv(net, 0, "conv1", sg_net_scaled(options, 6, 6), 5, 1, 0, 1, true);
    x = sg_net_max_pool(net, sg_net_activation(net, x, SG_RELU), 2, 2, 0);
    x = sg_net_conv(net, x, "conv2", sg_net_scaled(options, 16, 6), 5, 1, 0, 1, true);
    x = sg_net_max_pool(net, sg_net_activation(net, x, SG_RELU), 2, 2, 0);
    x = sg_net_activation(net, sg_net_linear(net, x, "fc1", sg_net_scaled(options, 120, 6), true, false),
                          SG_RELU);
    x = sg_net_activation(net, sg_net_linear(net, x, "fc2", sg_net_scaled(options, 84, 6), true, false),
                          SG_RELU);
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "fc3", true);
}
