#include "pipeline/report_figures.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

enum { SHOWN_DENSITIES = 3, STYLE_DENSE = 0, STYLE_OTHER = 7 };

/* Styles follow the thing, not its place in a figure. */
static const char *const method_styles[] = {"dense", "aws", "lrr", "imp", NULL};
static const char *const mode_styles[] = {
    "dense", "signed", "mask", "random_signs", "magnitude", "retrain", "signed_norms", "frozen", NULL};

static int style_of(const char *const *table, const char *name) {
    for (int i = 0; table[i] != NULL; i++)
        if (strcmp(table[i], name) == 0) return i;
    return STYLE_OTHER;
}

double sg_row_accuracy(const sg_row *row) {
    return isnan(row->test_accuracy_recalibrated) ? row->test_accuracy : row->test_accuracy_recalibrated;
}

bool sg_is_guess(double accuracy, int classes) {
    double guess = 1.0 / classes;
    return accuracy <= fmin(1.3 * guess, guess + 0.05 * (1.0 - guess));
}

static bool searches(const sg_row *row) { return row->mode[0] == '\0'; }
static bool is_dense(const char *mode) { return strcmp(mode, "dense") == 0; }
static const char *method_of(const char *method) { return method[0] == '\0' ? "mask file" : method; }

sg_alpha_range sg_report_alpha(const sg_report *report, int of_case) {
    sg_alpha_range first = {0.0, 1.0};
    bool any = false;
    for (int i = 0; i < report->runs; i++) {
        const sg_row *row = report->run[i].row;
        if (report->run[i].of_case != of_case || strcmp(row->method, "aws") != 0) continue;
        if (row->alpha_low == 0.0 && row->alpha_high == 1.0) return (sg_alpha_range){0.0, 1.0};
        if (!any) first = (sg_alpha_range){row->alpha_low, row->alpha_high};
        any = true;
    }
    return first;
}

/* ---- Collecting samples. */

typedef struct build {
    const sg_report *report;
    sg_figures *figures;
    sg_alpha_range *alpha;            /* [cases] of the reference */
    bool *ablation;                   /* [cases] several ranges were searched */
    double (*shown)[SHOWN_DENSITIES]; /* [cases] densities whose paths are plotted; -1: none */
    double *sparsest;                 /* [cases] of transfers */
} build;

static int room_for_one(sg_figures *figures) {
    if (figures->count < figures->room) return SG_OK;
    int room = figures->room == 0 ? 32 : 2 * figures->room;
    sg_figure *larger;
    SG_TRY(SG_NEW(&larger, (size_t)room));
    if (figures->count > 0) memcpy(larger, figures->figure, (size_t)figures->count * sizeof *larger);
    free(figures->figure);
    figures->figure = larger;
    figures->room = room;
    return SG_OK;
}

/* The figure of this section, case and part, made when it is new; `about` becomes part of its title. */
static int figure_of(const build *b, enum sg_section section, int of_case, const char *part,
                     const char *about, sg_figure **figure) {
    char id[sizeof(*figure)->id];
    snprintf(id, sizeof id, "%s-%d-%s", sg_section_id(section), of_case + 1, part);
    for (char *c = id; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_') *c = '-';
    for (int i = 0; i < b->figures->count; i++) {
        *figure = &b->figures->figure[i];
        if (strcmp((*figure)->id, id) == 0) return SG_OK;
    }
    SG_TRY(room_for_one(b->figures));
    *figure = &b->figures->figure[b->figures->count++];
    **figure = (sg_figure){.section = section,
                           .of_case = of_case,
                           .x_label = "density of prunable weights (%)",
                           .y_label = "test accuracy (%)",
                           .unit = "%",
                           .axis = SG_AXIS_DENSITY};
    snprintf((*figure)->id, sizeof(*figure)->id, "%s", id);
    snprintf((*figure)->title, sizeof(*figure)->title, "%s: %s", b->report->of_case[of_case].name, about);
    return SG_OK;
}

static bool is_reference(const build *b, int of_case, const char *method, double low, double high) {
    if (strcmp(method, "aws") != 0) return true;
    return low == b->alpha[of_case].low && high == b->alpha[of_case].high;
}

static int add_by_method(sg_figure *figure, const char *method, double x, double y) {
    return SG_AT(
        sg_table_add(&figure->table, method_of(method), style_of(method_styles, method), false, x, y));
}

static int add_accuracy(const build *b, const sg_report_run *run) {
    const sg_row *row = run->row;
    sg_figure *figure;
    char about[96];
    if (is_dense(row->mode) || !is_reference(b, run->of_case, row->method, row->alpha_low, row->alpha_high))
        return SG_OK;
    if (searches(row))
        snprintf(about, sizeof about, "the searches' own networks");
    else
        snprintf(about, sizeof about, "transfer %s", row->mode);
    SG_TRY(figure_of(b, SG_SECTION_ACCURACY, run->of_case, searches(row) ? "search" : row->mode, about,
                     &figure));
    return SG_AT(add_by_method(figure, row->method, 100.0 * row->density, 100.0 * sg_row_accuracy(row)));
}

static int add_signs(const build *b, const sg_report_run *run) {
    static const char *const compared[] = {"signed", "mask", "random_signs", "magnitude"};
    const sg_row *row = run->row;
    sg_figure *figure;
    char about[96];
    bool wanted = false;
    for (int i = 0; i < 4; i++) wanted |= strcmp(row->mode, compared[i]) == 0;
    if (!wanted || !is_reference(b, run->of_case, row->method, row->alpha_low, row->alpha_high)) return SG_OK;
    snprintf(about, sizeof about, "what is kept of %s", method_of(row->method));
    SG_TRY(figure_of(b, SG_SECTION_SIGNS, run->of_case, method_of(row->method), about, &figure));
    return SG_AT(sg_table_add(&figure->table, row->mode, style_of(mode_styles, row->mode), false,
                              100.0 * row->density, 100.0 * sg_row_accuracy(row)));
}

/* lrr and imp are alpha = 1: shown beside the ranges. */
static int add_alpha(sg_figure *figure, const char *method, double low, double high, double x, double y) {
    char label[96];
    if (strcmp(method, "aws") == 0)
        snprintf(label, sizeof label, "aws alpha %g..%g", low, high);
    else
        snprintf(label, sizeof label, "%s", method);
    const sg_series *known = sg_table_find(&figure->table, label);
    int style = known != NULL                ? known->style
                : strcmp(method, "aws") == 0 ? 10 + figure->table.count
                                             : style_of(method_styles, method);
    return SG_AT(sg_table_add(&figure->table, label, style, false, x, y));
}

static int add_ablation(const build *b, const sg_report_run *run) {
    const sg_row *row = run->row;
    sg_figure *figure;
    bool is_signed = strcmp(row->mode, "signed") == 0;
    if (!b->ablation[run->of_case] || row->method[0] == '\0' || !(searches(row) || is_signed)) return SG_OK;
    SG_TRY(figure_of(b, SG_SECTION_ALPHA, run->of_case, is_signed ? "signed" : "search",
                     is_signed ? "transfer signed, by range" : "the searches' own networks, by range",
                     &figure));
    return SG_AT(add_alpha(figure, row->method, row->alpha_low, row->alpha_high, 100.0 * row->density,
                           100.0 * sg_row_accuracy(row)));
}

static int add_training(const build *b, const sg_report_run *run) {
    const sg_row *row = run->row;
    sg_figure *figure;
    char part[64], about[128];
    if (is_dense(row->mode) || !is_reference(b, run->of_case, row->method, row->alpha_low, row->alpha_high))
        return SG_OK;
    if (!searches(row) && row->density != b->sparsest[run->of_case]) return SG_OK;
    if (searches(row))
        snprintf(part, sizeof part, "search");
    else
        snprintf(part, sizeof part, "transfer-%s", method_of(row->method));
    if (searches(row))
        snprintf(about, sizeof about, "the searches, warm-up and rounds");
    else
        snprintf(about, sizeof about, "transfers from %s at %.3g %% density", method_of(row->method),
                 100.0 * row->density);
    SG_TRY(figure_of(b, SG_SECTION_TRAINING, run->of_case, part, about, &figure));
    figure->axis = SG_AXIS_LINEAR;
    figure->reading = SG_READ_HIGHEST_X;
    figure->x_label = "epoch";
    if (searches(row)) figure->y_label = "training accuracy (%)";
    for (int e = 0; e < run->epochs; e++) {
        double x = run->first_epoch + e + 1;
        if (searches(row))
            SG_TRY(add_by_method(figure, row->method, x, 100.0 * run->epoch[e].train_accuracy));
        else
            SG_TRY(sg_table_add(&figure->table, row->mode, style_of(mode_styles, row->mode), false, x,
                                100.0 * run->epoch[e].test_accuracy));
    }
    return SG_OK;
}

static int add_cost(const build *b, const sg_report_run *run) {
    const sg_row *row = run->row;
    const char *label = searches(row) ? "search" : is_dense(row->mode) ? "dense" : "transfer";
    int style = searches(row) ? 1 : is_dense(row->mode) ? STYLE_DENSE : 2;
    sg_figure *figure;
    SG_TRY(figure_of(b, SG_SECTION_COST, run->of_case, "speed", "training speed", &figure));
    figure->y_label = "training images/s";
    figure->unit = "images/s";
    SG_TRY(sg_table_add(&figure->table, label, style, false, 100.0 * row->density, row->images_per_s));
    SG_TRY(figure_of(b, SG_SECTION_COST, run->of_case, "wall", "wall time of a stage", &figure));
    figure->y_label = "wall time (s)";
    figure->unit = "s";
    return SG_AT(sg_table_add(&figure->table, label, style, false, 100.0 * row->density, row->wall_s));
}

/* sgd-noise is asked of every mode: a figure each. */
static void name_pair(const sg_link *link, char part[64]) {
    bool noise = strcmp(link->kind, "sgd-noise") == 0;
    snprintf(part, 64, "%.31s%s%.15s", link->kind, noise ? "-" : "", noise ? link->mode : "");
}

static bool is_shown(const build *b, int of_case, double density) {
    for (int i = 0; i < SHOWN_DENSITIES; i++)
        if (b->shown[of_case][i] == density) return true;
    return false;
}

static int add_path(const build *b, const sg_report_path *path) {
    const sg_link *link = path->link;
    char pair[64], part[96], about[128];
    sg_figure *figure;
    if (!is_shown(b, path->of_case, link->density)) return SG_OK;
    name_pair(link, pair);
    snprintf(part, sizeof part, "%s-%.3g", pair, 100.0 * link->density);
    snprintf(about, sizeof about, "%s at %.3g %% density", pair, 100.0 * link->density);
    SG_TRY(figure_of(b, SG_SECTION_PATHS, path->of_case, part, about, &figure));
    figure->axis = SG_AXIS_LINEAR;
    figure->reading = SG_READ_PEAK;
    figure->x_label = "lambda: 0 is network two, 1 is network one";
    figure->y_label = "test error (%)";
    for (int k = 0; k < path->path->done; k++)
        SG_TRY(add_by_method(figure, is_dense(link->mode) ? "dense" : link->method,
                             path->path->point[k].lambda, 100.0 * path->path->point[k].error));
    return SG_OK;
}

static int add_barrier(const build *b, const sg_report_path *path) {
    const sg_link *link = path->link;
    char pair[64];
    sg_figure *figure;
    if (is_dense(link->mode)) return SG_OK; /* a line in the others' figures */
    name_pair(link, pair);
    SG_TRY(figure_of(b, SG_SECTION_BARRIERS, path->of_case, pair, pair, &figure));
    figure->axis = SG_AXIS_LINEAR;
    figure->reading = SG_READ_HIGHEST_X;
    figure->x_label = "sparsity (%)";
    figure->y_label = "error barrier (points)";
    figure->unit = "points";
    return SG_AT(
        add_by_method(figure, link->method, 100.0 * (1.0 - link->density), 100.0 * link->barrier_error));
}

static int add_ablated_barrier(const build *b, const sg_report_path *path) {
    const sg_link *link = path->link;
    char pair[64], part[96], about[128];
    sg_figure *figure;
    bool is_signed = strcmp(link->mode, "signed") == 0 && strcmp(link->kind, "signed-retrain") != 0;
    if (!b->ablation[path->of_case] || link->method[0] == '\0' || !is_signed) return SG_OK;
    name_pair(link, pair);
    snprintf(part, sizeof part, "barrier-%s", pair);
    snprintf(about, sizeof about, "barriers of %s, by range", pair);
    SG_TRY(figure_of(b, SG_SECTION_ALPHA, path->of_case, part, about, &figure));
    figure->y_label = "error barrier (points)";
    figure->unit = "points";
    return SG_AT(add_alpha(figure, link->method, link->alpha_low, link->alpha_high, 100.0 * link->density,
                           100.0 * link->barrier_error));
}

/* The dense line of every figure that has one to reach. */
static int add_dense_levels(const build *b) {
    for (int f = 0; f < b->figures->count; f++) {
        sg_figure *figure = &b->figures->figure[f];
        const char *section = sg_section_id(figure->section);
        bool accuracy = strcmp(figure->y_label, "test accuracy (%)") == 0;
        for (int i = 0; i < b->report->runs; i++) {
            const sg_report_run *run = &b->report->run[i];
            if (!accuracy || run->of_case != figure->of_case || !is_dense(run->row->mode)) continue;
            if (figure->section != SG_SECTION_TRAINING)
                SG_TRY(sg_table_add(&figure->table, "dense", STYLE_DENSE, true, 0.0,
                                    100.0 * sg_row_accuracy(run->row)));
            for (int e = 0; e < run->epochs && figure->section == SG_SECTION_TRAINING; e++)
                SG_TRY(sg_table_add(&figure->table, "dense", STYLE_DENSE, false, e + 1,
                                    100.0 * run->epoch[e].test_accuracy));
        }
        bool noise = figure->section == SG_SECTION_BARRIERS &&
                     strstr(figure->id + strlen(section), "sgd-noise") != NULL;
        for (int i = 0; noise && i < b->report->paths; i++) {
            const sg_report_path *path = &b->report->path[i];
            if (path->of_case == figure->of_case && is_dense(path->link->mode))
                SG_TRY(sg_table_add(&figure->table, "dense", STYLE_DENSE, true, 0.0,
                                    100.0 * path->link->barrier_error));
        }
    }
    return SG_OK;
}

/* ---- What holds for a whole case. */

static int compare_densities(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p < q) - (p > q);
}

/* The densest, the middle and the sparsest of the paths. */
static int choose_densities(build *b, int of_case) {
    double *density;
    int count = 0, distinct = 0;
    SG_TRY(SG_NEW(&density, (size_t)b->report->paths));
    for (int i = 0; i < b->report->paths; i++)
        if (b->report->path[i].of_case == of_case && !is_dense(b->report->path[i].link->mode))
            density[count++] = b->report->path[i].link->density;
    if (count > 0) qsort(density, (size_t)count, sizeof *density, compare_densities);
    for (int i = 0; i < count; i++)
        if (i == 0 || density[i] != density[i - 1]) density[distinct++] = density[i];
    for (int i = 0; i < SHOWN_DENSITIES; i++)
        b->shown[of_case][i] = distinct == 0 ? -1.0 : density[i * (distinct - 1) / (SHOWN_DENSITIES - 1)];
    free(density);
    return SG_OK;
}

static int survey(build *b) {
    for (int c = 0; c < b->report->cases; c++) {
        b->alpha[c] = sg_report_alpha(b->report, c);
        b->sparsest[c] = INFINITY;
        SG_TRY(choose_densities(b, c));
    }
    for (int i = 0; i < b->report->runs; i++) {
        const sg_report_run *run = &b->report->run[i];
        const sg_row *row = run->row;
        if (!is_reference(b, run->of_case, row->method, row->alpha_low, row->alpha_high))
            b->ablation[run->of_case] = true;
        if (!searches(row) && row->density < b->sparsest[run->of_case])
            b->sparsest[run->of_case] = row->density;
    }
    return SG_OK;
}

static int fill(build *b) {
    SG_TRY(survey(b));
    for (int i = 0; i < b->report->runs; i++) {
        const sg_report_run *run = &b->report->run[i];
        SG_TRY(add_accuracy(b, run));
        SG_TRY(add_ablation(b, run));
        SG_TRY(add_signs(b, run));
        SG_TRY(add_training(b, run));
        SG_TRY(add_cost(b, run));
    }
    for (int i = 0; i < b->report->paths; i++) {
        const sg_report_path *path = &b->report->path[i];
        const sg_link *link = path->link;
        SG_TRY(add_ablated_barrier(b, path));
        if (!is_reference(b, path->of_case, link->method, link->alpha_low, link->alpha_high)) continue;
        SG_TRY(add_path(b, path));
        SG_TRY(add_barrier(b, path));
    }
    return SG_AT(add_dense_levels(b));
}

/* By section and case; figures stay in the order in which they were made. A comparison of one thing is none.
 */
static int sort_figures(sg_figures *figures) {
    sg_figure *sorted;
    int count = 0;
    SG_TRY(SG_NEW(&sorted, (size_t)figures->count));
    for (int section = 0; section < SG_SECTION_COUNT; section++)
        for (int i = 0; i < figures->count; i++) {
            sg_figure *figure = &figures->figure[i];
            if ((int)figure->section != section) continue;
            if (section == SG_SECTION_SIGNS &&
                figure->table.count - (sg_table_find(&figure->table, "dense") != NULL) < 2)
                sg_table_release(&figure->table);
            else if (figure->table.count == 0)
                sg_table_release(&figure->table);
            else
                sorted[count++] = *figure;
        }
    free(figures->figure);
    *figures = (sg_figures){.figure = sorted, .count = count, .room = figures->count};
    return SG_OK;
}

int sg_figures_create(sg_figures *figures, const sg_report *report) {
    *figures = (sg_figures){0};
    build b = {.report = report, .figures = figures};
    size_t cases = (size_t)report->cases;
    int status = SG_AT(SG_NEW(&b.alpha, cases));
    if (status == SG_OK) status = SG_AT(SG_NEW(&b.ablation, cases));
    if (status == SG_OK) status = SG_AT(SG_NEW(&b.shown, cases));
    if (status == SG_OK) status = SG_AT(SG_NEW(&b.sparsest, cases));
    if (status == SG_OK) status = SG_AT(fill(&b));
    if (status == SG_OK) status = SG_AT(sort_figures(figures));
    for (int i = 0; status == SG_OK && i < figures->count; i++)
        status = SG_AT(sg_table_group(&figures->figure[i].table));
    free(b.alpha);
    free(b.ablation);
    free(b.shown);
    free(b.sparsest);
    return status;
}

void sg_figures_destroy(sg_figures *figures) {
    for (int i = 0; i < figures->count; i++) sg_table_release(&figures->figure[i].table);
    free(figures->figure);
    *figures = (sg_figures){0};
}
