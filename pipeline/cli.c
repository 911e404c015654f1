#include "pipeline/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/config.h"

enum option_type { FLAG, TEXT, NUMBER, COUNT, SEED, OVERRIDE };

typedef struct option {
    const char *name; /* without "--" */
    enum option_type type;
    size_t offset;        /* in sg_cli; OVERRIDE: unused */
    const char *argument; /* as help shows it; NULL for flags */
    const char *help;
} option;

#define AT(member) offsetof(sg_cli, member)
/* clang-format off */
#define SET {"set", OVERRIDE, 0, "PATH=VALUE", "overrides one option of the configuration; may be repeated"}
#define JSON {"json", FLAG, AT(json), NULL, "prints JSON instead of a table"}
#define LAST {NULL, FLAG, 0, NULL, NULL}
/* clang-format on */

static const option run_options[] = {
    {"out", TEXT, AT(out), "DIR", "run directory; without it, runs/ and the configuration's name"},
    SET,
    {"retry-failed", FLAG, AT(retry_failed), NULL, "runs failed stages again"},
    {"recompute", FLAG, AT(recompute), NULL, "removes stale results and computes them again"},
    {"part", TEXT, AT(part), "I/N",
     "runs part I of N of the sweep's chains; what needs several parts is left"},
    {"time-limit", NUMBER, AT(time_limit_minutes), "MINUTES",
     "writes checkpoints and stops in time, with exit code 75"},
    {"wait", FLAG, AT(wait), NULL, "waits while another job holds the run directory"},
    {"break-lock", FLAG, AT(break_lock), NULL, "takes the run directory from a job that is known to be dead"},
    LAST};
static const option plan_options[] = {
    SET,
    {"out", TEXT, AT(out), "DIR", "shows what is done, stale and failed in this run directory"},
    {"resolved", FLAG, AT(resolved), NULL,
     "prints the configuration with all defaults, itself a valid configuration"},
    {"dot", FLAG, AT(dot), NULL, "prints the graph of stages for Graphviz"},
    {"layers", FLAG, AT(layers), NULL, "prints the layers of each network"},
    {"gflops", NUMBER, AT(gflops), "N", "GFLOP/s of a core, for core-hours (40 unless given)"},
    LAST};
static const option status_options[] = {
    {"watch", FLAG, AT(watch), NULL, "shows it again every two seconds until no stage is left to run"},
    JSON,
    LAST};
static const option no_options[] = {LAST};
static const option train_options[] = {
    SET,
    {"init", TEXT, AT(init), "FILE", "starts from these weights"},
    {"mask", TEXT, AT(mask), "FILE", "prunes by this signed mask"},
    {"seed", SEED, AT(seed), "N", "initialisation and data order (1 unless given)"},
    {"out", TEXT, AT(out), "FILE", "where the trained weights go"},
    {"time-limit", NUMBER, AT(time_limit_minutes), "MINUTES",
     "writes a checkpoint and stops in time, with exit code 75"},
    LAST};
static const option eval_options[] = {
    SET,
    {"weights", TEXT, AT(weights), "FILE", "the network to evaluate"},
    {"logits", TEXT, AT(logits), "FILE", "writes the logits of every test sample"},
    LAST};
static const option connect_options[] = {
    SET, {"out", TEXT, AT(out), "FILE", "writes the path as a table"}, LAST};
static const option inspect_options[] = {
    {"digest", FLAG, AT(digest), NULL, "prints one hash of weights, masks, statistics and metrics"}, LAST};
static const option bench_options[] = {
    {"arch", TEXT, AT(arch), "NAME", "network (resnet20 unless given)"},
    {"batch", COUNT, AT(batch), "N", "minibatch over all ranks (128 unless given)"},
    {"density", NUMBER, AT(density), "D", "share of weights that survive, at random (1 unless given)"},
    {"steps", COUNT, AT(steps), "K", "training steps that are measured (20, of layers 5, unless given)"},
    {"threads", COUNT, AT(threads), "N", "threads of a rank (its share of the cores unless given)"},
    {"isa", TEXT, AT(isa), "NAME", "own kernels: auto, portable, avx2 or avx512"},
    {"blis", TEXT, AT(blis), "NAME", "BLIS's micro-kernel: auto, haswell, zen3, skx, generic ..."},
    {"json", FLAG, AT(json), NULL, "prints one JSON object a line instead of a table"},
    LAST};
static const option doctor_options[] = {
    {"out", TEXT, AT(out), "DIR", "the directory that runs will write to (. unless given)"}, LAST};
static const option data_options[] = {SET, {"out", TEXT, AT(out), "FILE", "pack: the file to write"}, LAST};

static const struct command {
    const char *name, *arguments, *summary;
    int least, most; /* positional arguments */
    const option *options;
} commands[] = {
    {"run", "CONFIG", "runs or resumes everything that CONFIG asks for", 1, 1, run_options},
    {"plan", "CONFIG", "shows the stages, what they cost and where they stand", 1, 1, plan_options},
    {"status", "DIR", "shows where a run stands, also while it runs", 1, 1, status_options},
    {"collect", "DIR", "writes results.csv, results.h5 and the report from what is there", 1, 1, no_options},
    {"train", "CONFIG", "trains one network outside a sweep", 1, 1, train_options},
    {"eval", "CONFIG", "evaluates one network", 1, 1, eval_options},
    {"connect", "CONFIG A B", "measures the path between two weight files", 3, 3, connect_options},
    {"inspect", "FILE|DIR", "shows what a file or a run directory holds", 1, 1, inspect_options},
    {"verify", "DIR|FILE", "checks every checksum and names each damaged file", 1, 1, no_options},
    {"data", "check|pack [CONFIG]", "validates a data set, or packs it into one file", 1, 2, data_options},
    {"bench", "[train|algorithms]", "measures layers, or training steps, against this machine's peak", 0, 1,
     bench_options},
    {"doctor", "", "checks MPI, HDF5, BLIS, pinning and file system", 0, 0, doctor_options},
};
enum { COMMANDS = sizeof commands / sizeof *commands, OPTION_LIMIT = 16, COUNT_LIMIT = 1 << 20 };

static const struct command *find_command(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

/* ---- help */

void sg_cli_print_help(FILE *out, const char *const *names, int count) {
    fprintf(
        out,
        "Signet finds winning signs: the signs of a sparse network that, on fresh magnitudes, train to the\n"
        "accuracy of the dense one.\n\n"
        "usage: [mpirun -n N] signet COMMAND [ARGUMENTS]\n\n");
    for (int i = 0; i < count; i++) {
        const struct command *c = find_command(names[i]);
        if (c != NULL) fprintf(out, "  %-8s %-20s %s\n", c->name, c->arguments, c->summary);
    }
    fprintf(out, "\n  signet COMMAND --help shows a command's options; signet --version the version.\n\n"
                 "exit codes: 0 done, 1 done except for failed stages, 64 usage, 65 bad data, 66 no input,\n"
                 "69 run directory in use, 70 internal error, 71 out of memory, 73 cannot create output,\n"
                 "74 input or output failed, 75 interrupted (submit again to go on),\n"
                 "78 bad or changed configuration\n");
}

int sg_cli_print_command_help(FILE *out, const char *command) {
    const struct command *c = find_command(command);
    SG_CHECK(c != NULL, SG_USAGE, "`%s` is not a command; see signet --help", command);
    fprintf(out, "usage: signet %s%s%s%s\n\n%s\n", c->name, c->arguments[0] != '\0' ? " " : "", c->arguments,
            c->options[0].name != NULL ? " [OPTIONS]" : "", c->summary);
    if (c->options[0].name != NULL) fprintf(out, "\n");
    for (const option *o = c->options; o->name != NULL; o++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->argument != NULL ? " " : "",
                 o->argument != NULL ? o->argument : "");
        fprintf(out, "  %-22s %s\n", left, o->help);
    }
    fprintf(out, "  %-22s %s\n", "--help", "shows this");
    return SG_OK;
}

/* ---- parsing */

static int unknown_option(const struct command *c, const char *name) {
    const char *names[OPTION_LIMIT + 1];
    int count = 0;
    for (const option *o = c->options; o->name != NULL && count < OPTION_LIMIT; o++) names[count++] = o->name;
    names[count++] = "help";
    return SG_FAIL(SG_USAGE, "%s: option --%s is not known; nearest: --%s; see signet %s --help", c->name,
                   name, sg_nearest(name, names, count), c->name);
}

static const option *find_option(const struct command *c, const char *name) {
    for (const option *o = c->options; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

static int take_value(sg_cli *cli, const struct command *c, const option *o, const char *value) {
    void *out = (char *)cli + o->offset;
    char *end;
    switch (o->type) {
    case FLAG:
        *(bool *)out = true;
        return SG_OK;
    case TEXT:
        SG_CHECK(value[0] != '\0', SG_USAGE, "%s: option --%s needs %s, got nothing", c->name, o->name,
                 o->argument);
        *(const char **)out = value;
        return SG_OK;
    case NUMBER: {
        errno = 0;
        double number = strtod(value, &end);
        SG_CHECK(end != value && *end == '\0' && errno == 0 && isfinite(number) && number > 0, SG_USAGE,
                 "%s: option --%s takes a number above 0, got `%s`", c->name, o->name, value);
        *(double *)out = number;
        return SG_OK;
    }
    case COUNT: {
        errno = 0;
        long number = strtol(value, &end, 10);
        SG_CHECK(end != value && *end == '\0' && errno == 0 && number >= 1 && number <= COUNT_LIMIT, SG_USAGE,
                 "%s: option --%s takes an integer from 1 to %d, got `%s`", c->name, o->name, COUNT_LIMIT,
                 value);
        *(int *)out = (int)number;
        return SG_OK;
    }
    case SEED: {
        errno = 0;
        unsigned long long number = strtoull(value, &end, 10);
        SG_CHECK(value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0 && number <= INT64_MAX,
                 SG_USAGE, "%s: option --%s takes an integer from 0 to 2^63 - 1, got `%s`", c->name, o->name,
                 value);
        *(uint64_t *)out = number;
        cli->has_seed = true;
        return SG_OK;
    }
    case OVERRIDE:
        SG_CHECK(cli->override_count < SG_CLI_OVERRIDES, SG_USAGE, "%s: more than %d --set", c->name,
                 SG_CLI_OVERRIDES);
        cli->overrides[cli->override_count++] = value;
        return SG_OK;
    }
    return SG_OK;
}

/* argv[*i] begins with "--"; *i moves past a value in an argument of its own. */
static int take_option(sg_cli *cli, const struct command *c, int argc, char **argv, int *i) {
    const char *text = argv[*i] + 2, *equals = strchr(text, '=');
    char name[64];
    snprintf(name, sizeof name, "%.*s", equals != NULL ? (int)(equals - text) : (int)strlen(text), text);
    if (strcmp(name, "help") == 0 && equals == NULL) {
        cli->help = true;
        return SG_OK;
    }
    const option *o = find_option(c, name);
    if (o == NULL) return unknown_option(c, name);
    if (o->type == FLAG) {
        SG_CHECK(equals == NULL, SG_USAGE, "%s: option --%s takes no value", c->name, name);
        return SG_AT(take_value(cli, c, o, ""));
    }
    if (equals == NULL)
        SG_CHECK(++*i < argc, SG_USAGE, "%s: option --%s needs a value: --%s %s", c->name, name, name,
                 o->argument);
    return SG_AT(take_value(cli, c, o, equals != NULL ? equals + 1 : argv[*i]));
}

int sg_cli_parse(sg_cli *cli, int argc, char **argv) {
    memset(cli, 0, sizeof *cli);
    const struct command *c = argc > 0 ? find_command(argv[0]) : NULL;
    SG_CHECK(c != NULL, SG_USAGE, "`%s` is not a command; see signet --help", argc > 0 ? argv[0] : "");
    bool options = true;
    for (int i = 1; i < argc && !cli->help; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strcmp(argv[i], "-h") == 0) {
            cli->help = true;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            SG_TRY(take_option(cli, c, argc, argv, &i));
        } else {
            SG_CHECK(!options || argv[i][0] != '-' || argv[i][1] == '\0', SG_USAGE,
                     "%s: option %s is not known; options begin with two dashes; see signet %s --help",
                     c->name, argv[i], c->name);
            SG_CHECK(cli->positionals < c->most, SG_USAGE,
                     "%s: `%s` is one argument too many; usage: signet %s %s", c->name, argv[i], c->name,
                     c->arguments);
            cli->positional[cli->positionals++] = argv[i];
        }
    }
    if (cli->help) return SG_AT(sg_cli_print_command_help(stdout, c->name));
    SG_CHECK(cli->positionals >= c->least, SG_USAGE, "%s: an argument is missing; usage: signet %s %s",
             c->name, c->name, c->arguments);
    return SG_OK;
}
