/* MLP-Mixer (Tolstikhin et al., NeurIPS 2021): layer norm, a perceptron over tokens, layer norm, a perceptron
 * over channels, both residual. Token mixing expands four times, channel mixing halves. */
#include "kernels/nets/family.h"

static const double epsilon = 1e-5;

/* fc1, GELU, fc2 on the channels of every pixel. */
static int perceptron(sg_net *net, int x, const sg_net_name *prefix, int hidden) {
    int out = net->layer[x].channels;
    sg_net_name first = sg_net_format("%s.fc1", prefix->text), second = sg_net_format("%s.fc2", prefix->text);
    x = sg_net_activation(net, sg_net_linear(net, x, first.text, hidden, true, true), SG_GELU);
    return sg_net_linear(net, x, second.text, out, true, true);
}

static int mixer_block(sg_net *net, int input, int number) {
    int dim = net->layer[input].channels, tokens = net->layer[input].height;
    sg_net_name norm1 = sg_net_format("blocks.%d.norm1", number),
                norm2 = sg_net_format("blocks.%d.norm2", number);
    sg_net_name mix_tokens = sg_net_format("blocks.%d.mlp_tokens", number);
    sg_net_name mix_channels = sg_net_format("blocks.%d.mlp_channels", number);
    int x = sg_net_transpose(net, sg_net_layer_norm(net, input, norm1.text, epsilon), dim, 1);
    x = sg_net_transpose(net, perceptron(net, x, &mix_tokens, 4 * tokens), tokens, 1);
    int middle = sg_net_add(net, input, x);
    x = sg_net_layer_norm(net, middle, norm2.text, epsilon);
    return sg_net_add(net, middle, perceptron(net, x, &mix_channels, dim > 1 ? dim / 2 : 1));
}

void sg_net_build_mlp_mixer(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    int patch = sg_net_patch(net, options), depth = options->depth > 0 ? options->depth : 12;
    int x = sg_net_conv(net, 0, "stem.proj", options->width, patch, patch, 0, 1, true);
    x = sg_net_tokens(net, x, NULL, NULL);
    for (int b = 0; b < depth; b++) x = mixer_block(net, x, b);
    x = sg_net_global_pool(net, sg_net_layer_norm(net, x, "norm", epsilon));
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "head", true);
}
