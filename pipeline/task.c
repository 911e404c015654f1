#include "pipeline/task.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/rows.h"
#include "pipeline/state.h"
#include "stages/signs.h"

double sg_task_seconds(const sg_task *task) { return task->before + sg_clock_now() - task->began; }

/* Between minibatches: the group's strongest wish is done, by all ranks at the same step. */
static int step(void *context, const sg_progress *progress) {
    sg_task *task = context;
    int wish = (int)task->group->watch(task->group->context, task->stage, progress);
    double interval = 60.0 * task->group->config->run.checkpoint_minutes;
    if (wish == SG_WISH_NONE && interval > 0.0 && sg_clock_now() - task->saved >= interval)
        wish = SG_WISH_CHECKPOINT;
    SG_TRY(sg_comm_max_int(task->group->comm, &wish));
    if (wish == SG_WISH_NONE) return SG_OK;
    SG_TRY(sg_task_save_checkpoint(task));
    task->saved = sg_clock_now();
    if (wish != SG_WISH_STOP) return SG_OK;
    return SG_FAIL(SG_INTERRUPTED,
                   "%s: stopped on request, a checkpoint is written; start the same command again to "
                   "go on",
                   task->stage->id);
}

int sg_task_begin(sg_task *task) {
    sg_group *group = task->group;
    task->config = &group->config->cases[task->stage->config];
    task->net = group->plan->nets[task->stage->config];
    task->began = task->saved = sg_clock_now();
    task->generation = -1;
    SG_TRY(sg_group_tools(group, task->stage->config, &task->tools));
    task->env = (sg_env){.machine = group->machine,
                         .net = task->net,
                         .exec = task->tools->exec,
                         .train = &task->tools->train,
                         .test = &task->tools->test,
                         .context = task,
                         .step = step};
    sg_path_name directory = sg_stage_path(group->dir, task->stage->id, "");
    int status = sg_comm_rank(group->comm) == 0 ? SG_AT(sg_file_make_directories(directory.text)) : SG_OK;
    return SG_AT(sg_comm_agree(group->comm, status));
}

void sg_task_end(sg_task *task) { sg_path_destroy(&task->path); }

int sg_task_extract(sg_task *task) {
    sg_weights *weights;
    sg_h5_content *content = NULL;
    int8_t *signs = NULL;
    char digest[33] = "";
    SG_TRY(sg_task_read_parent(task, 0, &weights));
    int status = SG_AT(SG_NEW(&signs, task->net->values));
    if (status == SG_OK) {
        sg_extract_signs(weights, signs);
        sg_state_digest_signs(task->net, signs, digest);
        status = SG_AT(sg_h5_content_create(&content, "signed-mask"));
    }
    if (status == SG_OK) status = SG_AT(sg_state_add_signs(content, task->net, signs));
    if (status == SG_OK) status = SG_AT(sg_h5_set_real(content, "density", sg_weights_density(weights)));
    status = SG_AT(sg_task_publish(task, content, digest, status));
    sg_h5_content_destroy(&content);
    sg_weights_destroy(&weights);
    free(signs);
    return status;
}

/* ---- Paths. */

static int read_ends(sg_task *task, sg_weights **one, sg_weights **two) {
    SG_TRY(sg_task_read_parent(task, 0, one));
    if (task->stage->pair != SG_PAIR_NORM_REINIT) return SG_AT(sg_task_read_parent(task, 1, two));
    int status = SG_AT(sg_weights_create(two, task->net));
    SG_TRY(sg_comm_agree(task->group->comm, status));
    sg_weights_copy(*two, *one);
    sg_reinit_norms(*two);
    return SG_OK;
}

static int restore_path(sg_task *task) {
    sg_h5_file *file;
    int status = SG_AT(sg_path_create(&task->path, task->config->connect.points));
    SG_TRY(sg_comm_agree(task->group->comm, status));
    SG_TRY(sg_task_open_checkpoint(task, &file));
    if (file == NULL) return SG_OK;
    status = SG_AT(sg_state_read_path(file, task->path));
    sg_h5_close(&file);
    task->path_saved = task->path->done;
    return SG_AT(sg_comm_agree(task->group->comm, status));
}

static void fill_link(const sg_task *task, const sg_weights *one, sg_link *link) {
    const sg_plan_stage *stage = task->stage, *stages = task->group->plan->stages;
    bool dense = !stage->searched;
    *link = (sg_link){
        .round = stage->searched ? stage->round : -1,
        .density = sg_weights_density(one),
        .barrier_error = sg_barrier_error(task->path),
        .barrier_loss = sg_barrier_loss(task->path),
        .alpha_low = dense ? (double)NAN : stage->alpha.low,
        .alpha_high = dense ? (double)NAN : stage->alpha.high,
        .search_seed = dense ? -1 : (int64_t)stage->search_seed,
        .wall_s = sg_task_seconds(task),
    };
    snprintf(link->kind, sizeof link->kind, "%s", sg_pair_name(stage->pair));
    snprintf(link->a, sizeof link->a, "%s", stages[stage->parents[0]].id);
    if (stage->pair == SG_PAIR_NORM_REINIT)
        snprintf(link->b, sizeof link->b, "%.170s+norm-reinit", stages[stage->parents[0]].id);
    else
        snprintf(link->b, sizeof link->b, "%s", stages[stage->parents[1]].id);
    snprintf(link->stage, sizeof link->stage, "%s", stage->id);
    if (!dense) snprintf(link->method, sizeof link->method, "%s", sg_method_name(stage->method));
    if (stage->pair != SG_PAIR_NORM_REINIT)
        snprintf(link->mode, sizeof link->mode, "%s", sg_mode_name(stage->mode));
    snprintf(link->arch, sizeof link->arch, "%s", task->net->arch);
    snprintf(link->dataset, sizeof link->dataset, "%s", task->group->data[stage->config]->name);
}

static int publish_path(sg_task *task, const sg_weights *one) {
    sg_h5_content *content;
    sg_link link;
    int columns;
    const sg_column *column = sg_link_columns(&columns);
    char digest[33];
    fill_link(task, one, &link);
    sg_state_digest_path(task->path, digest);
    int status = SG_AT(sg_h5_content_create(&content, "path"));
    if (status == SG_OK) status = SG_AT(sg_state_add_path(content, task->path));
    if (status == SG_OK) status = SG_AT(sg_columns_store(content, column, columns, &link));
    status = SG_AT(sg_task_publish(task, content, digest, status));
    sg_h5_content_destroy(&content);
    return status;
}

int sg_task_connect(sg_task *task) {
    sg_weights *one = NULL, *two = NULL;
    int status = SG_AT(restore_path(task));
    if (status == SG_OK) status = SG_AT(read_ends(task, &one, &two));
    if (status == SG_OK)
        status = SG_AT(sg_stage_connect(&task->env, one, two, task->config->connect.recalibrate, task->path));
    if (status == SG_OK) status = SG_AT(publish_path(task, one));
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    return status;
}
