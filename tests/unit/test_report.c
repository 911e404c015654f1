/* The report: statistics of cells, texts that stay texts, and a page from made-up tables. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "pipeline/report.h"
#include "pipeline/report_figures.h"
#include "pipeline/report_html.h"
#include "pipeline/report_page.h"
#include "pipeline/report_plots.h"
#include "tests/reference/report_fixture.h"
#include "tests/reference/temporary.h"

/* Sums of a few decimals: 1e-12 is far above rounding. */
static void assert_near(double actual, double expected) {
    if (!(fabs(actual - expected) <= 1e-12 * (1.0 + fabs(expected))))
        fail_msg("expected %.17g, got %.17g", expected, actual);
}

static const sg_figure *find_figure(const sg_figures *figures, const char *id) {
    for (int i = 0; i < figures->count; i++)
        if (strcmp(figures->figure[i].id, id) == 0) return &figures->figure[i];
    fail_msg("there is no figure %s", id);
    return NULL;
}

/* ---- Tables. */

static void cells_have_mean_spread_and_standard_error(void **state) {
    (void)state;
    sg_table table = {0};
    const double y[] = {4.0, 1.0, 1.0};
    for (int i = 0; i < 3; i++) assert_ok(sg_table_add(&table, "a", 1, false, 5.0, y[i]));
    assert_ok(sg_table_group(&table));
    const sg_cell *cell = sg_series_at(sg_table_find(&table, "a"), 5.0);
    assert_non_null(cell);
    assert_int_equal(cell->n, 3);
    assert_near(cell->mean, 2.0);
    assert_near(cell->low, 1.0);
    assert_near(cell->high, 4.0);
    assert_near(cell->deviation, sqrt(3.0)); /* (4 + 1 + 1) / 2 */
    assert_near(cell->error, 1.0);
    sg_table_release(&table);
}

static void one_sample_has_no_uncertainty(void **state) {
    (void)state;
    sg_table table = {0};
    assert_ok(sg_table_add(&table, "a", 1, false, 5.0, 7.0));
    assert_ok(sg_table_group(&table));
    assert_true(isnan(table.series[0].cell[0].error));
    assert_true(isnan(table.series[0].cell[0].deviation));
    sg_table_release(&table);
}

static void cells_ascend_and_values_that_are_no_numbers_are_left_out(void **state) {
    (void)state;
    sg_table table = {0};
    assert_ok(sg_table_add(&table, "a", 1, false, 9.0, 1.0));
    assert_ok(sg_table_add(&table, "a", 1, false, 3.0, 2.0));
    assert_ok(sg_table_add(&table, "a", 1, false, 3.0, NAN));
    assert_ok(sg_table_add(&table, "b", 1, false, 3.0, INFINITY));
    assert_ok(sg_table_group(&table));
    assert_int_equal(table.count, 1);
    assert_int_equal(table.series[0].cells, 2);
    assert_near(table.series[0].cell[0].x, 3.0);
    assert_int_equal(table.series[0].cell[0].n, 1);
    sg_table_release(&table);
}

static void a_csv_quotes_labels_and_leaves_unknowns_empty(void **state) {
    (void)state;
    sg_table table = {0};
    char *text;
    size_t size;
    assert_ok(sg_table_add(&table, "a,\"b\"", 1, false, 0.5, 2.0));
    assert_ok(sg_table_add(&table, "dense", 0, true, 1.0, 3.0));
    assert_ok(sg_table_group(&table));
    FILE *out = open_memstream(&text, &size);
    sg_table_print_csv(&table, "x", out);
    fclose(out);
    assert_string_equal(text, "series,x,n,mean,low,high,standard_deviation,standard_error\n"
                              "\"a,\"\"b\"\"\",0.5,1,2,2,2,,\ndense,,1,3,3,3,,\n");
    free(text);
    sg_table_release(&table);
}

/* ---- Escaping. */

static void html_text_is_escaped(void **state) {
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    sg_html_text(out, "<a href=\"x\" b='y'>&\x01\xff\xc0\xaf\xc3\xa9\n");
    fclose(out);
    assert_string_equal(
        text, "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;\xc3\xa9\n");
    free(text);
}

static void urls_are_percent_encoded(void **state) {
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    sg_html_url(out, "a/b-c_1.h5?\"<# \xc3");
    fclose(out);
    assert_string_equal(text, "a/b-c_1.h5%3F%22%3C%23%20%C3");
    free(text);
}

static void labels_mean_nothing_to_gnuplot(void **state) {
    (void)state;
    sg_figure figure = {.id = "x", .x_label = "x", .y_label = "y"};
    char *script;
    assert_ok(sg_table_add(&figure.table, "a'; system('touch /tmp/no')\n`b`", 1, false, 1.0, 2.0));
    assert_ok(sg_table_group(&figure.table));
    assert_ok(sg_plot_script(&figure, &script));
    assert_has(script, "title 'a''; system(''touch /tmp/no'')  b '\n");
    assert_lacks(script, "`");
    free(script);
    sg_table_release(&figure.table);
}

/* ---- Figures. */

static void every_experiment_that_was_run_has_its_figures(void **state) {
    sg_figures figures;
    static const char *const ids[] = {"accuracy-1-signed",
                                      "accuracy-1-mask",
                                      "accuracy-1-search",
                                      "path-1-signed-signed-50",
                                      "path-1-signed-signed-25",
                                      "barrier-1-signed-signed",
                                      "signs-1-aws",
                                      "training-1-search",
                                      "training-1-transfer-aws",
                                      "cost-1-speed",
                                      "cost-1-wall"};
    const made_up *m = *state;
    assert_ok(sg_figures_create(&figures, &m->report));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) find_figure(&figures, ids[i]);
    for (int i = 0; i < figures.count; i++) assert_int_not_equal(figures.figure[i].section, SG_SECTION_ALPHA);
    sg_figures_destroy(&figures);
}

static void several_ranges_of_alpha_are_an_ablation(void **state) {
    made_up *m = *state;
    sg_figures figures;
    report_add_run(m, "aws", "signed", 1, 2, 0.7);
    m->row[m->report.runs - 1].alpha_low = 0.5;
    assert_ok(sg_figures_create(&figures, &m->report));
    assert_non_null(sg_table_find(&find_figure(&figures, "alpha-1-signed")->table, "aws alpha 0.5..1"));
    /* Elsewhere stands the reference range alone. */
    assert_int_equal(
        sg_series_at(sg_table_find(&find_figure(&figures, "accuracy-1-signed")->table, "aws"), 50.0)->n, 2);
    sg_figures_destroy(&figures);
}

static void a_caption_says_means_errors_and_differences(void **state) {
    const made_up *m = *state;
    sg_figures figures;
    char says[1600];
    assert_ok(sg_figures_create(&figures, &m->report));
    sg_figure_says(find_figure(&figures, "accuracy-1-signed"), says, sizeof says);
    assert_has(says, "At 25 % density: aws 80.5 \302\261 0.5 % (n = 2), lrr 60.5 \302\261 0.5 % (n = 2), "
                     "dense 91 \302\261 1 % (n = 2).");
    assert_has(says, "aws is 10.50 points below dense");
    assert_has(
        says, "aws is 20.00 points above lrr (standard error of the difference 0.71: more than two of them)");
    sg_figures_destroy(&figures);
}

static void a_path_is_read_where_it_is_highest_above_its_ends(void **state) {
    const made_up *m = *state;
    sg_figures figures;
    char says[1600];
    assert_ok(sg_figures_create(&figures, &m->report));
    sg_figure_says(find_figure(&figures, "path-1-signed-signed-25"), says, sizeof says);
    assert_has(says, "aws 1.00 points at lambda 0.5, error there 21 % (n = 1), lrr 30.00 points at lambda "
                     "0.5, error there 50 % (n = 1)");
    sg_figures_destroy(&figures);
}

static void a_caption_is_cut_where_it_does_not_fit(void **state) {
    const made_up *m = *state;
    sg_figures figures;
    char says[24];
    assert_ok(sg_figures_create(&figures, &m->report));
    sg_figure_says(find_figure(&figures, "accuracy-1-signed"), says, sizeof says);
    assert_true(strlen(says) < sizeof says);
    sg_figures_destroy(&figures);
}

/* ---- Pages. */

static void a_page_has_every_section_and_figure(void **state) {
    sg_figures figures;
    const made_up *m = *state;
    char *page = report_make_page_without_gnuplot(m), id[160];
    assert_ok(sg_figures_create(&figures, &m->report));
    for (int i = 0; i < figures.count; i++) {
        snprintf(id, sizeof id, "<figure id=\"%s\">", figures.figure[i].id);
        assert_has(page, id);
    }
    for (int s = 0; s < SG_SECTION_COUNT; s++) {
        snprintf(id, sizeof id, "<h2 id=\"%s\">", sg_section_id((enum sg_section)s));
        assert_has(page, id);
    }
    assert_has(page, "href=\"../stages/net/aws-s1/round-01/signed-s2/result.h5\"");
    sg_figures_destroy(&figures);
    free(page);
}

static void a_page_names_the_experiments_that_were_not_run(void **state) {
    char *page = report_make_page_without_gnuplot(*state);
    assert_has(page, "To fill this section, set search.alpha to a list of ranges");
    assert_has(page, "&quot;sgd-noise&quot;");
    assert_has(page, "&quot;random_signs&quot;");
    free(page);
}

static void a_page_escapes_what_others_wrote(void **state) {
    char *page = report_make_page_without_gnuplot(*state);
    assert_has(page, "diverged: &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more");
    assert_lacks(page, "<script>alert");
    assert_has(page, "Signet: a&lt;b");
    assert_has(page, "abc&lt;1&gt;");
    free(page);
}

static void a_page_without_gnuplot_says_what_to_install(void **state) {
    char *page = report_make_page_without_gnuplot(*state);
    assert_has(page, "gnuplot is not installed");
    assert_has(page, "apt install gnuplot-nox");
    assert_lacks(page, "<svg");
    free(page);
}

static void a_page_loads_nothing(void **state) {
    char *page = report_make_page_without_gnuplot(*state);
    assert_lacks(page, "src=\"");
    assert_lacks(page, "<link");
    assert_lacks(page, "href=\"http");
    assert_has(page, "default-src 'none'");
    free(page);
}

static void plots_are_drawn_with_ids_of_their_own(void **state) {
    const made_up *m = *state;
    sg_figures figures;
    char *svg;
    assert_ok(sg_figures_create(&figures, &m->report));
    int status = sg_plot_draw(find_figure(&figures, "accuracy-1-signed"), &svg);
    if (status == SG_NOINPUT) { /* no gnuplot here */
        sg_figures_destroy(&figures);
        skip();
    }
    assert_ok(status);
    assert_memory_equal(svg, "<svg", 4);
    assert_has(svg, "id='accuracy-1-signed-");
    assert_lacks(svg, "id='gp");
    assert_lacks(svg, "<?xml");
    free(svg);
    sg_figures_destroy(&figures);
}

/* ---- Files. */

static void a_report_is_written_and_old_tables_go(void **state) {
    const made_up *m = *state;
    char *dir = temporary_create();
    size_t size;
    temporary_text(dir, "report/accuracy-9-gone.csv", "old");
    temporary_text(dir, "report/mine.csv", "kept");
    assert_ok(sg_report_write(dir, &m->report));
    unsigned char *page = temporary_read(dir, "report/index.html", &size);
    assert_true(size < 5000000);
    assert_int_equal(access(temporary_path(dir, "report/accuracy-1-signed.csv"), F_OK), 0);
    assert_int_equal(access(temporary_path(dir, "report/mine.csv"), F_OK), 0);
    assert_int_not_equal(access(temporary_path(dir, "report/accuracy-9-gone.csv"), F_OK), 0);
    free(page);
    temporary_remove(&dir);
}

static void an_empty_run_has_a_page(void **state) {
    (void)state;
    made_up m = {.of_case = {"net", 10}};
    m.report = (sg_report){.name = "empty", .config_text = "", .cases = 1, .of_case = &m.of_case};
    char *page = report_make_page_without_gnuplot(&m);
    assert_has(page, "<b>0</b> of 0 stages done");
    assert_lacks(page, "<figure");
    free(page);
}

int main(void) {
#define MADE_UP(test) cmocka_unit_test_setup_teardown(test, report_make_up, report_release)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_have_mean_spread_and_standard_error),
        cmocka_unit_test(one_sample_has_no_uncertainty),
        cmocka_unit_test(cells_ascend_and_values_that_are_no_numbers_are_left_out),
        cmocka_unit_test(a_csv_quotes_labels_and_leaves_unknowns_empty),
        cmocka_unit_test(html_text_is_escaped),
        cmocka_unit_test(urls_are_percent_encoded),
        cmocka_unit_test(labels_mean_nothing_to_gnuplot),
        MADE_UP(every_experiment_that_was_run_has_its_figures),
        MADE_UP(several_ranges_of_alpha_are_an_ablation),
        MADE_UP(a_caption_says_means_errors_and_differences),
        MADE_UP(a_path_is_read_where_it_is_highest_above_its_ends),
        MADE_UP(a_caption_is_cut_where_it_does_not_fit),
        MADE_UP(a_page_has_every_section_and_figure),
        MADE_UP(a_page_names_the_experiments_that_were_not_run),
        MADE_UP(a_page_escapes_what_others_wrote),
        MADE_UP(a_page_without_gnuplot_says_what_to_install),
        MADE_UP(a_page_loads_nothing),
        MADE_UP(plots_are_drawn_with_ids_of_their_own),
        MADE_UP(a_report_is_written_and_old_tables_go),
        cmocka_unit_test(an_empty_run_has_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
