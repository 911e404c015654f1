/* The plan: every stage that a configuration asks for, as a graph in topological order, from the
 * configuration alone.
 *
 * For each case, method, alpha range (aws only) and search seed: warmup (state 0) -> round 1 -> ... -> round
 * T. After each round an extract (its signed mask); for each requested round, mode, transfer seed and data
 * order a transfer; then the paths between pairs of trained networks. `dense` needs no search. With a mask
 * file there is no search.
 *
 * A stage's key is the XXH3-128 of its key text: one line "name = value" for each option that the stage
 * depends on, the data set's fingerprint, the arithmetic, the format version, and one line "parent <id> =
 * <key>" per parent. The text is stored with every result, so what made a result stale can be named. All
 * functions are local. */
#ifndef SG_PLAN_H
#define SG_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/machine.h"
#include "kernels/net.h"
#include "pipeline/config.h"

/* Version of what a result file holds and of what stages compute; part of every key. */
enum { SG_PLAN_FORMAT = 1 };

enum sg_stage_kind {
    SG_STAGE_WARMUP,
    SG_STAGE_ROUND,
    SG_STAGE_EXTRACT,
    SG_STAGE_TRANSFER,
    SG_STAGE_CONNECT,
    SG_STAGE_KIND_COUNT
};

/* Where a stage stands. The plan says SG_STATE_PENDING everywhere; whoever looks into a run directory sets
 * it. */
enum sg_stage_state {
    SG_STATE_PENDING,
    SG_STATE_DONE,
    SG_STATE_STALE, /* a result is there, made with another key */
    SG_STATE_FAILED,
    SG_STATE_RUNNING,
    SG_STATE_BLOCKED,   /* a parent failed */
    SG_STATE_ELSEWHERE, /* another part of the run computes it (sg_plan_part) */
    SG_STATE_COUNT
};

typedef struct sg_plan_stage {
    char id[192]; /* unique, also a relative path: letters, digits, '-', '_', '.', '/' */
    enum sg_stage_kind kind;
    enum sg_stage_state state;
    int config; /* number of its case in the sg_run_config */

    /* The search that it belongs to. searched false: dense stages and those from a mask file. */
    bool searched;
    enum sg_method method;
    sg_alpha_range alpha; /* lrr, imp: 1, 1 */
    uint64_t search_seed;
    int round;      /* warmup 0; rounds and what starts from them 1..T; 0 otherwise */
    double density; /* of prunable weights, by the integer chain; 1 for dense; -1: a mask file's, unknown */

    /* TRANSFER, and the first network of CONNECT. */
    enum sg_mode mode;      /* CONNECT: sgd-noise's mode, else the first network's; norm-reinit: unused */
    uint64_t transfer_seed; /* initialisation */
    uint64_t order_seed;    /* data order; for CONNECT sgd-noise: the second network's */
    int order;              /* 0: order_seed = transfer_seed; k: transfer_seed + 1000 k */

    /* CONNECT: parents[0] is network one, parents[1] network two (norm-reinit: parents[0] alone). */
    enum sg_pair pair;
    uint64_t other_seed; /* signed-signed: transfer seed of network two */

    /* Stage numbers, all smaller than this stage's. IMP rounds: the state before, then (when it is another
     * stage) the warmup, to whose kept state they rewind. */
    int parents[3], parent_count;
    char *key_text; /* owned by the plan */
    char key[33];   /* 32 hexadecimal digits */

    int part; /* 1..parts as dealt out by sg_plan_part; 0: several, or not dealt out */

    double flop;   /* useful floating-point operations, density-weighted */
    double chain;  /* flop of the longest chain of stages that starts here, this one included */
    size_t memory; /* bytes over the plan's `ranks` on one node, data set included once; 0: unknown */
    size_t disk;   /* bytes that the finished stage leaves, and its checkpoints' room */
} sg_plan_stage;

typedef struct sg_plan_case {
    char id[96]; /* the first part of its stages' ids */
    int batch, rounds;
    size_t *kept; /* [rounds + 1] surviving prunable weights after each round. Owned by the plan */
} sg_plan_case;

typedef struct sg_plan {
    int count;
    sg_plan_stage *stages; /* [count] topological order */
    int ranks;             /* sg_plan_ranks */
    int cases;
    sg_net **nets;       /* [cases] each case's network. Owned */
    sg_plan_case *about; /* [cases] */
} sg_plan;

/* What the configuration cannot know of one case's data. */
typedef struct sg_plan_case_facts {
    char fingerprint[64]; /* of the data set's content, one line; "": unknown, and keys match no results */
    int channels, height, width;
    size_t train_samples, test_samples;
    char mask_digest[33]; /* of transfer.mask_file (sg_plan_file_digest); "" without one */
} sg_plan_case_facts;

typedef struct sg_plan_facts {
    const sg_plan_case_facts *cases; /* [config->count]. Borrowed during the call */
    /* "BLIS zen3 6x16 lanes 16 winograd 1 sparse 1 selector 1"; NULL or "": unknown. */
    const char *arithmetic;
    const sg_machine *machine; /* what will compute, for the memory of stages; NULL: that is left 0 */
} sg_plan_facts;

/* Ranks that a stage's memory is reckoned for: run.ranks_per_stage, or 1 where that is chosen. */
int sg_plan_ranks(const sg_run_config *config);

/* The network of a case, for sg_net_create. The names are borrowed from config. */
void sg_plan_net_options(const sg_config *config, const sg_plan_case_facts *facts, sg_net_options *options);

/* SG_CONFIG: an unknown network, images too small for it, more rounds than weights last. config is not kept.
 * Owned. */
int sg_plan_create(sg_plan **plan, const sg_run_config *config, const sg_plan_facts *facts);
void sg_plan_destroy(sg_plan **plan);

/* Number of the stage with this id, or -1. */
int sg_plan_find(const sg_plan *plan, const char *id);

/* Marks what is not done and does not belong to part 1..parts. The chains of stages are dealt out in turn, by
 * the stage that they begin with; what needs stages of several parts belongs to none. Local. */
void sg_plan_part(sg_plan *plan, int part, int parts);

/* The sizes that a data set of this kind usually has, without a look at the data: what `signet plan` needs on
 * a login node. Limits of the configuration are applied. The mask file is read for its digest (SG_NOINPUT).
 */
int sg_plan_assume_facts(const sg_config *config, sg_plan_case_facts *facts);

/* XXH3-128 of a file's bytes as 32 hexadecimal digits. SG_NOINPUT, SG_IO. */
int sg_plan_file_digest(const char *path, char digest[33]);

/* What differs between two key texts, one line each: "train.lr: 0.1 -> 0.05"; into out (cut off at size).
 * Returns the number of differing lines. */
int sg_plan_diff(const char *old_text, const char *new_text, char *out, size_t size);

const char *sg_stage_kind_name(enum sg_stage_kind kind);    /* "warmup", "round", ... */
const char *sg_stage_state_name(enum sg_stage_state state); /* "pending", "done", ... */

/* The table of stages with state, parents, cost, and totals with core-hours at `gflops` GFLOP/s a core;
 * lanes: samples of a block. SG_IO. */
int sg_plan_print(const sg_plan *plan, int lanes, double gflops, FILE *out);
/* The graph for Graphviz. SG_IO. */
int sg_plan_print_dot(const sg_plan *plan, FILE *out);
/* The layers of each different network: name, shape, parameters, prunable weights, FLOP per sample. SG_IO. */
int sg_plan_print_layers(const sg_plan *plan, FILE *out);

#endif
