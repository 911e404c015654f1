/* Where a transfer's training starts: the eight modes (protocol: transfer). */
#ifndef SG_TRANSFER_H
#define SG_TRANSFER_H

#include "kernels/weights.h"
#include "stages/kinds.h"

/* What a transfer is made of. Without `trained` (a signed-mask file) `signs` alone serves the modes that need
 * no trained values: signed, mask, frozen. Borrowed. */
typedef struct sg_transfer_source {
    const sg_weights *trained; /* the search state, or NULL */
    const int8_t *signs;       /* [net->values] as sg_extract_signs makes them; NULL for dense */
    bool classifier_matches; /* false: the mask came from a net with another classifier, which is initialised
                              */
    uint64_t search_seed;    /* mode magnitude: the search's own initialisation */
} sg_transfer_source;

/* Fills out (weights, mask, statistics) for the mode from the transfer seed. SG_CONFIG: the source lacks what
 * the mode needs. SG_NOMEM. Local. */
int sg_transfer_begin(sg_weights *out, enum sg_mode mode, const sg_transfer_source *source,
                      uint64_t transfer_seed);

/* Whether a mode needs more than a signed mask: trained weights. */
bool sg_transfer_needs_trained(enum sg_mode mode);

#endif
