/* The resolved configuration, and the reference page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/config_schema.h"

enum { VALUE_LENGTH = 20480 /* the longest value: SG_CONFIG_LIST ranges */ };

static void draft_of(const sg_run_config *config, const sg_config *one, sg_config_draft *draft) {
    memset(draft, 0, sizeof *draft);
    draft->config = *one;
    if (config != NULL) {
        draft->run = config->run;
        draft->kernels = config->kernels;
    }
    draft->arch_count = 1;
    memcpy(draft->archs[0], one->net.arch, sizeof draft->archs[0]);
}

static bool in_group(const sg_key *key, const char *group) {
    size_t length = strlen(group);
    return strncmp(key->path, group, length) == 0 && key->path[length] == '.';
}

static bool is_shared(const sg_key *key) {
    for (int g = 0; g < sg_key_group_count; g++)
        if (in_group(key, sg_key_groups[g].name)) return sg_key_groups[g].shared;
    return false;
}

int sg_config_value(const sg_config *config, const char *path, char *text, size_t size) {
    sg_config_draft draft;
    draft_of(NULL, config, &draft);
    int number = sg_key_find(path);
    SG_CHECK(number >= 0, SG_INTERNAL, "no key `%s` in the table", path);
    SG_CHECK(sg_key_format(&sg_keys[number], &draft, text, size), SG_INTERNAL,
             "the value of `%s` needs more than %zu bytes", path, size);
    return SG_OK;
}

/* Appends to a text that grows. */
static int append(char **text, size_t *length, size_t *capacity, const char *more) {
    size_t count = strlen(more);
    if (*length + count + 1 > *capacity) {
        char *grown;
        SG_TRY(SG_NEW(&grown, 2 * (*length + count + 1)));
        if (*length > 0) memcpy(grown, *text, *length);
        free(*text);
        *text = grown;
        *capacity = 2 * (*length + count + 1);
    }
    memcpy(*text + *length, more, count + 1);
    *length += count;
    return SG_OK;
}

int sg_config_case_text(const sg_config *config, char **text) {
    *text = NULL;
    size_t length = 0, capacity = 0;
    char *value;
    SG_TRY(SG_NEW(&value, VALUE_LENGTH));
    sg_config_draft draft;
    draft_of(NULL, config, &draft);
    int status = SG_OK;
    for (int i = 0; i < sg_key_count && status == SG_OK; i++) {
        if (is_shared(&sg_keys[i])) continue;
        sg_key_format(&sg_keys[i], &draft, value, VALUE_LENGTH);
        const char *parts[] = {sg_keys[i].path, " = ", value, "\n"};
        for (int j = 0; j < 4 && status == SG_OK; j++)
            status = SG_AT(append(text, &length, &capacity, parts[j]));
    }
    free(value);
    if (status != SG_OK) SG_FREE(*text);
    return status;
}

/* ---- the resolved configuration */

/* "Possible: a, b." or "From 0 to 1, not 1." into text; "" when everything goes. */
static void describe_limits(const sg_key *key, char *text, size_t size) {
    const char *const *choices = sg_key_choices(key);
    text[0] = '\0';
    if (choices != NULL) {
        size_t used = 0;
        for (int i = 0; choices[i] != NULL && used < size; i++)
            used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", choices[i]);
    } else if (key->low != key->high) {
        char low[32], high[32];
        snprintf(low, sizeof low, "%.15g", key->low);
        snprintf(high, sizeof high, "%.15g", key->high);
        if (key->high > 9e18)
            snprintf(text, size, "%s to 2^63 - 1", low);
        else if (key->high >= 2147483647.0)
            snprintf(text, size, "%s or more", low);
        else
            snprintf(text, size, "%s%s to %s%s", key->above ? "above " : "", low, key->below ? "below " : "",
                     high);
    }
}

/* A comment in lines of at most 110 columns. */
static void print_comment(FILE *out, const char *text) {
    enum { WIDTH = 104 };
    while (*text != '\0') {
        size_t length = strlen(text);
        if (length > WIDTH) {
            length = WIDTH;
            while (length > 1 && text[length] != ' ') length--;
        }
        fprintf(out, "    # %.*s\n", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

static void print_key(FILE *out, const sg_key *key, const char *value) {
    char limits[512], comment[1024];
    describe_limits(key, limits, sizeof limits);
    snprintf(comment, sizeof comment, "%s%s%s%s%s%s%s", key->help, key->unit[0] != '\0' ? " (" : "",
             key->unit, key->unit[0] != '\0' ? ")" : "", limits[0] != '\0' ? " [" : "", limits,
             limits[0] != '\0' ? "]" : "");
    print_comment(out, comment);
    fprintf(out, "    %s = %s;\n", strchr(key->path, '.') + 1, value);
}

/* Which keys differ between the cases: arch alone, or more. */
static void find_differences(const sg_run_config *config, char *one, char *two, bool *differs,
                             bool *only_arch) {
    sg_config_draft first, other;
    draft_of(config, &config->cases[0], &first);
    *only_arch = true;
    for (int i = 0; i < sg_key_count; i++) {
        differs[i] = false;
        if (is_shared(&sg_keys[i])) continue;
        sg_key_format(&sg_keys[i], &first, one, VALUE_LENGTH);
        for (int c = 1; c < config->count && !differs[i]; c++) {
            draft_of(config, &config->cases[c], &other);
            sg_key_format(&sg_keys[i], &other, two, VALUE_LENGTH);
            differs[i] = strcmp(one, two) != 0;
        }
        if (differs[i] && strcmp(sg_keys[i].path, "net.arch") != 0) *only_arch = false;
    }
    if (config->count > SG_CONFIG_ARCHS) *only_arch = false;
}

static void print_sweeps(FILE *out, const sg_run_config *config, const bool *differs, char *value) {
    fprintf(out, "\n# One group per case: what differs between them.\nsweeps = (\n");
    for (int c = 0; c < config->count; c++) {
        sg_config_draft draft;
        draft_of(config, &config->cases[c], &draft);
        fprintf(out, "    {");
        for (int g = 0; g < sg_key_group_count; g++) {
            bool open = false;
            for (int i = 0; i < sg_key_count; i++) {
                if (!differs[i] || !in_group(&sg_keys[i], sg_key_groups[g].name)) continue;
                if (!open) fprintf(out, " %s = {", sg_key_groups[g].name);
                open = true;
                sg_key_format(&sg_keys[i], &draft, value, VALUE_LENGTH);
                fprintf(out, " %s = %s;", strchr(sg_keys[i].path, '.') + 1, value);
            }
            if (open) fprintf(out, " };");
        }
        fprintf(out, " }%s\n", c + 1 < config->count ? "," : "");
    }
    fprintf(out, ");\n");
}

static int check_stream(FILE *out) {
    SG_CHECK(fflush(out) == 0 && !ferror(out), SG_IO, "writing the configuration: %s", strerror(errno));
    return SG_OK;
}

int sg_config_print(const sg_run_config *config, FILE *out) {
    char *one = NULL, *two = NULL;
    bool differs[SG_KEY_LIMIT], only_arch;
    int status = SG_OK;
    if ((status = SG_AT(SG_NEW(&one, VALUE_LENGTH)))) goto done;
    if ((status = SG_AT(SG_NEW(&two, VALUE_LENGTH)))) goto done;
    find_differences(config, one, two, differs, &only_arch);
    sg_config_draft draft;
    draft_of(config, &config->cases[0], &draft);
    if (only_arch) {
        draft.arch_count = config->count;
        for (int c = 0; c < config->count; c++)
            memcpy(draft.archs[c], config->cases[c].net.arch, sizeof draft.archs[c]);
    }
    fprintf(out, "# Resolved configuration: every key, defaults included. Itself a valid configuration.\n");
    for (int g = 0; g < sg_key_group_count; g++) {
        fprintf(out, "\n# %s: %s\n%s = {\n", sg_key_groups[g].name, sg_key_groups[g].help,
                sg_key_groups[g].name);
        for (int i = 0; i < sg_key_count; i++) {
            if (!in_group(&sg_keys[i], sg_key_groups[g].name)) continue;
            sg_key_format(&sg_keys[i], &draft, one, VALUE_LENGTH);
            print_key(out, &sg_keys[i], one);
        }
        fprintf(out, "};\n");
    }
    if (!only_arch) print_sweeps(out, config, differs, one);
    status = SG_AT(check_stream(out));
done:
    free(one);
    free(two);
    return status;
}

/* ---- the reference page */

static const char *type_text(const sg_key *key) {
    switch (key->type) {
    case SG_KEY_INT:
        return "integer";
    case SG_KEY_SEED:
        return "integer";
    case SG_KEY_FLOAT:
        return "number";
    case SG_KEY_BOOL:
        return "true, false";
    case SG_KEY_STRING:
        return "string";
    case SG_KEY_NAME:
    case SG_KEY_CHOICE:
    case SG_KEY_SWITCH:
        return "name";
    case SG_KEY_RANGE:
        return "(low, high)";
    case SG_KEY_NAMES:
        return "name, or list of names";
    case SG_KEY_SEEDS:
        return "list of integers";
    case SG_KEY_FLOATS:
        return "list of numbers";
    case SG_KEY_CHOICES:
        return "list of names";
    case SG_KEY_RANGES:
        return "(low, high), or list of them";
    case SG_KEY_ROUNDS:
        return "list of integers, or \"all\"";
    }
    return "";
}

int sg_config_reference(FILE *out) {
    fprintf(out, "# Configuration\n\n"
                 "<!-- Made by `make docs` from pipeline/config_schema.c. -->\n\n"
                 "A run file is written for libconfig: groups of settings, `group = { key = value; ... };`. "
                 "Every key has a\n"
                 "default; `signet plan CONFIG --resolved` prints all of them as they apply. A key that is "
                 "not known, a value of\n"
                 "the wrong type and a value that is impossible are errors that name file, line and key.\n\n"
                 "- Integers are taken where numbers are meant, and a single value where a list is meant. "
                 "Integers have up to\n"
                 "  64 bits; those above 2147483647 need no `L`.\n"
                 "- `--set path=value` on the command line wins over the file: `--set train.lr=0.05`, `--set "
                 "search.seeds=1,2`,\n"
                 "  `--set 'search.alpha=((0,1),(0.5,1))'`. Names need no quotes there.\n"
                 "- Relative paths are relative to the current directory. `@include \"file\"` takes regular "
                 "files below the\n"
                 "  configuration's own folder.\n"
                 "- A list of names for `net.arch` gives one case each. `sweeps = ({ net = {...}; train = "
                 "{...}; }, {...});`\n"
                 "  gives one case per group; each group says what differs from the rest of the file.\n");
    for (int g = 0; g < sg_key_group_count; g++) {
        fprintf(out, "\n## %s: %s\n\n", sg_key_groups[g].name, sg_key_groups[g].help);
        fprintf(out, "| key | type | default | possible | unit | meaning |\n|---|---|---|---|---|---|\n");
        for (int i = 0; i < sg_key_count; i++) {
            if (!in_group(&sg_keys[i], sg_key_groups[g].name)) continue;
            char limits[512];
            describe_limits(&sg_keys[i], limits, sizeof limits);
            fprintf(out, "| `%s` | %s | `%s` | %s | %s | %s |\n", sg_keys[i].path, type_text(&sg_keys[i]),
                    sg_keys[i].fallback, limits, sg_keys[i].unit, sg_keys[i].help);
        }
    }
    return SG_AT(check_stream(out));
}
