#include "pipeline/plan.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/select.h"
#include "pipeline/config_schema.h"
#include "pipeline/plan_build.h"

enum { STAGE_LIMIT = 100000, IMAGENET_PIXELS = 112, ORDER_STEP = 1000 };

/* One search, or what stands in its place: the stages below `folder`. */
typedef struct branch {
    char folder[192];     /* "resnet20-cifar10/aws-a0-1-s1" */
    sg_plan_stage common; /* the fields that all its stages share */
    int warmup;           /* stage number */
} branch;

typedef struct builder {
    sg_plan *plan;
    int capacity;
    const sg_run_config *config;
    const sg_plan_facts *facts;
    int number; /* of the case */
    const sg_config *c;
} builder;

const char *sg_stage_kind_name(enum sg_stage_kind kind) {
    static const char *const names[SG_STAGE_KIND_COUNT] = {"warmup", "round", "extract", "transfer",
                                                           "connect"};
    return names[kind];
}

const char *sg_stage_state_name(enum sg_stage_state state) {
    static const char *const names[SG_STATE_COUNT] = {"pending", "done",    "stale",    "failed",
                                                      "running", "blocked", "elsewhere"};
    return names[state];
}

void sg_plan_net_options(const sg_config *config, const sg_plan_case_facts *facts, sg_net_options *options) {
    *options = (sg_net_options){.arch = config->net.arch,
                                .classes = config->net.classes,
                                .width = config->net.width,
                                .channels = facts->channels,
                                .image_height = facts->height,
                                .image_width = facts->width,
                                .imagenet = facts->height >= IMAGENET_PIXELS,
                                .dropout = config->net.dropout,
                                .depth = config->net.depth};
}

/* ---- adding stages */

/* A stage with the branch's fields and this id; *number is where it stands. The key and cost come later. */
static int add_stage(builder *b, const sg_plan_stage *fields, enum sg_stage_kind kind, const char *folder,
                     const char *name, int *number) {
    sg_plan *plan = b->plan;
    SG_CHECK(plan->count < STAGE_LIMIT, SG_CONFIG,
             "the configuration asks for more than %d stages; split it into several", STAGE_LIMIT);
    if (plan->count == b->capacity) {
        int capacity = 2 * b->capacity + 64;
        sg_plan_stage *stages;
        SG_TRY(SG_NEW(&stages, (size_t)capacity));
        if (plan->count > 0) memcpy(stages, plan->stages, (size_t)plan->count * sizeof *stages);
        free(plan->stages);
        plan->stages = stages;
        b->capacity = capacity;
    }
    *number = plan->count;
    sg_plan_stage *stage = &plan->stages[plan->count++];
    *stage = *fields;
    stage->kind = kind;
    stage->config = b->number;
    int length = snprintf(stage->id, sizeof stage->id, "%s/%s", folder, name);
    SG_CHECK(length > 0 && (size_t)length < sizeof stage->id, SG_INTERNAL, "the stage id %s/%s is too long",
             folder, name);
    SG_TRY(sg_plan_make_key(plan, b->config, b->facts, stage));
    SG_TRY(sg_plan_make_cost(plan, b->config, b->facts, stage));
    return SG_OK;
}

static void set_parents(sg_plan_stage *stage, int count, int first, int second) {
    stage->parent_count = count;
    stage->parents[0] = first;
    stage->parents[1] = second;
}

/* Stage numbers of the transfers of one start: [mode][seed][order]. */
typedef struct transfers {
    int seeds, orders;
    int *number;
} transfers;

static int *transfer_at(const transfers *t, enum sg_mode mode, int seed, int order) {
    return &t->number[((int)mode * t->seeds + seed) * t->orders + order];
}

static int add_transfers(builder *b, const branch *from, int parent, const char *folder, enum sg_mode mode,
                         transfers *made) {
    const sg_transfer_config *t = &b->c->transfer;
    for (int s = 0; s < t->seed_count; s++)
        for (int k = 0; k <= t->noise_orders; k++) {
            sg_plan_stage fields = from->common;
            fields.mode = mode;
            fields.transfer_seed = t->seeds[s];
            fields.order = k;
            fields.order_seed = t->seeds[s] + (uint64_t)k * ORDER_STEP;
            if (parent >= 0) set_parents(&fields, 1, parent, -1);
            char name[128];
            int used =
                snprintf(name, sizeof name, "%s-s%llu", sg_mode_name(mode), (unsigned long long)t->seeds[s]);
            if (k > 0)
                snprintf(name + used, sizeof name - (size_t)used, "-o%llu",
                         (unsigned long long)fields.order_seed);
            SG_TRY(add_stage(b, &fields, SG_STAGE_TRANSFER, folder, name, transfer_at(made, mode, s, k)));
        }
    return SG_OK;
}

static int add_path(builder *b, const branch *from, const char *folder, enum sg_pair pair, const char *name,
                    int one, int two, uint64_t other_seed) {
    sg_plan_stage fields = from->common;
    const sg_plan_stage *first = &b->plan->stages[one];
    fields.pair = pair;
    fields.mode = first->mode;
    fields.transfer_seed = first->transfer_seed;
    fields.order_seed = two >= 0 ? b->plan->stages[two].order_seed : first->order_seed;
    fields.order = two >= 0 ? b->plan->stages[two].order : first->order;
    fields.other_seed = other_seed;
    set_parents(&fields, two >= 0 ? 2 : 1, one, two);
    int number;
    char below[256];
    snprintf(below, sizeof below, "connect/%s%s", sg_pair_name(pair), name);
    return SG_AT(add_stage(b, &fields, SG_STAGE_CONNECT, folder, below, &number));
}

static int add_noise_paths(builder *b, const branch *from, const char *folder, enum sg_mode mode,
                           const transfers *made) {
    const sg_transfer_config *t = &b->c->transfer;
    for (int s = 0; s < t->seed_count; s++)
        for (int k = 1; k <= t->noise_orders; k++) {
            int one = *transfer_at(made, mode, s, 0), two = *transfer_at(made, mode, s, k);
            char name[128];
            snprintf(name, sizeof name, "-%s-s%llu-o%llu", sg_mode_name(mode),
                     (unsigned long long)t->seeds[s], (unsigned long long)b->plan->stages[two].order_seed);
            SG_TRY(add_path(b, from, folder, SG_PAIR_SGD_NOISE, name, one, two, 0));
        }
    return SG_OK;
}

/* The pairs of one transfer seed, or of this one and every later one. */
static int add_seed_paths(builder *b, const branch *from, const char *folder, enum sg_pair pair, int s,
                          int round, const transfers *made) {
    const sg_transfer_config *t = &b->c->transfer;
    char name[128];
    snprintf(name, sizeof name, "-s%llu", (unsigned long long)t->seeds[s]);
    switch (pair) {
    case SG_PAIR_SIGNED_SEARCH:
        return SG_AT(
            add_path(b, from, folder, pair, name, *transfer_at(made, SG_MODE_SIGNED, s, 0), round, 0));
    case SG_PAIR_SIGNED_RETRAIN:
    case SG_PAIR_SIGNED_NORMS_RETRAIN: {
        enum sg_mode mode = pair == SG_PAIR_SIGNED_RETRAIN ? SG_MODE_SIGNED : SG_MODE_SIGNED_NORMS;
        return SG_AT(add_path(b, from, folder, pair, name, *transfer_at(made, mode, s, 0),
                              *transfer_at(made, SG_MODE_RETRAIN, s, 0), 0));
    }
    default:
        for (int other = s + 1; other < t->seed_count; other++) {
            snprintf(name, sizeof name, "-s%llu-s%llu", (unsigned long long)t->seeds[s],
                     (unsigned long long)t->seeds[other]);
            SG_TRY(add_path(b, from, folder, pair, name, *transfer_at(made, SG_MODE_SIGNED, s, 0),
                            *transfer_at(made, SG_MODE_SIGNED, other, 0), t->seeds[other]));
        }
        return SG_OK;
    }
}

static int add_paths(builder *b, const branch *from, const char *folder, int round, const transfers *made) {
    const sg_config *c = b->c;
    for (int p = 0; p < c->connect.pair_count; p++) {
        enum sg_pair pair = c->connect.pairs[p];
        if (pair == SG_PAIR_NORM_REINIT) {
            SG_TRY(add_path(b, from, folder, pair, "", round, -1, 0));
        } else if (pair == SG_PAIR_SGD_NOISE) {
            for (int m = 0; m < c->transfer.mode_count; m++)
                if (c->transfer.modes[m] != SG_MODE_DENSE)
                    SG_TRY(add_noise_paths(b, from, folder, c->transfer.modes[m], made));
        } else {
            for (int s = 0; s < c->transfer.seed_count; s++)
                SG_TRY(add_seed_paths(b, from, folder, pair, s, round, made));
        }
    }
    return SG_OK;
}

/* Everything that starts from one search state (round: its stage number), or from a mask file (-1). */
static int add_start(builder *b, const branch *from, int round, const char *folder) {
    const sg_transfer_config *t = &b->c->transfer;
    transfers made = {t->seed_count, t->noise_orders + 1, NULL};
    SG_TRY(SG_NEW(&made.number, (size_t)SG_MODE_COUNT * (size_t)made.seeds * (size_t)made.orders));
    int status = SG_OK;
    for (int m = 0; m < t->mode_count && status == SG_OK; m++)
        if (t->modes[m] != SG_MODE_DENSE)
            status = SG_AT(add_transfers(b, from, round, folder, t->modes[m], &made));
    if (status == SG_OK) status = SG_AT(add_paths(b, from, folder, round, &made));
    free(made.number);
    return status;
}

static int add_dense(builder *b) {
    const sg_config *c = b->c;
    const sg_plan_case *one = &b->plan->about[b->number];
    branch dense = {.common = {.mode = SG_MODE_DENSE, .density = 1, .alpha = {1, 1}}};
    bool wanted = false, noise = false;
    for (int m = 0; m < c->transfer.mode_count; m++) wanted = wanted || c->transfer.modes[m] == SG_MODE_DENSE;
    for (int p = 0; p < c->connect.pair_count; p++) noise = noise || c->connect.pairs[p] == SG_PAIR_SGD_NOISE;
    if (!wanted) return SG_OK;
    transfers made = {c->transfer.seed_count, c->transfer.noise_orders + 1, NULL};
    SG_TRY(SG_NEW(&made.number, (size_t)SG_MODE_COUNT * (size_t)made.seeds * (size_t)made.orders));
    int status = SG_AT(add_transfers(b, &dense, -1, one->id, SG_MODE_DENSE, &made));
    if (status == SG_OK && noise) status = SG_AT(add_noise_paths(b, &dense, one->id, SG_MODE_DENSE, &made));
    free(made.number);
    return status;
}

/* ---- searches */

static bool is_requested(const sg_transfer_config *t, int round) {
    for (int i = 0; i < t->round_count; i++)
        if (t->rounds[i] == round) return true;
    return false;
}

static int add_search(builder *b, enum sg_method method, const sg_alpha_range *alpha, uint64_t seed) {
    const sg_config *c = b->c;
    const sg_plan_case *one = &b->plan->about[b->number];
    branch search = {
        .common = {.searched = true, .method = method, .alpha = *alpha, .search_seed = seed, .density = 1}};
    char range[80] = "", low[32], high[32];
    if (method == SG_METHOD_AWS) {
        sg_format_double(alpha->low, low);
        sg_format_double(alpha->high, high);
        snprintf(range, sizeof range, "-a%s-%s", low, high);
    }
    snprintf(search.folder, sizeof search.folder, "%s/%s%s-s%llu", one->id, sg_method_name(method), range,
             (unsigned long long)seed);
    SG_TRY(add_stage(b, &search.common, SG_STAGE_WARMUP, search.folder, "warmup", &search.warmup));
    int state = search.warmup;
    for (int t = 1; t <= c->search.rounds; t++) {
        char name[32], folder[256];
        sg_plan_stage fields = search.common;
        fields.round = t;
        fields.density = (double)one->kept[t] / (double)one->kept[0];
        set_parents(&fields, method == SG_METHOD_IMP && state != search.warmup ? 2 : 1, state, search.warmup);
        snprintf(name, sizeof name, "round-%02d", t);
        snprintf(folder, sizeof folder, "%s/%s", search.folder, name);
        SG_TRY(add_stage(b, &fields, SG_STAGE_ROUND, search.folder, name, &state));
        branch here = search;
        here.common.round = t;
        here.common.density = fields.density;
        sg_plan_stage extract = here.common;
        set_parents(&extract, 1, state, -1);
        int number;
        SG_TRY(add_stage(b, &extract, SG_STAGE_EXTRACT, folder, "extract", &number));
        if (is_requested(&c->transfer, t)) SG_TRY(add_start(b, &here, state, folder));
    }
    return SG_OK;
}

static int add_searches(builder *b) {
    const sg_search_config *s = &b->c->search;
    const sg_alpha_range whole = {1, 1};
    for (int m = 0; m < s->method_count; m++) {
        bool aws = s->methods[m] == SG_METHOD_AWS;
        for (int a = 0; a < (aws ? s->alpha_count : 1); a++)
            for (int i = 0; i < s->seed_count; i++)
                SG_TRY(add_search(b, s->methods[m], aws ? &s->alpha[a] : &whole, s->seeds[i]));
    }
    return SG_OK;
}

static int add_mask_file(builder *b) {
    const char *digest = b->facts->cases[b->number].mask_digest;
    branch file = {.common = {.density = -1, .alpha = {1, 1}}};
    snprintf(file.folder, sizeof file.folder, "%s/file%s%.8s", b->plan->about[b->number].id,
             digest[0] != '\0' ? "-" : "", digest);
    return SG_AT(add_start(b, &file, -1, file.folder));
}

/* ---- the whole */

/* The integer chain of surviving weights; every round must leave some. */
static int make_chain(sg_plan_case *one, const sg_net *net, const sg_config *c) {
    bool searched = c->transfer.mask_file[0] == '\0' && c->search.method_count > 0;
    one->rounds = searched ? c->search.rounds : 0;
    SG_TRY(SG_NEW(&one->kept, (size_t)one->rounds + 1));
    one->kept[0] = sg_net_count(net, SG_ROLE_WEIGHT);
    for (int t = 1; t <= one->rounds; t++) {
        one->kept[t] = sg_prune_count(one->kept[t - 1], c->search.prune_fraction);
        SG_CHECK(one->kept[t] > 0, SG_CONFIG,
                 "search.rounds = %d with search.prune_fraction = %g prunes to nothing: round %d leaves none "
                 "of the %zu "
                 "prunable weights of %s; use fewer rounds (at most %d) or a smaller fraction",
                 one->rounds, c->search.prune_fraction, t, one->kept[0], c->net.arch, t - 1);
    }
    return SG_OK;
}

static void make_chains(sg_plan *plan) {
    for (int i = 0; i < plan->count; i++) plan->stages[i].chain = plan->stages[i].flop;
    for (int i = plan->count - 1; i >= 0; i--) {
        const sg_plan_stage *stage = &plan->stages[i];
        for (int j = 0; j < stage->parent_count; j++) {
            sg_plan_stage *parent = &plan->stages[stage->parents[j]];
            if (parent->flop + stage->chain > parent->chain) parent->chain = parent->flop + stage->chain;
        }
    }
}

static int compare_ids(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_ids(const sg_plan *plan) {
    const char **ids;
    SG_TRY(SG_NEW(&ids, (size_t)plan->count));
    for (int i = 0; i < plan->count; i++) ids[i] = plan->stages[i].id;
    qsort(ids, (size_t)plan->count, sizeof *ids, compare_ids);
    int status = SG_OK;
    for (int i = 1; i < plan->count && status == SG_OK; i++)
        if (strcmp(ids[i], ids[i - 1]) == 0)
            status = SG_FAIL(SG_INTERNAL, "two stages have the id %s", ids[i]);
    free(ids);
    return status;
}

static int add_case(builder *b) {
    sg_plan_case *one = &b->plan->about[b->number];
    sg_net_options options;
    sg_plan_net_options(b->c, &b->facts->cases[b->number], &options);
    SG_TRY(sg_net_create(&b->plan->nets[b->number], &options));
    one->batch = b->c->train.batch;
    SG_TRY(make_chain(one, b->plan->nets[b->number], b->c));
    SG_TRY(add_dense(b));
    if (b->c->transfer.mask_file[0] != '\0') return SG_AT(add_mask_file(b));
    return SG_AT(add_searches(b));
}

int sg_plan_ranks(const sg_run_config *config) { return sg_max(config->run.ranks_per_stage, 1); }

int sg_plan_create(sg_plan **plan, const sg_run_config *config, const sg_plan_facts *facts) {
    *plan = NULL;
    builder b = {.config = config, .facts = facts};
    SG_TRY(SG_NEW(&b.plan, 1));
    int status = SG_OK;
    b.plan->cases = config->count;
    b.plan->ranks = sg_plan_ranks(config);
    if ((status = SG_AT(SG_NEW(&b.plan->nets, (size_t)config->count)))) goto done;
    if ((status = SG_AT(SG_NEW(&b.plan->about, (size_t)config->count)))) goto done;
    if ((status = SG_AT(sg_plan_name_cases(b.plan, config)))) goto done;
    for (b.number = 0; b.number < config->count; b.number++) {
        b.c = &config->cases[b.number];
        if ((status = SG_AT(add_case(&b)))) goto done;
    }
    if ((status = SG_AT(check_ids(b.plan)))) goto done;
    make_chains(b.plan);
done:
    if (status == SG_CONFIG) sg_error_prefix(status, "%s: ", config->name);
    if (status != SG_OK) sg_plan_destroy(&b.plan);
    *plan = b.plan;
    return status;
}

void sg_plan_destroy(sg_plan **plan) {
    if (plan == NULL || *plan == NULL) return;
    for (int i = 0; i < (*plan)->count; i++) free((*plan)->stages[i].key_text);
    for (int i = 0; i < (*plan)->cases; i++) {
        if ((*plan)->nets != NULL) sg_net_destroy(&(*plan)->nets[i]);
        if ((*plan)->about != NULL) free((*plan)->about[i].kept);
    }
    free((*plan)->stages);
    free((*plan)->nets);
    free((*plan)->about);
    SG_FREE(*plan);
}

int sg_plan_find(const sg_plan *plan, const char *id) {
    for (int i = 0; i < plan->count; i++)
        if (strcmp(plan->stages[i].id, id) == 0) return i;
    return -1;
}

void sg_plan_part(sg_plan *plan, int part, int parts) {
    int roots = 0;
    for (int i = 0; i < plan->count; i++) {
        sg_plan_stage *stage = &plan->stages[i];
        stage->part = stage->parent_count == 0 ? roots++ % parts + 1 : plan->stages[stage->parents[0]].part;
        for (int k = 1; k < stage->parent_count; k++)
            if (plan->stages[stage->parents[k]].part != stage->part) stage->part = 0;
        if (stage->part != part && stage->state != SG_STATE_DONE) stage->state = SG_STATE_ELSEWHERE;
    }
}
