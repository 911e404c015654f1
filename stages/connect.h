/* Linear mode connectivity: the path between two networks with the same mask (protocol: connectivity). */
#ifndef SG_CONNECT_H
#define SG_CONNECT_H

#include "stages/evaluate.h"

typedef struct sg_point {
    double lambda; /* theta(lambda) = lambda theta_1 + (1 - lambda) theta_2 */
    double error;  /* test error, 0..1 */
    double loss;   /* test cross-entropy */
} sg_point;

typedef struct sg_path {
    int points;      /* lambda = i / (points - 1) */
    int done;        /* points that are finished */
    sg_point *point; /* [points], owned */
} sg_path;

int sg_path_create(sg_path **path, int points);
void sg_path_destroy(sg_path **path);

/* Measures the points that are missing. Every trainable parameter is interpolated; at each point running
 * statistics are re-estimated when recalibrate (otherwise interpolated like the weights). SG_CONFIG: masks
 * differ. SG_INTERRUPTED: path->done points are finished. Collective. */
int sg_stage_connect(const sg_env *env, const sg_weights *one, const sg_weights *two, bool recalibrate,
                     sg_path *path);

/* max over lambda of value(lambda) - (lambda value_1 + (1 - lambda) value_2), of errors or losses; never
 * negative, since both ends give 0. Not a number when a point's value is none (a loss that overflowed). */
double sg_barrier_error(const sg_path *path);
double sg_barrier_loss(const sg_path *path);

/* The other end of the pair "norm-reinit": gamma 1 and beta 0. */
void sg_reinit_norms(sg_weights *weights);

#endif
