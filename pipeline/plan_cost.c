/* What a stage costs: estimates for people, and for starting the longest chain first. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/exec.h"
#include "pipeline/data_kind.h"
#include "pipeline/plan_build.h"

enum { BACKWARD = 2 /* forward passes that a backward pass is worth */, SMALL_FILE = 64 << 10 };
enum {
    IMAGENET_SIDE = 112,
    IMAGENET_TRAIN = 1281167,
    IMAGENET_TEST = 50000
}; /* folders for networks of that side */

static double layer_flop(const sg_layer *layer) {
    if (layer->kind != SG_LAYER_CONV) return 0;
    return 2.0 * (double)sg_conv_weights(&layer->conv) * layer->conv.out_height * layer->conv.out_width;
}

double sg_plan_flop(const sg_net *net, double density) {
    double prunable = 0;
    for (int i = 0; i < net->layers; i++)
        if (net->layer[i].weight >= 0 && net->param[net->layer[i].weight].role == SG_ROLE_WEIGHT)
            prunable += layer_flop(&net->layer[i]);
    return sg_net_flop(net) - (1 - density) * prunable;
}

static double training_flop(const sg_config *c, const sg_plan_case_facts *facts, int epochs, double forward) {
    double samples = (double)epochs * (double)facts->train_samples;
    double limit = (double)c->train.max_steps * c->train.batch;
    if (c->train.max_steps > 0 && limit < samples) samples = limit;
    return samples * (1 + BACKWARD) * forward + (double)epochs * (double)facts->test_samples * forward;
}

/* Bytes of the executors' tensors, scratch and structures, over all ranks of a group. */
static int executor_bytes(const sg_machine *machine, const sg_net *net, double density, int ranks, int batch,
                          bool training, double *bytes) {
    sg_exec_bytes one;
    SG_TRY(sg_exec_memory(machine, net, density, ranks, batch, training, &one));
    *bytes = ranks * ((double)one.arena + (double)one.structures);
    return SG_OK;
}

int sg_plan_make_cost(const sg_plan *plan, const sg_run_config *config, const sg_plan_facts *facts,
                      sg_plan_stage *stage) {
    const sg_config *c = &config->cases[stage->config];
    const sg_plan_case_facts *own = &facts->cases[stage->config];
    const sg_plan_case *one = &plan->about[stage->config];
    const sg_net *net = plan->nets[stage->config];
    double density = stage->density < 0 ? 1 : stage->density; /* a mask file's: nobody looked */
    double forward = sg_plan_flop(net, density);
    double data = (double)(own->train_samples + own->test_samples) * own->channels * own->height * own->width;
    if (c->data.size > 0) data = 0; /* image files, read when they are needed */
    if (c->data.memory_gb > 0 && data > 1e9 * c->data.memory_gb) data = 0;
    double values = (double)net->values,
           state = 4 * values + 8 * (double)net->channels_tracked + (double)one->kept[0];
    int moments = c->train.optimizer == SG_ADAM ? 2 : 1, ranks = plan->ranks;
    double training = ranks * (4 * values * (4 + moments) + values) + data,
           evaluation = ranks * 3 * state + data;
    if (ranks > 1) training += 4 * values * (1 + moments); /* what they share (kernels/optimizer.h) */
    if (facts->machine != NULL) {
        double bytes = 0.0;
        SG_TRY(executor_bytes(facts->machine, net, density, ranks, c->train.batch, true, &bytes));
        training += bytes;
        SG_TRY(executor_bytes(facts->machine, net, density, ranks, c->train.batch, false, &bytes));
        evaluation += bytes;
    }
    double checkpoints = config->run.keep * (2 * state + 4 * values * moments);
    double memory = 0, disk = 0;
    switch (stage->kind) {
    case SG_STAGE_WARMUP:
    case SG_STAGE_ROUND:
    case SG_STAGE_TRANSFER: {
        int epochs = stage->kind == SG_STAGE_WARMUP  ? c->search.warmup_epochs
                     : stage->kind == SG_STAGE_ROUND ? c->search.round_epochs
                                                     : c->transfer.epochs;
        bool rewinds = stage->kind == SG_STAGE_WARMUP && stage->method == SG_METHOD_IMP;
        stage->flop = training_flop(c, own, epochs, forward);
        memory = training;
        disk = state + checkpoints + (rewinds ? 4 * values : 0);
        break;
    }
    case SG_STAGE_EXTRACT:
        memory = 2 * state;
        disk = (double)net->values + SMALL_FILE;
        break;
    default: {
        bool recalibrates = c->connect.recalibrate && net->channels_tracked > 0;
        stage->flop = c->connect.points * forward *
                      ((recalibrates ? (double)own->train_samples : 0) + (double)own->test_samples);
        memory = evaluation;
        disk = SMALL_FILE;
    }
    }
    stage->memory = facts->machine != NULL ? (size_t)memory : 0;
    stage->disk = (size_t)disk;
    return SG_OK;
}

static size_t assumed(const sg_data_usual *usual, size_t samples, int limit) {
    return limit > 0 && (usual->any_number || (size_t)limit < samples) ? (size_t)limit : samples;
}

int sg_plan_assume_facts(const sg_config *config, sg_plan_case_facts *facts) {
    const sg_data_kind *kind;
    memset(facts, 0, sizeof *facts);
    SG_TRY(sg_data_kind_find(config->data.kind, &kind));
    const sg_data_usual *usual = &kind->usual;
    int side = config->data.size > 0 ? config->data.size : usual->side;
    bool large = config->data.size >= IMAGENET_SIDE;
    facts->channels = usual->channels;
    facts->height = facts->width = side;
    facts->train_samples =
        assumed(usual, large ? IMAGENET_TRAIN : usual->samples[SG_SPLIT_TRAIN], config->data.train_limit);
    facts->test_samples =
        assumed(usual, large ? IMAGENET_TEST : usual->samples[SG_SPLIT_TEST], config->data.test_limit);
    if (config->transfer.mask_file[0] == '\0') return SG_OK;
    return SG_AT(sg_plan_file_digest(config->transfer.mask_file, facts->mask_digest));
}
