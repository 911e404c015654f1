/* Runs one network on one minibatch for tests/parity/test_parity.py, which compares the results with
 * PyTorch's.
 *
 *     parity [--float|--float-direct] ARCH INPUT OUTPUT         (files as in records.h)
 *
 * INPUT   options   classes, width, channels, height, width in pixels, imagenet, depth
 *         run       samples, alpha, steps, SGD's rate, momentum, weight decay, Adam's rate
 *         images, labels, every parameter, mask/<parameter> (none: dense), every norm's running_mean,
 * running_var OUTPUT  eval_logits, logits (training), loss, gradient/<parameter>, shape/<parameter>,
 * train/<norm>.running_*; then, after that many steps from the start, sgd/<parameter>, adam/<parameter>,
 * sgd/<norm>.running_*.
 *
 * In double with the reference executor; with --float one evaluation and one training pass of the real
 * executor, with --float-direct the same without Winograd. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/exec.h"
#include "kernels/machine.h"
#include "kernels/memory.h"
#include "tests/reference/records.h"
#include "tests/reference/reference_net.h"

enum { OPTIONS = 7, RUN = 7 };

enum arithmetic { DOUBLE, FLOAT, FLOAT_DIRECT };

typedef struct job {
    enum arithmetic arithmetic;
    const sg_records *input;
    FILE *output;
    const sg_net *net;
    int samples, steps;
    double alpha, sgd_rate, momentum, decay, adam_rate;
    const double *images;
    int32_t *label;
} job;

/* ---- Input. */

static int read_net(const sg_records *input, const char *arch, sg_net **net) {
    const double *o = NULL;
    SG_TRY(sg_records_find(input, "options", OPTIONS, &o));
    sg_net_options options = {.arch = arch,
                              .classes = (int)o[0],
                              .width = (int)o[1],
                              .channels = (int)o[2],
                              .image_height = (int)o[3],
                              .image_width = (int)o[4],
                              .imagenet = o[5] != 0,
                              .depth = (int)o[6],
                              .dropout = 0};
    return SG_AT(sg_net_create(net, &options));
}

static int read_run(job *j) {
    const double *r = NULL, *label = NULL;
    SG_TRY(sg_records_find(j->input, "run", RUN, &r));
    j->samples = (int)r[0];
    j->alpha = r[1];
    j->steps = (int)r[2];
    j->sgd_rate = r[3];
    j->momentum = r[4];
    j->decay = r[5];
    j->adam_rate = r[6];
    const sg_layer *in = &j->net->layer[0];
    size_t pixels = (size_t)in->channels * (size_t)in->height * (size_t)in->width;
    SG_TRY(sg_records_find(j->input, "images", (size_t)j->samples * pixels, &j->images));
    SG_TRY(sg_records_find(j->input, "labels", (size_t)j->samples, &label));
    SG_TRY(SG_NEW(&j->label, (size_t)j->samples));
    for (int n = 0; n < j->samples; n++) j->label[n] = (int32_t)label[n];
    return SG_OK;
}

/* The start: weights, mask and statistics of the input. */
static int read_state(const job *j, double *values, uint8_t *mask, double *mean, double *variance) {
    char name[SG_NAME_LENGTH + 32];
    const double *from = NULL;
    for (int p = 0; p < j->net->params; p++) {
        const sg_param *param = &j->net->param[p];
        SG_TRY(sg_records_find(j->input, param->name, param->count, &from));
        memcpy(values + param->offset, from, param->count * sizeof *from);
        snprintf(name, sizeof name, "mask/%s", param->name);
        memset(mask + param->offset, 1, param->count);
        if (!sg_records_has(j->input, name)) continue;
        SG_CHECK(param->role == SG_ROLE_WEIGHT, SG_DATA, "%s is masked but cannot be pruned", param->name);
        SG_TRY(sg_records_find(j->input, name, param->count, &from));
        for (size_t i = 0; i < param->count; i++) mask[param->offset + i] = from[i] != 0;
    }
    for (int s = 0; s < j->net->statistics_count; s++) {
        const sg_statistics *tracked = &j->net->statistics[s];
        snprintf(name, sizeof name, "%s.running_mean", tracked->name);
        SG_TRY(sg_records_find(j->input, name, tracked->channels, &from));
        memcpy(mean + tracked->offset, from, tracked->channels * sizeof *from);
        snprintf(name, sizeof name, "%s.running_var", tracked->name);
        SG_TRY(sg_records_find(j->input, name, tracked->channels, &from));
        memcpy(variance + tracked->offset, from, tracked->channels * sizeof *from);
    }
    return SG_OK;
}

/* ---- Output. */

static int write_params(const job *j, const char *prefix, const double *values) {
    for (int p = 0; p < j->net->params; p++) {
        const sg_param *param = &j->net->param[p];
        SG_TRY(sg_records_write(j->output, prefix, param->name, param->count, values + param->offset));
    }
    return SG_OK;
}

static int write_shapes(const job *j) {
    for (int p = 0; p < j->net->params; p++) {
        const sg_param *param = &j->net->param[p];
        double shape[4];
        for (int d = 0; d < param->dimensions; d++) shape[d] = (double)param->shape[d];
        SG_TRY(sg_records_write(j->output, "shape/", param->name, (size_t)param->dimensions, shape));
    }
    return SG_OK;
}

static int write_statistics(const job *j, const char *prefix, const double *mean, const double *variance) {
    char name[SG_NAME_LENGTH + 32];
    for (int s = 0; s < j->net->statistics_count; s++) {
        const sg_statistics *tracked = &j->net->statistics[s];
        snprintf(name, sizeof name, "%s.running_mean", tracked->name);
        SG_TRY(sg_records_write(j->output, prefix, name, tracked->channels, mean + tracked->offset));
        snprintf(name, sizeof name, "%s.running_var", tracked->name);
        SG_TRY(sg_records_write(j->output, prefix, name, tracked->channels, variance + tracked->offset));
    }
    return SG_OK;
}

/* ---- In double. */

static int one_pass(const job *j, sg_ref_net *ref) {
    size_t logits = (size_t)j->samples * (size_t)j->net->classes;
    ref->alpha = 1;
    SG_TRY(sg_records_write(j->output, "", "eval_logits", logits, sg_ref_net_forward(ref, false)));
    ref->alpha = j->alpha;
    SG_TRY(sg_records_write(j->output, "", "logits", logits, sg_ref_net_forward(ref, true)));
    int64_t correct = 0;
    double loss = sg_ref_net_loss(ref, j->label, &correct);
    SG_TRY(sg_records_write(j->output, "", "loss", 1, &loss));
    SG_TRY(sg_ref_net_backward(ref, j->label));
    SG_TRY(write_params(j, "gradient/", ref->gradient));
    SG_TRY(write_statistics(j, "train/", ref->mean, ref->variance));
    return SG_AT(write_shapes(j));
}

/* torch.optim.SGD and Adam as they are documented; decay is added to the gradient. */
static void sgd_update(const job *j, sg_ref_net *ref, double *momentum) {
    for (size_t i = 0; i < ref->net->values; i++) {
        double g = ref->gradient[i] + j->decay * ref->values[i];
        momentum[i] = j->momentum * momentum[i] + g;
        ref->values[i] -= j->sgd_rate * momentum[i];
    }
}

static void adam_update(const job *j, sg_ref_net *ref, int step, double *first, double *second) {
    const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    double correction1 = 1 - pow(beta1, step), correction2 = 1 - pow(beta2, step);
    for (size_t i = 0; i < ref->net->values; i++) {
        double g = ref->gradient[i] + j->decay * ref->values[i];
        first[i] = beta1 * first[i] + (1 - beta1) * g;
        second[i] = beta2 * second[i] + (1 - beta2) * g * g;
        double denominator = sqrt(second[i]) / sqrt(correction2) + epsilon;
        ref->values[i] -= j->adam_rate / correction1 * first[i] / denominator;
    }
}

static int train(const job *j, sg_ref_net *ref, bool adam, const char *prefix) {
    double *first = NULL, *second = NULL;
    int status = SG_AT(read_state(j, ref->values, ref->mask, ref->mean, ref->variance));
    if (status == SG_OK) status = SG_AT(SG_NEW(&first, j->net->values));
    if (status == SG_OK) status = SG_AT(SG_NEW(&second, j->net->values));
    for (int step = 1; status == SG_OK && step <= j->steps; step++) {
        sg_ref_net_forward(ref, true);
        status = SG_AT(sg_ref_net_backward(ref, j->label));
        if (adam)
            adam_update(j, ref, step, first, second);
        else
            sgd_update(j, ref, first);
    }
    if (status == SG_OK) status = SG_AT(write_params(j, prefix, ref->values));
    if (status == SG_OK) status = SG_AT(write_statistics(j, prefix, ref->mean, ref->variance));
    free(first), free(second);
    return status;
}

static int run_double(const job *j) {
    sg_ref_net *ref = NULL;
    int status = SG_AT(sg_ref_net_create(&ref, j->net, j->samples));
    if (status == SG_OK) status = SG_AT(read_state(j, ref->values, ref->mask, ref->mean, ref->variance));
    if (status == SG_OK) {
        sg_ref_net_set_images(ref, j->images);
        status = SG_AT(one_pass(j, ref));
    }
    if (status == SG_OK && j->steps > 0) status = SG_AT(train(j, ref, false, "sgd/"));
    if (status == SG_OK && j->steps > 0) status = SG_AT(train(j, ref, true, "adam/"));
    sg_ref_net_destroy(&ref);
    return status;
}

/* ---- In float, by the real executor. */

typedef struct float_run {
    sg_machine *machine;
    sg_weights *weights;
    sg_survivors *survivors;
    sg_exec *exec;
    sg_batch batch;
    float *images, *logits, *gradient;
    double *values; /* scratch: parameters, or statistics */
} float_run;

static void release_float(float_run *r) {
    sg_exec_destroy(&r->exec);
    sg_survivors_destroy(&r->survivors);
    sg_weights_destroy(&r->weights);
    sg_tensor_release(&r->batch.input);
    sg_machine_destroy(&r->machine);
    free(r->batch.label), free(r->batch.sample);
    free(r->images), free(r->logits), free(r->gradient), free(r->values);
}

static int prepare_float(const job *j, float_run *r) {
    const sg_net *net = j->net;
    const sg_layer *in = &net->layer[0];
    size_t pixels = (size_t)in->channels * (size_t)in->height * (size_t)in->width;
    size_t scratch = net->values + 2 * net->channels_tracked;
    SG_TRY(sg_machine_create(&r->machine, "auto", "auto", 1));
    r->machine->winograd = j->arithmetic != FLOAT_DIRECT;
    SG_TRY(sg_weights_create(&r->weights, net));
    SG_TRY(SG_NEW(&r->values, scratch));
    SG_TRY(read_state(j, r->values, r->weights->mask, r->values + net->values,
                      r->values + net->values + net->channels_tracked));
    for (size_t i = 0; i < net->values; i++) r->weights->values[i] = (float)r->values[i];
    for (size_t c = 0; c < net->channels_tracked; c++) {
        r->weights->mean[c] = (float)r->values[net->values + c];
        r->weights->variance[c] = (float)r->values[net->values + net->channels_tracked + c];
    }
    SG_TRY(sg_survivors_create(&r->survivors, r->weights));
    SG_TRY(SG_NEW(&r->gradient, r->survivors->total));
    SG_TRY(SG_NEW(&r->logits, (size_t)j->samples * (size_t)net->classes));
    SG_TRY(SG_NEW(&r->images, (size_t)j->samples * pixels));
    for (size_t i = 0; i < (size_t)j->samples * pixels; i++) r->images[i] = (float)j->images[i];

    int lanes = r->machine->lanes, blocks = sg_divide_up(j->samples, lanes);
    r->batch.samples = j->samples;
    r->batch.blocks = blocks;
    SG_TRY(SG_NEW(&r->batch.label, (size_t)(blocks * lanes)));
    SG_TRY(SG_NEW(&r->batch.sample, (size_t)(blocks * lanes)));
    for (int n = 0; n < blocks * lanes; n++) {
        r->batch.label[n] = n < j->samples ? j->label[n] : -1;
        r->batch.sample[n] = (uint32_t)n;
    }
    SG_TRY(sg_tensor_init(&r->batch.input, lanes, blocks, in->channels, in->height, in->width,
                          sg_exec_input_halo(net)));
    sg_tensor_from_nchw(&r->batch.input, r->images, j->samples);
    SG_TRY(sg_exec_create(&r->exec, r->machine, net, &sg_reduce_alone, j->samples, true));
    return SG_AT(sg_exec_set_survivors(r->exec, r->survivors));
}

static int compute_float(const job *j, float_run *r) {
    const sg_net *net = j->net;
    sg_result result;
    SG_TRY(sg_exec_load(r->exec, r->weights));
    SG_TRY(sg_exec_evaluate(r->exec, r->weights, &r->batch, &result, r->logits));
    size_t logits = (size_t)j->samples * (size_t)net->classes;
    double *wide = NULL;
    SG_TRY(SG_NEW(&wide, logits));
    for (size_t i = 0; i < logits; i++) wide[i] = (double)r->logits[i];
    int status = SG_AT(sg_records_write(j->output, "", "eval_logits", logits, wide));
    free(wide);
    SG_TRY(status);

    SG_TRY(sg_exec_train(r->exec, r->weights, &r->batch, j->alpha, 0, 0, r->gradient, &result));
    double loss = result.loss_sum / (double)result.samples;
    SG_TRY(sg_records_write(j->output, "", "loss", 1, &loss));
    memset(r->values, 0, net->values * sizeof *r->values);
    for (int p = 0; p < net->params; p++) {
        const sg_support *support = &r->survivors->support[p];
        for (size_t k = 0; k < support->count; k++) {
            size_t i = support->index == NULL ? k : support->index[k];
            r->values[net->param[p].offset + i] = (double)r->gradient[r->survivors->offset[p] + k];
        }
    }
    SG_TRY(write_params(j, "gradient/", r->values));
    double *mean = r->values + net->values, *variance = mean + net->channels_tracked;
    for (size_t c = 0; c < net->channels_tracked; c++) {
        mean[c] = (double)r->weights->mean[c];
        variance[c] = (double)r->weights->variance[c];
    }
    return SG_AT(write_statistics(j, "train/", mean, variance));
}

static int run_float(const job *j) {
    float_run r = {0};
    int status = SG_AT(prepare_float(j, &r));
    if (status == SG_OK) status = SG_AT(compute_float(j, &r));
    release_float(&r);
    return status;
}

static int run(enum arithmetic arithmetic, const char *arch, const char *input_path,
               const char *output_path) {
    sg_records *input = NULL;
    sg_net *net = NULL;
    job j = {.arithmetic = arithmetic};
    int status = SG_AT(sg_records_read(&input, input_path));
    if (status == SG_OK) status = SG_AT(read_net(input, arch, &net));
    j.input = input;
    j.net = net;
    if (status == SG_OK) status = SG_AT(read_run(&j));
    if (status == SG_OK && (j.output = fopen(output_path, "wb")) == NULL)
        status = SG_FAIL(SG_CANTCREATE, "cannot create %s", output_path);
    if (status == SG_OK) status = SG_AT(arithmetic == DOUBLE ? run_double(&j) : run_float(&j));
    if (j.output != NULL && fclose(j.output) != 0 && status == SG_OK)
        status = SG_FAIL(SG_IO, "cannot write %s", output_path);
    free(j.label);
    sg_net_destroy(&net);
    sg_records_destroy(&input);
    return status;
}

int main(int argc, char **argv) {
    enum arithmetic arithmetic = DOUBLE;
    if (argc == 5 && strcmp(argv[1], "--float") == 0) arithmetic = FLOAT;
    if (argc == 5 && strcmp(argv[1], "--float-direct") == 0) arithmetic = FLOAT_DIRECT;
    if (argc != (arithmetic == DOUBLE ? 4 : 5)) {
        fprintf(stderr, "usage: parity [--float|--float-direct] ARCH INPUT OUTPUT\n");
        return SG_USAGE;
    }
    int status = run(arithmetic, argv[argc - 3], argv[argc - 2], argv[argc - 1]);
    if (status != SG_OK) fprintf(stderr, "parity: %s\n%s", sg_error_message(), sg_error_trace());
    return status;
}
