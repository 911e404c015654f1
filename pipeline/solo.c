#include "pipeline/solo.h"

#include "kernels/memory.h"
#include "kernels/tree.h"
#include "pipeline/log.h"
#include "pipeline/signals.h"
#include "pipeline/state.h"
#include "pipeline/world.h"

static int step(void *context, const sg_progress *progress) {
    sg_solo *solo = context;
    int stop = sg_stop_requested();
    (void)progress;
    SG_TRY(sg_comm_max_int(solo->group->comm, &stop));
    return stop ? SG_FAIL(SG_INTERRUPTED, "stopped by %s", sg_stop_reason()) : SG_OK;
}

static int open_group(sg_solo *solo) {
    sg_session *s = solo->session;
    sg_comm *comm;
    int blocks = sg_divide_up(s->config->cases[0].train.batch, s->machine->lanes);
    int members = sg_tree_ranks(blocks, sg_comm_size(solo->world));
    int rank = sg_comm_rank(solo->world);
    SG_TRY(sg_comm_split(&comm, solo->world, rank < members ? 0 : -1, rank));
    if (comm == NULL) return SG_OK;
    SG_TRY(sg_group_create(&solo->group, comm, s->machine, s->config, s->plan, s->data, ".", s->config_text));
    SG_TRY(sg_group_tools(solo->group, 0, &solo->tools));
    solo->env = (sg_env){.machine = s->machine,
                         .net = s->plan->nets[0],
                         .exec = solo->tools->exec,
                         .train = &solo->tools->train,
                         .test = &solo->tools->test,
                         .context = solo,
                         .step = step};
    return SG_OK;
}

int sg_solo_open(sg_solo *solo, const char *config, const char *const *overrides, int override_count) {
    *solo = (sg_solo){0};
    SG_TRY(sg_world_open(&solo->world));
    if (sg_solo_leads(solo)) sg_log_open(NULL, false);
    SG_TRY(sg_session_open(&solo->session, solo->world, config, overrides, override_count, NULL));
    SG_CHECK(solo->session->config->count == 1, SG_CONFIG,
             "%s has %d cases (architectures or sweeps) and this command takes one; choose with --set "
             "net.arch=...",
             config, solo->session->config->count);
    return SG_AT(open_group(solo));
}

int sg_solo_close(sg_solo *solo, int status) {
    sg_group_destroy(&solo->group);
    sg_session_close(&solo->session);
    sg_log_close();
    return sg_world_close(&solo->world, status);
}

bool sg_solo_leads(const sg_solo *solo) { return sg_comm_rank(solo->world) == 0; }

int sg_solo_read_weights(const sg_solo *solo, const char *path, sg_weights *weights) {
    sg_h5_file *file;
    SG_TRY(sg_h5_open_foreign(&file, path, solo->group->comm, NULL));
    int status = SG_AT(sg_state_read_weights(file, weights, false));
    sg_h5_close(&file);
    return status == SG_OK ? SG_OK : sg_error_prefix(status, "%s: ", path);
}
