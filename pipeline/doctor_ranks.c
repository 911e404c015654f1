/* Where ranks and threads run, and whether the ranks of a node see each other's memory. */
#include <stdlib.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/doctor.h"
#include "pipeline/shared_memory.h"

static int look_at_places(sg_doctor *d) {
    sg_place mine = {.threads = d->machine->threads, .online = (int)sysconf(_SC_NPROCESSORS_ONLN)}, *all;
    sg_opinion opinion;
    gethostname(mine.host, sizeof mine.host - 1);
    if (d->machine->allowed != NULL)
        mine.cpus = *d->machine->allowed;
    else if (sched_getaffinity(0, sizeof mine.cpus, &mine.cpus) != 0) /* more cores than a cpu_set_t holds */
        for (int c = 0; c < mine.online && c < CPU_SETSIZE; c++) CPU_SET(c, &mine.cpus);
    int ranks = sg_comm_size(d->world), status = SG_AT(SG_NEW(&all, (size_t)ranks));
    SG_TRY(sg_comm_agree(d->world, status));
    status = SG_AT(sg_comm_gather(d->world, &mine, sizeof mine, all));
    if (status == SG_OK) {
        sg_judge_places(all, ranks, &opinion);
        status = SG_AT(sg_doctor_say_worst(d, "cores", &opinion));
    }
    free(all);
    return status;
}

static int look_at_sharing(sg_doctor *d) {
    MPI_Comm node;
    sg_shared_memory *memory;
    sg_opinion opinion;
    SG_TRY(sg_comm_split_node(sg_comm_mpi(d->world), &node));
    int status = SG_AT(sg_shared_memory_create(&memory, node, 1));
    MPI_Comm_free(&node);
    SG_TRY(status);
    if (memory != NULL)
        sg_opine(&opinion, SG_FINE, "the ranks of a node add them up in memory that all see");
    else
        sg_opine(
            &opinion, SG_NOTE,
            "ranks may not open each other's memory (/proc/PID/fd) and send them as messages, which takes "
            "some per cent of a step; start the ranks of a node in one container, as one user");
    sg_shared_memory_destroy(&memory);
    return SG_AT(sg_doctor_say_worst(d, "gradients", &opinion));
}

int sg_doctor_ranks(sg_doctor *d) {
    SG_TRY(look_at_places(d));
    return sg_comm_size(d->world) > 1 ? SG_AT(look_at_sharing(d)) : SG_OK;
}
