/* signet status: where a run stands, from its directory alone; also while it runs, from any shell. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pipeline/cli.h"
#include "pipeline/collect.h"
#include "pipeline/commands.h"
#include "pipeline/facts.h"
#include "pipeline/lock.h"
#include "pipeline/log.h"
#include "pipeline/paths.h"
#include "pipeline/progress.h"
#include "pipeline/scan.h"

enum {
    FRESH_SECONDS = 120, /* a progress file younger than this belongs to a stage that runs, if any job does */
    WATCH_SECONDS = 2
};

typedef struct view {
    const sg_cli *cli;
    const char *dir;
    sg_run_config *config;
    sg_plan *plan;
    sg_found *found;
    char holder[512]; /* who runs it; "": nobody */
    int count[SG_STATE_COUNT];
    double flop, done_flop;
    int done, failed; /* stages, when the outlook was made; -1: never */
    sg_outlook outlook;
} view;

static bool is_running(const view *v, const sg_plan_stage *stage) {
    struct stat file;
    return v->holder[0] != '\0' && stage->state == SG_STATE_PENDING &&
           stat(sg_stage_path(v->dir, stage->id, "progress").text, &file) == 0 &&
           time(NULL) - file.st_mtime < FRESH_SECONDS;
}

static int look(view *v) {
    sg_lock_holder(v->dir, v->holder, sizeof v->holder);
    SG_TRY(sg_scan(v->dir, v->plan, &v->found));
    memset(v->count, 0, sizeof v->count);
    v->flop = v->done_flop = 0.0;
    for (int i = 0; i < v->plan->count; i++) {
        sg_plan_stage *stage = &v->plan->stages[i];
        if (is_running(v, stage)) stage->state = SG_STATE_RUNNING;
        v->count[stage->state]++;
        v->flop += stage->flop;
        if (stage->state == SG_STATE_DONE) v->done_flop += stage->flop;
    }
    if (v->count[SG_STATE_DONE] == v->done && v->count[SG_STATE_FAILED] == v->failed) return SG_OK;
    SG_TRY(sg_collect_outlook(v->dir, v->config, v->plan, &v->outlook));
    v->done = v->count[SG_STATE_DONE];
    v->failed = v->count[SG_STATE_FAILED];
    return SG_OK;
}

/* Fractions of the plan's work: 1 where there is none. */
static double share_done(const view *v) { return v->flop > 0.0 ? v->done_flop / v->flop : 1.0; }

/* By what the finished stages took, with as many stages at a time as run now; -1: not known. */
static double seconds_left(const view *v) {
    if (v->count[SG_STATE_RUNNING] == 0 || !(v->done_flop > 0.0)) return -1.0;
    double work = v->outlook.seconds / v->done_flop * (v->flop - v->done_flop);
    return work / v->count[SG_STATE_RUNNING];
}

static bool is_news(const view *v, int i) {
    enum sg_stage_state state = v->plan->stages[i].state;
    return v->found[i].damaged || state == SG_STATE_RUNNING || state == SG_STATE_FAILED ||
           state == SG_STATE_STALE;
}

static void print_stage(const view *v, int i) {
    const sg_plan_stage *stage = &v->plan->stages[i];
    const sg_found *found = &v->found[i];
    char line[512] = "";
    if (stage->state == SG_STATE_RUNNING)
        sg_progress_read(v->dir, stage->id, line, sizeof line);
    else if (found->note != NULL)
        snprintf(line, sizeof line, "%.*s", (int)strcspn(found->note, "\n"), found->note);
    const char *text = strncmp(line, stage->id, strlen(stage->id)) == 0 ? line + strlen(stage->id) : line;
    printf("%-8s %s%s%s\n", found->damaged ? "damaged" : sg_stage_state_name(stage->state), stage->id,
           *text != '\0' && *text != ':' ? ": " : "", text);
}

static void print_left(double seconds) {
    int minutes = (int)(seconds / 60.0 + 0.5);
    if (seconds < 0.0) return;
    if (minutes >= 60)
        printf(", about %d h %02d min left", minutes / 60, minutes % 60);
    else
        printf(", about %d min left", minutes < 1 ? 1 : minutes);
}

/* The failure that was written last. */
static void print_last_error(const view *v) {
    int last = -1;
    struct timespec when = {0};
    for (int i = 0; i < v->plan->count; i++) {
        struct stat file;
        if (v->plan->stages[i].state != SG_STATE_FAILED ||
            stat(sg_stage_path(v->dir, v->plan->stages[i].id, "failed").text, &file) != 0)
            continue;
        bool later = file.st_mtim.tv_sec != when.tv_sec ? file.st_mtim.tv_sec > when.tv_sec
                                                        : file.st_mtim.tv_nsec > when.tv_nsec;
        if (last >= 0 && !later) continue;
        last = i;
        when = file.st_mtim;
    }
    if (last < 0) return;
    char date[32] = "";
    strftime(date, sizeof date, "%F %T", localtime(&when.tv_sec));
    const char *why = v->found[last].note == NULL ? "" : v->found[last].note;
    printf("last error, %s: %s: %.*s\n", date, v->plan->stages[last].id, (int)strcspn(why, "\n"), why);
}

static void print_symptoms(const view *v) {
    for (int s = 0; s < SG_SYMPTOMS; s++) {
        const sg_finding *f = &v->outlook.finding[s];
        if (f->found > 0)
            printf("\nsymptom: %s: %d of %d %s, as in %s\n  %s\n", f->symptom, f->found, f->looked, f->unit,
                   f->where, f->advice);
    }
}

static void print_text(const view *v, bool all) {
    for (int i = 0; i < v->plan->count; i++)
        if (all || is_news(v, i)) print_stage(v, i);
    printf("\n%s: %d of %d stages done, %.0f %% of the work", v->dir, v->count[SG_STATE_DONE], v->plan->count,
           100.0 * share_done(v));
    for (int s = 0; s < SG_STATE_COUNT; s++)
        if (s != SG_STATE_DONE && v->count[s] > 0)
            printf(", %d %s", v->count[s], sg_stage_state_name((enum sg_stage_state)s));
    print_left(seconds_left(v));
    printf("\n");
    if (v->holder[0] != '\0') printf("run by %s\n", v->holder);
    print_last_error(v);
    print_symptoms(v);
}

static void print_json(const view *v) {
    char note[2048], line[512], progress[1100], other[1100];
    for (int i = 0; i < v->plan->count; i++) {
        const sg_plan_stage *stage = &v->plan->stages[i];
        line[0] = '\0';
        if (stage->state == SG_STATE_RUNNING) sg_progress_read(v->dir, stage->id, line, sizeof line);
        printf("{\"stage\":\"%s\",\"state\":\"%s\",\"damaged\":%s,\"progress\":%s,\"note\":%s}\n", stage->id,
               sg_stage_state_name(stage->state), v->found[i].damaged ? "true" : "false",
               sg_log_escape(line, progress, sizeof progress),
               sg_log_escape(v->found[i].note == NULL ? "" : v->found[i].note, note, sizeof note));
    }
    for (int s = 0; s < SG_SYMPTOMS; s++) {
        const sg_finding *f = &v->outlook.finding[s];
        printf("{\"symptom\":%s,\"found\":%d,\"looked\":%d,\"where\":%s,\"advice\":%s}\n",
               sg_log_escape(f->symptom, progress, sizeof progress), f->found, f->looked,
               sg_log_escape(f->where, other, sizeof other), sg_log_escape(f->advice, note, sizeof note));
    }
    printf("{\"run\":%s,\"stages\":%d,\"work_done\":%.6f,\"holder\":%s",
           sg_log_escape(v->dir, note, sizeof note), v->plan->count, share_done(v),
           sg_log_escape(v->holder, other, sizeof other));
    if (seconds_left(v) >= 0.0) printf(",\"seconds_left\":%.0f", seconds_left(v));
    for (int s = 0; s < SG_STATE_COUNT; s++)
        printf(",\"%s\":%d", sg_stage_state_name((enum sg_stage_state)s), v->count[s]);
    printf("}\n");
}

/* Finished stages and those that wait are counted alone: there may be thousands. */
static int watch(view *v) {
    bool terminal = isatty(STDOUT_FILENO);
    for (;;) {
        if (terminal) fputs("\033[H\033[J", stdout);
        if (v->cli->json)
            print_json(v);
        else
            print_text(v, false);
        fflush(stdout);
        if (v->count[SG_STATE_PENDING] + v->count[SG_STATE_RUNNING] == 0) return SG_OK;
        sleep(WATCH_SECONDS);
        SG_TRY(look(v));
    }
}

int sg_cmd_status(int argc, char **argv) {
    sg_cli cli;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    view v = {.cli = &cli, .dir = cli.positional[0], .done = -1, .failed = -1};
    SG_TRY(sg_facts_open(v.dir, &v.config, &v.plan));
    int status = SG_AT(look(&v));
    if (status == SG_OK && cli.watch)
        status = SG_AT(watch(&v));
    else if (status == SG_OK && cli.json)
        print_json(&v);
    else if (status == SG_OK)
        print_text(&v, true);
    sg_scan_free(&v.found, v.plan->count);
    sg_plan_destroy(&v.plan);
    sg_config_destroy(&v.config);
    return status;
}
