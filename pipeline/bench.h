/* What `signet bench` measures with: this machine's peaks, a network with random data, and what each layer's
 * passes have to do at least. */
#ifndef SG_BENCH_H
#define SG_BENCH_H

#include "kernels/exec.h"
#include "kernels/optimizer.h"
#include "pipeline/cli.h"
#include "pipeline/comm.h"

/* Of this rank, all ranks of the node working at once. */
typedef struct sg_peak {
    double core;        /* FLOP/s of multiply-adds, one thread */
    double all;         /* of all threads */
    double memory;      /* bytes/s of a triad past the caches, all threads */
    double cache;       /* of one that stays in the last-level cache */
    size_t cache_bytes; /* up to here data is taken to stay there */
} sg_peak;

typedef struct sg_bench {
    sg_comm *world; /* owned, like all pointers here */
    sg_comm *comm;  /* the ranks that take part; NULL on the others, which have nothing below either */
    sg_machine *machine;
    sg_reduce reduce;
    sg_peak peak;
    sg_net *net;
    sg_weights *weights;
    sg_survivors *survivors;
    sg_optimizer *optimizer;
    sg_exec *exec;
    float *gradient;
    sg_batch batch; /* random; local_samples of it are here */
    int local_samples;
    uint32_t steps;           /* taken */
    double optimizer_seconds; /* of the last step */
} sg_bench;

/* Starts MPI, chooses kernels, measures the peaks, builds network, mask and minibatch. Collective; SG_USAGE,
 * SG_CONFIG, SG_NOMEM. sg_bench_close belongs behind it in any case. */
int sg_bench_open(sg_bench *bench, const sg_cli *cli);

/* Ends MPI; returns the worst status of all ranks. Collective. */
int sg_bench_close(sg_bench *bench, int status);

/* One training step as stages/train.c does it, on the minibatch in memory. Collective over comm. */
int sg_bench_step(sg_bench *bench);

/* Collective over comm: ranks measure at the same time. */
int sg_bench_measure_peak(sg_peak *peak, sg_comm *comm, const sg_machine *machine);

/* What a pass of a layer does and must move, for this rank's samples. */
typedef struct sg_work {
    const char *algorithm; /* of a convolution, else "" */
    double flop; /* done: of surviving weights where the algorithm skips the others; Winograd: its products */
    double direct; /* of dense direct sums; 0 where nothing is multiplied */
    double bytes;  /* every tensor that is read or written, once */
} sg_work;

/* part: SG_EXEC_FORWARD, SG_EXEC_DATA_GRADIENT or SG_EXEC_WEIGHT_GRADIENT. False: the layer has no such pass.
 */
bool sg_bench_work(const sg_bench *bench, int layer, enum sg_exec_part part, sg_work *work);

/* Seconds that the work takes at least: max(flop / peak, bytes / bandwidth). */
double sg_bench_roofline(const sg_peak *peak, const sg_work *work);

/* Sum over all passes of a training step; roofline seconds likewise. */
void sg_bench_step_work(const sg_bench *bench, sg_work *work, double *roofline);

const char *sg_bench_kind(const sg_layer *layer); /* "conv", "batch_norm" ... */

double sg_bench_median(double *seconds, int count); /* sorts them */

/* The benchmarks. Rank 0 prints. Collective over comm; sg_bench_algorithms takes one rank. */
int sg_bench_layers(sg_bench *bench, const sg_cli *cli);
int sg_bench_train(sg_bench *bench, const sg_cli *cli);
int sg_bench_algorithms(sg_bench *bench, const sg_cli *cli);

#endif
