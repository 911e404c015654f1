#include "tests/reference/conv_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/tree.h"
#include "tests/reference/check_conv.h"

enum { MESSAGE = 1024 };

int sg_conv_fixture_create(sg_conv_fixture **fixture, size_t table, double tolerance) {
    *fixture = NULL;
    sg_conv_fixture *f;
    SG_TRY(SG_NEW(&f, 1));
    f->table = table;
    f->tolerance = tolerance;
    for (const sg_variant *const *v = sg_variants; *v != NULL && f->count < SG_FIXTURE_MACHINES; v++) {
        /* Refuses what the CPU cannot run; the lanes are then the variant's, whatever BLIS likes. */
        sg_machine *made;
        if (sg_machine_create(&made, (*v)->isa, "auto", 2) != SG_OK) continue;
        sg_machine *m = &f->machine[f->count++];
        *m = *made;
        m->variant = *v;
        m->lanes = (*v)->lanes;
        sg_machine_destroy(&made);
    }
    if (f->count == 0) {
        SG_FREE(f);
        return SG_FAIL(SG_FAILED, "this CPU runs no variant of the kernels");
    }
    *fixture = f;
    return SG_OK;
}

const sg_conv_algorithm *sg_conv_fixture_table(const sg_conv_fixture *f, const sg_machine *machine) {
    return (const sg_conv_algorithm *)(const void *)((const char *)machine->variant + f->table);
}

void sg_conv_fixture_check(const sg_conv_fixture *f, const sg_conv_shape *shape, int samples, double density,
                           uint64_t seed) {
    for (int i = 0; i < f->count; i++) {
        const sg_machine *m = &f->machine[i];
        char message[MESSAGE];
        if (sg_check_conv_algorithm(m, sg_conv_fixture_table(f, m), shape, samples, density, seed,
                                    f->tolerance, message, sizeof message))
            fail_msg("%s", message);
    }
}

void sg_conv_fixture_same_bits(const sg_conv_fixture *f, const sg_conv_shape *shape, int samples,
                               double density, uint64_t seed) {
    const sg_machine *first = NULL;
    uint64_t wanted = 0;
    for (int i = 0; i < f->count; i++) {
        const sg_machine *m = &f->machine[i];
        if (strcmp(m->isa, "portable") == 0 || m->lanes != 16) continue;
        char message[MESSAGE];
        uint64_t digest;
        if (sg_check_conv_digest(m, sg_conv_fixture_table(f, m), shape, samples, density, seed, f->tolerance,
                                 &digest, message, sizeof message))
            fail_msg("%s", message);
        if (first != NULL && digest != wanted)
            fail_msg("bits of %s (digest %llx) differ from those of %s (%llx), seed %llu", m->isa,
                     (unsigned long long)digest, first->isa, (unsigned long long)wanted,
                     (unsigned long long)seed);
        first = m;
        wanted = digest;
    }
}

/* Random interior, a function of seed. */
static void fill(sg_tensor *t, uint64_t seed) {
    uint32_t number = 0;
    for (int b = 0; b < t->blocks; b++)
        for (int y = 0; y < t->height; y++)
            for (int x = 0; x < t->width; x++)
                for (int i = 0; i < t->channels * t->lanes; i++)
                    sg_tensor_at(t, b, y, x)[i] =
                        sg_uniform(sg_rng(seed, SG_RNG_TEST, number++, 0, 0).word[0]) - 0.5f;
}

static void check_tree_order(const sg_machine *m, const sg_conv_algorithm *a, const sg_conv_shape *s,
                             int blocks) {
    size_t weights = sg_conv_weights(s), n = (size_t)blocks;
    sg_support dense = {.count = weights};
    sg_tensor x, dy;
    float *dw, *each, *memory;
    int *leaf, *merges;
    void *state;
    assert_int_equal(sg_tensor_init(&x, m->lanes, blocks, s->in_channels, s->in_height, s->in_width,
                                    sg_conv_input_halo(s)),
                     SG_OK);
    assert_int_equal(sg_tensor_init(&dy, m->lanes, blocks, s->out_channels, s->out_height, s->out_width,
                                    sg_conv_gradient_halo(s)),
                     SG_OK);
    assert_int_equal(SG_NEW(&dw, weights), SG_OK);
    assert_int_equal(SG_NEW(&each, n * weights), SG_OK);
    assert_int_equal(SG_NEW(&leaf, n), SG_OK);
    assert_int_equal(SG_NEW(&merges, n), SG_OK);
    fill(&x, 1);
    fill(&dy, 2);
    sg_conv_bytes bytes = a->bytes(m, s, &dense, blocks);
    assert_int_equal(
        SG_NEW(&memory, sg_conv_scratch_bytes(bytes.shared, bytes.own, m->threads) / sizeof *memory), SG_OK);
    sg_conv_scratch scratch = sg_conv_lay_scratch(memory, bytes.shared, bytes.own);
    assert_int_equal(a->create(&state, m, s, &dense), SG_OK);
    assert_int_equal(
        a->run(state, &(sg_conv_pass){.blocks = blocks, .x = &x, .dy = &dy, .dw = dw, .scratch = scratch}),
        SG_OK);
    sg_tree_order(blocks, leaf, merges);
    float *top = each;
    for (int i = 0; i < blocks; i++, top += weights) {
        sg_tensor one_x = x, one_dy = dy;
        one_x.data += (size_t)leaf[i] * x.block;
        one_dy.data += (size_t)leaf[i] * dy.block;
        one_x.blocks = one_dy.blocks = 1;
        sg_conv_pass pass = {.blocks = 1, .x = &one_x, .dy = &one_dy, .dw = top, .scratch = scratch};
        assert_int_equal(a->run(state, &pass), SG_OK);
        for (int merge = 0; merge < merges[i]; merge++) {
            top -= weights;
            for (size_t j = 0; j < weights; j++) top[j] += top[j + weights];
        }
    }
    for (size_t j = 0; j < weights; j++)
        if (memcmp(&dw[j], &each[j], sizeof dw[j]) != 0)
            fail_msg("%s, %d blocks: weight %zu: expected %.9g in the tree's order, got %.9g", m->isa, blocks,
                     j, (double)each[j], (double)dw[j]);
    a->destroy(&state);
    free(memory);
    sg_tensor_release(&x);
    sg_tensor_release(&dy);
    SG_FREE(dw);
    SG_FREE(each);
    SG_FREE(leaf);
    SG_FREE(merges);
}

void sg_conv_fixture_tree_order(const sg_conv_fixture *f, const sg_conv_shape *shape, int blocks) {
    for (int i = 0; i < f->count; i++) {
        const sg_machine *m = &f->machine[i];
        check_tree_order(m, &sg_conv_fixture_table(f, m)[SG_CONV_WEIGHT_GRADIENT], shape, blocks);
    }
}

int sg_conv_fixture_draw(uint64_t seed, uint32_t number, int n) {
    return (int)sg_below(sg_rng(seed, SG_RNG_TEST, 77, number, 0).word[0], (uint32_t)n);
}
