#include "kernels/machine.h"

#include <blis.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/variant.h"

#if defined(__x86_64__)
#include <immintrin.h>
extern const sg_variant sg_variant_portable_16, sg_variant_avx2_16, sg_variant_avx512_16;
extern const sg_variant sg_variant_portable_32, sg_variant_avx512_32;
const sg_variant *const sg_variants[] = {&sg_variant_portable_16, &sg_variant_avx2_16,
                                         &sg_variant_avx512_16,   &sg_variant_portable_32,
                                         &sg_variant_avx512_32,   NULL};
#else
extern const sg_variant sg_variant_portable_16, sg_variant_portable_32;
const sg_variant *const sg_variants[] = {&sg_variant_portable_16, &sg_variant_portable_32, NULL};
#endif

static bool cpu_runs(const char *isa) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (strcmp(isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return strcmp(isa, "portable") == 0;
}

/* BLIS architectures that may be asked for by name, with what the CPU must have. BLIS aborts the process for
 * a kernel that it was built without and runs into an illegal instruction for one that the CPU lacks, so both
 * are checked before BLIS is asked. */
static const struct {
    const char *name;
    arch_t id;
    const char *needs;
} architectures[] = {
#if defined(BLIS_CONFIG_SKX)
    {"skx", BLIS_ARCH_SKX, "avx512"},
#endif
#if defined(BLIS_CONFIG_HASWELL)
    {"haswell", BLIS_ARCH_HASWELL, "avx2"},
#endif
#if defined(BLIS_CONFIG_ZEN)
    {"zen", BLIS_ARCH_ZEN, "avx2"},
#endif
#if defined(BLIS_CONFIG_ZEN2)
    {"zen2", BLIS_ARCH_ZEN2, "avx2"},
#endif
#if defined(BLIS_CONFIG_ZEN3)
    {"zen3", BLIS_ARCH_ZEN3, "avx2"},
#endif
#if defined(BLIS_CONFIG_SANDYBRIDGE)
    {"sandybridge", BLIS_ARCH_SANDYBRIDGE, "portable"},
#endif
#if defined(BLIS_CONFIG_PENRYN)
    {"penryn", BLIS_ARCH_PENRYN, "portable"},
#endif
#if defined(BLIS_CONFIG_GENERIC)
    {"generic", BLIS_ARCH_GENERIC, "portable"},
#endif
};

/* BLIS takes its kernels for AVX-512 where it can read from the name of an Intel CPU that it has two units
 * for it. Virtual machines hide that name, and BLIS then computes at half the width; with one unit both are
 * as fast. */
static const char *blis_for_this_cpu(void) {
#if defined(__x86_64__) && defined(BLIS_CONFIG_SKX)
    if (__builtin_cpu_is("intel") && cpu_runs("avx512") && getenv("BLIS_ARCH_TYPE") == NULL) return "skx";
#endif
    return NULL;
}

static int choose_blis(const char *blis) {
    if (strcmp(blis, "auto") == 0) blis = blis_for_this_cpu();
    if (blis == NULL) return SG_OK; /* BLIS's own choice */
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (strcmp(architectures[i].name, blis) != 0) continue;
        SG_CHECK(cpu_runs(architectures[i].needs), SG_CONFIG,
                 "kernels.blis = \"%s\" needs a CPU with %s, which this one lacks; use \"auto\", or "
                 "\"haswell\" on any "
                 "CPU with AVX2",
                 blis, architectures[i].needs);
        char number[16];
        snprintf(number, sizeof number, "%d", (int)architectures[i].id);
        SG_CHECK(setenv("BLIS_ARCH_TYPE", number, 1) == 0, SG_NOMEM, "out of memory: setting BLIS_ARCH_TYPE");
        return SG_OK;
    }
    return SG_FAIL(
        SG_CONFIG,
        "kernels.blis = \"%s\" is not a kernel set that Signet knows and this BLIS has; use \"auto\", "
        "\"haswell\", \"zen\", \"zen2\", \"zen3\", \"skx\", \"sandybridge\", \"penryn\" or \"generic\"",
        blis);
}

static void flush_denormals(void) {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush to zero, denormals are zero */
#endif
}

static int lanes_of_blis(void) {
    bli_init();
    const cntx_t *context = bli_gks_query_cntx();
    dim_t rows = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, (cntx_t *)context);
    dim_t columns = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, (cntx_t *)context);
    return columns != 16 && (rows == 32 || columns == 32) ? 32 : 16;
}

int sg_machine_create(sg_machine **machine, const char *isa, const char *blis, int threads) {
    *machine = NULL;
    SG_TRY(choose_blis(blis));
    int lanes = lanes_of_blis();
    bool automatic = strcmp(isa, "auto") == 0, known = automatic;
    const sg_variant *chosen = NULL;
    for (const sg_variant *const *v = sg_variants; *v != NULL; v++) {
        bool named = strcmp((*v)->isa, isa) == 0;
        known = known || named;
        if ((named || automatic) && (*v)->lanes == lanes && cpu_runs((*v)->isa)) chosen = *v;
    }
    SG_CHECK(known, SG_CONFIG,
             "kernels.isa = \"%s\" is not known; use \"auto\", \"portable\", \"avx2\" or \"avx512\"", isa);
    SG_CHECK(chosen != NULL, SG_CONFIG,
             "kernels.isa = \"%s\" cannot run here (CPU, or %d lanes for this BLIS); use \"auto\"", isa,
             lanes);
    sg_machine *made;
    SG_TRY(SG_NEW(&made, 1));
    made->variant = chosen;
    made->lanes = lanes;
    made->threads = threads;
    made->winograd = made->sparse = true;
    snprintf(made->isa, sizeof made->isa, "%s", chosen->isa);
    SG_TRY(sg_ukernel_init(&made->ukernel, chosen));
    omp_set_dynamic(0);
    omp_set_num_threads(threads);
#pragma omp parallel num_threads(threads)
    flush_denormals();
    *machine = made;
    return SG_OK;
}

static bool placed_by_user(void) {
    static const char *const names[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) != NULL) return true;
    return false;
}

/* The CPU of the set that has `before` others below it. */
static int nth_cpu(const cpu_set_t *set, int before) {
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, set) && before-- == 0) return cpu;
    return -1;
}

int sg_machine_bind(sg_machine *machine) {
    cpu_set_t allowed;
    if (machine->threads == 1 || machine->allowed != NULL || placed_by_user()) return SG_OK;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return SG_OK; /* more than a cpu_set_t holds */
    if (CPU_COUNT(&allowed) != machine->threads) return SG_OK;
    SG_TRY(SG_NEW(&machine->allowed, 1));
    *machine->allowed = allowed;
#pragma omp parallel num_threads(machine->threads)
    {
        cpu_set_t own;
        CPU_ZERO(&own);
        CPU_SET(nth_cpu(&allowed, omp_get_thread_num()), &own);
        sched_setaffinity(0, sizeof own, &own);
    }
    return SG_OK;
}

void sg_machine_destroy(sg_machine **machine) {
    if (machine == NULL || *machine == NULL) return;
    if ((*machine)->allowed != NULL) {
#pragma omp parallel num_threads((*machine)->threads)
        sched_setaffinity(0, sizeof(cpu_set_t), (*machine)->allowed);
    }
    SG_FREE((*machine)->allowed);
    SG_FREE(*machine);
}

void sg_machine_describe(const sg_machine *machine, char *text, size_t size) {
    snprintf(text, size, "isa %s, BLIS %s %dx%d, lanes %d, %d %sthread%s", machine->isa,
             machine->ukernel.name, machine->ukernel.rows, machine->ukernel.lanes, machine->lanes,
             machine->threads, machine->allowed != NULL ? "bound " : "", machine->threads == 1 ? "" : "s");
}
