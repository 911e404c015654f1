/* One stage in the hands of a group (group.h): what sg_group_run is made of. */
#ifndef SG_TASK_H
#define SG_TASK_H

#include "pipeline/group.h"
#include "pipeline/paths.h"
#include "stages/connect.h"
#include "stages/train.h"

typedef struct sg_task {
    sg_group *group;
    const sg_plan_stage *stage;
    const sg_config *config;
    const sg_net *net;
    sg_case_tools *tools;
    sg_env env;
    double began, before; /* seconds: this launch's start; spent by earlier launches */
    double saved;         /* when the last checkpoint was written */
    int generation;       /* of the newest checkpoint, -1: none */
    char parent_digest[3][33];
    /* What a checkpoint saves: one of the two. */
    sg_training *training;
    sg_path *path;
    int path_saved; /* points in the newest checkpoint */
} sg_task;

int sg_task_begin(sg_task *task);
void sg_task_end(sg_task *task);

int sg_task_train(sg_task *task);
int sg_task_extract(sg_task *task);
int sg_task_connect(sg_task *task);

/* task_file.c: reading parents and checkpoints, writing checkpoints and results. */

/* Weights of a finished parent stage; its digest is noted for the result. Owned; NULL after a failure. */
int sg_task_read_parent(sg_task *task, int parent, sg_weights **weights);

/* The same, of the weights that a warm-up kept for imp; its end where it ended before or at that epoch. */
int sg_task_read_kept(sg_task *task, int parent, sg_weights **weights);

/* The newest good checkpoint of this stage and key, or *file NULL. Damaged and foreign generations are named
 * in the log and passed over. */
int sg_task_open_checkpoint(sg_task *task, sg_h5_file **file);

/* The next generation, unless nothing has been done since the last. SG_BUSY: the run directory is another
 * job's by now. */
int sg_task_save_checkpoint(sg_task *task);

/* Adds key, provenance and parents to content, writes DIR/stages/<id>/result.h5, removes the checkpoints.
 * status: how filling content ended on this rank; all ranks agree on it first, so that none writes alone. */
int sg_task_publish(sg_task *task, sg_h5_content *content, const char *digest, int status);

/* Seconds spent on this stage, over all launches. */
double sg_task_seconds(const sg_task *task);

#endif
