#include "pipeline/report_page.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/report_diagnosis.h"
#include "pipeline/report_html.h"
#include "pipeline/report_plots.h"

/* After so many a gnuplot that fails or hangs is not asked again. */
enum { PLOT_FAILURES = 3 };

typedef struct page {
    FILE *out;
    char *text;
    size_t bytes; /* as of the last flush */
    const sg_report *report;
    const sg_figures *figures;
    sg_finding finding[SG_SYMPTOMS];
    int drawn, failed;
    char no_plots[300]; /* why no plot is tried any more; "": they are */
} page;

static bool has_room(page *p, size_t bytes) {
    fflush(p->out);
    return p->bytes + bytes < SG_PAGE_BYTES;
}

/* ---- Head. */

static int count_lacks(const sg_report *r, enum sg_stage_state state) {
    int count = 0;
    for (int i = 0; i < r->lacks; i++) count += r->lack[i].state == state;
    return count;
}

/* The answer, before anything else. */
static void print_verdict(page *p) {
    char verdict[1200];
    for (int c = 0; c < p->report->cases; c++) {
        bool won = sg_figures_verdict(p->figures, c, p->report->of_case[c].classes, verdict, sizeof verdict);
        fprintf(p->out, "<p class=\"verdict %s\">", won ? "won" : "open");
        if (p->report->cases > 1) {
            fputs("<code>", p->out);
            sg_html_text(p->out, p->report->of_case[c].name);
            fputs("</code>: ", p->out);
        }
        sg_html_text(p->out, verdict);
        fputs("</p>\n", p->out);
    }
}

static void print_head(page *p) {
    const sg_report *r = p->report;
    int found = sg_diagnosis_count(p->finding), failed = count_lacks(r, SG_STATE_FAILED);
    char title[160];
    snprintf(title, sizeof title, "Signet: %.120s", r->name);
    sg_html_head(p->out, title);
    fputs("<h1>", p->out);
    sg_html_text(p->out, title);
    fputs("</h1>\n", p->out);
    print_verdict(p);
    fprintf(p->out,
            "<ul class=\"facts\">\n<li><b>%d</b> of %d stages done</li><li><b>%d</b> trained "
            "networks</li><li><b>%d</b> paths</li>"
            "<li><b>%d</b> failed</li><li><b>%d</b> symptom%s</li>\n</ul>\n<nav>",
            r->stages - r->lacks, r->stages, r->runs, r->paths, failed, found, found == 1 ? "" : "s");
    fputs("<a href=\"#diagnosis\">Diagnosis</a>", p->out);
    for (int s = 0; s < SG_SECTION_COUNT; s++)
        fprintf(p->out, "<a href=\"#%s\">%s</a>", sg_section_id((enum sg_section)s),
                sg_section_title((enum sg_section)s));
    fputs("<a href=\"#runs\">All runs</a><a href=\"#provenance\">Provenance</a></nav>\n"
          "<p>Points are means over seeds and data orders, bars reach from the lowest to the highest value, "
          "\302\261 is the standard "
          "error of the mean and n the number of networks or paths. Accuracy is with recalibrated running "
          "statistics where the "
          "network has any. Dashed black is dense, its range shaded. Series at one density stand a little "
          "apart. Each plot's numbers stand in the CSV file below it.</p>\n",
          p->out);
}

/* ---- What is not there. */

static void print_lacks(page *p) {
    const sg_report *r = p->report;
    if (r->lacks == 0) {
        fputs("<p>Every stage that the configuration asks for is done.</p>\n", p->out);
        return;
    }
    bool pressing = count_lacks(r, SG_STATE_FAILED) + count_lacks(r, SG_STATE_STALE) > 0;
    fprintf(p->out,
            "<details id=\"lacks\"%s><summary>Stages that are not done: %d (%d failed, %d stale, %d pending, "
            "%d blocked)"
            "</summary>\n<div class=\"box\"><table class=\"sort\"><thead><tr><th>state</th>"
            "<th>stage</th><th>why</th></tr></thead><tbody>\n",
            pressing ? " open" : "", r->lacks, count_lacks(r, SG_STATE_FAILED),
            count_lacks(r, SG_STATE_STALE), count_lacks(r, SG_STATE_PENDING),
            count_lacks(r, SG_STATE_BLOCKED));
    /* Failed and stale stages first: pending ones may be thousands. */
    int shown = 0;
    for (int waiting = 0; waiting < 2; waiting++)
        for (int i = 0; i < r->lacks && shown < SG_PAGE_LACKS; i++) {
            const sg_report_lack *lack = &r->lack[i];
            bool waits = lack->state == SG_STATE_PENDING || lack->state == SG_STATE_BLOCKED ||
                         lack->state == SG_STATE_RUNNING || lack->state == SG_STATE_ELSEWHERE;
            if (waits != (waiting == 1)) continue;
            shown++;
            fprintf(p->out, "<tr><td>%s</td><td>", sg_stage_state_name(lack->state));
            sg_html_text(p->out, lack->stage);
            fputs("</td><td class=\"w\">", p->out);
            sg_html_printf(p->out, "%.1000s", lack->why);
            fputs("</td></tr>\n", p->out);
        }
    fputs("</tbody></table></div>\n", p->out);
    if (shown < r->lacks) fprintf(p->out, "<p>... and %d more.</p>\n", r->lacks - shown);
    fputs("</details>\n", p->out);
}

static void print_diagnosis(page *p) {
    fputs("<h2 id=\"diagnosis\">Diagnosis</h2>\n", p->out);
    sg_diagnosis_print(p->out, p->finding);
    print_lacks(p);
}

/* ---- Plots. */

static int draw(page *p, const sg_figure *figure) {
    char *svg;
    if (p->no_plots[0] != '\0') return SG_OK;
    if (p->drawn >= SG_PAGE_PLOTS || !has_room(p, 400000)) {
        fputs("<p class=\"lack\">Not drawn: the page is full. Its numbers are in the CSV file.</p>", p->out);
        return SG_OK;
    }
    p->drawn++;
    int status = sg_plot_draw(figure, &svg);
    if (status == SG_NOMEM) return SG_AT(status);
    if (status != SG_OK) {
        p->failed++;
        fputs("<p class=\"lack\">Not drawn: ", p->out);
        sg_html_text(p->out, sg_error_message());
        fputs("</p>", p->out);
        if (status == SG_NOINPUT || p->failed == PLOT_FAILURES)
            snprintf(p->no_plots, sizeof p->no_plots, "%s", sg_error_message());
        sg_error_clear();
        return SG_OK;
    }
    fputs("<div role=\"img\" aria-label=\"", p->out);
    sg_html_text(p->out, figure->title);
    fputs("\">", p->out);
    fputs(svg, p->out);
    fputs("</div>", p->out);
    free(svg);
    return SG_OK;
}

static int print_figure(page *p, const sg_figure *figure) {
    char says[1600];
    sg_figure_says(figure, says, sizeof says);
    fprintf(p->out, "<figure id=\"%s\">", figure->id);
    SG_TRY(draw(p, figure));
    fputs("<figcaption><b>", p->out);
    sg_html_text(p->out, figure->title);
    fputs("</b>", p->out);
    sg_html_text(p->out, says);
    fprintf(p->out, " <a href=\"%s.csv\">CSV</a></figcaption></figure>\n", figure->id);
    return SG_OK;
}

/* One line for the experiments of a section that were not run. */
static void print_missing(page *p, enum sg_section section, bool any) {
    char missing[256] = "";
    size_t used = 0;
    bool by_pair = section == SG_SECTION_PATHS || section == SG_SECTION_BARRIERS,
         by_mode = section == SG_SECTION_ACCURACY;
    const char *const *names = by_pair ? sg_pair_names : sg_mode_names;
    for (int n = 0; any && (by_pair || by_mode) && names[n] != NULL; n++) {
        bool there = false;
        for (int i = 0; by_pair && i < p->report->paths; i++)
            there |= strcmp(p->report->path[i].link->kind, names[n]) == 0;
        for (int i = 0; by_mode && i < p->report->runs; i++)
            there |= strcmp(p->report->run[i].row->mode, names[n]) == 0;
        if (there || used >= sizeof missing) continue;
        used += (size_t)snprintf(missing + used, sizeof missing - used, "%s\"%s\"", used == 0 ? "" : ", ",
                                 names[n]);
    }
    if (any && missing[0] == '\0') return;
    fputs("<p class=\"lack\">", p->out);
    if (any)
        sg_html_printf(p->out, "Not run, or not finished: %s. To have them, add them to %s.", missing,
                       by_pair ? "connect.pairs (and their modes to transfer.modes)" : "transfer.modes");
    else
        sg_html_printf(p->out, "Not run, or not finished. To fill this section, %s.",
                       sg_section_remedy(section));
    fputs("</p>\n", p->out);
}

static int print_section(page *p, enum sg_section section) {
    bool any = false;
    fprintf(p->out, "<h2 id=\"%s\">%s</h2>\n<p>", sg_section_id(section), sg_section_title(section));
    sg_html_text(p->out, sg_section_asks(section));
    fputs("</p>\n<div class=\"plots\">\n", p->out);
    for (int i = 0; i < p->figures->count; i++) {
        if (p->figures->figure[i].section != section) continue;
        any = true;
        SG_TRY(print_figure(p, &p->figures->figure[i]));
    }
    fputs("</div>\n", p->out);
    print_missing(p, section, any);
    return SG_OK;
}

static int print_plots(page *p) {
    for (int s = 0; s < SG_SECTION_COUNT; s++) SG_TRY(print_section(p, (enum sg_section)s));
    if (p->no_plots[0] == '\0') return SG_OK;
    fputs("<p class=\"bad\" id=\"no-plots\">", p->out);
    sg_html_printf(
        p->out,
        "Plots are missing: %s. Install gnuplot 5 or newer (Debian and Ubuntu: apt install gnuplot-nox; "
        "clusters: "
        "module load gnuplot) and run signet collect again. All numbers are here and in the CSV files.",
        p->no_plots);
    fputs("</p>\n", p->out);
    return SG_OK;
}

/* ---- Tables. */

static void text_cell(FILE *out, const char *text) {
    fputs("<td>", out);
    sg_html_text(out, text);
    fputs("</td>", out);
}

static void number_cell(FILE *out, double value, int decimals) {
    if (isfinite(value))
        fprintf(out, "<td class=\"n\" data-v=\"%.9g\">%.*f</td>", value, decimals, value);
    else
        fputs("<td class=\"n\"></td>", out);
}

static void whole_cell(FILE *out, int64_t value) { number_cell(out, value < 0 ? NAN : (double)value, 0); }

static void alpha_cell(FILE *out, const char *method, double low, double high) {
    if (method[0] == '\0')
        fputs("<td></td>", out);
    else
        fprintf(out, "<td>%g..%g</td>", low, high);
}

static void file_cell(FILE *out, const char *stage) {
    fputs("<td><a href=\"../stages/", out);
    sg_html_url(out, stage);
    fputs("/result.h5\">", out);
    sg_html_text(out, stage);
    fputs("</a></td>", out);
}

/* kinds: a letter per column; n: numbers, sorted as such. */
static void print_head_row(FILE *out, const char *const *name, const char *kinds) {
    fputs("<div class=\"box\"><table class=\"sort\"><thead><tr>", out);
    for (int i = 0; name[i] != NULL; i++)
        fprintf(out, "<th%s>%s</th>", kinds[i] == 'n' ? " class=\"n\"" : "", name[i]);
    fputs("</tr></thead><tbody>\n", out);
}

static void end_table(page *p, int left, const char *file) {
    fputs("</tbody></table></div>\n", p->out);
    if (left > 0) fprintf(p->out, "<p>%d more rows are in <a href=\"../%s\">%s</a>.</p>\n", left, file, file);
}

static void print_runs(page *p) {
    static const char *const names[] = {"file",
                                        "kind",
                                        "method",
                                        "alpha",
                                        "mode",
                                        "density %",
                                        "accuracy %",
                                        "recalibrated %",
                                        "test loss",
                                        "sign flips",
                                        "negative gammas",
                                        "search seed",
                                        "transfer seed",
                                        "order seed",
                                        "dead layers",
                                        "smallest layer density %",
                                        "images/s",
                                        "wall s",
                                        NULL};
    FILE *out = p->out;
    int i;
    fputs("<h2 id=\"runs\">All runs</h2>\n<p>A row per trained network; a click on a column's name sorts by "
          "it. Each file holds its "
          "own resolved configuration, revision and arithmetic: <code>signet inspect FILE</code>.</p>\n",
          out);
    print_head_row(out, names, "tttttnnnnnnnnnnnnn");
    for (i = 0; i < p->report->runs && (i % 16 != 0 || has_room(p, 1000000)); i++) {
        const sg_report_run *run = &p->report->run[i];
        const sg_row *row = run->row;
        fputs("<tr>", out);
        file_cell(out, row->stage);
        text_cell(out, row->kind);
        text_cell(out, row->method);
        alpha_cell(out, row->method, row->alpha_low, row->alpha_high);
        text_cell(out, row->mode);
        number_cell(out, 100.0 * row->density, 2);
        number_cell(out, 100.0 * row->test_accuracy, 2);
        number_cell(out, 100.0 * row->test_accuracy_recalibrated, 2);
        number_cell(out, row->test_loss, 4);
        whole_cell(out, row->sign_flips);
        whole_cell(out, row->negative_gammas);
        whole_cell(out, row->search_seed);
        whole_cell(out, row->transfer_seed);
        whole_cell(out, row->order_seed);
        whole_cell(out, run->layers.tensors > 0 ? run->layers.dead : -1);
        number_cell(out, run->layers.tensors > 0 ? 100.0 * run->layers.sparsest : NAN, 2);
        number_cell(out, row->images_per_s, 0);
        number_cell(out, row->wall_s, 1);
        fputs("</tr>\n", out);
    }
    end_table(p, p->report->runs - i, "results.csv");
}

static void print_links(page *p) {
    static const char *const names[] = {
        "file",         "pair",        "method",      "alpha", "mode", "density %", "error barrier (points)",
        "loss barrier", "network one", "network two", NULL};
    FILE *out = p->out;
    int i;
    fputs("<h3>All paths</h3>\n", out);
    print_head_row(out, names, "tttttnnntt");
    for (i = 0; i < p->report->paths && (i % 16 != 0 || has_room(p, 400000)); i++) {
        const sg_link *link = p->report->path[i].link;
        fputs("<tr>", out);
        file_cell(out, link->stage);
        text_cell(out, link->kind);
        text_cell(out, link->method);
        alpha_cell(out, link->method, link->alpha_low, link->alpha_high);
        text_cell(out, link->mode);
        number_cell(out, 100.0 * link->density, 2);
        number_cell(out, 100.0 * link->barrier_error, 2);
        number_cell(out, link->barrier_loss, 4);
        text_cell(out, link->a);
        text_cell(out, link->b);
        fputs("</tr>\n", out);
    }
    end_table(p, p->report->paths - i, "connectivity.csv");
}

static void print_provenance(page *p) {
    const sg_report *r = p->report;
    fputs("<h2 id=\"provenance\">Provenance</h2>\n<div "
          "class=\"box\"><table><thead><tr><th>what</th><th>value</th>"
          "<th class=\"n\">files</th></tr></thead><tbody>\n",
          p->out);
    for (int i = 0; i < r->origins; i++) {
        fputs("<tr>", p->out);
        text_cell(p->out, r->origin[i].name);
        text_cell(p->out, r->origin[i].value);
        fprintf(p->out, "<td class=\"n\">%d</td></tr>\n", r->origin[i].files);
    }
    fputs("</tbody></table></div>\n<details><summary>Resolved configuration</summary><pre>", p->out);
    sg_html_printf(p->out, "%.100000s", r->config_text);
    fputs("</pre></details>\n<p>Tables for programs: <a href=\"../results.csv\">results.csv</a>, "
          "<a href=\"../connectivity.csv\">connectivity.csv</a>, <a href=\"../curves.csv\">curves.csv</a>, "
          "<a href=\"../results.h5\">results.h5</a>, <a href=\"../config.cfg\">config.cfg</a>, "
          "<a href=\"../log.jsonl\">log.jsonl</a>.</p>\n",
          p->out);
}

int sg_page_create(char **text, const sg_report *report, const sg_figures *figures) {
    page p = {.report = report, .figures = figures};
    *text = NULL;
    p.out = open_memstream(&p.text, &p.bytes);
    SG_CHECK(p.out != NULL, SG_NOMEM, "out of memory: the report's page");
    sg_diagnose(report, p.finding);
    print_head(&p);
    print_diagnosis(&p);
    int status = SG_AT(print_plots(&p));
    print_runs(&p);
    print_links(&p);
    print_provenance(&p);
    sg_html_foot(p.out);
    bool failed = ferror(p.out) != 0;
    failed |= fclose(p.out) != 0;
    if (status == SG_OK && failed) status = SG_FAIL(SG_NOMEM, "out of memory: the report's page");
    if (status == SG_OK)
        *text = p.text;
    else
        free(p.text);
    return status;
}
