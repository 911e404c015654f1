#include "stages/signs.h"

void sg_extract_signs(const sg_weights *weights, int8_t *signs) {
    for (int p = 0; p < weights->net->params; p++) {
        const sg_param *param = &weights->net->param[p];
        bool norm = param->role == SG_ROLE_GAMMA || param->role == SG_ROLE_BETA;
        for (size_t i = param->offset; i < param->offset + param->count; i++)
            signs[i] = (int8_t)(norm || !weights->mask[i] ? 0 : weights->values[i] < 0.0f ? -1 : 1);
    }
}

void sg_signs_mask(const sg_net *net, const int8_t *signs, uint8_t *mask) {
    for (int p = 0; p < net->params; p++) {
        const sg_param *param = &net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count; i++)
            mask[i] = param->role != SG_ROLE_WEIGHT || signs[i] != 0;
    }
}
