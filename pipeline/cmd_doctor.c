/* signet doctor: what is wrong here, and the remedy; alone, or under the mpirun or srun that a run will use.
 */
#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/doctor.h"
#include "pipeline/session.h"
#include "pipeline/world.h"

static int examine(sg_doctor *d) {
    SG_TRY(sg_session_machine(&d->machine, d->world, "auto", "auto", 0));
    SG_TRY(sg_doctor_libraries(d));
    SG_TRY(sg_doctor_ranks(d));
    SG_TRY(sg_doctor_files(d));
    SG_CHECK(d->problems == 0, SG_FAILED, "doctor: %d problem%s; the remedies are behind PROBLEM above",
             d->problems, d->problems == 1 ? "" : "s");
    return SG_OK;
}

int sg_cmd_doctor(int argc, char **argv) {
    sg_cli cli;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    sg_doctor doctor = {.dir = cli.out != NULL ? cli.out : "."};
    int status = SG_AT(sg_world_open(&doctor.world));
    if (status == SG_OK) status = SG_AT(examine(&doctor));
    sg_machine_destroy(&doctor.machine);
    return sg_world_close(&doctor.world, status);
}
