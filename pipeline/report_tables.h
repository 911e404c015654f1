/* Samples of one figure, grouped: a series per label, a cell per x, mean and spread over the samples of a
 * cell. Local. */
#ifndef SG_REPORT_TABLES_H
#define SG_REPORT_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct sg_cell {
    double x;
    int n;
    double mean, low, high;
    double deviation; /* sample standard deviation; NaN when n is 1 */
    double error;     /* standard error of the mean; NaN when n is 1 */
} sg_cell;

typedef struct sg_sample {
    int series;
    double x, y;
} sg_sample;

typedef struct sg_series {
    char label[96];
    int style;  /* colour, mark and dash: the same for one thing in all figures */
    bool level; /* a line to reach: one value for every x */
    sg_cell *cell;
    int cells; /* ascending x */
} sg_series;

/* Zero it to begin. */
typedef struct sg_table {
    sg_series *series; /* in the order of first samples */
    int count;
    sg_sample *sample;
    size_t samples, room;
} sg_table;

/* One sample; values that are not finite are no samples. A level's x counts for nothing. SG_NOMEM. */
int sg_table_add(sg_table *table, const char *label, int style, bool level, double x, double y);

/* Makes the cells of all series; called once, after the last sample. The order of the samples does not change
 * a bit of the result. SG_NOMEM. */
int sg_table_group(sg_table *table);
void sg_table_release(sg_table *table);

/* NULL when there is none. */
const sg_series *sg_table_find(const sg_table *table, const char *label);
const sg_cell *sg_series_at(const sg_series *series, double x);

/* series,x,n,mean,low,high,standard_deviation,standard_error; what does not exist is empty. */
void sg_table_print_csv(const sg_table *table, const char *x_name, FILE *out);

/* A text as one CSV field, quoted where needed. */
void sg_csv_text(FILE *out, const char *text);

#endif
