#include "pipeline/group.h"

#include "kernels/memory.h"
#include "pipeline/task.h"

int sg_group_create(sg_group **group, sg_comm *comm, const sg_machine *machine, const sg_run_config *config,
                    const sg_plan *plan, sg_data *const *data, const char *dir, const char *config_text) {
    sg_group *made;
    int status = SG_AT(SG_NEW(&made, 1));
    if (status == SG_OK) {
        *made = (sg_group){.comm = comm,
                           .machine = machine,
                           .config = config,
                           .plan = plan,
                           .data = data,
                           .dir = dir,
                           .config_text = config_text};
        status = SG_AT(SG_NEW(&made->tools, (size_t)config->count));
    }
    if (status == SG_OK) status = SG_AT(sg_comm_reduce(comm, machine->threads, &made->reduce));
    status = SG_AT(sg_comm_agree(comm, status));
    if (status != SG_OK && made == NULL) sg_comm_destroy(&comm);
    if (status != SG_OK) sg_group_destroy(&made);
    *group = made;
    return status;
}

void sg_group_destroy(sg_group **group) {
    if (group == NULL || *group == NULL) return;
    sg_group *g = *group;
    for (int c = 0; c < g->config->count && g->tools != NULL; c++) {
        sg_loader_destroy(&g->tools[c].train_loader.loader);
        sg_loader_destroy(&g->tools[c].test_loader.loader);
        sg_exec_destroy(&g->tools[c].exec);
    }
    free(g->tools);
    sg_comm_destroy(&g->comm);
    SG_FREE(*group);
}

static int get_together(void *context, const sg_order *order, uint32_t epoch, uint32_t index,
                        const sg_batch **batch) {
    sg_shared_loader *shared = context;
    int status = SG_AT(sg_loader_get(shared->loader, order, epoch, index, batch));
    return SG_AT(sg_comm_agree(shared->comm, status));
}

/* Where samples are in memory already there is nothing to agree on. */
static void make_source(const sg_group *group, int config, sg_shared_loader *shared, sg_source *source) {
    sg_loader_source(shared->loader, source);
    if (!group->data[config]->lazy) return;
    shared->comm = group->comm;
    source->context = shared;
    source->get = get_together;
}

static int make_loader(const sg_group *group, int config, enum sg_data_split split,
                       sg_shared_loader *shared) {
    const sg_config *c = &group->config->cases[config];
    return SG_AT(sg_loader_create(&shared->loader, group->data[config], split, c->train.batch,
                                  group->reduce.rank, group->reduce.size, group->machine->lanes,
                                  sg_exec_input_halo(group->plan->nets[config]), group->machine->threads,
                                  c->data.augment));
}

static int make_tools(const sg_group *group, int config, sg_case_tools *tools) {
    SG_TRY(make_loader(group, config, SG_SPLIT_TRAIN, &tools->train_loader));
    SG_TRY(make_loader(group, config, SG_SPLIT_TEST, &tools->test_loader));
    make_source(group, config, &tools->train_loader, &tools->train);
    make_source(group, config, &tools->test_loader, &tools->test);
    return SG_AT(sg_exec_create(&tools->exec, group->machine, group->plan->nets[config], &group->reduce,
                                group->config->cases[config].train.batch, true));
}

int sg_group_tools(sg_group *group, int config, sg_case_tools **tools) {
    *tools = &group->tools[config];
    int status = (*tools)->exec != NULL ? SG_OK : SG_AT(make_tools(group, config, *tools));
    return SG_AT(sg_comm_agree(group->comm, status));
}

int sg_group_run(sg_group *group, const sg_plan_stage *stage) {
    sg_task task = {.group = group, .stage = stage};
    int status = SG_AT(sg_task_begin(&task));
    if (status == SG_OK) {
        switch (stage->kind) {
        case SG_STAGE_WARMUP:
        case SG_STAGE_ROUND:
        case SG_STAGE_TRANSFER:
            status = SG_AT(sg_task_train(&task));
            break;
        case SG_STAGE_EXTRACT:
            status = SG_AT(sg_task_extract(&task));
            break;
        case SG_STAGE_CONNECT:
            status = SG_AT(sg_task_connect(&task));
            break;
        case SG_STAGE_KIND_COUNT:
            status = SG_FAIL(SG_INTERNAL, "%s: a stage of no kind", stage->id);
            break;
        }
    }
    sg_task_end(&task);
    return status;
}
