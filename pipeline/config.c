#include "pipeline/config.h"

#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/config_schema.h"
#include "pipeline/config_text.h"

enum { SWEEP_LIMIT = 256, PATH_LENGTH = 512 };

/* A draft, and where each of its values came from. */
typedef struct state {
    sg_config_draft draft;
    sg_config_places places;
} state;

/* One text through libconfig. */
typedef struct source {
    sg_config_text *text;
    config_t tree;
    bool open;
} source;

static int parse(source *s) {
    config_init(&s->tree);
    s->open = true;
    if (config_read_string(&s->tree, sg_config_text_bytes(s->text)) == CONFIG_TRUE) return SG_OK;
    char place[SG_CONFIG_PATH];
    sg_config_text_place(s->text, config_error_line(&s->tree), place, sizeof place);
    const char *what = config_error_text(&s->tree);
    return SG_FAIL(SG_CONFIG,
                   "%s: %s; is a quote, a bracket, a `;` or a `,` missing or too many here or on the line "
                   "before?",
                   place, what != NULL ? what : "syntax error");
}

static void close_source(source *s) {
    if (s->open) config_destroy(&s->tree);
    sg_config_text_destroy(&s->text);
    s->open = false;
}

/* ---- settings into a draft */

static int find_group(const char *name) {
    for (int i = 0; i < sg_key_group_count; i++)
        if (strcmp(sg_key_groups[i].name, name) == 0) return i;
    return -1;
}

static int unknown(const char *where, const char *shown, const char *path) {
    return SG_FAIL(SG_CONFIG, "%s: key `%s` is not known; nearest: `%s`", where, shown, sg_key_nearest(path));
}

/* path: "train.lr"; before: "" or "sweeps[1].", for messages. */
static int apply_setting(state *s, const config_setting_t *setting, const char *path, const char *before,
                         const char *where) {
    char shown[PATH_LENGTH];
    snprintf(shown, sizeof shown, "%s%s", before, path);
    int number = sg_key_find(path);
    if (number < 0) return unknown(where, shown, path);
    SG_TRY(sg_key_read(&sg_keys[number], where, shown, setting, &s->draft));
    snprintf(s->places.place[number], sizeof s->places.place[number], "%s", where);
    return SG_OK;
}

/* The groups of one setting: the file's root, or one entry of its sweeps. */
static int apply_groups(state *s, const source *from, const config_setting_t *root, const char *before) {
    char where[SG_CONFIG_PATH], path[PATH_LENGTH], shown[PATH_LENGTH + 64];
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *group = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(group);
        bool sweeps = before[0] == '\0' && strcmp(name, "sweeps") == 0;
        int number = find_group(name);
        sg_config_text_place(from->text, (int)config_setting_source_line(group), where, sizeof where);
        snprintf(shown, sizeof shown, "%s%s", before, name);
        if (sweeps) continue;
        if (number < 0) return unknown(where, shown, name);
        SG_CHECK(config_setting_is_group(group), SG_CONFIG,
                 "%s: key `%s` takes a group of settings in braces { ... }", where, shown);
        SG_CHECK(before[0] == '\0' || !sg_key_groups[number].shared, SG_CONFIG,
                 "%s: key `%s` is the same for all cases; it cannot be in sweeps", where, shown);
        for (int j = 0; j < config_setting_length(group); j++) {
            const config_setting_t *setting = config_setting_get_elem(group, (unsigned)j);
            snprintf(path, sizeof path, "%s.%s", name, config_setting_name(setting));
            sg_config_text_place(from->text, (int)config_setting_source_line(setting), where, sizeof where);
            SG_TRY(apply_setting(s, setting, path, before, where));
        }
    }
    return SG_OK;
}

/* ---- overrides */

static bool takes_words(const sg_key *key) {
    switch (key->type) {
    case SG_KEY_STRING:
    case SG_KEY_NAME:
    case SG_KEY_CHOICE:
    case SG_KEY_SWITCH:
    case SG_KEY_NAMES:
    case SG_KEY_CHOICES:
    case SG_KEY_ROUNDS:
        return true;
    default:
        return false;
    }
}

static bool takes_lists(const sg_key *key) { return key->type >= SG_KEY_RANGE; }

/* Appends value[0..length) to text, in double quotes when it is a bare word. */
static size_t add_word(char *text, size_t used, const char *value, size_t length, bool quote) {
    quote = quote && !(length > 0 && value[0] == '"');
    if (quote) text[used++] = '"';
    for (size_t i = 0; i < length; i++) {
        if (quote && (value[i] == '"' || value[i] == '\\')) text[used++] = '\\';
        text[used++] = value[i];
    }
    if (quote) text[used++] = '"';
    return used;
}

/* "train = { lr = VALUE; };" in text[4 * strlen(value) + 2 * strlen(path) + 32]. */
static void override_text(const sg_key *key, const char *value, char *text) {
    const char *leaf = strchr(key->path, '.') + 1;
    size_t used = (size_t)sprintf(text, "%.*s = { %s = ", (int)(leaf - 1 - key->path), key->path, leaf);
    bool list = takes_lists(key) && value[0] != '(' && value[0] != '[';
    if (!list) {
        bool raw = takes_lists(key) || !takes_words(key);
        used = add_word(text, used, value, strlen(value), !raw);
    } else {
        bool several = strchr(value, ',') != NULL || value[0] == '\0';
        if (several) text[used++] = '(';
        for (const char *at = value; *at != '\0';) {
            size_t length = strcspn(at, ",");
            size_t blanks = strspn(at, " ");
            if (blanks > length) blanks = length;
            bool number =
                key->type == SG_KEY_ROUNDS && strspn(at + blanks, "+-0123456789") == length - blanks;
            used = add_word(text, used, at + blanks, length - blanks, takes_words(key) && !number);
            at += length;
            if (*at == ',') text[used++] = *at++;
        }
        if (several) text[used++] = ')';
    }
    memcpy(text + used, "; };", 5);
}

static int apply_override(state *s, const char *override) {
    char path[PATH_LENGTH], where[256];
    const char *equals = strchr(override, '=');
    size_t length = equals != NULL ? (size_t)(equals - override) : 0;
    while (length > 0 && override[length - 1] == ' ') length--;
    SG_CHECK(length > 0, SG_CONFIG, "--set %.200s: write it as path=value, for example --set train.lr=0.05",
             override);
    snprintf(path, sizeof path, "%.*s", (int)(length < PATH_LENGTH ? length : PATH_LENGTH - 1), override);
    snprintf(where, sizeof where, "--set %.200s", override);
    int number = sg_key_find(path);
    SG_CHECK(find_group(path) < 0, SG_CONFIG,
             "%s: `%s` is a group; set its keys one by one, as in --set train.lr=0.05", where, path);
    if (number < 0) return unknown(where, path, path);
    const sg_key *key = &sg_keys[number];
    const char *value = equals + 1 + strspn(equals + 1, " ");
    SG_CHECK(*value != '\0' || takes_words(key) || takes_lists(key), SG_CONFIG, "%s: key `%s` needs a value",
             where, path);

    source from = {0};
    char *text;
    SG_TRY(SG_NEW(&text, 4 * strlen(value) + 2 * strlen(path) + 32));
    override_text(key, value, text);
    int status = SG_AT(sg_config_text_take(&from.text, where, text, strlen(text), false));
    if (status == SG_OK && parse(&from) != SG_OK)
        status = SG_FAIL(SG_CONFIG, "%s: key `%s`: `%.200s` is no value that libconfig can read", where, path,
                         value);
    if (status == SG_OK) {
        const config_setting_t *root = config_root_setting(&from.tree);
        const config_setting_t *group = config_setting_get_elem(root, 0);
        if (config_setting_length(root) != 1 || config_setting_length(group) != 1)
            status =
                SG_FAIL(SG_CONFIG, "%s: key `%s` takes one value; give further keys a --set of their own",
                        where, path);
        else
            status = SG_AT(apply_setting(s, config_setting_get_elem(group, 0), path, "", where));
    }
    close_source(&from);
    free(text);
    return status;
}

/* ---- cases */

static int add_case(sg_run_config *made, const sg_config_draft *draft) {
    SG_CHECK(made->count + draft->arch_count <= SWEEP_LIMIT, SG_CONFIG, "more than %d cases", SWEEP_LIMIT);
    sg_config *cases;
    SG_TRY(SG_NEW(&cases, (size_t)(made->count + draft->arch_count)));
    if (made->count > 0) memcpy(cases, made->cases, (size_t)made->count * sizeof *cases);
    free(made->cases);
    made->cases = cases;
    for (int i = 0; i < draft->arch_count; i++) {
        sg_config *one = &made->cases[made->count++];
        *one = draft->config;
        memcpy(one->net.arch, draft->archs[i], sizeof one->net.arch);
    }
    made->run = draft->run;
    made->kernels = draft->kernels;
    return SG_OK;
}

/* Overrides come last, then what needs several keys. `s` is used up. */
static int complete(sg_run_config *made, state *s, const char *const *overrides, int count) {
    for (int i = 0; i < count; i++) SG_TRY(apply_override(s, overrides[i]));
    SG_TRY(sg_config_check(&s->draft, &s->places));
    return SG_AT(add_case(made, &s->draft));
}

static int make_cases(sg_run_config *made, const source *from, const state *base,
                      const char *const *overrides, int count) {
    state *s;
    SG_TRY(SG_NEW(&s, 1));
    int status = SG_OK;
    const config_setting_t *sweeps =
        from != NULL ? config_setting_get_member(config_root_setting(&from->tree), "sweeps") : NULL;
    if (sweeps == NULL) {
        *s = *base;
        status = SG_AT(complete(made, s, overrides, count));
        goto done;
    }
    char where[SG_CONFIG_PATH], before[64];
    sg_config_text_place(from->text, (int)config_setting_source_line(sweeps), where, sizeof where);
    if (!config_setting_is_list(sweeps) || config_setting_length(sweeps) == 0) {
        status = SG_FAIL(SG_CONFIG, "%s: key `sweeps` takes a list of groups: ({ net = { ... }; }, { ... })",
                         where);
        goto done;
    }
    for (int i = 0; i < config_setting_length(sweeps); i++) {
        const config_setting_t *sweep = config_setting_get_elem(sweeps, (unsigned)i);
        snprintf(before, sizeof before, "sweeps[%d].", i);
        if (!config_setting_is_group(sweep)) {
            status = SG_FAIL(SG_CONFIG, "%s: key `sweeps[%d]` takes groups of settings in braces { ... }",
                             where, i);
            goto done;
        }
        *s = *base;
        if ((status = SG_AT(apply_groups(s, from, sweep, before)))) goto done;
        if ((status = SG_AT(complete(made, s, overrides, count)))) goto done;
    }
done:
    free(s);
    return status;
}

/* The same case twice would be computed twice under one name. */
static int check_cases(const sg_run_config *made, const char *name) {
    char **texts;
    SG_TRY(SG_NEW(&texts, (size_t)made->count));
    int status = SG_OK;
    for (int i = 0; i < made->count && status == SG_OK; i++) {
        status = SG_AT(sg_config_case_text(&made->cases[i], &texts[i]));
        for (int j = 0; j < i && status == SG_OK; j++)
            if (strcmp(texts[i], texts[j]) == 0)
                status = SG_FAIL(SG_CONFIG, "%s: cases %d and %d (of net.arch and sweeps) are the same", name,
                                 j + 1, i + 1);
    }
    for (int i = 0; i < made->count; i++) free(texts[i]);
    free(texts);
    return status;
}

static int apply_defaults(state *s) {
    char text[SG_CONFIG_PATH];
    for (int i = 0; i < sg_key_count; i++) {
        source from = {0};
        int length = snprintf(text, sizeof text, "x = %s;", sg_keys[i].fallback);
        int status = SG_AT(sg_config_text_take(&from.text, "default", text, (size_t)length, false));
        if (status == SG_OK) status = SG_AT(parse(&from));
        if (status == SG_OK)
            status =
                SG_AT(sg_key_read(&sg_keys[i], "default", sg_keys[i].path,
                                  config_setting_get_elem(config_root_setting(&from.tree), 0), &s->draft));
        close_source(&from);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

/* from: read text; NULL for defaults. Takes it over. */
static int build(sg_run_config **config, const char *name, sg_config_text *text, const char *const *overrides,
                 int count) {
    source from = {.text = text};
    state *base = NULL;
    sg_run_config *made = NULL;
    int status = SG_OK;
    if ((status = SG_AT(SG_NEW(&base, 1)))) goto done;
    if ((status = SG_AT(SG_NEW(&made, 1)))) goto done;
    base->places.name = name;
    snprintf(made->name, sizeof made->name, "%s", name);
    if ((status = SG_AT(apply_defaults(base)))) goto done;
    if (text != NULL) {
        if ((status = SG_AT(parse(&from)))) goto done;
        if ((status = SG_AT(apply_groups(base, &from, config_root_setting(&from.tree), "")))) goto done;
    }
    if ((status = SG_AT(make_cases(made, text != NULL ? &from : NULL, base, overrides, count)))) goto done;
    status = SG_AT(check_cases(made, name));
done:
    close_source(&from);
    free(base);
    if (status != SG_OK) sg_config_destroy(&made);
    *config = made;
    return status;
}

int sg_config_load(sg_run_config **config, const char *file, const char *const *overrides, int count) {
    *config = NULL;
    sg_config_text *text;
    SG_TRY(sg_config_text_read(&text, file));
    return SG_AT(build(config, file, text, overrides, count));
}

int sg_config_parse(sg_run_config **config, const char *name, const char *text, const char *const *overrides,
                    int count) {
    *config = NULL;
    sg_config_text *taken = NULL;
    if (text != NULL) SG_TRY(sg_config_text_take(&taken, name, text, strlen(text), true));
    return SG_AT(build(config, name, taken, overrides, count));
}

void sg_config_destroy(sg_run_config **config) {
    if (config == NULL || *config == NULL) return;
    free((*config)->cases);
    SG_FREE(*config);
}
