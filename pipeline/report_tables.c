#include "pipeline/report_tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

/* Room for twice as many elements; *block holds count. */
static int grow(void *block, size_t size, size_t count, size_t room) {
    void **at = block, *larger = sg_alloc(room, size);
    if (larger == NULL) return SG_NOMEM;
    if (count > 0) memcpy(larger, *at, count * size);
    free(*at);
    *at = larger;
    return SG_OK;
}

static int find(const sg_table *table, const char *label) {
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->series[i].label, label) == 0) return i;
    return -1;
}

int sg_table_add(sg_table *table, const char *label, int style, bool level, double x, double y) {
    if (!isfinite(y) || (!level && !isfinite(x))) return SG_OK;
    int series = find(table, label);
    if (series < 0) {
        size_t count = (size_t)table->count;
        if ((count & (count - 1)) == 0)
            SG_TRY(grow(&table->series, sizeof *table->series, count, count == 0 ? 1 : 2 * count));
        series = table->count++;
        sg_series *s = &table->series[series];
        snprintf(s->label, sizeof s->label, "%s", label);
        s->style = style;
        s->level = level;
    }
    if (table->samples == table->room) {
        size_t room = table->room == 0 ? 16 : 2 * table->room;
        SG_TRY(grow(&table->sample, sizeof *table->sample, table->samples, room));
        table->room = room;
    }
    table->sample[table->samples++] = (sg_sample){.series = series, .x = level ? 0.0 : x, .y = y};
    return SG_OK;
}

static int compare(double a, double b) { return (a > b) - (a < b); }

static int by_place(const void *a, const void *b) {
    const sg_sample *p = a, *q = b;
    if (p->series != q->series) return p->series < q->series ? -1 : 1;
    return p->x != q->x ? compare(p->x, q->x) : compare(p->y, q->y);
}

/* Two passes: the plain sum of squares cancels. */
static sg_cell summarise(const sg_sample *sample, int n) {
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < n; i++) sum += sample[i].y;
    sg_cell cell = {.x = sample[0].x, .n = n, .mean = sum / n, .low = sample[0].y, .high = sample[n - 1].y};
    for (int i = 0; i < n; i++) squares += (sample[i].y - cell.mean) * (sample[i].y - cell.mean);
    cell.deviation = n > 1 ? sqrt(squares / (n - 1)) : NAN;
    cell.error = n > 1 ? cell.deviation / sqrt(n) : NAN;
    return cell;
}

static size_t end_of_cell(const sg_table *t, size_t from) {
    size_t to = from + 1;
    while (to < t->samples && t->sample[to].series == t->sample[from].series &&
           t->sample[to].x == t->sample[from].x)
        to++;
    return to;
}

int sg_table_group(sg_table *table) {
    if (table->samples > 0) qsort(table->sample, table->samples, sizeof *table->sample, by_place);
    for (size_t i = 0; i < table->samples; i = end_of_cell(table, i))
        table->series[table->sample[i].series].cells++;
    for (int s = 0; s < table->count; s++) {
        SG_TRY(SG_NEW(&table->series[s].cell, (size_t)table->series[s].cells));
        table->series[s].cells = 0;
    }
    for (size_t i = 0, end; i < table->samples; i = end) {
        sg_series *s = &table->series[table->sample[i].series];
        end = end_of_cell(table, i);
        s->cell[s->cells++] = summarise(&table->sample[i], (int)(end - i));
    }
    return SG_OK;
}

void sg_table_release(sg_table *table) {
    for (int s = 0; s < table->count; s++) free(table->series[s].cell);
    free(table->series);
    free(table->sample);
    *table = (sg_table){0};
}

const sg_series *sg_table_find(const sg_table *table, const char *label) {
    int series = find(table, label);
    return series < 0 ? NULL : &table->series[series];
}

const sg_cell *sg_series_at(const sg_series *series, double x) {
    if (series->level) return series->cells > 0 ? &series->cell[0] : NULL;
    for (int i = 0; i < series->cells; i++)
        if (series->cell[i].x == x) return &series->cell[i];
    return NULL;
}

void sg_csv_text(FILE *out, const char *text) {
    if (strpbrk(text, ",\"\n\r") == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void print_real(FILE *out, double value) {
    if (isfinite(value))
        fprintf(out, ",%.9g", value);
    else
        fputc(',', out);
}

void sg_table_print_csv(const sg_table *table, const char *x_name, FILE *out) {
    fputs("series,", out);
    sg_csv_text(out, x_name);
    fputs(",n,mean,low,high,standard_deviation,standard_error\n", out);
    for (int s = 0; s < table->count; s++)
        for (int i = 0; i < table->series[s].cells; i++) {
            const sg_cell *cell = &table->series[s].cell[i];
            sg_csv_text(out, table->series[s].label);
            print_real(out, table->series[s].level ? NAN : cell->x);
            fprintf(out, ",%d", cell->n);
            print_real(out, cell->mean);
            print_real(out, cell->low);
            print_real(out, cell->high);
            print_real(out, cell->deviation);
            print_real(out, cell->error);
            fputc('\n', out);
        }
}
