/* The names of the method: what can be searched, transferred, connected, and how a learning rate falls. Every
 * enum has a table of names, the ones that configurations, ids and result files use. Local; nothing here can
 * fail. */
#ifndef SG_KINDS_H
#define SG_KINDS_H

/* How a search prunes: learning-rate rewinding, A Winning Sign, iterative magnitude pruning. */
enum sg_method { SG_METHOD_LRR, SG_METHOD_AWS, SG_METHOD_IMP, SG_METHOD_COUNT };

/* What a transfer takes over from a search state; SG_MODE_DENSE takes nothing. */
enum sg_mode {
    SG_MODE_SIGNED,
    SG_MODE_SIGNED_NORMS,
    SG_MODE_MASK,
    SG_MODE_RETRAIN,
    SG_MODE_RANDOM_SIGNS,
    SG_MODE_MAGNITUDE,
    SG_MODE_FROZEN,
    SG_MODE_DENSE,
    SG_MODE_COUNT
};

/* Which two networks a path connects. */
enum sg_pair {
    SG_PAIR_SIGNED_SEARCH,        /* signed transfer and the search state that it came from */
    SG_PAIR_SIGNED_RETRAIN,       /* signed and retrain transfers of one seed */
    SG_PAIR_SIGNED_NORMS_RETRAIN, /* signed_norms and retrain transfers of one seed */
    SG_PAIR_SIGNED_SIGNED,        /* signed transfers of two seeds */
    SG_PAIR_SGD_NOISE,            /* one start, two data orders */
    SG_PAIR_NORM_REINIT,          /* a search state and the same with its norms re-initialised */
    SG_PAIR_COUNT
};

/* Learning rate over the epochs of one training. */
enum sg_schedule { SG_SCHEDULE_STEP, SG_SCHEDULE_COSINE, SG_SCHEDULE_CONSTANT, SG_SCHEDULE_COUNT };

/* NULL-terminated, in the enum's order: a table's index is the enum's value. */
extern const char *const sg_method_names[];   /* "lrr", "aws", "imp" */
extern const char *const sg_mode_names[];     /* "signed", "signed_norms", ... */
extern const char *const sg_pair_names[];     /* "signed-search", ... */
extern const char *const sg_schedule_names[]; /* "step", "cosine", "constant" */

const char *sg_method_name(enum sg_method method);
const char *sg_mode_name(enum sg_mode mode);
const char *sg_pair_name(enum sg_pair pair);

#endif
