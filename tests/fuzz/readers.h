/* Reading a whole data set, as sg_data_open does it, without MPI. */
#ifndef SG_FUZZ_READERS_H
#define SG_FUZZ_READERS_H

#include "pipeline/data_kind.h"

/* Scans and, where that succeeds, reads every sample and checks the labels. */
void sg_fuzz_read_all(const sg_data_kind *kind, const sg_data_options *options, const sg_blob *parts);

#endif
