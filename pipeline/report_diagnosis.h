/* Known symptoms, looked for in the numbers of a report. Local. */
#ifndef SG_REPORT_DIAGNOSIS_H
#define SG_REPORT_DIAGNOSIS_H

#include <stdio.h>

#include "pipeline/report.h"

enum { SG_SYMPTOMS = 9 };

/* What the search for one symptom gives: how many things were looked at, how many have it, the worst of them.
 */
typedef struct sg_finding {
    const char *symptom, *unit; /* unit: what was looked at, in the plural */
    int looked, found;
    double worst;
    char where[256], advice[512]; /* the worst one's stage, and what it usually means; "" where none has it */
} sg_finding;

void sg_diagnose(const sg_report *report, sg_finding finding[SG_SYMPTOMS]);

/* One HTML block per symptom: what was found and what it usually means, or that it was looked for and not
 * found, or that the run has nothing to look at. */
void sg_diagnosis_print(FILE *out, const sg_finding finding[SG_SYMPTOMS]);

/* The number of symptoms that were found. */
int sg_diagnosis_count(const sg_finding finding[SG_SYMPTOMS]);

#endif
