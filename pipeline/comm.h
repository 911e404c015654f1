/* A group of ranks: who is in it, what they agree on, and the reduction that kernels are handed.
 *
 * An sg_comm owns a duplicate of an MPI communicator whose errors are returned, not fatal. All calls come
 * from the thread that initialised MPI. "Collective" means over the group's ranks: every rank makes the same
 * calls in the same order, also when something failed on the way (agree on it with sg_comm_agree). MPI
 * failures are SG_INTERNAL and name the MPI call. */
#ifndef SG_COMM_H
#define SG_COMM_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/error.h"
#include "kernels/reduce.h"

/* Every tag of point-to-point messages in the program. */
enum sg_tag {
    SG_TAG_TASK = 1, /* schedule: work handed out, and asked for */
    SG_TAG_REPORT,   /* schedule: what came of it */
    SG_TAG_STOP, /* schedule: a group is to save and leave its stage; to rank 0: a rank was asked to stop */
    SG_TAG_PROGRESS,  /* live figures on their way to the rank that prints */
    SG_TAG_TEST,      /* tests */
    SG_TAG_SUM = 4096 /* the first of SG_TAG_SUMS: one for each reduction under way */
};
enum { SG_TAG_SUMS = 4096 };

typedef struct sg_comm sg_comm;

/* The group of all ranks of mpi (borrowed, duplicated). Collective over mpi. */
int sg_comm_create(sg_comm **comm, MPI_Comm mpi);

/* Parts of the parent: ranks with the same color form a group, ordered by key, then parent rank. color < 0:
 * this rank joins none and gets *comm = NULL. Collective over parent. */
int sg_comm_split(sg_comm **comm, sg_comm *parent, int color, int key);

/* Collective over the group; NULL tolerated. Reductions under way are finished first. */
void sg_comm_destroy(sg_comm **comm);

int sg_comm_rank(const sg_comm *comm);
int sg_comm_size(const sg_comm *comm);
MPI_Comm sg_comm_mpi(const sg_comm *comm); /* borrowed, for libraries that want one */

/* The ranks of mpi on this rank's node, in mpi's order; the caller frees it. Collective over mpi. */
int sg_comm_split_node(MPI_Comm mpi, MPI_Comm *node);

/* This rank's number among the group's ranks on its node, and how many they are. Collective. */
int sg_comm_node(sg_comm *comm, int *rank, int *ranks);

/* Every rank passes its own status and gets the worst of all: the largest code, where SG_INTERRUPTED counts
 * less than any failure. When it is not SG_OK, every rank's error record becomes that of the lowest rank that
 * has it, with "rank r: " put in front of the trace. A rank that fails and has waited for the others for 15 s
 * prints its error and ends the job with its code: they wait for it elsewhere. Collective. */
int sg_comm_agree(sg_comm *comm, int status);

/* Collective helpers. Sums of doubles are taken in rank order, so they are the same on every rank and every
 * day for the same number of ranks (what must not depend on that number goes through sg_comm_reduce). */
int sg_comm_max_int(sg_comm *comm, int *value);
int sg_comm_sum_double(sg_comm *comm, double *values, int count);
int sg_comm_broadcast(sg_comm *comm, void *data, size_t bytes, int root);
int sg_comm_gather(sg_comm *comm, const void *mine, size_t bytes,
                   void *all); /* all[size * bytes], on every rank */

/* All have come. Does not spin: for ranks that may wait for minutes. Collective. */
int sg_comm_barrier_quietly(sg_comm *comm);

/* The same; `idle` is called again and again until then, and what it fails with is returned. */
typedef int (*sg_comm_idle)(void *context);
int sg_comm_barrier_watching(sg_comm *comm, sg_comm_idle idle, void *context);

/* Messages between ranks that are mostly idle. send blocks until data may be reused. wait returns when a
 * message from source (or MPI_ANY_SOURCE) with this tag can be received, or after timeout seconds (< 0: never
 * gives up); it sleeps between probes, at most 10 ms. receive takes a message of at most capacity bytes.
 * Local. */
int sg_comm_send(sg_comm *comm, const void *data, size_t bytes, int to, enum sg_tag tag);
int sg_comm_wait_quietly(sg_comm *comm, int source, enum sg_tag tag, double timeout, bool *arrived, int *from,
                         size_t *bytes);
int sg_comm_receive(sg_comm *comm, void *data, size_t capacity, int from, enum sg_tag tag, size_t *bytes);

/* The reduction over this group for sg_exec (kernels/reduce.h), with so many threads to add; lives as long as
 * comm. SG_INTERNAL unless the size is a power of two. Local. */
int sg_comm_reduce(sg_comm *comm, int threads, sg_reduce *reduce);

/* Bytes that this rank has given other ranks in reductions since comm was made. Local. */
uint64_t sg_comm_sent(const sg_comm *comm);

/* Where the reduction changes from doubling to halving and doubling, and its longest single MPI message, in
 * bytes; 0 keeps a value. Bits do not depend on either. The same on every rank, nothing under way. Local. */
void sg_comm_tune(sg_comm *comm, size_t long_bytes, size_t message_bytes);

/* SG_TRY(sg_comm_check(MPI_Call(...), "MPI_Call")): an MPI return code as ours. */
int sg_comm_check(int code, const char *call);

/* Ends the whole job at once with this exit code, after printing this thread's error record: for states in
 * which MPI_Finalize would crash (a failed H5Fclose). */
_Noreturn void sg_comm_abort(sg_comm *comm, int code);

#endif
