#include "tests/reference/report_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/report_figures.h"
#include "pipeline/report_page.h"

void assert_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) fail_msg("\"%s\" is missing", part);
}

void assert_lacks(const char *text, const char *part) {
    if (strstr(text, part) != NULL) fail_msg("\"%s\" should not be there", part);
}

void report_add_run(made_up *m, const char *method, const char *mode, int round, int seed, double accuracy) {
    int i = m->report.runs++;
    sg_row *row = &m->row[i];
    *row = (sg_row){.alpha_low = strcmp(method, "aws") == 0 ? 0.0 : 1.0,
                    .alpha_high = 1.0,
                    .search_seed = 1,
                    .round = round,
                    .density = round < 0 ? 1.0 : pow(0.5, round),
                    .transfer_seed = seed,
                    .order_seed = seed,
                    .test_accuracy = accuracy,
                    .test_accuracy_recalibrated = accuracy,
                    .images_per_s = 100.0,
                    .wall_s = 2.0};
    snprintf(row->stage, sizeof row->stage, "net/%s-s1/round-%02d/%s-s%d", method, round, mode, seed);
    snprintf(row->kind, sizeof row->kind, "%s", mode[0] == '\0' ? "round" : "transfer");
    snprintf(row->method, sizeof row->method, "%s", method);
    snprintf(row->mode, sizeof row->mode, "%s", mode);
    for (int e = 0; e < 2; e++)
        m->epoch[i][e] = (sg_epoch){.train_accuracy = 0.5, .test_accuracy = 0.5 * accuracy * (e + 1)};
    m->run[i] = (sg_report_run){.row = row, .epoch = m->epoch[i], .epochs = 2};
    if (mode[0] == '\0') m->run[i].layers = (sg_layer_census){.tensors = 4, .sparsest = 0.1};
}

void report_add_path(made_up *m, const char *method, const char *kind, int round, double barrier) {
    int i = m->report.paths++;
    sg_link *link = &m->link[i];
    *link = (sg_link){.round = round,
                      .density = pow(0.5, round),
                      .barrier_error = barrier,
                      .search_seed = 1,
                      .alpha_low = strcmp(method, "aws") == 0 ? 0.0 : 1.0,
                      .alpha_high = 1.0};
    snprintf(link->kind, sizeof link->kind, "%s", kind);
    snprintf(link->method, sizeof link->method, "%s", method);
    snprintf(link->mode, sizeof link->mode, "signed");
    snprintf(link->stage, sizeof link->stage, "net/%s-s1/round-%02d/connect/%s", method, round, kind);
    for (int k = 0; k < POINTS; k++) m->point[i][k] = (sg_point){0.5 * k, k == 1 ? 0.2 + barrier : 0.2, 1.0};
    m->path[i] = (sg_path){.points = POINTS, .done = POINTS, .point = m->point[i]};
    m->report_path[i] = (sg_report_path){.link = link, .path = &m->path[i]};
}

int report_make_up(void **state) {
    made_up *m = calloc(1, sizeof *m);
    if (m == NULL) return -1;
    m->of_case = (sg_report_case){"net", 10};
    for (int round = 1; round <= 2; round++) {
        report_add_run(m, "aws", "", round, -1, 0.80);
        report_add_run(m, "lrr", "", round, -1, 0.82);
        for (int seed = 2; seed <= 3; seed++) {
            report_add_run(m, "aws", "signed", round, seed, 0.80 + 0.01 * (seed - 2));
            report_add_run(m, "lrr", "signed", round, seed, 0.60 + 0.01 * (seed - 2));
            report_add_run(m, "aws", "mask", round, seed, 0.55);
        }
        report_add_path(m, "aws", "signed-signed", round, 0.01);
        report_add_path(m, "lrr", "signed-signed", round, 0.30);
    }
    report_add_run(m, "", "dense", -1, 2, 0.90);
    report_add_run(m, "", "dense", -1, 3, 0.92);
    m->lack = (sg_report_lack){"net/imp-s1/round-01", "diverged: <script>alert('x')</script> & more",
                               SG_STATE_FAILED};
    snprintf(m->origin.name, sizeof m->origin.name, "revision");
    snprintf(m->origin.value, sizeof m->origin.value, "abc<1>");
    m->origin.files = 3;
    m->report.name = "a<b";
    m->report.config_text = "net = { arch = \"mlp\"; }; # <&>";
    m->report.stages = m->report.runs + m->report.paths + 1;
    m->report.cases = m->report.lacks = m->report.origins = 1;
    m->report.of_case = &m->of_case;
    m->report.run = m->run;
    m->report.path = m->report_path;
    m->report.lack = &m->lack;
    m->report.origin = &m->origin;
    *state = m;
    return 0;
}

int report_release(void **state) {
    free(*state);
    return 0;
}

static char *make_page(const made_up *m) {
    sg_figures figures;
    char *page;
    assert_ok(sg_figures_create(&figures, &m->report));
    assert_ok(sg_page_create(&page, &m->report, &figures));
    sg_figures_destroy(&figures);
    return page;
}

char *report_make_page_without_gnuplot(const made_up *m) {
    char *path = strdup(getenv("PATH") == NULL ? "" : getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    char *page = make_page(m);
    setenv("PATH", path, 1);
    free(path);
    return page;
}
