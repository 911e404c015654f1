#include "pipeline/provenance.h"

#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef SG_REVISION
#define SG_REVISION "unknown"
#endif

/* Raised whenever sg_conv_choose could pick differently or a kernel could give other bits. */
enum { SELECTOR_VERSION = 4 };

void sg_arithmetic_text(const sg_machine *machine, char *text, size_t size) {
    snprintf(text, size, "%s %dx%d lanes %d winograd %d sparse %d selector %d%s", machine->ukernel.name,
             machine->ukernel.rows, machine->ukernel.lanes, machine->lanes, machine->winograd,
             machine->sparse, SELECTOR_VERSION, strcmp(machine->isa, "portable") == 0 ? " portable" : "");
}

int sg_provenance_add(sg_h5_content *content, const sg_machine *machine, int ranks, const char *config_text) {
    char text[512], date[40], host[128] = "";
    unsigned hdf5[3];
    time_t now = time(NULL);
    struct tm utc;
    int length;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    gethostname(host, sizeof host - 1);
    SG_TRY(sg_h5_set_text(content, "signet.revision", SG_REVISION));
    SG_TRY(sg_h5_set_text(content, "signet.compiler", __VERSION__));
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, "\n,")] = '\0';
    SG_TRY(sg_h5_set_text(content, "signet.mpi", mpi));
    H5get_libversion(&hdf5[0], &hdf5[1], &hdf5[2]);
    snprintf(text, sizeof text, "%u.%u.%u", hdf5[0], hdf5[1], hdf5[2]);
    SG_TRY(sg_h5_set_text(content, "signet.hdf5", text));
    sg_arithmetic_text(machine, text, sizeof text);
    SG_TRY(sg_h5_set_text(content, "signet.arithmetic", text));
    SG_TRY(sg_h5_set_text(content, "signet.isa", machine->isa));
    SG_TRY(sg_h5_set_text(content, "signet.host", host));
    SG_TRY(sg_h5_set_text(content, "signet.date", date));
    SG_TRY(sg_h5_set_integer(content, "signet.ranks", ranks));
    SG_TRY(sg_h5_set_integer(content, "signet.threads", machine->threads));
    return SG_AT(sg_h5_set_text(content, "signet.config", config_text));
}
