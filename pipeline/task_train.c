/* Trainings as tasks: warm-up, prune rounds, transfers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/rows.h"
#include "pipeline/state.h"
#include "pipeline/task.h"
#include "stages/evaluate.h"
#include "stages/search.h"
#include "stages/signs.h"
#include "stages/transfer.h"

static sg_train_options options_of(const sg_task *task) {
    const sg_config *c = task->config;
    const sg_plan_stage *stage = task->stage;
    sg_train_options options = {
        .lr = c->train.lr,
        .optimizer = sg_optimizer_usual(c->train.optimizer, c->train.momentum, c->train.weight_decay),
        .alpha_low = 1.0,
        .alpha_high = 1.0,
        .shuffle = c->train.shuffled,
        .max_steps = c->train.max_steps,
        .keep_epoch = -1,
    };
    if (stage->kind == SG_STAGE_TRANSFER) {
        options.epochs = c->transfer.epochs;
        options.schedule = c->transfer.schedule;
        options.seed = stage->order_seed;
        options.frozen = stage->mode == SG_MODE_FROZEN;
        return options;
    }
    bool warmup = stage->kind == SG_STAGE_WARMUP;
    options.epochs = warmup ? c->search.warmup_epochs : c->search.round_epochs;
    options.schedule = c->search.schedule;
    options.seed = stage->search_seed;
    options.alpha_low = stage->alpha.low;
    options.alpha_high = stage->alpha.high;
    if (!warmup)
        options.first_epoch =
            (uint32_t)(c->search.warmup_epochs + (stage->round - 1) * c->search.round_epochs);
    if (warmup && stage->method == SG_METHOD_IMP) options.keep_epoch = c->search.imp_rewind_epoch;
    return options;
}

static int begin_round(sg_task *task, sg_weights **weights) {
    SG_TRY(sg_task_read_parent(task, 0, weights));
    sg_weights *rewind = NULL;
    int status = SG_OK;
    if (task->stage->method ==
        SG_METHOD_IMP) /* the warm-up is the last parent, and the only one of round 1 */
        status = SG_AT(sg_task_read_kept(task, task->stage->parent_count - 1, &rewind));
    if (status == SG_OK)
        status = SG_AT(
            sg_round_begin(*weights, task->stage->method, task->config->search.prune_fraction, rewind, NULL));
    sg_weights_destroy(&rewind);
    return status;
}

/* Signs and, from a search, the trained state behind a transfer. */
static int read_transfer_source(sg_task *task, sg_transfer_source *source, sg_weights **trained,
                                int8_t *signs) {
    *source = (sg_transfer_source){.classifier_matches = true, .search_seed = task->stage->search_seed};
    if (task->stage->mode == SG_MODE_DENSE) return SG_OK;
    source->signs = signs;
    if (task->stage->searched) {
        SG_TRY(sg_task_read_parent(task, 0, trained));
        sg_extract_signs(*trained, signs);
        source->trained = *trained;
        return SG_OK;
    }
    sg_h5_file *file;
    SG_TRY(sg_h5_open_foreign(&file, task->config->transfer.mask_file, task->group->comm, NULL));
    int status = SG_AT(sg_state_read_signs(file, task->net, signs, &source->classifier_matches));
    sg_h5_close(&file);
    return status == SG_OK ? SG_OK : sg_error_prefix(status, "%s: ", task->config->transfer.mask_file);
}

static int begin_transfer(sg_task *task, sg_weights *weights) {
    sg_weights *trained = NULL;
    int8_t *signs;
    sg_transfer_source source;
    int status = SG_AT(SG_NEW(&signs, task->net->values));
    status = SG_AT(sg_comm_agree(task->group->comm, status));
    if (status == SG_OK) status = SG_AT(read_transfer_source(task, &source, &trained, signs));
    if (status == SG_OK)
        status = SG_AT(sg_transfer_begin(weights, task->stage->mode, &source, task->stage->transfer_seed));
    sg_weights_destroy(&trained);
    free(signs);
    return status;
}

static int begin_weights(sg_task *task, sg_weights **weights) {
    if (task->stage->kind == SG_STAGE_ROUND) return SG_AT(begin_round(task, weights));
    int status = SG_AT(sg_weights_create(weights, task->net));
    SG_TRY(sg_comm_agree(task->group->comm, status));
    if (task->stage->kind == SG_STAGE_TRANSFER) return SG_AT(begin_transfer(task, *weights));
    sg_warmup_begin(*weights, task->stage->search_seed);
    return SG_OK;
}

static int begin_training(sg_task *task, const sg_train_options *options, sg_training **training) {
    sg_weights *weights = NULL;
    int status = SG_AT(begin_weights(task, &weights));
    if (status == SG_OK) status = SG_AT(sg_training_create(training, weights, options));
    if (status != SG_OK) sg_weights_destroy(&weights);
    return SG_AT(sg_comm_agree(task->group->comm, status));
}

/* Continues from the newest checkpoint, or begins. */
static int restore(sg_task *task, const sg_train_options *options, sg_training **training) {
    sg_h5_file *file;
    *training = NULL;
    SG_TRY(sg_task_open_checkpoint(task, &file));
    if (file == NULL) return SG_AT(begin_training(task, options, training));
    int status = SG_AT(sg_state_read_training(training, file, task->net, options));
    sg_h5_close(&file);
    return SG_AT(sg_comm_agree(task->group->comm, status));
}

static void fill_row(const sg_task *task, const sg_training *t, const sg_score *recalibrated, sg_row *row) {
    const sg_plan_stage *stage = task->stage;
    const sg_epoch *last = t->epoch > 0 ? &t->rows[t->epoch - 1] : &(sg_epoch){0};
    bool transfer = stage->kind == SG_STAGE_TRANSFER;
    double images = 0.0, seconds = 0.0;
    for (int e = 0; e < t->epoch; e++) {
        seconds += t->rows[e].seconds;
        images += t->rows[e].seconds * t->rows[e].images_per_s;
    }
    *row = (sg_row){
        .alpha_low = stage->searched ? stage->alpha.low : (double)NAN,
        .alpha_high = stage->searched ? stage->alpha.high : (double)NAN,
        .search_seed = stage->searched ? (int64_t)stage->search_seed : -1,
        .round = stage->searched ? stage->round : -1,
        .density = sg_weights_density(t->weights),
        .transfer_seed = transfer ? (int64_t)stage->transfer_seed : -1,
        .order_seed = transfer ? (int64_t)stage->order_seed : (int64_t)stage->search_seed,
        .train_loss = last->train_loss,
        .train_accuracy = last->train_accuracy,
        .test_loss = last->test_loss,
        .test_accuracy = last->test_accuracy,
        .test_accuracy_recalibrated = recalibrated->accuracy,
        .sign_flips = (int64_t)sg_count_sign_flips(t->start, t->weights),
        .negative_gammas = (int64_t)sg_count_negative_gammas(t->weights),
        .images_per_s = seconds > 0.0 ? images / seconds : 0.0,
        .wall_s = sg_task_seconds(task),
    };
    snprintf(row->stage, sizeof row->stage, "%s", stage->id);
    snprintf(row->kind, sizeof row->kind, "%s", sg_stage_kind_name(stage->kind));
    if (stage->searched) snprintf(row->method, sizeof row->method, "%s", sg_method_name(stage->method));
    if (transfer) snprintf(row->mode, sizeof row->mode, "%s", sg_mode_name(stage->mode));
    snprintf(row->arch, sizeof row->arch, "%s", task->net->arch);
    snprintf(row->dataset, sizeof row->dataset, "%s", task->group->data[stage->config]->name);
}

/* Accuracy with statistics gathered at alpha = 1, on a copy: the result keeps those of the training. Without
 * statistics it is that of the last epoch. */
static int score_recalibrated(sg_task *task, const sg_training *training, sg_score *score) {
    sg_weights *copy;
    if (task->net->channels_tracked == 0 && training->epoch > 0) {
        const sg_epoch *last = &training->rows[training->epoch - 1];
        *score = (sg_score){.loss = last->test_loss, .accuracy = last->test_accuracy};
        return SG_OK;
    }
    int status = SG_AT(sg_weights_create(&copy, task->net));
    if (status == SG_OK) {
        sg_weights_copy(copy, training->weights);
        status = SG_AT(sg_exec_set_survivors(task->tools->exec, training->survivors));
    }
    status = SG_AT(sg_comm_agree(task->group->comm, status));
    if (status == SG_OK) status = SG_AT(sg_stage_recalibrate(&task->env, copy));
    if (status == SG_OK) status = SG_AT(sg_stage_evaluate(&task->env, copy, task->env.test, NULL, score));
    sg_weights_destroy(&copy);
    return status;
}

static int publish(sg_task *task, sg_training *training, const sg_score *recalibrated) {
    sg_h5_content *content;
    sg_row row;
    int columns;
    const sg_column *column = sg_row_columns(&columns);
    char digest[33];
    SG_TRY(sg_state_share_clocks(training, task->group->comm));
    fill_row(task, training, recalibrated, &row);
    sg_state_digest(training, recalibrated, digest);
    int status = SG_AT(sg_h5_content_create(&content, "result"));
    if (status == SG_OK) status = SG_AT(sg_state_add_weights(content, training->weights));
    if (status == SG_OK && training->kept != NULL) status = SG_AT(sg_state_add_kept(content, training->kept));
    if (status == SG_OK) status = SG_AT(sg_state_add_metrics(content, training));
    if (status == SG_OK) status = SG_AT(sg_columns_store(content, column, columns, &row));
    status = SG_AT(sg_task_publish(task, content, digest, status));
    sg_h5_content_destroy(&content);
    return status;
}

int sg_task_train(sg_task *task) {
    sg_train_options options = options_of(task);
    sg_training *training;
    sg_score recalibrated;
    SG_TRY(restore(task, &options, &training));
    task->training = training;
    int status = SG_AT(sg_stage_train(&task->env, &options, training));
    if (status == SG_OK) status = SG_AT(score_recalibrated(task, training, &recalibrated));
    if (status == SG_OK) status = SG_AT(publish(task, training, &recalibrated));
    task->training = NULL;
    sg_training_destroy(&training);
    return status;
}
