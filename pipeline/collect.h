/* The result tables, rebuilt from the result files alone. */
#ifndef SG_COLLECT_H
#define SG_COLLECT_H

#include <stdio.h>

#include "pipeline/plan.h"
#include "pipeline/report_diagnosis.h"

/* Reads every finished stage's result and writes DIR/results.csv, connectivity.csv, curves.csv, results.h5
 * and report/ (each file to a temporary name, then renamed). summary: NULL, or where the table for people
 * goes, with what is missing, failed and stale. The plan's states are up to date (sg_scan). Local.
 * SG_CANTCREATE, SG_IO, SG_DATA. */
int sg_collect(const char *dir, const sg_run_config *config, const sg_plan *plan, FILE *summary);

/* What the finished results say so far, without writing anything. */
typedef struct sg_outlook {
    double seconds; /* wall time of all finished stages together */
    sg_finding finding[SG_SYMPTOMS];
} sg_outlook;

/* As sg_collect. SG_IO, SG_DATA, SG_NOMEM. */
int sg_collect_outlook(const char *dir, const sg_run_config *config, const sg_plan *plan,
                       sg_outlook *outlook);

#endif
