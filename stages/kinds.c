#include "stages/kinds.h"

#include <stddef.h>

const char *const sg_method_names[] = {"lrr", "aws", "imp", NULL};
const char *const sg_mode_names[] = {"signed",    "signed_norms", "mask",  "retrain", "random_signs",
                                     "magnitude", "frozen",       "dense", NULL};
const char *const sg_pair_names[] = {"signed-search",
                                     "signed-retrain",
                                     "signed_norms-retrain",
                                     "signed-signed",
                                     "sgd-noise",
                                     "norm-reinit",
                                     NULL};
const char *const sg_schedule_names[] = {"step", "cosine", "constant", NULL};

_Static_assert(sizeof sg_method_names / sizeof *sg_method_names == SG_METHOD_COUNT + 1,
               "one name per method");
_Static_assert(sizeof sg_mode_names / sizeof *sg_mode_names == SG_MODE_COUNT + 1, "one name per mode");
_Static_assert(sizeof sg_pair_names / sizeof *sg_pair_names == SG_PAIR_COUNT + 1, "one name per pair");
_Static_assert(sizeof sg_schedule_names / sizeof *sg_schedule_names == SG_SCHEDULE_COUNT + 1,
               "one name per schedule");

const char *sg_method_name(enum sg_method method) { return sg_method_names[method]; }
const char *sg_mode_name(enum sg_mode mode) { return sg_mode_names[mode]; }
const char *sg_pair_name(enum sg_pair pair) { return sg_pair_names[pair]; }
