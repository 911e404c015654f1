#include "pipeline/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Also before MPI is there. */
static bool is_first_rank(void) {
    static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *rank = getenv(variables[i]);
        if (rank != NULL) return strcmp(rank, "0") == 0;
    }
    return true;
}

void sg_world_tell_error(void) {
    const char *trace = getenv("SIGNET_TRACE");
    bool traced = trace != NULL && strcmp(trace, "1") == 0;
    if ((is_first_rank() || traced) && sg_error_message()[0] != '\0') {
        fprintf(stderr, "signet: %s\n", sg_error_message());
        if (traced) fputs(sg_error_trace(), stderr);
    }
    sg_error_clear();
}

int sg_world_close(sg_comm **world, int status) {
    if (*world != NULL) {
        if (sg_comm_barrier_quietly(*world) != SG_OK)
            sg_error_clear(); /* ranks without work wait here for long */
        status = sg_comm_agree(*world, status);
        sg_comm_destroy(world);
    }
    if (status != SG_OK) sg_world_tell_error(); /* mpirun ends all ranks when one has left with an error */
    MPI_Finalize();
    return status;
}
