#include "pipeline/report.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"
#include "pipeline/report_page.h"

static int write_csv(const char *dir, const sg_figure *figure) {
    char name[160], *text = NULL;
    size_t size;
    snprintf(name, sizeof name, "report/%s.csv", figure->id);
    FILE *out = open_memstream(&text, &size);
    SG_CHECK(out != NULL, SG_NOMEM, "out of memory: %s", name);
    sg_table_print_csv(&figure->table, figure->x_label, out);
    bool failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    int status = failed ? SG_FAIL(SG_NOMEM, "out of memory: %s", name)
                        : SG_AT(sg_file_write_text(sg_run_path(dir, name).text, text));
    free(text);
    return status;
}

static bool is_plot(const sg_figures *figures, const char *name) {
    size_t length = strlen(name);
    for (int i = 0; i < figures->count; i++)
        if (strlen(figures->figure[i].id) + 4 == length &&
            strncmp(figures->figure[i].id, name, length - 4) == 0)
            return true;
    return false;
}

static bool is_ours(const char *name) {
    for (int section = 0; section < SG_SECTION_COUNT; section++) {
        const char *id = sg_section_id((enum sg_section)section);
        size_t length = strlen(id);
        if (strncmp(name, id, length) == 0 && name[length] == '-') return true;
    }
    return false;
}

/* Tables of plots that the run no longer has would be taken for its own. */
static void remove_old_csv(const char *dir, const sg_figures *figures) {
    sg_path_name report = sg_run_path(dir, "report");
    DIR *folder = opendir(report.text);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".csv") != 0) continue;
        if (is_ours(entry->d_name) && !is_plot(figures, entry->d_name))
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder != NULL) closedir(folder);
}

static int write_page(const char *dir, const sg_report *report, const sg_figures *figures) {
    char *text = NULL;
    SG_TRY(sg_page_create(&text, report, figures));
    int status = SG_AT(sg_file_write_text(sg_run_path(dir, "report/index.html").text, text));
    free(text);
    return status;
}

int sg_report_write(const char *dir, const sg_report *report) {
    sg_figures figures;
    int status = SG_AT(sg_file_make_directories(sg_run_path(dir, "report").text));
    if (status != SG_OK) return status;
    status = SG_AT(sg_figures_create(&figures, report));
    for (int i = 0; status == SG_OK && i < figures.count; i++)
        status = SG_AT(write_csv(dir, &figures.figure[i]));
    if (status == SG_OK) status = SG_AT(write_page(dir, report, &figures));
    if (status == SG_OK) remove_old_csv(dir, &figures);
    sg_figures_destroy(&figures);
    return status;
}
