/* Live progress: on a terminal a line per running stage and an overall line, redrawn a few times a second; in
 * a file plain lines when an epoch or a stage ends. Leaders of groups send what they have to world rank 0,
 * which prints, and rewrite DIR/stages/<id>/progress for `status`. Local but for the messages; never fails a
 * stage. */
#ifndef SG_PROGRESS_H
#define SG_PROGRESS_H

#include "pipeline/comm.h"
#include "pipeline/plan.h"
#include "stages/stage.h"

/* World rank 0, once per run; plan is borrowed until sg_progress_close. */
void sg_progress_open(const sg_plan *plan);
void sg_progress_close(void);

/* A group's leader, between minibatches. */
void sg_progress_show(sg_comm *world, const char *dir, const sg_plan_stage *stage,
                      const sg_progress *progress);

/* World rank 0: takes what other leaders have sent. */
int sg_progress_receive(sg_comm *world);

/* World rank 0: the stage has ended. */
void sg_progress_end(const char *id, bool done);

/* What DIR/stages/<id>/progress says, as one line of text; "" when there is none. */
void sg_progress_read(const char *dir, const char *id, char *line, size_t size);

#endif
