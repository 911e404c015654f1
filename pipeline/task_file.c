/* A task's files: parents, checkpoints, the result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/log.h"
#include "pipeline/paths.h"
#include "pipeline/provenance.h"
#include "pipeline/state.h"
#include "pipeline/task.h"

static bool leads(const sg_task *task) { return sg_comm_rank(task->group->comm) == 0; }

static int read_file(sg_task *task, int parent, const char *path, bool kept, sg_weights *weights) {
    const char *digest;
    sg_h5_file *file;
    SG_TRY(sg_h5_open(&file, path, task->group->comm));
    int status = SG_AT(sg_h5_get_text(file, "digest", &digest));
    if (status == SG_OK) {
        snprintf(task->parent_digest[parent], sizeof task->parent_digest[parent], "%s", digest);
        status = kept && sg_state_has_kept(file, task->net)
                     ? SG_AT(sg_state_read_kept(file, weights))
                     : SG_AT(sg_state_read_weights(file, weights, false));
    }
    sg_h5_close(&file);
    return status == SG_OK ? SG_OK : sg_error_prefix(status, "%s: ", path);
}

static int read_parent(sg_task *task, int parent, bool kept, sg_weights **weights) {
    const sg_plan_stage *from = &task->group->plan->stages[task->stage->parents[parent]];
    sg_path_name path = sg_stage_path(task->group->dir, from->id, "result.h5");
    int status = SG_AT(sg_weights_create(weights, task->net));
    status = SG_AT(sg_comm_agree(task->group->comm, status));
    if (status == SG_OK) {
        status = SG_AT(read_file(task, parent, path.text, kept, *weights));
        status = SG_AT(sg_comm_agree(task->group->comm, status));
    }
    if (status != SG_OK) sg_weights_destroy(weights);
    return status;
}

int sg_task_read_parent(sg_task *task, int parent, sg_weights **weights) {
    return SG_AT(read_parent(task, parent, false, weights));
}

int sg_task_read_kept(sg_task *task, int parent, sg_weights **weights) {
    return SG_AT(read_parent(task, parent, true, weights));
}

/* Good for this stage: whole, and made with the same key. */
static int open_generation(sg_task *task, int generation, sg_h5_file **file) {
    sg_path_name path = sg_checkpoint_path(task->group->dir, task->stage->id, generation);
    const char *key;
    SG_TRY(sg_h5_open(file, path.text, task->group->comm));
    int status = SG_AT(sg_h5_get_text(*file, "key", &key));
    if (status == SG_OK && strcmp(key, task->stage->key) != 0)
        status = SG_FAIL(SG_DATA, "%s: made with another configuration, data set or parent", path.text);
    if (status == SG_OK) status = SG_AT(sg_h5_get_real(*file, "wall_s", &task->before));
    if (status != SG_OK) sg_h5_close(file);
    return status;
}

/* The leader lists, everybody knows. *generation is owned by the caller. */
static int list_generations(sg_task *task, int **generation, int *count) {
    *generation = NULL;
    *count = 0;
    int status = leads(task)
                     ? SG_AT(sg_list_checkpoints(task->group->dir, task->stage->id, generation, count))
                     : SG_OK;
    SG_TRY(sg_comm_agree(task->group->comm, status));
    SG_TRY(sg_comm_broadcast(task->group->comm, count, sizeof *count, 0));
    if (*count == 0) return SG_OK;
    if (!leads(task)) status = SG_AT(SG_NEW(generation, (size_t)*count));
    SG_TRY(sg_comm_agree(task->group->comm, status));
    return SG_AT(sg_comm_broadcast(task->group->comm, *generation, (size_t)*count * sizeof **generation, 0));
}

/* The first good one of them; *file NULL when there is none. */
static int open_newest(sg_task *task, const int *generation, int count, sg_h5_file **file) {
    for (int i = 0; i < count; i++) {
        int status = open_generation(task, generation[i], file);
        if (status == SG_OK) {
            if (leads(task)) sg_log_info("%s: goes on from checkpoint-%d.h5", task->stage->id, generation[i]);
            return SG_OK;
        }
        if (status != SG_DATA && status != SG_NOINPUT) return status;
        if (leads(task)) sg_log_warning("checkpoint passed over: %s", sg_error_message());
        sg_error_clear();
    }
    if (count > 0 && leads(task))
        sg_log_warning("%s: no checkpoint is usable; this stage alone is computed again", task->stage->id);
    return SG_OK;
}

int sg_task_open_checkpoint(sg_task *task, sg_h5_file **file) {
    int *generation, count;
    *file = NULL;
    int status = SG_AT(list_generations(task, &generation, &count));
    if (status == SG_OK && count > 0) {
        task->generation = generation[0];
        status = SG_AT(open_newest(task, generation, count, file));
    }
    free(generation);
    return status;
}

static int fill_checkpoint(sg_task *task, sg_h5_content *content, float **scratch) {
    SG_TRY(sg_h5_set_text(content, "stage", task->stage->id));
    SG_TRY(sg_h5_set_text(content, "key", task->stage->key));
    SG_TRY(sg_h5_set_real(content, "wall_s", sg_task_seconds(task)));
    if (task->training != NULL) return SG_AT(sg_state_add_training(content, task->training, scratch));
    return SG_AT(sg_state_add_path(content, task->path));
}

static void remove_old_generations(sg_task *task, int keep) {
    if (leads(task) && sg_remove_checkpoints(task->group->dir, task->stage->id, keep) != SG_OK)
        sg_error_clear();
}

/* What a checkpoint costs, for those who choose run.checkpoint_minutes. */
static void note_checkpoint(const sg_task *task, double seconds) {
    struct stat about;
    sg_path_name path = sg_checkpoint_path(task->group->dir, task->stage->id, task->generation);
    if (!leads(task) || stat(path.text, &about) != 0) return;
    sg_log_event("checkpoint", "\"stage\":\"%s\",\"generation\":%d,\"bytes\":%lld,\"seconds\":%.3f",
                 task->stage->id, task->generation, (long long)about.st_size, seconds);
}

/* Not into a directory that another job has taken: it may be writing the same stage. */
static int agree_to_publish(const sg_task *task, int status) {
    if (status == SG_OK && leads(task)) status = SG_AT(task->group->may_publish(task->group->context));
    return SG_AT(sg_comm_agree(task->group->comm, status));
}

int sg_task_save_checkpoint(sg_task *task) {
    if (task->training == NULL && (task->path == NULL || task->path->done == task->path_saved)) return SG_OK;
    sg_path_name path = sg_checkpoint_path(task->group->dir, task->stage->id, task->generation + 1);
    sg_h5_content *content;
    float *scratch = NULL;
    double began = sg_task_seconds(task);
    if (task->training != NULL) SG_TRY(sg_state_share_clocks(task->training, task->group->comm));
    int status = SG_AT(sg_h5_content_create(&content, "checkpoint"));
    if (status == SG_OK) status = SG_AT(fill_checkpoint(task, content, &scratch));
    status = agree_to_publish(task, status);
    if (status == SG_OK) status = SG_AT(sg_h5_write(path.text, task->group->comm, content));
    sg_h5_content_destroy(&content);
    free(scratch);
    SG_TRY(status);
    task->generation++;
    if (task->path != NULL) task->path_saved = task->path->done;
    remove_old_generations(task, task->group->config->run.keep);
    note_checkpoint(task, sg_task_seconds(task) - began);
    return SG_OK;
}

static int add_lineage(const sg_task *task, sg_h5_content *content, const char *digest) {
    const sg_plan_stage *stage = task->stage;
    SG_TRY(sg_h5_set_text(content, "stage", stage->id));
    SG_TRY(sg_h5_set_text(content, "key", stage->key));
    SG_TRY(sg_h5_set_text(content, "key_text", stage->key_text));
    SG_TRY(sg_h5_set_text(content, "digest", digest));
    SG_TRY(sg_h5_set_text(content, "arch", task->net->arch));
    SG_TRY(sg_h5_set_integer(content, "classes", task->net->classes));
    for (int i = 0; i < stage->parent_count; i++) {
        char name[40];
        if (task->parent_digest[i][0] == '\0') continue;
        snprintf(name, sizeof name, "parent.%d.stage", i);
        SG_TRY(sg_h5_set_text(content, name, task->group->plan->stages[stage->parents[i]].id));
        snprintf(name, sizeof name, "parent.%d.digest", i);
        SG_TRY(sg_h5_set_text(content, name, task->parent_digest[i]));
    }
    return SG_AT(sg_provenance_add(content, task->group->machine, sg_comm_size(task->group->comm),
                                   task->group->config_text));
}

int sg_task_publish(sg_task *task, sg_h5_content *content, const char *digest, int status) {
    sg_path_name path = sg_stage_path(task->group->dir, task->stage->id, "result.h5");
    if (status == SG_OK) status = SG_AT(add_lineage(task, content, digest));
    SG_TRY(agree_to_publish(task, status));
    SG_TRY(sg_h5_write(path.text, task->group->comm, content));
    remove_old_generations(task, 0);
    if (!leads(task)) return SG_OK;
    unlink(sg_stage_path(task->group->dir, task->stage->id, "failed").text);
    unlink(sg_stage_path(task->group->dir, task->stage->id, "progress").text);
    return SG_OK;
}
