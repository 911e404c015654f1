/* What a command that computes works with: configuration, ranks, machine, data sets, plan. */
#ifndef SG_SESSION_H
#define SG_SESSION_H

#include "pipeline/comm.h"
#include "pipeline/config.h"
#include "pipeline/data.h"
#include "pipeline/plan.h"

typedef struct sg_session {
    sg_comm *world;        /* borrowed */
    sg_run_config *config; /* owned, like all below */
    char *config_text;     /* the resolved configuration */
    sg_machine *machine;
    sg_data **data;            /* [config->count]; cases of one data set share it */
    sg_plan_case_facts *facts; /* [config->count] */
    char arithmetic[160];      /* sg_arithmetic_text */
    sg_plan *plan;
} sg_session;

/* Reads and checks the configuration, chooses the kernels, opens the data sets, builds the plan. blis: the
 * micro-kernel that a run directory is pinned to, or NULL. Collective over world; all ranks return the same
 * status. */
int sg_session_open(sg_session **session, sg_comm *world, const char *config, const char *const *overrides,
                    int override_count, const char *blis);
void sg_session_close(sg_session **session); /* collective */

/* Threads of this rank: run.threads, or this rank's cores (its affinity) divided by the ranks of its node
 * that may run on any of them. Collective. */
int sg_session_threads(sg_comm *world, int configured, int *threads);

/* A machine with so many threads, bound where this rank shares its cores with no other. Collective; all ranks
 * return the same status. */
int sg_session_machine(sg_machine **machine, sg_comm *world, const char *isa, const char *blis,
                       int configured);

#endif
