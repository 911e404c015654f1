#include "pipeline/report_gather.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"

enum { MAX_ORIGINS = 64, MAX_EPOCHS = 1000000, MAX_CONFIG = 1 << 20, MAX_REASON = 2048 };

struct sg_gather {
    const sg_run_config *config;
    const sg_plan *plan;
    sg_report_case *of_case;
    sg_report_run *run;
    sg_epoch **epoch; /* [runs] owned */
    sg_report_path *path;
    sg_report_lack *lack;
    char **why; /* [lacks] owned */
    sg_report_origin *origin;
    char *config_text;    /* owned */
    char whole[PATH_MAX]; /* the run directory's path */
    int runs, paths, lacks, origins;
};

static int allocate(sg_gather *g, const sg_plan *plan) {
    size_t stages = (size_t)plan->count;
    SG_TRY(SG_NEW(&g->of_case, (size_t)plan->cases));
    SG_TRY(SG_NEW(&g->run, stages));
    SG_TRY(SG_NEW(&g->epoch, stages));
    SG_TRY(SG_NEW(&g->path, stages));
    SG_TRY(SG_NEW(&g->lack, stages));
    SG_TRY(SG_NEW(&g->why, stages));
    SG_TRY(SG_NEW(&g->origin, MAX_ORIGINS));
    for (int c = 0; c < plan->cases; c++)
        g->of_case[c] = (sg_report_case){.name = plan->about[c].id, .classes = plan->nets[c]->classes};
    return SG_OK;
}

int sg_gather_create(sg_gather **gather, const sg_run_config *config, const sg_plan *plan) {
    SG_TRY(SG_NEW(gather, 1));
    (*gather)->config = config;
    (*gather)->plan = plan;
    int status = SG_AT(allocate(*gather, plan));
    if (status != SG_OK) sg_gather_destroy(gather);
    return status;
}

void sg_gather_destroy(sg_gather **gather) {
    sg_gather *g = *gather;
    if (g == NULL) return;
    for (int i = 0; i < g->runs; i++) free(g->epoch[i]);
    for (int i = 0; i < g->lacks; i++) free(g->why[i]);
    free(g->of_case);
    free(g->run);
    free(g->epoch);
    free(g->path);
    free(g->lack);
    free(g->why);
    free(g->origin);
    free(g->config_text);
    SG_FREE(*gather);
}

/* ---- Of each file. */

static void count_origin(sg_gather *g, const char *name, const char *value) {
    for (int i = 0; i < g->origins; i++)
        if (strcmp(g->origin[i].name, name) == 0 &&
            strncmp(g->origin[i].value, value, sizeof g->origin[i].value - 1) == 0) {
            g->origin[i].files++;
            return;
        }
    if (g->origins == MAX_ORIGINS) return;
    sg_report_origin *origin = &g->origin[g->origins++];
    snprintf(origin->name, sizeof origin->name, "%s", name);
    snprintf(origin->value, sizeof origin->value, "%s", value);
    origin->files = 1;
}

static void read_origins(sg_gather *g, const sg_h5_file *file) {
    static const char *const names[] = {"revision", "arithmetic", "isa",   "compiler", "mpi",
                                        "hdf5",     "host",       "ranks", "threads"};
    for (size_t i = 0; i < sg_h5_attributes(file); i++) {
        char value[256];
        const char *name = sg_h5_attribute_at(file, i, value, sizeof value);
        for (size_t n = 0; n < sizeof names / sizeof *names && strncmp(name, "signet.", 7) == 0; n++)
            if (strcmp(name + 7, names[n]) == 0) count_origin(g, names[n], value);
    }
}

static int read_epochs(sg_h5_file *file, sg_epoch **epoch, int *epochs) {
    const sg_h5_entry *e = sg_h5_find(file, "/metrics/epochs");
    size_t columns = sizeof(sg_epoch) / sizeof(double);
    *epochs = 0;
    if (e == NULL) return SG_OK;
    SG_CHECK(e->ndims == 2 && e->dims[0] <= MAX_EPOCHS && e->dims[1] == columns, SG_DATA,
             "/metrics/epochs is no table of epochs");
    SG_TRY(SG_NEW(epoch, e->dims[0]));
    *epochs = (int)e->dims[0];
    return SG_AT(sg_h5_read(file, e->path, SG_H5_F64, 2, e->dims, *epoch));
}

static int read_mask(sg_h5_file *file, const sg_h5_entry *entry, sg_layer_census *census) {
    unsigned char *mask;
    size_t kept = 0;
    SG_TRY(SG_NEW(&mask, entry->count));
    int status = SG_AT(sg_h5_read(file, entry->path, SG_H5_U8, entry->ndims, entry->dims, mask));
    for (size_t i = 0; status == SG_OK && i < entry->count; i++) kept += mask[i] != 0;
    free(mask);
    if (status != SG_OK || entry->count == 0) return status;
    double density = (double)kept / (double)entry->count;
    if (census->tensors++ == 0 || density < census->sparsest) census->sparsest = density;
    if (kept == 0 && census->dead++ == 0)
        snprintf(census->first_dead, sizeof census->first_dead, "%s", entry->path + strlen("/masks/"));
    return SG_OK;
}

static int read_masks(sg_h5_file *file, sg_layer_census *census) {
    for (size_t i = 0; i < sg_h5_entries(file); i++) {
        const sg_h5_entry *entry = sg_h5_entry_at(file, i);
        if (strncmp(entry->path, "/masks/", 7) == 0) SG_TRY(read_mask(file, entry, census));
    }
    return SG_OK;
}

int sg_gather_run(sg_gather *gather, const sg_plan_stage *stage, const sg_row *row, sg_h5_file *file) {
    sg_report_run *run = &gather->run[gather->runs];
    const sg_search_config *search = &gather->config->cases[stage->config].search;
    *run = (sg_report_run){.row = row, .of_case = stage->config};
    gather->runs++;
    SG_TRY(read_epochs(file, &gather->epoch[gather->runs - 1], &run->epochs));
    run->epoch = gather->epoch[gather->runs - 1];
    if (stage->kind == SG_STAGE_ROUND) {
        run->first_epoch = search->warmup_epochs + (stage->round - 1) * search->round_epochs;
        SG_TRY(read_masks(file, &run->layers));
    }
    read_origins(gather, file);
    return SG_OK;
}

int sg_gather_path(sg_gather *gather, const sg_plan_stage *stage, const sg_link *link, const sg_path *path,
                   sg_h5_file *file) {
    gather->path[gather->paths++] = (sg_report_path){.link = link, .path = path, .of_case = stage->config};
    read_origins(gather, file);
    return SG_OK;
}

/* ---- What is not done. */

static const char *reason(const char *dir, const sg_plan_stage *stage, char text[MAX_REASON]) {
    text[0] = '\0';
    if (stage->state == SG_STATE_FAILED) {
        /* The key, a newline, the reason. */
        if (sg_file_read_text(sg_stage_path(dir, stage->id, "failed").text, text, MAX_REASON) != SG_OK)
            sg_error_clear();
        const char *after = strchr(text, '\n');
        return after == NULL ? text : after + 1;
    }
    if (stage->state == SG_STATE_STALE)
        return "its result was made with other options, data or parents: signet run names the difference";
    if (stage->state == SG_STATE_ELSEWHERE) return "another part of the run computes it (--part)";
    if (stage->state == SG_STATE_BLOCKED) return "a stage that it starts from failed";
    if (stage->state == SG_STATE_PENDING &&
        access(sg_stage_path(dir, stage->id, "result.h5").text, F_OK) == 0)
        return "a result is there and is damaged: signet verify says where; signet run computes it again";
    return "";
}

static int add_lacks(sg_gather *g, const char *dir) {
    char text[MAX_REASON];
    for (int i = 0; i < g->plan->count; i++) {
        const sg_plan_stage *stage = &g->plan->stages[i];
        if (stage->state == SG_STATE_DONE) continue;
        char *why = strdup(reason(dir, stage, text));
        SG_CHECK(why != NULL, SG_NOMEM, "out of memory: the report");
        g->why[g->lacks] = why;
        g->lack[g->lacks++] = (sg_report_lack){.stage = stage->id, .why = why, .state = stage->state};
    }
    return SG_OK;
}

static int by_name(const void *a, const void *b) {
    const sg_report_origin *p = a, *q = b;
    int order = strcmp(p->name, q->name);
    return order != 0 ? order : strcmp(p->value, q->value);
}

int sg_gather_finish(sg_gather *gather, const char *dir, sg_report *report) {
    size_t bytes;
    SG_TRY(add_lacks(gather, dir));
    if (gather->origins > 0) qsort(gather->origin, (size_t)gather->origins, sizeof *gather->origin, by_name);
    int status =
        SG_AT(sg_file_read(sg_run_path(dir, "config.cfg").text, MAX_CONFIG, &gather->config_text, &bytes));
    if (status == SG_NOMEM) return status;
    if (status != SG_OK) sg_error_clear();
    const char *name = realpath(dir, gather->whole) == NULL ? dir : gather->whole, *last = strrchr(name, '/');
    *report = (sg_report){.name = last == NULL || last[1] == '\0' ? name : last + 1,
                          .config_text = gather->config_text == NULL ? "" : gather->config_text,
                          .stages = gather->plan->count,
                          .cases = gather->plan->cases,
                          .runs = gather->runs,
                          .paths = gather->paths,
                          .lacks = gather->lacks,
                          .origins = gather->origins,
                          .of_case = gather->of_case,
                          .run = gather->run,
                          .path = gather->path,
                          .lack = gather->lack,
                          .origin = gather->origin};
    return SG_OK;
}
