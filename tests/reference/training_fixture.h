/* Trainings for the tests of stages, on a data set of noise that needs no files. Failures end the test. */
#ifndef SG_TEST_TRAINING_FIXTURE_H
#define SG_TEST_TRAINING_FIXTURE_H

#include "stages/train.h"

enum { SAMPLES = 40, BATCH = 32, MINIBATCHES = 2, PIXELS = 8, IMAGE = 3 * PIXELS * PIXELS, CLASSES = 4 };

typedef struct training_fixture {
    sg_machine *machine;
    sg_net *net;
    sg_exec *exec;
    sg_batch batch;
    sg_source source;
    sg_env env;
    int steps_left; /* until `step` interrupts; negative: never */
    int path_points;
} training_fixture;

void training_fixture_create(training_fixture *f, const char *arch);
void training_fixture_destroy(training_fixture *f);

/* SGD over three epochs, alpha from 0 to 1, shuffled. */
extern const sg_train_options training_fixture_usual;

/* As initialised by this seed, with this share of the weights pruned. Owned: sg_weights_destroy. */
sg_weights *training_fixture_weights(const training_fixture *f, uint64_t seed, double pruned);

/* A training of weights of seed 1, half of them pruned, or another share. Owned: sg_training_destroy. */
sg_training *training_fixture_begin(const training_fixture *f, const sg_train_options *options);
sg_training *training_fixture_begin_pruned(const training_fixture *f, const sg_train_options *options,
                                           double pruned);

/* Values and statistics are the same bits. */
void training_fixture_same(const sg_weights *came, const sg_weights *expected);

#endif
