/* What a run directory holds: done, stale with what has changed, failed, damaged. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline/file.h"
#include "pipeline/h5.h"
#include "pipeline/paths.h"
#include "pipeline/scan.h"
#include "tests/reference/temporary.h"

static const char text[] =
    "net = { arch = \"lenet\"; };\n"
    "data = { train_limit = 64; test_limit = 32; };\n"
    "search = { methods = (\"lrr\"); warmup_epochs = 1; rounds = 2; round_epochs = 1; };\n"
    "transfer = { modes = (\"signed\", \"dense\"); seeds = (2); rounds = (2); epochs = 2; };\n";
static char *directory;

static void must(int status) {
    if (status != SG_OK) fail_msg("%s\n%s", sg_error_message(), sg_error_trace());
}

static sg_plan *plan_of(const char *override, const char *data) {
    sg_run_config *config;
    sg_plan *plan;
    must(sg_config_parse(&config, "test.cfg", text, &override, override != NULL));
    sg_plan_case_facts facts = {
        .channels = 3, .height = 32, .width = 32, .train_samples = 64, .test_samples = 32};
    snprintf(facts.fingerprint, sizeof facts.fingerprint, "%s", data);
    sg_plan_facts all = {.cases = &facts, .arithmetic = "test"};
    must(sg_plan_create(&plan, config, &all));
    sg_config_destroy(&config);
    return plan;
}

static int find(const sg_plan *plan, const char *end) {
    size_t length = strlen(end);
    for (int i = 0; i < plan->count; i++) {
        size_t all = strlen(plan->stages[i].id);
        if (all >= length && strcmp(plan->stages[i].id + all - length, end) == 0) return i;
    }
    fail_msg("no stage ends with %s", end);
    return -1;
}

/* A result as a run leaves it, of which only the lineage matters here: its parents' digests are `parents`. */
static void write_result(const sg_plan *plan, int stage, const char *digest, const char *parents) {
    const sg_plan_stage *s = &plan->stages[stage];
    sg_h5_content *content;
    must(sg_h5_content_create(&content, "result"));
    must(sg_h5_set_text(content, "key", s->key));
    must(sg_h5_set_text(content, "key_text", s->key_text));
    must(sg_h5_set_text(content, "digest", digest));
    for (int i = 0; i < s->parent_count; i++) {
        char name[40];
        snprintf(name, sizeof name, "parent.%d.digest", i);
        must(sg_h5_set_text(content, name, parents));
    }
    must(sg_file_make_directories(sg_stage_path(directory, s->id, "").text));
    must(sg_h5_write(sg_stage_path(directory, s->id, "result.h5").text, NULL, content));
    sg_h5_content_destroy(&content);
}

static int finish_all(void **state) {
    (void)state;
    directory = temporary_create();
    sg_plan *plan = plan_of(NULL, "1");
    for (int i = 0; i < plan->count; i++) write_result(plan, i, "old", "old");
    sg_plan_destroy(&plan);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    temporary_remove(&directory);
    return 0;
}

static int count(const sg_plan *plan, enum sg_stage_state state) {
    int n = 0;
    for (int i = 0; i < plan->count; i++) n += plan->stages[i].state == state;
    return n;
}

static void assert_note(const sg_found *found, const char *expected) {
    assert_non_null(found->note);
    if (strstr(found->note, expected) == NULL)
        fail_msg("the note \"%s\" does not say \"%s\"", found->note, expected);
}

static void what_is_finished_is_done(void **state) {
    (void)state;
    sg_plan *plan = plan_of(NULL, "1");
    sg_found *found = NULL;
    must(sg_scan(directory, plan, &found));
    assert_int_equal(count(plan, SG_STATE_DONE), plan->count);
    assert_string_equal(found[0].digest, "old");
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

static void a_changed_option_is_named(void **state) {
    (void)state;
    sg_plan *plan = plan_of("transfer.epochs=3", "1");
    sg_found *found = NULL;
    must(sg_scan(directory, plan, &found));
    int signed_one = find(plan, "signed-s2"), warmup = find(plan, "warmup");
    assert_int_equal(plan->stages[signed_one].state, SG_STATE_STALE);
    assert_note(&found[signed_one], "transfer.epochs: 2 -> 3");
    assert_int_equal(plan->stages[warmup].state, SG_STATE_DONE);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

static void changed_data_are_named(void **state) {
    (void)state;
    sg_plan *plan = plan_of(NULL, "2");
    sg_found *found = NULL;
    must(sg_scan(directory, plan, &found));
    assert_int_equal(count(plan, SG_STATE_STALE), plan->count);
    assert_note(&found[find(plan, "warmup")], "data: 1 -> 2");
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

/* Under the same key a parent's result is another one: what was made from the old one is stale, and so is
 * what was made from that. */
static void a_changed_parent_is_named(void **state) {
    (void)state;
    sg_plan *plan = plan_of(NULL, "1");
    sg_found *found = NULL;
    int parent = find(plan, "round-01"), child = find(plan, "round-02"), grandchild = find(plan, "signed-s2");
    char expected[300];
    write_result(plan, parent, "new", "old");
    must(sg_scan(directory, plan, &found));
    assert_int_equal(plan->stages[parent].state, SG_STATE_DONE);
    assert_int_equal(plan->stages[find(plan, "warmup")].state, SG_STATE_DONE);
    assert_int_equal(plan->stages[find(plan, "dense-s2")].state, SG_STATE_DONE);
    assert_int_equal(plan->stages[child].state, SG_STATE_STALE);
    assert_int_equal(plan->stages[grandchild].state, SG_STATE_STALE);
    snprintf(expected, sizeof expected, "parent %s: result old -> new", plan->stages[parent].id);
    assert_note(&found[child], expected);
    snprintf(expected, sizeof expected, "parent %s: stale", plan->stages[child].id);
    assert_note(&found[grandchild], expected);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

static void a_failure_blocks_until_its_cause_has_changed(void **state) {
    (void)state;
    sg_plan *plan = plan_of(NULL, "1");
    sg_found *found = NULL;
    int failed = find(plan, "round-02"), blocked = find(plan, "signed-s2");
    char reason[200];
    sg_path_name result = sg_stage_path(directory, plan->stages[failed].id, "result.h5"),
                 child = sg_stage_path(directory, plan->stages[blocked].id, "result.h5");
    assert_int_equal(remove(result.text), 0);
    assert_int_equal(remove(child.text), 0);
    snprintf(reason, sizeof reason, "%s\nit diverged\n", plan->stages[failed].key);
    must(sg_file_write_text(sg_stage_path(directory, plan->stages[failed].id, "failed").text, reason));
    must(sg_scan(directory, plan, &found));
    assert_int_equal(plan->stages[failed].state, SG_STATE_FAILED);
    assert_note(&found[failed], "it diverged");
    assert_int_equal(plan->stages[blocked].state, SG_STATE_BLOCKED);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);

    plan = plan_of("search.round_epochs=2", "1");
    must(sg_scan(directory, plan, &found));
    assert_int_equal(plan->stages[failed].state, SG_STATE_PENDING);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

static void damage_is_told(void **state) {
    (void)state;
    sg_plan *plan = plan_of(NULL, "1");
    sg_found *found = NULL;
    int damaged = find(plan, "dense-s2");
    must(
        sg_file_write_text(sg_stage_path(directory, plan->stages[damaged].id, "result.h5").text, "nonsense"));
    must(sg_scan(directory, plan, &found));
    assert_true(found[damaged].damaged);
    assert_note(&found[damaged], "result.h5");
    assert_int_equal(plan->stages[damaged].state, SG_STATE_PENDING);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

static void a_second_scan_sees_what_has_changed(void **state) {
    (void)state;
    sg_plan *plan = plan_of(NULL, "1");
    sg_found *found = NULL;
    int dense = find(plan, "dense-s2");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", sg_stage_path(directory, plan->stages[dense].id, "result.h5").text);
    must(sg_scan(directory, plan, &found));
    assert_int_equal(unlink(path), 0);
    must(sg_scan(directory, plan, &found));
    assert_int_equal(plan->stages[dense].state, SG_STATE_PENDING);
    assert_int_equal(count(plan, SG_STATE_DONE), plan->count - 1);
    must(sg_file_write_text(path, "nonsense"));
    must(sg_scan(directory, plan, &found));
    assert_true(found[dense].damaged);
    sg_scan_free(&found, plan->count);
    sg_plan_destroy(&plan);
}

static void all_checkpoints_are_listed_newest_first(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    char name[64];
    int *generation, count;
    for (int i = 0; i < COUNT; i++) { /* each once, in no order */
        snprintf(name, sizeof name, "stages/many/checkpoint-%d.h5", i * 387 % COUNT);
        temporary_text(directory, name, "");
    }
    temporary_text(directory, "stages/many/checkpoint-2000.h5.tmp", "");
    temporary_text(directory, "stages/many/checkpoint-x.h5", "");
    must(sg_list_checkpoints(directory, "many", &generation, &count));
    assert_int_equal(count, COUNT);
    for (int i = 0; i < COUNT; i++) assert_int_equal(generation[i], COUNT - 1 - i);
    free(generation);
    must(sg_remove_checkpoints(directory, "many", 3));
    must(sg_list_checkpoints(directory, "many", &generation, &count));
    assert_int_equal(count, 3);
    assert_int_equal(generation[0], COUNT - 1);
    assert_int_equal(generation[2], COUNT - 3);
    free(generation);
    must(sg_list_checkpoints(directory, "none", &generation, &count));
    assert_int_equal(count, 0);
    assert_null(generation);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_finished_is_done, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(a_changed_option_is_named, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(changed_data_are_named, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(a_changed_parent_is_named, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(a_failure_blocks_until_its_cause_has_changed, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(damage_is_told, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(a_second_scan_sees_what_has_changed, finish_all, remove_all),
        cmocka_unit_test_setup_teardown(all_checkpoints_are_listed_newest_first, finish_all, remove_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
