/* signet plan: what a configuration asks for, and with --out what of it a run directory has. Needs no MPI and
 * no data. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/config.h"
#include "pipeline/facts.h"
#include "pipeline/plan.h"
#include "pipeline/scan.h"

enum { USUAL_GFLOPS = 40 /* of a core in training; `signet bench` measures it */ };

static int print_plan(const sg_cli *cli, const sg_run_config *config, const sg_plan_case_facts *facts,
                      const sg_plan *plan, int lanes) {
    if (cli->dot) return SG_AT(sg_plan_print_dot(plan, stdout));
    if (cli->layers) return SG_AT(sg_plan_print_layers(plan, stdout));
    for (int i = 0; i < config->count; i++)
        printf("%s: reckoned with %zu training and %zu test images of %dx%dx%d\n", plan->about[i].id,
               facts[i].train_samples, facts[i].test_samples, facts[i].channels, facts[i].height,
               facts[i].width);
    return SG_AT(sg_plan_print(plan, lanes, cli->gflops > 0 ? cli->gflops : USUAL_GFLOPS, stdout));
}

/* What the data is: as the run directory found it, or as such data usually is. */
static int know_facts(const sg_cli *cli, const sg_run_config *config, sg_plan_case_facts *facts,
                      char arithmetic[256]) {
    if (cli->out != NULL) return SG_AT(sg_facts_read(cli->out, config->count, facts, arithmetic));
    for (int i = 0; i < config->count; i++) SG_TRY(sg_plan_assume_facts(&config->cases[i], &facts[i]));
    return SG_OK;
}

static int show(const sg_cli *cli, const sg_run_config *config) {
    sg_plan_case_facts *cases = NULL;
    sg_plan *plan = NULL;
    sg_found *found = NULL;
    sg_machine *machine = NULL;
    char arithmetic[256] = "";
    int status = SG_OK;
    if ((status = SG_AT(SG_NEW(&cases, (size_t)config->count)))) goto done;
    if ((status = SG_AT(know_facts(cli, config, cases, arithmetic)))) goto done;
    int shared = sg_max((int)sysconf(_SC_NPROCESSORS_ONLN) / sg_plan_ranks(config), 1);
    int threads = config->run.threads > 0 ? config->run.threads : shared;
    /* A login node plans for CPUs whose kernels it may not run. */
    status = sg_machine_create(&machine, config->kernels.isa, config->kernels.blis, threads);
    if (status == SG_CONFIG) status = SG_AT(sg_machine_create(&machine, "auto", "auto", threads));
    if (status != SG_OK) goto done;
    machine->winograd = config->kernels.winograd;
    machine->sparse = config->kernels.sparse;
    sg_plan_facts facts = {.cases = cases, .arithmetic = arithmetic, .machine = machine};
    if ((status = SG_AT(sg_plan_create(&plan, config, &facts)))) goto done;
    if (cli->out != NULL && (status = SG_AT(sg_scan(cli->out, plan, &found)))) goto done;
    /* Only now: a configuration that cannot be run is not worth printing. */
    if (cli->resolved)
        status = SG_AT(sg_config_print(config, stdout));
    else
        status = SG_AT(print_plan(cli, config, cases, plan, machine->lanes));
done:
    if (plan != NULL) sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
    sg_machine_destroy(&machine);
    free(cases);
    return status;
}

int sg_cmd_plan(int argc, char **argv) {
    sg_cli cli;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    SG_CHECK(cli.resolved + cli.dot + cli.layers <= 1, SG_USAGE,
             "plan: --resolved, --dot and --layers: one at a time");
    sg_run_config *config;
    SG_TRY(sg_config_load(&config, cli.positional[0], cli.overrides, cli.override_count));
    int status = show(&cli, config);
    sg_config_destroy(&config);
    return status;
}
