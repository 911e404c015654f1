/* What commands outside a sweep work with: a session and one group of all ranks (the largest power of two of
 * them, at most the blocks of a minibatch; the others have no part in it). */
#ifndef SG_SOLO_H
#define SG_SOLO_H

#include "pipeline/group.h"
#include "pipeline/session.h"

typedef struct sg_solo {
    sg_comm *world; /* owned, like all here */
    sg_session *session;
    sg_group *group; /* NULL on ranks that have no part */
    sg_case_tools *tools;
    sg_env env; /* of the only case; env.step stops on request and does nothing else */
} sg_solo;

/* Starts MPI, reads the configuration (which must have one case), opens the data. Collective. */
int sg_solo_open(sg_solo *solo, const char *config, const char *const *overrides, int override_count);

/* Ends MPI; returns the worst status of all ranks. */
int sg_solo_close(sg_solo *solo, int status);

bool sg_solo_leads(const sg_solo *solo); /* world rank 0 */

/* Weights of a file of ours or of another origin into weights (and its mask, where it has one). Collective
 * over the group. */
int sg_solo_read_weights(const sg_solo *solo, const char *path, sg_weights *weights);

#endif
