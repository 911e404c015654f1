/* signet status: where a run stands, from its directory alone; also while it runs, from any shell. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "pipeline/cli.h"
#include "pipeline/commands.h"
#include "pipeline/facts.h"
#include "pipeline/log.h"
#include "pipeline/paths.h"
#include "pipeline/progress.h"
#include "pipeline/scan.h"

enum { FRESH_SECONDS = 120 /* a progress file younger than this belongs to a stage that runs */ };

static bool is_running(const char *dir, const sg_plan_stage *stage) {
    struct stat file;
    return stage->state == SG_STATE_PENDING &&
           stat(sg_stage_path(dir, stage->id, "progress").text, &file) == 0 &&
           time(NULL) - file.st_mtime < FRESH_SECONDS;
}

static void print_text(const char *dir, const sg_plan *plan, const sg_found *found) {
    int count[SG_STATE_COUNT] = {0};
    double flop = 0.0, done = 0.0;
    for (int i = 0; i < plan->count; i++) {
        const sg_plan_stage *stage = &plan->stages[i];
        char line[512] = "";
        count[stage->state]++;
        flop += stage->flop;
        if (stage->state == SG_STATE_DONE) done += stage->flop;
        if (stage->state == SG_STATE_RUNNING)
            sg_progress_read(dir, stage->id, line, sizeof line);
        else if (found[i].note != NULL)
            snprintf(line, sizeof line, "%.*s", (int)strcspn(found[i].note, "\n"), found[i].note);
        const char *text = strncmp(line, stage->id, strlen(stage->id)) == 0 ? line + strlen(stage->id) : line;
        printf("%-8s %s%s%s\n", found[i].damaged ? "damaged" : sg_stage_state_name(stage->state), stage->id,
               *text != '\0' && *text != ':' ? ": " : "", text);
    }
    printf("\n%s: %d of %d stages done, %.0f %% of the work", dir, count[SG_STATE_DONE], plan->count,
           flop > 0.0 ? 100.0 * done / flop : 100.0);
    for (int s = 0; s < SG_STATE_COUNT; s++)
        if (s != SG_STATE_DONE && count[s] > 0)
            printf(", %d %s", count[s], sg_stage_state_name((enum sg_stage_state)s));
    printf("\n");
}

static void print_json(const char *dir, const sg_plan *plan, const sg_found *found) {
    for (int i = 0; i < plan->count; i++) {
        char note[2048], line[512] = "", progress[1100];
        if (plan->stages[i].state == SG_STATE_RUNNING)
            sg_progress_read(dir, plan->stages[i].id, line, sizeof line);
        printf("{\"stage\":\"%s\",\"state\":\"%s\",\"damaged\":%s,\"progress\":%s,\"note\":%s}\n",
               plan->stages[i].id, sg_stage_state_name(plan->stages[i].state),
               found[i].damaged ? "true" : "false", sg_log_escape(line, progress, sizeof progress),
               sg_log_escape(found[i].note == NULL ? "" : found[i].note, note, sizeof note));
    }
}

int sg_cmd_status(int argc, char **argv) {
    sg_cli cli;
    sg_run_config *config;
    sg_plan *plan;
    sg_found *found = NULL;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    const char *dir = cli.positional[0];
    SG_TRY(sg_facts_open(dir, &config, &plan));
    int status = SG_AT(sg_scan(dir, plan, &found));
    for (int i = 0; i < plan->count && status == SG_OK; i++)
        if (is_running(dir, &plan->stages[i])) plan->stages[i].state = SG_STATE_RUNNING;
    if (status == SG_OK && cli.json)
        print_json(dir, plan, found);
    else if (status == SG_OK)
        print_text(dir, plan, found);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
    sg_config_destroy(&config);
    return status;
}
