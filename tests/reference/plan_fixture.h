/* Plans for tests, of data that nobody has looked at. Failures end the test. */
#ifndef SG_TEST_PLAN_FIXTURE_H
#define SG_TEST_PLAN_FIXTURE_H

#include "pipeline/plan.h"

/* Two methods, two rounds of which one is asked for, three modes and dense, two seeds, one further order. */
extern const char small_plan[];

/* A configuration of this text, with one override or NULL. Owned: sg_config_destroy. */
sg_run_config *config_of(const char *text, const char *override);

/* Its plan, for data of this fingerprint: what sg_plan_create returns. Owned. */
int try_plan(sg_plan **plan, const sg_run_config *config, const char *fingerprint, const char *arithmetic);

/* Both at once; plan_of with usual data and arithmetic. */
sg_plan *plan_with(const char *text, const char *override, const char *fingerprint, const char *arithmetic);
sg_plan *plan_of(const char *text, const char *override);

/* Borrowed from the plan. */
const sg_plan_stage *stage_of(const sg_plan *plan, const char *id);

#endif
