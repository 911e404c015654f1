#include "pipeline/collect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"
#include "pipeline/report_gather.h"
#include "pipeline/rows.h"
#include "pipeline/state.h"

/* Everything in memory: some hundred bytes per stage and point. */
typedef struct tables {
    const sg_plan *plan;
    sg_row *row;
    int *row_case; /* [rows] number of each row's case in the plan */
    int rows;
    sg_link *link;
    int *link_case; /* [links] */
    sg_path **path; /* [links] */
    int links;
} tables;

static void free_tables(tables *t) {
    for (int i = 0; t->path != NULL && i < t->plan->count; i++) sg_path_destroy(&t->path[i]);
    free(t->row);
    free(t->row_case);
    free(t->link);
    free(t->link_case);
    free(t->path);
}

static int read_path_points(sg_h5_file *file, sg_path **path) {
    const sg_h5_entry *e = sg_h5_find(file, "/path/points");
    SG_CHECK(e != NULL && e->ndims == 2 && e->dims[0] >= 2 && e->dims[0] <= 100000, SG_DATA,
             "/path/points is no path");
    SG_TRY(sg_path_create(path, (int)e->dims[0]));
    return SG_AT(sg_state_read_path(file, *path));
}

static int read_file(tables *t, sg_gather *gather, const sg_plan_stage *stage, sg_h5_file *file) {
    int columns;
    if (stage->kind == SG_STAGE_EXTRACT) return SG_OK;
    if (stage->kind != SG_STAGE_CONNECT) {
        const sg_column *column = sg_row_columns(&columns);
        SG_TRY(sg_columns_read(file, column, columns, &t->row[t->rows]));
        t->row_case[t->rows] = stage->config;
        return SG_AT(sg_gather_run(gather, stage, &t->row[t->rows++], file));
    }
    const sg_column *column = sg_link_columns(&columns);
    SG_TRY(sg_columns_read(file, column, columns, &t->link[t->links]));
    t->link_case[t->links] = stage->config;
    SG_TRY(read_path_points(file, &t->path[t->links]));
    t->links++;
    return SG_AT(sg_gather_path(gather, stage, &t->link[t->links - 1], t->path[t->links - 1], file));
}

static int read_tables(const char *dir, tables *t, sg_gather *gather) {
    const sg_plan *plan = t->plan;
    SG_TRY(SG_NEW(&t->row, (size_t)plan->count));
    SG_TRY(SG_NEW(&t->row_case, (size_t)plan->count));
    SG_TRY(SG_NEW(&t->link, (size_t)plan->count));
    SG_TRY(SG_NEW(&t->link_case, (size_t)plan->count));
    SG_TRY(SG_NEW(&t->path, (size_t)plan->count));
    for (int i = 0; i < plan->count; i++) {
        if (plan->stages[i].state != SG_STATE_DONE) continue;
        sg_path_name path = sg_stage_path(dir, plan->stages[i].id, "result.h5");
        sg_h5_file *file;
        SG_TRY(sg_h5_open(&file, path.text, NULL));
        int status = SG_AT(read_file(t, gather, &plan->stages[i], file));
        sg_h5_close(&file);
        if (status != SG_OK) return sg_error_prefix(status, "%s: ", path.text);
    }
    return SG_OK;
}

/* ---- CSV. */

static void print_header(FILE *out, const sg_column *column, int columns) {
    for (int c = 0; c < columns; c++) fprintf(out, "%s%s", c == 0 ? "" : ",", column[c].name);
    fputc('\n', out);
}

static void print_row(FILE *out, const sg_column *column, int columns, const void *row) {
    char text[512];
    for (int c = 0; c < columns; c++) {
        sg_column_print(&column[c], row, text, sizeof text);
        fprintf(out, "%s%s", c == 0 ? "" : ",", text);
    }
    fputc('\n', out);
}

static void print_rows(FILE *out, const tables *t) {
    int columns;
    const sg_column *column = sg_row_columns(&columns);
    print_header(out, column, columns);
    for (int i = 0; i < t->rows; i++) print_row(out, column, columns, &t->row[i]);
}

static void print_links(FILE *out, const tables *t) {
    int columns;
    const sg_column *column = sg_link_columns(&columns);
    print_header(out, column, columns);
    for (int i = 0; i < t->links; i++) print_row(out, column, columns, &t->link[i]);
}

static double above_ends(const sg_path *path, int i) {
    const sg_point *p = path->point;
    return p[i].error - 0.5 * (p[0].error + p[path->points - 1].error);
}

static void print_curves(FILE *out, const tables *t) {
    fputs("stage,kind,a,b,round,density,lambda,error,loss,error_above_mean_of_ends\n", out);
    for (int i = 0; i < t->links; i++)
        for (int k = 0; k < t->path[i]->done; k++) {
            const sg_point *p = &t->path[i]->point[k];
            const sg_link *link = &t->link[i];
            fprintf(out, "%s,%s,%s,%s,", link->stage, link->kind, link->a, link->b);
            if (link->round >= 0) fprintf(out, "%lld", (long long)link->round);
            fprintf(out, ",%.9g,%.9g,%.9g,%.9g,%.9g\n", link->density, p->lambda, p->error, p->loss,
                    above_ends(t->path[i], k));
        }
}

static int write_csv(const char *dir, const char *name, const tables *t,
                     void (*print)(FILE *, const tables *)) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    SG_CHECK(out != NULL, SG_NOMEM, "out of memory: %s", name);
    print(out, t);
    fclose(out);
    int status = SG_AT(sg_file_write_text(sg_run_path(dir, name).text, text));
    free(text);
    return status;
}

/* ---- HDF5: a group per table, a data set per column. */

/* Gathers one column of a table; the block lives until the file is written. */
static int add_column(sg_h5_content *content, const char *table, const sg_column *column, const char *rows,
                      int count, size_t stride, void **block) {
    char path[96];
    snprintf(path, sizeof path, "/%s/%s", table, column->name);
    if (column->type == SG_COLUMN_TEXT) {
        const char **text;
        SG_TRY(SG_NEW(&text, (size_t)count));
        *block = text;
        for (int i = 0; i < count; i++) text[i] = rows + (size_t)i * stride + column->offset;
        return SG_AT(sg_h5_add_strings(content, path, (size_t)count, text));
    }
    char *values = sg_alloc((size_t)count, sizeof(double));
    if (values == NULL) return SG_NOMEM;
    *block = values;
    for (int i = 0; i < count; i++)
        memcpy(values + (size_t)i * sizeof(double), rows + (size_t)i * stride + column->offset,
               sizeof(double));
    return SG_AT(sg_h5_add_array(content, path, column->type == SG_COLUMN_INTEGER ? SG_H5_I64 : SG_H5_F64,
                                 (size_t)count, values));
}

enum { MAX_COLUMNS = 64 };

static int fill_h5(sg_h5_content *content, const tables *t, void *block[MAX_COLUMNS], double **points) {
    int columns, links, used = 0;
    const sg_column *column = sg_row_columns(&columns);
    for (int c = 0; c < columns; c++)
        SG_TRY(add_column(content, "results", &column[c], (const char *)t->row, t->rows, sizeof *t->row,
                          &block[used++]));
    column = sg_link_columns(&links);
    for (int c = 0; c < links; c++)
        SG_TRY(add_column(content, "connectivity", &column[c], (const char *)t->link, t->links,
                          sizeof *t->link, &block[used++]));
    size_t count = 0, i = 0;
    for (int l = 0; l < t->links; l++) count += (size_t)t->path[l]->done;
    SG_TRY(SG_NEW(points, 4 * count));
    for (int l = 0; l < t->links; l++)
        for (int k = 0; k < t->path[l]->done; k++) {
            const sg_point *p = &t->path[l]->point[k];
            const double row[4] = {l, p->lambda, p->error, p->loss};
            memcpy(*points + 4 * i++, row, sizeof row);
        }
    SG_TRY(sg_h5_set_text(content, "curves.columns", "row of /connectivity, lambda, error, loss"));
    return SG_AT(sg_h5_add(content, "/curves/points", SG_H5_F64, 2, (size_t[]){count, 4}, *points));
}

static int write_h5(const char *dir, const tables *t) {
    sg_h5_content *content;
    void *block[MAX_COLUMNS] = {NULL};
    double *points = NULL;
    SG_TRY(sg_h5_content_create(&content, "tables"));
    int status = SG_AT(fill_h5(content, t, block, &points));
    if (status == SG_OK) status = SG_AT(sg_h5_write(sg_run_path(dir, "results.h5").text, NULL, content));
    sg_h5_content_destroy(&content);
    for (int c = 0; c < MAX_COLUMNS; c++) free(block[c]);
    free(points);
    return status;
}

/* ---- The table for people: a line per transfer group of a case, mean and spread over seeds and orders. */

/* The network and, in a sweep, whatever else tells the cases apart. */
static const char *name_of_case(const tables *t, int number, const char *arch) {
    return t->plan->cases > 1 ? t->plan->about[number].id : arch;
}

static int width_of_cases(const tables *t) {
    size_t width = 12;
    for (int c = 0; c < t->plan->cases && t->plan->cases > 1; c++)
        if (strlen(t->plan->about[c].id) > width) width = strlen(t->plan->about[c].id);
    return (int)width;
}

static bool same_alpha(const char *method_a, double low_a, double high_a, const char *method_b, double low_b,
                       double high_b) {
    if (strcmp(method_a, method_b) != 0) return false;
    return method_a[0] == '\0' || (low_a == low_b && high_a == high_b);
}

static bool same_cell(const tables *t, int i, int k) {
    const sg_row *a = &t->row[i], *b = &t->row[k];
    return t->row_case[i] == t->row_case[k] && strcmp(a->kind, b->kind) == 0 &&
           same_alpha(a->method, a->alpha_low, a->alpha_high, b->method, b->alpha_low, b->alpha_high) &&
           a->round == b->round && strcmp(a->mode, b->mode) == 0;
}

static void summarise_rows(FILE *out, const tables *t) {
    bool *seen = calloc((size_t)t->rows + 1, sizeof *seen);
    if (seen == NULL) return;
    int width = width_of_cases(t);
    fprintf(out, "%-*s %-6s %-11s %5s %8s %-13s %3s %9s %15s %9s\n", width,
            t->plan->cases > 1 ? "case" : "arch", "method", "alpha", "round", "density", "mode", "n",
            "test acc", "recalibrated", "flips");
    for (int i = 0; i < t->rows; i++) {
        double sum = 0.0, recalibrated = 0.0, low = 2.0, high = -1.0, flips = 0.0;
        int n = 0;
        const sg_row *row = &t->row[i];
        char alpha[32] = "-", round[24] = "-";
        if (seen[i]) continue;
        for (int k = i; k < t->rows; k++) {
            if (!same_cell(t, i, k)) continue;
            double accuracy = t->row[k].test_accuracy_recalibrated;
            seen[k] = true;
            n++;
            sum += t->row[k].test_accuracy;
            recalibrated += accuracy;
            flips += (double)t->row[k].sign_flips;
            if (accuracy < low) low = accuracy;
            if (accuracy > high) high = accuracy;
        }
        if (row->method[0] != '\0') snprintf(alpha, sizeof alpha, "%g..%g", row->alpha_low, row->alpha_high);
        if (row->round >= 0) snprintf(round, sizeof round, "%lld", (long long)row->round);
        fprintf(out, "%-*s %-6s %-11s %5s %8.4f %-13s %3d %7.2f %% %6.2f +- %4.2f %% %9.0f\n", width,
                name_of_case(t, t->row_case[i], row->arch), row->method[0] == '\0' ? "-" : row->method, alpha,
                round, row->density, row->mode[0] == '\0' ? row->kind : row->mode, n, 100.0 * sum / n,
                100.0 * recalibrated / n, 50.0 * (high - low), flips / n);
    }
    free(seen);
}

static bool same_link(const tables *t, int i, int k) {
    const sg_link *a = &t->link[i], *b = &t->link[k];
    return t->link_case[i] == t->link_case[k] && strcmp(a->kind, b->kind) == 0 &&
           same_alpha(a->method, a->alpha_low, a->alpha_high, b->method, b->alpha_low, b->alpha_high) &&
           a->round == b->round && strcmp(a->mode, b->mode) == 0;
}

static void summarise_links(FILE *out, const tables *t) {
    bool *seen = calloc((size_t)t->links + 1, sizeof *seen);
    if (seen == NULL || t->links == 0) {
        free(seen);
        return;
    }
    int width = width_of_cases(t);
    fputc('\n', out);
    if (t->plan->cases > 1) fprintf(out, "%-*s ", width, "case");
    fprintf(out, "%-22s %-13s %-6s %5s %8s %3s %15s %13s\n", "path", "mode", "method", "round", "density",
            "n", "error barrier", "loss barrier");
    for (int i = 0; i < t->links; i++) {
        const sg_link *link = &t->link[i];
        double error = 0.0, loss = 0.0;
        char round[24] = "-";
        int n = 0;
        if (seen[i]) continue;
        for (int k = i; k < t->links; k++) {
            if (!same_link(t, i, k)) continue;
            seen[k] = true;
            n++;
            error += t->link[k].barrier_error;
            loss += t->link[k].barrier_loss;
        }
        if (link->round >= 0) snprintf(round, sizeof round, "%lld", (long long)link->round);
        if (t->plan->cases > 1) fprintf(out, "%-*s ", width, name_of_case(t, t->link_case[i], link->arch));
        fprintf(out, "%-22s %-13s %-6s %5s %8.4f %3d %13.2f %% %13.4f\n", link->kind, link->mode,
                link->method[0] == '\0' ? "-" : link->method, round, link->density, n, 100.0 * error / n,
                loss / n);
    }
    free(seen);
}

static void summarise_missing(FILE *out, const sg_plan *plan) {
    int count[SG_STATE_COUNT] = {0};
    for (int i = 0; i < plan->count; i++) count[plan->stages[i].state]++;
    fprintf(out, "\n%d of %d stages done", count[SG_STATE_DONE], plan->count);
    for (int s = 0; s < SG_STATE_COUNT; s++)
        if (s != SG_STATE_DONE && count[s] > 0)
            fprintf(out, ", %d %s", count[s], sg_stage_state_name((enum sg_stage_state)s));
    fputc('\n', out);
    for (int i = 0, shown = 0; i < plan->count; i++) {
        const sg_plan_stage *stage = &plan->stages[i];
        if (stage->state == SG_STATE_DONE || shown++ >= 50) continue;
        fprintf(out, "  %-8s %s\n", sg_stage_state_name(stage->state), stage->id);
    }
}

static int write_tables(const char *dir, const tables *t) {
    SG_TRY(write_csv(dir, "results.csv", t, print_rows));
    SG_TRY(write_csv(dir, "connectivity.csv", t, print_links));
    SG_TRY(write_csv(dir, "curves.csv", t, print_curves));
    return SG_AT(write_h5(dir, t));
}

int sg_collect(const char *dir, const sg_run_config *config, const sg_plan *plan, FILE *summary) {
    tables t = {.plan = plan};
    sg_gather *gather;
    sg_report report;
    SG_TRY(sg_gather_create(&gather, config, plan));
    int status = SG_AT(read_tables(dir, &t, gather));
    if (status == SG_OK) status = SG_AT(write_tables(dir, &t));
    if (status == SG_OK) status = SG_AT(sg_gather_finish(gather, dir, &report));
    if (status == SG_OK) status = SG_AT(sg_report_write(dir, &report));
    if (status == SG_OK && summary != NULL) {
        summarise_rows(summary, &t);
        summarise_links(summary, &t);
        summarise_missing(summary, plan);
        fprintf(summary,
                "\nresults: %s/results.csv, connectivity.csv, curves.csv, results.h5; report/index.html\n",
                dir);
    }
    sg_gather_destroy(&gather);
    free_tables(&t);
    return status;
}

int sg_collect_outlook(const char *dir, const sg_run_config *config, const sg_plan *plan,
                       sg_outlook *outlook) {
    tables t = {.plan = plan};
    sg_gather *gather;
    sg_report report;
    *outlook = (sg_outlook){0};
    SG_TRY(sg_gather_create(&gather, config, plan));
    int status = SG_AT(read_tables(dir, &t, gather));
    if (status == SG_OK) status = SG_AT(sg_gather_finish(gather, dir, &report));
    if (status == SG_OK) sg_diagnose(&report, outlook->finding);
    for (int i = 0; i < t.rows; i++) outlook->seconds += t.row[i].wall_s;
    for (int i = 0; i < t.links; i++) outlook->seconds += t.link[i].wall_s;
    sg_gather_destroy(&gather);
    free_tables(&t);
    return status;
}
