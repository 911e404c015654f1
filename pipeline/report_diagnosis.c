#include "pipeline/report_diagnosis.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "pipeline/report_figures.h"
#include "pipeline/report_html.h"

/* Thresholds, in fractions: below them seeds differ by as much. */
static const double WORSE = 0.02; /* signed below the search's own network */
static const double HIGH_BARRIER = 0.05;
static const double UNFIT = 0.05;      /* recalibrated above as-is accuracy */
static const double NEAR_CHANCE = 1.3; /* times 1 / classes */

/* What one symptom's search gives: how many networks were looked at, how many have it, and the worst of them.
 */
typedef struct finding {
    int looked, found;
    double worst;
    char where[256], advice[512];
} finding;

static void take(finding *f, double badness, const char *stage) {
    if (f->found++ > 0 && !(badness > f->worst)) return;
    f->worst = badness;
    snprintf(f->where, sizeof f->where, "%s", stage);
}

static void advise(finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void advise(finding *f, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->advice, sizeof f->advice, format, arguments);
    va_end(arguments);
}

static bool same_search(const sg_report_run *a, const sg_report_run *b) {
    const sg_row *p = a->row, *q = b->row;
    return a->of_case == b->of_case && strcmp(p->method, q->method) == 0 && p->alpha_low == q->alpha_low &&
           p->alpha_high == q->alpha_high && p->search_seed == q->search_seed && p->round == q->round;
}

static const sg_report_run *find_search(const sg_report *report, const sg_report_run *transfer) {
    for (int i = 0; i < report->runs; i++)
        if (report->run[i].row->mode[0] == '\0' && same_search(&report->run[i], transfer))
            return &report->run[i];
    return NULL;
}

/* Were norms interpolated? The answer that the symptom calls for. */
static const char *norms_of(const char *method, double low, double high) {
    if (strcmp(method, "aws") != 0)
        return "normalisation parameters were not interpolated in this search (alpha = 1): its signs fit its "
               "trained norms; search with \"aws\"";
    if (low > 0.0 || high < 1.0)
        return "normalisation parameters were interpolated over a part of the range only; set search.alpha "
               "= (0.0, 1.0)";
    return "normalisation parameters were interpolated over the whole range, so look elsewhere: longer "
           "transfer.epochs, a lower sparsity, "
           "more search.warmup_epochs, or an architecture where the method is known to fail (VGG)";
}

static void look_signed(const sg_report *report, finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_report_run *run = &report->run[i];
        if (strcmp(run->row->mode, "signed") != 0) continue;
        const sg_report_run *search = find_search(report, run);
        if (search == NULL) continue;
        f->looked++;
        double below = sg_row_accuracy(search->row) - sg_row_accuracy(run->row);
        if (!(below > WORSE)) continue;
        take(f, below, run->row->stage);
        if (below == f->worst)
            advise(f, "The worst is %.1f points below. There, %s.", 100.0 * below,
                   norms_of(run->row->method, run->row->alpha_low, run->row->alpha_high));
    }
}

static void look_barriers(const sg_report *report, finding *f, bool noise) {
    for (int i = 0; i < report->paths; i++) {
        const sg_link *link = report->path[i].link;
        if (strcmp(link->kind, noise ? "sgd-noise" : "signed-signed") != 0) continue;
        f->looked++;
        if (!(link->barrier_error > HIGH_BARRIER)) continue;
        take(f, link->barrier_error, link->stage);
        if (link->barrier_error != f->worst) continue;
        bool dense = strcmp(link->mode, "dense") == 0;
        advise(f, "The highest barrier is %.1f points. %s%s.", 100.0 * link->barrier_error,
               dense ? "It is between dense networks, which are rarely stable from their initialisation"
                     : "There, ",
               dense ? "" : norms_of(link->method, link->alpha_low, link->alpha_high));
    }
}

static void look_chance(const sg_report *report, finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_report_run *run = &report->run[i];
        int classes = report->of_case[run->of_case].classes;
        double accuracy = sg_row_accuracy(run->row);
        f->looked++;
        if (classes < 2 || accuracy > NEAR_CHANCE / classes) continue;
        take(f, 1.0 - accuracy, run->row->stage);
        advise(f,
               "Their accuracy is at most %.1f times that of guessing. Too few epochs, a learning rate too "
               "high for the "
               "network, labels that do not belong to the images, or a dead layer.",
               NEAR_CHANCE);
    }
}

static void look_failed(const sg_report *report, finding *f) {
    f->looked = report->stages;
    for (int i = 0; i < report->lacks; i++)
        if (report->lack[i].state == SG_STATE_FAILED) {
            take(f, 0.0, report->lack[i].stage);
            if (f->found == 1)
                advise(
                    f,
                    "It says: %.300s. After a divergence lower train.lr, then run again with --retry-failed.",
                    report->lack[i].why[0] == '\0' ? "nothing" : report->lack[i].why);
        }
}

static void look_dead(const sg_report *report, finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_layer_census *layers = &report->run[i].layers;
        if (layers->tensors == 0) continue;
        f->looked++;
        if (layers->dead == 0) continue;
        take(f, layers->dead, report->run[i].row->stage);
        if (layers->dead == f->worst)
            advise(f,
                   "The worst has %d of %d tensors without a weight, %s first. Nothing passes through them "
                   "but what the "
                   "shortcuts carry: use fewer rounds, or a wider net.",
                   layers->dead, layers->tensors, layers->first_dead);
    }
}

static void look_statistics(const sg_report *report, finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_row *row = report->run[i].row;
        double gain = row->test_accuracy_recalibrated - row->test_accuracy;
        if (isnan(row->test_accuracy_recalibrated)) continue;
        f->looked++;
        if (!(gain > UNFIT)) continue;
        take(f, gain, row->stage);
        if (gain != f->worst) continue;
        bool random = row->mode[0] == '\0' && row->alpha_low < row->alpha_high;
        advise(f, "The largest gain by recalibrating is %.1f points. %s", 100.0 * gain,
               random ? "There alpha was random, and running statistics gathered under a random alpha do not "
                        "fit alpha = 1: this is "
                        "expected, use the recalibrated accuracy."
                      : "There alpha was fixed, so statistics lag behind the weights: the training is too "
                        "short or its learning rate "
                        "too high at the end.");
    }
}

static const struct symptom {
    const char *name, *unit;
    int which;
} symptoms[] = {
    {"Signed transfer worse than the search's own network by more than 2 points", "signed transfers", 0},
    {"Barrier above 5 points between signed transfers of two seeds", "paths", 1},
    {"Barrier above 5 points under SGD noise", "paths", 2},
    {"Accuracy of guessing", "networks", 3},
    {"Failed stages", "stages", 4},
    {"Dead layers: all weights of a tensor pruned", "search states", 5},
    {"Running statistics that do not fit: recalibration gains more than 5 points", "networks", 6},
};
enum { SYMPTOMS = sizeof symptoms / sizeof *symptoms };

static void look(const sg_report *report, int which, finding *f) {
    *f = (finding){0};
    switch (which) {
    case 0:
        look_signed(report, f);
        break;
    case 1:
        look_barriers(report, f, false);
        break;
    case 2:
        look_barriers(report, f, true);
        break;
    case 3:
        look_chance(report, f);
        break;
    case 4:
        look_failed(report, f);
        break;
    case 5:
        look_dead(report, f);
        break;
    default:
        look_statistics(report, f);
        break;
    }
}

void sg_diagnosis_print(FILE *out, const sg_report *report) {
    finding f;
    for (int s = 0; s < SYMPTOMS; s++) {
        look(report, symptoms[s].which, &f);
        fprintf(out, "<div class=\"%s\"><b>", f.found > 0 ? "bad" : f.looked > 0 ? "fine" : "lack");
        sg_html_text(out, symptoms[s].name);
        fputs("</b><br>", out);
        if (f.looked == 0)
            sg_html_printf(out, "There are no %s to look at.", symptoms[s].unit);
        else if (f.found == 0)
            sg_html_printf(out, "Not found in %d %s.", f.looked, symptoms[s].unit);
        else {
            sg_html_printf(out, "Found in %d of %d %s, as in ", f.found, f.looked, symptoms[s].unit);
            fputs("<code>", out);
            sg_html_text(out, f.where);
            fputs("</code>. ", out);
            sg_html_text(out, f.advice);
        }
        fputs("</div>\n", out);
    }
}

int sg_diagnosis_count(const sg_report *report) {
    finding f;
    int count = 0;
    for (int s = 0; s < SYMPTOMS; s++) {
        look(report, symptoms[s].which, &f);
        count += f.found > 0;
    }
    return count;
}
