/* The rows of the result tables: one per trained network, one per connected pair. A stage fills its row when
 * it finishes and stores it as attributes of its result file; collect reads rows back and writes CSV and
 * HDF5. One table of columns drives all of that. */
#ifndef SG_ROWS_H
#define SG_ROWS_H

#include <stdint.h>

#include "pipeline/h5.h"

typedef struct sg_row {
    char stage[192], kind[16], method[16];
    double alpha_low, alpha_high;
    int64_t search_seed, round;
    double density;
    char mode[16];
    int64_t transfer_seed, order_seed;
    char arch[32], dataset[64];
    double train_loss, train_accuracy, test_loss, test_accuracy, test_accuracy_recalibrated;
    int64_t sign_flips, negative_gammas;
    double images_per_s, wall_s;
} sg_row;

typedef struct sg_link {
    char kind[32], a[192], b[192];
    int64_t round;
    double density, barrier_error, barrier_loss;
    char stage[192], method[16];
    double alpha_low, alpha_high;
    int64_t search_seed;
    char mode[16], arch[32], dataset[64];
    double wall_s;
} sg_link;

enum sg_column_type { SG_COLUMN_TEXT, SG_COLUMN_INTEGER, SG_COLUMN_REAL };

typedef struct sg_column {
    const char *name;
    enum sg_column_type type;
    size_t offset, size; /* in the row */
    bool clock;          /* depends on time, not on the method: never part of a digest */
} sg_column;

/* In the order of the CSV files; *count columns. */
const sg_column *sg_row_columns(int *count);
const sg_column *sg_link_columns(int *count);

/* A row as attributes of a result file, and back. read: SG_DATA when one is missing. Local. */
int sg_columns_store(sg_h5_content *content, const sg_column *columns, int count, const void *row);
int sg_columns_read(const sg_h5_file *file, const sg_column *columns, int count, void *row);

/* One value as CSV text (quoted where needed; integers that do not apply are empty: negative). */
void sg_column_print(const sg_column *column, const void *row, char *text, size_t size);

#endif
