/* The plan for people: a table, a graph, the networks' layers. */
#include <errno.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/tree.h"
#include "pipeline/plan_build.h"

static int check_stream(FILE *out) {
    SG_CHECK(fflush(out) == 0 && !ferror(out), SG_IO, "writing the plan: %s", strerror(errno));
    return SG_OK;
}

static double mib(double bytes) { return bytes / (1 << 20); }

static void print_stage(const sg_plan *plan, int number, FILE *out) {
    const sg_plan_stage *stage = &plan->stages[number];
    char parents[64] = "-";
    size_t used = 0;
    for (int i = 0; i < stage->parent_count; i++)
        used += (size_t)snprintf(parents + used, sizeof parents - used, "%s%d", i > 0 ? "," : "",
                                 stage->parents[i]);
    fprintf(out, "%5d  %-8s  %-8s  %-13s  %11.1f  %8.0f  %8.1f  %s\n", number,
            sg_stage_state_name(stage->state), sg_stage_kind_name(stage->kind), parents, stage->flop * 1e-9,
            mib((double)stage->memory), mib((double)stage->disk), stage->id);
}

static void print_case(const sg_plan_case *one, const sg_net *net, int lanes, FILE *out) {
    size_t prunable = one->kept[0];
    fprintf(out, "%s: %zu parameters, %zu prunable, %.4g GFLOP a sample forward", one->id, net->values,
            prunable, sg_plan_flop(net, 1) * 1e-9);
    if (one->rounds > 0)
        fprintf(out, "; after %d round%s %zu survive (%.2f %%)", one->rounds, one->rounds == 1 ? "" : "s",
                one->kept[one->rounds], 100.0 * (double)one->kept[one->rounds] / (double)prunable);
    int blocks = sg_divide_up(one->batch, lanes), ranks = sg_tree_ranks(blocks, blocks);
    fprintf(out, "\n  a minibatch of %d is %d block%s of %d samples: at most %d rank%s help one network\n",
            one->batch, blocks, blocks == 1 ? "" : "s", lanes, ranks, ranks == 1 ? "" : "s");
}

static void print_totals(const sg_plan *plan, double gflops, FILE *out) {
    int states[SG_STATE_COUNT] = {0}, kinds[SG_STAGE_KIND_COUNT] = {0};
    double flop = 0, left = 0, chain = 0, disk = 0, memory = 0;
    for (int i = 0; i < plan->count; i++) {
        const sg_plan_stage *stage = &plan->stages[i];
        states[stage->state]++;
        kinds[stage->kind]++;
        flop += stage->flop;
        disk += (double)stage->disk;
        if (stage->state != SG_STATE_DONE) left += stage->flop;
        if (stage->chain > chain) chain = stage->chain;
        if ((double)stage->memory > memory) memory = (double)stage->memory;
    }
    fprintf(out, "%d stages:", plan->count);
    for (int k = 0; k < SG_STAGE_KIND_COUNT; k++)
        if (kinds[k] > 0) fprintf(out, " %d %s", kinds[k], sg_stage_kind_name((enum sg_stage_kind)k));
    fprintf(out, ";");
    for (int s = 0; s < SG_STATE_COUNT; s++)
        if (states[s] > 0) fprintf(out, " %d %s", states[s], sg_stage_state_name((enum sg_stage_state)s));
    double hour = gflops * 1e9 * 3600;
    fprintf(out,
            "\ntotal %.4g GFLOP, %.3g core-hours at %g GFLOP/s a core; to do %.4g GFLOP, %.3g core-hours\n",
            flop * 1e-9, flop / hour, gflops, left * 1e-9, left / hour);
    fprintf(out,
            "longest chain %.4g GFLOP, %.3g core-hours; memory up to %.0f MiB a stage of %d rank%s, disk "
            "%.0f MiB\n",
            chain * 1e-9, chain / hour, mib(memory), plan->ranks, plan->ranks == 1 ? "" : "s", mib(disk));
}

int sg_plan_print(const sg_plan *plan, int lanes, double gflops, FILE *out) {
    for (int i = 0; i < plan->cases; i++) print_case(&plan->about[i], plan->nets[i], lanes, out);
    fprintf(out, "\n%5s  %-8s  %-8s  %-13s  %11s  %8s  %8s  %s\n", "stage", "state", "kind", "parents",
            "GFLOP", "mem MiB", "disk MiB", "id");
    for (int i = 0; i < plan->count; i++) print_stage(plan, i, out);
    fprintf(out, "\n");
    print_totals(plan, gflops, out);
    return SG_AT(check_stream(out));
}

int sg_plan_print_dot(const sg_plan *plan, FILE *out) {
    static const char *const colours[SG_STATE_COUNT] = {"white",     "palegreen", "khaki",    "salmon",
                                                        "lightblue", "lightgrey", "lightgrey"};
    fprintf(out, "digraph signet {\n    rankdir = LR;\n    node [shape = box, style = filled];\n");
    for (int i = 0; i < plan->count; i++) {
        const sg_plan_stage *stage = &plan->stages[i];
        fprintf(out, "    s%d [label = \"%s\", fillcolor = %s];\n", i, stage->id, colours[stage->state]);
        for (int j = 0; j < stage->parent_count; j++) fprintf(out, "    s%d -> s%d;\n", stage->parents[j], i);
    }
    fprintf(out, "}\n");
    return SG_AT(check_stream(out));
}

static const char *layer_kind(enum sg_layer_kind kind) {
    switch (kind) {
    case SG_LAYER_INPUT:
        return "input";
    case SG_LAYER_CONV:
        return "conv";
    case SG_LAYER_BATCH_NORM:
        return "batch norm";
    case SG_LAYER_LAYER_NORM:
        return "layer norm";
    case SG_LAYER_ACTIVATION:
        return "activation";
    case SG_LAYER_ADD:
        return "add";
    case SG_LAYER_MAX_POOL:
        return "max pool";
    case SG_LAYER_AVERAGE_POOL:
        return "average pool";
    case SG_LAYER_GLOBAL_POOL:
        return "global pool";
    case SG_LAYER_SCALE:
        return "scale";
    case SG_LAYER_CONCAT:
        return "concat";
    case SG_LAYER_SHUFFLE:
        return "shuffle";
    case SG_LAYER_TOKENS:
        return "tokens";
    case SG_LAYER_FIRST_TOKEN:
        return "first token";
    case SG_LAYER_TRANSPOSE:
        return "transpose";
    case SG_LAYER_ATTENTION:
        return "attention";
    case SG_LAYER_DROPOUT:
        return "dropout";
    }
    return "?";
}

static void print_layer(const sg_net *net, const sg_layer *layer, FILE *out) {
    size_t parameters = 0, prunable = 0;
    double flop = 0;
    const int owned[] = {layer->weight, layer->bias};
    for (int i = 0; i < 2; i++) {
        if (owned[i] < 0) continue;
        const sg_param *param = &net->param[owned[i]];
        parameters += param->count;
        if (param->role == SG_ROLE_WEIGHT) prunable += param->count;
    }
    if (layer->kind == SG_LAYER_CONV)
        flop = 2.0 * (double)sg_conv_weights(&layer->conv) * layer->conv.out_height * layer->conv.out_width;
    char shape[48];
    snprintf(shape, sizeof shape, "%dx%dx%d", layer->channels, layer->height, layer->width);
    fprintf(out, "  %-32s  %-12s  %-14s  %11zu  %11zu  %12.6g\n", layer->name[0] != '\0' ? layer->name : "-",
            layer_kind(layer->kind), shape, parameters, prunable, flop * 1e-6);
}

int sg_plan_print_layers(const sg_plan *plan, FILE *out) {
    for (int c = 0; c < plan->cases; c++) {
        const sg_net *net = plan->nets[c];
        fprintf(out, "%s\n  %-32s  %-12s  %-14s  %11s  %11s  %12s\n", plan->about[c].id, "layer", "kind",
                "output CxHxW", "parameters", "prunable", "MFLOP");
        for (int i = 0; i < net->layers; i++) print_layer(net, &net->layer[i], out);
        fprintf(out, "  %-32s  %-12s  %-14s  %11zu  %11zu  %12.6g\n\n", "total", "", "", net->values,
                plan->about[c].kept[0], sg_net_flop(net) * 1e-6);
    }
    return SG_AT(check_stream(out));
}
