#include "tests/reference/conv_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
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

int sg_conv_fixture_draw(uint64_t seed, uint32_t number, int n) {
    return (int)sg_below(sg_rng(seed, SG_RNG_TEST, 77, number, 0).word[0], (uint32_t)n);
}
