/* What a run directory already has: the state of every stage of a plan. */
#ifndef SG_SCAN_H
#define SG_SCAN_H

#include <sys/types.h>
#include <time.h>

#include "pipeline/plan.h"

typedef struct sg_found {
    char digest[33]; /* of a finished result; "" otherwise */
    char *note; /* stale: what changed, a line each; failed: why; damaged: what is wrong. NULL: nothing to say
                 */
    struct sg_file_identity {
        ino_t inode;
        off_t bytes;
        struct timespec modified;
    } file;       /* the result as it was read */
    bool damaged; /* a result file is there and cannot be believed */
} sg_found;

/* Sets stage->state of every stage (pending, done, stale, failed, blocked) from the files below dir, whose
 * hashes are all checked, and fills found[plan->count] (owned, sg_scan_free). *found is NULL, or what an
 * earlier scan of the same plan gave: finished stages whose files have not changed are not read again. A
 * stage is stale when its key differs, when a parent's result is another one than it was made from, or when a
 * parent is stale. Local. SG_NOMEM. */
int sg_scan(const char *dir, sg_plan *plan, sg_found **found);
void sg_scan_free(sg_found **found, int count);

/* Marks as blocked what descends from failed or blocked stages. Local. */
void sg_scan_block(sg_plan *plan);

#endif
