/* Which plots a report has, and what their numbers say. Local. */
#ifndef SG_REPORT_FIGURES_H
#define SG_REPORT_FIGURES_H

#include "pipeline/report.h"
#include "pipeline/report_tables.h"

enum sg_section {
    SG_SECTION_ACCURACY,
    SG_SECTION_PATHS,
    SG_SECTION_BARRIERS,
    SG_SECTION_ALPHA,
    SG_SECTION_SIGNS,
    SG_SECTION_TRAINING,
    SG_SECTION_COST,
    SG_SECTION_COUNT
};

enum sg_axis { SG_AXIS_DENSITY /* %, logarithmic, sparser to the right */, SG_AXIS_LINEAR };

/* At which x a caption reads the series. */
enum sg_reading { SG_READ_LOWEST_X, SG_READ_HIGHEST_X, SG_READ_PEAK };

typedef struct sg_figure {
    char id[96]; /* letters, digits, '-', '_': anchor, and name of the CSV file */
    char title[200];
    const char *x_label, *y_label, *unit; /* unit: of y, in captions */
    enum sg_section section;
    enum sg_axis axis;
    enum sg_reading reading;
    int of_case;
    sg_table table;
} sg_figure;

typedef struct sg_figures {
    sg_figure *figure;
    int count, room;
} sg_figures;

const char *sg_section_id(enum sg_section section);
const char *sg_section_title(enum sg_section section);
const char *sg_section_asks(enum sg_section section);   /* one sentence */
const char *sg_section_remedy(enum sg_section section); /* what to configure where it is empty */

/* All figures of the report, grouped, in the order of sections. SG_NOMEM; owned. */
int sg_figures_create(sg_figures *figures, const sg_report *report);
void sg_figures_destroy(sg_figures *figures);

/* What the figure's numbers say, one or two sentences of plain text. */
void sg_figure_says(const sg_figure *figure, char *text, size_t size);

/* The answer for one case: down to which density signed transfers of aws are not below dense (by two standard
 * errors where there are several networks on both sides), if dense is better than guessing. True where there
 * is such a density. */
bool sg_figures_verdict(const sg_figures *figures, int of_case, int classes, char *text, size_t size);

/* The alpha range of aws that figures without an ablation show: 0 to 1 where it was searched, else the first.
 */
sg_alpha_range sg_report_alpha(const sg_report *report, int of_case);

/* No better than guessing among so many classes: up to 1.3 times that, or a twentieth of the way from there
 * to no error where that is less (of two classes 1.3 times would be 65 %). */
bool sg_is_guess(double accuracy, int classes);

/* What counts as a network's accuracy: with recalibrated statistics where there are any. */
double sg_row_accuracy(const sg_row *row);

#endif
