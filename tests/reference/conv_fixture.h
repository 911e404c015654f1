/* What tests of a convolution algorithm share: a machine for every variant that this CPU runs, and checks of
 * one algorithm on all of them. Failures end the cmocka test with the checker's message. */
#ifndef SG_CONV_FIXTURE_H
#define SG_CONV_FIXTURE_H

#include "kernels/conv.h"
#include "kernels/variant.h"

enum { SG_FIXTURE_MACHINES = 8 };

typedef struct sg_conv_fixture {
    sg_machine machine[SG_FIXTURE_MACHINES];
    int count;
    size_t table; /* offset in sg_variant of the algorithm under test, sg_conv_algorithm [SG_CONV_PASSES] */
    double tolerance;
} sg_conv_fixture;

/* SG_NOMEM, SG_FAILED when this CPU runs no variant. Release with SG_FREE. */
int sg_conv_fixture_create(sg_conv_fixture **fixture, size_t table, double tolerance);

const sg_conv_algorithm *sg_conv_fixture_table(const sg_conv_fixture *fixture, const sg_machine *machine);

/* The checker (check_conv.h) on every machine. */
void sg_conv_fixture_check(const sg_conv_fixture *fixture, const sg_conv_shape *shape, int samples,
                           double density, uint64_t seed);

/* avx2 and avx512 with the same lanes write the same bits. */
void sg_conv_fixture_same_bits(const sg_conv_fixture *fixture, const sg_conv_shape *shape, int samples,
                               double density, uint64_t seed);

/* On every machine: the weight gradient over `blocks` blocks has the bits of the blocks' own ones, combined
 * in the order of sg_tree_order. */
void sg_conv_fixture_tree_order(const sg_conv_fixture *fixture, const sg_conv_shape *shape, int blocks);

/* [0, n), a function of seed and number. */
int sg_conv_fixture_draw(uint64_t seed, uint32_t number, int n);

#endif
