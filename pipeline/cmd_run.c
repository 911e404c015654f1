/* signet run: everything that a configuration asks for, from where it stands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pipeline/cli.h"
#include "pipeline/collect.h"
#include "pipeline/commands.h"
#include "pipeline/facts.h"
#include "pipeline/lock.h"
#include "pipeline/log.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"
#include "pipeline/progress.h"
#include "pipeline/provenance.h"
#include "pipeline/schedule.h"
#include "pipeline/signals.h"
#include "pipeline/world.h"

enum { STOP_MARGIN = 60 /* seconds before a time limit in which to save and leave */, MAX_CHANGES = 64 };

typedef struct run {
    const sg_cli *cli;
    int part, parts; /* --part; 1 of 1 without it */
    sg_comm *world;
    sg_session *session;
    char dir[PATH_MAX - 64];
    sg_lock *lock;   /* rank 0 */
    sg_found *found; /* rank 0 */
} run;

static bool is_root(const run *r) { return sg_comm_rank(r->world) == 0; }

/* --out, or runs/<name of the configuration>. */
static int choose_directory(run *r) {
    const char *config = r->cli->positional[0], *name = strrchr(config, '/');
    name = name == NULL ? config : name + 1;
    const char *end = strrchr(name, '.');
    int length = end == NULL || end == name ? (int)strlen(name) : (int)(end - name);
    int used = r->cli->out != NULL ? snprintf(r->dir, sizeof r->dir, "%s", r->cli->out)
                                   : snprintf(r->dir, sizeof r->dir, "runs/%.*s", length, name);
    SG_CHECK(used > 0 && (size_t)used < sizeof r->dir, SG_USAGE, "run: --out: the path is empty or too long");
    while (used > 1 && r->dir[used - 1] == '/') r->dir[--used] = '\0';
    return SG_OK;
}

static int choose_part(run *r) {
    int end = 0;
    r->part = r->parts = 1;
    if (r->cli->part == NULL) return SG_OK;
    bool fits =
        sscanf(r->cli->part, "%9d/%9d%n", &r->part, &r->parts, &end) == 2 && r->cli->part[end] == '\0';
    SG_CHECK(fits && r->part >= 1 && r->part <= r->parts, SG_USAGE,
             "run: --part \"%s\": expected I/N with I from 1 to N, such as 2/4", r->cli->part);
    return SG_OK;
}

/* ---- The directory's arithmetic: DIR/arithmetic holds BLIS's kernel set, then the line that keys contain.
 */

static int read_pin(run *r, char pin[256]) {
    int status = SG_OK;
    pin[0] = '\0';
    if (is_root(r)) status = SG_AT(sg_file_read_text(sg_run_path(r->dir, "arithmetic").text, pin, 256));
    if (status == SG_NOINPUT) {
        sg_error_clear();
        status = SG_OK;
    }
    SG_TRY(sg_comm_agree(r->world, status));
    return SG_AT(sg_comm_broadcast(r->world, pin, 256, 0));
}

static int check_pin(const run *r, const char *pin) {
    char today[256], arithmetic[160];
    const sg_machine *machine = r->session->machine;
    sg_arithmetic_text(machine, arithmetic, sizeof arithmetic);
    snprintf(today, sizeof today, "%s\n%s\n", machine->ukernel.name, arithmetic);
    if (pin[0] == '\0')
        return is_root(r) ? SG_AT(sg_file_write_text(sg_run_path(r->dir, "arithmetic").text, today)) : SG_OK;
    SG_CHECK(strcmp(pin, today) == 0 || r->cli->recompute, SG_CONFIG,
             "%s: begun with another arithmetic: %.*s, now %s; set kernels.* as it was, run where that "
             "micro-kernel runs, "
             "choose another --out, or recompute with --recompute",
             r->dir, (int)strcspn(strchr(pin, '\n') == NULL ? "" : strchr(pin, '\n') + 1, "\n"),
             strchr(pin, '\n') == NULL ? "" : strchr(pin, '\n') + 1, arithmetic);
    if (strcmp(pin, today) != 0 && is_root(r))
        return SG_AT(sg_file_write_text(sg_run_path(r->dir, "arithmetic").text, today));
    return SG_OK;
}

/* ---- What is there already. */

static void remove_stage_files(const run *r, const sg_plan_stage *stage) {
    unlink(sg_stage_path(r->dir, stage->id, "result.h5").text);
    unlink(sg_stage_path(r->dir, stage->id, "failed").text);
    if (sg_remove_checkpoints(r->dir, stage->id, 0) != SG_OK) sg_error_clear();
}

/* A result that cannot be believed is kept beside, under a name that nobody reads, and computed again. */
static void set_aside(const run *r, const sg_plan_stage *stage, const char *why) {
    sg_path_name path = sg_stage_path(r->dir, stage->id, "result.h5"),
                 aside = sg_stage_path(r->dir, stage->id, "result.damaged");
    sg_log_warning("%s; kept as %s, this stage alone is computed again", why, aside.text);
    if (rename(path.text, aside.text) != 0) sg_log_warning("%s: cannot rename", path.text);
}

/* One thing that has changed, as a line of a note; the stages that have it. */
typedef struct change {
    const char *line;
    size_t length;
    int first, count;
} change;

static const sg_plan_stage *stage_named(const sg_plan *plan, const char *id, size_t length) {
    for (int i = 0; i < plan->count; i++)
        if (strlen(plan->stages[i].id) == length && memcmp(plan->stages[i].id, id, length) == 0)
            return &plan->stages[i];
    return NULL;
}

/* What is said of a parent follows from what is said of that stage itself, unless its result was replaced. */
static bool follows(const sg_plan *plan, const char *line, size_t length) {
    static const char parent[] = "parent ";
    size_t skip = sizeof parent - 1;
    if (length < skip || memcmp(line, parent, skip) != 0) return false;
    const char *colon = memchr(line, ':', length);
    if (colon == NULL) return false;
    const sg_plan_stage *stage = stage_named(plan, line + skip, (size_t)(colon - line) - skip);
    return stage != NULL && stage->state == SG_STATE_STALE;
}

/* Every distinct change of the stale stages, in the order of the plan; all of them when list has room. */
static int find_changes(const run *r, change *list, int room) {
    const sg_plan *plan = r->session->plan;
    int count = 0;
    for (int i = 0; i < plan->count; i++) {
        const char *line = r->found[i].note;
        if (plan->stages[i].state != SG_STATE_STALE || line == NULL) continue;
        for (size_t length; *line != '\0'; line += length + (line[length] == '\n')) {
            length = strcspn(line, "\n");
            if (length == 0 || follows(plan, line, length)) continue;
            int k = 0;
            while (k < count && (list[k].length != length || memcmp(list[k].line, line, length) != 0)) k++;
            if (k < count)
                list[k].count++;
            else if (count < room)
                list[count++] = (change){.line = line, .length = length, .first = i, .count = 1};
        }
    }
    return count;
}

static int refuse_stale(const run *r) {
    const sg_plan *plan = r->session->plan;
    change list[MAX_CHANGES];
    char text[1500] = "", more[32] = "";
    size_t used = 0;
    int stale = 0, count = find_changes(r, list, MAX_CHANGES), shown = 0;
    for (int i = 0; i < plan->count; i++) stale += plan->stages[i].state == SG_STATE_STALE;
    for (; shown < count; shown++) {
        const change *c = &list[shown];
        if (c->count > 1) snprintf(more, sizeof more, " and %d more", c->count - 1);
        int n = snprintf(text + used, sizeof text - used, "\n  %.*s\n    %s%s", (int)c->length, c->line,
                         plan->stages[c->first].id, c->count > 1 ? more : "");
        if (n < 0 || used + (size_t)n >= sizeof text) break;
        used += (size_t)n;
    }
    text[used] = '\0';
    return SG_FAIL(SG_CONFIG,
                   "%s: %d finished stage%s made with something else:%s%s\nTo redo just those: --recompute; "
                   "to leave them: another --out; or take the change back",
                   r->dir, stale, stale == 1 ? " was" : "s were", text, shown < count ? "\n  ..." : "");
}

static int settle(run *r) {
    sg_plan *plan = r->session->plan;
    int done = 0, failed = 0, stale = 0;
    SG_TRY(sg_scan(r->dir, plan, &r->found));
    for (int i = 0; i < plan->count; i++) {
        sg_plan_stage *stage = &plan->stages[i];
        if (r->found[i].damaged) set_aside(r, stage, r->found[i].note);
        bool retry = stage->state == SG_STATE_FAILED && r->cli->retry_failed;
        bool redo = stage->state == SG_STATE_STALE && r->cli->recompute;
        if (redo)
            sg_log_info("%s: computed again: %s", stage->id,
                        r->found[i].note == NULL ? "" : r->found[i].note);
        if (retry || redo) {
            remove_stage_files(r, stage);
            stage->state = SG_STATE_PENDING;
        }
        if (stage->state == SG_STATE_BLOCKED) stage->state = SG_STATE_PENDING;
        done += stage->state == SG_STATE_DONE;
        stale += stage->state == SG_STATE_STALE;
        failed += stage->state == SG_STATE_FAILED;
    }
    if (stale > 0) return SG_AT(refuse_stale(r));
    sg_plan_part(plan, r->part, r->parts);
    sg_scan_block(plan);
    sg_log_info("%s: %d stages, %d done, %d failed", r->dir, plan->count, done, failed);
    if (r->parts > 1) sg_log_info("part %d of %d", r->part, r->parts);
    return SG_OK;
}

static int share_states(const run *r) {
    sg_plan *plan = r->session->plan;
    for (int i = 0; i < plan->count; i++)
        SG_TRY(sg_comm_broadcast(r->world, &plan->stages[i].state, sizeof plan->stages[i].state, 0));
    return SG_OK;
}

/* ---- The run. */

/* Before the lock, since waiting for it counts. One question to Slurm; rank 0 stops the others. */
static int set_time_limit(const run *r) {
    double minutes = r->cli->time_limit_minutes;
    if (minutes <= 0.0) {
        sg_run_config *config;
        SG_TRY(sg_config_load(&config, r->cli->positional[0], r->cli->overrides, r->cli->override_count));
        minutes = config->run.time_limit_minutes;
        sg_config_destroy(&config);
    }
    sg_signals_limit(minutes, STOP_MARGIN);
    return SG_OK;
}

static int open_directory(run *r) {
    int status = SG_OK;
    sg_log_open(NULL, false); /* every rank may lead a group; only the lock's holder records events */
    if (is_root(r)) {
        status = SG_AT(set_time_limit(r));
        if (status == SG_OK) status = SG_AT(sg_file_make_directories(r->dir));
        if (status == SG_OK && r->cli->break_lock) status = SG_AT(sg_lock_break(r->dir));
        if (status == SG_OK) status = SG_AT(sg_lock_acquire(&r->lock, r->dir, r->cli->wait));
        if (status == SG_OK) sg_log_open(r->dir, false);
    }
    SG_TRY(sg_comm_barrier_quietly(r->world)); /* rank 0 may wait for the lock for hours */
    return SG_AT(sg_comm_agree(r->world, status));
}

static int describe_run(const run *r) {
    char machine[160];
    sg_machine_describe(r->session->machine, machine, sizeof machine);
    sg_log_info("%s", machine);
    if (strcmp(r->session->machine->ukernel.name, "generic") == 0)
        sg_log_warning("BLIS does not know this CPU and uses its generic kernels, many times slower; set "
                       "kernels.blis (or "
                       "BLIS_ARCH_TYPE) to \"haswell\" on a CPU with AVX2, \"skx\" with AVX-512");
    sg_plan_facts facts = {
        .cases = r->session->facts, .arithmetic = r->session->arithmetic, .machine = r->session->machine};
    SG_TRY(sg_facts_write(r->dir, &facts, r->session->config->count));
    return SG_AT(sg_file_write_text(sg_run_path(r->dir, "config.cfg").text, r->session->config_text));
}

static bool all_done(const sg_plan *plan) {
    for (int i = 0; i < plan->count; i++)
        if (plan->stages[i].state != SG_STATE_DONE && plan->stages[i].state != SG_STATE_ELSEWHERE)
            return false;
    return true;
}

static int compute(run *r) {
    char pin[256];
    SG_TRY(open_directory(r));
    SG_TRY(read_pin(r, pin));
    const char *blis = strchr(pin, '\n') == NULL || strncmp(pin, "own\n", 4) == 0
                           ? NULL
                           : (pin[strcspn(pin, "\n")] = '\0', pin);
    SG_TRY(sg_session_open(&r->session, r->world, r->cli->positional[0], r->cli->overrides,
                           r->cli->override_count, blis));
    if (blis != NULL) pin[strlen(pin)] = '\n';
    int status = SG_AT(check_pin(r, pin));
    if (status == SG_OK && is_root(r)) status = SG_AT(settle(r));
    if (status == SG_OK && is_root(r)) status = SG_AT(describe_run(r));
    SG_TRY(sg_comm_barrier_quietly(r->world)); /* rank 0 reads every result */
    SG_TRY(sg_comm_agree(r->world, status));
    SG_TRY(share_states(r));
    if (is_root(r)) sg_progress_open(r->session->plan);
    sg_schedule_options options = {.dir = r->dir,
                                   .ranks_per_stage = r->session->config->run.ranks_per_stage,
                                   .stop = sg_stop_requested,
                                   .lock = r->lock};
    status = all_done(r->session->plan) ? SG_OK : SG_AT(sg_schedule_run(r->session, &options));
    if (is_root(r)) sg_progress_close();
    return status;
}

static int finish(run *r, int status) {
    int collected = SG_OK;
    bool worth = status == SG_OK || status == SG_FAILED;
    if (is_root(r) && r->session != NULL && worth)
        collected =
            SG_AT(sg_collect(r->dir, r->session->config, r->session->plan, status == SG_OK ? stdout : NULL));
    /* Little time is left then, and collecting reads every result again. */
    if (is_root(r) && status == SG_INTERRUPTED) {
        sg_log_info("stopped %s%s; start the same command again to go on",
                    sg_stop_requested() ? "by " : "on request", sg_stop_reason());
        if (r->session != NULL)
            sg_log_info("tables and report were left as they are; `signet collect %s` makes them of what is "
                        "finished",
                        r->dir);
    }
    return status != SG_OK ? status : collected;
}

int sg_cmd_run(int argc, char **argv) {
    sg_cli cli;
    SG_TRY(sg_cli_parse(&cli, argc, argv));
    if (cli.help) return SG_OK;
    run r = {.cli = &cli};
    SG_TRY(choose_directory(&r));
    SG_TRY(choose_part(&r));
    int status = SG_AT(sg_world_open(&r.world));
    if (status == SG_OK) status = SG_AT(compute(&r));
    if (r.world != NULL) status = finish(&r, status);
    sg_scan_free(&r.found, r.session == NULL ? 0 : r.session->plan->count);
    sg_session_close(&r.session);
    sg_lock_release(&r.lock);
    sg_log_close();
    return sg_world_close(&r.world, status);
}
