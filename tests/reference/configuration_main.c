/* Prints the reference page of the configuration: what `make docs` writes to docs/configuration.md. */
#include "pipeline/config.h"

int main(void) {
    int status = sg_config_reference(stdout);
    if (status != SG_OK) fprintf(stderr, "%s\n", sg_error_message());
    return status;
}
