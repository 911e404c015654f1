/* What the tests of layers share: random inputs, tensors with hostile unused lanes, comparison with the
 * double twin, and runs on every kernel variant that this CPU has. */
#ifndef LAYER_FIXTURE_H
#define LAYER_FIXTURE_H

#include <stdbool.h>

#include "kernels/variant.h"
#include "tests/reference/reference_layers.h"

/* A case: computes something on m, compares it through the layer_check functions, which also gather its bits.
 * All that a run hands out is borrowed until the case ends. */
enum { LAYER_OWNED = 4096 };
typedef struct layer_run {
    const sg_machine *m;
    const sg_layer_kernels *k;
    uint64_t draws;  /* random numbers drawn so far */
    uint64_t digest; /* of all bits checked so far */
    void *owned[LAYER_OWNED];
    int owned_count;
} layer_run;
typedef void (*layer_case)(layer_run *run);

/* Runs the case on every variant of this CPU. */
void layer_on_every_variant(layer_case test);
/* Fails unless one and two threads, and AVX2 and AVX-512 at the same lane count, give the same bits. */
void layer_same_bits(layer_case test);

/* count random values, exactly representable in float, mean + sd * (about normal). */
double *layer_random(layer_run *run, size_t count, double mean, double sd);
int layer_draw(layer_run *run, int below);
double *layer_zeros(layer_run *run, size_t count);
/* A copy for the twin to add to, and the same values (NULL: zeros) in float. */
double *layer_copy(layer_run *run, const double *from, size_t count);
float *layer_floats(layer_run *run, const double *from, size_t count);

/* A tensor for the samples of s, filled from values (NULL: zeros) with `unused` in lanes past the last
 * sample. Gradients have 0 there, activations may hold anything finite. */
sg_tensor *layer_tensor(layer_run *run, ref_shape s, int halo, const double *values, float unused);
enum { LAYER_GRADIENT = 0, LAYER_ACTIVATION = 777 };

sg_extent layer_extent(const layer_run *run, int samples);
int layer_blocks(const layer_run *run, int samples);

/* Fails unless every value is within tolerance * max(1, largest expected magnitude) of the expected one, halo
 * and pad rows are zero and, for a gradient, unused lanes too. */
void layer_check(layer_run *run, const char *what, const sg_tensor *t, ref_shape s, const double *expected,
                 double tolerance, bool gradient);
void layer_check_floats(layer_run *run, const char *what, const float *values, size_t count,
                        const double *expected, double tolerance);

/* The two tests of a case. */
#define LAYER_TESTS(name)                                                                                    \
    static void name##_matches_twin(void **state) { (void)state, layer_on_every_variant(name); }             \
    static void name##_has_fixed_bits(void **state) { (void)state, layer_same_bits(name); }
#define LAYER_UNITS(name) cmocka_unit_test(name##_matches_twin), cmocka_unit_test(name##_has_fixed_bits)

#endif
