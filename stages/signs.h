/* The signed mask: what a winning sign is. */
#ifndef SG_SIGNS_H
#define SG_SIGNS_H

#include "kernels/weights.h"

/* signs[net->values], int8: prunable weights -1, 0 (pruned) or +1; a surviving weight that is exactly zero
 * (0.0 or -0.0) counts as +1: the mask comes from the mask. Classifier, biases and embeddings: -1 or +1, as
 * the protocol transfers them. Norms: 0 (not transferred). Local; cannot fail. */
void sg_extract_signs(const sg_weights *weights, int8_t *signs);

/* mask[net->values] from signs: prunable weights survive where the sign is not 0; everything else survives.
 */
void sg_signs_mask(const sg_net *net, const int8_t *signs, uint8_t *mask);

#endif
