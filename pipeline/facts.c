#include "pipeline/facts.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"

enum { TEXT = 1 << 18, LINE = 256 };

int sg_facts_write(const char *dir, const sg_plan_facts *facts, int cases) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    SG_CHECK(out != NULL, SG_NOMEM, "out of memory: facts");
    fprintf(out, "%s\n", facts->arithmetic);
    for (int c = 0; c < cases; c++) {
        const sg_plan_case_facts *f = &facts->cases[c];
        fprintf(out, "%s %d %d %d %zu %zu %s\n", f->fingerprint, f->channels, f->height, f->width,
                f->train_samples, f->test_samples, f->mask_digest[0] == '\0' ? "-" : f->mask_digest);
    }
    fclose(out);
    int status = SG_AT(sg_file_write_text(sg_run_path(dir, "facts").text, text));
    free(text);
    return status;
}

/* The next number of a line, 1..limit; 0 when there is none. */
static size_t parse_number(char **rest, size_t limit) {
    const char *word = strtok_r(NULL, " ", rest);
    if (word == NULL || strlen(word) > 10 || strspn(word, "0123456789") != strlen(word)) return 0;
    unsigned long long value = strtoull(word, NULL, 10);
    return value <= limit ? (size_t)value : 0;
}

static bool parse_word(char *word, char *text, size_t size) {
    if (word == NULL || strlen(word) >= size) return false;
    strcpy(text, strcmp(word, "-") == 0 ? "" : word);
    return true;
}

static bool parse_case(char *line, sg_plan_case_facts *f) {
    char *rest;
    if (!parse_word(strtok_r(line, " ", &rest), f->fingerprint, sizeof f->fingerprint)) return false;
    f->channels = (int)parse_number(&rest, SG_DATA_CHANNELS);
    f->height = (int)parse_number(&rest, SG_DATA_MAX_SIDE);
    f->width = (int)parse_number(&rest, SG_DATA_MAX_SIDE);
    f->train_samples = parse_number(&rest, UINT32_MAX);
    f->test_samples = parse_number(&rest, UINT32_MAX);
    bool sized =
        f->channels > 0 && f->height > 0 && f->width > 0 && f->train_samples > 0 && f->test_samples > 0;
    return sized && parse_word(strtok_r(NULL, " ", &rest), f->mask_digest, sizeof f->mask_digest) &&
           strtok_r(NULL, " ", &rest) == NULL;
}

static int parse(const char *dir, char *text, int cases, sg_plan_case_facts *facts, char *arithmetic) {
    char *rest, *line = strtok_r(text, "\n", &rest);
    SG_CHECK(line != NULL && strlen(line) < LINE, SG_DATA, "%s/facts: the arithmetic is missing in line 1",
             dir);
    strcpy(arithmetic, line);
    for (int c = 0; c < cases; c++) {
        line = strtok_r(NULL, "\n", &rest);
        SG_CHECK(line != NULL && parse_case(line, &facts[c]), SG_DATA,
                 "%s/facts: line %d does not describe a case of config.cfg; start the run again to mend it",
                 dir, c + 2);
    }
    return SG_OK;
}

int sg_facts_read(const char *dir, int cases, sg_plan_case_facts *facts, char arithmetic[256]) {
    char *text;
    SG_TRY(SG_NEW(&text, TEXT));
    int status = SG_AT(sg_file_read_text(sg_run_path(dir, "facts").text, text, TEXT));
    if (status == SG_OK) status = SG_AT(parse(dir, text, cases, facts, arithmetic));
    free(text);
    return status;
}

static int open_plan(const char *dir, const sg_run_config *config, sg_plan **plan) {
    sg_plan_case_facts *cases;
    char arithmetic[LINE];
    SG_TRY(SG_NEW(&cases, (size_t)config->count));
    int status = SG_AT(sg_facts_read(dir, config->count, cases, arithmetic));
    sg_plan_facts facts = {.cases = cases, .arithmetic = arithmetic};
    if (status == SG_OK) status = SG_AT(sg_plan_create(plan, config, &facts));
    free(cases);
    return status;
}

int sg_facts_open(const char *dir, sg_run_config **config, sg_plan **plan) {
    *config = NULL;
    *plan = NULL;
    sg_path_name path = sg_run_path(dir, "config.cfg");
    int status = SG_AT(sg_config_load(config, path.text, NULL, 0));
    if (status == SG_NOINPUT)
        return SG_FAIL(SG_NOINPUT, "%s: no run directory: config.cfg is not there; `signet run` makes one",
                       dir);
    if (status == SG_OK) status = SG_AT(open_plan(dir, *config, plan));
    if (status != SG_OK) sg_config_destroy(config);
    return status;
}
