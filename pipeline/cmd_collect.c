/* signet collect: the result tables from the result files alone. */
#include "pipeline/cli.h"
#include "pipeline/collect.h"
#include "pipeline/commands.h"
#include "pipeline/facts.h"
#include "pipeline/scan.h"
#include "pipeline/world.h"

static int collect(const char *dir) {
    sg_run_config *config;
    sg_plan *plan;
    sg_found *found = NULL;
    SG_TRY(sg_facts_open(dir, &config, &plan));
    int status = SG_AT(sg_scan(dir, plan, &found));
    if (status == SG_OK) status = SG_AT(sg_collect(dir, config, plan, stdout));
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
    sg_config_destroy(&config);
    return status;
}

int sg_cmd_collect(int argc, char **argv) {
    sg_cli cli;
    sg_comm *world;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    SG_TRY(sg_world_open(&world)); /* the HDF5 library is the parallel one */
    int status = sg_comm_rank(world) == 0 ? SG_AT(collect(cli.positional[0])) : SG_OK;
    return sg_world_close(&world, status);
}
