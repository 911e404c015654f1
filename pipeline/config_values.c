/* One key's value: from libconfig's setting into the draft, and from the draft into text. */
#include <libconfig.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/config_schema.h"

/* Where a value is read: everything that a message needs. */
typedef struct reader {
    const sg_key *key;
    const char *where, *path;
} reader;

static const char *type_name(const config_setting_t *setting) {
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_GROUP:
        return "a group";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "an integer";
    case CONFIG_TYPE_FLOAT:
        return "a floating-point number";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    default:
        return "a list";
    }
}

static int wrong_type(const reader *r, const char *expected, const config_setting_t *setting) {
    return SG_FAIL(SG_CONFIG, "%s: key `%s` takes %s, got %s", r->where, r->path, expected,
                   type_name(setting));
}

static bool is_integer(const config_setting_t *setting) {
    int type = config_setting_type(setting);
    return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static bool is_sequence(const config_setting_t *setting) {
    return config_setting_is_list(setting) || config_setting_is_array(setting);
}

static int check_bounds(const reader *r, double value, const char *text) {
    const sg_key *key = r->key;
    if (key->low == key->high) return SG_OK;
    bool inside = (key->above ? value > key->low : value >= key->low) &&
                  (key->below ? value < key->high : value <= key->high);
    char low[32], high[32];
    snprintf(low, sizeof low, "%.15g", key->low);
    snprintf(high, sizeof high, "%.15g", key->high);
    SG_CHECK(inside, SG_CONFIG, "%s: key `%s` = %s is out of range: it must be %s %s and %s %s", r->where,
             r->path, text, key->above ? "more than" : "at least", low, key->below ? "less than" : "at most",
             high);
    return SG_OK;
}

static int read_integer(const reader *r, const config_setting_t *setting, const char *expected,
                        long long *value) {
    if (!is_integer(setting)) return wrong_type(r, expected, setting);
    *value = config_setting_get_int64(setting);
    char text[32];
    snprintf(text, sizeof text, "%lld", *value);
    return SG_AT(check_bounds(r, (double)*value, text));
}

/* Integers are accepted where floating-point numbers are meant; libconfig's own getter would give 0. */
static int read_float(const reader *r, const config_setting_t *setting, const char *expected, double *value) {
    if (is_integer(setting))
        *value = (double)config_setting_get_int64(setting);
    else if (config_setting_type(setting) == CONFIG_TYPE_FLOAT)
        *value = config_setting_get_float(setting);
    else
        return wrong_type(r, expected, setting);
    char text[32];
    sg_format_double(*value, text);
    SG_CHECK(isfinite(*value), SG_CONFIG, "%s: key `%s` = %s is not a finite number", r->where, r->path,
             text);
    return SG_AT(check_bounds(r, *value, text));
}

static int read_string(const reader *r, const config_setting_t *setting, const char *expected, char *out,
                       size_t size) {
    if (config_setting_type(setting) != CONFIG_TYPE_STRING) return wrong_type(r, expected, setting);
    const char *value = config_setting_get_string(setting);
    SG_CHECK(strlen(value) < size, SG_CONFIG, "%s: key `%s`: the string is longer than %zu bytes", r->where,
             r->path, size - 1);
    for (const char *c = value; *c != '\0'; c++)
        SG_CHECK((unsigned char)*c >= 32 && *c != 127, SG_CONFIG,
                 "%s: key `%s`: the string holds a control character", r->where, r->path);
    snprintf(out, size, "%s", value);
    return SG_OK;
}

static int read_choice(const reader *r, const config_setting_t *setting, int *choice) {
    const char *const *choices = sg_key_choices(r->key);
    if (config_setting_type(setting) != CONFIG_TYPE_STRING)
        return wrong_type(r, "a name in double quotes", setting);
    const char *value = config_setting_get_string(setting);
    int count = 0;
    char all[512];
    size_t used = 0;
    for (; choices[count] != NULL; count++) {
        if (strcmp(choices[count], value) == 0) {
            *choice = count;
            return SG_OK;
        }
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", count > 0 ? ", " : "",
                                     choices[count]);
    }
    return SG_FAIL(SG_CONFIG, "%s: key `%s` = \"%.64s\" is not known; nearest: \"%s\"; possible: %s",
                   r->where, r->path, value, sg_nearest(value, choices, count), all);
}

static int read_range(const reader *r, const config_setting_t *setting, sg_alpha_range *range) {
    const char *expected = "a range (low, high)";
    if (!is_sequence(setting) || config_setting_length(setting) != 2) return wrong_type(r, expected, setting);
    SG_TRY(read_float(r, config_setting_get_elem(setting, 0), expected, &range->low));
    SG_TRY(read_float(r, config_setting_get_elem(setting, 1), expected, &range->high));
    SG_CHECK(range->low <= range->high, SG_CONFIG, "%s: key `%s`: the range (%g, %g) is upside down",
             r->where, r->path, range->low, range->high);
    return SG_OK;
}

static int read_element(const reader *r, const config_setting_t *setting, void *list, int i) {
    switch (r->key->type) {
    case SG_KEY_NAMES: {
        int choice = 0;
        SG_TRY(read_choice(r, setting, &choice));
        snprintf(((char(*)[SG_CONFIG_NAME])list)[i], SG_CONFIG_NAME, "%s", sg_key_choices(r->key)[choice]);
        return SG_OK;
    }
    case SG_KEY_SEEDS: {
        long long value = 0;
        SG_TRY(read_integer(r, setting, "a list of integers", &value));
        ((uint64_t *)list)[i] = (uint64_t)value;
        return SG_OK;
    }
    case SG_KEY_ROUNDS: {
        long long value = 0;
        SG_TRY(read_integer(r, setting, "a list of integers or \"all\"", &value));
        ((int *)list)[i] = (int)value;
        return SG_OK;
    }
    case SG_KEY_FLOATS:
        return SG_AT(read_float(r, setting, "a list of numbers", &((double *)list)[i]));
    case SG_KEY_CHOICES: {
        int choice = 0;
        SG_TRY(read_choice(r, setting, &choice));
        memcpy((char *)list + (size_t)i * sizeof choice, &choice, sizeof choice);
        return SG_OK;
    }
    default:
        return SG_AT(read_range(r, setting, &((sg_alpha_range *)list)[i]));
    }
}

static size_t element_size(const sg_key *key) {
    switch (key->type) {
    case SG_KEY_NAMES:
        return SG_CONFIG_NAME;
    case SG_KEY_SEEDS:
        return sizeof(uint64_t);
    case SG_KEY_FLOATS:
        return sizeof(double);
    case SG_KEY_RANGES:
        return sizeof(sg_alpha_range);
    default:
        return sizeof(int);
    }
}

_Static_assert(sizeof(enum sg_method) == sizeof(int) && sizeof(enum sg_mode) == sizeof(int) &&
                   sizeof(enum sg_pair) == sizeof(int) && sizeof(enum sg_schedule) == sizeof(int) &&
                   sizeof(enum sg_optimizer_kind) == sizeof(int),
               "enums of the configuration are read and written as int");

/* A scalar stands for a list of one; (0.0, 1.0) is one range. */
static int read_list(const reader *r, const config_setting_t *setting, sg_config_draft *draft) {
    char *list = (char *)draft + r->key->offset;
    int *count = (int *)((char *)draft + r->key->count_offset);
    bool one = !is_sequence(setting);
    if (r->key->type == SG_KEY_RANGES && !one && config_setting_length(setting) > 0)
        one = !is_sequence(config_setting_get_elem(setting, 0));
    int length = one ? 1 : config_setting_length(setting);
    SG_CHECK(length <= r->key->limit, SG_CONFIG, "%s: key `%s` has %d elements; at most %d are possible",
             r->where, r->path, length, r->key->limit);
    size_t size = element_size(r->key);
    for (int i = 0; i < length; i++) {
        SG_TRY(read_element(r, one ? setting : config_setting_get_elem(setting, (unsigned)i), list, i));
        for (int j = 0; j < i; j++)
            SG_CHECK(memcmp(list + (size_t)i * size, list + (size_t)j * size, size) != 0, SG_CONFIG,
                     "%s: key `%s`: elements %d and %d are the same", r->where, r->path, j + 1, i + 1);
    }
    *count = length;
    return SG_OK;
}

int sg_key_read(const sg_key *key, const char *where, const char *path, const config_setting_t *setting,
                sg_config_draft *draft) {
    reader r = {key, where, path};
    void *out = (char *)draft + key->offset;
    switch (key->type) {
    case SG_KEY_INT: {
        long long value = 0;
        SG_TRY(read_integer(&r, setting, "an integer", &value));
        *(int *)out = (int)value;
        return SG_OK;
    }
    case SG_KEY_SEED: {
        long long value = 0;
        SG_TRY(read_integer(&r, setting, "an integer", &value));
        *(uint64_t *)out = (uint64_t)value;
        return SG_OK;
    }
    case SG_KEY_FLOAT:
        return SG_AT(read_float(&r, setting, "a number", out));
    case SG_KEY_BOOL:
        if (config_setting_type(setting) != CONFIG_TYPE_BOOL) return wrong_type(&r, "true or false", setting);
        *(bool *)out = config_setting_get_bool(setting) != 0;
        return SG_OK;
    case SG_KEY_STRING:
        return SG_AT(read_string(&r, setting, "a string", out, (size_t)key->limit));
    case SG_KEY_NAME: {
        if (key->choices == NULL)
            return SG_AT(read_string(&r, setting, "a name in double quotes", out, SG_CONFIG_NAME));
        int choice = 0;
        SG_TRY(read_choice(&r, setting, &choice));
        snprintf(out, SG_CONFIG_NAME, "%s", key->choices[choice]);
        return SG_OK;
    }
    case SG_KEY_CHOICE:
    case SG_KEY_SWITCH: {
        int choice = 0;
        SG_TRY(read_choice(&r, setting, &choice));
        if (key->type == SG_KEY_SWITCH)
            *(bool *)out = choice != 0;
        else
            memcpy(out, &choice, sizeof choice);
        return SG_OK;
    }
    case SG_KEY_RANGE:
        return SG_AT(read_range(&r, setting, out));
    case SG_KEY_ROUNDS:
        if (config_setting_type(setting) == CONFIG_TYPE_STRING &&
            strcmp(config_setting_get_string(setting), "all") == 0) {
            draft->all_rounds = true;
            draft->config.transfer.round_count = 0;
            return SG_OK;
        }
        draft->all_rounds = false;
        return SG_AT(read_list(&r, setting, draft));
    default:
        return SG_AT(read_list(&r, setting, draft));
    }
}

/* ---- into text */

void sg_format_double(double value, char text[32]) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

/* A text that is cut off at size; length counts what it would need. */
typedef struct writer {
    char *text;
    size_t size, length;
} writer;

__attribute__((format(printf, 2, 3))) static void add(writer *w, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t left = w->length < w->size ? w->size - w->length : 0;
    int more = vsnprintf(left > 0 ? w->text + w->length : NULL, left, format, arguments);
    va_end(arguments);
    if (more > 0) w->length += (size_t)more;
}

static void add_string(writer *w, const char *value) {
    add(w, "\"");
    for (const char *c = value; *c != '\0'; c++) add(w, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
    add(w, "\"");
}

/* With a point or an exponent: libconfig tells floating-point numbers by them. */
static void add_float(writer *w, double value) {
    char text[32];
    sg_format_double(value, text);
    char *exponent = strchr(text, 'e');
    if (strchr(text, '.') != NULL)
        add(w, "%s", text);
    else if (exponent == NULL)
        add(w, "%s.0", text);
    else
        add(w, "%.*s.0%s", (int)(exponent - text), text, exponent);
}

static void add_integer(writer *w, uint64_t value) {
    add(w, "%llu%s", (unsigned long long)value, value > INT32_MAX ? "L" : "");
}

static void add_element(writer *w, const sg_key *key, const void *list, int i) {
    int choice;
    switch (key->type) {
    case SG_KEY_NAMES:
        add_string(w, ((const char(*)[SG_CONFIG_NAME])list)[i]);
        return;
    case SG_KEY_SEEDS:
        add_integer(w, ((const uint64_t *)list)[i]);
        return;
    case SG_KEY_ROUNDS:
        add(w, "%d", ((const int *)list)[i]);
        return;
    case SG_KEY_FLOATS:
        add_float(w, ((const double *)list)[i]);
        return;
    case SG_KEY_CHOICES:
        memcpy(&choice, (const char *)list + (size_t)i * sizeof choice, sizeof choice);
        add_string(w, key->choices[choice]);
        return;
    default: {
        const sg_alpha_range *range = &((const sg_alpha_range *)list)[i];
        add(w, "(");
        add_float(w, range->low);
        add(w, ", ");
        add_float(w, range->high);
        add(w, ")");
    }
    }
}

bool sg_key_format(const sg_key *key, const sg_config_draft *draft, char *text, size_t size) {
    const void *value = (const char *)draft + key->offset;
    int choice;
    writer w = {text, size, 0};
    text[0] = '\0';
    switch (key->type) {
    case SG_KEY_INT:
        add(&w, "%d", *(const int *)value);
        break;
    case SG_KEY_SEED:
        add_integer(&w, *(const uint64_t *)value);
        break;
    case SG_KEY_FLOAT:
        add_float(&w, *(const double *)value);
        break;
    case SG_KEY_BOOL:
        add(&w, "%s", *(const bool *)value ? "true" : "false");
        break;
    case SG_KEY_STRING:
    case SG_KEY_NAME:
        add_string(&w, value);
        break;
    case SG_KEY_CHOICE:
        memcpy(&choice, value, sizeof choice);
        add_string(&w, key->choices[choice]);
        break;
    case SG_KEY_SWITCH:
        add_string(&w, key->choices[*(const bool *)value]);
        break;
    case SG_KEY_RANGE: {
        sg_key as_list = *key;
        as_list.type = SG_KEY_RANGES;
        add_element(&w, &as_list, value, 0);
        break;
    }
    default: {
        int count = *(const int *)((const char *)draft + key->count_offset);
        if (key->type == SG_KEY_NAMES && count == 1) {
            add_element(&w, key, value, 0);
            break;
        }
        add(&w, "(");
        for (int i = 0; i < count; i++) {
            if (i > 0) add(&w, ", ");
            add_element(&w, key, value, i);
        }
        add(&w, ")");
    }
    }
    return w.length < w.size;
}
