/* Holds one convolution algorithm against the naive twins and against the invariants of kernels/tensor.h. */
#ifndef SG_CHECK_CONV_H
#define SG_CHECK_CONV_H

#include <stdint.h>

#include "kernels/conv.h"

/* Runs every pass of `table` that exists and supports the shape, on random data, and compares:
 *   - the numbers with reference_conv.h: |difference| <= tolerance * max(largest reference value,
 * sqrt(products) / 3), where a product of two uniform numbers in (-1, 1) has the standard deviation 1/3;
 *   - with and without bias, into a dirty and into an accumulating data gradient, with old weights prepared
 * before;
 *   - unused lanes of x hold garbage, of dy zeros; dx must keep zeros there, y must stay finite;
 *   - halo and pad rows of y and dx stay zero, and the block behind pass->blocks is untouched;
 *   - one thread and 2 to 6, by the seed, give the same bits.
 * density: the fraction of weights that survives (1: dense, support NULL). The run is a function of seed.
 * Returns 0, or 1 with what was expected and what came in message[size]. Local. */
int sg_check_conv_algorithm(const sg_machine *machine, const sg_conv_algorithm table[SG_CONV_PASSES],
                            const sg_conv_shape *shape, int samples, double density, uint64_t seed,
                            double tolerance, char *message, size_t size);

/* The same; *digest becomes a hash of all bits that the passes wrote, for comparing instruction sets. */
int sg_check_conv_digest(const sg_machine *machine, const sg_conv_algorithm table[SG_CONV_PASSES],
                         const sg_conv_shape *shape, int samples, double density, uint64_t seed,
                         double tolerance, uint64_t *digest, char *message, size_t size);

/* How many random shapes to try: count, or a sixth where SIGNET_TEST_BRIEF is set, as under valgrind. */
uint64_t sg_check_conv_seeds(uint64_t count);

/* out_height and out_width from the rest. */
sg_conv_shape sg_check_conv_shape(int in_channels, int out_channels, int groups, int kernel_height,
                                  int kernel_width, int stride, int padding, int in_height, int in_width);

#endif
