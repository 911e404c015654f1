/* signet train: one network outside a sweep, from its own initialisation or from given weights, dense or
 * under a signed mask. FILE.checkpoint holds its state until it is done; the same command goes on from there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/log.h"
#include "pipeline/paths.h"
#include "pipeline/provenance.h"
#include "pipeline/signals.h"
#include "pipeline/solo.h"
#include "pipeline/state.h"
#include "stages/signs.h"

enum { STOP_MARGIN = 60 };

typedef struct single {
    sg_solo *solo;
    const sg_cli *cli;
    sg_train_options options;
    sg_training *training;
    char key[33]; /* of everything that the training depends on */
    char checkpoint[PATH_MAX];
    double saved;
} single;

static void set_options(single *s) {
    const sg_config *c = &s->solo->session->config->cases[0];
    s->options = (sg_train_options){
        .epochs = c->single.epochs,
        .schedule = c->single.schedule,
        .lr = c->train.lr,
        .optimizer = sg_optimizer_usual(c->train.optimizer, c->train.momentum, c->train.weight_decay),
        .alpha_low = c->single.alpha.low,
        .alpha_high = c->single.alpha.high,
        .seed = s->cli->has_seed ? s->cli->seed : 1,
        .shuffle = c->train.shuffled,
        .max_steps = c->train.max_steps,
        .keep_epoch = -1,
    };
}

/* The configuration, the data, the arithmetic, the seed and the files it starts from. */
static int set_key(single *s) {
    const sg_session *session = s->solo->session;
    char digest[2][33] = {"", ""}, seed[32];
    if (s->cli->init != NULL) SG_TRY(sg_plan_file_digest(s->cli->init, digest[0]));
    if (s->cli->mask != NULL) SG_TRY(sg_plan_file_digest(s->cli->mask, digest[1]));
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s->options.seed);
    const char *part[] = {
        session->config_text, session->facts[0].fingerprint, session->arithmetic, seed, digest[0], digest[1]};
    XXH3_state_t *state = XXH3_createState();
    SG_CHECK(state != NULL, SG_NOMEM, "out of memory: a hash");
    XXH3_128bits_reset(state);
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        XXH3_128bits_update(state, part[i], strlen(part[i]) + 1);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(s->key, sizeof s->key, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return SG_OK;
}

static int apply_mask_file(const single *s, sg_weights *weights) {
    const sg_solo *solo = s->solo;
    sg_h5_file *file;
    int8_t *signs;
    bool classifier_matches;
    SG_TRY(SG_NEW(&signs, solo->env.net->values));
    int status = SG_AT(sg_h5_open_foreign(&file, s->cli->mask, solo->group->comm, NULL));
    if (status == SG_OK) {
        status = SG_AT(sg_state_read_signs(file, solo->env.net, signs, &classifier_matches));
        sg_h5_close(&file);
        if (status != SG_OK) sg_error_prefix(status, "%s: ", s->cli->mask);
    }
    if (status == SG_OK) {
        sg_signs_mask(solo->env.net, signs, weights->mask);
        sg_weights_apply_mask(weights);
    }
    free(signs);
    return status;
}

static int begin(single *s) {
    sg_weights *weights;
    SG_TRY(sg_weights_create(&weights, s->solo->env.net));
    sg_weights_init(weights, s->options.seed);
    int status = SG_OK;
    if (s->cli->init != NULL) status = SG_AT(sg_solo_read_weights(s->solo, s->cli->init, weights));
    if (status == SG_OK && s->cli->mask != NULL) status = SG_AT(apply_mask_file(s, weights));
    if (status == SG_OK) status = SG_AT(sg_training_create(&s->training, weights, &s->options));
    if (status != SG_OK) sg_weights_destroy(&weights);
    return SG_AT(sg_comm_agree(s->solo->group->comm, status));
}

/* A checkpoint that cannot be believed is kept beside, under a name that nobody reads. */
static void set_aside(const single *s) {
    char aside[PATH_MAX + 16];
    if (!sg_solo_leads(s->solo)) return;
    snprintf(aside, sizeof aside, "%s.damaged", s->checkpoint);
    sg_log_warning("%s; kept as %s, the training begins anew", sg_error_message(), aside);
    if (rename(s->checkpoint, aside) != 0) sg_log_warning("%s: cannot rename", s->checkpoint);
}

/* *file NULL: there is no checkpoint to go on from. One that is there and cannot be read (a file server that
 * is away, permissions) may be good, and the next save would replace it: that ends the command. */
static int open_checkpoint(single *s, sg_h5_file **file) {
    *file = NULL;
    if (s->cli->out == NULL) return SG_OK;
    bool there = access(s->checkpoint, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
    SG_TRY(sg_comm_broadcast(s->solo->group->comm, &there, sizeof there, 0));
    if (!there) return SG_OK;
    int status = SG_AT(sg_h5_open(file, s->checkpoint, s->solo->group->comm));
    if (status != SG_DATA) return status;
    set_aside(s);
    sg_error_clear();
    return SG_OK;
}

static int restore(single *s) {
    sg_h5_file *file;
    const char *key;
    SG_TRY(open_checkpoint(s, &file));
    if (file == NULL) return SG_AT(begin(s));
    int status = SG_AT(sg_h5_get_text(file, "key", &key));
    bool ours = status == SG_OK && strcmp(key, s->key) == 0;
    if (ours) status = SG_AT(sg_state_read_training(&s->training, file, s->solo->env.net, &s->options));
    sg_h5_close(&file);
    SG_CHECK(status != SG_OK || ours, SG_CONFIG,
             "%s: left by a training with another configuration, seed or start; remove it, or choose another "
             "--out",
             s->checkpoint);
    if (status == SG_OK && sg_solo_leads(s->solo))
        sg_log_info("goes on from %s, epoch %d", s->checkpoint, s->training->epoch);
    return SG_AT(sg_comm_agree(s->solo->group->comm, status));
}

static int save(single *s) {
    sg_h5_content *content;
    float *scratch = NULL;
    if (s->cli->out == NULL) return SG_OK;
    SG_TRY(sg_state_share_clocks(s->training, s->solo->group->comm));
    SG_TRY(sg_h5_content_create(&content, "checkpoint"));
    int status = SG_AT(sg_h5_set_text(content, "key", s->key));
    if (status == SG_OK) status = SG_AT(sg_state_add_training(content, s->training, &scratch));
    status = SG_AT(sg_comm_agree(s->solo->group->comm, status));
    if (status == SG_OK) status = SG_AT(sg_h5_write(s->checkpoint, s->solo->group->comm, content));
    sg_h5_content_destroy(&content);
    free(scratch);
    s->saved = sg_clock_now();
    return status;
}

static int step(void *context, const sg_progress *progress) {
    single *s = context;
    double interval = 60.0 * s->solo->session->config->run.checkpoint_minutes;
    int wish = sg_stop_requested()                                       ? SG_WISH_STOP
               : interval > 0.0 && sg_clock_now() - s->saved >= interval ? SG_WISH_CHECKPOINT
                                                                         : SG_WISH_NONE;
    SG_TRY(sg_comm_max_int(s->solo->group->comm, &wish));
    if (strcmp(progress->phase, "test") == 0 && progress->step == progress->steps && sg_solo_leads(s->solo))
        sg_log_info("epoch %d of %d: test loss %.4f, accuracy %.2f %%", s->training->epoch + 1,
                    s->options.epochs, progress->loss, 100.0 * progress->accuracy);
    if (wish == SG_WISH_NONE) return SG_OK;
    SG_TRY(save(s));
    if (wish != SG_WISH_STOP) return SG_OK;
    return s->cli->out == NULL
               ? SG_FAIL(SG_INTERRUPTED, "stopped by %s; without --out nothing is saved", sg_stop_reason())
               : SG_FAIL(SG_INTERRUPTED, "stopped by %s; the same command goes on from %s", sg_stop_reason(),
                         s->checkpoint);
}

static int publish(single *s) {
    sg_h5_content *content;
    char digest[33];
    if (s->cli->out == NULL) return SG_OK;
    SG_TRY(sg_state_share_clocks(s->training, s->solo->group->comm));
    SG_TRY(sg_h5_content_create(&content, "result"));
    sg_state_digest(s->training, NULL, digest);
    int status = SG_AT(sg_state_add_weights(content, s->training->weights));
    if (status == SG_OK) status = SG_AT(sg_state_add_metrics(content, s->training));
    if (status == SG_OK) status = SG_AT(sg_h5_set_text(content, "digest", digest));
    if (status == SG_OK)
        status = SG_AT(sg_provenance_add(content, s->solo->session->machine,
                                         sg_comm_size(s->solo->group->comm), s->solo->session->config_text));
    if (status == SG_OK) status = SG_AT(sg_h5_write(s->cli->out, s->solo->group->comm, content));
    sg_h5_content_destroy(&content);
    if (status == SG_OK && sg_solo_leads(s->solo)) unlink(s->checkpoint);
    return status;
}

static int train(single *s) {
    if (s->solo->group == NULL) return SG_OK;
    set_options(s);
    snprintf(s->checkpoint, sizeof s->checkpoint, "%s.checkpoint", s->cli->out == NULL ? "" : s->cli->out);
    SG_TRY(sg_comm_agree(s->solo->group->comm, SG_AT(set_key(s))));
    double limit = s->cli->time_limit_minutes > 0.0 ? s->cli->time_limit_minutes
                                                    : s->solo->session->config->run.time_limit_minutes;
    if (sg_solo_leads(s->solo)) sg_signals_limit(limit, STOP_MARGIN);
    if (s->cli->out == NULL && sg_solo_leads(s->solo))
        sg_log_warning("nothing will be saved, neither checkpoints nor the trained network; --out FILE does");
    SG_TRY(restore(s));
    sg_env env = s->solo->env;
    env.step = step;
    env.context = s;
    s->saved = sg_clock_now();
    SG_TRY(sg_stage_train(&env, &s->options, s->training));
    SG_TRY(publish(s));
    if (sg_solo_leads(s->solo) && s->training->epoch > 0) {
        const sg_epoch *last = &s->training->rows[s->training->epoch - 1];
        printf(
            "train_loss %.6f\ntrain_accuracy %.4f\ntest_loss %.6f\ntest_accuracy %.4f\nimages_per_s %.1f\n",
            last->train_loss, last->train_accuracy, last->test_loss, last->test_accuracy, last->images_per_s);
    }
    return SG_OK;
}

int sg_cmd_train(int argc, char **argv) {
    sg_cli cli;
    sg_solo solo;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    single s = {.solo = &solo, .cli = &cli};
    int status = SG_AT(sg_solo_open(&solo, cli.positional[0], cli.overrides, cli.override_count));
    if (status == SG_OK) status = SG_AT(train(&s));
    sg_training_destroy(&s.training);
    return sg_solo_close(&solo, status);
}
