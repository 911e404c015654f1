/* Where ranks and threads run. */
#include <stdlib.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/doctor.h"

int sg_doctor_ranks(sg_doctor *d) {
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
