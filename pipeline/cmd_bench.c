/* signet bench [train]: how near layers and training steps come to what this machine can do. */
#include <string.h>

#include "pipeline/bench.h"
#include "pipeline/commands.h"

int sg_cmd_bench(int argc, char **argv) {
    sg_cli cli;
    sg_bench bench;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    bool train = cli.positionals == 1;
    SG_CHECK(!train || strcmp(cli.positional[0], "train") == 0, SG_USAGE,
             "bench: `%s` cannot be measured; use `signet bench` for layers, `signet bench train` for steps",
             cli.positional[0]);
    SG_CHECK(cli.density <= 1.0, SG_USAGE, "bench: --density takes a share from 0 to 1, got %g", cli.density);
    int status = SG_AT(sg_bench_open(&bench, &cli));
    if (status == SG_OK && bench.comm != NULL)
        status = SG_AT(train ? sg_bench_train(&bench, &cli) : sg_bench_layers(&bench, &cli));
    return sg_bench_close(&bench, status);
}
