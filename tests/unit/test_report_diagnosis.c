/* What the report concludes from a run's numbers: symptoms, and the verdict. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/report_diagnosis.h"
#include "pipeline/report_figures.h"
#include "tests/reference/report_fixture.h"

static char *diagnose(const made_up *m) {
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    sg_finding finding[SG_SYMPTOMS];
    sg_diagnose(&m->report, finding);
    sg_diagnosis_print(out, finding);
    fclose(out);
    return text;
}

static void signs_that_need_their_norms_are_named(void **state) {
    char *text = diagnose(*state);
    assert_has(text, "Found in 4 of 8 signed transfers");
    assert_has(text, "were not interpolated in this search");
    free(text);
}

static void a_high_barrier_between_seeds_is_named(void **state) {
    char *text = diagnose(*state);
    assert_has(text, "Found in 2 of 4 paths, as in <code>net/lrr-s1/");
    assert_has(text, "There are no paths to look at."); /* under SGD noise */
    free(text);
}

static void dead_layers_are_named(void **state) {
    made_up *m = *state;
    m->run[0].layers.dead = 1;
    snprintf(m->run[0].layers.first_dead, sizeof m->run[0].layers.first_dead, "layer3.conv2.weight");
    char *text = diagnose(m);
    assert_has(text, "1 of 4 tensors without a weight, layer3.conv2.weight first");
    free(text);
}

/* What was found of the symptom whose name begins so. */
static sg_finding find_symptom(const made_up *m, const char *symptom) {
    sg_finding finding[SG_SYMPTOMS];
    sg_diagnose(&m->report, finding);
    for (int s = 0; s < SG_SYMPTOMS; s++)
        if (strncmp(finding[s].symptom, symptom, strlen(symptom)) == 0) return finding[s];
    fail_msg("there is no symptom %s", symptom);
    return finding[0];
}

static sg_report_run *last_run(made_up *m) { return &m->run[m->report.runs - 1]; }
static sg_row *last_row(made_up *m) { return &m->row[m->report.runs - 1]; }

static void set_accuracy(sg_row *row, double accuracy) {
    row->test_accuracy = row->test_accuracy_recalibrated = accuracy;
}

static void dead_layers_are_found_in_the_worst_network(void **state) {
    made_up *m = *state;
    assert_int_equal(find_symptom(m, "Dead").found, 0);
    m->run[0].layers.dead = 1;
    m->run[1].layers.dead = 3;
    sg_finding f = find_symptom(m, "Dead");
    assert_int_equal(f.found, 2);
    assert_string_equal(f.where, m->row[1].stage);
}

static void guessing_is_told_from_few_classes(void **state) {
    made_up *m = *state;
    assert_int_equal(find_symptom(m, "Accuracy").found, 0);
    set_accuracy(last_row(m), 0.12);
    sg_finding f = find_symptom(m, "Accuracy");
    assert_int_equal(f.found, 1);
    assert_has(f.advice, "12.00 % with 10 classes");
    set_accuracy(last_row(m), 0.14);
    assert_int_equal(find_symptom(m, "Accuracy").found, 0);
    m->of_case.classes = 2; /* 60 % of two classes is no guess, 51 % is */
    for (int i = 0; i < m->report.runs; i++) set_accuracy(&m->row[i], 0.60);
    assert_int_equal(find_symptom(m, "Accuracy").found, 0);
    set_accuracy(last_row(m), 0.51);
    assert_int_equal(find_symptom(m, "Accuracy").found, 1);
    m->of_case.classes = 1; /* there is nothing to guess */
    assert_int_equal(find_symptom(m, "Accuracy").looked, 0);
}

static void an_accuracy_that_is_no_number_is_no_guess(void **state) {
    made_up *m = *state;
    int looked = find_symptom(m, "Accuracy").looked;
    set_accuracy(last_row(m), NAN);
    assert_int_equal(find_symptom(m, "Accuracy").looked, looked - 1);
    assert_int_equal(find_symptom(m, "Accuracy").found, 0);
}

static void unfit_statistics_are_found_and_explained(void **state) {
    made_up *m = *state;
    assert_int_equal(find_symptom(m, "Running").found, 0);
    m->row[0].test_accuracy = 0.2; /* of an aws search */
    assert_has(find_symptom(m, "Running").advice, "60.0 points. There alpha was random");
    m->row[0].test_accuracy = 0.8;
    last_row(m)->test_accuracy = 0.5;
    assert_has(find_symptom(m, "Running").advice, "There alpha was fixed");
}

static void barriers_under_noise_are_found_apart_from_those_between_seeds(void **state) {
    made_up *m = *state;
    assert_int_equal(find_symptom(m, "Barrier above 5 points under").looked, 0);
    report_add_path(m, "aws", "sgd-noise", 1, 0.01);
    assert_int_equal(find_symptom(m, "Barrier above 5 points under").found, 0);
    report_add_path(m, "aws", "sgd-noise", 2, 0.20);
    sg_finding f = find_symptom(m, "Barrier above 5 points under");
    assert_int_equal(f.found, 1);
    assert_has(f.advice, "20.0 points");
    assert_int_equal(find_symptom(m, "Barrier above 5 points between").found, 2);
}

static void signs_of_a_plain_network_that_do_not_transfer_are_the_known_failure(void **state) {
    made_up *m = *state;
    assert_int_equal(find_symptom(m, "VGG").looked, 0);
    for (int i = 0; i < m->report.runs; i++) snprintf(m->row[i].arch, sizeof m->row[i].arch, "vgg11_bn");
    assert_int_equal(find_symptom(m, "VGG").looked, 4); /* of aws; lrr has no norms that could have helped */
    assert_int_equal(find_symptom(m, "VGG").found, 0);
    for (int i = 0; i < m->report.runs; i++)
        if (strcmp(m->row[i].mode, "signed") == 0 && m->row[i].round == 2) set_accuracy(&m->row[i], 0.3);
    sg_finding f = find_symptom(m, "VGG");
    assert_int_equal(f.found, 2);
    assert_has(f.advice, "50.0 points below in spite of interpolated norms");
}

static void rounds_that_lost_their_way_are_diverged(void **state) {
    made_up *m = *state;
    assert_int_equal(find_symptom(m, "Diverged").found, 1); /* the failed one */
    m->report.lacks = 0;
    assert_int_equal(find_symptom(m, "Diverged").found, 0);
    report_add_run(m, "aws", "", 3, -1, 0.35); /* less than half of the round before */
    assert_has(find_symptom(m, "Diverged").advice, "lost 45.0 points on the round before");
    set_accuracy(last_row(m), 0.75);
    assert_int_equal(find_symptom(m, "Diverged").found, 0);
    m->epoch[m->report.runs - 1][0].train_loss = 0.5;
    m->epoch[m->report.runs - 1][1].train_loss = 2.0;
    assert_has(find_symptom(m, "Diverged").advice, "ended at 4.0 times that of its first epoch");
    last_run(m)->epochs = 1;
    assert_int_equal(find_symptom(m, "Diverged").found, 0);
}

static void failed_stages_are_quoted(void **state) {
    made_up *m = *state;
    sg_finding f = find_symptom(m, "Failed");
    assert_int_equal(f.found, 1);
    assert_string_equal(f.where, "net/imp-s1/round-01");
    assert_has(f.advice, "It says: diverged");
    m->lack.state = SG_STATE_PENDING;
    assert_int_equal(find_symptom(m, "Failed").found, 0);
}

static void signs_that_transfer_are_no_symptom(void **state) {
    made_up *m = *state;
    for (int i = 0; i < m->report.runs; i++)
        if (strcmp(m->row[i].mode, "signed") == 0) set_accuracy(&m->row[i], 0.815);
    sg_finding f = find_symptom(m, "Signed");
    assert_int_equal(f.looked, 8);
    assert_int_equal(f.found, 0);
}

static void what_is_fine_is_said_to_be(void **state) {
    made_up *m = *state;
    m->report.lacks = 0;
    char *text = diagnose(m);
    assert_has(text, "<b>Failed stages</b><br>Not found in ");
    free(text);
}

/* ---- The verdict. */

static bool judge(const made_up *m, char *text, size_t size) {
    sg_figures figures;
    assert_ok(sg_figures_create(&figures, &m->report));
    bool won = sg_figures_verdict(&figures, 0, m->of_case.classes, text, size);
    sg_figures_destroy(&figures);
    return won;
}

static void signs_that_fall_short_are_said_to(void **state) {
    char text[1200];
    assert_false(judge(*state, text, sizeof text));
    assert_has(text, "Signs fall short at every density measured: at the closest, 25 %, signed networks of "
                     "aws are 10.50 points below dense ones (80.5 \302\261 0.5 %, n = 2; dense 91 \302\261 1 "
                     "%, n = 2; two standard errors of the difference are 2.2)");
    assert_has(text, "There they are 20.00 points above signed networks of lrr (standard error 0.71).");
}

static void the_sparsest_density_that_matches_dense_wins(void **state) {
    made_up *m = *state;
    char text[1200];
    for (int i = 0; i < m->report.runs; i++)
        if (strcmp(m->row[i].mode, "signed") == 0 && strcmp(m->row[i].method, "aws") == 0)
            m->row[i].test_accuracy_recalibrated += 0.10;
    report_add_run(m, "aws", "signed", 3, 2, 0.70);
    report_add_run(m, "aws", "signed", 3, 3, 0.71);
    assert_true(judge(m, text, sizeof text));
    assert_has(text, "Signs win: signed networks of aws reach dense ones down to 25 % density (90.5");
}

static void a_single_network_has_no_uncertainty_and_none_no_verdict(void **state) {
    made_up *m = *state;
    char text[1200];
    report_add_run(m, "aws", "signed", 3, 2, 0.95);
    assert_true(judge(m, text, sizeof text));
    assert_has(text, "one network on a side, so no uncertainty");
    for (int i = 0; i < m->report.runs; i++)
        if (strcmp(m->row[i].mode, "dense") == 0) set_accuracy(&m->row[i], 0.11);
    assert_false(judge(m, text, sizeof text));
    assert_has(text, "do no better than guessing (11 ");
    m->report.runs = 1;
    assert_false(judge(m, text, sizeof text));
    assert_has(text, "No verdict yet");
    char *page = report_make_page_without_gnuplot(m);
    assert_has(page, "class=\"verdict open\"");
    free(page);
}

int main(void) {
#define MADE_UP(test) cmocka_unit_test_setup_teardown(test, report_make_up, report_release)
    const struct CMUnitTest tests[] = {
        MADE_UP(signs_that_need_their_norms_are_named),
        MADE_UP(a_high_barrier_between_seeds_is_named),
        MADE_UP(dead_layers_are_named),
        MADE_UP(dead_layers_are_found_in_the_worst_network),
        MADE_UP(guessing_is_told_from_few_classes),
        MADE_UP(an_accuracy_that_is_no_number_is_no_guess),
        MADE_UP(unfit_statistics_are_found_and_explained),
        MADE_UP(barriers_under_noise_are_found_apart_from_those_between_seeds),
        MADE_UP(signs_of_a_plain_network_that_do_not_transfer_are_the_known_failure),
        MADE_UP(rounds_that_lost_their_way_are_diverged),
        MADE_UP(failed_stages_are_quoted),
        MADE_UP(signs_that_transfer_are_no_symptom),
        MADE_UP(what_is_fine_is_said_to_be),
        MADE_UP(signs_that_fall_short_are_said_to),
        MADE_UP(the_sparsest_density_that_matches_dense_wins),
        MADE_UP(a_single_network_has_no_uncertainty_and_none_no_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
