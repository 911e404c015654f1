/* What a run directory remembers of its data and arithmetic, so that its plan can be rebuilt on a login node
 * without opening data or choosing kernels: DIR/config.cfg and DIR/facts. Local. */
#ifndef SG_FACTS_H
#define SG_FACTS_H

#include "pipeline/plan.h"

/* SG_CANTCREATE, SG_IO. */
int sg_facts_write(const char *dir, const sg_plan_facts *facts, int cases);

/* The facts of a run directory: facts[cases] and the arithmetic, text[256]. SG_NOINPUT, SG_DATA. */
int sg_facts_read(const char *dir, int cases, sg_plan_case_facts *facts, char arithmetic[256]);

/* The configuration and plan of a run directory, states not set. SG_NOINPUT: no run directory; SG_DATA: facts
 * that do not fit the configuration. Owned. */
int sg_facts_open(const char *dir, sg_run_config **config, sg_plan **plan);

#endif
