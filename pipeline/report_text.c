/* The sentences beside the plots. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "pipeline/report_figures.h"

static const struct section {
    const char *id, *title, *asks, *remedy;
} sections[SG_SECTION_COUNT] = {
    [SG_SECTION_ACCURACY] =
        {"accuracy", "Accuracy against density",
         "Do the transferred networks reach the dense network's accuracy, and down to which density?",
         "set search.methods = (\"lrr\", \"aws\"), transfer.modes = (\"signed\", \"dense\") and "
         "transfer.rounds or transfer.densities"},
    [SG_SECTION_PATHS] = {"path", "Error along the path between two networks",
                          "Is there a hill of test error on the straight line between the two networks?",
                          "set connect.pairs, and in transfer.modes the modes that the pairs name"},
    [SG_SECTION_BARRIERS] =
        {"barrier", "Error barriers against sparsity",
         "How high is that hill above the straight line between its ends as the networks get sparser?",
         "set connect.pairs, and several transfer.rounds or transfer.densities"},
    [SG_SECTION_ALPHA] =
        {"alpha", "Range of the interpolation",
         "How much of the interpolation of normalisation parameters does it take?",
         "set search.alpha to a list of ranges, ((0.0, 1.0), (0.5, 1.0), (0.9, 1.0)), with \"aws\" in "
         "search.methods"},
    [SG_SECTION_SIGNS] =
        {"signs", "Signs against magnitudes",
         "What carries the solution: its signs, its mask, or its magnitudes?",
         "set transfer.modes = (\"signed\", \"mask\", \"random_signs\", \"magnitude\", \"dense\")"},
    [SG_SECTION_TRAINING] = {"training", "Training curves", "Did the trainings converge, and how fast?",
                             "let the run finish at least one stage"},
    [SG_SECTION_COST] = {"cost", "Cost", "What does training cost, and does sparsity pay?",
                         "let the run finish at least one stage"},
};

const char *sg_section_id(enum sg_section section) { return sections[section].id; }
const char *sg_section_title(enum sg_section section) { return sections[section].title; }
const char *sg_section_asks(enum sg_section section) { return sections[section].asks; }
const char *sg_section_remedy(enum sg_section section) { return sections[section].remedy; }

/* Appends; what does not fit is left out. */
typedef struct writer {
    char *text;
    size_t size, used;
} writer;

static void say(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(writer *w, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(w->text + w->used, w->size - w->used, format, arguments);
    va_end(arguments);
    if (n > 0) w->used = w->used + (size_t)n < w->size ? w->used + (size_t)n : w->size - 1;
}

/* The x at which the series are compared: the outermost that every one of them has; else of any. */
static double common_x(const sg_figure *figure) {
    double best = NAN, any = NAN;
    bool lowest = figure->reading == SG_READ_LOWEST_X;
    for (int s = 0; s < figure->table.count; s++) {
        const sg_series *series = &figure->table.series[s];
        for (int i = 0; !series->level && i < series->cells; i++) {
            double x = series->cell[i].x;
            bool all = true;
            for (int k = 0; k < figure->table.count; k++)
                all &= sg_series_at(&figure->table.series[k], x) != NULL;
            if (isnan(any) || (lowest ? x < any : x > any)) any = x;
            if (all && (isnan(best) || (lowest ? x < best : x > best))) best = x;
        }
    }
    return isnan(best) ? any : best;
}

/* Of a path's mean curve: the height above the straight line between its ends. */
static double hill(const sg_series *series, const sg_cell *cell) {
    const sg_cell *first = &series->cell[0], *last = &series->cell[series->cells - 1];
    double t = last->x > first->x ? (cell->x - first->x) / (last->x - first->x) : 0.0;
    return cell->mean - ((1.0 - t) * first->mean + t * last->mean);
}

static const sg_cell *peak(const sg_series *series) {
    const sg_cell *top = NULL;
    for (int i = 0; i < series->cells; i++)
        if (top == NULL || hill(series, &series->cell[i]) > hill(series, top)) top = &series->cell[i];
    return top;
}

static const sg_cell *read_series(const sg_figure *figure, const sg_series *series, double x) {
    return figure->reading == SG_READ_PEAK ? peak(series) : sg_series_at(series, x);
}

static void say_cell(writer *w, const sg_figure *figure, const sg_series *series, const sg_cell *cell) {
    if (figure->reading == SG_READ_PEAK) {
        say(w, "%s %.2f points at lambda %.2g, error there %.4g", series->label, hill(series, cell), cell->x,
            cell->mean);
    } else {
        say(w, "%s %.4g", series->label, cell->mean);
    }
    if (cell->n > 1) say(w, " \302\261 %.2g", cell->error);
    if (strcmp(figure->unit, "%") == 0) say(w, " %%");
    say(w, " (n = %d)", cell->n);
}

static void say_difference(writer *w, const sg_figure *figure, const char *first, const char *second,
                           double x) {
    const sg_series *one = sg_table_find(&figure->table, first), *two = sg_table_find(&figure->table, second);
    const sg_cell *a = one == NULL ? NULL : read_series(figure, one, x),
                  *b = two == NULL ? NULL : read_series(figure, two, x);
    if (a == NULL || b == NULL) return;
    double difference = a->mean - b->mean;
    say(w, " %s is %.*f %s %s %s", first, fabs(difference) < 100.0 ? 2 : 0, fabs(difference),
        strcmp(figure->unit, "%") == 0 ? "points" : figure->unit, difference < 0.0 ? "below" : "above",
        second);
    if (a->n < 2 || b->n < 2) {
        say(w, "; with one network on a side there is no uncertainty to hold it against.");
        return;
    }
    double error = sqrt(a->error * a->error + b->error * b->error);
    say(w, " (standard error of the difference %.2g: %s).", error,
        fabs(difference) > 2.0 * error ? "more than two of them" : "within two of them");
}

/* The comparison that the section is about. */
static void say_comparison(writer *w, const sg_figure *figure, double x) {
    switch (figure->section) {
    case SG_SECTION_ACCURACY:
        say_difference(w, figure, "aws", "dense", x); /* fall through */
    case SG_SECTION_BARRIERS:
        say_difference(w, figure, "aws", "lrr", x);
        break;
    case SG_SECTION_ALPHA:
        say_difference(w, figure, "aws alpha 0..1", "lrr", x);
        break;
    case SG_SECTION_SIGNS:
        say_difference(w, figure, "signed", "mask", x);
        break;
    default:
        break;
    }
}

void sg_figure_says(const sg_figure *figure, char *text, size_t size) {
    writer w = {.text = text, .size = size};
    double x = common_x(figure);
    int said = 0;
    text[0] = '\0';
    switch (figure->reading) {
    case SG_READ_PEAK:
        say(&w, "Highest above the straight line between the ends, on the mean curve: ");
        break;
    case SG_READ_LOWEST_X:
        say(&w, "At %.3g %% density: ", x);
        break;
    case SG_READ_HIGHEST_X:
        if (figure->section == SG_SECTION_TRAINING)
            say(&w, "After epoch %.0f: ", x);
        else
            say(&w, "At %.3g %% sparsity: ", x);
        break;
    }
    for (int s = 0; s < figure->table.count; s++) {
        const sg_cell *cell = read_series(figure, &figure->table.series[s], x);
        if (cell == NULL) continue;
        if (said++ > 0) say(&w, ", ");
        say_cell(&w, figure, &figure->table.series[s], cell);
    }
    say(&w, "%s.", said == 0 ? "no values" : "");
    say_comparison(&w, figure, x);
}

/* ---- The verdict. */

static double error_of_difference(const sg_cell *a, const sg_cell *b) {
    return a->n < 2 || b->n < 2 ? 0.0 : sqrt(a->error * a->error + b->error * b->error);
}

/* The sparsest cell that is not below the level; else, of all, the one that comes closest. */
static const sg_cell *best_cell(const sg_series *series, const sg_cell *level, bool *reaches) {
    const sg_cell *closest = NULL;
    *reaches = false;
    for (int i = 0; i < series->cells; i++) {
        const sg_cell *cell = &series->cell[i];
        if (cell->mean >= level->mean - 2.0 * error_of_difference(cell, level)) {
            *reaches = true;
            return cell;
        }
        if (closest == NULL || cell->mean > closest->mean) closest = cell;
    }
    return closest;
}

static void say_mean(writer *w, const sg_cell *cell) {
    say(w, "%.4g", cell->mean);
    if (cell->n > 1) say(w, " \302\261 %.2g", cell->error);
    say(w, " %%, n = %d", cell->n);
}

static void say_beside_lrr(writer *w, const sg_figure *figure, const sg_cell *cell) {
    const sg_series *lrr = sg_table_find(&figure->table, "lrr");
    const sg_cell *other = lrr == NULL ? NULL : sg_series_at(lrr, cell->x);
    if (other == NULL) return;
    double difference = cell->mean - other->mean;
    say(w, " There they are %.2f points %s signed networks of lrr", fabs(difference),
        difference < 0.0 ? "below" : "above");
    double error = error_of_difference(cell, other);
    if (error > 0.0) say(w, " (standard error %.2g)", error);
    say(w, ".");
}

bool sg_figures_verdict(const sg_figures *figures, int of_case, int classes, char *text, size_t size) {
    writer w = {.text = text, .size = size};
    const sg_figure *figure = NULL;
    char id[sizeof figure->id];
    snprintf(id, sizeof id, "accuracy-%d-signed", of_case + 1);
    for (int i = 0; i < figures->count && figure == NULL; i++)
        if (strcmp(figures->figure[i].id, id) == 0) figure = &figures->figure[i];
    const sg_series *aws = figure == NULL ? NULL : sg_table_find(&figure->table, "aws"),
                    *dense = figure == NULL ? NULL : sg_table_find(&figure->table, "dense");
    text[0] = '\0';
    if (aws == NULL || dense == NULL || aws->cells == 0 || dense->cells == 0) {
        say(&w, "No verdict yet: it takes signed transfers of aws and dense networks (search.methods with "
                "\"aws\", transfer.modes with \"signed\" and \"dense\").");
        return false;
    }
    const sg_cell *level = &dense->cell[0];
    if (sg_is_guess(level->mean / 100.0, classes)) {
        say(&w, "No verdict: dense networks themselves do no better than guessing (");
        say_mean(&w, level);
        say(&w, ").");
        return false;
    }
    bool reaches;
    const sg_cell *cell = best_cell(aws, level, &reaches);
    if (reaches)
        say(&w, "Signs win: signed networks of aws reach dense ones down to %.3g %% density (", cell->x);
    else
        say(&w,
            "Signs fall short at every density measured: at the closest, %.3g %%, signed networks of aws are "
            "%.2f points below dense ones (",
            cell->x, level->mean - cell->mean);
    say_mean(&w, cell);
    say(&w, "; dense ");
    say_mean(&w, level);
    if (cell->n < 2 || level->n < 2)
        say(&w, "; one network on a side, so no uncertainty");
    else
        say(&w, "; two standard errors of the difference are %.2g", 2.0 * error_of_difference(cell, level));
    say(&w, ").");
    say_beside_lrr(&w, figure, cell);
    return reaches;
}
