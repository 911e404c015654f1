/* Opens data sets: one rank scans, all agree, the ranks of each node fill memory that they share. */
#include "pipeline/data.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "kernels/text.h"
#include "pipeline/comm.h"
#include "pipeline/data_kind.h"
#include "pipeline/shared_memory.h"

enum { PIECE = 1 << 26 };

struct sg_data_memory {
    MPI_Comm team;            /* the node's ranks */
    int rank, size;           /* among those that share one copy */
    sg_shared_memory *shared; /* that copy; NULL when it is this rank's own: */
    unsigned char *own;
    sg_data_scan scan;
    bool manifest_inside; /* the manifest lies in the shared copy, too */
    const sg_data_kind *kind;
    sg_data_options options; /* path is owned */
    char **class_name;
};

static int broadcast_blob(sg_blob *blob, sg_comm *world) {
    uint64_t size = blob->size;
    SG_TRY(sg_comm_broadcast(world, &size, sizeof size, 0));
    int status = SG_OK;
    if (sg_comm_rank(world) != 0) {
        *blob = (sg_blob){0};
        status = SG_AT(sg_blob_add(blob, NULL, (size_t)size));
    }
    SG_TRY(sg_comm_agree(world, status));
    return SG_AT(sg_comm_broadcast(world, blob->bytes, (size_t)size, 0));
}

/* What was found must be something that memory can be laid out for and that the options ask for. */
static int validate(const sg_data_options *options, const sg_data_scan *scan) {
    SG_CHECK(scan->classes >= 1 && scan->classes <= SG_DATA_MAX_CLASSES, SG_DATA,
             "data set %s: has %d classes; 1 to %d are possible", scan->name, scan->classes,
             SG_DATA_MAX_CLASSES);
    SG_CHECK(
        scan->channels >= 1 && scan->channels <= SG_DATA_CHANNELS && scan->height >= 1 &&
            scan->height <= SG_DATA_MAX_SIDE && scan->width >= 1 && scan->width <= SG_DATA_MAX_SIDE &&
            (int64_t)scan->height * scan->width <= SG_DATA_MAX_PIXELS,
        SG_DATA,
        "data set %s: images of %d x %d pixels with %d channels; sides of 1 to %d and 1 to %d channels are"
        " possible",
        scan->name, scan->height, scan->width, scan->channels, SG_DATA_MAX_SIDE, SG_DATA_CHANNELS);
    SG_CHECK(options->classes == 0 || options->classes == scan->classes, SG_CONFIG,
             "net.classes = %d, but data set %s has %d classes: set net.classes = %d", options->classes,
             scan->name, scan->classes, scan->classes);
    const uint32_t limit[SG_SPLITS] = {options->train_limit, options->test_limit};
    for (int s = 0; s < SG_SPLITS; s++) {
        const char *split = sg_data_split_name((enum sg_data_split)s);
        SG_CHECK(scan->samples[s] > 0, SG_DATA, "data set %s: its %s split is empty", scan->name, split);
        SG_CHECK(limit[s] <= scan->samples[s], SG_CONFIG,
                 "data.%s_limit = %" PRIu32 ", but data set %s has %" PRIu32
                 " %s samples: lower it, or 0 for all",
                 split, limit[s], scan->name, scan->samples[s], split);
    }
    return SG_OK;
}

/* The parts of a listing, joined on rank 0 in order of rank. Collective. */
static int join_parts(const sg_blob *part, sg_blob *parts, sg_comm *world) {
    int ranks = sg_comm_size(world), mine = (int)part->size, *count = NULL, *at = NULL;
    int status =
        part->size <= INT_MAX ? SG_OK : SG_FAIL(SG_DATA, "a listing of %zu bytes is too long", part->size);
    if (status == SG_OK) status = SG_AT(SG_NEW(&count, (size_t)ranks));
    if (status == SG_OK) status = SG_AT(SG_NEW(&at, (size_t)ranks));
    if ((status = SG_AT(sg_comm_agree(world, status)))) goto done;
    if ((status = SG_AT(sg_comm_gather(world, &mine, sizeof mine, count)))) goto done;
    int64_t all = 0;
    for (int r = 0; r < ranks; r++) {
        at[r] = (int)all;
        all += count[r];
        if (all > INT_MAX) { /* alike on every rank */
            status = SG_FAIL(SG_DATA, "the listing is longer than %d bytes: too many files", INT_MAX);
            goto done;
        }
    }
    if (sg_comm_rank(world) == 0) status = SG_AT(sg_blob_add(parts, NULL, (size_t)all));
    if ((status = SG_AT(sg_comm_agree(world, status)))) goto done;
    status = SG_AT(sg_comm_check(
        MPI_Gatherv(part->bytes, mine, MPI_BYTE, parts->bytes, count, at, MPI_BYTE, 0, sg_comm_mpi(world)),
        "MPI_Gatherv"));
done:
    free(count);
    free(at);
    return status;
}

/* Collective. */
static int list_together(const sg_data_kind *kind, const sg_data_options *options, sg_blob *parts,
                         sg_comm *world) {
    int rank = sg_comm_rank(world), recalled = 0;
    sg_blob part = {0};
    if (kind->list == NULL) return SG_OK;
    if (rank == 0) recalled = kind->recall(options, parts);
    SG_TRY(sg_comm_broadcast(world, &recalled, sizeof recalled, 0));
    if (recalled) return SG_OK;
    int status = SG_AT(kind->list(options, rank, sg_comm_size(world), &part));
    status = SG_AT(sg_comm_agree(world, status));
    if (status == SG_OK) status = SG_AT(join_parts(&part, parts, world));
    if (status == SG_OK && rank == 0) kind->keep(options, parts);
    sg_blob_release(&part);
    return status;
}

/* One rank scans; the result, or its error, becomes every rank's. Collective. */
static int scan_once(const sg_data_kind *kind, const sg_data_options *options, sg_data_scan *scan,
                     sg_comm *world) {
    sg_blob parts = {0};
    int status = SG_AT(list_together(kind, options, &parts, world));
    if (status == SG_OK && sg_comm_rank(world) == 0) {
        scan->parts = &parts;
        status = SG_AT(kind->scan(options, scan));
        scan->parts = NULL;
        if (status == SG_OK) status = SG_AT(validate(options, scan));
    }
    sg_blob_release(&parts);
    SG_TRY(sg_comm_agree(world, status));
    sg_blob names = scan->class_names, manifest = scan->manifest;
    SG_TRY(sg_comm_broadcast(world, scan, sizeof *scan, 0));
    scan->class_names = names; /* the sender's pointers mean nothing here */
    scan->manifest = manifest;
    SG_TRY(broadcast_blob(&scan->class_names, world));
    return SG_AT(broadcast_blob(&scan->manifest, world));
}

/* Memory for `bytes` that the node's ranks share or, for a rank alone on its node and where the system will
 * not share, this rank's own. Collective. */
static int get_memory(struct sg_data_memory *memory, size_t bytes, sg_comm *world, unsigned char **base) {
    SG_TRY(sg_comm_split_node(sg_comm_mpi(world), &memory->team));
    MPI_Comm_set_errhandler(memory->team, MPI_ERRORS_RETURN);
    MPI_Comm_size(memory->team, &memory->size);
    MPI_Comm_rank(memory->team, &memory->rank);
    int status = SG_OK;
    size_t part = bytes / (size_t)memory->size + 1;
    if (memory->size > 1) status = SG_AT(sg_shared_memory_create(&memory->shared, memory->team, part));
    if (memory->shared != NULL) {
        *base = sg_shared_memory_of(memory->shared, 0);
    } else if (status == SG_OK) {
        memory->rank = 0;
        memory->size = 1;
        status = SG_AT(SG_NEW(&memory->own, bytes));
        *base = memory->own;
    }
    return SG_AT(sg_comm_agree(world, status));
}

/* This rank's slice of every split: samples rank * n / size onwards. */
static int read_slices(const sg_data_kind *kind, const sg_data_options *options,
                       const struct sg_data_memory *memory, const sg_data *data,
                       uint8_t *const image[SG_SPLITS], int32_t *const label[SG_SPLITS]) {
    size_t sample = (size_t)data->height * (size_t)data->width * (size_t)data->channels;
    for (int s = 0; s < SG_SPLITS; s++) {
        uint64_t all = data->part[s].samples, rank = (uint64_t)memory->rank, size = (uint64_t)memory->size;
        uint32_t first = (uint32_t)(all * rank / size), next = (uint32_t)(all * (rank + 1) / size);
        if (next == first) continue;
        SG_TRY(kind->read(options, &memory->scan, (enum sg_data_split)s, first, next - first,
                          data->lazy ? NULL : image[s] + first * sample, label[s] + first));
    }
    return SG_OK;
}

/* Hashes a split's images; those of a lazy data set are read once, a piece at a time. */
static int add_images(const sg_data *data, enum sg_data_split split, XXH3_state_t *state) {
    const struct sg_data_memory *memory = data->memory;
    size_t sample = (size_t)data->height * (size_t)data->width * (size_t)data->channels;
    uint32_t samples = data->part[split].samples, piece = (uint32_t)(PIECE / sample) + 1;
    if (!data->lazy) {
        XXH3_64bits_update(state, data->part[split].image, samples * sample);
        return SG_OK;
    }
    uint8_t *image;
    int32_t *label = NULL;
    int status = SG_AT(SG_NEW(&image, piece * sample));
    if (status == SG_OK) status = SG_AT(SG_NEW(&label, piece));
    for (uint32_t first = 0; status == SG_OK && first < samples; first += piece) {
        uint32_t count = samples - first < piece ? samples - first : piece;
        status =
            SG_AT(memory->kind->read(&memory->options, &memory->scan, split, first, count, image, label));
        XXH3_64bits_update(state, image, count * sample);
    }
    free(image);
    free(label);
    return status;
}

static int find_fingerprint(const sg_data *data, const sg_data_scan *scan, bool manifest,
                            uint64_t *fingerprint) {
    XXH3_state_t *state = XXH3_createState();
    SG_CHECK(state != NULL, SG_NOMEM, "out of memory: no room for a hash");
    XXH3_64bits_reset(state);
    uint32_t shape[] = {(uint32_t)data->classes, (uint32_t)data->channels, (uint32_t)data->height,
                        (uint32_t)data->width,   data->part[0].samples,    data->part[1].samples};
    XXH3_64bits_update(state, shape, sizeof shape);
    XXH3_64bits_update(state, data->mean, sizeof data->mean);
    XXH3_64bits_update(state, data->deviation, sizeof data->deviation);
    int status = SG_OK;
    for (int s = 0; s < SG_SPLITS && status == SG_OK; s++) {
        if (!manifest && scan->content == 0) status = SG_AT(add_images(data, (enum sg_data_split)s, state));
        XXH3_64bits_update(state, data->part[s].label, data->part[s].samples * sizeof(int32_t));
    }
    if (scan->content != 0) XXH3_64bits_update(state, &scan->content, sizeof scan->content);
    if (manifest) {
        XXH3_64bits_update(state, scan->class_names.bytes, scan->class_names.size);
        XXH3_64bits_update(state, scan->manifest.bytes, scan->manifest.size);
    }
    *fingerprint = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return status;
}

/* The fingerprint on every rank; an error when nodes have read different content. Collective. */
static int agree_on_fingerprint(sg_data *data, const struct sg_data_memory *memory, bool manifest,
                                sg_comm *world) {
    int status = SG_OK;
    uint64_t first;
    /* A lazy data set is read for it by one rank only. */
    if (memory->rank == 0 && (!data->lazy || sg_comm_rank(world) == 0))
        status = SG_AT(find_fingerprint(data, &memory->scan, manifest, &data->fingerprint));
    SG_TRY(sg_comm_agree(world, status));
    if (data->lazy) return SG_AT(sg_comm_broadcast(world, &data->fingerprint, sizeof data->fingerprint, 0));
    if (data->shared)
        SG_TRY(sg_comm_check(MPI_Bcast(&data->fingerprint, 1, MPI_UINT64_T, 0, memory->team), "MPI_Bcast"));
    first = data->fingerprint;
    SG_TRY(sg_comm_broadcast(world, &first, sizeof first, 0));
    if (first != data->fingerprint)
        status = SG_FAIL(SG_DATA,
                         "data set %s: nodes read different content (fingerprints %016" PRIx64
                         " and %016" PRIx64 "): is the path the same directory on every node?",
                         data->name, first, data->fingerprint);
    return SG_AT(sg_comm_agree(world, status));
}

/* The data set's public face of what was scanned. Local. */
static int describe(sg_data *data, const sg_data_options *options, struct sg_data_memory *memory) {
    const sg_data_scan *scan = &memory->scan;
    const uint32_t limit[SG_SPLITS] = {options->train_limit, options->test_limit};
    memcpy(data->name, scan->name, sizeof data->name);
    sg_text_make_plain(data->name);
    data->classes = scan->classes;
    data->channels = scan->channels;
    data->height = scan->height;
    data->width = scan->width;
    memcpy(data->mean, scan->mean, sizeof data->mean);
    memcpy(data->deviation, scan->deviation, sizeof data->deviation);
    for (int s = 0; s < SG_SPLITS; s++) data->part[s].samples = limit[s] ? limit[s] : scan->samples[s];
    if (scan->class_names.size == 0)
        for (int c = 0; c < scan->classes; c++) {
            char number[16];
            int length = snprintf(number, sizeof number, "%d", c);
            SG_TRY(sg_blob_add(&memory->scan.class_names, number, (size_t)length + 1));
        }
    SG_TRY(SG_NEW(&memory->class_name, (size_t)scan->classes));
    char *name = (char *)scan->class_names.bytes;
    for (int c = 0; c < scan->classes; c++, name += strlen(name) + 1) {
        sg_text_make_plain(name);
        memory->class_name[c] = name;
    }
    data->class_name = (const char *const *)memory->class_name;
    return SG_OK;
}

/* Whether samples are read when they are needed. Budgets differ from node to node where nothing is said: the
 * smallest counts. Collective. */
static int choose_laziness(sg_data *data, const sg_data_options *options, sg_comm *world) {
    double budget = options->memory_gb > 0
                        ? 1e9 * options->memory_gb
                        : 0.5 * (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double sample = (double)data->height * data->width * data->channels;
    SG_TRY(sg_comm_check(MPI_Allreduce(MPI_IN_PLACE, &budget, 1, MPI_DOUBLE, MPI_MIN, sg_comm_mpi(world)),
                         "MPI_Allreduce"));
    data->resized = data->memory->scan.resized;
    data->lazy =
        data->resized ||
        (data->memory->kind->fetch != NULL &&
         sample * ((double)data->part[SG_SPLIT_TRAIN].samples + data->part[SG_SPLIT_TEST].samples) > budget);
    return SG_OK;
}

/* One copy of the manifest for the node: that of a million files is large. Collective over the team. */
static void share_manifest(struct sg_data_memory *memory, unsigned char *to) {
    sg_blob *manifest = &memory->scan.manifest;
    size_t size = manifest->size;
    if (memory->rank == 0 && size > 0) memcpy(to, manifest->bytes, size);
    sg_blob_release(manifest);
    *manifest = (sg_blob){.bytes = to, .size = size};
    memory->manifest_inside = true;
}

/* Collective. */
static int open_all(sg_data *data, const sg_data_options *options, sg_comm *world) {
    struct sg_data_memory *memory = data->memory;
    const sg_data_kind *kind;
    SG_TRY(sg_data_kind_find(options->kind ? options->kind : "shapes", &kind)); /* alike on every rank */
    SG_CHECK(kind == &sg_data_shapes || (options->path != NULL && options->path[0] != '\0'), SG_CONFIG,
             "data.kind = \"%s\" needs data.path, the place where the data set is", kind->name);
    memory->kind = kind;
    memory->options = *options;
    memory->options.kind = kind->name;
    memory->options.path = options->path != NULL ? strdup(options->path) : NULL;
    int status = options->path == NULL || memory->options.path != NULL
                     ? SG_OK
                     : SG_FAIL(SG_NOMEM, "out of memory: no room for a path");
    SG_TRY(sg_comm_agree(world, status));
    SG_TRY(scan_once(kind, options, &memory->scan, world));
    status = SG_AT(describe(data, options, memory));
    SG_TRY(sg_comm_agree(world, status));
    SG_TRY(choose_laziness(data, options, world));

    size_t sample = (size_t)data->height * (size_t)data->width * (size_t)data->channels, bytes = 0;
    size_t image_at[SG_SPLITS], label_at[SG_SPLITS];
    for (int s = 0; s < SG_SPLITS; s++) {
        image_at[s] = bytes;
        if (!data->lazy) bytes += sg_round_up(data->part[s].samples * sample, SG_ALIGNMENT);
        label_at[s] = bytes;
        bytes += sg_round_up(data->part[s].samples * sizeof(int32_t), SG_ALIGNMENT);
    }
    size_t manifest_at = bytes;
    bytes += sg_round_up(memory->scan.manifest.size, SG_ALIGNMENT);
    unsigned char *base = NULL;
    SG_TRY(get_memory(memory, bytes, world, &base));
    data->shared = memory->shared != NULL;
    uint8_t *image[SG_SPLITS];
    int32_t *label[SG_SPLITS];
    for (int s = 0; s < SG_SPLITS; s++) {
        image[s] = base + image_at[s];
        data->part[s].image = data->lazy ? NULL : image[s];
        data->part[s].label = label[s] = (int32_t *)(base + label_at[s]);
    }
    share_manifest(memory, base + manifest_at);
    if (data->shared) SG_TRY(sg_comm_check(MPI_Barrier(memory->team), "MPI_Barrier"));
    SG_TRY(sg_comm_agree(world, SG_AT(read_slices(kind, options, memory, data, image, label))));
    return SG_AT(agree_on_fingerprint(data, memory, kind->manifest_counts, world));
}

/* A closed data set with its private part. Local. */
static int create(sg_data **data) {
    SG_TRY(SG_NEW(data, 1));
    SG_TRY(SG_NEW(&(*data)->memory, 1));
    (*data)->memory->team = MPI_COMM_NULL;
    return SG_OK;
}

int sg_data_open(sg_data **data, const sg_data_options *options, MPI_Comm world) {
    *data = NULL;
    sg_comm *comm;
    sg_data *opened = NULL;
    SG_TRY(sg_comm_create(&comm, world));
    int status = SG_AT(create(&opened));
    status = SG_AT(sg_comm_agree(comm, status));
    if (status == SG_OK) status = SG_AT(open_all(opened, options, comm));
    if (status == SG_OK)
        *data = opened;
    else
        sg_data_close(&opened);
    sg_comm_destroy(&comm);
    return status;
}

void sg_data_close(sg_data **data) {
    if (data == NULL || *data == NULL) return;
    struct sg_data_memory *memory = (*data)->memory;
    if (memory != NULL) {
        sg_shared_memory_destroy(&memory->shared);
        if (memory->team != MPI_COMM_NULL) MPI_Comm_free(&memory->team);
        free(memory->own);
        free(memory->class_name);
        sg_blob_release(&memory->scan.class_names);
        if (!memory->manifest_inside) sg_blob_release(&memory->scan.manifest);
        free((char *)(uintptr_t)memory->options.path);
        free(memory);
    }
    SG_FREE(*data);
}

int sg_data_fetch(const sg_data *data, enum sg_data_split split, uint32_t sample, sg_stored *stored) {
    const struct sg_data_memory *memory = data->memory;
    SG_CHECK(data->lazy && sample < data->part[split].samples, SG_INTERNAL,
             "%s sample %" PRIu32 " of %" PRIu32 " asked of a data set that is %slazy",
             sg_data_split_name(split), sample, data->part[split].samples, data->lazy ? "" : "not ");
    return SG_AT(memory->kind->fetch(&memory->options, &memory->scan, split, sample, stored));
}

uint64_t sg_data_stored_size(const sg_data *data, enum sg_data_split split, uint32_t sample) {
    return data->memory->kind->stored_size(&data->memory->scan, split, sample);
}

int sg_data_threads(const sg_data *data) {
    return data->memory != NULL && data->memory->options.threads > 0 ? data->memory->options.threads : 1;
}
