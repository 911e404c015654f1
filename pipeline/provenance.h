/* Where a result came from, as attributes of its file. */
#ifndef SG_PROVENANCE_H
#define SG_PROVENANCE_H

#include "kernels/machine.h"
#include "pipeline/h5.h"

/* git revision, compiler, MPI, HDF5, arithmetic, host, ranks, threads, date, resolved configuration. Local.
 */
int sg_provenance_add(sg_h5_content *content, const sg_machine *machine, int ranks, const char *config_text);

/* The arithmetic that every key depends on: "BLIS zen3 6x16 lanes 16 winograd 1 sparse 1 selector 1". */
void sg_arithmetic_text(const sg_machine *machine, char *text, size_t size);

#endif
