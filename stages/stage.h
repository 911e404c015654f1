/* What a stage of the method is given: a network, something that computes it, data, and a way to be
 * interrupted and watched. A stage knows nothing of ranks, files or other stages; all its functions are
 * collective over the ranks behind the executor's reduction, and all ranks leave them with the same status.
 */
#ifndef SG_STAGE_H
#define SG_STAGE_H

#include "kernels/exec.h"
#include "kernels/optimizer.h"
#include "stages/kinds.h"
#include "stages/source.h"

/* Where a stage stands, for people. */
typedef struct sg_progress {
    const char *phase;     /* "train", "test", "statistics", "path" */
    int epoch, epochs;     /* or points of a path */
    uint32_t step, steps;  /* minibatches of the phase */
    double loss, accuracy; /* of the phase so far; accuracy in 0..1 */
    double images_per_s;
} sg_progress;

typedef struct sg_env {
    const sg_machine *machine;
    const sg_net *net;
    sg_exec *exec;
    const sg_source *train, *test;
    void *context; /* borrowed by step */
    /* Called between minibatches. May save the stage's state, which is consistent then. SG_INTERRUPTED: leave
     * at once with this status; everything needed to go on is saved. Collective. */
    int (*step)(void *context, const sg_progress *progress);
} sg_env;

/* The fixed seed of the data order and augmentation of every re-estimation of running statistics. */
enum { SG_STATISTICS_SEED = 20250407 };

#endif
