/* All ranks of a launch: MPI's start and end. */
#ifndef SG_WORLD_H
#define SG_WORLD_H

#include "pipeline/comm.h"

/* Starts MPI (without mpirun: one rank) and installs the handlers of stop requests. One per process. */
int sg_world_open(sg_comm **world);

/* Agrees on the status, tells an error, ends MPI. Returns the worst status of all ranks; nothing but
 * returning it is left to do. */
int sg_world_close(sg_comm **world, int status);

/* Prints the error on stderr, if there is one, and forgets it: the first rank alone, or with SIGNET_TRACE=1
 * every rank, with the trace. Local; needs no MPI. */
void sg_world_tell_error(void);

#endif
