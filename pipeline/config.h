/* Configuration: what one libconfig file asks for, checked and complete.
 *
 * One table of keys (config_schema.c) drives parsing, defaults, checks, the resolved configuration and the
 * reference page docs/configuration.md. Key paths are group.name, as the members below.
 *
 * Every error is SG_CONFIG (SG_NOINPUT for a file that is not there) and says "file:line: key `train.lr` ..."
 * or, for an override, "--set train.lr=-1: key `train.lr` ...". Relative paths in a configuration are
 * relative to the current directory. @include takes regular files below the configuration's own folder. All
 * functions are local. */
#ifndef SG_CONFIG_H
#define SG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/optimizer.h"
#include "stages/kinds.h"

enum { SG_CONFIG_LIST = 256, SG_CONFIG_PATH = 1024, SG_CONFIG_NAME = 32 };

typedef struct sg_alpha_range {
    double low, high;
} sg_alpha_range;

typedef struct sg_net_config {
    char arch[SG_CONFIG_NAME];
    int classes;
    int width;      /* 0: the architecture's own */
    double dropout; /* -1: the architecture's own */
    int depth;      /* vit: layers; 0: own */
} sg_net_config;

typedef struct sg_data_config {
    char kind[SG_CONFIG_NAME];
    char path[SG_CONFIG_PATH];
    int train_limit, test_limit; /* samples; 0: all */
    char augment[SG_CONFIG_NAME];
    int size;         /* side of the images that the network sees; 0: their own */
    double memory_gb; /* samples beyond it are read when they are needed; 0: half of the node's memory */
    uint64_t seed;    /* of the procedural data set */
} sg_data_config;

typedef struct sg_train_config {
    enum sg_optimizer_kind optimizer;
    double lr, momentum, weight_decay;
    int batch;
    bool shuffled;
    int max_steps; /* 0: no limit */
} sg_train_config;

typedef struct sg_search_config {
    int method_count;
    enum sg_method methods[SG_METHOD_COUNT];
    int seed_count;
    uint64_t seeds[SG_CONFIG_LIST];
    int warmup_epochs, rounds, round_epochs;
    double prune_fraction;
    enum sg_schedule schedule;
    int alpha_count;
    sg_alpha_range alpha[SG_CONFIG_LIST]; /* methods other than aws have alpha = 1 */
    int imp_rewind_epoch;
} sg_search_config;

typedef struct sg_transfer_config {
    int mode_count;
    enum sg_mode modes[SG_MODE_COUNT];
    int seed_count;
    uint64_t seeds[SG_CONFIG_LIST];
    int round_count;
    int rounds[SG_CONFIG_LIST];     /* ascending, 1..search.rounds: what transfer.rounds or transfer.densities
                                       came to */
    char mask_file[SG_CONFIG_PATH]; /* "": from the searches */
    int noise_orders;
    int epochs;
    enum sg_schedule schedule;
} sg_transfer_config;

typedef struct sg_single_config {
    int epochs;
    enum sg_schedule schedule;
    sg_alpha_range alpha;
} sg_single_config;

typedef struct sg_connect_config {
    int points;
    bool recalibrate;
    int pair_count;
    enum sg_pair pairs[SG_PAIR_COUNT];
} sg_connect_config;

/* One case: one architecture on one data set. Plain values: copied by assignment. */
typedef struct sg_config {
    sg_net_config net;
    sg_data_config data;
    sg_train_config train;
    sg_search_config search;
    sg_transfer_config transfer;
    sg_single_config single;
    sg_connect_config connect;
} sg_config;

typedef struct sg_run_options {
    int ranks_per_stage; /* 0: choose; else a power of two */
    int threads;         /* per rank; 0: cores of the node divided by its ranks */
    double checkpoint_minutes;
    int keep;                  /* checkpoint generations */
    double time_limit_minutes; /* 0: none, or the scheduler's */
} sg_run_options;

typedef struct sg_kernel_options {
    char isa[SG_CONFIG_NAME], blis[SG_CONFIG_NAME];
    bool winograd, sparse;
} sg_kernel_options;

/* What a file gives: one case per entry of net.arch (a name or a list of names) and, where the file has
 * `sweeps` (a list of groups, each with keys of its own), per sweep. */
typedef struct sg_run_config {
    char name[SG_CONFIG_PATH]; /* of the file, for messages */
    sg_run_options run;
    sg_kernel_options kernels;
    int count;
    sg_config *cases; /* [count] */
} sg_run_config;

/* Reads, checks and completes `file`. overrides: count strings "path=value", value in libconfig's syntax, or
 * bare words (and lists of them, comma-separated) where a key takes them; they win over the file. Owned. */
int sg_config_load(sg_run_config **config, const char *file, const char *const *overrides, int count);

/* The same from text; `name` stands for the file in messages, includes are refused. NULL text: all defaults.
 */
int sg_config_parse(sg_run_config **config, const char *name, const char *text, const char *const *overrides,
                    int count);

void sg_config_destroy(sg_run_config **config);

/* Every key with its value, unit and meaning; itself a configuration that gives the same cases. SG_IO. */
int sg_config_print(const sg_run_config *config, FILE *out);

/* The table of keys as Markdown: docs/configuration.md. SG_IO. */
int sg_config_reference(FILE *out);

/* Words that differ little from `name`: the nearest of names[0..count) by edit distance, NULL when count is
 * 0. */
const char *sg_nearest(const char *name, const char *const *names, int count);

/* The shortest decimal that reads back as exactly this double ("0.1", "1e-05", "1"); into text[32]. */
void sg_format_double(double value, char text[32]);

#endif
