#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/h5_block.h"
#include "pipeline/h5_common.h"

enum {
    SMALL_BYTES = 64 << 10, /* data sets below are written by one rank */
    MAX_NAME_BYTES = 1024,
    STREAM_BYTES = 64 << 20,
    RESERVE_EACH = 4096, /* libhdf5's own bytes for one data set, generously */
    RESERVE_BASE = 1 << 18
};

struct sg_h5_content {
    char kind[SG_H5_KIND_BYTES];
    size_t items, item_room, attributes, attribute_room;
    sg_h5_item *item;
    sg_h5_attribute *attribute;
};

/* ---- Content */

int sg_h5_content_create(sg_h5_content **content, const char *kind) {
    *content = NULL;
    SG_CHECK(strlen(kind) < SG_H5_KIND_BYTES, SG_INTERNAL, "\"%s\" is too long for a file's kind", kind);
    SG_TRY(SG_NEW(content, 1));
    snprintf((*content)->kind, sizeof(*content)->kind, "%s", kind);
    return SG_OK;
}

void sg_h5_content_destroy(sg_h5_content **content) {
    sg_h5_content *c = *content;
    if (c == NULL) return;
    for (size_t i = 0; i < c->items; i++) {
        free((char *)(uintptr_t)c->item[i].entry.path);
        SG_FREE(c->item[i].owned);
    }
    for (size_t i = 0; i < c->attributes; i++) {
        SG_FREE(c->attribute[i].name);
        SG_FREE(c->attribute[i].text);
    }
    SG_FREE(c->item);
    SG_FREE(c->attribute);
    SG_FREE(*content);
}

/* A path is "/name" or "/group/.../name", with no empty part. */
static int check_path(const sg_h5_content *content, const char *path) {
    size_t length = strlen(path);
    SG_CHECK(length > 1 && length < MAX_NAME_BYTES && path[0] == '/' && path[length - 1] != '/' &&
                 strstr(path, "//") == NULL,
             SG_INTERNAL, "\"%s\" is no path of a data set", path);
    for (size_t i = 0; i < content->items; i++)
        SG_CHECK(strcmp(content->item[i].entry.path, path) != 0, SG_INTERNAL, "%s is added twice", path);
    return SG_OK;
}

static int add_item(sg_h5_content *content, const char *path, sg_h5_item item) {
    int status = SG_AT(check_path(content, path));
    char *copy = NULL;
    if (status == SG_OK && content->items == content->item_room) {
        size_t room = content->item_room == 0 ? 64 : 2 * content->item_room;
        sg_h5_item *larger;
        if ((status = SG_AT(SG_NEW(&larger, room))) == SG_OK) {
            if (content->items > 0) memcpy(larger, content->item, content->items * sizeof *larger);
            SG_FREE(content->item);
            content->item = larger;
            content->item_room = room;
        }
    }
    if (status == SG_OK) status = SG_AT(sg_file_name(&copy, path, ""));
    if (status != SG_OK) {
        free(item.owned);
        return status;
    }
    item.entry.path = copy;
    content->item[content->items++] = item;
    return SG_OK;
}

static int add_elements(sg_h5_content *content, const char *path, enum sg_h5_type type, int ndims,
                        const size_t *dims, sg_h5_item item) {
    SG_CHECK(ndims >= 0 && ndims <= SG_H5_MAX_DIMS && type != SG_H5_STRINGS, SG_INTERNAL,
             "%s: %d dimensions of %s cannot be written", path, ndims, sg_h5_type_name(type));
    item.entry = (sg_h5_entry){.type = type, .ndims = ndims, .count = 1};
    item.width = sg_h5_type_size(type);
    for (int d = 0; d < ndims; d++) {
        item.entry.dims[d] = dims[d];
        item.entry.count *= dims[d];
    }
    return SG_AT(add_item(content, path, item));
}

int sg_h5_add(sg_h5_content *content, const char *path, enum sg_h5_type type, int ndims, const size_t *dims,
              const void *data) {
    return SG_AT(add_elements(content, path, type, ndims, dims, (sg_h5_item){.data = data}));
}

int sg_h5_add_stream(sg_h5_content *content, const char *path, enum sg_h5_type type, int ndims,
                     const size_t *dims, sg_h5_reader read, void *context) {
    SG_CHECK(ndims >= 1, SG_INTERNAL, "%s: a scalar is no stream", path);
    return SG_AT(
        add_elements(content, path, type, ndims, dims, (sg_h5_item){.read = read, .context = context}));
}

int sg_h5_add_array(sg_h5_content *content, const char *path, enum sg_h5_type type, size_t count,
                    const void *data) {
    return SG_AT(sg_h5_add(content, path, type, 1, &count, data));
}

int sg_h5_add_scalar(sg_h5_content *content, const char *path, enum sg_h5_type type, const void *value) {
    sg_h5_item item = {.entry = {.type = type, .count = 1}, .width = sg_h5_type_size(type)};
    char *copy;
    SG_TRY(SG_NEW(&copy, item.width));
    memcpy(copy, value, item.width);
    item.data = item.owned = copy;
    return SG_AT(add_item(content, path, item));
}

int sg_h5_add_strings(sg_h5_content *content, const char *path, size_t count, const char *const *text) {
    size_t width = 1;
    for (size_t i = 0; i < count; i++)
        if (strlen(text[i]) > width) width = strlen(text[i]);
    char *table;
    SG_TRY(SG_NEW(&table, count * width));
    for (size_t i = 0; i < count; i++) memcpy(table + i * width, text[i], strlen(text[i]));
    sg_h5_item item = {.entry = {.type = SG_H5_STRINGS, .ndims = 1, .dims = {count}, .count = count},
                       .width = width,
                       .data = table,
                       .owned = table};
    return SG_AT(add_item(content, path, item));
}

static int add_attribute(sg_h5_content *content, const char *name, sg_h5_attribute attribute,
                         const char *text) {
    SG_CHECK(strlen(name) > 0 && strlen(name) < MAX_NAME_BYTES, SG_INTERNAL, "\"%s\" is no attribute's name",
             name);
    for (size_t i = 0; i < content->attributes; i++)
        SG_CHECK(strcmp(content->attribute[i].name, name) != 0, SG_INTERNAL, "attribute %s is set twice",
                 name);
    if (content->attributes == content->attribute_room) {
        size_t room = content->attribute_room == 0 ? 32 : 2 * content->attribute_room;
        sg_h5_attribute *larger;
        SG_TRY(SG_NEW(&larger, room));
        if (content->attributes > 0) memcpy(larger, content->attribute, content->attributes * sizeof *larger);
        SG_FREE(content->attribute);
        content->attribute = larger;
        content->attribute_room = room;
    }
    SG_TRY(sg_file_name(&attribute.name, name, ""));
    int status = text == NULL ? SG_OK : SG_AT(sg_file_name(&attribute.text, text, ""));
    if (status != SG_OK)
        SG_FREE(attribute.name);
    else
        content->attribute[content->attributes++] = attribute;
    return status;
}

int sg_h5_set_text(sg_h5_content *content, const char *name, const char *text) {
    return SG_AT(add_attribute(content, name, (sg_h5_attribute){.type = SG_H5_TEXT}, text));
}
int sg_h5_set_integer(sg_h5_content *content, const char *name, int64_t value) {
    sg_h5_attribute attribute = {.type = SG_H5_INTEGER, .value.integer = value};
    return SG_AT(add_attribute(content, name, attribute, NULL));
}
int sg_h5_set_unsigned(sg_h5_content *content, const char *name, uint64_t value) {
    sg_h5_attribute attribute = {.type = SG_H5_UNSIGNED, .value.natural = value};
    return SG_AT(add_attribute(content, name, attribute, NULL));
}
int sg_h5_set_real(sg_h5_content *content, const char *name, double value) {
    sg_h5_attribute attribute = {.type = SG_H5_REAL, .value.real = value};
    return SG_AT(add_attribute(content, name, attribute, NULL));
}

/* ---- Writing */

typedef struct writer {
    const char *path; /* the temporary one */
    sg_comm *comm;
    int rank, size;
    const sg_h5_content *content;
    sg_h5_block block;
    hid_t file, transfer;
    hid_t *set; /* [content->items] */
} writer;

static uint64_t bytes_of(const sg_h5_item *item) { return (uint64_t)item->entry.count * item->width; }

static int agree(writer *w, int status) {
    return w->comm == NULL ? status : SG_AT(sg_comm_agree(w->comm, status));
}

/* Asks the file system for all the space at once, so that a full disk is known before libhdf5 is in the
 * middle: before it creates the file, and once more after, since creating gives back what was reserved. The
 * second time the file must not grow, because libhdf5 would leave it so. */
static int reserve(const writer *w, bool again) {
    if (w->rank != 0) return SG_OK;
    uint64_t need = w->block.bytes + RESERVE_BASE;
    for (size_t i = 0; i < w->content->items; i++) need += bytes_of(&w->content->item[i]) + RESERVE_EACH;
    for (size_t i = 0; i < w->content->attributes; i++)
        if (w->content->attribute[i].text != NULL) need += 2 * strlen(w->content->attribute[i].text);
    int descriptor = open(w->path, O_RDWR | O_CLOEXEC | (again ? 0 : O_CREAT | O_TRUNC), 0666);
    if (descriptor < 0) return sg_file_write_error(w->path, "create", errno);
    int error = 0, status = SG_OK;
    if (!again)
        error = posix_fallocate(descriptor, 0, (off_t)need);
    else if (fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, (off_t)need) != 0)
        error = errno;
    /* Some file systems cannot promise space: then a full disk shows when it is written. */
    if (error != 0 && error != EOPNOTSUPP && error != EINVAL) {
        char verb[64];
        snprintf(verb, sizeof verb, "reserve %" PRIu64 " bytes for", need);
        status = sg_file_write_error(w->path, verb, error);
    }
    if (close(descriptor) != 0 && status == SG_OK) status = sg_file_write_error(w->path, "close", errno);
    return status;
}

static int create_file(writer *w) {
    hid_t creation = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    int status = SG_OK;
    if (creation < 0 || access < 0 || H5Pset_userblock(creation, w->block.bytes) < 0 ||
        H5Pset_obj_track_times(creation, false) < 0 ||
        H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0)
        status = sg_h5_error(SG_INTERNAL, w->path, "cannot set up writing");
    if (w->size > 1 && status == SG_OK &&
        (H5Pset_fapl_mpio(access, sg_comm_mpi(w->comm), MPI_INFO_NULL) < 0 ||
         H5Pset_coll_metadata_write(access, true) < 0 || H5Pset_all_coll_metadata_ops(access, true) < 0))
        status = sg_h5_error(SG_INTERNAL, w->path,
                             "cannot set up parallel writing; `signet doctor` checks libhdf5");
    if ((status = agree(w, status)) == SG_OK) {
        w->file = H5Fcreate(w->path, H5F_ACC_TRUNC, creation, access);
        if (w->file < 0) status = sg_h5_error(SG_IO, w->path, "cannot be created");
        status = agree(w, status);
    }
    if (creation >= 0) H5Pclose(creation);
    if (access >= 0) H5Pclose(access);
    return status;
}

static hid_t string_type(size_t width) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, width) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 ||
                      H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    return type;
}

/* The type of an item in the file and, with ours little-endian, in memory. */
static hid_t item_type(const sg_h5_item *item) {
    return item->entry.type == SG_H5_STRINGS ? string_type(item->width)
                                             : H5Tcopy(sg_h5_memory_type(item->entry.type));
}

static int put_attribute(hid_t at, const char *name, hid_t type, const void *value) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = space < 0 ? space : H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    return good ? SG_OK : SG_IO;
}

static int put_root_attribute(writer *w, const sg_h5_attribute *attribute) {
    int status = SG_INTERNAL;
    if (attribute->type == SG_H5_TEXT) {
        size_t width = strlen(attribute->text);
        hid_t type = string_type(width == 0 ? 1 : width);
        if (type >= 0) status = put_attribute(w->file, attribute->name, type, attribute->text);
        if (type >= 0) H5Tclose(type);
    } else {
        hid_t type = attribute->type == SG_H5_INTEGER    ? H5T_NATIVE_INT64
                     : attribute->type == SG_H5_UNSIGNED ? H5T_NATIVE_UINT64
                                                         : H5T_NATIVE_DOUBLE;
        status = put_attribute(w->file, attribute->name, type, &attribute->value);
    }
    return status == SG_OK ? SG_OK : sg_h5_error(SG_IO, w->path, "cannot write an attribute");
}

/* The groups on the way to a data set. Like data sets they note no times. */
static bool make_groups(writer *w, const char *path) {
    char group[4096];
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    bool good = creation >= 0 && H5Pset_obj_track_times(creation, false) >= 0;
    for (const char *end = strchr(path + 1, '/'); good && end != NULL; end = strchr(end + 1, '/')) {
        good = (size_t)(end - path) < sizeof group;
        if (!good) break;
        snprintf(group, sizeof group, "%.*s", (int)(end - path), path);
        htri_t there = H5Lexists(w->file, group, H5P_DEFAULT);
        hid_t made =
            there == 0 ? H5Gcreate2(w->file, group, H5P_DEFAULT, creation, H5P_DEFAULT) : H5I_INVALID_HID;
        good = there > 0 || made >= 0;
        if (made >= 0) H5Gclose(made);
    }
    if (creation >= 0) H5Pclose(creation);
    return good;
}

/* Creates data set i with its checksum and notes its place. */
static int create_set(writer *w, size_t i) {
    const sg_h5_item *item = &w->content->item[i];
    const sg_h5_entry *entry = &item->entry;
    hsize_t dims[SG_H5_MAX_DIMS];
    for (int d = 0; d < entry->ndims; d++) dims[d] = entry->dims[d];
    /* A stream's is known when it has been written. */
    uint64_t checksum = item->read != NULL ? 0 : sg_h5_checksum(item->data, (size_t)bytes_of(item));
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), type = item_type(item);
    hid_t space = entry->ndims == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(entry->ndims, dims, NULL);
    int status = SG_IO;
    /* Space at once, so that its place is known; no fill values, since every byte is written; no times, so
     * that the same content gives the same bytes. */
    if (creation >= 0 && type >= 0 && space >= 0 && make_groups(w, entry->path) &&
        H5Pset_layout(creation, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0 &&
        H5Pset_obj_track_times(creation, false) >= 0) {
        w->set[i] = H5Dcreate2(w->file, entry->path, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
        if (w->set[i] >= 0) status = put_attribute(w->set[i], "xxh3_64", H5T_NATIVE_UINT64, &checksum);
    }
    if (creation >= 0) H5Pclose(creation);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (status != SG_OK) return sg_h5_error(SG_IO, w->path, "cannot create a data set");
    sg_h5_place *place = &w->block.place[i];
    place->checksum = checksum;
    place->bytes = bytes_of(item);
    if (place->bytes == 0) return SG_OK;
    haddr_t offset = H5Dget_offset(w->set[i]);
    if (offset == HADDR_UNDEF) return sg_h5_error(SG_INTERNAL, w->path, "a data set has no place");
    place->offset = offset;
    return SG_OK;
}

/* The checksum of what was streamed: the block's and, in place of the 0, the data set's own. */
static int set_checksum(writer *w, size_t i, uint64_t checksum) {
    w->block.place[i].checksum = checksum;
    hid_t attribute = H5Aopen(w->set[i], "xxh3_64", H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT64, &checksum) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    return good ? SG_OK : sg_h5_error(SG_IO, w->path, "cannot write a checksum");
}

/* Rows first .. first + count - 1 of data set i. */
static int write_rows(const writer *w, size_t i, hsize_t first, hsize_t count, const void *data) {
    const sg_h5_entry *entry = &w->content->item[i].entry;
    hsize_t start[SG_H5_MAX_DIMS] = {first}, size[SG_H5_MAX_DIMS] = {count};
    for (int d = 1; d < entry->ndims; d++) size[d] = entry->dims[d];
    hid_t space = H5Dget_space(w->set[i]), memory = H5Screate_simple(entry->ndims, size, NULL);
    bool good = space >= 0 && memory >= 0 &&
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL) >= 0 &&
                H5Dwrite(w->set[i], sg_h5_memory_type(entry->type), memory, space, w->transfer, data) >= 0;
    int status = good ? SG_OK : sg_h5_error(SG_IO, w->path, "cannot write a data set");
    if (space >= 0) H5Sclose(space);
    if (memory >= 0) H5Sclose(memory);
    return status;
}

/* Data set i as its reader gives it, some rows at a time. */
static int write_stream(writer *w, size_t i) {
    const sg_h5_item *item = &w->content->item[i];
    size_t rows = item->entry.dims[0], elements = rows > 0 ? item->entry.count / rows : 0;
    size_t bytes = elements * item->width, piece = bytes > 0 ? STREAM_BYTES / bytes : 1;
    unsigned char *buffer;
    SG_CHECK(w->size == 1, SG_INTERNAL, "%s is streamed by a group", item->entry.path);
    if (piece == 0) piece = 1;
    if (piece > rows) piece = rows;
    SG_TRY(SG_NEW(&buffer, piece * bytes));
    XXH3_state_t *state = XXH3_createState();
    int status = state != NULL ? SG_OK : SG_FAIL(SG_NOMEM, "out of memory: no room for a hash");
    if (state != NULL) XXH3_64bits_reset(state);
    for (size_t first = 0; status == SG_OK && bytes > 0 && first < rows; first += piece) {
        size_t count = rows - first < piece ? rows - first : piece;
        status = SG_AT(item->read(item->context, first * elements, count * elements, buffer));
        if (status == SG_OK) status = SG_AT(write_rows(w, i, first, count, buffer));
        XXH3_64bits_update(state, buffer, count * bytes);
    }
    if (status == SG_OK) status = SG_AT(set_checksum(w, i, XXH3_64bits_digest(state)));
    XXH3_freeState(state);
    free(buffer);
    return status;
}

/* This rank's rows of data set i. Large ones are cut by rows of the first dimension, small ones go round. */
static int write_slice(writer *w, size_t i) {
    const sg_h5_item *item = &w->content->item[i];
    const sg_h5_entry *entry = &item->entry;
    uint64_t bytes = bytes_of(item), rows = entry->ndims == 0 ? 1 : entry->dims[0], first = 0, end = rows;
    if (item->read != NULL) return SG_AT(write_stream(w, i));
    if (bytes == 0) return SG_OK;
    if (bytes < SMALL_BYTES || rows < 2) {
        if (i % (size_t)w->size != (size_t)w->rank) return SG_OK;
    } else {
        first = rows * (uint64_t)w->rank / (uint64_t)w->size;
        end = rows * ((uint64_t)w->rank + 1) / (uint64_t)w->size;
        if (first == end) return SG_OK;
    }
    hid_t type = item_type(item), space = H5Dget_space(w->set[i]), memory = H5I_INVALID_HID;
    bool good = type >= 0 && space >= 0;
    if (good && entry->ndims > 0) {
        hsize_t start[SG_H5_MAX_DIMS] = {first}, count[SG_H5_MAX_DIMS] = {end - first};
        for (int d = 1; d < entry->ndims; d++) count[d] = entry->dims[d];
        good = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
               (memory = H5Screate_simple(entry->ndims, count, NULL)) >= 0;
    } else if (good) {
        good = (memory = H5Screate(H5S_SCALAR)) >= 0;
    }
    const char *data = (const char *)item->data + (size_t)(bytes / rows * first);
    good = good && H5Dwrite(w->set[i], type, memory, space, w->transfer, data) >= 0;
    int status = good ? SG_OK : sg_h5_error(SG_IO, w->path, "cannot write a data set");
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return status;
}

/* The HDF5 part. Metadata calls are collective: all ranks make all of them, also after one has failed. Data
 * is written independently, so that a rank whose write fails leaves nobody waiting. */
static int write_hdf5(writer *w) {
    SG_TRY(create_file(w));
    int status = SG_OK, first = reserve(w, true);
    for (size_t i = 0; i < w->content->attributes; i++) {
        status = put_root_attribute(w, &w->content->attribute[i]);
        if (first == SG_OK) first = status;
    }
    for (size_t i = 0; i < w->content->items; i++) {
        status = create_set(w, i);
        if (first == SG_OK) first = status;
    }
    status = agree(w, first);
    for (size_t i = 0; status == SG_OK && i < w->content->items; i++) status = write_slice(w, i);
    for (size_t i = 0; i < w->content->items; i++)
        if (w->set[i] >= 0 && H5Dclose(w->set[i]) < 0 && status == SG_OK)
            status = sg_h5_error(SG_IO, w->path, "cannot write a data set");
    status = agree(w, status);
    if (H5Fclose(w->file) >= 0) return status;
    /* The others may still wait within H5Fclose for this rank: no agreement, the job ends here. */
    status = sg_h5_error(SG_IO, w->path, "cannot be closed: is the disk full?");
    if (w->comm != NULL) sg_comm_abort(w->comm, status);
    fprintf(stderr, "signet: error: %s\n%s", sg_error_message(), sg_error_trace());
    _Exit(status);
}

/* Hash, user block, and all of it on the disk. The file is read back for that. */
static int seal(writer *w) {
    int descriptor = open(w->path, (w->rank == 0 ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    int status = descriptor < 0 ? sg_file_write_error(w->path, "open again", errno) : SG_OK;
    off_t end = status == SG_OK ? lseek(descriptor, 0, SEEK_END) : 0;
    if (status == SG_OK && end < (off_t)w->block.bytes)
        status = SG_FAIL(SG_INTERNAL, "%s: libhdf5 left %lld bytes, less than the user block", w->path,
                         (long long)end);
    status = agree(w, status);
    w->block.length = (uint64_t)end - w->block.bytes;
    if (status == SG_OK)
        status = SG_AT(
            sg_h5_hash_file(&w->block.hash, descriptor, w->path, w->block.bytes, w->block.length, w->comm));
    if (status == SG_OK) {
        if (w->rank == 0) status = SG_AT(sg_h5_block_write(descriptor, w->path, &w->block));
        /* To the length that it has: gives back what was reserved past the end. */
        if (w->rank == 0 && status == SG_OK && ftruncate(descriptor, end) != 0)
            status = sg_file_write_error(w->path, "cut", errno);
        if (status == SG_OK && fsync(descriptor) != 0) status = sg_file_write_error(w->path, "sync", errno);
        if (close(descriptor) != 0 && status == SG_OK) status = sg_file_write_error(w->path, "close", errno);
        return agree(w, status);
    }
    if (descriptor >= 0) close(descriptor);
    return status;
}

static int prepare(writer *w, const sg_h5_content *content) {
    SG_TRY(sg_h5_prepare());
    SG_TRY(SG_NEW(&w->set, content->items));
    SG_TRY(SG_NEW(&w->block.place, content->items));
    const char **paths;
    SG_TRY(SG_NEW(&paths, content->items));
    for (size_t i = 0; i < content->items; i++) {
        w->set[i] = H5I_INVALID_HID;
        paths[i] = content->item[i].entry.path;
        w->block.place[i].path = (char *)(uintptr_t)paths[i]; /* borrowed here */
    }
    w->block.places = content->items;
    w->block.bytes = sg_h5_block_size(paths, content->items);
    memcpy(w->block.kind, content->kind, sizeof w->block.kind);
    SG_FREE(paths);
    w->transfer = H5P_DEFAULT; /* independent */
    return SG_OK;
}

int sg_h5_write(const char *path, sg_comm *comm, const sg_h5_content *content) {
    writer w = {.comm = comm,
                .rank = comm == NULL ? 0 : sg_comm_rank(comm),
                .size = comm == NULL ? 1 : sg_comm_size(comm),
                .content = content,
                .file = H5I_INVALID_HID};
    char *temporary = NULL;
    /* A group has one name that all its ranks know. */
    int status = comm == NULL ? SG_AT(sg_file_temporary(&temporary, path))
                              : SG_AT(sg_file_name(&temporary, path, ".tmp"));
    w.path = temporary;
    if (status == SG_OK) status = SG_AT(prepare(&w, content));
    if (status == SG_OK) status = SG_AT(reserve(&w, false));
    status = agree(&w, status);
    if (status == SG_OK) status = SG_AT(write_hdf5(&w));
    if (status == SG_OK) status = SG_AT(seal(&w));
    if (status == SG_OK) {
        if (w.rank == 0) status = SG_AT(sg_file_publish(temporary, path));
        if (w.rank == 0 && status != SG_OK) unlink(temporary); /* unless it is PATH by now */
        status = agree(&w, status);
    } else if (w.rank == 0 && temporary != NULL) {
        unlink(temporary);
    }
    SG_FREE(temporary);
    SG_FREE(w.set);
    SG_FREE(w.block.place);
    return status;
}
