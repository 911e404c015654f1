/* What identifies a stage: its case's name, its key, and what differs between two keys. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "pipeline/config_schema.h"
#include "pipeline/plan_build.h"

enum { SUFFIX_LENGTH = 40, VALUE_LENGTH = 2 * SG_CONFIG_PATH + 64 };

static void hex_of(XXH128_hash_t hash, char hex[33]) {
    snprintf(hex, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

int sg_plan_file_digest(const char *path, char digest[33]) {
    enum { CHUNK = 1 << 20 };
    int status = SG_OK, file = open(path, O_RDONLY | O_CLOEXEC);
    SG_CHECK(file >= 0, SG_NOINPUT, "%s: cannot be opened: %s", path, strerror(errno));
    char *chunk = NULL;
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) status = SG_FAIL(SG_NOMEM, "out of memory: hashing %s", path);
    if (status == SG_OK) status = SG_AT(SG_NEW(&chunk, CHUNK));
    if (status == SG_OK) XXH3_128bits_reset(state);
    while (status == SG_OK) {
        ssize_t got = read(file, chunk, CHUNK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = SG_FAIL(SG_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got <= 0) break;
        XXH3_128bits_update(state, chunk, (size_t)got);
    }
    if (status == SG_OK) hex_of(XXH3_128bits_digest(state), digest);
    XXH3_freeState(state);
    free(chunk);
    close(file);
    return status;
}

/* ---- names of cases */

/* The next line of *text, without its end; NULL after the last. */
static const char *next_line(const char **text, size_t *length) {
    const char *line = *text;
    if (*line == '\0') return NULL;
    *length = strcspn(line, "\n");
    *text = line + *length + (line[*length] == '\n');
    return line;
}

/* What one case has that another of the same name has not, as ids may hold it: "-lr0.05"; and the hash of it
 * all. */
static void add_differences(const char *own, const char *other, char *suffix, size_t size,
                            XXH3_state_t *hash) {
    size_t m, n;
    const char *line;
    while ((line = next_line(&own, &m)) != NULL) {
        const char *twin = next_line(&other, &n);
        if (twin != NULL && m == n && memcmp(line, twin, m) == 0) continue;
        XXH3_128bits_update(hash, line, m);
        size_t at = 0, used = strlen(suffix);
        char part[SUFFIX_LENGTH + 2] = "-";
        for (size_t i = 0, k = 1; i < m && k + 1 < sizeof part; i++) {
            if (line[i] == '.' && at == 0) at = i + 1;
            if (at == 0 || i < at) continue;
            if (isalnum((unsigned char)line[i]) || (line[i] == '.' && k > 1)) part[k++] = line[i];
        }
        if (strstr(suffix, part) == NULL) snprintf(suffix + used, size - used, "%s", part);
    }
}

/* Whether a name of so many letters was written whole. */
static int fits(int length, size_t size, const char *name) {
    SG_CHECK(length < (int)size, SG_CONFIG, "%s: its stages' names would have over %zu letters; shorten it",
             name, size - 1);
    return SG_OK;
}

int sg_plan_name_cases(sg_plan *plan, const sg_run_config *config) {
    int status = SG_OK, count = config->count;
    char **texts = NULL, (*bases)[sizeof plan->about->id] = NULL;
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL) return SG_FAIL(SG_NOMEM, "out of memory: naming cases");
    if ((status = SG_AT(SG_NEW(&texts, (size_t)count)))) goto done;
    if ((status = SG_AT(SG_NEW(&bases, (size_t)count)))) goto done;
    for (int i = 0; i < count; i++) {
        const sg_config *c = &config->cases[i];
        char width[24] = "", depth[24] = "";
        if (c->net.width != 0) snprintf(width, sizeof width, "-w%d", c->net.width);
        if (c->net.depth != 0) snprintf(depth, sizeof depth, "-d%d", c->net.depth);
        int length =
            snprintf(bases[i], sizeof bases[i], "%s%s%s-%s", c->net.arch, width, depth, c->data.kind);
        if ((status = SG_AT(fits(length, sizeof bases[i], c->net.arch)))) goto done;
        if ((status = SG_AT(sg_config_case_text(c, &texts[i])))) goto done;
    }
    for (int i = 0; i < count; i++) {
        char suffix[4 * SUFFIX_LENGTH] = "";
        XXH3_128bits_reset(hash);
        for (int j = 0; j < count; j++)
            if (j != i && strcmp(bases[i], bases[j]) == 0)
                add_differences(texts[i], texts[j], suffix, sizeof suffix, hash);
        if (strlen(suffix) > SUFFIX_LENGTH)
            snprintf(suffix, sizeof suffix, "-%08llx",
                     (unsigned long long)(XXH3_128bits_digest(hash).low64 & 0xffffffffu));
        int length = snprintf(plan->about[i].id, sizeof plan->about[i].id, "%s%s", bases[i], suffix);
        if ((status = SG_AT(fits(length, sizeof plan->about[i].id, bases[i])))) goto done;
    }
done:
    for (int i = 0; texts != NULL && i < count; i++) free(texts[i]);
    free(texts);
    free(bases);
    XXH3_freeState(hash);
    return status;
}

/* ---- keys */

/* A text that grows; the first error stays. */
typedef struct lines {
    char *text;
    size_t length, capacity;
    int status;
} lines;

static void add_line(lines *l, const char *name, const char *value) {
    size_t more = strlen(name) + strlen(value) + 4;
    if (l->status != SG_OK) return;
    if (l->length + more + 1 > l->capacity) {
        size_t capacity = 2 * (l->length + more) + 1024;
        char *grown;
        if ((l->status = SG_AT(SG_NEW(&grown, capacity)))) return;
        if (l->length > 0) memcpy(grown, l->text, l->length);
        free(l->text);
        l->text = grown;
        l->capacity = capacity;
    }
    l->length += (size_t)snprintf(l->text + l->length, l->capacity - l->length, "%s = %s\n", name, value);
}

static void add_number(lines *l, const char *name, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    add_line(l, name, text);
}

static void add_option(lines *l, const sg_config *c, const char *path) {
    char value[VALUE_LENGTH];
    if (l->status == SG_OK) l->status = SG_AT(sg_config_value(c, path, value, sizeof value));
    if (l->status == SG_OK) add_line(l, path, value);
}

static void add_options(lines *l, const sg_config *c, const char *const *paths) {
    for (; *paths != NULL; paths++) add_option(l, c, *paths);
}

/* What every stage that computes depends on. The fingerprint settles the data's content; where it came from
 * is for those who read a difference. */
static void add_computation(lines *l, const sg_config *c, const sg_plan_case_facts *facts,
                            const char *arithmetic) {
    static const char *const options[] = {
        "net.arch",  "net.classes",      "net.width",       "net.dropout",  "net.depth",
        "data.kind", "data.train_limit", "data.test_limit", "data.augment", NULL};
    add_line(l, "arithmetic", arithmetic != NULL && arithmetic[0] != '\0' ? arithmetic : "unknown");
    add_line(l, "data", facts->fingerprint[0] != '\0' ? facts->fingerprint : "unknown");
    add_options(l, c, options);
    if (strcmp(c->data.kind, "shapes") == 0) add_option(l, c, "data.seed");
    add_option(l, c, "train.batch");
}

static void add_training(lines *l, const sg_config *c) {
    static const char *const options[] = {"train.optimizer", "train.lr",        "train.weight_decay",
                                          "train.order",     "train.max_steps", NULL};
    add_options(l, c, options);
    if (c->train.optimizer == SG_SGD) add_option(l, c, "train.momentum");
}

static void add_search(lines *l, const sg_plan_stage *stage) {
    char low[32], high[32], range[80];
    sg_format_double(stage->alpha.low, low);
    sg_format_double(stage->alpha.high, high);
    snprintf(range, sizeof range, "(%s, %s)", low, high);
    add_line(l, "search.method", sg_method_name(stage->method));
    add_line(l, "search.alpha", range);
    add_number(l, "search.seed", stage->search_seed);
}

static void add_own(lines *l, const sg_config *c, const sg_plan_case_facts *facts,
                    const sg_plan_stage *stage) {
    switch (stage->kind) {
    case SG_STAGE_WARMUP:
        add_training(l, c);
        add_search(l, stage);
        add_option(l, c, "search.warmup_epochs");
        add_option(l, c, "search.schedule");
        if (stage->method == SG_METHOD_IMP) add_option(l, c, "search.imp_rewind_epoch");
        return;
    case SG_STAGE_ROUND:
        add_training(l, c);
        add_search(l, stage);
        add_number(l, "round", (uint64_t)stage->round);
        add_option(l, c, "search.round_epochs");
        add_option(l, c, "search.prune_fraction");
        add_option(l, c, "search.schedule");
        return;
    case SG_STAGE_TRANSFER:
        add_training(l, c);
        add_line(l, "transfer.mode", sg_mode_name(stage->mode));
        add_number(l, "transfer.seed", stage->transfer_seed);
        add_number(l, "transfer.order_seed", stage->order_seed);
        add_option(l, c, "transfer.epochs");
        add_option(l, c, "transfer.schedule");
        if (stage->parent_count == 0 && stage->mode != SG_MODE_DENSE)
            add_line(l, "transfer.mask_file", facts->mask_digest[0] != '\0' ? facts->mask_digest : "unknown");
        return;
    case SG_STAGE_CONNECT:
        add_line(l, "connect.pair", sg_pair_name(stage->pair));
        add_option(l, c, "connect.points");
        add_option(l, c, "connect.recalibrate");
        return;
    default:
        return;
    }
}

int sg_plan_make_key(const sg_plan *plan, const sg_run_config *config, const sg_plan_facts *facts,
                     sg_plan_stage *stage) {
    const sg_config *c = &config->cases[stage->config];
    const sg_plan_case_facts *own = &facts->cases[stage->config];
    lines l = {0};
    add_number(&l, "format", SG_PLAN_FORMAT);
    add_line(&l, "stage", sg_stage_kind_name(stage->kind));
    if (stage->kind != SG_STAGE_EXTRACT) add_computation(&l, c, own, facts->arithmetic);
    add_own(&l, c, own, stage);
    for (int i = 0; i < stage->parent_count; i++) {
        const sg_plan_stage *parent = &plan->stages[stage->parents[i]];
        char name[sizeof parent->id + 16];
        snprintf(name, sizeof name, "parent %s", parent->id);
        add_line(&l, name, parent->key);
    }
    if (l.status != SG_OK) {
        free(l.text);
        return l.status;
    }
    stage->key_text = l.text;
    hex_of(XXH3_128bits(l.text, l.length), stage->key);
    return SG_OK;
}

/* ---- differences */

/* The value of `name` in a key text; NULL if there is none. */
static const char *find_value(const char *text, const char *name, size_t name_length, size_t *length) {
    size_t m;
    const char *line;
    while ((line = next_line(&text, &m)) != NULL) {
        if (m < name_length + 3 || memcmp(line, name, name_length) != 0 ||
            memcmp(line + name_length, " = ", 3) != 0)
            continue;
        *length = m - name_length - 3;
        return line + name_length + 3;
    }
    return NULL;
}

/* Length of a line's name: what stands before " = ". */
static size_t name_length_of(const char *line, size_t length) {
    for (size_t i = 0; i + 3 <= length; i++)
        if (memcmp(line + i, " = ", 3) == 0) return i;
    return length;
}

int sg_plan_diff(const char *old_text, const char *new_text, char *out, size_t size) {
    int count = 0;
    size_t used = 0, length;
    const char *line, *rest = new_text, absent[] = "(absent)";
    if (size > 0) out[0] = '\0';
    for (int pass = 0; pass < 2; pass++, rest = old_text)
        while ((line = next_line(&rest, &length)) != NULL) {
            size_t name = name_length_of(line, length), before_length = 0, after_length = 0;
            const char *before = find_value(old_text, line, name, &before_length);
            const char *after = find_value(new_text, line, name, &after_length);
            if (pass == 1 && after != NULL) continue; /* the first pass saw it */
            if (before != NULL && after != NULL && before_length == after_length &&
                memcmp(before, after, after_length) == 0)
                continue;
            if (before == NULL) before = absent, before_length = sizeof absent - 1;
            if (after == NULL) after = absent, after_length = sizeof absent - 1;
            count++;
            if (used < size)
                used += (size_t)snprintf(out + used, size - used, "%.*s: %.*s -> %.*s\n", (int)name, line,
                                         (int)before_length, before, (int)after_length, after);
        }
    return count;
}
