#include "pipeline/session.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/provenance.h"

/* Where a rank may run. */
typedef struct seat {
    char host[64];
    cpu_set_t cores;
} seat;

static void find_seat(seat *mine) {
    memset(mine, 0, sizeof *mine);
    gethostname(mine->host, sizeof mine->host - 1);
    if (sched_getaffinity(0, sizeof mine->cores, &mine->cores) != 0) CPU_ZERO(&mine->cores);
}

static bool overlap(const seat *a, const seat *b) {
    cpu_set_t both;
    CPU_AND(&both, &a->cores, &b->cores);
    return strcmp(a->host, b->host) == 0 && CPU_COUNT(&both) > 0;
}

/* Ranks that mpirun bound have cores of their own. Others share: all of a node's, or those of a batch job's
 * part of it. sharing: the ranks that may run on any core of this rank's, itself among them. */
static int count_cores(sg_comm *world, int *cores, int *sharing) {
    seat mine, *all;
    int ranks = sg_comm_size(world);
    find_seat(&mine);
    *cores = CPU_COUNT(&mine.cores);
    *sharing = 0;
    int status = SG_AT(SG_NEW(&all, (size_t)ranks));
    status = SG_AT(sg_comm_agree(world, status));
    if (status == SG_OK) status = SG_AT(sg_comm_gather(world, &mine, sizeof mine, all));
    for (int r = 0; r < ranks && status == SG_OK; r++) *sharing += overlap(&mine, &all[r]);
    free(all);
    return status;
}

static int threads_of(int configured, int cores, int sharing) {
    int threads = configured > 0 ? configured : sharing > 0 ? cores / sharing : 1;
    return threads > 1 ? threads : 1;
}

int sg_session_threads(sg_comm *world, int configured, int *threads) {
    int cores, sharing;
    SG_TRY(count_cores(world, &cores, &sharing));
    *threads = threads_of(configured, cores, sharing);
    return SG_OK;
}

int sg_session_machine(sg_machine **machine, sg_comm *world, const char *isa, const char *blis,
                       int configured) {
    int cores, sharing;
    *machine = NULL;
    SG_TRY(count_cores(world, &cores, &sharing));
    int status = SG_AT(sg_machine_create(machine, isa, blis, threads_of(configured, cores, sharing)));
    if (status == SG_OK && sharing == 1) status = SG_AT(sg_machine_bind(*machine));
    return SG_AT(sg_comm_agree(world, status));
}

/* Ranks on unlike CPUs may have been given unlike kernels, and one network's sums would mix their bits. */
static int check_same_arithmetic(sg_session *s) {
    char first[sizeof s->arithmetic], host[64] = "";
    memcpy(first, s->arithmetic, sizeof first);
    SG_TRY(sg_comm_broadcast(s->world, first, sizeof first, 0));
    gethostname(host, sizeof host - 1);
    int status =
        strcmp(first, s->arithmetic) == 0
            ? SG_OK
            : SG_FAIL(SG_CONFIG,
                      "rank %d on %s would compute with %s and rank 0 with %s; choose kernels that all "
                      "nodes have, such as kernels.blis = \"haswell\" on CPUs with AVX2",
                      sg_comm_rank(s->world), host, s->arithmetic, first);
    return SG_AT(sg_comm_agree(s->world, status));
}

static int print_config(sg_session *s) {
    size_t size;
    FILE *text = open_memstream(&s->config_text, &size);
    SG_CHECK(text != NULL, SG_NOMEM, "out of memory: the resolved configuration");
    int status = SG_AT(sg_config_print(s->config, text));
    fclose(text);
    return status;
}

static bool same_data(const sg_data_config *a, const sg_data_config *b, int classes_a, int classes_b) {
    return strcmp(a->kind, b->kind) == 0 && strcmp(a->path, b->path) == 0 &&
           a->train_limit == b->train_limit && a->test_limit == b->test_limit && a->seed == b->seed &&
           a->size == b->size && a->memory_gb == b->memory_gb && classes_a == classes_b;
}

static int open_data(sg_session *s) {
    SG_TRY(SG_NEW(&s->data, (size_t)s->config->count));
    for (int c = 0; c < s->config->count; c++) {
        const sg_config *one = &s->config->cases[c];
        for (int d = 0; d < c && s->data[c] == NULL; d++)
            if (same_data(&one->data, &s->config->cases[d].data, one->net.classes,
                          s->config->cases[d].net.classes))
                s->data[c] = s->data[d];
        if (s->data[c] != NULL) continue;
        sg_data_options options = {.kind = one->data.kind,
                                   .path = one->data.path,
                                   .classes = one->net.classes,
                                   .train_limit = (uint32_t)one->data.train_limit,
                                   .test_limit = (uint32_t)one->data.test_limit,
                                   .seed = one->data.seed,
                                   .size = one->data.size,
                                   .memory_gb = one->data.memory_gb,
                                   .threads = s->machine->threads};
        SG_TRY(sg_data_open(&s->data[c], &options, sg_comm_mpi(s->world)));
    }
    return SG_OK;
}

static int make_plan(sg_session *s) {
    sg_arithmetic_text(s->machine, s->arithmetic, sizeof s->arithmetic);
    SG_TRY(check_same_arithmetic(s));
    int status = SG_AT(SG_NEW(&s->facts, (size_t)s->config->count));
    sg_plan_case_facts *facts = s->facts;
    for (int c = 0; c < s->config->count && status == SG_OK; c++) {
        const sg_data *data = s->data[c];
        const sg_config *one = &s->config->cases[c];
        facts[c] = (sg_plan_case_facts){.channels = data->channels,
                                        .height = data->height,
                                        .width = data->width,
                                        .train_samples = data->part[SG_SPLIT_TRAIN].samples,
                                        .test_samples = data->part[SG_SPLIT_TEST].samples};
        snprintf(facts[c].fingerprint, sizeof facts[c].fingerprint, "%016llx",
                 (unsigned long long)data->fingerprint);
        if (one->transfer.mask_file[0] != '\0')
            status = SG_AT(sg_plan_file_digest(one->transfer.mask_file, facts[c].mask_digest));
    }
    sg_plan_facts all = {.cases = facts, .arithmetic = s->arithmetic, .machine = s->machine};
    if (status == SG_OK) status = SG_AT(sg_plan_create(&s->plan, s->config, &all));
    return SG_AT(sg_comm_agree(s->world, status));
}

static int open_parts(sg_session *s, const char *config, const char *const *overrides, int count,
                      const char *blis) {
    int status = SG_AT(sg_config_load(&s->config, config, overrides, count));
    if (status == SG_OK) status = SG_AT(print_config(s));
    SG_TRY(sg_comm_agree(s->world, status));
    const sg_kernel_options *kernels = &s->config->kernels;
    bool pinned = blis != NULL && strcmp(kernels->blis, "auto") == 0;
    SG_TRY(sg_session_machine(&s->machine, s->world, kernels->isa, pinned ? blis : kernels->blis,
                              s->config->run.threads));
    s->machine->winograd = kernels->winograd;
    s->machine->sparse = kernels->sparse;
    SG_TRY(open_data(s));
    return SG_AT(make_plan(s));
}

int sg_session_open(sg_session **session, sg_comm *world, const char *config, const char *const *overrides,
                    int override_count, const char *blis) {
    *session = NULL;
    sg_session *made;
    SG_TRY(SG_NEW(&made, 1));
    made->world = world;
    int status = SG_AT(open_parts(made, config, overrides, override_count, blis));
    if (status != SG_OK) sg_session_close(&made);
    *session = made;
    return status;
}

void sg_session_close(sg_session **session) {
    if (session == NULL || *session == NULL) return;
    sg_session *s = *session;
    for (int c = 0; s->data != NULL && c < s->config->count; c++) {
        bool first = true;
        for (int d = 0; d < c; d++) first = first && s->data[d] != s->data[c];
        sg_data *data = s->data[c];
        if (first) sg_data_close(&data);
    }
    free(s->data);
    free(s->config_text);
    free(s->facts);
    sg_plan_destroy(&s->plan);
    sg_machine_destroy(&s->machine);
    sg_config_destroy(&s->config);
    SG_FREE(*session);
}
