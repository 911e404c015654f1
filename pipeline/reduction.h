/* The fixed-order reduction over a power of two of ranks (kernels/reduce.h): in memory that all ranks see, or
 * as MPI point-to-point messages.
 *
 * Rank r's value is v[r]; at distance d = P/2, ..., 2, 1 every v[r] with r < d becomes v[r] (+) v[r + d]
 * where both exist (r < blocks), v[0] is the result.
 *   short messages  recursive doubling: log2(P) exchanges of everything, both partners add
 *   long messages   recursive halving, then doubling: each pair splits its segment
 *   shared memory   each rank adds a segment of all v and stores it into all; what `allocate` gave lies there
 *                   where the ranks are on one node
 * Of long data 2 (P-1)/P travels. All do the same additions on each element in the same order: bits depend on
 * neither length nor algorithm. */
#ifndef SG_REDUCTION_H
#define SG_REDUCTION_H

#include <mpi.h>
#include <stdint.h>

#include "kernels/reduce.h"

typedef struct sg_reduction sg_reduction;

/* mpi is borrowed and must return its errors; its size is a power of two. Local. */
int sg_reduction_create(sg_reduction **reduction, MPI_Comm mpi);

/* Completes what is under way, then frees. Collective when something is. */
void sg_reduction_destroy(sg_reduction **reduction);

/* Fills the interface; context is the reduction, which adds with so many threads. Local. */
void sg_reduction_interface(sg_reduction *reduction, int threads, sg_reduce *reduce);

/* Bytes that this rank has given other ranks since the creation. Local. */
uint64_t sg_reduction_sent(const sg_reduction *reduction);

/* See sg_comm_tune. */
void sg_reduction_tune(sg_reduction *reduction, size_t long_bytes, size_t message_bytes);

#endif
