/* DIR/report/index.html: what a run says, for people, in one page without a network; and a CSV file per plot.
 */
#ifndef SG_REPORT_H
#define SG_REPORT_H

#include "pipeline/plan.h"
#include "pipeline/rows.h"
#include "stages/connect.h"
#include "stages/train.h"

/* A prunable tensor without weights lets nothing through but biases. */
typedef struct sg_layer_census {
    int tensors; /* with a mask */
    int dead;    /* without a surviving weight */
    char first_dead[96];
    double sparsest; /* the smallest density of a tensor */
} sg_layer_census;

/* One trained network. Everything is borrowed. */
typedef struct sg_report_run {
    const sg_row *row;
    int of_case;           /* index into cases */
    int first_epoch;       /* epochs of its search before it began; 0 for transfers */
    const sg_epoch *epoch; /* [epochs] */
    int epochs;
    sg_layer_census layers; /* of search states; otherwise zero */
} sg_report_run;

/* One path. */
typedef struct sg_report_path {
    const sg_link *link;
    const sg_path *path;
    int of_case;
} sg_report_path;

/* A stage that is not done. why: "" when nothing is known. */
typedef struct sg_report_lack {
    const char *stage, *why;
    enum sg_stage_state state;
} sg_report_lack;

typedef struct sg_report_case {
    const char *name;
    int classes;
} sg_report_case;

/* One line of provenance: an attribute, a value, the result files that have it. */
typedef struct sg_report_origin {
    char name[40], value[256];
    int files;
} sg_report_origin;

typedef struct sg_report {
    const char *name;        /* of the run, for the title */
    const char *config_text; /* resolved; may be "" */
    int stages;              /* of the plan */
    int cases, runs, paths, lacks, origins;
    const sg_report_case *of_case;
    const sg_report_run *run;
    const sg_report_path *path;
    const sg_report_lack *lack;
    const sg_report_origin *origin;
} sg_report;

/* Writes DIR/report/index.html and DIR/report/<plot>.csv, each under a temporary name that is then renamed;
 * CSV files of earlier reports that are no plots any more are removed. Texts of the report may hold anything.
 * Without gnuplot the page has no plots and says so. Local. SG_CANTCREATE, SG_IO, SG_NOMEM. */
int sg_report_write(const char *dir, const sg_report *report);

#endif
