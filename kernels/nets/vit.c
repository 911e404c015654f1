/* Vision Transformer (Dosovitskiy et al., ICLR 2021), small: norm before attention and perceptron, class
 * token, learned positions. Heads of 64 channels, perceptrons four times as wide, 6 blocks. */
#include "kernels/nets/family.h"

static const double epsilon = 1e-5;

static int transformer_block(sg_net *net, int input, int number, int heads) {
    int dim = net->layer[input].channels;
    static const char *const parts[6] = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"};
    sg_net_name n[6];
    for (int i = 0; i < 6; i++) n[i] = sg_net_format("blocks.%d.%s", number, parts[i]);
    int x = sg_net_layer_norm(net, input, n[0].text, epsilon);
    x = sg_net_attention(net, sg_net_linear(net, x, n[1].text, 3 * dim, true, true), heads);
    int middle = sg_net_add(net, input, sg_net_linear(net, x, n[2].text, dim, true, true));
    x = sg_net_layer_norm(net, middle, n[3].text, epsilon);
    x = sg_net_activation(net, sg_net_linear(net, x, n[4].text, 4 * dim, true, true), SG_GELU);
    return sg_net_add(net, middle, sg_net_linear(net, x, n[5].text, dim, true, true));
}

void sg_net_build_vit(sg_net *net, const sg_net_options *options, int variant) {
    (void)variant;
    int patch = sg_net_patch(net, options), depth = options->depth > 0 ? options->depth : 6;
    int heads = options->width >= 64 ? options->width / 64 : 1;
    int x = sg_net_conv(net, 0, "patch_embed.proj", options->width, patch, patch, 0, 1, true);
    x = sg_net_tokens(net, x, "cls_token", "pos_embed");
    for (int b = 0; b < depth; b++) x = transformer_block(net, x, b, heads);
    x = sg_net_first_token(net, sg_net_layer_norm(net, x, "norm", epsilon));
    sg_net_classifier(net, sg_net_drop(net, options, x, 0), "head", true);
    sg_net_set_init(net, "cls_token", SG_INIT_NORMAL, 0.02);
    sg_net_set_init(net, "pos_embed", SG_INIT_NORMAL, 0.02);
}
