/* Configurations: any text is taken or refused; what is taken is printed as a configuration that is taken. */
#include <stdlib.h>
#include <string.h>

#include "pipeline/config.h"
#include "pipeline/config_text.h"
#include "tests/fuzz/files.h"

static void print_and_read_again(const sg_run_config *config) {
    char *printed = NULL;
    size_t size;
    FILE *out = open_memstream(&printed, &size);
    if (out == NULL) exit(71);
    sg_fuzz_require(sg_config_print(config, out) == SG_OK, "a configuration can be printed");
    fclose(out);
    sg_run_config *again;
    int status = sg_config_parse(&again, "printed.cfg", printed, NULL, 0);
    if (status != SG_OK) fputs(printed, stderr);
    sg_fuzz_require(status == SG_OK, "a printed configuration is a configuration");
    sg_fuzz_require(again->count == config->count, "it has as many cases");
    sg_config_destroy(&again);
    free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sg_config_text *scanned;
    char *bytes = sg_fuzz_copy(data, size), *text = malloc(size + 1);
    if (text == NULL) exit(71);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    if (sg_config_text_take(&scanned, "fuzz.cfg", bytes, size, true) == SG_OK)
        sg_config_text_destroy(&scanned);

    sg_run_config *config;
    int status = sg_config_parse(&config, "fuzz.cfg", text, NULL, 0);
    sg_fuzz_require(status == SG_OK || status == SG_CONFIG, "a bad configuration is a configuration error");
    if (status == SG_OK) print_and_read_again(config);
    sg_config_destroy(&config);
    free(bytes);
    free(text);
    return 0;
}
