#include "pipeline/state.h"

#include <stdio.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the state on the stack */
#include <xxhash.h>

#include "kernels/memory.h"

enum { PATH_LENGTH = SG_NAME_LENGTH + 48, PROBLEMS = 1500 };

typedef struct entry_name {
    char text[PATH_LENGTH];
} entry_name;

static entry_name entry(const char *group, const char *name, const char *suffix) {
    entry_name p;
    snprintf(p.text, sizeof p.text, "/%s/%s%s", group, name, suffix);
    return p;
}

static bool is_classifier(const sg_param *param) {
    return param->role == SG_ROLE_CLASSIFIER_WEIGHT || param->role == SG_ROLE_CLASSIFIER_BIAS;
}

/* ---- Weights. */

static int add_values(sg_h5_content *content, const char *group, const sg_net *net, const float *values) {
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        SG_TRY(sg_h5_add(content, entry(group, param->name, "").text, SG_H5_F32, param->dimensions,
                         param->shape, values + param->offset));
    }
    return SG_OK;
}

static int add_network(sg_h5_content *content, const char *group, const sg_weights *weights) {
    const sg_net *net = weights->net;
    SG_TRY(add_values(content, group, net, weights->values));
    for (int s = 0; s < net->statistics_count; s++) {
        const sg_statistics *tracked = &net->statistics[s];
        SG_TRY(sg_h5_add_array(content, entry(group, tracked->name, ".running_mean").text, SG_H5_F32,
                               tracked->channels, weights->mean + tracked->offset));
        SG_TRY(sg_h5_add_array(content, entry(group, tracked->name, ".running_var").text, SG_H5_F32,
                               tracked->channels, weights->variance + tracked->offset));
        SG_TRY(sg_h5_add_scalar(content, entry(group, tracked->name, ".num_batches_tracked").text, SG_H5_I64,
                                &weights->batches));
    }
    return SG_OK;
}

int sg_state_add_weights(sg_h5_content *content, const sg_weights *weights) {
    const sg_net *net = weights->net;
    SG_TRY(add_network(content, "weights", weights));
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        if (param->role != SG_ROLE_WEIGHT) continue;
        SG_TRY(sg_h5_add(content, entry("masks", param->name, "").text, SG_H5_U8, param->dimensions,
                         param->shape, weights->mask + param->offset));
    }
    return SG_OK;
}

/* What is wrong with a file, collected so that one message lists all of it. */
typedef struct problems {
    char text[PROBLEMS];
    size_t used;
    int count;
} problems;

static void complain(problems *found, const char *kind, const char *name) {
    found->count++;
    int n = snprintf(found->text + found->used, sizeof found->text - found->used, "%s%s %s",
                     found->used == 0 ? "" : ", ", kind, name);
    if (n > 0 && found->used + (size_t)n < sizeof found->text) found->used += (size_t)n;
}

static bool shaped(const sg_h5_entry *e, enum sg_h5_type type, int ndims, const size_t *dims) {
    if (e->type != type || e->ndims != ndims) return false;
    for (int d = 0; d < ndims; d++)
        if (e->dims[d] != dims[d]) return false;
    return true;
}

static void check_entry(const sg_h5_file *file, const entry_name *p, enum sg_h5_type type, int ndims,
                        const size_t *dims, problems *found) {
    const sg_h5_entry *e = sg_h5_find(file, p->text);
    if (e == NULL)
        complain(found, "missing", p->text);
    else if (!shaped(e, type, ndims, dims))
        complain(found, "misshapen", p->text);
}

static const char *const statistics_suffix[] = {".running_mean", ".running_var", ".num_batches_tracked"};

static bool known_entry(const sg_net *net, const char *name) {
    if (sg_net_find_param(net, name) >= 0) return true;
    for (int s = 0; s < net->statistics_count; s++) {
        size_t length = strlen(net->statistics[s].name);
        if (strncmp(name, net->statistics[s].name, length) != 0) continue;
        for (int k = 0; k < 3; k++)
            if (strcmp(name + length, statistics_suffix[k]) == 0) return true;
    }
    return false;
}

/* Entries that the network has no place for: the file is another network's, perhaps a deeper one's. */
static void check_extra(const sg_h5_file *file, const sg_net *net, const char *group, problems *found) {
    size_t prefix = strlen(group) + 2;
    for (size_t i = 0; i < sg_h5_entries(file); i++) {
        const char *name = sg_h5_entry_at(file, i)->path;
        if (strncmp(name + 1, group, prefix - 2) == 0 && name[prefix - 1] == '/' &&
            !known_entry(net, name + prefix))
            complain(found, "extra", name);
    }
}

/* The classifier may differ when another network's weights are taken over. */
static bool excused(const sg_h5_file *file, const char *group, const sg_param *param, bool classifier_free) {
    if (!classifier_free || !is_classifier(param)) return false;
    const sg_h5_entry *e = sg_h5_find(file, entry(group, param->name, "").text);
    return e == NULL || !shaped(e, e->type, param->dimensions, param->shape);
}

static void check_network(const sg_h5_file *file, const sg_net *net, const char *group, bool classifier_free,
                          problems *found) {
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        entry_name at = entry(group, param->name, "");
        if (!excused(file, group, param, classifier_free))
            check_entry(file, &at, SG_H5_F32, param->dimensions, param->shape, found);
    }
    for (int s = 0; s < net->statistics_count; s++)
        for (int k = 0; k < 3; k++) {
            entry_name at = entry(group, net->statistics[s].name, statistics_suffix[k]);
            check_entry(file, &at, k < 2 ? SG_H5_F32 : SG_H5_I64, k < 2, &net->statistics[s].channels, found);
        }
    check_extra(file, net, group, found);
}

static int read_network(sg_h5_file *file, const char *group, sg_weights *weights, bool classifier_free) {
    const sg_net *net = weights->net;
    problems found = {.count = 0};
    check_network(file, net, group, classifier_free, &found);
    SG_CHECK(found.count == 0, SG_DATA, "%d entr%s of /%s do not fit network %s: %s", found.count,
             found.count == 1 ? "y" : "ies", group, net->arch, found.text);
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        if (excused(file, group, param, classifier_free)) continue;
        SG_TRY(sg_h5_read(file, entry(group, param->name, "").text, SG_H5_F32, param->dimensions,
                          param->shape, weights->values + param->offset));
    }
    for (int s = 0; s < net->statistics_count; s++) {
        const sg_statistics *tracked = &net->statistics[s];
        SG_TRY(sg_h5_read_array(file, entry(group, tracked->name, ".running_mean").text, SG_H5_F32,
                                tracked->channels, weights->mean + tracked->offset));
        SG_TRY(sg_h5_read_array(file, entry(group, tracked->name, ".running_var").text, SG_H5_F32,
                                tracked->channels, weights->variance + tracked->offset));
        SG_TRY(sg_h5_read_scalar(file, entry(group, tracked->name, ".num_batches_tracked").text, SG_H5_I64,
                                 &weights->batches));
    }
    return SG_OK;
}

static int read_masks(sg_h5_file *file, sg_weights *weights) {
    const sg_net *net = weights->net;
    memset(weights->mask, 1, net->values);
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        entry_name at = entry("masks", param->name, "");
        if (param->role != SG_ROLE_WEIGHT || sg_h5_find(file, at.text) == NULL) continue;
        uint8_t *mask = weights->mask + param->offset;
        SG_TRY(sg_h5_read(file, at.text, SG_H5_U8, param->dimensions, param->shape, mask));
        for (size_t i = 0; i < param->count; i++) {
            SG_CHECK(mask[i] <= 1, SG_DATA, "%s holds %d at %zu; a mask is 0 or 1", at.text, (int)mask[i], i);
            SG_CHECK(mask[i] == 1 || weights->values[param->offset + i] == 0.0f, SG_DATA,
                     "%s prunes element %zu, whose weight is not zero", at.text, i);
        }
    }
    return SG_OK;
}

int sg_state_read_weights(sg_h5_file *file, sg_weights *weights, bool classifier_free) {
    SG_TRY(read_network(file, "weights", weights, classifier_free));
    return SG_AT(read_masks(file, weights));
}

/* ---- Signs. */

int sg_state_add_signs(sg_h5_content *content, const sg_net *net, const int8_t *signs) {
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        if (param->role == SG_ROLE_GAMMA || param->role == SG_ROLE_BETA) continue;
        SG_TRY(sg_h5_add(content, entry("signs", param->name, "").text, SG_H5_I8, param->dimensions,
                         param->shape, signs + param->offset));
    }
    return SG_OK;
}

/* Ours say which network they were made for; those of other origin need not. */
static int check_arch(const sg_h5_file *file, const sg_net *net) {
    const char *arch;
    if (!sg_h5_has(file, "arch")) return SG_OK;
    SG_TRY(sg_h5_get_text(file, "arch", &arch));
    SG_CHECK(strcmp(arch, net->arch) == 0, SG_DATA,
             "holds the signs of a %s, and the network here is a %s: name a file made with %s, or set "
             "net.arch = \"%s\"",
             arch, net->arch, net->arch, arch);
    return SG_OK;
}

int sg_state_read_signs(sg_h5_file *file, const sg_net *net, int8_t *signs, bool *classifier_matches) {
    problems found = {.count = 0};
    *classifier_matches = true;
    memset(signs, 0, net->values);
    SG_TRY(check_arch(file, net));
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        if (param->role == SG_ROLE_GAMMA || param->role == SG_ROLE_BETA) continue;
        entry_name at = entry("signs", param->name, "");
        if (excused(file, "signs", param, true))
            *classifier_matches = false;
        else
            check_entry(file, &at, SG_H5_I8, param->dimensions, param->shape, &found);
    }
    check_extra(file, net, "signs", &found);
    SG_CHECK(found.count == 0, SG_DATA, "%d entr%s of /signs do not fit network %s: %s", found.count,
             found.count == 1 ? "y" : "ies", net->arch, found.text);
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        entry_name at = entry("signs", param->name, "");
        if (param->role == SG_ROLE_GAMMA || param->role == SG_ROLE_BETA) continue;
        if (is_classifier(param) && !*classifier_matches) continue;
        SG_TRY(sg_h5_read(file, at.text, SG_H5_I8, param->dimensions, param->shape, signs + param->offset));
        for (size_t i = 0; i < param->count; i++)
            SG_CHECK(signs[param->offset + i] >= -1 && signs[param->offset + i] <= 1, SG_DATA,
                     "%s holds %d at %zu; a sign is -1, 0 or 1", at.text, (int)signs[param->offset + i], i);
    }
    return SG_OK;
}

/* ---- Trainings. */

static const struct {
    const char *name;
    size_t offset;
    bool clock;
} metric[] = {
    {"learning_rate", offsetof(sg_epoch, lr), false},
    {"train_loss", offsetof(sg_epoch, train_loss), false},
    {"train_accuracy", offsetof(sg_epoch, train_accuracy), false},
    {"test_loss", offsetof(sg_epoch, test_loss), false},
    {"test_accuracy", offsetof(sg_epoch, test_accuracy), false},
    {"seconds", offsetof(sg_epoch, seconds), true},
    {"images_per_s", offsetof(sg_epoch, images_per_s), true},
};
enum { METRICS = sizeof metric / sizeof *metric };

/* One row per epoch in one table, its columns named beside it. */
int sg_state_add_metrics(sg_h5_content *content, const sg_training *training) {
    const char *names[METRICS];
    for (int m = 0; m < METRICS; m++) names[m] = metric[m].name;
    _Static_assert(sizeof(sg_epoch) == METRICS * sizeof(double), "sg_epoch is a row of doubles");
    SG_TRY(sg_h5_add_strings(content, "/metrics/columns", METRICS, names));
    size_t dims[2] = {(size_t)training->epoch, METRICS};
    return SG_AT(sg_h5_add(content, "/metrics/epochs", SG_H5_F64, 2, dims, training->rows));
}

int sg_state_share_clocks(sg_training *training, sg_comm *comm) {
    SG_TRY(sg_comm_broadcast(comm, &training->seconds, sizeof training->seconds, 0));
    return SG_AT(
        sg_comm_broadcast(comm, training->rows, (size_t)training->epoch * sizeof *training->rows, 0));
}

static void expand(const sg_net *net, const sg_survivors *survivors, const float *compact, float *full) {
    memset(full, 0, net->values * sizeof *full);
    for (int p = 0; p < net->params; p++) {
        const sg_support *support = &survivors->support[p];
        const float *from = compact + survivors->offset[p];
        float *to = full + net->param[p].offset;
        for (size_t i = 0; i < support->count; i++)
            to[support->index == NULL ? i : support->index[i]] = from[i];
    }
}

static void contract(const sg_net *net, const sg_survivors *survivors, const float *full, float *compact) {
    for (int p = 0; p < net->params; p++) {
        const sg_support *support = &survivors->support[p];
        const float *from = full + net->param[p].offset;
        float *to = compact + survivors->offset[p];
        for (size_t i = 0; i < support->count; i++)
            to[i] = from[support->index == NULL ? i : support->index[i]];
    }
}

int sg_state_add_training(sg_h5_content *content, const sg_training *t, float **scratch) {
    const sg_net *net = t->weights->net;
    SG_TRY(SG_NEW(scratch, 2 * net->values));
    SG_TRY(sg_state_add_weights(content, t->weights));
    SG_TRY(add_values(content, "start", net, t->start->values));
    if (t->kept != NULL) SG_TRY(add_network(content, "kept", t->kept));
    expand(net, t->survivors, t->optimizer->first, *scratch);
    SG_TRY(add_values(content, "optimizer/first", net, *scratch));
    if (t->optimizer->second != NULL) {
        expand(net, t->survivors, t->optimizer->second, *scratch + net->values);
        SG_TRY(add_values(content, "optimizer/second", net, *scratch + net->values));
    }
    SG_TRY(sg_h5_set_integer(content, "optimizer.step", t->optimizer->step));
    SG_TRY(sg_h5_set_integer(content, "training.epoch", t->epoch));
    SG_TRY(sg_h5_set_integer(content, "training.minibatch", t->minibatch));
    SG_TRY(sg_h5_set_integer(content, "training.steps", t->steps));
    SG_TRY(sg_h5_set_real(content, "training.loss_sum", t->loss_sum));
    SG_TRY(sg_h5_set_integer(content, "training.correct", t->correct));
    SG_TRY(sg_h5_set_integer(content, "training.samples", t->samples));
    SG_TRY(sg_h5_set_real(content, "training.seconds", t->seconds));
    return SG_AT(sg_state_add_metrics(content, t));
}

static int read_values(sg_h5_file *file, const char *group, const sg_net *net, float *values) {
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        SG_TRY(sg_h5_read(file, entry(group, param->name, "").text, SG_H5_F32, param->dimensions,
                          param->shape, values + param->offset));
    }
    return SG_OK;
}

static int read_moments(sg_h5_file *file, sg_training *t) {
    const sg_net *net = t->weights->net;
    float *full;
    SG_TRY(SG_NEW(&full, net->values));
    int status = SG_AT(read_values(file, "optimizer/first", net, full));
    if (status == SG_OK) contract(net, t->survivors, full, t->optimizer->first);
    if (status == SG_OK && t->optimizer->second != NULL) {
        status = SG_AT(read_values(file, "optimizer/second", net, full));
        if (status == SG_OK) contract(net, t->survivors, full, t->optimizer->second);
    }
    free(full);
    return status;
}

static int read_counters(sg_h5_file *file, sg_training *t, int epochs) {
    int64_t epoch, minibatch;
    SG_TRY(sg_h5_get_integer(file, "optimizer.step", &t->optimizer->step));
    SG_TRY(sg_h5_get_integer(file, "training.epoch", &epoch));
    SG_TRY(sg_h5_get_integer(file, "training.minibatch", &minibatch));
    SG_CHECK(epoch >= 0 && epoch <= epochs && minibatch >= 0 && minibatch <= UINT32_MAX, SG_DATA,
             "the checkpoint stands at epoch %lld, minibatch %lld of a training of %d epochs",
             (long long)epoch, (long long)minibatch, epochs);
    t->epoch = (int)epoch;
    t->minibatch = (uint32_t)minibatch;
    SG_TRY(sg_h5_get_integer(file, "training.steps", &t->steps));
    SG_TRY(sg_h5_get_real(file, "training.loss_sum", &t->loss_sum));
    SG_TRY(sg_h5_get_integer(file, "training.correct", &t->correct));
    SG_TRY(sg_h5_get_integer(file, "training.samples", &t->samples));
    SG_TRY(sg_h5_get_real(file, "training.seconds", &t->seconds));
    size_t dims[2] = {(size_t)t->epoch, METRICS};
    return SG_AT(sg_h5_read(file, "/metrics/epochs", SG_H5_F64, 2, dims, t->rows));
}

bool sg_state_has_kept(const sg_h5_file *file, const sg_net *net) {
    return sg_h5_find(file, entry("kept", net->param[0].name, "").text) != NULL;
}

/* The frozen signs and the flips count from the weights that the training began with, so those come first. */
static int read_parts(sg_training **training, sg_h5_file *file, sg_weights *start,
                      const sg_train_options *options) {
    const sg_net *net = start->net;
    SG_TRY(read_masks(file, start));
    SG_TRY(read_values(file, "start", net, start->values));
    SG_TRY(sg_training_create(training, start, options));
    sg_training *t = *training;
    SG_TRY(read_network(file, "weights", t->weights, false));
    SG_TRY(read_moments(file, t));
    if (sg_state_has_kept(file, net)) {
        SG_TRY(sg_weights_create(&t->kept, net));
        SG_TRY(read_network(file, "kept", t->kept, false));
    }
    return SG_AT(read_counters(file, t, options->epochs));
}

int sg_state_read_training(sg_training **training, sg_h5_file *file, const sg_net *net,
                           const sg_train_options *options) {
    *training = NULL;
    sg_weights *start;
    SG_TRY(sg_weights_create(&start, net));
    int status = SG_AT(read_parts(training, file, start, options));
    if (status == SG_OK) return SG_OK;
    if (*training == NULL) sg_weights_destroy(&start);
    sg_training_destroy(training);
    return status;
}

int sg_state_add_kept(sg_h5_content *content, const sg_weights *kept) {
    return SG_AT(add_network(content, "kept", kept));
}

int sg_state_read_kept(sg_h5_file *file, sg_weights *kept) {
    return SG_AT(read_network(file, "kept", kept, false));
}

/* ---- Paths. */

int sg_state_add_path(sg_h5_content *content, const sg_path *path) {
    _Static_assert(sizeof(sg_point) == 3 * sizeof(double), "sg_point is a row of doubles");
    size_t dims[2] = {(size_t)path->done, 3};
    return SG_AT(sg_h5_add(content, "/path/points", SG_H5_F64, 2, dims, path->point));
}

int sg_state_read_path(sg_h5_file *file, sg_path *path) {
    const sg_h5_entry *e = sg_h5_find(file, "/path/points");
    SG_CHECK(e != NULL && e->ndims == 2 && e->dims[0] <= (size_t)path->points, SG_DATA,
             "/path/points is missing or does not fit a path of %d points", path->points);
    SG_TRY(sg_h5_read(file, "/path/points", SG_H5_F64, 2, (size_t[]){e->dims[0], 3}, path->point));
    path->done = (int)e->dims[0];
    return SG_OK;
}

/* ---- Digests. */

static void print_digest(XXH3_state_t *state, char digest[33]) {
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    snprintf(digest, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

static void digest_weights(XXH3_state_t *state, const sg_weights *weights) {
    const sg_net *net = weights->net;
    XXH3_128bits_update(state, weights->values, net->values * sizeof *weights->values);
    XXH3_128bits_update(state, weights->mean, net->channels_tracked * sizeof *weights->mean);
    XXH3_128bits_update(state, weights->variance, net->channels_tracked * sizeof *weights->variance);
    /* Files hold the count beside running statistics: without any, a continued training has lost it. */
    if (net->statistics_count > 0) XXH3_128bits_update(state, &weights->batches, sizeof weights->batches);
    XXH3_128bits_update(state, weights->mask, net->values);
}

void sg_state_digest(const sg_training *training, const sg_score *recalibrated, char digest[33]) {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    digest_weights(&state, training->weights);
    if (training->kept != NULL) digest_weights(&state, training->kept);
    for (int e = 0; e < training->epoch; e++)
        for (int m = 0; m < METRICS; m++)
            if (!metric[m].clock)
                XXH3_128bits_update(&state, (const char *)&training->rows[e] + metric[m].offset,
                                    sizeof(double));
    if (recalibrated != NULL) {
        XXH3_128bits_update(&state, &recalibrated->loss, sizeof recalibrated->loss);
        XXH3_128bits_update(&state, &recalibrated->accuracy, sizeof recalibrated->accuracy);
    }
    print_digest(&state, digest);
}

void sg_state_digest_signs(const sg_net *net, const int8_t *signs, char digest[33]) {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, signs, net->values);
    print_digest(&state, digest);
}

void sg_state_digest_path(const sg_path *path, char digest[33]) {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, path->point, (size_t)path->done * sizeof *path->point);
    print_digest(&state, digest);
}
