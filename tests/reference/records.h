/* Named arrays of doubles in a file, for exchange with other programs: for each array a line "name count\n",
 * then count little-endian doubles. tests/parity/records.py reads and writes the same. */
#ifndef SG_RECORDS_H
#define SG_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct sg_record {
    char name[128];
    size_t count;
    double *values; /* owned by the list */
} sg_record;

typedef struct sg_records {
    sg_record *record;
    size_t count;
} sg_records;

/* Reads a whole file. SG_NOINPUT, SG_DATA, SG_NOMEM. */
int sg_records_read(sg_records **records, const char *path);
void sg_records_destroy(sg_records **records);

/* The array with this name, borrowed. SG_DATA unless it is there and holds exactly count values. */
int sg_records_find(const sg_records *records, const char *name, size_t count, const double **values);
bool sg_records_has(const sg_records *records, const char *name);

/* Appends one array named "<prefix><name>". SG_IO. */
int sg_records_write(FILE *file, const char *prefix, const char *name, size_t count, const double *values);

#endif
