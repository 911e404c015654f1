/* The command line: one table of commands with their options, parsed alike for all. Options may stand
 * anywhere, as `--name value` or `--name=value`; `--` ends them. Errors are SG_USAGE and name the nearest
 * option. Local. */
#ifndef SG_CLI_H
#define SG_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/error.h"

enum { SG_CLI_POSITIONALS = 4, SG_CLI_OVERRIDES = 256 };

/* What any command can be given; a command sees set only what its table allows. Strings are borrowed from
 * argv. */
typedef struct sg_cli {
    bool help; /* the command's help was printed: nothing more to do */
    int positionals;
    const char *positional[SG_CLI_POSITIONALS];
    int override_count; /* --set path=value, in order */
    const char *overrides[SG_CLI_OVERRIDES];
    const char *out, *init, *weights, *logits, *mask, *part; /* NULL: not given */
    bool retry_failed, recompute, break_lock, wait;
    bool resolved, dot, layers;
    bool digest, json, watch;
    const char *arch, *isa, *blis; /* NULL: not given */
    int batch, steps, threads;     /* 0: not given */
    double density;                /* 0: not given */
    bool has_seed;
    uint64_t seed;
    double time_limit_minutes; /* 0: not given */
    double gflops;             /* GFLOP/s of a core; 0: not given */
} sg_cli;

/* Parses a command's arguments; argv[0] is the command's name. With --help the help goes to stdout. */
int sg_cli_parse(sg_cli *cli, int argc, char **argv);

/* `signet --help`: these commands (count names, in order) with their summaries, and the exit codes. */
void sg_cli_print_help(FILE *out, const char *const *commands, int count);

/* Usage, options and meaning of one command. SG_USAGE: no such command. */
int sg_cli_print_command_help(FILE *out, const char *command);

#endif
