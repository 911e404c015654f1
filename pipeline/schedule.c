#include "pipeline/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/group.h"
#include "pipeline/log.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"
#include "pipeline/progress.h"

/* Task numbers that are no stages. */
enum { TASK_WAIT = -1, TASK_LEAVE = -2, TASK_ABSENT = -3 };
enum { LOCK_SECONDS = 5 /* between two looks at the directory's lock */ };

static const char STOPPED[] = "stopped on request; start the same command again to go on";

/* From a group's leader to rank 0: it is free; stage and status are those of what it did last (stage -1:
 * nothing). */
typedef struct report {
    int stage, status;
    char message[1024];
} report;

typedef struct crew { /* one group, as rank 0 sees it */
    int leader;       /* its world rank */
    int stage;        /* what it runs, or TASK_WAIT: waiting for work, or TASK_ABSENT: has not come yet */
} crew;

typedef struct scheduler {
    sg_session *session;
    const sg_schedule_options *options;
    sg_group *group;   /* this rank's; NULL when it has none */
    int members;       /* ranks of a group */
    bool stopping;     /* rank 0: no more work is handed out */
    bool told_to_stop; /* leaders: rank 0 said so */
    bool passed_on;    /* not rank 0: it knows that this rank was asked to stop */
    int status;        /* rank 0: the worst so far */
    char message[2048];
    crew *crews; /* rank 0 only */
    int crew_count;
    char lock[SG_LOCK_TOKEN_BYTES]; /* token of the directory's lock */
    double looked;                  /* rank 0: when it last looked for that lock */
} scheduler;

/* ---- Group size. */

/* What is left of perfect speed-up when g ranks share a minibatch. */
static double efficiency(int g) {
    double value = 1.0;
    for (; g > 1; g /= 2) value *= 0.92;
    return value;
}

int sg_schedule_group_size(const sg_plan *plan, const sg_run_config *config, int lanes, int ranks) {
    double total = 0.0, longest = 0.0, best_time = 0.0;
    int most = 1, best = 1;
    for (int i = 0; i < plan->count; i++) {
        if (plan->stages[i].state != SG_STATE_PENDING) continue;
        total += plan->stages[i].flop;
        if (plan->stages[i].chain > longest) longest = plan->stages[i].chain;
    }
    for (int c = 0; c < config->count; c++) {
        int blocks = sg_divide_up(config->cases[c].train.batch, lanes);
        if (blocks > most) most = blocks;
    }
    for (int g = 1; g <= most && g <= ranks; g *= 2) {
        double speed = g * efficiency(g);
        double spread = total / (speed * (ranks / g)), chain = longest / speed;
        double time = spread > chain ? spread : chain;
        if (g == 1 || time < best_time) best = g, best_time = time;
    }
    return best;
}

/* ---- Rank 0: handing out work. */

static bool ready(const sg_plan *plan, const sg_plan_stage *stage) {
    if (stage->state != SG_STATE_PENDING) return false;
    for (int k = 0; k < stage->parent_count; k++)
        if (plan->stages[stage->parents[k]].state != SG_STATE_DONE) return false;
    return true;
}

static int next_stage(const scheduler *s) {
    const sg_plan *plan = s->session->plan;
    int best = TASK_WAIT;
    for (int i = 0; i < plan->count && !s->stopping; i++)
        if (ready(plan, &plan->stages[i]) && (best < 0 || plan->stages[i].chain > plan->stages[best].chain))
            best = i;
    return best;
}

static bool anyone_away(const scheduler *s) {
    for (int c = 0; c < s->crew_count; c++)
        if (s->crews[c].stage != TASK_WAIT) return true;
    return false;
}

/* A status is worse the more it says about the surroundings: a failed stage, then an interruption, then the
 * rest. */
static int severity(int status) {
    return status == SG_OK ? 0 : status == SG_FAILED ? 1 : status == SG_INTERRUPTED ? 2 : 3;
}

static void note_status(scheduler *s, int status, const char *message) {
    if (severity(status) <= severity(s->status)) return;
    s->status = status;
    snprintf(s->message, sizeof s->message, "%s", message);
}

static int stop_everyone(scheduler *s) {
    if (s->stopping) return SG_OK;
    s->stopping = true;
    for (int c = 1; c < s->crew_count; c++)
        if (s->crews[c].stage >= 0)
            SG_TRY(sg_comm_send(s->session->world, "", 0, s->crews[c].leader, SG_TAG_STOP));
    return SG_OK;
}

static int may_publish(void *context) {
    const scheduler *s = context;
    return SG_AT(sg_lock_check(s->options->dir, s->lock));
}

static int mark_failed(scheduler *s, sg_plan_stage *stage, const char *message) {
    char text[sizeof s->message + 64];
    stage->state = SG_STATE_FAILED;
    sg_log_warning("%s failed: %s", stage->id, message);
    snprintf(text, sizeof text, "%s\n%s\n", stage->key, message);
    sg_scan_block(s->session->plan);
    int status = SG_AT(may_publish(s));
    if (status == SG_OK)
        status = SG_AT(sg_file_write_text(sg_stage_path(s->options->dir, stage->id, "failed").text, text));
    if (status == SG_OK) return SG_OK;
    note_status(s, status, sg_error_message());
    sg_error_clear();
    return SG_AT(stop_everyone(s)); /* so that the others save what they have */
}

static int take_report(scheduler *s, const report *r) {
    sg_plan_stage *stage = r->stage < 0 ? NULL : &s->session->plan->stages[r->stage];
    if (stage == NULL) return SG_OK;
    stage->state = r->status == SG_OK ? SG_STATE_DONE : SG_STATE_PENDING;
    sg_progress_end(stage->id, r->status == SG_OK);
    note_status(s, r->status, r->message);
    if (r->status == SG_OK) return SG_OK;
    if (r->status == SG_FAILED) return SG_AT(mark_failed(s, stage, r->message));
    return SG_AT(stop_everyone(s));
}

/* Whether idle ranks have said that they were asked to stop. */
static int hear_requests(scheduler *s, bool *asked) {
    *asked = false;
    for (bool arrived = true; arrived;) {
        int from;
        size_t bytes;
        SG_TRY(sg_comm_wait_quietly(s->session->world, MPI_ANY_SOURCE, SG_TAG_STOP, 0.0, &arrived, &from,
                                    &bytes));
        if (!arrived) break;
        SG_TRY(sg_comm_receive(s->session->world, NULL, 0, from, SG_TAG_STOP, &bytes));
        *asked = true;
    }
    return SG_OK;
}

static int obey_requests(scheduler *s) {
    bool asked;
    SG_TRY(hear_requests(s, &asked));
    if (!asked) return SG_OK;
    note_status(s, SG_INTERRUPTED, STOPPED);
    return SG_AT(stop_everyone(s));
}

/* No group computes for long for a directory that is another job's. What cannot be read now is looked at
 * again later. */
static int watch_lock(scheduler *s) {
    if (MPI_Wtime() - s->looked < LOCK_SECONDS) return SG_OK;
    s->looked = MPI_Wtime();
    int status = may_publish(s);
    bool lost = status == SG_BUSY;
    if (lost) note_status(s, status, sg_error_message());
    if (status != SG_OK) sg_error_clear();
    return lost ? SG_AT(stop_everyone(s)) : SG_OK;
}

/* Takes whatever has come from other leaders, then gives waiting ones work, the longest chain first. */
static int serve(scheduler *s) {
    sg_comm *world = s->session->world;
    SG_TRY(obey_requests(s));
    SG_TRY(watch_lock(s));
    for (bool arrived = true; arrived && s->crew_count > 1;) {
        int from;
        size_t bytes;
        report r;
        SG_TRY(sg_comm_wait_quietly(world, MPI_ANY_SOURCE, SG_TAG_REPORT, 0.0, &arrived, &from, &bytes));
        if (!arrived) break;
        SG_TRY(sg_progress_receive(world)); /* sent before the report: not to come after the stage's end */
        SG_TRY(sg_comm_receive(world, &r, sizeof r, from, SG_TAG_REPORT, &bytes));
        s->crews[from / s->members].stage = TASK_WAIT;
        SG_TRY(take_report(s, &r));
    }
    SG_TRY(sg_progress_receive(world));
    for (int c = 1; c < s->crew_count; c++) {
        if (s->crews[c].stage != TASK_WAIT) continue;
        int task = next_stage(s);
        if (task < 0) break;
        s->session->plan->stages[task].state = SG_STATE_RUNNING;
        s->crews[c].stage = task;
        SG_TRY(sg_comm_send(world, &task, sizeof task, s->crews[c].leader, SG_TAG_TASK));
    }
    return SG_OK;
}

/* Adds the failed stages to the text, a line each, as far as there is room. */
static void list_failed_stages(const sg_plan *plan, char *text, size_t size) {
    static const char more[] = "\n  ...";
    size_t used = strlen(text);
    for (int i = 0; i < plan->count; i++) {
        const sg_plan_stage *stage = &plan->stages[i];
        if (stage->state != SG_STATE_FAILED) continue;
        bool fits = used + strlen("\n  ") + strlen(stage->id) + sizeof more <= size;
        if (!fits && used + sizeof more > size) return;
        used += (size_t)(fits ? sprintf(text + used, "\n  %s", stage->id) : sprintf(text + used, "%s", more));
        if (!fits) return;
    }
}

/* Stages that failed in an earlier launch are part of the answer too. */
static void note_failed_stages(scheduler *s) {
    const sg_plan *plan = s->session->plan;
    int failed = 0, blocked = 0;
    for (int i = 0; i < plan->count; i++) {
        blocked += plan->stages[i].state == SG_STATE_BLOCKED;
        failed += plan->stages[i].state == SG_STATE_FAILED;
    }
    if (failed == 0 || severity(s->status) > severity(SG_FAILED)) return;
    s->status = SG_FAILED;
    snprintf(s->message, sizeof s->message,
             "%d stage%s failed and %d could not begin for that; all else is done. Reasons: `signet status "
             "%s`; to try again: --retry-failed",
             failed, failed == 1 ? "" : "s", blocked, s->options->dir);
    list_failed_stages(plan, s->message, sizeof s->message);
}

static int send_home(scheduler *s) {
    int leave = TASK_LEAVE;
    for (int c = 1; c < s->crew_count; c++)
        SG_TRY(sg_comm_send(s->session->world, &leave, sizeof leave, s->crews[c].leader, SG_TAG_TASK));
    return SG_OK;
}

/* ---- Every group. */

static enum sg_wish watch(void *context, const sg_plan_stage *stage, const sg_progress *progress) {
    scheduler *s = context;
    sg_comm *world = s->session->world;
    bool stop = s->options->stop();
    if (sg_comm_rank(s->group->comm) == 0) {
        sg_progress_show(world, s->options->dir, stage, progress);
        if (sg_comm_rank(world) == 0) {
            if (stop) note_status(s, SG_INTERRUPTED, "stopped on request");
            int status = stop ? SG_AT(stop_everyone(s)) : SG_OK;
            if (status == SG_OK) status = SG_AT(serve(s));
            if (status != SG_OK) note_status(s, status, sg_error_message());
            stop = stop || s->stopping || status != SG_OK;
        } else {
            bool arrived;
            int from;
            size_t bytes;
            if (sg_comm_wait_quietly(world, 0, SG_TAG_STOP, 0.0, &arrived, &from, &bytes) != SG_OK || arrived)
                s->told_to_stop = true;
            stop = stop || s->told_to_stop;
        }
    }
    return stop ? SG_WISH_STOP : SG_WISH_NONE;
}

/* A rank without work tells rank 0 that it was asked to stop; at work, it saves and stops by itself. */
static int pass_on(void *context) {
    scheduler *s = context;
    sg_comm *world = s->session->world;
    if (s->passed_on || sg_comm_rank(world) == 0 || !s->options->stop()) return SG_OK;
    s->passed_on = true;
    return SG_AT(sg_comm_send(world, "", 0, 0, SG_TAG_STOP));
}

/* The leader says what is next; the others wait without spinning, which may take long. */
static int share_task(scheduler *s, int *task) {
    SG_TRY(sg_comm_barrier_watching(s->group->comm, pass_on, s));
    return SG_AT(sg_comm_broadcast(s->group->comm, task, sizeof *task, 0));
}

static int run_stage(scheduler *s, int task) {
    int status = SG_AT(sg_group_run(s->group, &s->session->plan->stages[task]));
    return SG_AT(sg_comm_agree(s->group->comm, status));
}

static int wait_for_task(scheduler *s, int *task) {
    int from;
    size_t bytes;
    for (bool arrived = false; !arrived;) {
        SG_TRY(pass_on(s));
        SG_TRY(sg_comm_wait_quietly(s->session->world, 0, SG_TAG_TASK, 0.2, &arrived, &from, &bytes));
    }
    SG_TRY(sg_comm_receive(s->session->world, task, sizeof *task, 0, SG_TAG_TASK, &bytes));
    return SG_OK;
}

/* A stop that came after the stage had ended concerns nobody any more. */
static int drop_late_stop(scheduler *s) {
    bool arrived;
    int from;
    size_t bytes;
    SG_TRY(sg_comm_wait_quietly(s->session->world, 0, SG_TAG_STOP, 0.0, &arrived, &from, &bytes));
    return arrived ? SG_AT(sg_comm_receive(s->session->world, NULL, 0, 0, SG_TAG_STOP, &bytes)) : SG_OK;
}

static int lead(scheduler *s) {
    report r = {.stage = -1, .status = SG_OK};
    for (int task = TASK_WAIT;;) {
        SG_TRY(sg_comm_send(s->session->world, &r, sizeof r, 0, SG_TAG_REPORT));
        SG_TRY(wait_for_task(s, &task));
        SG_TRY(share_task(s, &task));
        if (task == TASK_LEAVE) return SG_AT(drop_late_stop(s));
        r.stage = task;
        r.status = run_stage(s, task);
        snprintf(r.message, sizeof r.message, "%s", r.status == SG_OK ? "" : sg_error_message());
        sg_error_clear();
    }
}

static int follow(scheduler *s) {
    for (int task = TASK_WAIT;;) {
        SG_TRY(share_task(s, &task));
        if (task == TASK_LEAVE) return SG_OK;
        run_stage(s, task); /* the leader reports what came of it */
        sg_error_clear();
    }
}

/* Rank 0: leads the first group and hands out work. */
static int coordinate(scheduler *s) {
    int leave = TASK_LEAVE;
    for (;;) {
        if (s->options->stop() && !s->stopping) {
            note_status(s, SG_INTERRUPTED, STOPPED);
            SG_TRY(stop_everyone(s));
        }
        SG_TRY(serve(s));
        int task = next_stage(s);
        if (task >= 0) {
            report r = {.stage = task};
            s->session->plan->stages[task].state = SG_STATE_RUNNING;
            s->crews[0].stage = task;
            SG_TRY(serve(s));
            SG_TRY(share_task(s, &task));
            r.status = run_stage(s, task);
            snprintf(r.message, sizeof r.message, "%s", r.status == SG_OK ? "" : sg_error_message());
            sg_error_clear();
            s->crews[0].stage = TASK_WAIT;
            SG_TRY(take_report(s, &r));
        } else if (anyone_away(s)) {
            bool arrived;
            int from;
            size_t bytes;
            SG_TRY(sg_comm_wait_quietly(s->session->world, MPI_ANY_SOURCE, SG_TAG_REPORT, 0.2, &arrived,
                                        &from, &bytes));
        } else {
            break;
        }
    }
    note_failed_stages(s);
    SG_TRY(send_home(s));
    return SG_AT(share_task(s, &leave));
}

/* ---- The whole. */

static int make_group(scheduler *s) {
    sg_session *session = s->session;
    sg_comm *world = session->world, *comm;
    int rank = sg_comm_rank(world), ranks = sg_comm_size(world);
    s->members = s->options->ranks_per_stage;
    if (s->members == 0)
        s->members = sg_schedule_group_size(session->plan, session->config, session->machine->lanes, ranks);
    while (s->members > ranks) s->members /= 2;
    s->crew_count = ranks / s->members;
    bool spare = rank >= s->crew_count * s->members;
    if (rank == 0) snprintf(s->lock, sizeof s->lock, "%s", sg_lock_token(s->options->lock));
    SG_TRY(sg_comm_broadcast(world, s->lock, sizeof s->lock, 0));
    SG_TRY(sg_comm_split(&comm, world, spare ? -1 : rank / s->members, rank));
    int status = SG_OK;
    if (!spare)
        status = SG_AT(sg_group_create(&s->group, comm, session->machine, session->config, session->plan,
                                       session->data, s->options->dir, session->config_text));
    if (status == SG_OK && s->group != NULL) {
        s->group->watch = watch;
        s->group->may_publish = may_publish;
        s->group->context = s;
    }
    if (status == SG_OK && rank == 0) {
        status = SG_AT(SG_NEW(&s->crews, (size_t)s->crew_count));
        for (int c = 0; c < s->crew_count && status == SG_OK; c++)
            s->crews[c] = (crew){.leader = c * s->members, .stage = c == 0 ? TASK_WAIT : TASK_ABSENT};
        sg_log_info("%d rank%s in %d group%s of %d", ranks, ranks == 1 ? "" : "s", s->crew_count,
                    s->crew_count == 1 ? "" : "s", s->members);
    }
    return SG_AT(sg_comm_agree(world, status));
}

/* Everybody learns how it ended from rank 0. */
static int share_status(scheduler *s) {
    SG_TRY(sg_comm_barrier_watching(s->session->world, pass_on, s));
    bool asked; /* too late to concern anybody */
    if (sg_comm_rank(s->session->world) == 0) SG_TRY(hear_requests(s, &asked));
    SG_TRY(sg_comm_broadcast(s->session->world, &s->status, sizeof s->status, 0));
    SG_TRY(sg_comm_broadcast(s->session->world, s->message, sizeof s->message, 0));
    return s->status == SG_OK ? SG_OK : sg_error_adopt(s->status, s->message, "");
}

int sg_schedule_run(sg_session *session, const sg_schedule_options *options) {
    scheduler s = {.session = session, .options = options};
    int status = SG_AT(make_group(&s));
    if (status != SG_OK) {
        sg_group_destroy(&s.group);
        free(s.crews);
        return status;
    }
    if (sg_comm_rank(session->world) == 0)
        status = SG_AT(coordinate(&s));
    else if (s.group != NULL)
        status = sg_comm_rank(s.group->comm) == 0 ? SG_AT(lead(&s)) : SG_AT(follow(&s));
    if (status != SG_OK)
        sg_comm_abort(session->world, status); /* messages between ranks failed: nobody would agree */
    status = share_status(&s);
    sg_group_destroy(&s.group);
    free(s.crews);
    return status;
}
