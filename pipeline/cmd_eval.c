/* signet eval: loss and accuracy of one network on the test data, as it is and with re-estimated statistics.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/memory.h"
#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/solo.h"
#include "stages/evaluate.h"

/* Each rank has the rows of its own blocks and zero bits elsewhere: the bits of all of them together. */
static int write_logits(const sg_solo *solo, const char *path, float *logits, size_t samples) {
    size_t dims[2] = {samples, (size_t)solo->env.net->classes};
    sg_h5_content *content;
    SG_CHECK(dims[0] * dims[1] <= INT_MAX, SG_CONFIG,
             "--logits: %zu x %zu values are too many for one table; use "
             "data.test_limit",
             dims[0], dims[1]);
    SG_TRY(sg_comm_check(MPI_Allreduce(MPI_IN_PLACE, logits, (int)(dims[0] * dims[1]), MPI_UINT32_T, MPI_BOR,
                                       sg_comm_mpi(solo->group->comm)),
                         "MPI_Allreduce"));
    SG_TRY(sg_h5_content_create(&content, "logits"));
    int status = SG_AT(sg_h5_add(content, "/logits", SG_H5_F32, 2, dims, logits));
    if (status == SG_OK) status = SG_AT(sg_h5_write(path, solo->group->comm, content));
    sg_h5_content_destroy(&content);
    return status;
}

static int score(const sg_solo *solo, const sg_cli *cli, sg_weights *weights, float *logits) {
    sg_score plain = {0}, recalibrated;
    sg_survivors *survivors;
    SG_TRY(sg_solo_read_weights(solo, cli->weights, weights));
    SG_TRY(sg_survivors_create(&survivors, weights));
    double density = sg_weights_density(weights);
    int status = SG_AT(sg_exec_set_survivors(solo->env.exec, survivors));
    if (status == SG_OK)
        status = SG_AT(sg_stage_evaluate(&solo->env, weights, solo->env.test, logits, &plain));
    if (status == SG_OK && logits != NULL)
        status = SG_AT(write_logits(solo, cli->logits, logits, solo->env.test->samples));
    recalibrated = plain;
    bool fitted = solo->env.net->channels_tracked > 0; /* statistics to the data */
    if (status == SG_OK && fitted) status = SG_AT(sg_stage_recalibrate(&solo->env, weights));
    if (status == SG_OK && fitted)
        status = SG_AT(sg_stage_evaluate(&solo->env, weights, solo->env.test, NULL, &recalibrated));
    if (status == SG_OK && sg_solo_leads(solo))
        printf("density %.4f\ntest_loss %.6f\ntest_accuracy %.4f\ntest_loss_recalibrated %.6f\n"
               "test_accuracy_recalibrated %.4f\n",
               density, plain.loss, plain.accuracy, recalibrated.loss, recalibrated.accuracy);
    sg_survivors_destroy(&survivors);
    return status;
}

static int evaluate(const sg_solo *solo, const sg_cli *cli) {
    sg_weights *weights;
    float *logits = NULL;
    if (solo->group == NULL) return SG_OK;
    SG_TRY(sg_weights_create(&weights, solo->env.net));
    int status = SG_OK;
    if (cli->logits != NULL)
        status = SG_AT(SG_NEW(&logits, (size_t)solo->env.test->samples * (size_t)solo->env.net->classes));
    if (status == SG_OK) status = SG_AT(score(solo, cli, weights, logits));
    sg_weights_destroy(&weights);
    free(logits);
    return status;
}

int sg_cmd_eval(int argc, char **argv) {
    sg_cli cli;
    sg_solo solo;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    SG_CHECK(cli.weights != NULL, SG_USAGE, "eval: --weights FILE is missing: which network?");
    int status = SG_AT(sg_solo_open(&solo, cli.positional[0], cli.overrides, cli.override_count));
    if (status == SG_OK) status = SG_AT(evaluate(&solo, &cli));
    return sg_solo_close(&solo, status);
}
