/* Image folders: train/<class>/... and test/<class>/... (or val/), and Tiny-ImageNet as its archive unpacks,
 * whose val/images are labelled by val/val_annotations.txt.
 *
 * Classes are the sorted names of train's subdirectories, as torchvision numbers them. Listed by class, the
 * first N images would be of one class: the data set's order is a fixed shuffle of the list instead. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "pipeline/data_kind.h"
#include "pipeline/data_listing.h"

enum { MAX_DEPTH = 8, ANNOTATIONS_LIMIT = 1 << 30 };
enum { PROBES = 64 /* images of a split whose sizes tell whether sizes differ */, DEFAULT_SIDE = 224 };

/* The manifest: this, the entries of both splits, the names. Paths are relative to data.path. */
typedef struct manifest {
    uint64_t entries[SG_SPLITS], names; /* offsets in the manifest */
} manifest;
typedef struct entry {
    uint64_t name; /* offset among the names; in the manifest */
    uint64_t size; /* of the file, in bytes */
    int32_t label, unused;
} entry;

typedef struct listing {
    const char *root; /* data.path */
    int rank, size;   /* this rank lists every size-th class directory */
    sg_blob *part;    /* what it finds, borrowed */
    size_t found;     /* samples among that */
    sg_blob class_names;
    bool annotations, listed;
    const char *test;  /* the directory */
    char **class_name; /* [classes], sorted */
    int classes;
} listing;

/* ---- Directories. */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted, without hidden ones. Owned: *name and its *storage. */
static int list_directory(const char *path, char ***name, int *count, sg_blob *storage) {
    *name = NULL;
    *count = 0;
    *storage = (sg_blob){0};
    DIR *directory = opendir(path);
    SG_CHECK(directory != NULL, SG_NOINPUT, "%s: cannot be listed: %s", path, strerror(errno));
    int status = SG_OK;
    errno = 0;
    for (struct dirent *d; status == SG_OK && (d = readdir(directory)) != NULL;) {
        if (d->d_name[0] == '.') continue;
        status = SG_AT(sg_blob_add(storage, d->d_name, strlen(d->d_name) + 1));
        ++*count;
        errno = 0;
    }
    if (status == SG_OK && errno != 0)
        status = SG_FAIL(SG_IO, "%s: listing failed: %s", path, strerror(errno));
    closedir(directory);
    if (status == SG_OK) status = SG_AT(SG_NEW(name, (size_t)*count));
    if (status != SG_OK) {
        sg_blob_release(storage);
        return status;
    }
    char *next = (char *)storage->bytes;
    for (int i = 0; i < *count; i++, next += strlen(next) + 1) (*name)[i] = next;
    if (*count > 1) qsort(*name, (size_t)*count, sizeof **name, compare_names);
    return SG_OK;
}

static char *path_in(const listing *l, const char *relative) { return sg_data_file_join(l->root, relative); }

/* True for 'd' or 'f' at root/relative; an error only without memory. */
static int has(const listing *l, const char *relative, char type, bool *found) {
    *found = false;
    char *path = path_in(l, relative);
    if (path == NULL) return SG_NOMEM;
    *found = sg_data_file_type(path) == type;
    free(path);
    return SG_OK;
}

static int add_entry(listing *l, enum sg_data_split split, const char *relative, int label, int order) {
    struct stat found;
    char *path = path_in(l, relative);
    if (path == NULL) return SG_NOMEM;
    int status =
        stat(path, &found) == 0 && S_ISREG(found.st_mode)
            ? SG_AT(sg_listing_add(l->part, (int)split, order, label, (uint64_t)found.st_size, relative))
            : SG_FAIL(SG_NOINPUT, "%s: is no file that can be read; fetch it or remove it from the list",
                      path);
    free(path);
    l->found += status == SG_OK;
    return status;
}

/* An image of a kind that cannot be read must not be left out silently. */
static bool foreign_image(const char *name) {
    static const char *const ends[] = {".bmp", ".gif", ".webp", ".tif", ".tiff",
                                       ".ppm", ".pgm", ".jp2",  ".avif"};
    const char *end = strrchr(name, '.');
    for (size_t i = 0; end != NULL && i < sizeof ends / sizeof *ends; i++)
        if (strcasecmp(end, ends[i]) == 0) return true;
    return false;
}

/* Adds the images below a class's directory, at any depth. */
static int walk(listing *l, enum sg_data_split split, const char *relative, int label, int depth) {
    sg_blob storage;
    char **name, *path = path_in(l, relative);
    int count;
    if (path == NULL) return SG_NOMEM;
    int status = depth > MAX_DEPTH
                     ? SG_FAIL(SG_DATA, "%s: is nested deeper than %d directories; a link may lead back",
                               path, MAX_DEPTH)
                     : SG_AT(list_directory(path, &name, &count, &storage));
    free(path);
    if (status != SG_OK) return status;
    status = SG_AT(sg_listing_watch(l->part, l->root, relative));
    for (int i = 0; status == SG_OK && i < count; i++) {
        char *inner = sg_data_file_join(relative, name[i]);
        bool directory = false;
        if (inner == NULL)
            status = SG_NOMEM;
        else if (sg_data_image_named(name[i]))
            status = SG_AT(add_entry(l, split, inner, label, label));
        else if (foreign_image(name[i]))
            status = SG_FAIL(SG_DATA, "%s/%s: is of a kind that cannot be read; convert it to PNG or JPEG",
                             l->root, inner);
        else if ((status = SG_AT(has(l, inner, 'd', &directory))) == SG_OK && directory)
            status = SG_AT(walk(l, split, inner, label, depth + 1));
        free(inner);
    }
    free(name);
    sg_blob_release(&storage);
    return status;
}

static int find_class(const listing *l, const char *name) {
    char **found =
        l->classes > 0 ? bsearch(&name, l->class_name, (size_t)l->classes, sizeof name, compare_names) : NULL;
    return found ? (int)(found - l->class_name) : -1;
}

/* The classes: train's subdirectories. */
static int find_classes(listing *l) {
    sg_blob storage;
    char **name, *path = path_in(l, "train");
    int count;
    if (path == NULL) return SG_NOMEM;
    int status = SG_AT(list_directory(path, &name, &count, &storage));
    for (int i = 0; status == SG_OK && i < count; i++) {
        bool directory = false;
        char *inner = sg_data_file_join("train", name[i]);
        status = inner == NULL ? SG_NOMEM : SG_AT(has(l, inner, 'd', &directory));
        free(inner);
        if (status != SG_OK || !directory) continue;
        status = SG_AT(sg_blob_add(&l->class_names, name[i], strlen(name[i]) + 1));
        l->classes++;
    }
    if (status == SG_OK && l->classes == 0)
        status = SG_FAIL(SG_DATA, "%s: has no subdirectory; one for each class was expected, with its images",
                         path);
    if (status == SG_OK) status = SG_AT(SG_NEW(&l->class_name, (size_t)l->classes));
    if (status == SG_OK) {
        char *next = (char *)l->class_names.bytes;
        for (int c = 0; c < l->classes; c++, next += strlen(next) + 1) l->class_name[c] = next;
    }
    if (name != NULL) sg_blob_release(&storage);
    free(name);
    free(path);
    return status;
}

/* Adds what is in each class's directory of a split. */
static int add_classes(listing *l, enum sg_data_split split, const char *directory) {
    sg_blob storage;
    char **name, *path = path_in(l, directory);
    int count, status;
    if (path == NULL) return SG_NOMEM;
    if ((status = SG_AT(list_directory(path, &name, &count, &storage)))) goto done;
    for (int i = l->rank; status == SG_OK && i < count; i += l->size) {
        bool is_directory = false;
        size_t before = l->found;
        char *inner = sg_data_file_join(directory, name[i]);
        status = inner == NULL ? SG_NOMEM : SG_AT(has(l, inner, 'd', &is_directory));
        int label = find_class(l, name[i]);
        if (status == SG_OK && is_directory && label < 0)
            status = SG_FAIL(
                SG_DATA, "%s/%s: is a class that %s/train does not have; both need the same subdirectories",
                l->root, inner, l->root);
        if (status == SG_OK && is_directory) status = SG_AT(walk(l, split, inner, label, 0));
        if (status == SG_OK && is_directory && l->found == before)
            status =
                SG_FAIL(SG_DATA,
                        "%s/%s: holds no JPEG or PNG file; remove the class from train and test, or fetch "
                        "its images",
                        l->root, inner);
        free(inner);
    }
    free(name);
    sg_blob_release(&storage);
done:
    free(path);
    return status;
}

/* ---- Tiny-ImageNet's validation images: lines of file, class, box, separated by tabs. */

static int add_annotated(listing *l) {
    unsigned char *text;
    size_t size;
    char *path = path_in(l, "val/val_annotations.txt");
    if (path == NULL) return SG_NOMEM;
    int status = SG_AT(sg_data_file_load(path, ANNOTATIONS_LIMIT, &text, &size));
    if (status != SG_OK) goto done;
    for (char *line = (char *)text; status == SG_OK && *line != '\0';) {
        char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;
        *end = '\0';
        if (end > line && end[-1] == '\r') end[-1] = '\0';
        size_t at = (size_t)(line - (char *)text);
        char *name = strchr(line, '\t');
        if (*line != '\0' && (name == NULL || name == line)) {
            status =
                SG_FAIL(SG_DATA,
                        "%s: the line at byte %zu is \"%.60s\"; a file name, a tab and a class were expected",
                        path, at, line);
        } else if (*line != '\0') {
            *name++ = '\0';
            name[strcspn(name, "\t")] = '\0';
            int label = find_class(l, name);
            if (label < 0)
                status = SG_FAIL(
                    SG_DATA,
                    "%s: the line at byte %zu names the class \"%.60s\", which %s/train does not have", path,
                    at, name, l->root);
            char *inner = status == SG_OK ? sg_data_file_join("val/images", line) : NULL;
            if (status == SG_OK)
                status = inner == NULL ? SG_NOMEM : SG_AT(add_entry(l, SG_SPLIT_TEST, inner, label, 0));
            free(inner);
        }
        line = next;
    }
    free(text);
done:
    free(path);
    return status;
}

/* wnids.txt lists the classes; a train directory that lacks some is an incomplete copy. */
static int check_listed_classes(const listing *l) {
    sg_blob listed = {0};
    char *path = path_in(l, "wnids.txt");
    if (path == NULL) return SG_NOMEM;
    int status = SG_AT(sg_data_file_names(path, l->classes, &listed));
    char *name = (char *)listed.bytes;
    for (int c = 0; status == SG_OK && c < l->classes; c++, name += strlen(name) + 1)
        if (find_class(l, name) < 0)
            status = SG_FAIL(SG_DATA,
                             "%s: lists the class \"%.60s\", which %s/train does not have; unpack it again",
                             path, name, l->root);
    sg_blob_release(&listed);
    free(path);
    return status;
}

/* ---- Listing. */

static int find_layout(listing *l) {
    bool train, test, val;
    SG_TRY(has(l, "train", 'd', &train));
    SG_TRY(has(l, "test", 'd', &test));
    SG_TRY(has(l, "val", 'd', &val));
    SG_TRY(has(l, "val/val_annotations.txt", 'f', &l->annotations));
    SG_TRY(has(l, "wnids.txt", 'f', &l->listed));
    l->test = test ? "test" : "val";
    SG_CHECK(train && (test || val), SG_NOINPUT,
             "%s: holds no %s directory; train and test (or val) were expected, with one subdirectory for "
             "each class",
             l->root, !train ? "train" : "test or val");
    return SG_AT(find_classes(l));
}

static int add_part(listing *l) {
    static const char *const watched[] = {"train", "test", "val", "val/val_annotations.txt", "wnids.txt"};
    SG_TRY(find_layout(l));
    for (size_t i = 0; l->rank == 0 && i < sizeof watched / sizeof *watched; i++)
        SG_TRY(sg_listing_watch(l->part, l->root, watched[i]));
    if (l->rank == 0 && l->annotations && l->listed) SG_TRY(check_listed_classes(l));
    SG_TRY(add_classes(l, SG_SPLIT_TRAIN, "train"));
    if (!l->annotations) return SG_AT(add_classes(l, SG_SPLIT_TEST, l->test));
    return l->rank == 0 ? SG_AT(add_annotated(l)) : SG_OK;
}

static int list_folder(const sg_data_options *options, int rank, int size, sg_blob *part) {
    listing l = {.root = options->path, .rank = rank, .size = size, .part = part};
    int status = SG_AT(add_part(&l));
    sg_blob_release(&l.class_names);
    free(l.class_name);
    return status;
}

static bool recall_folder(const sg_data_options *options, sg_blob *part) {
    return sg_listing_recall(options->path, part);
}

static void keep_folder(const sg_data_options *options, const sg_blob *part) {
    sg_listing_keep(options->path, part);
}

/* ---- Scanning and reading. */

/* A split's entries, shuffled, and their names. Directories are listed in sorted order, annotations in their
 * own: the shuffle starts from the same list anywhere. */
static int add_split(const char *root, const sg_blob *parts, enum sg_data_split split, int classes,
                     sg_data_scan *scan, sg_blob *names) {
    const sg_listing_record **record;
    uint32_t *order = NULL;
    size_t count;
    SG_TRY(sg_listing_sorted(parts, split, &record, &count));
    int status = count <= INT32_MAX ? SG_OK
                                    : SG_FAIL(SG_DATA, "%s: has %zu %s images, more than can be numbered",
                                              root, count, sg_data_split_name(split));
    scan->samples[split] = (uint32_t)count;
    if (status == SG_OK && count > 0) { /* none is refused where limits are checked */
        status = SG_AT(SG_NEW(&order, count));
        if (status == SG_OK) sg_permutation(0, SG_RNG_ORDER, (uint32_t)split, (uint32_t)count, order);
    }
    for (size_t i = 0; status == SG_OK && i < count; i++) {
        const sg_listing_record *r = record[order[i]];
        if (r->label < 0 || r->label >= classes) {
            status = SG_FAIL(
                SG_DATA, "%s: the kept listing gives %s a class that is not there; remove %s/.signet-listing",
                root, r->name, root);
            break;
        }
        entry e = {.name = names->size, .size = r->value, .label = r->label};
        status = SG_AT(sg_blob_add(&scan->manifest, &e, sizeof e));
        if (status == SG_OK) status = SG_AT(sg_blob_add(names, r->name, strlen(r->name) + 1));
    }
    free(order);
    free(record);
    return status;
}

static int make_manifest(const char *root, const sg_blob *parts, int classes, sg_data_scan *scan) {
    manifest m = {0};
    sg_blob names = {0};
    int status = SG_AT(sg_blob_add(&scan->manifest, &m, sizeof m));
    for (int s = 0; s < SG_SPLITS && status == SG_OK; s++) {
        m.entries[s] = scan->manifest.size;
        status = SG_AT(add_split(root, parts, (enum sg_data_split)s, classes, scan, &names));
    }
    m.names = scan->manifest.size;
    if (status == SG_OK) status = SG_AT(sg_blob_add(&scan->manifest, names.bytes, names.size));
    if (status == SG_OK) memcpy(scan->manifest.bytes, &m, sizeof m);
    sg_blob_release(&names);
    return status;
}

static const entry *entry_of(const sg_data_scan *scan, enum sg_data_split split, uint32_t sample) {
    const unsigned char *bytes = scan->manifest.bytes;
    return (const entry *)(bytes + ((const manifest *)bytes)->entries[split]) + sample;
}

static const char *name_of(const sg_data_scan *scan, const entry *e) {
    const unsigned char *bytes = scan->manifest.bytes;
    return (const char *)bytes + ((const manifest *)bytes)->names + e->name;
}

/* The last component of the path. */
static void name_after(const char *path, char *name, size_t size) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    size_t first = length;
    while (first > 0 && path[first - 1] != '/') first--;
    snprintf(name, size, "%.*s", (int)(length - first), path + first);
}

static int fetch_folder(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                        uint32_t sample, sg_stored *stored) {
    const entry *e = entry_of(scan, split, sample);
    const char *name = name_of(scan, e);
    int length = snprintf(stored->name, sizeof stored->name, "%s/%s", options->path, name);
    SG_CHECK(length >= 0 && (size_t)length < sizeof stored->name, SG_DATA, "%s: the path is too long",
             stored->name);
    SG_TRY(sg_data_file_load(stored->name, SG_DATA_MAX_FILE, &stored->bytes, &stored->size));
    if (stored->size == e->size) return SG_OK;
    SG_FREE(stored->bytes);
    return SG_FAIL(SG_DATA,
                   "%s: has %zu bytes, but %" PRIu64
                   " when the folder was listed; put it back or, if the change is "
                   "meant, remove %s/.signet-listing (a changed data set makes results stale)",
                   stored->name, stored->size, e->size, options->path);
}

static uint64_t size_in_folder(const sg_data_scan *scan, enum sg_data_split split, uint32_t sample) {
    return entry_of(scan, split, sample)->size;
}

/* The size of the first images, and whether others differ from it. The first of a shuffled list are as good
 * as any. Damaged ones are named when they are read, so that a check gets as far as to name them all. */
static int find_size(const sg_data_options *options, sg_data_scan *scan, bool *differ) {
    sg_stored stored;
    *differ = false;
    for (int s = 0; s < SG_SPLITS; s++)
        for (uint32_t i = 0; i < scan->samples[s] && i < PROBES; i++) {
            int height, width;
            SG_TRY(fetch_folder(options, scan, (enum sg_data_split)s, i, &stored));
            int status = SG_AT(sg_data_image_probe(stored.name, stored.bytes, stored.size, &height, &width));
            SG_FREE(stored.bytes);
            if (status == SG_DATA && (s == SG_SPLIT_TRAIN || scan->height > 0)) {
                sg_error_clear();
                continue;
            }
            SG_TRY(status);
            if (scan->height == 0) scan->height = height, scan->width = width;
            *differ = *differ || height != scan->height || width != scan->width;
        }
    SG_CHECK(scan->height > 0, SG_DATA, "%s: none of the first images can be read; fetch the data set again",
             options->path);
    return SG_OK;
}

static int choose_size(const sg_data_options *options, sg_data_scan *scan) {
    bool differ;
    SG_TRY(find_size(options, scan, &differ));
    int size = options->size;
    scan->resized = differ || (size > 0 && (size != scan->height || size != scan->width));
    if (scan->resized) scan->height = scan->width = size > 0 ? size : DEFAULT_SIDE;
    return SG_OK;
}

static int scan_folder(const sg_data_options *options, sg_data_scan *scan) {
    static const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    listing l = {.root = options->path};
    name_after(options->path, scan->name, sizeof scan->name);
    sg_data_normalise(scan, mean, deviation);
    scan->channels = 3;
    int status = SG_AT(find_layout(&l));
    if (status == SG_OK) status = SG_AT(make_manifest(options->path, scan->parts, l.classes, scan));
    if (status == SG_OK && scan->samples[SG_SPLIT_TRAIN] > 0) status = SG_AT(choose_size(options, scan));
    scan->classes = l.classes;
    scan->class_names = l.class_names; /* handed over */
    free(l.class_name);
    return status;
}

static int read_one(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                    uint32_t sample, uint8_t *rgb) {
    sg_stored stored;
    SG_TRY(fetch_folder(options, scan, split, sample, &stored));
    int status = SG_AT(
        sg_data_image_decode(stored.name, stored.bytes, stored.size, scan->height, scan->width, 8, rgb));
    SG_FREE(stored.bytes);
    return status;
}

static int read_folder(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                       uint32_t first, uint32_t count, uint8_t *image, int32_t *label) {
    sg_data_failure failure = {0};
    size_t size = (size_t)scan->height * (size_t)scan->width * 3;
    int threads = options->threads > 0 ? options->threads : 1;
    for (uint32_t i = 0; i < count; i++) label[i] = entry_of(scan, split, first + i)->label;
    if (image == NULL) return SG_OK;
#pragma omp parallel for schedule(dynamic, 32) num_threads(threads)
    for (uint32_t i = 0; i < count; i++) {
        if (sg_data_failure_before(&failure, i)) continue;
        int status = SG_AT(read_one(options, scan, split, first + i, image + (size_t)i * size));
        if (status != SG_OK) sg_data_failure_note(&failure, i, status);
    }
    return SG_AT(sg_data_failure_result(&failure));
}

const sg_data_kind sg_data_folder = {.name = "folder",
                                     .usual = {3, 64, {100000, 10000}, false}, /* Tiny-ImageNet */
                                     .list = list_folder,
                                     .recall = recall_folder,
                                     .keep = keep_folder,
                                     .scan = scan_folder,
                                     .read = read_folder,
                                     .fetch = fetch_folder,
                                     .stored_size = size_in_folder,
                                     .manifest_counts = true};
