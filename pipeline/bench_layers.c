/* `signet bench`: every pass of every layer inside real training steps (the shortest of some), beside what it
 * does and moves at least. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "pipeline/bench.h"

enum { WARM_UP = 2, USUAL_STEPS = 5 };

/* Parts of the executor, and the optimiser's step. */
enum { OPTIMIZER = SG_EXEC_PARTS, PARTS };
static const char *const part_name[] = {"prepare",       "forward", "loss",     "weight_gradient",
                                        "data_gradient", "sum",     "optimizer"};

typedef struct clocks {
    int layers, steps, step;
    double *seconds; /* [layers][PARTS][steps] */
    double last;
} clocks;

static double *at(const clocks *c, int layer, int part) {
    return c->seconds + ((size_t)layer * PARTS + (size_t)part) * (size_t)c->steps;
}

static void part_done(void *context, int layer, enum sg_exec_part part) {
    clocks *c = context;
    double now = sg_clock_now();
    if (c->step >= 0) at(c, layer, (int)part)[c->step] += now - c->last;
    c->last = now;
}

static int run_steps(sg_bench *b, clocks *c) {
    sg_exec_watch watch = {.context = c, .done = part_done};
    sg_exec_set_watch(b->exec, &watch);
    for (c->step = -WARM_UP; c->step < c->steps; c->step++) {
        c->last = sg_clock_now();
        SG_TRY(sg_bench_step(b));
        if (c->step >= 0) at(c, 0, OPTIMIZER)[c->step] = b->optimizer_seconds;
    }
    sg_exec_set_watch(b->exec, NULL);
    return SG_OK;
}

/* Whatever else runs here only adds time. */
static double shortest(const double *seconds, int count) {
    double best = seconds[0];
    for (int i = 1; i < count; i++) best = seconds[i] < best ? seconds[i] : best;
    return best;
}

/* ---- output */

typedef struct row {
    const char *layer, *kind, *part;
    sg_work work;
    double seconds, roofline; /* roofline 0: not reckoned */
} row;

/* A number, or what stands for none. */
static const char *number(char text[16], int digits, double value, bool known, const char *none) {
    if (known)
        snprintf(text, 16, "%.*f", digits, value);
    else
        snprintf(text, 16, "%s", none);
    return text;
}

static void print_row(const row *r, double step, bool json) {
    char gflops[16], direct[16], bandwidth[16], share[16];
    const char *none = json ? "null" : "-";
    int rate = json ? 3 : 1, percent = json ? 4 : 0;
    bool timed = r->seconds > 0.0;
    number(gflops, rate, r->work.flop / r->seconds * 1e-9, timed && r->work.flop > 0.0, none);
    number(direct, rate, r->work.direct / r->seconds * 1e-9, timed && r->work.direct > 0.0, none);
    number(bandwidth, rate, r->work.bytes / r->seconds * 1e-9, timed && r->work.bytes > 0.0, none);
    number(share, percent, (json ? 1.0 : 100.0) * r->roofline / r->seconds, timed && r->roofline > 0.0, none);
    if (json)
        printf(
            "{\"record\":\"pass\",\"layer\":\"%s\",\"kind\":\"%s\",\"pass\":\"%s\",\"algorithm\":\"%s\","
            "\"ms\":%.5f,"
            "\"step_share\":%.5f,\"gflops\":%s,\"gflops_direct\":%s,\"gb_per_s\":%s,\"roofline_share\":%s}\n",
            r->layer, r->kind, r->part, r->work.algorithm, 1e3 * r->seconds, r->seconds / step, gflops,
            direct, bandwidth, share);
    else
        printf("%-26.26s %-13s %-15s %-11s %9.3f %6.1f %8s %8s %7s %6s\n", r->layer, r->kind, r->part,
               r->work.algorithm, 1e3 * r->seconds, 100.0 * r->seconds / step, gflops, direct, bandwidth,
               share);
}

static void print_head(const sg_bench *b, const clocks *c, bool json) {
    char machine[160];
    const sg_peak *p = &b->peak;
    double density = sg_weights_density(b->weights);
    sg_machine_describe(b->machine, machine, sizeof machine);
    if (json) {
        printf(
            "{\"record\":\"machine\",\"isa\":\"%s\",\"blis\":\"%s\",\"lanes\":%d,\"ranks\":%d,\"threads\":%d,"
            "\"fma_gflops_core\":%.2f,\"fma_gflops\":%.2f,\"memory_gb_per_s\":%.2f,\"cache_gb_per_s\":%.2f,"
            "\"cache_bytes\":%zu}\n",
            b->machine->isa, b->machine->ukernel.name, b->machine->lanes, b->reduce.size, b->machine->threads,
            p->core * 1e-9, p->all * 1e-9, p->memory * 1e-9, p->cache * 1e-9, p->cache_bytes);
        return;
    }
    printf("%s, %d rank%s\npeak: %.1f GFLOP/s a core, %.1f of all threads; triad %.1f GB/s from memory, %.1f "
           "below "
           "%.1f MiB\n%s, minibatch %d (%d here), %.4g of the weights survive; each pass's shortest of %d "
           "steps\n\n",
           machine, b->reduce.size, b->reduce.size == 1 ? "" : "s", p->core * 1e-9, p->all * 1e-9,
           p->memory * 1e-9, p->cache * 1e-9, (double)p->cache_bytes / (1 << 20), b->net->arch,
           b->batch.samples, b->local_samples, density, c->steps);
    printf("%-26s %-13s %-15s %-11s %9s %6s %8s %8s %7s %6s\n", "layer", "kind", "pass", "algorithm", "ms",
           "% step", "GFLOP/s", "direct", "GB/s", "roof %");
}

static void add_row(row *sum, const row *r) {
    sum->seconds += r->seconds;
    sum->roofline += r->roofline;
    sum->work.flop += r->work.flop;
    sum->work.direct += r->work.direct;
    sum->work.bytes += r->work.bytes;
}

/* What no single layer owns: in text "all". */
static void add_part(const clocks *c, int part, row *step, row *rows, int *count) {
    row r = {.layer = "all", .kind = part_name[part], .part = part_name[part], .work = {.algorithm = ""}};
    for (int l = 0; l < c->layers; l++) r.seconds += shortest(at(c, l, part), c->steps);
    add_row(step, &r);
    rows[(*count)++] = r;
}

/* Sums by kind of layer, as rows of layer "all". */
static void add_kind(const row *r, row *kinds, int *count) {
    int k = 0;
    while (k < *count && (strcmp(kinds[k].kind, r->kind) != 0 || strcmp(kinds[k].part, r->part) != 0)) k++;
    if (k == *count)
        kinds[(*count)++] =
            (row){.layer = "all", .kind = r->kind, .part = r->part, .work = {.algorithm = ""}};
    add_row(&kinds[k], r);
}

static int report(const sg_bench *b, const clocks *c, bool json) {
    static const enum sg_exec_part passes[] = {SG_EXEC_FORWARD, SG_EXEC_DATA_GRADIENT,
                                               SG_EXEC_WEIGHT_GRADIENT};
    static const int others[] = {SG_EXEC_PREPARE, SG_EXEC_LOSS, SG_EXEC_SUM, OPTIMIZER};
    row *rows, *kinds, step = {.layer = "all", .kind = "step", .part = "step", .work = {.algorithm = ""}};
    int count = 0, kind_count = 0;
    SG_TRY(SG_NEW(&rows, (size_t)c->layers * 3 + PARTS));
    int status = SG_AT(SG_NEW(&kinds, (size_t)c->layers * 3 + PARTS));
    for (size_t p = 0; status == SG_OK && p < sizeof passes / sizeof *passes; p++)
        for (int l = 1; l < c->layers; l++) {
            row r = {.layer = b->net->layer[l].name,
                     .kind = sg_bench_kind(&b->net->layer[l]),
                     .part = part_name[passes[p]]};
            if (!sg_bench_work(b, l, passes[p], &r.work)) continue;
            r.seconds = shortest(at(c, l, (int)passes[p]), c->steps);
            r.roofline = sg_bench_roofline(&b->peak, &r.work);
            add_row(&step, &r);
            add_kind(&r, kinds, &kind_count);
            rows[count++] = r;
        }
    for (size_t p = 0; status == SG_OK && p < sizeof others / sizeof *others; p++)
        add_part(c, others[p], &step, kinds, &kind_count);
    if (status == SG_OK && sg_comm_rank(b->comm) == 0) {
        print_head(b, c, json);
        for (int i = 0; i < count; i++) print_row(&rows[i], step.seconds, json);
        if (!json) printf("\n");
        for (int i = 0; i < kind_count; i++) print_row(&kinds[i], step.seconds, json);
        print_row(&step, step.seconds, json);
    }
    free(rows);
    free(kinds);
    return status;
}

int sg_bench_layers(sg_bench *b, const sg_cli *cli) {
    clocks c = {.layers = b->net->layers, .steps = cli->steps > 0 ? cli->steps : USUAL_STEPS};
    int status = SG_AT(SG_NEW(&c.seconds, (size_t)c.layers * PARTS * (size_t)c.steps));
    SG_TRY(sg_comm_agree(b->comm, status));
    status = SG_AT(run_steps(b, &c));
    if (status == SG_OK) status = SG_AT(report(b, &c, cli->json));
    free(c.seconds);
    return status;
}
