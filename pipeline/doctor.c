#include "pipeline/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/memory.h"

void sg_opine(sg_opinion *opinion, enum sg_finding finding, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    *opinion = (sg_opinion){.finding = finding};
    vsnprintf(opinion->text, sizeof opinion->text, format, arguments);
    va_end(arguments);
}

void sg_doctor_say(sg_doctor *d, enum sg_finding finding, const char *check, const char *format, ...) {
    static const char *const words[] = {[SG_FINE] = "ok", [SG_NOTE] = "note", [SG_PROBLEM] = "PROBLEM"};
    d->notes += finding == SG_NOTE;
    d->problems += finding == SG_PROBLEM;
    if (sg_comm_rank(d->world) != 0) return;
    va_list arguments;
    va_start(arguments, format);
    printf("%-8s%s: ", words[finding], check);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
}

typedef struct voice {
    sg_opinion opinion;
    char host[64];
} voice;

int sg_doctor_say_worst(sg_doctor *d, const char *check, const sg_opinion *mine) {
    voice own = {.opinion = *mine}, *all;
    int ranks = sg_comm_size(d->world), worst = 0;
    gethostname(own.host, sizeof own.host - 1);
    int status = SG_AT(sg_comm_agree(d->world, SG_AT(SG_NEW(&all, (size_t)ranks))));
    if (status != SG_OK) return status;
    status = SG_AT(sg_comm_gather(d->world, &own, sizeof own, all));
    if (status == SG_OK) {
        for (int r = 1; r < ranks; r++)
            if (all[r].opinion.finding > all[worst].opinion.finding) worst = r;
        const voice *said = &all[worst];
        bool tell_host = ranks > 1 && said->opinion.finding != SG_FINE;
        sg_doctor_say(d, said->opinion.finding, check, "%s%s%s%s", said->opinion.text,
                      tell_host ? " (on " : "", tell_host ? said->host : "", tell_host ? ")" : "");
    }
    free(all);
    return status;
}
