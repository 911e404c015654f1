/* The MNIST family: IDX files, plain or gzip. http://yann.lecun.com/exdb/mnist
 *
 * Big-endian: magic 0x00000803 and three sizes before images, 0x00000801 and one size before labels.
 * data.path is the directory with the files, or a path to which their names are appended
 * ("emnist/emnist-balanced-"). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"

enum {
    IMAGES_MAGIC = 0x803,
    LABELS_MAGIC = 0x801,
    IMAGES_HEADER = 16,
    LABELS_HEADER = 8,
    DEFLATE_RATIO = 1032, /* deflate cannot do better */
    PIECE = 1 << 20
};

/* ---- Plain and compressed files alike. */

typedef struct idx_file {
    char *path;    /* owned */
    gzFile stream; /* zlib reads plain files too */
    bool compressed;
    uint64_t size, offset; /* bytes on disk; position in the content */
} idx_file;

static void close_file(idx_file *f) {
    if (f->stream != NULL) gzclose_r(f->stream);
    free(f->path);
    *f = (idx_file){0};
}

static int open_at(idx_file *f, const char *path) {
    SG_TRY(sg_data_file_size(path, &f->size));
    if ((f->path = sg_data_file_join(path, "")) == NULL) return SG_NOMEM;
    f->path[strlen(path)] = '\0';
    f->stream = gzopen(path, "rb");
    SG_CHECK(f->stream != NULL, SG_NOINPUT, "%s: cannot be opened", path);
    gzbuffer(f->stream, 1 << 17);
    f->compressed = !gzdirect(f->stream);
    return SG_OK;
}

static int read_bytes(idx_file *f, void *to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        unsigned piece = bytes - done < PIECE ? (unsigned)(bytes - done) : PIECE;
        int got = gzread(f->stream, (char *)to + done, piece);
        if (got <= 0 || (unsigned)got < piece) {
            int code;
            const char *why = gzerror(f->stream, &code);
            bool damaged = code != Z_OK && code != Z_BUF_ERROR;
            return SG_FAIL(SG_DATA,
                           "%s: ends at byte %" PRIu64 "%s, where %zu more were expected%s%s; fetch it again",
                           f->path, f->offset + (uint64_t)(got > 0 ? got : 0),
                           f->compressed ? " of its content" : "", bytes - done - (size_t)(got > 0 ? got : 0),
                           damaged ? ": " : "", damaged ? why : "; it is truncated");
        }
        done += piece;
        f->offset += piece;
    }
    return SG_OK;
}

/* Nothing may follow; for gzip this also makes zlib verify the content's checksum. */
static int expect_end(idx_file *f) {
    char more;
    int got = gzread(f->stream, &more, 1), code;
    const char *why = gzerror(f->stream, &code);
    SG_CHECK(got <= 0, SG_DATA,
             "%s: goes on behind byte %" PRIu64 ", where its header lets it end; fetch it again", f->path,
             f->offset);
    SG_CHECK(got == 0 && code == Z_OK, SG_DATA,
             "%s: is damaged at its end, byte %" PRIu64 " of its content: %s; fetch "
             "it again",
             f->path, f->offset, why);
    return SG_OK;
}

static uint32_t big_endian(const unsigned char *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Opens a file, checks its magic, reads its sizes. */
static int open_idx(idx_file *f, const char *path, uint32_t magic, int sizes, uint32_t *size) {
    unsigned char header[IMAGES_HEADER];
    SG_TRY(open_at(f, path));
    SG_TRY(read_bytes(f, header, 4));
    SG_CHECK(big_endian(header) == magic, SG_DATA,
             "%s: begins with 0x%08" PRIx32 " at byte 0; 0x%08" PRIx32 " (%s) was expected", path,
             big_endian(header), magic,
             magic == IMAGES_MAGIC ? "IDX images of bytes" : "IDX labels of bytes");
    SG_TRY(read_bytes(f, header + 4, 4 * (size_t)sizes));
    for (int i = 0; i < sizes; i++) size[i] = big_endian(header + 4 + 4 * i);
    return SG_OK;
}

/* The content that a header promises must be what the file holds, or could hold. */
static int check_size(const idx_file *f, uint64_t content) {
    if (!f->compressed) {
        SG_CHECK(f->size == content, SG_DATA,
                 "%s: has %" PRIu64 " bytes, but its header (bytes 4 to 15) promises %" PRIu64
                 "; it is truncated or damaged: fetch it again",
                 f->path, f->size, content);
        return SG_OK;
    }
    unsigned char tail[4]; /* gzip ends with the content's size, modulo 2^32, little-endian */
    SG_TRY(sg_data_file_read(f->path, f->size - 4, tail, 4));
    uint32_t ends = (uint32_t)tail[3] << 24 | (uint32_t)tail[2] << 16 | (uint32_t)tail[1] << 8 | tail[0];
    SG_CHECK(content / DEFLATE_RATIO <= f->size && ends == (uint32_t)content, SG_DATA,
             "%s: its header promises %" PRIu64 " bytes of content, but its last 4 bytes (byte %" PRIu64
             ") say %" PRIu32 "; it is truncated or damaged: fetch it again",
             f->path, content, f->size - 4, ends);
    return SG_OK;
}

/* ---- Names and manifest. */

/* Then follow the labels, then the two paths of the images. */
typedef struct manifest {
    uint64_t labels[SG_SPLITS], path[SG_SPLITS]; /* offsets in the manifest */
} manifest;

/* The first of the usual names that exists. Owned. */
static int find_file(const char *base, enum sg_data_split split, const char *what, int dimensions,
                     char **path) {
    static const char *const prefix[SG_SPLITS][2] = {{"train", NULL}, {"t10k", "test"}};
    static const char *const format[] = {"%s%s%s-%s-idx%d-ubyte", "%s%s%s-%s-idx%d-ubyte.gz",
                                         "%s%s%s-%s.idx%d-ubyte"};
    bool directory = sg_data_file_type(base) == 'd';
    size_t size = strlen(base) + 64;
    SG_TRY(SG_NEW(path, size));
    for (int p = 0; p < 2 && prefix[split][p] != NULL; p++)
        for (int k = 0; k < 3; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(*path, size, format[k], base, directory ? "/" : "", prefix[split][p], what, dimensions);
#pragma GCC diagnostic pop
            if (sg_data_file_type(*path) == 'f') return SG_OK;
        }
    SG_FREE(*path);
    return SG_FAIL(SG_NOINPUT,
                   "%s%s%s-%s-idx%d-ubyte: is not there, nor with .gz; data.path names the directory with "
                   "the four IDX files, or what comes before \"%s\" in their names",
                   base, directory ? "/" : "", prefix[split][0], what, dimensions, prefix[split][0]);
}

static int scan_labels(const sg_data_options *options, enum sg_data_split split, sg_data_scan *scan,
                       int *largest) {
    idx_file f = {0};
    char *path;
    uint32_t count;
    unsigned char *labels = NULL;
    SG_TRY(find_file(options->path, split, "labels", 1, &path));
    int status = SG_AT(open_idx(&f, path, LABELS_MAGIC, 1, &count));
    if (status) goto done;
    if ((status = SG_AT(check_size(&f, LABELS_HEADER + (uint64_t)count)))) goto done;
    if ((status = SG_AT(SG_NEW(&labels, count)))) goto done;
    if ((status = SG_AT(read_bytes(&f, labels, count)))) goto done;
    if ((status = SG_AT(expect_end(&f)))) goto done;
    if (count != scan->samples[split]) {
        status = SG_FAIL(SG_DATA,
                         "%s: has %" PRIu32 " labels (bytes 4 to 7) for %" PRIu32 " images; the files do not "
                         "belong together: fetch both again",
                         path, count, scan->samples[split]);
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (options->classes > 0 && labels[i] >= options->classes) {
            status =
                SG_FAIL(SG_DATA,
                        "%s: the label at byte %" PRIu32 "%s is %d; 0 to %d were expected: set net.classes "
                        "to what the data set has",
                        path, LABELS_HEADER + i, f.compressed ? " of its content" : "", labels[i],
                        options->classes - 1);
            goto done;
        }
        if (labels[i] > *largest) *largest = labels[i];
    }
    ((manifest *)scan->manifest.bytes)->labels[split] = scan->manifest.size;
    status = SG_AT(sg_blob_add(&scan->manifest, labels, count));
done:
    free(labels);
    close_file(&f);
    free(path);
    return status;
}

static int scan_images(const sg_data_options *options, enum sg_data_split split, sg_data_scan *scan) {
    idx_file f = {0};
    char *path;
    uint32_t size[3] = {0};
    SG_TRY(find_file(options->path, split, "images", 3, &path));
    int status = SG_AT(open_idx(&f, path, IMAGES_MAGIC, 3, size));
    if (status) goto done;
    if (size[1] < 1 || size[1] > SG_DATA_MAX_SIDE || size[2] < 1 || size[2] > SG_DATA_MAX_SIDE) {
        status =
            SG_FAIL(SG_DATA,
                    "%s: images of %" PRIu32 " x %" PRIu32 " pixels (bytes 8 to 15); sides of 1 to %d are "
                    "possible",
                    path, size[1], size[2], SG_DATA_MAX_SIDE);
        goto done;
    }
    if ((status = SG_AT(check_size(&f, IMAGES_HEADER + (uint64_t)size[0] * size[1] * size[2])))) goto done;
    if (split == SG_SPLIT_TEST && (scan->height != (int)size[1] || scan->width != (int)size[2])) {
        status = SG_FAIL(SG_DATA,
                         "%s: images of %" PRIu32 " x %" PRIu32 " pixels (bytes 8 to 15), but the training "
                         "images have %d x %d; the files do not belong together",
                         path, size[1], size[2], scan->height, scan->width);
        goto done;
    }
    scan->samples[split] = size[0];
    scan->height = (int)size[1];
    scan->width = (int)size[2];
    ((manifest *)scan->manifest.bytes)->path[split] = scan->manifest.size;
    status = SG_AT(sg_blob_add(&scan->manifest, path, strlen(path) + 1));
done:
    close_file(&f);
    free(path);
    return status;
}

static int scan_idx(const sg_data_options *options, sg_data_scan *scan) {
    static const float mean[SG_DATA_CHANNELS] = {0.1307f},
                       deviation[SG_DATA_CHANNELS] = {0.3081f, 1.0f, 1.0f};
    int largest = 0;
    SG_TRY(sg_blob_add(&scan->manifest, NULL, sizeof(manifest)));
    snprintf(scan->name, sizeof scan->name, "idx");
    scan->channels = 1;
    sg_data_normalise(scan, mean, deviation);
    for (int s = 0; s < SG_SPLITS; s++) SG_TRY(scan_images(options, (enum sg_data_split)s, scan));
    for (int s = 0; s < SG_SPLITS; s++) SG_TRY(scan_labels(options, (enum sg_data_split)s, scan, &largest));
    scan->classes = options->classes > 0 ? options->classes : largest + 1;
    return SG_OK;
}

static int read_idx(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                    uint32_t first, uint32_t count, uint8_t *image, int32_t *label) {
    (void)options;
    const unsigned char *bytes = scan->manifest.bytes;
    const manifest *m = (const manifest *)bytes;
    for (uint32_t i = 0; i < count; i++) label[i] = bytes[m->labels[split] + first + i];
    idx_file f = {0};
    size_t size = (size_t)scan->height * (size_t)scan->width;
    int status = SG_AT(open_at(&f, (const char *)bytes + m->path[split]));
    if (status) goto done;
    f.offset = IMAGES_HEADER + first * (uint64_t)size;
    if (gzseek(f.stream, (z_off_t)f.offset, SEEK_SET) < 0) {
        status =
            SG_FAIL(SG_DATA,
                    "%s: cannot be read up to byte %" PRIu64 " of its content; it is truncated or damaged: "
                    "fetch it again",
                    f.path, f.offset);
        goto done;
    }
    if ((status = SG_AT(read_bytes(&f, image, count * size)))) goto done;
    if (first + count == scan->samples[split]) status = SG_AT(expect_end(&f));
done:
    close_file(&f);
    return status;
}

const sg_data_kind sg_data_idx = {
    .name = "idx", .usual = {1, 28, {60000, 10000}, false}, .scan = scan_idx, .read = read_idx};
