/* Networks: counts against the published tables, names and shapes of single tensors, initialisation,
 * messages. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/net.h"

static sg_net_options options_for(const char *arch, int classes, int side, bool imagenet) {
    return (sg_net_options){.arch = arch,
                            .classes = classes,
                            .channels = 3,
                            .image_height = side,
                            .image_width = side,
                            .imagenet = imagenet,
                            .dropout = -1};
}

static sg_net *make(const char *arch, int classes, int side, bool imagenet) {
    sg_net_options options = options_for(arch, classes, side, imagenet);
    sg_net *net = NULL;
    int status = sg_net_create(&net, &options);
    if (status != SG_OK) fail_msg("%s: %s", arch, sg_error_message());
    return net;
}

static int prunable_tensors(const sg_net *net) {
    int count = 0;
    for (int p = 0; p < net->params; p++) count += net->param[p].role == SG_ROLE_WEIGHT;
    return count;
}

typedef struct expected {
    const char *arch;
    int classes, side;
    bool imagenet;
    size_t values, prunable;
    int tensors;
    size_t norm, classifier;
} expected;

static void check_counts(void **state) {
    const expected *e = *state;
    sg_net *net = make(e->arch, e->classes, e->side, e->imagenet);
    assert_int_equal(net->values, e->values);
    assert_int_equal(sg_net_count(net, SG_ROLE_WEIGHT), e->prunable);
    assert_int_equal(prunable_tensors(net), e->tensors);
    assert_int_equal(sg_net_count(net, SG_ROLE_GAMMA) + sg_net_count(net, SG_ROLE_BETA), e->norm);
    assert_int_equal(sg_net_count(net, SG_ROLE_CLASSIFIER_WEIGHT) +
                         sg_net_count(net, SG_ROLE_CLASSIFIER_BIAS),
                     e->classifier);
    sg_net_destroy(&net);
    assert_null(net);
}

static expected tables[] = {
    /* The table of the method's reference. */
    {"resnet50", 100, 32, false, 23705252, 23447232, 53, 53120, 204900},
    {"mobilenetv2", 100, 32, false, 2412212, 2249024, 57, 35088, 128100},
    {"efficientnet_b0", 100, 32, false, 3627488, 3546592, 80, 39456, 32100},
    {"shufflenet", 100, 32, false, 1012108, 879288, 49, 24480, 96100},
    {"resnet50", 1000, 224, true, 25557032, 23454912, 53, 53120, 2049000},
    {"mobilenetv2", 1000, 224, true, 3504872, 2189760, 52, 34112, 1281000},
    {"mlp_mixer", 1000, 224, true, 7786968, 7226880, 49, 25600, 513000},
    /* torchvision 0.14, counted there. */
    {"resnet18", 1000, 224, true, 11689512, 11166912, 20, 9600, 513000},
    {"vgg11_bn", 1000, 224, true, 132868840, 128755392, 10, 5504, 4097000},
    {"vgg16_bn", 1000, 224, true, 138365992, 134248128, 15, 8448, 4097000},
    /* He et al., section 4.2: 0.27, 0.46 and 0.85 million; projections instead of padded shortcuts add 2,752.
     */
    {"resnet20", 10, 32, false, 269722 + 2752, 270256, 21, 1568, 650},
    {"resnet32", 10, 32, false, 464154 + 2752, 463792, 33, 2464, 650},
    {"resnet56", 10, 32, false, 853018 + 2752, 850864, 57, 4256, 650},
    /* By hand: layers of 3072, 256, 256, 10 units; LeNet-5's 61,706 and two more input colours. */
    {"mlp", 10, 32, false, 3073 * 256 + 257 * 256 + 2570, 3072 * 256 + 256 * 256, 2, 0, 2570},
    {"lenet", 10, 32, false, 61706 + 300, 2 * 150 + 150 + 2400 + 48000 + 10080, 4, 0, 850},
};

static void counts_lenet_grey28(void **state) {
    (void)state;
    sg_net_options options = options_for("lenet", 10, 28, false);
    options.channels = 1;
    sg_net *net = NULL;
    assert_int_equal(sg_net_create(&net, &options), SG_OK);
    assert_int_equal(net->values, 156 + 2416 + 30840 + 10164 + 850);
    sg_net_destroy(&net);
}

static void flop_counts_two_per_multiply_add(void **state) {
    (void)state;
    /* torchvision's table gives resnet50 4.09 billion multiply-adds. */
    sg_net *net = make("resnet50", 1000, 224, true);
    double flop = sg_net_flop(net);
    if (fabs(flop / 2 - 4.089e9) > 0.001e9) fail_msg("expected 4.089e9 multiply-adds, got %.4g", flop / 2);
    sg_net_destroy(&net);
}

static const sg_param *param(const sg_net *net, const char *name) {
    int p = sg_net_find_param(net, name);
    if (p < 0) fail_msg("%s has no parameter %s", net->arch, name);
    return &net->param[p];
}

static void check_shape(const sg_net *net, const char *name, int dimensions, const size_t *shape) {
    const sg_param *p = param(net, name);
    assert_int_equal(p->dimensions, dimensions);
    for (int i = 0; i < dimensions; i++)
        if (p->shape[i] != shape[i])
            fail_msg("%s: dimension %d is %zu, not %zu", name, i, p->shape[i], shape[i]);
}
#define CHECK_SHAPE(net, name, ...)                                                                          \
    check_shape(net, name, (int)(sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t)), (size_t[]){__VA_ARGS__})

static void shapes_resnet20(void **state) {
    (void)state;
    sg_net *net = make("resnet20", 10, 32, false);
    CHECK_SHAPE(net, "conv1.weight", 16, 3, 3, 3);
    CHECK_SHAPE(net, "layer2.0.downsample.0.weight", 32, 16, 1, 1);
    CHECK_SHAPE(net, "layer2.0.downsample.1.bias", 32);
    CHECK_SHAPE(net, "layer3.2.conv2.weight", 64, 64, 3, 3);
    CHECK_SHAPE(net, "fc.weight", 10, 64);
    assert_int_equal(sg_net_find_param(net, "layer1.0.downsample.0.weight"), -1);
    sg_net_destroy(&net);
}

static void shapes_vgg11_imagenet(void **state) {
    (void)state;
    sg_net *net = make("vgg11_bn", 1000, 224, true);
    CHECK_SHAPE(net, "features.25.weight", 512, 512, 3, 3); /* the last convolution */
    CHECK_SHAPE(net, "features.26.weight", 512);
    CHECK_SHAPE(net, "classifier.0.weight", 4096, 25088);
    CHECK_SHAPE(net, "classifier.6.bias", 1000);
    sg_net_destroy(&net);
}

static void shapes_mobilenetv2_imagenet(void **state) {
    (void)state;
    sg_net *net = make("mobilenetv2", 1000, 224, true);
    CHECK_SHAPE(net, "features.1.conv.0.0.weight", 32, 1, 3, 3);
    CHECK_SHAPE(net, "features.17.conv.2.weight", 320, 960, 1, 1);
    CHECK_SHAPE(net, "features.18.1.bias", 1280);
    CHECK_SHAPE(net, "classifier.1.weight", 1000, 1280);
    sg_net_destroy(&net);
}

static void shapes_vit(void **state) {
    (void)state;
    sg_net *net = make("vit", 10, 32, false);
    CHECK_SHAPE(net, "cls_token", 1, 1, 192);
    CHECK_SHAPE(net, "pos_embed", 1, 65, 192);
    CHECK_SHAPE(net, "blocks.5.attn.qkv.weight", 576, 192);
    assert_int_equal(param(net, "pos_embed")->role, SG_ROLE_EMBEDDING);
    sg_net_destroy(&net);
}

static void shapes_mixer_imagenet(void **state) {
    (void)state;
    sg_net *net = make("mlp_mixer", 1000, 224, true);
    CHECK_SHAPE(net, "stem.proj.weight", 512, 3, 16, 16);
    CHECK_SHAPE(net, "blocks.0.mlp_tokens.fc1.weight", 784, 196);
    CHECK_SHAPE(net, "blocks.11.mlp_channels.fc2.weight", 512, 256);
    sg_net_destroy(&net);
}

static void check_init(const sg_net *net, const char *name, enum sg_init_kind kind, double scale) {
    const sg_param *p = param(net, name);
    assert_int_equal(p->init, kind);
    if (fabs(p->scale - scale) > 1e-12) fail_msg("%s: scale %.15g, not %.15g", name, p->scale, scale);
}

static void initialisation_default(void **state) {
    (void)state;
    sg_net *net = make("lenet", 10, 32, false);
    check_init(net, "conv2.weight", SG_INIT_UNIFORM, 1 / sqrt(150.0));
    check_init(net, "conv2.bias", SG_INIT_UNIFORM, 1 / sqrt(150.0));
    check_init(net, "fc1.weight", SG_INIT_UNIFORM, 1 / sqrt(400.0));
    check_init(net, "fc3.bias", SG_INIT_UNIFORM, 1 / sqrt(84.0));
    sg_net_destroy(&net);
}

static void initialisation_depthwise(void **state) {
    (void)state;
    sg_net *net = make("mobilenetv2", 10, 32, false);
    check_init(net, "layers.0.conv2.weight", SG_INIT_UNIFORM, 1 / sqrt(9.0));
    sg_net_destroy(&net);
}

static void initialisation_torchvision_resnet(void **state) {
    (void)state;
    sg_net *net = make("resnet50", 100, 32, false);
    check_init(net, "conv1.weight", SG_INIT_UNIFORM, 1 / sqrt(27.0)); /* the replaced stem */
    check_init(net, "layer1.0.conv2.weight", SG_INIT_NORMAL, sqrt(2.0 / (64 * 9)));
    check_init(net, "layer1.0.downsample.0.weight", SG_INIT_NORMAL, sqrt(2.0 / 256));
    check_init(net, "layer1.0.bn1.weight", SG_INIT_CONSTANT, 1);
    check_init(net, "layer1.0.bn1.bias", SG_INIT_CONSTANT, 0);
    check_init(net, "fc.weight", SG_INIT_UNIFORM, 1 / sqrt(2048.0));
    sg_net_destroy(&net);
    net = make("resnet50", 1000, 224, true);
    check_init(net, "conv1.weight", SG_INIT_NORMAL, sqrt(2.0 / (64 * 49)));
    sg_net_destroy(&net);
}

static void initialisation_torchvision_mobilenetv2(void **state) {
    (void)state;
    sg_net *net = make("mobilenetv2", 1000, 224, true);
    check_init(net, "features.2.conv.1.0.weight", SG_INIT_NORMAL, sqrt(2.0 / (96 * 9)));
    check_init(net, "classifier.1.weight", SG_INIT_NORMAL, 0.01);
    check_init(net, "classifier.1.bias", SG_INIT_CONSTANT, 0);
    sg_net_destroy(&net);
}

static void registry_builds_every_network(void **state) {
    (void)state;
    for (const char *const *name = sg_net_names(); *name != NULL; name++) {
        sg_net *net = make(*name, 7, 64, false);
        const sg_layer *last = &net->layer[net->layers - 1];
        assert_string_equal(net->arch, *name);
        assert_int_equal(last->channels, 7);
        assert_int_equal(last->height * last->width, 1);
        size_t values = 0, channels = 0;
        for (int p = 0; p < net->params; p++) {
            assert_int_equal(net->param[p].offset, values);
            values += net->param[p].count;
        }
        for (int s = 0; s < net->statistics_count; s++) {
            assert_int_equal(net->statistics[s].offset, channels);
            channels += net->statistics[s].channels;
        }
        assert_int_equal(values, net->values);
        assert_int_equal(channels, net->channels_tracked);
        sg_net_destroy(&net);
    }
}

static void every_layer_is_used(void **state) {
    (void)state;
    for (const char *const *name = sg_net_names(); *name != NULL; name++) {
        sg_net *net = make(*name, 7, 64, false);
        for (int l = 0; l < net->layers - 1; l++) {
            int uses = 0;
            for (int k = l + 1; k < net->layers; k++)
                uses += (net->layer[k].input[0] == l) + (net->layer[k].input[1] == l);
            if (uses == 0) fail_msg("%s: nothing reads layer %s", *name, net->layer[l].name);
        }
        sg_net_destroy(&net);
    }
}

static void check_refusal(sg_net_options options, const char *message) {
    sg_net *net = NULL;
    int status = sg_net_create(&net, &options);
    assert_null(net);
    assert_int_equal(status, SG_CONFIG);
    if (strstr(sg_error_message(), message) == NULL)
        fail_msg("expected a message with \"%s\", got \"%s\"", message, sg_error_message());
}

static void unknown_name_suggests_the_nearest(void **state) {
    (void)state;
    check_refusal(options_for("restnet50", 10, 32, false),
                  "no network is named \"restnet50\"; the nearest is \"resnet50\"");
    check_refusal(options_for("", 10, 32, false), "no network is named");
}

static void image_too_small(void **state) {
    (void)state;
    check_refusal(options_for("vgg16_bn", 10, 16, false),
                  "vgg16_bn on images of 3x16x16: the image is too small: layer max_pool");
    check_refusal(options_for("lenet", 10, 8, false),
                  "the image is too small: layer conv2 has 2 pixels of height left for a window of 5");
    check_refusal(options_for("vgg11_bn", 1000, 128, true), "needs 7x7 pixels (224x224 images), not 4x4");
}

/* At every side a network is built, or the refusal says which network and which size. */
static void every_size_is_built_or_refused(void **state) {
    (void)state;
    static const int sides[] = {8, 12, 16, 28, 32, 48, 64, 96, 160, 224};
    for (const char *const *name = sg_net_names(); *name != NULL; name++)
        for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
            sg_net_options options = options_for(*name, 10, sides[i], false);
            sg_net *net;
            int status = sg_net_create(&net, &options);
            if (status == SG_OK) {
                assert_int_equal(net->layer[net->layers - 1].channels, 10);
                sg_net_destroy(&net);
                continue;
            }
            char place[96];
            snprintf(place, sizeof place, "%s on images of 3x%dx%d", *name, sides[i], sides[i]);
            assert_int_equal(status, SG_CONFIG);
            assert_non_null(strstr(sg_error_message(), place));
            assert_true(sides[i] < 32 || sides[i] % 4 != 0);
        }
}

static void image_that_patches_do_not_divide(void **state) {
    (void)state;
    check_refusal(options_for("vit", 10, 30, false), "its patches of 4 pixels do not divide the image");
    check_refusal(options_for("mlp_mixer", 10, 200, true),
                  "its patches of 16 pixels do not divide the image");
}

static void impossible_options(void **state) {
    (void)state;
    check_refusal(options_for("mlp", 0, 32, false), "0 classes");
    check_refusal(options_for("mlp", 10, 0, false), "3 channels, 0x0 pixels");
    sg_net_options options = options_for("resnet20", 10, 32, false);
    options.width = -1;
    check_refusal(options, "resnet20: width -1 is not in 1 to");
    options.width = 65536;
    check_refusal(options, "more than 2^31 values");
    options.width = 16;
    options.depth = 3;
    check_refusal(options, "its depth is fixed; depth must be 0, not 3");
    options.depth = 0;
    options.dropout = 1;
    check_refusal(options, "dropout 1 is not below 1");
}

static void width_that_groups_do_not_divide(void **state) {
    (void)state;
    sg_net_options options = options_for("shufflenet", 10, 32, false);
    options.width = 20;
    check_refusal(options, "do not divide into 3 groups; choose another width");
}

static void width_scales_the_first_stage(void **state) {
    (void)state;
    sg_net_options options = options_for("resnet20", 10, 32, false);
    options.width = 4;
    sg_net *net = NULL;
    assert_int_equal(sg_net_create(&net, &options), SG_OK);
    CHECK_SHAPE(net, "layer3.0.conv1.weight", 16, 8, 3, 3);
    sg_net_destroy(&net);
}

static int dropouts(const char *arch, double dropout) {
    sg_net_options options = options_for(arch, 10, 32, false);
    options.dropout = dropout;
    sg_net *net = NULL;
    assert_int_equal(sg_net_create(&net, &options), SG_OK);
    int count = 0;
    for (int l = 0; l < net->layers; l++) count += net->layer[l].kind == SG_LAYER_DROPOUT;
    sg_net_destroy(&net);
    return count;
}

static void dropout_own_none_and_chosen(void **state) {
    (void)state;
    assert_int_equal(dropouts("efficientnet_b0", -1), 1);
    assert_int_equal(dropouts("efficientnet_b0", 0), 0);
    assert_int_equal(dropouts("resnet20", -1), 0);
    assert_int_equal(dropouts("resnet20", 0.1), 1);
}

static void builder_keeps_the_first_error(void **state) {
    (void)state;
    sg_net *net = NULL;
    assert_int_equal(sg_net_begin(&net, "test", 2, 3, 4, 4), SG_OK);
    int x = sg_net_conv(net, 0, "a", 8, 3, 1, 1, 1, false);
    assert_int_equal(x, 1);
    assert_int_equal(sg_net_add(net, x, 0), 0);
    assert_int_equal(net->status, SG_INTERNAL);
    assert_string_equal(sg_error_message(), "layer add2 joins a (8x4x4) and input (3x4x4)");
    assert_int_equal(sg_net_conv(net, x, "b", 8, 3, 1, 1, 1, false), 0);
    assert_int_equal(net->layers, 2);
    sg_net_destroy(&net);
}

static int image_to_tokens(sg_net *net, int x) { return (void)x, sg_net_tokens(net, 0, "class", NULL); }
static int image_scaled(sg_net *net, int x) { return sg_net_scale(net, 0, sg_net_global_pool(net, x)); }
static int image_as_gate(sg_net *net, int x) { return sg_net_scale(net, x, 0); }
static int image_first(sg_net *net, int x) { return sg_net_concat(net, 0, x); }
static int image_last(sg_net *net, int x) { return sg_net_concat(net, x, 0); }
static int image_normalised(sg_net *net, int x) {
    return (void)x, sg_net_batch_norm(net, 0, "norm", -1, SG_RELU);
}
static int image_pooled(sg_net *net, int x) { return (void)x, sg_net_max_pool(net, 0, 1, 1, 0); }

/* Such layers would write the image's gradient, for which there is no place. */
static void few_layers_read_the_image(void **state) {
    (void)state;
    static const struct {
        int (*build)(sg_net *net, int x);
        const char *layer;
    } refused[] = {{image_to_tokens, "tokens2"}, {image_scaled, "scale3"}, {image_as_gate, "scale2"},
                   {image_first, "concat2"},     {image_last, "concat2"},  {image_normalised, "norm"},
                   {image_pooled, "max_pool2"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        sg_net *net = NULL;
        char message[64];
        assert_int_equal(sg_net_begin(&net, "test", 2, 3, 1, 1), SG_OK);
        int x = sg_net_conv(net, 0, "a", 3, 1, 1, 0, 1, false);
        assert_int_equal(refused[i].build(net, x), 0);
        assert_int_equal(net->status, SG_INTERNAL);
        snprintf(message, sizeof message, "layer %s reads the image", refused[i].layer);
        if (strncmp(sg_error_message(), message, strlen(message)) != 0)
            fail_msg("expected \"%s...\", got \"%s\"", message, sg_error_message());
        sg_net_destroy(&net);
    }
}

static void sums_and_residuals_read_the_image(void **state) {
    (void)state;
    sg_net *net = NULL;
    assert_int_equal(sg_net_begin(&net, "test", 2, 3, 4, 4), SG_OK);
    int x = sg_net_add(net, sg_net_conv(net, 0, "a", 3, 3, 1, 1, 1, false), 0);
    assert_int_equal(sg_net_batch_norm(net, x, "b", 0, SG_RELU), 3);
    assert_int_equal(net->status, SG_OK);
    sg_net_destroy(&net);
}

static void two_parameters_need_two_names(void **state) {
    (void)state;
    sg_net *net = NULL;
    assert_int_equal(sg_net_begin(&net, "test", 2, 3, 4, 4), SG_OK);
    int x = sg_net_conv(net, 0, "a", 8, 3, 1, 1, 1, false);
    sg_net_conv(net, x, "a", 8, 3, 1, 1, 1, false);
    assert_int_equal(net->status, SG_INTERNAL);
    assert_string_equal(sg_error_message(), "two parameters are named a.weight");
    sg_net_destroy(&net);
}

int main(void) {
    struct CMUnitTest counts[sizeof tables / sizeof tables[0]];
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        counts[t] = (struct CMUnitTest){tables[t].arch, check_counts, NULL, NULL, &tables[t]};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_lenet_grey28),
        cmocka_unit_test(flop_counts_two_per_multiply_add),
        cmocka_unit_test(shapes_resnet20),
        cmocka_unit_test(shapes_vgg11_imagenet),
        cmocka_unit_test(shapes_mobilenetv2_imagenet),
        cmocka_unit_test(shapes_vit),
        cmocka_unit_test(shapes_mixer_imagenet),
        cmocka_unit_test(initialisation_default),
        cmocka_unit_test(initialisation_depthwise),
        cmocka_unit_test(initialisation_torchvision_resnet),
        cmocka_unit_test(initialisation_torchvision_mobilenetv2),
        cmocka_unit_test(registry_builds_every_network),
        cmocka_unit_test(every_layer_is_used),
        cmocka_unit_test(unknown_name_suggests_the_nearest),
        cmocka_unit_test(image_too_small),
        cmocka_unit_test(every_size_is_built_or_refused),
        cmocka_unit_test(image_that_patches_do_not_divide),
        cmocka_unit_test(impossible_options),
        cmocka_unit_test(width_that_groups_do_not_divide),
        cmocka_unit_test(width_scales_the_first_stage),
        cmocka_unit_test(dropout_own_none_and_chosen),
        cmocka_unit_test(builder_keeps_the_first_error),
        cmocka_unit_test(few_layers_read_the_image),
        cmocka_unit_test(sums_and_residuals_read_the_image),
        cmocka_unit_test(two_parameters_need_two_names),
    };
    int failed = cmocka_run_group_tests_name("counts", counts, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
