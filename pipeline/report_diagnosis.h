/* Known symptoms, looked for in the numbers of a report. Local. */
#ifndef SG_REPORT_DIAGNOSIS_H
#define SG_REPORT_DIAGNOSIS_H

#include <stdio.h>

#include "pipeline/report.h"

/* One HTML block per symptom: what was found and what it usually means, or that it was looked for and not
 * found, or that the run has nothing to look at. */
void sg_diagnosis_print(FILE *out, const sg_report *report);

/* The number of symptoms that were found. */
int sg_diagnosis_count(const sg_report *report);

#endif
