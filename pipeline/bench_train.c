/* `signet bench train`: whole training steps. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "pipeline/bench.h"

enum { WARM_UP = 2, USUAL_STEPS = 20, SUMS_ALONE = 5 };

typedef struct outcome {
    int steps;
    double seconds, best;          /* of a step: median, shortest */
    double flop, direct, roofline; /* of a step, all ranks; roofline: mean over ranks, in seconds */
    double sent;                   /* bytes of a step, all ranks */
    double hidden;       /* share of the gradient's sum over ranks that the step does not wait for */
    double peak, memory; /* of all ranks */
} outcome;

/* Time that a step spends in the gradient's sum over ranks: beginning, moving and waiting for it. */
typedef struct sum_clock {
    double last, spent;
} sum_clock;

static void part_done(void *context, int layer, enum sg_exec_part part) {
    (void)layer;
    sum_clock *c = context;
    double now = sg_clock_now();
    if (part == SG_EXEC_SUM) c->spent += now - c->last;
    c->last = now;
}

/* seconds and waited: [steps]. */
static int run_steps(sg_bench *b, double *seconds, double *waited, int steps) {
    sum_clock clock;
    sg_exec_watch watch = {.context = &clock, .done = part_done};
    sg_exec_set_watch(b->exec, &watch);
    for (int i = -WARM_UP; i < steps; i++) {
        double began = sg_clock_now();
        clock = (sum_clock){.last = began};
        SG_TRY(sg_bench_step(b));
        if (i < 0) continue;
        seconds[i] = sg_clock_now() - began;
        waited[i] = clock.spent;
    }
    sg_exec_set_watch(b->exec, NULL);
    return SG_OK;
}

/* The same sum with nothing to hide behind. */
static int sum_alone(sg_bench *b, double *seconds) {
    double each[SUMS_ALONE];
    for (int i = 0; i < SUMS_ALONE; i++) {
        SG_TRY(sg_comm_barrier_quietly(b->comm));
        double began = sg_clock_now();
        SG_TRY(b->reduce.sum_begin(b->reduce.context, b->gradient, b->survivors->total, b->batch.blocks));
        SG_TRY(b->reduce.finish(b->reduce.context));
        each[i] = sg_clock_now() - began;
    }
    *seconds = sg_bench_median(each, SUMS_ALONE);
    return SG_OK;
}

static double hidden_share(double alone, double waited) {
    return alone > waited ? 1.0 - waited / alone : 0.0;
}

static void print(const sg_bench *b, const sg_cli *cli, const outcome *o) {
    double images = b->batch.samples / o->seconds;
    double requested = cli->density > 0.0 ? cli->density : 1.0;
    char hidden[16] = "null";
    if (b->reduce.size > 1) snprintf(hidden, sizeof hidden, "%.4f", o->hidden);
    if (cli->json) {
        printf(
            "{\"record\":\"train\",\"net\":\"%s\",\"batch\":%d,\"density\":%.6g,\"surviving\":%.6g,\"ranks\":"
            "%d,"
            "\"threads\":%d,\"isa\":\"%s\",\"blis\":\"%s\",\"lanes\":%d,\"steps\":%d,\"images_per_s\":%.2f,"
            "\"step_ms\":%.4f,\"best_step_ms\":%.4f,\"gflops\":%.3f,\"gflops_direct\":%.3f,"
            "\"roofline_share\":%.4f,\"fma_gflops\":%.2f,\"memory_gb_per_s\":%.2f,\"bytes_sent\":%.0f,"
            "\"sum_hidden\":%s}\n",
            b->net->arch, b->batch.samples, requested, sg_weights_density(b->weights), b->reduce.size,
            b->machine->threads, b->machine->isa, b->machine->ukernel.name, b->machine->lanes, o->steps,
            images, 1e3 * o->seconds, 1e3 * o->best, o->flop / o->seconds * 1e-9,
            o->direct / o->seconds * 1e-9, o->roofline / o->seconds, o->peak * 1e-9, o->memory * 1e-9,
            o->sent, hidden);
        return;
    }
    char machine[160];
    sg_machine_describe(b->machine, machine, sizeof machine);
    printf("%s, %d rank%s\n%s, minibatch %d, %.4g of the weights survive: %.1f images/s, %.3f ms a step "
           "(best %.3f), "
           "%.1f GFLOP/s done, %.1f of direct sums, %.0f %% of the roofline (%.1f GFLOP/s, %.1f GB/s), %.0f "
           "bytes sent a step",
           machine, b->reduce.size, b->reduce.size == 1 ? "" : "s", b->net->arch, b->batch.samples,
           sg_weights_density(b->weights), images, 1e3 * o->seconds, 1e3 * o->best,
           o->flop / o->seconds * 1e-9, o->direct / o->seconds * 1e-9, 100.0 * o->roofline / o->seconds,
           o->peak * 1e-9, o->memory * 1e-9, o->sent);
    if (b->reduce.size > 1) printf(", %.0f %% of their time hidden", 100.0 * o->hidden);
    printf("\n");
}

int sg_bench_train(sg_bench *b, const sg_cli *cli) {
    outcome o = {.steps = cli->steps > 0 ? cli->steps : USUAL_STEPS};
    double *seconds, roofline, alone = 0.0;
    sg_work work;
    int status = SG_AT(SG_NEW(&seconds, 2 * (size_t)o.steps));
    SG_TRY(sg_comm_agree(b->comm, status));
    uint64_t before = sg_comm_sent(b->comm);
    double *waited = seconds + o.steps;
    status = SG_AT(run_steps(b, seconds, waited, o.steps));
    if (status != SG_OK) goto done;
    o.sent = (double)(sg_comm_sent(b->comm) - before) / (o.steps + WARM_UP);
    if (b->reduce.size > 1 && (status = SG_AT(sum_alone(b, &alone)))) goto done;
    o.hidden = hidden_share(alone, sg_bench_median(waited, o.steps));
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
