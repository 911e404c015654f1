/* signet connect: the path between any two weight files of one architecture. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"
#include "pipeline/solo.h"
#include "stages/connect.h"

static void print_path(const sg_path *path, FILE *out) {
    fprintf(out, "lambda,error,loss\n");
    for (int i = 0; i < path->points; i++)
        fprintf(out, "%.9g,%.9g,%.9g\n", path->point[i].lambda, path->point[i].error, path->point[i].loss);
}

static int report(const sg_cli *cli, const sg_path *path) {
    char *text = NULL;
    size_t size;
    print_path(path, stdout);
    printf("# barrier_error %.9g\n# barrier_loss %.9g\n", sg_barrier_error(path), sg_barrier_loss(path));
    if (cli->out == NULL) return SG_OK;
    FILE *table = open_memstream(&text, &size);
    SG_CHECK(table != NULL, SG_NOMEM, "out of memory: the table of a path");
    print_path(path, table);
    fclose(table);
    int status = SG_AT(sg_file_write_text(cli->out, text));
    free(text);
    return status;
}

static int connect_files(const sg_solo *solo, const sg_cli *cli) {
    const sg_connect_config *config = &solo->session->config->cases[0].connect;
    sg_weights *one = NULL, *two = NULL;
    sg_path *path = NULL;
    if (solo->group == NULL) return SG_OK;
    int status = SG_AT(sg_weights_create(&one, solo->env.net));
    if (status == SG_OK) status = SG_AT(sg_weights_create(&two, solo->env.net));
    if (status == SG_OK) status = SG_AT(sg_path_create(&path, config->points));
    if (status == SG_OK) status = SG_AT(sg_solo_read_weights(solo, cli->positional[1], one));
    if (status == SG_OK) status = SG_AT(sg_solo_read_weights(solo, cli->positional[2], two));
    if (status == SG_OK) status = SG_AT(sg_stage_connect(&solo->env, one, two, config->recalibrate, path));
    if (status == SG_OK && sg_solo_leads(solo)) status = SG_AT(report(cli, path));
    sg_path_destroy(&path);
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    return status;
}

int sg_cmd_connect(int argc, char **argv) {
    sg_cli cli;
    sg_solo solo;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    int status = SG_AT(sg_solo_open(&solo, cli.positional[0], cli.overrides, cli.override_count));
    if (status == SG_OK) status = SG_AT(connect_files(&solo, &cli));
    return sg_solo_close(&solo, status);
}
