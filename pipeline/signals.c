#include "pipeline/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"

/* Signal handlers reach nothing else; set once, read between minibatches. */
static volatile sig_atomic_t signal_seen;
static double began, deadline; /* of sg_clock_now; 0: none */

static void remember(int number) {
    if (signal_seen == 0) signal_seen = number;
}

int sg_signals_install(void) {
    const int numbers[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SG_CHECK(sigaction(numbers[i], &action, NULL) == 0, SG_INTERNAL, "sigaction: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past `ulimit -f` returns EFBIG instead */
    return SG_OK;
}

void sg_signals_begin(void) { began = sg_clock_now(); }

static const char *slurm_number(const char *name) {
    const char *text = getenv(name);
    bool number = text != NULL && *text != '\0' && strspn(text, "0123456789") == strlen(text);
    return number && strlen(text) <= 20 ? text : NULL;
}

/* Seconds that Slurm leaves this job, or -1: "%L" prints [days-][[hours:]minutes:]seconds, or a word. */
static double slurm_seconds(void) {
    char command[128], text[64] = "";
    const char *array = slurm_number("SLURM_ARRAY_JOB_ID"), *task = slurm_number("SLURM_ARRAY_TASK_ID"),
               *job = slurm_number("SLURM_JOB_ID");
    if (job == NULL) return -1.0;
    bool in_array = array != NULL && task != NULL; /* where one task's job number is the array's too */
    snprintf(command, sizeof command, "timeout 20 squeue -h -j %s%s%s -o %%L 2>/dev/null",
             in_array ? array : job, in_array ? "_" : "", in_array ? task : "");
    FILE *answer = popen(command, "re");
    if (answer == NULL) return -1.0;
    bool read = fgets(text, sizeof text, answer) != NULL;
    pclose(answer);
    bool digits = strspn(text, "0123456789:-\n ") == strlen(text) && strpbrk(text, "0123456789") != NULL;
    if (!read || !digits) return -1.0;
    double days = 0.0, seconds = 0.0;
    char *clock = strchr(text, '-');
    if (clock != NULL)
        days = atof(text), clock++;
    else
        clock = text;
    for (char *part = strtok(clock, ":"); part != NULL; part = strtok(NULL, ":"))
        seconds = 60.0 * seconds + atof(part);
    return 86400.0 * days + seconds;
}

void sg_signals_limit(double minutes, double margin) {
    double left = minutes > 0.0 ? 60.0 * minutes : slurm_seconds();
    if (left < 0.0) return;
    if (margin > left / 2.0) margin = left / 2.0;
    deadline = (minutes > 0.0 && began > 0.0 ? began : sg_clock_now()) + left - margin;
}

bool sg_stop_requested(void) { return signal_seen != 0 || (deadline > 0.0 && sg_clock_now() >= deadline); }

const char *sg_stop_reason(void) {
    switch (signal_seen) {
    case 0:
        return sg_stop_requested() ? "the time limit" : "";
    case SIGUSR1:
        return "SIGUSR1";
    case SIGUSR2:
        return "SIGUSR2";
    case SIGTERM:
        return "SIGTERM";
    default:
        return "SIGINT";
    }
}
