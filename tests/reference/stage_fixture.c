#include "tests/reference/stage_fixture.h"

#include "tests/reference/status.h"

sg_net *make_net(const char *arch, int width) {
    sg_net *net;
    sg_net_options options = {.arch = arch,
                              .classes = 5,
                              .width = width,
                              .channels = 3,
                              .image_height = 32,
                              .image_width = 32,
                              .dropout = -1.0};
    assert_ok(sg_net_create(&net, &options));
    return net;
}

sg_weights *make_weights(const sg_net *net, uint64_t seed) {
    sg_weights *weights;
    assert_ok(sg_weights_create(&weights, net));
    sg_weights_init(weights, seed);
    return weights;
}
