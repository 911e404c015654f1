/* What a report takes from result files while collect has them open, beyond the rows of the tables. Local. */
#ifndef SG_REPORT_GATHER_H
#define SG_REPORT_GATHER_H

#include "pipeline/h5.h"
#include "pipeline/report.h"

typedef struct sg_gather sg_gather;

/* config and plan are borrowed until it is destroyed. Owned. */
int sg_gather_create(sg_gather **gather, const sg_run_config *config, const sg_plan *plan);
void sg_gather_destroy(sg_gather **gather);

/* A finished stage's open result: a trained network with its row, or a path with its link; both are borrowed
 * until the report is written. SG_DATA, SG_NOMEM. */
int sg_gather_run(sg_gather *gather, const sg_plan_stage *stage, const sg_row *row, sg_h5_file *file);
int sg_gather_path(sg_gather *gather, const sg_plan_stage *stage, const sg_link *link, const sg_path *path,
                   sg_h5_file *file);

/* After the last of them, once: adds what is not done and why. The report borrows from the gather and from
 * the rows and links. SG_NOMEM. */
int sg_gather_finish(sg_gather *gather, const char *dir, sg_report *report);

#endif
