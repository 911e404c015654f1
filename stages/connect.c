#include "stages/connect.h"

#include <math.h>
#include <string.h>

#include "kernels/memory.h"

int sg_path_create(sg_path **path, int points) {
    *path = NULL;
    SG_CHECK(points >= 2, SG_CONFIG, "connect.points = %d: a path has at least its two ends", points);
    sg_path *made;
    SG_TRY(SG_NEW(&made, 1));
    made->points = points;
    if (SG_NEW(&made->point, (size_t)points) != SG_OK) {
        free(made);
        return SG_NOMEM;
    }
    *path = made;
    return SG_OK;
}

void sg_path_destroy(sg_path **path) {
    if (path == NULL || *path == NULL) return;
    free((*path)->point);
    SG_FREE(*path);
}

static void interpolate_statistics(sg_weights *out, const sg_weights *one, const sg_weights *two,
                                   double lambda) {
    for (size_t i = 0; i < one->net->channels_tracked; i++) {
        out->mean[i] = (float)(lambda * (double)one->mean[i] + (1.0 - lambda) * (double)two->mean[i]);
        out->variance[i] =
            (float)(lambda * (double)one->variance[i] + (1.0 - lambda) * (double)two->variance[i]);
    }
    out->batches = one->batches;
}

static int measure_points(const sg_env *env, const sg_weights *one, const sg_weights *two, bool recalibrate,
                          sg_path *path, sg_weights *between) {
    while (path->done < path->points) {
        double lambda = (double)path->done / (path->points - 1);
        sg_score score;
        sg_weights_interpolate(between, one, two, lambda);
        if (recalibrate)
            SG_TRY(sg_stage_recalibrate(env, between));
        else
            interpolate_statistics(between, one, two, lambda);
        SG_TRY(sg_stage_evaluate(env, between, env->test, NULL, &score));
        path->point[path->done++] =
            (sg_point){.lambda = lambda, .error = 1.0 - score.accuracy, .loss = score.loss};
        sg_progress progress = {.phase = "path",
                                .epoch = path->done,
                                .epochs = path->points,
                                .loss = score.loss,
                                .accuracy = score.accuracy};
        SG_TRY(env->step(env->context, &progress));
    }
    return SG_OK;
}

int sg_stage_connect(const sg_env *env, const sg_weights *one, const sg_weights *two, bool recalibrate,
                     sg_path *path) {
    SG_CHECK(memcmp(one->mask, two->mask, env->net->values) == 0, SG_CONFIG,
             "the two networks of a path have different masks; connect networks of one signed mask");
    sg_weights *between = NULL;
    sg_survivors *survivors = NULL;
    int status = SG_AT(sg_weights_create(&between, env->net));
    if (status == SG_OK) status = SG_AT(sg_survivors_create(&survivors, one));
    if (status == SG_OK) status = SG_AT(sg_exec_set_survivors(env->exec, survivors));
    if (status == SG_OK) status = SG_AT(measure_points(env, one, two, recalibrate, path, between));
    sg_weights_destroy(&between);
    sg_survivors_destroy(&survivors);
    return status;
}

/* The larger of barrier and the height of a point above the line between the ends; not a number once a height
 * is not. */
static double raise_barrier(double barrier, double value, double lambda, double one, double two) {
    double above = value - (lambda * one + (1.0 - lambda) * two);
    if (isnan(barrier)) return barrier;
    return isnan(above) || above > barrier ? above : barrier;
}

double sg_barrier_error(const sg_path *path) {
    const sg_point *p = path->point, *last = &p[path->points - 1];
    double barrier = 0.0;
    for (int i = 0; i < path->points; i++)
        barrier = raise_barrier(barrier, p[i].error, p[i].lambda, last->error, p[0].error);
    return barrier;
}

double sg_barrier_loss(const sg_path *path) {
    const sg_point *p = path->point, *last = &p[path->points - 1];
    double barrier = 0.0;
    for (int i = 0; i < path->points; i++)
        barrier = raise_barrier(barrier, p[i].loss, p[i].lambda, last->loss, p[0].loss);
    return barrier;
}

void sg_reinit_norms(sg_weights *weights) {
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        if (param->role != SG_ROLE_GAMMA && param->role != SG_ROLE_BETA) continue;
        for (size_t i = param->offset; i < param->offset + param->count; i++)
            weights->values[i] = param->role == SG_ROLE_GAMMA ? 1.0f : 0.0f;
    }
}
