/* `signet bench train`: whole training steps. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/memory.h"
#include "pipeline/bench.h"

enum { WARM_UP = 2, USUAL_STEPS = 20 };

typedef struct outcome {
    int steps;
    double seconds, best;          /* of a step: median, shortest */
    double flop, direct, roofline; /* of a step, all ranks; roofline: mean over ranks, in seconds */
    double sent;                   /* bytes of a step, all ranks */
    double peak, memory;           /* of all ranks */
} outcome;

static int run_steps(sg_bench *b, double *seconds, int steps) {
    for (int i = -WARM_UP; i < steps; i++) {
        double began = sg_bench_now();
        SG_TRY(sg_bench_step(b));
        if (i >= 0) seconds[i] = sg_bench_now() - began;
    }
    return SG_OK;
}

static void print(const sg_bench *b, const sg_cli *cli, const outcome *o) {
    double images = b->batch.samples / o->seconds;
    double requested = cli->density > 0.0 ? cli->density : 1.0;
    if (cli->json) {
        printf(
            "{\"record\":\"train\",\"net\":\"%s\",\"batch\":%d,\"density\":%.6g,\"surviving\":%.6g,\"ranks\":"
            "%d,"
            "\"threads\":%d,\"isa\":\"%s\",\"blis\":\"%s\",\"lanes\":%d,\"steps\":%d,\"images_per_s\":%.2f,"
            "\"step_ms\":%.4f,\"best_step_ms\":%.4f,\"gflops\":%.3f,\"gflops_direct\":%.3f,"
            "\"roofline_share\":%.4f,\"fma_gflops\":%.2f,\"memory_gb_per_s\":%.2f,\"bytes_sent\":%.0f}\n",
            b->net->arch, b->batch.samples, requested, sg_weights_density(b->weights), b->reduce.size,
            b->machine->threads, b->machine->isa, b->machine->ukernel.name, b->machine->lanes, o->steps,
            images, 1e3 * o->seconds, 1e3 * o->best, o->flop / o->seconds * 1e-9,
            o->direct / o->seconds * 1e-9, o->roofline / o->seconds, o->peak * 1e-9, o->memory * 1e-9,
            o->sent);
        return;
    }
    char machine[160];
    sg_machine_describe(b->machine, machine, sizeof machine);
    printf("%s, %d rank%s\n%s, minibatch %d, %.4g of the weights survive: %.1f images/s, %.3f ms a step "
           "(best %.3f), "
           "%.1f GFLOP/s done, %.1f of direct sums, %.0f %% of the roofline (%.1f GFLOP/s, %.1f GB/s), %.0f "
           "bytes "
           "sent a step\n",
           machine, b->reduce.size, b->reduce.size == 1 ? "" : "s", b->net->arch, b->batch.samples,
           sg_weights_density(b->weights), images, 1e3 * o->seconds, 1e3 * o->best,
           o->flop / o->seconds * 1e-9, o->direct / o->seconds * 1e-9, 100.0 * o->roofline / o->seconds,
           o->peak * 1e-9, o->memory * 1e-9, o->sent);
}

int sg_bench_train(sg_bench *b, const sg_cli *cli) {
    outcome o = {.steps = cli->steps > 0 ? cli->steps : USUAL_STEPS};
    double *seconds, roofline;
    sg_work work;
    int status = SG_AT(SG_NEW(&seconds, (size_t)o.steps));
    SG_TRY(sg_comm_agree(b->comm, status));
    uint64_t before = sg_comm_sent(b->comm);
    status = SG_AT(run_steps(b, seconds, o.steps));
    if (status != SG_OK) goto done;
    o.sent = (double)(sg_comm_sent(b->comm) - before) / (o.steps + WARM_UP);
    sg_bench_step_work(b, &work, &roofline);
    o.seconds = sg_bench_median(seconds, o.steps);
    o.best = seconds[0];
    double sums[] = {work.flop, work.direct, roofline / b->reduce.size, o.sent, b->peak.all, b->peak.memory};
    if ((status = SG_AT(sg_comm_sum_double(b->comm, sums, sizeof sums / sizeof *sums)))) goto done;
    o.flop = sums[0], o.direct = sums[1], o.roofline = sums[2], o.sent = sums[3], o.peak = sums[4],
    o.memory = sums[5];
    if (sg_comm_rank(b->comm) == 0) print(b, cli, &o);
done:
    free(seconds);
    return status;
}
