/* Memory that the ranks of a node all see: a part for each rank, side by side.
 *
 * One rank makes an anonymous file that the others map through /proc. It has no name to leave behind when a
 * job is killed, and no file system's limit; each rank's part lies where that rank touches it first. */
#ifndef SG_SHARED_MEMORY_H
#define SG_SHARED_MEMORY_H

#include <mpi.h>
#include <stddef.h>

typedef struct sg_shared_memory sg_shared_memory;

/* `bytes` of zeros for each rank, aligned to pages. *memory = NULL where the ranks are on several nodes or
 * the system will not share: that is no error. mpi is borrowed for the call. SG_NOMEM, SG_INTERNAL.
 * Collective. */
int sg_shared_memory_create(sg_shared_memory **memory, MPI_Comm mpi, size_t bytes);

/* Local; the others keep theirs. NULL tolerated. */
void sg_shared_memory_destroy(sg_shared_memory **memory);

/* A rank's part. The parts follow one another in the order of ranks, so that from rank 0's on all are one. */
void *sg_shared_memory_of(const sg_shared_memory *memory, int rank);

#endif
