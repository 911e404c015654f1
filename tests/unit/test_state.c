/* Signs as files: those of the same architecture are read back, another network's are refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "pipeline/state.h"
#include "tests/reference/status.h"
#include "tests/reference/temporary.h"

static sg_net *network(const char *arch, int classes) {
    sg_net *net;
    sg_net_options options = {.arch = arch,
                              .classes = classes,
                              .width = 4,
                              .channels = 3,
                              .image_height = 32,
                              .image_width = 32,
                              .dropout = -1.0};
    assert_ok(sg_net_create(&net, &options));
    return net;
}

static int8_t sign_of(size_t i) { return (int8_t)(i % 3) - 1; }

/* A signed mask of net. arch: its attribute, NULL for none, as in files of other origin. */
static void write_signs(const char *path, const sg_net *net, const char *arch) {
    sg_h5_content *content;
    int8_t *signs;
    assert_ok(SG_NEW(&signs, net->values));
    for (size_t i = 0; i < net->values; i++) signs[i] = sign_of(i);
    assert_ok(sg_h5_content_create(&content, "signed-mask"));
    assert_ok(sg_state_add_signs(content, net, signs));
    if (arch != NULL) assert_ok(sg_h5_set_text(content, "arch", arch));
    assert_ok(sg_h5_write(path, NULL, content));
    sg_h5_content_destroy(&content);
    free(signs);
}

static int read_signs(const char *path, const sg_net *net, int8_t *signs, bool *classifier_matches) {
    sg_h5_file *file;
    assert_ok(sg_h5_open(&file, path, NULL));
    int status = sg_state_read_signs(file, net, signs, classifier_matches);
    sg_h5_close(&file);
    return status;
}

/* The signs of `from`, read for `to`: refused, with these words. */
static void refused(const char *from, const char *arch, const char *to, const char *const *words) {
    const char *path = in_folder("mask.h5");
    sg_net *one = network(from, 10), *two = network(to, 10);
    int8_t *signs;
    bool matches;
    assert_ok(SG_NEW(&signs, two->values));
    write_signs(path, one, arch);
    assert_int_equal(read_signs(path, two, signs, &matches), SG_DATA);
    for (; *words != NULL; words++)
        if (strstr(sg_error_message(), *words) == NULL)
            fail_msg("message \"%s\" does not say \"%s\"", sg_error_message(), *words);
    free(signs);
    sg_net_destroy(&one);
    sg_net_destroy(&two);
}

static void signs_of_the_same_network_come_back(void **state) {
    (void)state;
    const char *path = in_folder("mask.h5"), *arch[] = {"resnet20", NULL};
    sg_net *net = network("resnet20", 10);
    int8_t *signs;
    bool matches;
    assert_ok(SG_NEW(&signs, net->values));
    for (int a = 0; a < 2; a++) {
        write_signs(path, net, arch[a]);
        assert_ok(read_signs(path, net, signs, &matches));
        assert_true(matches);
        for (int p = 0; p < net->params; p++) {
            const sg_param *param = &net->param[p];
            bool norm = param->role == SG_ROLE_GAMMA || param->role == SG_ROLE_BETA;
            for (size_t i = param->offset; i < param->offset + param->count; i++)
                assert_int_equal(signs[i], norm ? 0 : sign_of(i));
        }
    }
    free(signs);
    sg_net_destroy(&net);
}

static void another_number_of_classes_is_no_other_network(void **state) {
    (void)state;
    const char *path = in_folder("mask.h5");
    sg_net *ten = network("resnet20", 10), *hundred = network("resnet20", 100);
    int8_t *signs;
    bool matches;
    assert_ok(SG_NEW(&signs, hundred->values));
    write_signs(path, ten, "resnet20");
    assert_ok(read_signs(path, hundred, signs, &matches));
    assert_false(matches);
    assert_int_equal(signs[hundred->param[0].offset], sign_of(ten->param[0].offset));
    free(signs);
    sg_net_destroy(&ten);
    sg_net_destroy(&hundred);
}

/* Every entry that resnet20 wants is in a resnet32's file, with the same shape. */
static void extra_signs_are_refused(void **state) {
    (void)state;
    const char *words[] = {"extra /signs/layer1.3.conv1.weight", "network resnet20", NULL};
    refused("resnet32", NULL, "resnet20", words);
}

static void missing_signs_are_refused(void **state) {
    (void)state;
    const char *words[] = {"missing /signs/layer1.3.conv1.weight", "network resnet32", NULL};
    refused("resnet20", NULL, "resnet32", words);
}

static void another_architecture_is_named(void **state) {
    (void)state;
    const char *words[] = {"signs of a resnet32", "the network here is a resnet20", "net.arch = \"resnet32\"",
                           NULL};
    refused("resnet32", "resnet32", "resnet20", words);
    refused("resnet20", "resnet32", "resnet20", words); /* whatever its entries */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_of_the_same_network_come_back),
        cmocka_unit_test(another_number_of_classes_is_no_other_network),
        cmocka_unit_test(extra_signs_are_refused),
        cmocka_unit_test(missing_signs_are_refused),
        cmocka_unit_test(another_architecture_is_named),
    };
    return cmocka_run_group_tests(tests, test_folder_set_up, test_folder_tear_down);
}
