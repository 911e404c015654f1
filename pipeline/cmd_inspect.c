/* signet inspect and signet verify: what files of ours hold, and whether every byte of them is as it was
 * written. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/facts.h"
#include "pipeline/h5.h"
#include "pipeline/scan.h"

/* ---- inspect */

static int print_file(const char *path, bool digest_only) {
    sg_h5_file *file;
    const char *digest;
    char value[4096];
    SG_TRY(sg_h5_open(&file, path, NULL));
    if (digest_only) {
        int status = SG_AT(sg_h5_get_text(file, "digest", &digest));
        if (status == SG_OK) printf("%s\n", digest);
        sg_h5_close(&file);
        return status == SG_OK
                   ? SG_OK
                   : SG_FAIL(SG_DATA, "%s: a %s has no digest; results have", path, sg_h5_kind(file));
    }
    printf("%s: %s\n", path, sg_h5_kind(file));
    for (size_t i = 0; i < sg_h5_attributes(file); i++) {
        const char *name = sg_h5_attribute_at(file, i, value, sizeof value);
        if (strchr(value, '\n') != NULL)
            printf("  %s:\n%s\n", name, value);
        else
            printf("  %s: %s\n", name, value);
    }
    for (size_t i = 0; i < sg_h5_entries(file); i++) {
        const sg_h5_entry *e = sg_h5_entry_at(file, i);
        printf("  %-50s %-8s [", e->path, sg_h5_type_name(e->type));
        for (int d = 0; d < e->ndims; d++) printf("%s%zu", d == 0 ? "" : " ", e->dims[d]);
        printf("]\n");
    }
    sg_h5_close(&file);
    return SG_OK;
}

/* One hash over the ids and digests of all finished stages. */
static void print_digest(const sg_plan *plan, const sg_found *found) {
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return;
    XXH3_128bits_reset(state);
    for (int i = 0; i < plan->count; i++) {
        if (plan->stages[i].state != SG_STATE_DONE) continue;
        XXH3_128bits_update(state, plan->stages[i].id, strlen(plan->stages[i].id) + 1);
        XXH3_128bits_update(state, found[i].digest, strlen(found[i].digest) + 1);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    printf("%016llx%016llx\n", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

static int print_directory(const char *dir, bool digest_only) {
    sg_run_config *config;
    sg_plan *plan;
    sg_found *found = NULL;
    SG_TRY(sg_facts_open(dir, &config, &plan));
    int status = SG_AT(sg_scan(dir, plan, &found));
    if (status == SG_OK && digest_only) print_digest(plan, found);
    for (int i = 0; i < plan->count && status == SG_OK && !digest_only; i++)
        printf("%-8s %-32s %s\n", sg_stage_state_name(plan->stages[i].state),
               found[i].digest[0] == '\0' ? "-" : found[i].digest, plan->stages[i].id);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
    sg_config_destroy(&config);
    return status;
}

static int look_at(const char *path, bool *directory) {
    struct stat info;
    SG_CHECK(stat(path, &info) == 0, SG_NOINPUT, "%s: %s", path, strerror(errno));
    *directory = S_ISDIR(info.st_mode);
    return SG_OK;
}

int sg_cmd_inspect(int argc, char **argv) {
    sg_cli cli;
    bool directory = false;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    SG_TRY(look_at(cli.positional[0], &directory));
    return directory ? SG_AT(print_directory(cli.positional[0], cli.digest))
                     : SG_AT(print_file(cli.positional[0], cli.digest));
}

/* ---- verify */

/* nftw hands its visitor no context. */
static struct {
    int files, damaged;
    char first[1024];
} verified;

static void report(void *context, const char *line) {
    (void)context;
    printf("  %s\n", line);
}

static void count_damaged(const char *path) {
    if (verified.damaged++ == 0) snprintf(verified.first, sizeof verified.first, "%s", path);
    printf("DAMAGED %s\n", path);
}

static int verify_file(const char *path) {
    int status = sg_h5_verify(path, report, NULL);
    verified.files++;
    if (status == SG_OK) return SG_OK;
    count_damaged(path);
    return status == SG_DATA ? SG_OK : status;
}

/* What cannot be read is one more damaged file, and no reason to leave the others unseen. */
static int visit(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)at;
    const char *end = strrchr(path, '.');
    if (type == FTW_DNR) {
        printf("  %s: the directory cannot be listed\n", path);
        count_damaged(path);
    }
    if (type != FTW_F || end == NULL || strcmp(end, ".h5") != 0) return 0;
    /* A run that is under way removes checkpoints. */
    if (access(path, F_OK) != 0 && errno == ENOENT) return 0;
    int status = verify_file(path);
    return status == SG_IO || status == SG_NOINPUT ? 0 : status;
}

int sg_cmd_verify(int argc, char **argv) {
    sg_cli cli;
    bool directory = false;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    const char *path = cli.positional[0];
    SG_TRY(look_at(path, &directory));
    int status = directory ? nftw(path, visit, 16, FTW_PHYS) : verify_file(path);
    SG_CHECK(status >= 0, SG_IO, "%s: cannot be listed: %s", path, strerror(errno));
    SG_TRY(status);
    printf("%d file%s checked, %d damaged\n", verified.files, verified.files == 1 ? "" : "s",
           verified.damaged);
    SG_CHECK(verified.damaged == 0, SG_DATA,
             "%d damaged file%s, the first: %s; `signet run` computes damaged results "
             "again",
             verified.damaged, verified.damaged == 1 ? "" : "s", verified.first);
    return SG_OK;
}
