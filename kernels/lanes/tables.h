/* What each file of this directory contributes to its instruction set's table (variant.c): initialisers of
 * the members of sg_variant. A pass that does not exist stays {0}. */
#ifndef SG_TABLES_H
#define SG_TABLES_H

#include "kernels/lanes/conv_depthwise.h"
#include "kernels/lanes/conv_direct.h"
#include "kernels/lanes/conv_sparse.h"
#include "kernels/lanes/conv_winograd_tables.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/lanes/peak.h"

#define SG_CONV_WINOGRAD4 SG_WINOGRAD_TABLE(winograd4, sg_winograd_supports)
#define SG_CONV_WINOGRAD2 SG_WINOGRAD_TABLE(winograd2, sg_winograd_supports)
#define SG_CONV_WINOGRAD4S2 SG_WINOGRAD_TABLE(winograd4s2, sg_winograd_stride2_supports)
#define SG_LAYERS SG_LAYER_TABLE
#define SG_PEAK SG_PEAK_TABLE

#endif
