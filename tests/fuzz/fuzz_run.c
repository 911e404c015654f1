/* The small text files of a run directory, and what becomes of text in terminals, reports and events. The
 * first byte chooses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/text.h"
#include "pipeline/facts.h"
#include "pipeline/lock.h"
#include "pipeline/log.h"
#include "pipeline/progress.h"
#include "pipeline/report_html.h"
#include "tests/fuzz/files.h"

static void read_facts(void) {
    enum { CASES = 2 };
    sg_plan_case_facts facts[CASES];
    char arithmetic[256];
    memset(facts, 0, sizeof facts);
    int status = sg_facts_read(sg_fuzz_folder(), CASES, facts, arithmetic);
    sg_fuzz_require(status == SG_OK || status == SG_DATA || status == SG_IO,
                    "damaged facts are damaged data");
    for (int c = 0; status == SG_OK && c < CASES; c++)
        sg_fuzz_require(facts[c].channels > 0 && facts[c].height > 0 && facts[c].width > 0 &&
                            facts[c].train_samples > 0 && facts[c].test_samples > 0,
                        "facts make sense");
}

static void write_html(const char *text) {
    char *page = NULL;
    size_t size;
    FILE *out = open_memstream(&page, &size);
    if (out == NULL) exit(71);
    sg_html_text(out, text);
    fclose(out);
    sg_fuzz_require(strpbrk(page, "<>\"'") == NULL, "text stays text in a page");
    free(page);
}

static void write_event(const char *text) {
    char out[300];
    sg_log_escape(text, out, sizeof out);
    size_t length = strlen(out);
    sg_fuzz_require(length >= 2 && out[0] == '"' && out[length - 1] == '"', "a string is in quotes");
    for (size_t i = 1; i + 1 < length; i++) {
        sg_fuzz_require((unsigned char)out[i] >= 0x20 && out[i] != '"', "no character ends a string");
        if (out[i] == '\\') i++;
    }
    sg_fuzz_require(out[length - 1] == '"' && strlen(out) < sizeof out, "a string is closed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sg_fuzz_input input = {data, size};
    unsigned what = sg_fuzz_byte(&input) % 4;
    static const char *const names[] = {"lock", "facts", "stages/id/progress", "text"};
    char line[512], *text = malloc(input.left + 1);
    if (text == NULL) exit(71);
    if (input.left > 0) memcpy(text, input.at, input.left);
    text[input.left] = '\0';
    sg_fuzz_write(names[what], input.at, input.left);
    if (what == 0) sg_lock_holder(sg_fuzz_folder(), line, sizeof line);
    if (what == 1) read_facts();
    if (what == 2) sg_progress_read(sg_fuzz_folder(), "id", line, sizeof line);
    if (what == 0 || what == 2)
        sg_fuzz_require(sg_text_is_plain(line), "no control character reaches a terminal");
    if (what == 3) {
        write_html(text);
        write_event(text);
    }
    free(text);
    return 0;
}
