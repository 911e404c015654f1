/* The table of keys. For pipeline/config*.c and whoever prints or hashes single options. */
#ifndef SG_CONFIG_SCHEMA_H
#define SG_CONFIG_SCHEMA_H

#include "pipeline/config.h"

enum { SG_CONFIG_ARCHS = 16 };

/* What a file is read into before its cases are made: every key has a place here. */
typedef struct sg_config_draft {
    sg_config config;
    sg_run_options run;
    sg_kernel_options kernels;
    int arch_count; /* net.arch as a list of names */
    char archs[SG_CONFIG_ARCHS][SG_CONFIG_NAME];
    bool all_rounds; /* transfer.rounds = "all" */
    int density_count;
    double densities[SG_CONFIG_LIST];
} sg_config_draft;

enum sg_key_type {
    SG_KEY_INT,    /* int */
    SG_KEY_SEED,   /* uint64_t, below 2^63 */
    SG_KEY_FLOAT,  /* double */
    SG_KEY_BOOL,   /* bool */
    SG_KEY_STRING, /* char[limit] */
    SG_KEY_NAME,   /* char[SG_CONFIG_NAME], one of choices (any, if NULL) */
    SG_KEY_CHOICE, /* enum: the number of one of choices */
    SG_KEY_SWITCH, /* bool: the number of one of two choices */
    SG_KEY_RANGE,  /* sg_alpha_range */
    SG_KEY_NAMES,  /* lists from here on: the count is an int at count_offset */
    SG_KEY_SEEDS,
    SG_KEY_FLOATS,
    SG_KEY_CHOICES,
    SG_KEY_RANGES,
    SG_KEY_ROUNDS /* int list, or "all" */
};

typedef struct sg_key {
    const char *path; /* "train.lr" */
    enum sg_key_type type;
    size_t offset;        /* in sg_config_draft */
    size_t count_offset;  /* lists */
    int limit;            /* lists: most elements; SG_KEY_STRING: bytes */
    const char *fallback; /* default, in libconfig's syntax */
    double low, high;     /* of numbers and of each element; equal: not checked */
    bool above, below;    /* low, high themselves are not allowed */
    const char *const *choices;
    const char *unit; /* "" none */
    const char *help;
} sg_key;

extern const sg_key sg_keys[];
extern const int sg_key_count;

/* Groups in order, with what they are about. */
typedef struct sg_key_group {
    const char *name, *help;
    bool shared; /* by all cases: not in sweeps */
} sg_key_group;
extern const sg_key_group sg_key_groups[];
extern const int sg_key_group_count;

/* The choices of a key: its own, or the registry's for net.arch; NULL: any. */
const char *const *sg_key_choices(const sg_key *key);

/* Number of the key with this path, or -1. */
int sg_key_find(const char *path);

/* The path of the key, or name of the group, nearest to `path`. */
const char *sg_key_nearest(const char *path);

/* A key's value in libconfig's syntax; into text. False when it was cut off. */
bool sg_key_format(const sg_key *key, const sg_config_draft *draft, char *text, size_t size);

/* The value of one option of a case, the same way. SG_INTERNAL: no such key, or too small a buffer. */
int sg_config_value(const sg_config *config, const char *path, char *text, size_t size);

/* Every option of a case, one line "path = value" each: two cases are the same when their texts are. Owned.
 */
int sg_config_case_text(const sg_config *config, char **text);

/* ---- between config.c, config_values.c and config_check.c */

struct config_setting_t;

/* Where each key's value came from: "demo.cfg:3", "--set train.lr=1"; "" is the default. */
enum { SG_KEY_LIMIT = 64 };
typedef struct sg_config_places {
    const char *name; /* of the file */
    char place[SG_KEY_LIMIT][256];
} sg_config_places;

/* Reads one setting's value into the draft. where: "demo.cfg:3"; path: as the user wrote it. SG_CONFIG. */
int sg_key_read(const sg_key *key, const char *where, const char *path,
                const struct config_setting_t *setting, sg_config_draft *draft);

/* Checks what no single key can tell, and settles rounds, densities and pairs. */
int sg_config_check(sg_config_draft *draft, const sg_config_places *places);

#endif
