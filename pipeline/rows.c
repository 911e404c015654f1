#include "pipeline/rows.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT(row, name)                                                                                      \
    { #name, SG_COLUMN_TEXT, offsetof(row, name), sizeof((row *)0)->name, false }
#define INTEGER(row, name)                                                                                   \
    { #name, SG_COLUMN_INTEGER, offsetof(row, name), sizeof(int64_t), false }
#define REAL(row, name)                                                                                      \
    { #name, SG_COLUMN_REAL, offsetof(row, name), sizeof(double), false }
#define CLOCK(row, name)                                                                                     \
    { #name, SG_COLUMN_REAL, offsetof(row, name), sizeof(double), true }

static const sg_column row_columns[] = {
    TEXT(sg_row, stage),          TEXT(sg_row, kind),
    TEXT(sg_row, method),         REAL(sg_row, alpha_low),
    REAL(sg_row, alpha_high),     INTEGER(sg_row, search_seed),
    INTEGER(sg_row, round),       REAL(sg_row, density),
    TEXT(sg_row, mode),           INTEGER(sg_row, transfer_seed),
    INTEGER(sg_row, order_seed),  TEXT(sg_row, arch),
    TEXT(sg_row, dataset),        REAL(sg_row, train_loss),
    REAL(sg_row, train_accuracy), REAL(sg_row, test_loss),
    REAL(sg_row, test_accuracy),  REAL(sg_row, test_accuracy_recalibrated),
    INTEGER(sg_row, sign_flips),  INTEGER(sg_row, negative_gammas),
    CLOCK(sg_row, images_per_s),  CLOCK(sg_row, wall_s),
};

static const sg_column link_columns[] = {
    TEXT(sg_link, kind),         TEXT(sg_link, a),          TEXT(sg_link, b),
    INTEGER(sg_link, round),     REAL(sg_link, density),    REAL(sg_link, barrier_error),
    REAL(sg_link, barrier_loss), TEXT(sg_link, stage),      TEXT(sg_link, method),
    REAL(sg_link, alpha_low),    REAL(sg_link, alpha_high), INTEGER(sg_link, search_seed),
    TEXT(sg_link, mode),         TEXT(sg_link, arch),       TEXT(sg_link, dataset),
    CLOCK(sg_link, wall_s),
};

const sg_column *sg_row_columns(int *count) {
    *count = (int)(sizeof row_columns / sizeof *row_columns);
    return row_columns;
}

const sg_column *sg_link_columns(int *count) {
    *count = (int)(sizeof link_columns / sizeof *link_columns);
    return link_columns;
}

static const char *text_at(const sg_column *column, const void *row) {
    return (const char *)row + column->offset;
}

static int64_t integer_at(const sg_column *column, const void *row) {
    int64_t value;
    memcpy(&value, (const char *)row + column->offset, sizeof value);
    return value;
}

static double real_at(const sg_column *column, const void *row) {
    double value;
    memcpy(&value, (const char *)row + column->offset, sizeof value);
    return value;
}

static void attribute_name(const sg_column *column, char name[64]) {
    snprintf(name, 64, "row.%s", column->name);
}

int sg_columns_store(sg_h5_content *content, const sg_column *columns, int count, const void *row) {
    for (int i = 0; i < count; i++) {
        char name[64];
        attribute_name(&columns[i], name);
        switch (columns[i].type) {
        case SG_COLUMN_TEXT:
            SG_TRY(sg_h5_set_text(content, name, text_at(&columns[i], row)));
            break;
        case SG_COLUMN_INTEGER:
            SG_TRY(sg_h5_set_integer(content, name, integer_at(&columns[i], row)));
            break;
        case SG_COLUMN_REAL:
            SG_TRY(sg_h5_set_real(content, name, real_at(&columns[i], row)));
            break;
        }
    }
    return SG_OK;
}

int sg_columns_read(const sg_h5_file *file, const sg_column *columns, int count, void *row) {
    for (int i = 0; i < count; i++) {
        char name[64], *to = (char *)row + columns[i].offset;
        const char *text;
        int64_t integer;
        double real;
        attribute_name(&columns[i], name);
        switch (columns[i].type) {
        case SG_COLUMN_TEXT:
            SG_TRY(sg_h5_get_text(file, name, &text));
            snprintf(to, columns[i].size, "%s", text);
            break;
        case SG_COLUMN_INTEGER:
            SG_TRY(sg_h5_get_integer(file, name, &integer));
            memcpy(to, &integer, sizeof integer);
            break;
        case SG_COLUMN_REAL:
            SG_TRY(sg_h5_get_real(file, name, &real));
            memcpy(to, &real, sizeof real);
            break;
        }
    }
    return SG_OK;
}

void sg_column_print(const sg_column *column, const void *row, char *text, size_t size) {
    if (column->type == SG_COLUMN_INTEGER) {
        int64_t value = integer_at(column, row);
        if (value < 0)
            snprintf(text, size, "%s", "");
        else
            snprintf(text, size, "%" PRId64, value);
    } else if (column->type == SG_COLUMN_REAL) {
        double value = real_at(column, row);
        if (isnan(value))
            snprintf(text, size, "%s", "");
        else
            snprintf(text, size, "%.9g", value);
    } else if (strpbrk(text_at(column, row), ",\"\n\r") == NULL) {
        snprintf(text, size, "%s", text_at(column, row));
    } else {
        size_t used = 0;
        const char *from = text_at(column, row);
        if (size > 2) text[used++] = '"';
        for (; *from != '\0' && used + 3 < size; from++) {
            if (*from == '"') text[used++] = '"';
            text[used++] = *from;
        }
        if (used + 1 < size) text[used++] = '"';
        if (size > 0) text[used < size ? used : size - 1] = '\0';
    }
}
