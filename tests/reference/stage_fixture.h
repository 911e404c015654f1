/* Networks and weights for the tests of stages. Failures end the test. */
#ifndef SG_TEST_STAGE_FIXTURE_H
#define SG_TEST_STAGE_FIXTURE_H

#include "kernels/net.h"
#include "kernels/weights.h"

/* For 5 classes and images of 32x32. Owned: sg_net_destroy. */
sg_net *make_net(const char *arch, int width);

/* As initialised by this seed. Owned: sg_weights_destroy. */
sg_weights *make_weights(const sg_net *net, uint64_t seed);

#endif
