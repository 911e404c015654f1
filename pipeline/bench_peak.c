/* The peaks of this machine, by own vector kernels of the best instruction set that it runs. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "kernels/variant.h"
#include "pipeline/bench.h"

enum {
    CERTAIN = 3,
    REPEATS = 25 /* short ones: some of them undisturbed */,
    TRIAD_FLOATS = 16 /* every count is a multiple of it */
};
static const double FMA_SECONDS = 0.002, TRIAD_SECONDS = 0.002;

/* Seconds of `rounds` rounds in each of `threads` threads. */
static double time_fma(const sg_peak_kernels *kernels, int threads, size_t rounds) {
    float sink = 0.0f;
    double began = sg_clock_now();
#pragma omp parallel num_threads(threads) reduction(+ : sink)
    sink += kernels->fma(rounds);
    double seconds = sg_clock_now() - began;
    return sink > 0.0f ? seconds : 0.0; /* the sum is positive: it must be computed */
}

/* FLOP/s at best: whatever else runs here only takes time. */
static double measure_fma(const sg_peak_kernels *kernels, int threads) {
    size_t rounds = 1000;
    double best = 0.0;
    /* On one thread, thrice: a disturbed run must not pass for a long one. */
    for (int i = 0; i < CERTAIN; i++)
        while (time_fma(kernels, 1, rounds) < FMA_SECONDS) rounds *= 2;
    for (int i = 0; i < REPEATS; i++) {
        double seconds = time_fma(kernels, threads, rounds);
        double rate = (double)kernels->flop * (double)rounds * threads / seconds;
        if (rate > best) best = rate;
    }
    return best;
}

typedef struct triad {
    const sg_peak_kernels *kernels;
    float *a, *b, *c;
    size_t count; /* of each thread */
    int threads;
    bool stream;
} triad;

static double time_triad(const triad *t, int passes) {
    double began = sg_clock_now();
#pragma omp parallel for schedule(static, 1) num_threads(t->threads)
    for (int i = 0; i < t->threads; i++) {
        size_t at = (size_t)i * t->count;
        for (int pass = 0; pass < passes; pass++)
            t->kernels->triad(t->a + at, t->b + at, t->c + at, 0.5f, t->count, t->stream);
    }
    return sg_clock_now() - began;
}

static void touch(const triad *t) {
#pragma omp parallel for schedule(static, 1) num_threads(t->threads)
    for (int i = 0; i < t->threads; i++)
        for (size_t k = (size_t)i * t->count; k < (size_t)(i + 1) * t->count; k++)
            t->a[k] = t->b[k] = t->c[k] = 1.0f;
}

/* Bytes/s over three arrays of `bytes` bytes in all. */
static int measure_triad(const sg_machine *machine, size_t bytes, bool stream, double *rate) {
    triad t = {.kernels = &machine->variant->peak, .threads = machine->threads, .stream = stream};
    t.count = bytes / 3 / sizeof(float) / (size_t)t.threads / TRIAD_FLOATS * TRIAD_FLOATS + TRIAD_FLOATS;
    size_t floats = t.count * (size_t)t.threads;
    int passes = 1, status;
    if ((status = SG_AT(SG_NEW(&t.a, floats)))) goto done;
    if ((status = SG_AT(SG_NEW(&t.b, floats)))) goto done;
    if ((status = SG_AT(SG_NEW(&t.c, floats)))) goto done;
    touch(&t);
    for (int i = 0; i < CERTAIN; i++)
        while (time_triad(&t, passes) < TRIAD_SECONDS) passes *= 2;
    *rate = 0.0;
    for (int i = 0; i < REPEATS; i++) {
        double seconds = time_triad(&t, passes),
               now = 3.0 * sizeof(float) * (double)floats * passes / seconds;
        if (now > *rate) *rate = now;
    }
done:
    free(t.a);
    free(t.b);
    free(t.c);
    return status;
}

/* Bytes of cpu0's cache of this level, 0 when there is none. The kernel knows better than sysconf, which
 * takes CPUID's word for the whole socket inside virtual machines. */
static size_t cache_size(int level) {
    static const int names[] = {[2] = _SC_LEVEL2_CACHE_SIZE, [3] = _SC_LEVEL3_CACHE_SIZE};
    char path[64];
    size_t kibibytes = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", level);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%zuK", &kibibytes) != 1) kibibytes = 0;
        fclose(file);
    }
    if (kibibytes > 0) return kibibytes << 10;
    long size = sysconf(names[level]);
    return size > 0 ? (size_t)size : 0;
}

static int measure(sg_peak *peak, const sg_machine *best, int node_ranks) {
    const size_t mebibyte = 1 << 20;
    size_t own = cache_size(2), last = cache_size(3);
    own = (own > 0 ? own : mebibyte / 2) * (size_t)best->threads;
    size_t shared = last / (size_t)node_ranks, usable = (shared > own ? shared : own) / 2;
    size_t beyond = 4 * (own > last ? own : last) / (size_t)node_ranks;
    if (beyond < 16 * mebibyte) beyond = 16 * mebibyte;
    if (beyond > 512 * mebibyte) beyond = 512 * mebibyte;
    peak->core = measure_fma(&best->variant->peak, 1);
    peak->all = measure_fma(&best->variant->peak, best->threads);
    if (peak->all < peak->core) peak->all = peak->core;
    SG_TRY(measure_triad(best, beyond, true, &peak->memory));
    SG_TRY(measure_triad(best, usable, false, &peak->cache));
    if (peak->cache < peak->memory) peak->cache = peak->memory;
    peak->cache_bytes = usable;
    return SG_OK;
}

int sg_bench_measure_peak(sg_peak *peak, sg_comm *comm, const sg_machine *machine) {
    int rank, ranks;
    sg_machine *best = NULL;
    SG_TRY(sg_comm_node(comm, &rank, &ranks));
    int status = SG_AT(sg_machine_create(&best, "auto", "auto", machine->threads));
    SG_TRY(sg_comm_agree(comm, status));
    status = SG_AT(measure(peak, best, ranks));
    sg_machine_destroy(&best);
    return SG_AT(sg_comm_agree(comm, status));
}
