/* signet bench [train|algorithms]: how near layers and training steps come to what this machine can do. */
#include <string.h>

#include "pipeline/bench.h"
#include "pipeline/commands.h"

typedef int benchmark_function(sg_bench *bench, const sg_cli *cli);

static int find_benchmark(const sg_cli *cli, benchmark_function **benchmark) {
    const char *name = cli->positionals == 1 ? cli->positional[0] : "layers";
    *benchmark = strcmp(name, "layers") == 0       ? sg_bench_layers
                 : strcmp(name, "train") == 0      ? sg_bench_train
                 : strcmp(name, "algorithms") == 0 ? sg_bench_algorithms
                                                   : NULL;
    SG_CHECK(*benchmark != NULL, SG_USAGE,
             "bench: `%s` cannot be measured; use `signet bench` for layers, `signet bench train` for steps, "
             "`signet bench algorithms` for the choice of algorithms",
             name);
    return SG_OK;
}

int sg_cmd_bench(int argc, char **argv) {
    sg_cli cli;
    sg_bench bench;
    benchmark_function *benchmark;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    SG_TRY(find_benchmark(&cli, &benchmark));
    SG_CHECK(cli.density <= 1.0, SG_USAGE, "bench: --density takes a share from 0 to 1, got %g", cli.density);
    int status = SG_AT(sg_bench_open(&bench, &cli));
    if (status == SG_OK && bench.comm != NULL) status = SG_AT(benchmark(&bench, &cli));
    return sg_bench_close(&bench, status);
}
