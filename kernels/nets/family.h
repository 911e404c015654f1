/* What the families of networks share. A family's build function fills a network that has its input layer,
 * with the builder of net.h; what went wrong is in net->status. options->width is never 0 here. */
#ifndef SG_NETS_FAMILY_H
#define SG_NETS_FAMILY_H

#include "kernels/net.h"

typedef void (*sg_net_build)(sg_net *net, const sg_net_options *options, int variant);

/* Variants: of resnet_cifar a third of its blocks, of resnet and vgg the layers, of others none. */
void sg_net_build_resnet_cifar(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_resnet(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_vgg(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_mlp(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_lenet(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_mobilenetv2(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_efficientnet(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_shufflenet(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_mlp_mixer(sg_net *net, const sg_net_options *options, int variant);
void sg_net_build_vit(sg_net *net, const sg_net_options *options, int variant);

/* "layer1.0.conv2", say, by value. */
typedef struct sg_net_name {
    char text[SG_NAME_LENGTH];
} sg_net_name;
sg_net_name sg_net_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* channels of an architecture whose own width is `own`, at options->width; at least 1. */
int sg_net_scaled(const sg_net_options *options, int channels, int own);

/* Convolution, batch norm and activation; the residual (-1: none) is added before the activation. */
typedef struct sg_net_unit {
    const char *conv, *norm;
    int out, kernel, stride, groups; /* padding keeps the size at stride 1 */
    int residual;
    enum sg_activation activation;
    bool bias;
} sg_net_unit;
int sg_net_conv_norm(sg_net *net, int input, const sg_net_unit *unit);

/* Kaiming normal by fan-out (relu) for a convolution's weight, as torchvision does: sd sqrt(2 / (out k k)).
 */
void sg_net_kaiming_fan_out(sg_net *net, const char *conv);

/* Dropout of options->dropout, or own_dropout when the options leave it open; no layer where it is 0. */
int sg_net_drop(sg_net *net, const sg_net_options *options, int input, float own_dropout);

/* Side of the square patches that cut the image into tokens: 16 for ImageNet, 4 up to 48 pixels, else 8. */
int sg_net_patch(sg_net *net, const sg_net_options *options);

#endif
