#include "pipeline/world.h"

#include "pipeline/signals.h"

int sg_world_open(sg_comm **world) {
    int provided;
    *world = NULL;
    SG_TRY(sg_comm_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread"));
    SG_CHECK(provided >= MPI_THREAD_FUNNELED, SG_INTERNAL,
             "this MPI allows no threads beside the one that calls it "
             "(MPI_THREAD_FUNNELED); use one built with thread support");
    SG_TRY(sg_comm_create(world, MPI_COMM_WORLD));
    return SG_AT(sg_signals_install());
}

int sg_world_close(sg_comm **world, int status) {
    if (*world != NULL) {
        if (sg_comm_barrier_quietly(*world) != SG_OK)
            sg_error_clear(); /* ranks without work wait here for long */
        status = sg_comm_agree(*world, status);
        sg_comm_destroy(world);
    }
    MPI_Finalize();
    return status;
}
