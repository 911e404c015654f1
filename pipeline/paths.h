/* Where things are in a run directory.
 *
 *   DIR/stages/<id>/result.h5           what a finished stage leaves
 *   DIR/stages/<id>/checkpoint-<n>.h5   generations of a stage under way, the highest n newest
 *   DIR/stages/<id>/failed              why it failed: the key, then the reason
 *   DIR/stages/<id>/progress            one line for `status`, rewritten while it runs
 *   DIR/config.cfg, log.jsonl, lock, results.csv, connectivity.csv, curves.csv, results.h5, report/ */
#ifndef SG_PATHS_H
#define SG_PATHS_H

#include <limits.h>

#include "kernels/error.h"

typedef struct sg_path_name {
    char text[PATH_MAX];
} sg_path_name;

/* DIR/stages/<id>/<name>; ids come from the plan and never leave the run directory. */
sg_path_name sg_stage_path(const char *dir, const char *id, const char *name);
sg_path_name sg_checkpoint_path(const char *dir, const char *id, int generation);
sg_path_name sg_run_path(const char *dir, const char *name);

/* The generations of a stage's checkpoints, all of them, newest first; *generation is owned by the caller
 * (free), NULL when there is none. A directory that is not there has none. SG_IO, SG_NOMEM. Local. */
int sg_list_checkpoints(const char *dir, const char *id, int **generation, int *count);

/* Removes all but the `keep` newest of them. As sg_list_checkpoints; what cannot be removed stays. */
int sg_remove_checkpoints(const char *dir, const char *id, int keep);

#endif
