/* A made-up run for the tests of the report: two methods, two densities, two seeds. */
#ifndef REPORT_FIXTURE_H
#define REPORT_FIXTURE_H

#include "pipeline/report.h"
#include "tests/reference/status.h"

enum { RUNS = 32, PATHS = 8, POINTS = 3 };

typedef struct made_up {
    sg_row row[RUNS];
    sg_report_run run[RUNS];
    sg_epoch epoch[RUNS][2];
    sg_link link[PATHS];
    sg_point point[PATHS][POINTS];
    sg_path path[PATHS];
    sg_report_path report_path[PATHS];
    sg_report_case of_case;
    sg_report_lack lack;
    sg_report_origin origin;
    sg_report report;
} made_up;

/* cmocka's setup and teardown. */
int report_make_up(void **state);
int report_release(void **state);

/* mode "": a search's state of that round. */
void report_add_run(made_up *m, const char *method, const char *mode, int round, int seed, double accuracy);
void report_add_path(made_up *m, const char *method, const char *kind, int round, double barrier);

/* The page without gnuplot, whatever this machine has. The caller frees it. */
char *report_make_page_without_gnuplot(const made_up *m);

void assert_has(const char *text, const char *part);
void assert_lacks(const char *text, const char *part);

#endif
