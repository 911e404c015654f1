/* The result tables, rebuilt from the result files alone. */
#ifndef SG_COLLECT_H
#define SG_COLLECT_H

#include <stdio.h>

#include "pipeline/plan.h"

/* Reads every finished stage's result and writes DIR/results.csv, connectivity.csv, curves.csv, results.h5
 * and report/ (each file to a temporary name, then renamed). summary: NULL, or where the table for people
 * goes, with what is missing, failed and stale. The plan's states are up to date (sg_scan). Local.
 * SG_CANTCREATE, SG_IO, SG_DATA. */
int sg_collect(const char *dir, const sg_run_config *config, const sg_plan *plan, FILE *summary);

#endif
