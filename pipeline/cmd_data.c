/* signet data: validates a data set, or packs it into one HDF5 file. */
#include <stdio.h>
#include <string.h>

#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/log.h"
#include "pipeline/session.h"
#include "pipeline/world.h"

static int act(const sg_cli *cli, sg_comm *world, const sg_data *data) {
    int status = SG_OK;
    if (sg_comm_rank(world) == 0)
        status = strcmp(cli->positional[0], "check") == 0 ? SG_AT(sg_data_check(data, stdout))
                                                          : SG_AT(sg_data_pack(data, cli->out));
    return SG_AT(sg_comm_agree(world, status));
}

static int open_and_act(const sg_cli *cli, sg_comm *world, const sg_run_config *config) {
    const sg_config *one = &config->cases[0];
    sg_data *data;
    sg_data_options options = {.kind = one->data.kind,
                               .path = one->data.path,
                               .classes = one->net.classes,
                               .train_limit = (uint32_t)one->data.train_limit,
                               .test_limit = (uint32_t)one->data.test_limit,
                               .seed = one->data.seed,
                               .size = one->data.size,
                               .memory_gb = one->data.memory_gb};
    SG_TRY(sg_session_threads(world, config->run.threads, &options.threads));
    SG_TRY(sg_data_open(&data, &options, sg_comm_mpi(world)));
    int status = SG_AT(act(cli, world, data));
    sg_data_close(&data);
    return status;
}

static int run(const sg_cli *cli, sg_comm *world) {
    sg_run_config *config;
    int status = cli->positionals > 1
                     ? SG_AT(sg_config_load(&config, cli->positional[1], cli->overrides, cli->override_count))
                     : SG_AT(sg_config_parse(&config, "defaults", NULL, cli->overrides, cli->override_count));
    SG_TRY(sg_comm_agree(world, status));
    status = SG_AT(open_and_act(cli, world, config));
    sg_config_destroy(&config);
    return status;
}

int sg_cmd_data(int argc, char **argv) {
    sg_cli cli;
    sg_comm *world;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    bool check = strcmp(cli.positional[0], "check") == 0, pack = strcmp(cli.positional[0], "pack") == 0;
    SG_CHECK(check || pack, SG_USAGE, "data: `%s` is neither check nor pack", cli.positional[0]);
    SG_CHECK(check || cli.out != NULL, SG_USAGE, "data pack: --out FILE is missing: where to?");
    SG_TRY(sg_world_open(&world));
    if (sg_comm_rank(world) == 0) sg_log_open(NULL, false);
    int status = SG_AT(run(&cli, world));
    sg_log_close();
    return sg_world_close(&world, status);
}
