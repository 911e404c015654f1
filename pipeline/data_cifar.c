/* CIFAR-10 and CIFAR-100, binary versions (Krizhevsky, 2009): records of 1 or 2 label bytes and 3 x 32 x 32
 * bytes, one plane per channel. https://www.cs.toronto.edu/~kriz/cifar.html */
#include <inttypes.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE, MAX_PARTS = 5, PIECE = 256 };

typedef struct version {
    const char *name, *folder; /* as its archive unpacks */
    const char *url, *names;
    int classes, labels, label; /* label bytes of a record; which of them counts */
    int parts[SG_SPLITS];
    const char *file[SG_SPLITS][MAX_PARTS];
} version;

static const version cifar10 = {.name = "cifar10",
                                .folder = "cifar-10-batches-bin",
                                .url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                                .names = "batches.meta.txt",
                                .classes = 10,
                                .labels = 1,
                                .label = 0,
                                .parts = {5, 1},
                                .file = {{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                          "data_batch_4.bin", "data_batch_5.bin"},
                                         {"test_batch.bin"}}};
static const version cifar100 = {.name = "cifar100",
                                 .folder = "cifar-100-binary",
                                 .url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                                 .names = "fine_label_names.txt",
                                 .classes = 100,
                                 .labels = 2,
                                 .label = 1,
                                 .parts = {1, 1},
                                 .file = {{"train.bin"}, {"test.bin"}}};

/* The manifest: records per file, then the folder's path. */
typedef struct manifest {
    uint32_t records[SG_SPLITS];
    char folder[];
} manifest;

static int count_records(const version *v, const char *folder, enum sg_data_split split, sg_data_scan *scan,
                         uint32_t *records) {
    uint64_t record = (uint64_t)(v->labels + PIXELS), size, first = 0;
    for (int part = 0; part < v->parts[split]; part++) {
        char *path = sg_data_file_join(folder, v->file[split][part]);
        if (path == NULL) return SG_NOMEM;
        int status = SG_AT(sg_data_file_size(path, &size));
        if (status == SG_OK && (size == 0 || size % record != 0))
            status = SG_FAIL(
                SG_DATA,
                "%s: has %" PRIu64 " bytes, which is no whole number of %" PRIu64 "-byte records "
                "(the last begins at byte %" PRIu64 "); it is truncated or of another kind: fetch %s again",
                path, size, record, size / record * record, v->url);
        if (part == 0) first = size;
        if (status == SG_OK && size != first)
            status = SG_FAIL(SG_DATA,
                             "%s: has %" PRIu64 " bytes where %s has %" PRIu64 "; one of them is incomplete: "
                             "fetch %s again",
                             path, size, v->file[split][0], first, v->url);
        if (status == SG_OK && size / record * (uint64_t)v->parts[split] > UINT32_MAX)
            status = SG_FAIL(SG_DATA, "%s: has %" PRIu64 " records, more than can be numbered", path,
                             size / record);
        free(path);
        if (status != SG_OK) return status;
    }
    records[split] = (uint32_t)(first / record);
    scan->samples[split] = records[split] * (uint32_t)v->parts[split];
    return SG_OK;
}

/* The folder with the files: path itself, or the archive's folder in it. Owned. */
static int find_folder(const version *v, const char *path, char **folder) {
    const char *wanted = v->file[SG_SPLIT_TRAIN][0];
    for (int inside = 0; inside < 2; inside++) {
        *folder = sg_data_file_join(path, inside ? v->folder : "");
        char *file = *folder ? sg_data_file_join(*folder, wanted) : NULL;
        if (file == NULL) {
            SG_FREE(*folder);
            return SG_NOMEM;
        }
        bool found = sg_data_file_type(file) == 'f';
        free(file);
        if (found) return SG_OK;
        SG_FREE(*folder);
    }
    return SG_FAIL(SG_NOINPUT,
                   "%s: holds neither %s nor %s/%s; the binary version of the data set unpacks to that (%s)",
                   path, wanted, v->folder, wanted, v->url);
}

static int scan_version(const version *v, const sg_data_options *options, sg_data_scan *scan) {
    static const float mean[] = {0.4914f, 0.4822f, 0.4465f}, deviation[] = {0.2023f, 0.1994f, 0.2010f};
    char *folder, *names = NULL;
    uint32_t records[SG_SPLITS];
    SG_TRY(find_folder(v, options->path, &folder));
    snprintf(scan->name, sizeof scan->name, "%s", v->name);
    scan->classes = v->classes;
    scan->channels = 3;
    scan->height = scan->width = SIDE;
    sg_data_normalise(scan, mean, deviation);
    int status = SG_OK;
    for (int s = 0; s < SG_SPLITS; s++)
        if ((status = SG_AT(count_records(v, folder, (enum sg_data_split)s, scan, records)))) goto done;
    if ((names = sg_data_file_join(folder, v->names)) == NULL) {
        status = SG_NOMEM;
        goto done;
    }
    if (sg_data_file_type(names) == 'f' &&
        (status = SG_AT(sg_data_file_names(names, v->classes, &scan->class_names))))
        goto done;
    if ((status = SG_AT(sg_blob_add(&scan->manifest, records, sizeof records)))) goto done;
    status = SG_AT(sg_blob_add(&scan->manifest, folder, strlen(folder) + 1));
done:
    free(names);
    free(folder);
    return status;
}

/* `count` records of one file from `first` on. */
static int read_file(const version *v, const char *path, uint32_t first, uint32_t count, uint8_t *image,
                     int32_t *label, unsigned char *buffer) {
    size_t record = (size_t)(v->labels + PIXELS);
    for (uint32_t done = 0; done < count;) {
        uint32_t piece = count - done < PIECE ? count - done : PIECE;
        uint64_t offset = (uint64_t)(first + done) * record;
        SG_TRY(sg_data_file_read(path, offset, buffer, piece * record));
        for (uint32_t i = 0; i < piece; i++) {
            const unsigned char *from = buffer + i * record;
            SG_CHECK(from[v->label] < v->classes, SG_DATA,
                     "%s: the label at byte %" PRIu64
                     " is %d; 0 to %d were expected; the file is damaged or of another "
                     "kind: fetch %s again",
                     path, offset + i * record + (uint64_t)v->label, from[v->label], v->classes - 1, v->url);
            label[done + i] = from[v->label];
            uint8_t *to = image + (size_t)(done + i) * PIXELS;
            for (int p = 0; p < PLANE; p++)
                for (int c = 0; c < 3; c++) to[3 * p + c] = from[v->labels + c * PLANE + p];
        }
        done += piece;
    }
    return SG_OK;
}

static int read_version(const version *v, const sg_data_scan *scan, enum sg_data_split split, uint32_t first,
                        uint32_t count, uint8_t *image, int32_t *label) {
    const manifest *found = (const manifest *)scan->manifest.bytes;
    unsigned char *buffer;
    SG_TRY(SG_NEW(&buffer, PIECE * (size_t)(v->labels + PIXELS)));
    int status = SG_OK;
    for (uint32_t done = 0; status == SG_OK && done < count;) {
        uint32_t part = (first + done) / found->records[split], at = (first + done) % found->records[split];
        uint32_t piece = found->records[split] - at;
        if (piece > count - done) piece = count - done;
        char *path = sg_data_file_join(found->folder, v->file[split][part]);
        status =
            path == NULL
                ? SG_NOMEM
                : SG_AT(read_file(v, path, at, piece, image + (size_t)done * PIXELS, label + done, buffer));
        free(path);
        done += piece;
    }
    free(buffer);
    return status;
}

static int scan10(const sg_data_options *options, sg_data_scan *scan) {
    return scan_version(&cifar10, options, scan);
}
static int scan100(const sg_data_options *options, sg_data_scan *scan) {
    return scan_version(&cifar100, options, scan);
}

static int read10(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                  uint32_t first, uint32_t count, uint8_t *image, int32_t *label) {
    (void)options;
    return read_version(&cifar10, scan, split, first, count, image, label);
}
static int read100(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                   uint32_t first, uint32_t count, uint8_t *image, int32_t *label) {
    (void)options;
    return read_version(&cifar100, scan, split, first, count, image, label);
}

const sg_data_kind sg_data_cifar10 = {
    .name = "cifar10", .usual = {3, 32, {50000, 10000}, false}, .scan = scan10, .read = read10};
const sg_data_kind sg_data_cifar100 = {
    .name = "cifar100", .usual = {3, 32, {50000, 10000}, false}, .scan = scan100, .read = read100};
