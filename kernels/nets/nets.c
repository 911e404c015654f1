#include "kernels/net.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/nets/family.h"

/* One line per network: name, who builds it, which variant, its own width, whether it takes a depth. */
#define REGISTRY(ROW)                                                                                        \
    ROW("resnet20", sg_net_build_resnet_cifar, 3, 16, false)                                                 \
    ROW("resnet32", sg_net_build_resnet_cifar, 5, 16, false)                                                 \
    ROW("resnet56", sg_net_build_resnet_cifar, 9, 16, false)                                                 \
    ROW("resnet18", sg_net_build_resnet, 18, 64, false)                                                      \
    ROW("resnet50", sg_net_build_resnet, 50, 64, false)                                                      \
    ROW("mobilenetv2", sg_net_build_mobilenetv2, 0, 32, false)                                               \
    ROW("efficientnet_b0", sg_net_build_efficientnet, 0, 32, false)                                          \
    ROW("shufflenet", sg_net_build_shufflenet, 0, 24, false)                                                 \
    ROW("mlp_mixer", sg_net_build_mlp_mixer, 0, 512, true)                                                   \
    ROW("vgg11_bn", sg_net_build_vgg, 11, 64, false)                                                         \
    ROW("vgg16_bn", sg_net_build_vgg, 16, 64, false)                                                         \
    ROW("vit", sg_net_build_vit, 0, 192, true)                                                               \
    ROW("mlp", sg_net_build_mlp, 0, 256, false)                                                              \
    ROW("lenet", sg_net_build_lenet, 0, 6, false)

typedef struct entry {
    const char *arch;
    sg_net_build build;
    int variant, width;
    bool depth;
} entry;

#define ROW_ENTRY(name, build, variant, width, depth) {name, build, variant, width, depth},
#define ROW_NAME(name, build, variant, width, depth) name,
static const entry registry[] = {REGISTRY(ROW_ENTRY)};
static const char *const names[] = {REGISTRY(ROW_NAME) NULL};

enum { ENTRIES = sizeof registry / sizeof registry[0], ARCH_MAX = 32, WIDTH_MAX = 65536, DEPTH_MAX = 1000 };

const char *const *sg_net_names(void) { return names; }

static int smallest(int a, int b, int c) {
    int least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits (insert, delete, exchange) between two strings, of which the first ARCH_MAX characters count. */
static int edit_distance(const char *a, const char *b) {
    int row[ARCH_MAX + 1];
    int columns = (int)strnlen(b, ARCH_MAX);
    for (int j = 0; j <= columns; j++) row[j] = j;
    for (int i = 1; i <= ARCH_MAX && a[i - 1] != '\0'; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            int above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[columns];
}

static int find_entry(const char *arch, const entry **found) {
    SG_CHECK(arch != NULL && arch[0] != '\0', SG_CONFIG, "no network is named");
    int nearest = 0, distance = ARCH_MAX + 1;
    for (int e = 0; e < ENTRIES; e++) {
        int d = edit_distance(arch, registry[e].arch);
        if (strcmp(arch, registry[e].arch) == 0) {
            *found = &registry[e];
            return SG_OK;
        }
        if (d < distance) {
            distance = d;
            nearest = e;
        }
    }
    return SG_FAIL(SG_CONFIG, "no network is named \"%.64s\"; the nearest is \"%s\"", arch,
                   registry[nearest].arch);
}

int sg_net_create(sg_net **net, const sg_net_options *options) {
    *net = NULL;
    const entry *found = NULL;
    SG_TRY(find_entry(options->arch, &found));
    SG_CHECK(options->width >= 0 && options->width <= WIDTH_MAX, SG_CONFIG,
             "%s: width %d is not in 1 to %d (0: the network's own, %d)", found->arch, options->width,
             WIDTH_MAX, found->width);
    SG_CHECK(options->depth >= 0 && options->depth <= DEPTH_MAX && (options->depth == 0 || found->depth),
             SG_CONFIG,
             found->depth ? "%s: depth %d is not in 1 to 1000 (0: the network's own)"
                          : "%s: its depth is fixed; depth must be 0, not %d",
             found->arch, options->depth);
    SG_CHECK(!isnan(options->dropout) && options->dropout < 1, SG_CONFIG,
             "%s: dropout %g is not below 1 (negative: the network's own)", found->arch, options->dropout);
    sg_net_options resolved = *options;
    if (resolved.width == 0) resolved.width = found->width;

    sg_net *made = NULL;
    int status = SG_AT(sg_net_begin(&made, found->arch, options->classes, options->channels,
                                    options->image_height, options->image_width));
    if (status == SG_OK) {
        found->build(made, &resolved, found->variant);
        status = SG_AT(made->status);
    }
    if (status != SG_OK) {
        sg_net_destroy(&made);
        return sg_error_prefix(status, "%s on images of %dx%dx%d: ", found->arch, options->channels,
                               options->image_height, options->image_width);
    }
    *net = made;
    return SG_OK;
}

/* ---- What the families share. */

sg_net_name sg_net_format(const char *format, ...) {
    sg_net_name name;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name.text, sizeof name.text, format, arguments);
    va_end(arguments);
    return name;
}

int sg_net_scaled(const sg_net_options *options, int channels, int own) {
    int64_t scaled = (int64_t)channels * options->width / own;
    if (scaled > INT32_MAX) return INT32_MAX; /* the builder refuses it */
    return scaled < 1 ? 1 : (int)scaled;
}

int sg_net_conv_norm(sg_net *net, int input, const sg_net_unit *unit) {
    int layer = sg_net_conv(net, input, unit->conv, unit->out, unit->kernel, unit->stride,
                            (unit->kernel - 1) / 2, unit->groups, unit->bias);
    return sg_net_batch_norm(net, layer, unit->norm, unit->residual, unit->activation);
}

void sg_net_kaiming_fan_out(sg_net *net, const char *conv) {
    if (net->status != SG_OK) return;
    sg_net_name name = sg_net_format("%s.weight", conv);
    int number = sg_net_find_param(net, name.text);
    double fan_out = 1;
    if (number >= 0) {
        const sg_param *weight = &net->param[number];
        fan_out = (double)(weight->shape[0] * weight->shape[2] * weight->shape[3]);
    }
    sg_net_set_init(net, name.text, SG_INIT_NORMAL, sqrt(2.0 / fan_out));
}

int sg_net_drop(sg_net *net, const sg_net_options *options, int input, float own_dropout) {
    float probability = options->dropout < 0 ? own_dropout : (float)options->dropout;
    return probability == 0 ? input : sg_net_dropout(net, input, probability);
}

int sg_net_patch(sg_net *net, const sg_net_options *options) {
    int longer = options->image_height > options->image_width ? options->image_height : options->image_width;
    int patch = options->imagenet ? 16 : longer <= 48 ? 4 : 8;
    if (net->status == SG_OK && (options->image_height % patch != 0 || options->image_width % patch != 0))
        net->status = SG_FAIL(SG_CONFIG, "its patches of %d pixels do not divide the image", patch);
    return patch;
}
