/* What the files of the plan share. */
#ifndef SG_PLAN_BUILD_H
#define SG_PLAN_BUILD_H

#include "pipeline/plan.h"

/* Names the cases: architecture, width and data set, and what else tells cases of one name apart. */
int sg_plan_name_cases(sg_plan *plan, const sg_run_config *config);

/* stage->key_text and key, from its fields and its parents' keys. SG_NOMEM. */
int sg_plan_make_key(const sg_plan *plan, const sg_run_config *config, const sg_plan_facts *facts,
                     sg_plan_stage *stage);

/* stage->flop, memory, disk. */
int sg_plan_make_cost(const sg_plan *plan, const sg_run_config *config, const sg_plan_facts *facts,
                      sg_plan_stage *stage);

/* FLOP of one sample's forward pass, with this density of prunable weights. */
double sg_plan_flop(const sg_net *net, double density);

#endif
