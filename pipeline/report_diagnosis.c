#include "pipeline/report_diagnosis.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "pipeline/report_figures.h"
#include "pipeline/report_html.h"

/* Thresholds, in fractions: below them seeds differ by as much. */
static const double WORSE = 0.02; /* signed below the search's own network */
static const double HIGH_BARRIER = 0.05;
static const double UNFIT = 0.05;   /* recalibrated above as-is accuracy */
static const double COLLAPSE = 0.5; /* of the accuracy of the round before */
static const double RISE = 1.5;     /* training loss at the end of a round over that of its first epoch */

static void take(sg_finding *f, double badness, const char *stage) {
    if (f->found++ > 0 && !(badness > f->worst)) return;
    f->worst = badness;
    snprintf(f->where, sizeof f->where, "%s", stage);
}

static void advise(sg_finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void advise(sg_finding *f, const char *format, ...) {
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
           "transfer.epochs, a lower sparsity, or more search.warmup_epochs";
}

/* How far a signed transfer is below the network that its signs are from; NaN where there is none. */
static double below_search(const sg_report *report, const sg_report_run *run) {
    if (strcmp(run->row->mode, "signed") != 0) return NAN;
    const sg_report_run *search = find_search(report, run);
    return search == NULL ? NAN : sg_row_accuracy(search->row) - sg_row_accuracy(run->row);
}

static void look_signed(const sg_report *report, sg_finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_report_run *run = &report->run[i];
        double below = below_search(report, run);
        if (isnan(below)) continue;
        f->looked++;
        if (!(below > WORSE)) continue;
        take(f, below, run->row->stage);
        if (below == f->worst)
            advise(f, "The worst is %.1f points below. There, %s.", 100.0 * below,
                   norms_of(run->row->method, run->row->alpha_low, run->row->alpha_high));
    }
}

static void look_vgg(const sg_report *report, sg_finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_report_run *run = &report->run[i];
        const sg_row *row = run->row;
        bool asked = strncmp(row->arch, "vgg", 3) == 0 && strcmp(row->method, "aws") == 0 &&
                     row->alpha_low <= 0.0 && row->alpha_high >= 1.0;
        double below = asked ? below_search(report, run) : NAN;
        if (isnan(below)) continue;
        f->looked++;
        if (!(below > WORSE)) continue;
        take(f, below, row->stage);
        if (below == f->worst)
            advise(f,
                   "The worst is %.1f points below in spite of interpolated norms: the known failure of deep "
                   "plain networks. Use a network with shortcuts (resnet), or a higher density.",
                   100.0 * below);
    }
}

static void look_barriers(const sg_report *report, sg_finding *f, bool noise) {
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

static void look_chance(const sg_report *report, sg_finding *f) {
    for (int i = 0; i < report->runs; i++) {
        const sg_report_run *run = &report->run[i];
        int classes = report->of_case[run->of_case].classes;
        double accuracy = sg_row_accuracy(run->row);
        if (classes < 2 || !isfinite(accuracy)) continue;
        f->looked++;
        if (!sg_is_guess(accuracy, classes)) continue;
        take(f, 1.0 - accuracy, run->row->stage);
        if (1.0 - accuracy != f->worst) continue;
        advise(f,
               "Its accuracy is %.2f %% with %d classes. Too few epochs, a learning rate too high for the "
               "network, labels that do not belong to the images, or a dead layer.",
               100.0 * accuracy, classes);
    }
}

static void look_failed(const sg_report *report, sg_finding *f) {
    f->looked = report->stages;
    for (int i = 0; i < report->lacks; i++) {
        const sg_report_lack *lack = &report->lack[i];
        if (lack->state != SG_STATE_FAILED) continue;
        take(f, 0.0, lack->stage);
        if (f->found > 1) continue;
        advise(f, "It says: %.400s. Once its cause is gone, signet run --retry-failed.",
               lack->why[0] == '\0' ? "nothing" : lack->why);
    }
}

static const sg_report_run *find_round(const sg_report *report, const sg_report_run *like, int64_t round) {
    sg_row row = *like->row;
    row.round = round;
    return find_search(report, &(sg_report_run){.row = &row, .of_case = like->of_case});
}

/* A round that ended in numbers that are none failed; one that lost its way may have ended. */
static void look_diverged(const sg_report *report, sg_finding *f) {
    for (int i = 0; i < report->lacks; i++) {
        const sg_report_lack *lack = &report->lack[i];
        if (lack->state != SG_STATE_FAILED || strstr(lack->why, "diverged") == NULL) continue;
        f->looked++;
        take(f, INFINITY, lack->stage);
        if (f->found == 1)
            advise(f, "Its loss is not finite: lower train.lr, then signet run --retry-failed.");
    }
    for (int i = 0; i < report->runs; i++) {
        const sg_report_run *run = &report->run[i];
        if (run->row->mode[0] != '\0' || run->row->round < 1) continue;
        const sg_report_run *before = find_round(report, run, run->row->round - 1);
        double was = before == NULL ? NAN : sg_row_accuracy(before->row), is = sg_row_accuracy(run->row),
               rise =
                   run->epochs < 2 ? NAN : run->epoch[run->epochs - 1].train_loss / run->epoch[0].train_loss;
        f->looked++;
        if (!(is < COLLAPSE * was) && !(rise > RISE)) continue;
        double badness = fmax(is < COLLAPSE * was ? was - is : 0.0, rise > RISE ? 1.0 - 1.0 / rise : 0.0);
        take(f, badness, run->row->stage);
        if (badness != f->worst) continue;
        if (rise > RISE)
            advise(f, "Its training loss ended at %.1f times that of its first epoch: lower train.lr.", rise);
        else
            advise(f,
                   "It lost %.1f points on the round before: prune less at once (search.prune_fraction) or "
                   "train longer (search.round_epochs).",
                   100.0 * (was - is));
    }
}

static void look_dead(const sg_report *report, sg_finding *f) {
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

static void look_statistics(const sg_report *report, sg_finding *f) {
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

static void look_seeds(const sg_report *report, sg_finding *f) { look_barriers(report, f, false); }
static void look_noise(const sg_report *report, sg_finding *f) { look_barriers(report, f, true); }

static const struct symptom {
    const char *name, *unit;
    void (*look)(const sg_report *report, sg_finding *f);
} symptoms[SG_SYMPTOMS] = {
    {"Signed transfer worse than the search's own network by more than 2 points", "signed transfers",
     look_signed},
    {"Barrier above 5 points between signed transfers of two seeds", "paths", look_seeds},
    {"Barrier above 5 points under SGD noise", "paths", look_noise},
    {"VGG-style failure: signs of a plain network that do not transfer", "signed transfers of vgg networks",
     look_vgg},
    {"Diverged rounds", "rounds", look_diverged},
    {"Accuracy of guessing", "networks", look_chance},
    {"Failed stages", "stages", look_failed},
    {"Dead layers: all weights of a tensor pruned", "search states", look_dead},
    {"Running statistics that do not fit: recalibration gains more than 5 points", "networks",
     look_statistics},
};

void sg_diagnose(const sg_report *report, sg_finding finding[SG_SYMPTOMS]) {
    for (int s = 0; s < SG_SYMPTOMS; s++) {
        finding[s] = (sg_finding){.symptom = symptoms[s].name, .unit = symptoms[s].unit};
        symptoms[s].look(report, &finding[s]);
    }
}

void sg_diagnosis_print(FILE *out, const sg_finding finding[SG_SYMPTOMS]) {
    for (int s = 0; s < SG_SYMPTOMS; s++) {
        const sg_finding *f = &finding[s];
        fprintf(out, "<div class=\"%s\"><b>", f->found > 0 ? "bad" : f->looked > 0 ? "fine" : "lack");
        sg_html_text(out, f->symptom);
        fputs("</b><br>", out);
        if (f->looked == 0)
            sg_html_printf(out, "There are no %s to look at.", f->unit);
        else if (f->found == 0)
            sg_html_printf(out, "Not found in %d %s.", f->looked, f->unit);
        else {
            sg_html_printf(out, "Found in %d of %d %s, as in ", f->found, f->looked, f->unit);
            fputs("<code>", out);
            sg_html_text(out, f->where);
            fputs("</code>. ", out);
            sg_html_text(out, f->advice);
        }
        fputs("</div>\n", out);
    }
}

int sg_diagnosis_count(const sg_finding finding[SG_SYMPTOMS]) {
    int count = 0;
    for (int s = 0; s < SG_SYMPTOMS; s++) count += finding[s].found > 0;
    return count;
}
