#include "pipeline/scan.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/memory.h"
#include "kernels/text.h"
#include "pipeline/h5.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"

enum { NOTE = 4096 };

static int note(sg_found *found, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int note(sg_found *found, const char *format, ...) {
    char text[NOTE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sg_text_make_plain(text);
    free(found->note);
    found->note = strdup(text);
    SG_CHECK(found->note != NULL, SG_NOMEM, "out of memory: notes on stages");
    return SG_OK;
}

/* The parents that the result was made from must be those that are there now. */
static int check_parents(const sg_plan *plan, const sg_plan_stage *stage, const sg_h5_file *file,
                         const sg_found *all, sg_found *own, bool *same) {
    *same = true;
    for (int i = 0; i < stage->parent_count; i++) {
        char name[40];
        const char *then;
        const char *today = all[stage->parents[i]].digest;
        if (plan->stages[stage->parents[i]].state == SG_STATE_STALE) {
            *same = false;
            return note(own, "parent %s: stale", plan->stages[stage->parents[i]].id);
        }
        snprintf(name, sizeof name, "parent.%d.digest", i);
        if (today[0] == '\0' || !sg_h5_has(file, name)) continue;
        SG_TRY(sg_h5_get_text(file, name, &then));
        if (strcmp(then, today) == 0) continue;
        *same = false;
        return note(own, "parent %s: result %s -> %s", plan->stages[stage->parents[i]].id, then, today);
    }
    return SG_OK;
}

static int read_result(const sg_plan *plan, sg_plan_stage *stage, const sg_h5_file *file, const sg_found *all,
                       sg_found *own) {
    const char *key, *key_text, *digest;
    SG_TRY(sg_h5_get_text(file, "key", &key));
    SG_TRY(sg_h5_get_text(file, "key_text", &key_text));
    SG_TRY(sg_h5_get_text(file, "digest", &digest));
    if (strcmp(key, stage->key) != 0) {
        char changed[NOTE];
        sg_plan_diff(key_text, stage->key_text, changed, sizeof changed);
        stage->state = SG_STATE_STALE;
        return note(own, "%s", changed);
    }
    bool same;
    SG_TRY(check_parents(plan, stage, file, all, own, &same));
    stage->state = same ? SG_STATE_DONE : SG_STATE_STALE;
    if (same) snprintf(own->digest, sizeof own->digest, "%s", digest);
    return SG_OK;
}

/* DIR/stages/<id>/failed holds the key, a newline, the reason; another key means that the cause has changed.
 */
static int read_failure(const char *dir, sg_plan_stage *stage, sg_found *own) {
    char text[NOTE];
    size_t key = strlen(stage->key);
    if (sg_file_read_text(sg_stage_path(dir, stage->id, "failed").text, text, sizeof text) != SG_OK) {
        sg_error_clear();
        return SG_OK;
    }
    if (strncmp(text, stage->key, key) != 0 || text[key] != '\n') return SG_OK;
    stage->state = SG_STATE_FAILED;
    return note(own, "%s", text + key + 1);
}

static struct sg_file_identity identify(const char *path) {
    struct stat file;
    if (stat(path, &file) != 0) return (struct sg_file_identity){0};
    return (struct sg_file_identity){file.st_ino, file.st_size, file.st_mtim};
}

static bool is_same_file(const struct sg_file_identity *a, const struct sg_file_identity *b) {
    return a->inode == b->inode && a->bytes == b->bytes && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec;
}

static int scan_stage(const char *dir, const sg_plan *plan, sg_plan_stage *stage, const sg_found *all,
                      sg_found *own) {
    sg_path_name path = sg_stage_path(dir, stage->id, "result.h5");
    sg_h5_file *file;
    struct sg_file_identity identity = identify(path.text);
    if (stage->state == SG_STATE_DONE && is_same_file(&identity, &own->file)) return SG_OK;
    free(own->note);
    *own = (sg_found){.file = identity};
    stage->state = SG_STATE_PENDING;
    int status = sg_h5_open(&file, path.text, NULL);
    if (status == SG_NOINPUT) {
        sg_error_clear();
        return read_failure(dir, stage, own);
    }
    if (status == SG_OK) {
        status = read_result(plan, stage, file, all, own);
        sg_h5_close(&file);
    }
    if (status != SG_DATA) return status;
    own->damaged = true;
    status = note(own, "%s", sg_error_message());
    sg_error_clear();
    return status;
}

int sg_scan(const char *dir, sg_plan *plan, sg_found **found) {
    bool first = *found == NULL;
    if (first) SG_TRY(SG_NEW(found, (size_t)plan->count));
    for (int i = 0; i < plan->count; i++) {
        if (first) plan->stages[i].state = SG_STATE_PENDING;
        SG_TRY(scan_stage(dir, plan, &plan->stages[i], *found, &(*found)[i]));
    }
    sg_scan_block(plan);
    return SG_OK;
}

void sg_scan_free(sg_found **found, int count) {
    for (int i = 0; *found != NULL && i < count; i++) free((*found)[i].note);
    SG_FREE(*found);
}

void sg_scan_block(sg_plan *plan) {
    for (int i = 0; i < plan->count; i++) {
        sg_plan_stage *stage = &plan->stages[i];
        for (int k = 0; k < stage->parent_count && stage->state == SG_STATE_PENDING; k++) {
            enum sg_stage_state parent = plan->stages[stage->parents[k]].state;
            if (parent == SG_STATE_FAILED || parent == SG_STATE_BLOCKED) stage->state = SG_STATE_BLOCKED;
        }
    }
}
