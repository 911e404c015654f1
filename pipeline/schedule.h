/* Who runs what when: the world's ranks in groups, groups take ready stages as they come free, longest
 * remaining chain first. World rank 0 hands out the work between the minibatches of its own. */
#ifndef SG_SCHEDULE_H
#define SG_SCHEDULE_H

#include "pipeline/lock.h"
#include "pipeline/scan.h"
#include "pipeline/session.h"

typedef struct sg_schedule_options {
    const char *dir;
    int ranks_per_stage; /* 0: choose */
    /* What this rank alone knows of a reason to stop (signal, time limit). */
    bool (*stop)(void);
    const sg_lock *lock; /* of dir, on world rank 0, which tells the others its token. Borrowed */
} sg_schedule_options;

/* Runs every pending stage of session->plan whose parents are done; updates stage->state on rank 0.
 * SG_FAILED: some stages failed, all else is done. SG_INTERRUPTED: checkpoints are written. Anything else: an
 * error of the surroundings, after which groups saved what they could; SG_BUSY: another job has taken dir,
 * and nothing more is written there. Collective over session->world; all ranks return the same status. */
int sg_schedule_run(sg_session *session, const sg_schedule_options *options);

/* Ranks for one stage that finish the pending stages of a plan soonest on `ranks` ranks: a power of two, at
 * most the blocks of a minibatch. A pure function. */
int sg_schedule_group_size(const sg_plan *plan, const sg_run_config *config, int lanes, int ranks);

#endif
