/* A group of ranks that works on one stage at a time: restores what is there, runs the stage, saves
 * checkpoints, publishes the result. Everything here is collective over group->comm, and all ranks return the
 * same status. */
#ifndef SG_GROUP_H
#define SG_GROUP_H

#include "pipeline/config.h"
#include "pipeline/data.h"
#include "pipeline/h5.h"
#include "pipeline/loader.h"
#include "pipeline/plan.h"
#include "stages/stage.h"

/* What the outside wants of a stage under way. */
enum sg_wish { SG_WISH_NONE, SG_WISH_CHECKPOINT, SG_WISH_STOP };

/* A loader whose failures the group agrees on: reading a sample can fail on one rank alone. */
typedef struct sg_shared_loader {
    sg_loader *loader; /* owned */
    sg_comm *comm;     /* borrowed */
} sg_shared_loader;

/* What a group keeps from stage to stage for one case. */
typedef struct sg_case_tools {
    sg_exec *exec;
    sg_shared_loader train_loader, test_loader;
    sg_source train, test;
} sg_case_tools;

typedef struct sg_group {
    sg_comm *comm; /* owned */
    sg_reduce reduce;
    const sg_machine *machine; /* borrowed, like all below */
    const sg_run_config *config;
    const sg_plan *plan;
    sg_data *const *data;    /* [cases] */
    const char *dir;         /* run directory */
    const char *config_text; /* resolved configuration, for provenance */
    sg_case_tools *tools;    /* [cases], owned, filled on demand */
    /* Called between minibatches on every rank; a rank's wish counts for the whole group, the strongest wins.
     */
    enum sg_wish (*watch)(void *context, const sg_plan_stage *stage, const sg_progress *progress);
    /* Called by the group's leader before a checkpoint or a result is published: SG_BUSY when another job has
     * taken the run directory. Every group's leader finds that out for itself. */
    int (*may_publish)(void *context);
    void *context; /* of both */
} sg_group;

/* comm is taken over, also where that fails: *group is NULL then, on all ranks. */
int sg_group_create(sg_group **group, sg_comm *comm, const sg_machine *machine, const sg_run_config *config,
                    const sg_plan *plan, sg_data *const *data, const char *dir, const char *config_text);
void sg_group_destroy(sg_group **group);

/* Executor and loaders of one case, made at the first call. */
int sg_group_tools(sg_group *group, int config, sg_case_tools **tools);

/* Runs one stage to its published result. SG_INTERRUPTED: a checkpoint is written. SG_FAILED: the stage
 * itself failed (diverged). Anything else is an error of the surroundings. */
int sg_group_run(sg_group *group, const sg_plan_stage *stage);

#endif
