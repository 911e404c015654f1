/* What computes here: the instruction set's kernels, BLIS's micro-kernel, the lane count, the threads. Chosen
 * once, handed to everything that computes. */
#ifndef SG_MACHINE_H
#define SG_MACHINE_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/error.h"

struct sg_variant;

/* C[i][l] (+)= sum over p < k of A[p][i] * B[p][l], i < m <= rows, l < lanes: a packed A panel of `rows` per
 * step, a B panel of `lanes` per step, and C rows of `lanes` contiguous floats, c_stride floats apart.
 * B is 64-byte aligned; both panels are readable SG_READABLE_SLACK bytes past their end. Thread-safe. */
typedef struct sg_ukernel {
    char name[32]; /* BLIS's architecture ("zen3"), or "own" where BLIS's shape does not fit the lanes */
    int rows;      /* register block: output channels of one call */
    int lanes;
    void (*run)(const struct sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                size_t c_stride, bool accumulate);
    void *blis;          /* BLIS's function, when run calls one */
    const void *context; /* BLIS's context */
} sg_ukernel;

typedef struct sg_machine {
    const struct sg_variant *variant; /* kernels/lanes compiled for this instruction set */
    sg_ukernel ukernel;
    int lanes;             /* samples of a block */
    int threads;           /* OpenMP threads of every parallel kernel: no region has fewer but 1, or libgomp
                            * would end the rest, and start others where the first one runs */
    cpu_set_t *allowed;    /* while threads are bound: where they may run otherwise; owned. NULL: not bound */
    bool winograd, sparse; /* configuration: kernels.winograd, kernels.sparse */
    char isa[16];          /* portable, avx2, avx512 */
} sg_machine;

/* isa: "auto", "portable", "avx2", "avx512"; blis: "auto" (skx on Intel CPUs with AVX-512 unless
 * BLIS_ARCH_TYPE is set, else BLIS's choice) or one of its architecture names ("haswell", "zen3", "skx",
 * "generic" ...); threads >= 1. Must run before BLIS's first use in the process. Turns on flushing of
 * denormals in every OpenMP thread. SG_CONFIG when this CPU cannot run what is asked. Local. */
int sg_machine_create(sg_machine **machine, const char *isa, const char *blis, int threads);
void sg_machine_destroy(sg_machine **machine); /* bound threads may run anywhere again */

/* Binds each thread to a CPU of its own, where the process may run on exactly as many as it has threads: left
 * to the system they meet on one core now and then. Does nothing where OMP_PROC_BIND, OMP_PLACES or
 * GOMP_CPU_AFFINITY say where threads go. For processes that share their CPUs with no other. What the caller
 * starts afterwards, threads and children, runs on its CPU. Local. */
int sg_machine_bind(sg_machine *machine);

/* Fills u with BLIS's sgemm micro-kernel for this process. SG_OK always leaves a working kernel. */
int sg_ukernel_init(sg_ukernel *u, const struct sg_variant *variant);

/* "isa avx2, BLIS zen3 6x16, lanes 16, 2 bound threads"; into text. */
void sg_machine_describe(const sg_machine *machine, char *text, size_t size);

#endif
