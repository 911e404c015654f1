/* The page of a report as one text. Local. */
#ifndef SG_REPORT_PAGE_H
#define SG_REPORT_PAGE_H

#include "pipeline/report.h"
#include "pipeline/report_figures.h"

/* What stands on a page at most: more is counted, and left to the CSV files. */
enum { SG_PAGE_BYTES = 4500000, SG_PAGE_PLOTS = 120, SG_PAGE_LACKS = 200 };

/* *text is owned (free). Plots are drawn by gnuplot; those that cannot be drawn leave a line that says why.
 * SG_NOMEM. */
int sg_page_create(char **text, const sg_report *report, const sg_figures *figures);

#endif
