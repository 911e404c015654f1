/* signet: dispatches to a command, prints its error, ends the process. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/error.h"
#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/config.h"
#include "pipeline/h5.h"
#include "pipeline/signals.h"
#include "pipeline/world.h"

#ifndef SG_VERSION
#define SG_VERSION "1.0.0"
#endif
#ifndef SG_REVISION
#define SG_REVISION "unknown"
#endif

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", sg_cmd_run},         {"plan", sg_cmd_plan},       {"status", sg_cmd_status},
    {"collect", sg_cmd_collect}, {"train", sg_cmd_train},     {"eval", sg_cmd_eval},
    {"connect", sg_cmd_connect}, {"inspect", sg_cmd_inspect}, {"verify", sg_cmd_verify},
    {"data", sg_cmd_data},       {"bench", sg_cmd_bench},     {"doctor", sg_cmd_doctor},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int finish(int status) {
    if (status == SG_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = SG_FAIL(SG_IO, "writing to standard output: %s", strerror(errno));
    if (status == SG_OK) return SG_OK;
    sg_world_tell_error();
    return status;
}

static int dispatch(int argc, char **argv) {
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    SG_CHECK(argc > 1, SG_USAGE, "a command is missing; see signet --help");
    const char *name = argv[1];
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    if (help && argc > 2) return SG_AT(sg_cli_print_command_help(stdout, argv[2]));
    if (help) {
        sg_cli_print_help(stdout, names, COMMANDS);
        return SG_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("signet %s (revision %s, %s)\n", SG_VERSION, SG_REVISION, __VERSION__);
        return SG_OK;
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return commands[i].run(argc - 1, argv + 1);
    return SG_FAIL(SG_USAGE, "`%s` is not a command; nearest: %s; see signet --help", name,
                   sg_nearest(name, names, COMMANDS));
}

int main(int argc, char **argv) {
    sg_signals_begin();
    /* The process that sg_h5_open_foreign starts; not for people. */
    if (argc == 4 && strcmp(argv[1], "read-foreign") == 0) return sg_h5_foreign_child(argv[2], atoi(argv[3]));
    return finish(dispatch(argc, argv));
}
