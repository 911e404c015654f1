#include "stages/transfer.h"

#include <math.h>
#include <string.h>

#include "kernels/rng.h"
#include "stages/signs.h"

/* Where the values of a group of parameters come from. */
enum origin {
    INIT,   /* fresh initialisation */
    SIGNED, /* abs(init) * sign(trained) */
    TRAINED,
    RANDOM_SIGN, /* abs(trained) * random sign */
    SEARCH_SIGN  /* abs(trained) * sign of the search's own initialisation */
};

/* The protocol's table. */
static const struct mode_row {
    enum origin weights;
    bool masked;
    enum origin norms;
    bool trained_statistics;
    enum origin head; /* classifier, biases, embeddings */
} table[SG_MODE_COUNT] = {
    [SG_MODE_SIGNED] = {SIGNED, true, INIT, false, SIGNED},
    [SG_MODE_MASK] = {INIT, true, INIT, false, INIT},
    [SG_MODE_RETRAIN] = {TRAINED, true, TRAINED, true, TRAINED},
    [SG_MODE_SIGNED_NORMS] = {SIGNED, true, TRAINED, false, SIGNED},
    [SG_MODE_RANDOM_SIGNS] = {RANDOM_SIGN, true, INIT, false, TRAINED},
    [SG_MODE_MAGNITUDE] = {SEARCH_SIGN, true, INIT, false, TRAINED},
    [SG_MODE_FROZEN] = {SIGNED, true, INIT, false, SIGNED},
    [SG_MODE_DENSE] = {INIT, false, INIT, false, INIT},
};

static bool from_trained(enum origin origin) { return origin != INIT && origin != SIGNED; }

bool sg_transfer_needs_trained(enum sg_mode mode) {
    const struct mode_row *row = &table[mode];
    return from_trained(row->weights) || from_trained(row->norms) || from_trained(row->head);
}

static enum origin origin_of(const struct mode_row *row, enum sg_role role, bool classifier_matches) {
    switch (role) {
    case SG_ROLE_WEIGHT:
        return row->weights;
    case SG_ROLE_GAMMA:
    case SG_ROLE_BETA:
        return row->norms;
    case SG_ROLE_CLASSIFIER_WEIGHT:
    case SG_ROLE_CLASSIFIER_BIAS:
        return classifier_matches ? row->head : INIT;
    case SG_ROLE_BIAS:
    case SG_ROLE_EMBEDDING:
        break;
    }
    return row->head;
}

static bool random_negative(uint64_t seed, int param, size_t element) {
    sg_random random = sg_rng(seed, SG_RNG_SIGN, (uint32_t)param, (uint32_t)(element / 128), 0);
    return random.word[element / 32 % 4] >> (element % 32) & 1;
}

/* One parameter's values, which hold the fresh initialisation. */
static void take_over(sg_weights *out, int p, enum origin origin, const sg_transfer_source *source,
                      const sg_weights *search_init, uint64_t seed) {
    const sg_param *param = &out->net->param[p];
    for (size_t k = 0; k < param->count; k++) {
        size_t i = param->offset + k;
        if (!out->mask[i]) continue;
        float magnitude = fabsf(origin == SIGNED ? out->values[i] : source->trained->values[i]);
        bool negative = origin == SIGNED        ? source->signs[i] < 0
                        : origin == RANDOM_SIGN ? random_negative(seed, p, k)
                        : origin == SEARCH_SIGN ? search_init->values[i] < 0.0f
                                                : false;
        out->values[i] = origin == TRAINED ? source->trained->values[i] : negative ? -magnitude : magnitude;
    }
}

int sg_transfer_begin(sg_weights *out, enum sg_mode mode, const sg_transfer_source *source,
                      uint64_t transfer_seed) {
    const sg_net *net = out->net;
    const struct mode_row *row = &table[mode];
    SG_CHECK(!row->masked || source->signs != NULL, SG_INTERNAL, "mode %s began without a signed mask",
             sg_mode_name(mode));
    SG_CHECK(source->trained != NULL || !sg_transfer_needs_trained(mode), SG_CONFIG,
             "transfer.modes: \"%s\" needs the trained weights of a search, and a signed-mask file has only "
             "signs; "
             "use \"signed\", \"mask\", \"frozen\" or \"dense\"",
             sg_mode_name(mode));
    memset(out->mask, 1, net->values);
    if (row->masked) sg_signs_mask(net, source->signs, out->mask);
    sg_weights_init(out, transfer_seed);
    sg_weights *search_init = NULL;
    if (row->weights == SEARCH_SIGN) {
        SG_TRY(sg_weights_create(&search_init, net));
        sg_weights_init(search_init, source->search_seed);
    }
    for (int p = 0; p < net->params; p++) {
        enum origin origin = origin_of(row, net->param[p].role, source->classifier_matches);
        if (origin != INIT) take_over(out, p, origin, source, search_init, transfer_seed);
    }
    if (row->trained_statistics) {
        memcpy(out->mean, source->trained->mean, net->channels_tracked * sizeof *out->mean);
        memcpy(out->variance, source->trained->variance, net->channels_tracked * sizeof *out->variance);
        out->batches = source->trained->batches;
    }
    sg_weights_destroy(&search_init);
    return SG_OK;
}
