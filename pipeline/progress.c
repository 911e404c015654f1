#include "pipeline/progress.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/text.h"
#include "pipeline/log.h"
#include "pipeline/file.h"
#include "pipeline/paths.h"

enum { LINES = 64, PHASE = 16 };

/* One running stage as its leader sees it; also the message to rank 0. */
typedef struct running {
    char id[192], phase[PHASE];
    int epoch, epochs;
    uint32_t step, steps;
    double loss, accuracy, images_per_s;
    double share; /* of the stage that is done */
    double left;  /* seconds; below 0: not known */
} running;

/* The display belongs to the log: rank 0's terminal. */
static struct {
    const sg_plan *plan;
    bool terminal;
    int window; /* a descriptor that knows the terminal's width */
    int drawn;  /* lines on the screen now */
    double redrawn;
    running line[LINES];
    int lines;
    int epochs_seen[LINES]; /* of the training in that line; 0: none, or all told */
} display;

/* What this leader sends: its current stage, and when it last did. */
static struct {
    char id[192];
    double share, first_share; /* of the stage that is done: now, and when this launch first knew it */
    double first, sent, written;
} own;

static void wipe(void) {
    for (; display.drawn > 0; display.drawn--) fputs("\033[1A\033[2K", stderr);
}

/* A test and the gathering of statistics know nothing of epochs: until they are over, the share is what it
 * was. */
static void note_share(const sg_progress *p, double time) {
    if (p->epochs == 0) return;
    double step = strcmp(p->phase, "train") == 0 && p->steps > 0 ? (double)p->step / p->steps : 0.0;
    own.share = ((double)p->epoch + step) / p->epochs;
    if (own.first > 0.0) return;
    own.first = time;
    own.first_share = own.share;
}

/* By what this launch has done, once that is 2 % of what it had to do: the rest was another's. */
static double seconds_left(double time) {
    double gained = own.share - own.first_share;
    if (own.first == 0.0 || gained <= 0.02 * (1.0 - own.first_share)) return -1.0;
    return (time - own.first) * (1.0 - own.share) / gained;
}

static void describe(const running *r, char *text, size_t size) {
    char left[32] = "";
    if (r->left > 0.0)
        snprintf(left, sizeof left, ", %d:%02d left", (int)(r->left / 60.0), (int)fmod(r->left, 60.0));
    char rate[32] = "", place[48] = "";
    if (r->images_per_s > 0.0) snprintf(rate, sizeof rate, ", %.0f images/s", r->images_per_s);
    if (r->epochs > 0)
        snprintf(place, sizeof place, " %d/%d", r->epoch + (strcmp(r->phase, "train") == 0), r->epochs);
    snprintf(text, size, "%s: %s%s, loss %.4f, accuracy %.1f %%%s%s", r->id, r->phase, place, r->loss,
             100.0 * r->accuracy, rate, left);
}

static void bar(char *text, size_t size) {
    int done = 0, total = display.plan->count, width = 30;
    double flop = 0.0, all = 0.0;
    for (int i = 0; i < total; i++) {
        const sg_plan_stage *stage = &display.plan->stages[i];
        done += stage->state == SG_STATE_DONE;
        all += stage->flop;
        if (stage->state == SG_STATE_DONE) flop += stage->flop;
    }
    for (int l = 0; l < display.lines; l++) {
        int stage = sg_plan_find(display.plan, display.line[l].id);
        if (stage >= 0) flop += display.line[l].share * display.plan->stages[stage].flop;
    }
    int filled = all > 0.0 ? (int)(flop / all * width) : width;
    if (filled > width) filled = width;
    char blocks[31];
    memset(blocks, '.', 30);
    memset(blocks, '#', (size_t)filled);
    blocks[30] = '\0';
    snprintf(text, size, "[%s] %d of %d stages, %.0f %%", blocks, done, total,
             all > 0.0 ? 100.0 * flop / all : 100.0);
}

/* mpirun passes ranks a pipe for stderr and copies what comes out of it to its own: where that is a terminal,
 * so is ours. Its descriptor is seen through /proc when mpirun is this process's parent, that is, on its own
 * node. */
static int find_terminal(void) {
    char link[64], target[64];
    if (isatty(STDERR_FILENO)) return STDERR_FILENO;
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL) return -1;
    snprintf(link, sizeof link, "/proc/%d/fd/2", (int)getppid());
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length <= 0) return -1;
    target[length] = '\0';
    if (strncmp(target, "/dev/pts/", 9) != 0 && strncmp(target, "/dev/tty", 8) != 0) return -1;
    return open(target, O_WRONLY | O_NOCTTY | O_CLOEXEC);
}

static void draw(void) {
    struct winsize window;
    int columns =
        ioctl(display.window, TIOCGWINSZ, &window) == 0 && window.ws_col > 20 ? window.ws_col - 1 : 79;
    char text[512];
    if (!display.terminal || display.plan == NULL) return;
    for (int l = 0; l < display.lines; l++) {
        describe(&display.line[l], text, sizeof text);
        fprintf(stderr, "%.*s\n", columns, text);
    }
    bar(text, sizeof text);
    fprintf(stderr, "%.*s\n", columns, text);
    display.drawn = display.lines + 1;
}

static void redraw(bool at_once) {
    if (!display.terminal || (!at_once && sg_clock_now() - display.redrawn < 0.2)) return;
    display.redrawn = sg_clock_now();
    wipe();
    draw();
}

static int line_of(const char *id) {
    for (int l = 0; l < display.lines; l++)
        if (strcmp(display.line[l].id, id) == 0) return l;
    if (display.lines == LINES) return -1;
    display.line[display.lines] = (running){0};
    display.epochs_seen[display.lines] = 0;
    snprintf(display.line[display.lines].id, sizeof display.line[0].id, "%s", id);
    return display.lines++;
}

/* A training's test ends an epoch: its figures are worth an event, and a line where there are no live ones.
 */
static void log_epoch(const running *test, int epoch) {
    if (!display.terminal)
        sg_log_info("%s: epoch %d: test loss %.4f, accuracy %.2f %%", test->id, epoch, test->loss,
                    100.0 * test->accuracy);
    sg_log_event("epoch", "\"stage\":\"%s\",\"epoch\":%d,\"test_loss\":%.9g,\"test_accuracy\":%.9g", test->id,
                 epoch, test->loss, test->accuracy);
}

/* The end of an epoch, or a point of a path. */
static void log_milestone(const running *before, const running *r, int *epochs_seen) {
    char text[512];
    if (strcmp(r->phase, "train") == 0) *epochs_seen = r->epoch + 1;
    if (strcmp(r->phase, "path") == 0) {
        describe(r, text, sizeof text);
        if (!display.terminal) sg_log_info("%s", text);
        sg_log_event("point",
                     "\"stage\":\"%s\",\"point\":%d,\"points\":%d,\"test_loss\":%.9g,\"test_accuracy\":%.9g",
                     r->id, r->epoch, r->epochs, r->loss, r->accuracy);
    } else if (strcmp(before->phase, "test") == 0 && strcmp(r->phase, "test") != 0 && *epochs_seen > 0) {
        log_epoch(before, strcmp(r->phase, "train") == 0 ? r->epoch : *epochs_seen);
        if (strcmp(r->phase, "train") != 0) *epochs_seen = 0;
    }
}

static void update(const running *r) {
    if (display.plan == NULL) return;
    int l = line_of(r->id);
    if (l < 0) return;
    running before = display.line[l];
    display.line[l] = *r;
    log_milestone(&before, r, &display.epochs_seen[l]);
    redraw(false);
}

void sg_progress_open(const sg_plan *plan) {
    memset(&display, 0, sizeof display);
    display.plan = plan;
    display.window = find_terminal();
    display.terminal = display.window >= 0;
    if (display.terminal) sg_log_set_overlay(wipe, draw);
}

void sg_progress_close(void) {
    if (display.terminal) {
        wipe();
        sg_log_set_overlay(NULL, NULL);
        if (display.window != STDERR_FILENO) close(display.window);
    }
    display.plan = NULL;
}

static void write_file(const char *dir, const running *r) {
    char text[512];
    describe(r, text, sizeof text - 1);
    strcat(text, "\n");
    if (sg_file_write_fleeting(sg_stage_path(dir, r->id, "progress").text, text, strlen(text)) != SG_OK)
        sg_error_clear();
}

void sg_progress_show(sg_comm *world, const char *dir, const sg_plan_stage *stage,
                      const sg_progress *progress) {
    double time = sg_clock_now();
    if (strcmp(own.id, stage->id) != 0) {
        snprintf(own.id, sizeof own.id, "%s", stage->id);
        own.share = own.first = own.sent = own.written = 0.0;
    }
    bool boundary = progress->step == progress->steps;
    if (!boundary && time - own.sent < 0.2) return;
    own.sent = time;
    note_share(progress, time);
    running r = {.epoch = progress->epoch,
                 .epochs = progress->epochs,
                 .step = progress->step,
                 .steps = progress->steps,
                 .loss = progress->loss,
                 .accuracy = progress->accuracy,
                 .images_per_s = progress->images_per_s,
                 .share = own.share,
                 .left = seconds_left(time)};
    snprintf(r.id, sizeof r.id, "%s", stage->id);
    snprintf(r.phase, sizeof r.phase, "%s", progress->phase);
    if (time - own.written > 2.0) {
        write_file(dir, &r);
        own.written = time;
    }
    if (sg_comm_rank(world) == 0)
        update(&r);
    else if (sg_comm_send(world, &r, sizeof r, 0, SG_TAG_PROGRESS) != SG_OK)
        sg_error_clear();
}

int sg_progress_receive(sg_comm *world) {
    for (;;) {
        bool arrived;
        int from;
        size_t bytes;
        running r;
        if (sg_comm_size(world) == 1) return SG_OK;
        SG_TRY(sg_comm_wait_quietly(world, MPI_ANY_SOURCE, SG_TAG_PROGRESS, 0.0, &arrived, &from, &bytes));
        if (!arrived) return SG_OK;
        SG_TRY(sg_comm_receive(world, &r, sizeof r, from, SG_TAG_PROGRESS, &bytes));
        update(&r);
    }
}

void sg_progress_end(const char *id, bool done) {
    if (display.plan == NULL) return;
    for (int l = 0; l < display.lines; l++) {
        if (strcmp(display.line[l].id, id) != 0) continue;
        /* Of a network without running statistics nothing comes after the last test. */
        if (done && strcmp(display.line[l].phase, "test") == 0 && display.epochs_seen[l] > 0)
            log_epoch(&display.line[l], display.epochs_seen[l]);
        display.line[l] = display.line[--display.lines];
        display.epochs_seen[l] = display.epochs_seen[display.lines];
        break;
    }
    sg_log_event("stage", "\"stage\":\"%s\",\"done\":%s", id, done ? "true" : "false");
    if (done) {
        char text[160];
        bar(text, sizeof text);
        sg_log_info("%s done %s", id, text);
    }
    redraw(true);
}

void sg_progress_read(const char *dir, const char *id, char *line, size_t size) {
    if (sg_file_read_text(sg_stage_path(dir, id, "progress").text, line, size) != SG_OK) {
        sg_error_clear();
        *line = '\0';
    }
    line[strcspn(line, "\n")] = '\0';
    sg_text_make_plain(line);
}
