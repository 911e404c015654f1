#include "stages/learning_rate.h"

#include <math.h>

double sg_learning_rate(enum sg_schedule schedule, double lr, int epoch, int epochs) {
    if (schedule == SG_SCHEDULE_COSINE)
        return lr * (0.001 + 0.999 * 0.5 * (1.0 + cos(3.14159265358979323846 * epoch / epochs)));
    if (schedule == SG_SCHEDULE_STEP && epoch >= (3 * epochs + 3) / 4) return lr * 0.01;
    if (schedule == SG_SCHEDULE_STEP && epoch >= (epochs + 1) / 2) return lr * 0.1;
    return lr;
}
