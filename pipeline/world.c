#include "pipeline/world.h"

#include "pipeline/signals.h"

int sg_world_open(sg_comm **world) {
    int provided;
    *world = NULL;
    SG_TRY(sg_comm_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread"));
    SG_TRY(sg_comm_create(world, MPI_COMM_WORLD));
    return SG_AT(sg_signals_install());
}

int sg_world_close(sg_comm **world, int status) {
    if (*world != NULL) {
        status = sg_comm_agree(*world, status);
        sg_comm_destroy(world);
    }
    MPI_Finalize();
    return status;
}
