#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/reference/plan_fixture.h"

enum { CASES = 8 };

const char small_plan[] =
    "net = { arch = \"lenet\"; };\n"
    "data = { train_limit = 64; test_limit = 32; };\n"
    "search = { methods = (\"lrr\", \"aws\"); warmup_epochs = 1; rounds = 2; round_epochs = 1; };\n"
    "transfer = { modes = (\"signed\", \"signed_norms\", \"retrain\", \"dense\"); seeds = (2, 3);\n"
    "             rounds = (2); noise_orders = 1; epochs = 2; };\n";

sg_run_config *config_of(const char *text, const char *override) {
    sg_run_config *config;
    if (sg_config_parse(&config, "test.cfg", text, &override, override != NULL ? 1 : 0) != SG_OK)
        fail_msg("%s", sg_error_message());
    return config;
}

int try_plan(sg_plan **plan, const sg_run_config *config, const char *fingerprint, const char *arithmetic) {
    sg_plan_case_facts cases[CASES] = {0};
    assert_in_range(config->count, 1, CASES);
    for (int i = 0; i < config->count; i++) {
        cases[i] = (sg_plan_case_facts){
            .channels = 3, .height = 32, .width = 32, .train_samples = 64, .test_samples = 32};
        snprintf(cases[i].fingerprint, sizeof cases[i].fingerprint, "%s", fingerprint);
        if (config->cases[i].transfer.mask_file[0] != '\0')
            snprintf(cases[i].mask_digest, sizeof cases[i].mask_digest, "0123456789abcdef0123456789abcdef");
    }
    sg_plan_facts facts = {.cases = cases, .arithmetic = arithmetic};
    return sg_plan_create(plan, config, &facts);
}

sg_plan *plan_with(const char *text, const char *override, const char *fingerprint, const char *arithmetic) {
    sg_run_config *config = config_of(text, override);
    sg_plan *plan;
    if (try_plan(&plan, config, fingerprint, arithmetic) != SG_OK) fail_msg("%s", sg_error_message());
    sg_config_destroy(&config);
    return plan;
}

sg_plan *plan_of(const char *text, const char *override) {
    return plan_with(text, override, "data 1", "BLIS zen3 6x16 lanes 16");
}

const sg_plan_stage *stage_of(const sg_plan *plan, const char *id) {
    int number = sg_plan_find(plan, id);
    if (number < 0) fail_msg("there is no stage %s", id);
    return &plan->stages[number];
}
