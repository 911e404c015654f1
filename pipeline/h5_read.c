#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "kernels/text.h"
#include "pipeline/file.h"
#include "pipeline/h5_block.h"
#include "pipeline/h5_common.h"

enum { DAMAGE_NAMED = 3, MAX_ATTRIBUTE_BYTES = 64 << 20 };

static int rank_of(const sg_comm *comm) { return comm == NULL ? 0 : sg_comm_rank(comm); }
static int agree(sg_comm *comm, int status) {
    return comm == NULL ? status : SG_AT(sg_comm_agree(comm, status));
}

/* Reads and compares each data set's checksum; names the damaged ones, separated by commas, and counts them.
 */
static int find_damage(const sg_h5_block *block, int descriptor, const char *path, char *names, size_t room,
                       size_t *damaged) {
    size_t used = 0;
    *damaged = 0;
    names[0] = '\0';
    for (size_t i = 0; i < block->places; i++) {
        const sg_h5_place *place = &block->place[i];
        uint64_t checksum;
        SG_TRY(sg_h5_checksum_file(&checksum, descriptor, path, place->offset, place->bytes));
        if (checksum == place->checksum) continue;
        if ((*damaged)++ < DAMAGE_NAMED && used < room)
            used += (size_t)snprintf(names + used, room - used, "%s%s", used == 0 ? "" : ", ", place->path);
    }
    if (*damaged > DAMAGE_NAMED && used < room)
        snprintf(names + used, room - used, " and %zu more", *damaged - DAMAGE_NAMED);
    return SG_OK;
}

static int report_damage(const sg_h5_block *block, int descriptor, const char *path) {
    char names[1024];
    size_t damaged;
    SG_TRY(find_damage(block, descriptor, path, names, sizeof names, &damaged));
    if (damaged == 0) snprintf(names, sizeof names, "HDF5's own structure");
    return SG_FAIL(SG_DATA, "%s: is damaged in %s; use another copy, or remove it and run again", path,
                   names);
}

/* Every byte is as it was written, or an error. Collective; all ranks return the same. */
static int check_bytes(sg_h5_block *block, int descriptor, const char *path, sg_comm *comm) {
    sg_h5_hash hash;
    SG_TRY(agree(comm, SG_AT(sg_h5_block_read(block, descriptor, path))));
    SG_TRY(sg_h5_hash_file(&hash, descriptor, path, block->bytes, block->length, comm));
    int status = SG_OK;
    if (memcmp(&hash, &block->hash, sizeof hash) != 0 && rank_of(comm) == 0)
        status = SG_AT(report_damage(block, descriptor, path));
    return agree(comm, status);
}

/* ---- Listing, by libhdf5, on rank 0 */

/* The hash tells damage, not intent: whoever made the file could compute it. What was made to do harm has
 * data outside the file, or claims more of it than the index has a place for. */
static bool lies_in_place(hid_t set, size_t width, int ndims, const hsize_t *dims, const sg_h5_place *place) {
    uint64_t bytes = width;
    for (int d = 0; d < ndims; d++)
        if (__builtin_mul_overflow(bytes, (uint64_t)dims[d], &bytes)) return false;
    hid_t creation = H5Dget_create_plist(set);
    bool inside = creation >= 0 && H5Pget_layout(creation) == H5D_CONTIGUOUS &&
                  H5Pget_external_count(creation) == 0 && H5Pget_nfilters(creation) == 0;
    if (creation >= 0) H5Pclose(creation);
    return inside && bytes == place->bytes && (bytes == 0 || H5Dget_offset(set) == place->offset);
}

static herr_t refuse_link(const char *parent, const char *group, const char *file, const char *object,
                          unsigned *flags, hid_t access, void *context) {
    (void)parent, (void)group, (void)file, (void)object, (void)flags, (void)access, (void)context;
    return -1;
}

/* Without following links into other files. */
static hid_t open_set(hid_t file, const char *path) {
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS), set = H5I_INVALID_HID;
    if (access >= 0 && H5Pset_elink_cb(access, refuse_link, NULL) >= 0) set = H5Dopen2(file, path, access);
    if (access >= 0) H5Pclose(access);
    return set;
}

static int list_set(sg_h5_file *file, const sg_h5_place *place) {
    const char *path = place->path;
    size_t width = 0;
    hsize_t dims[SG_H5_MAX_DIMS];
    hid_t set = open_set(file->file, path);
    if (set < 0) return sg_h5_error(SG_DATA, file->path, "a data set of the index is not there");
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    int status = SG_OK, known = type < 0 ? -1 : sg_h5_type_of(type, &width);
    int ndims = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (known < 0 || ndims < 0 || ndims > SG_H5_MAX_DIMS ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        status = SG_FAIL(SG_DATA, "%s: %s has a type or shape that signet does not write", file->path, path);
    } else if (!lies_in_place(set, width, ndims, dims, place)) {
        status = SG_FAIL(SG_DATA, "%s: %s does not lie where the index says; the file was tampered with",
                         file->path, path);
    } else {
        sg_h5_entry entry = {.path = path, .type = (enum sg_h5_type)known, .ndims = ndims};
        for (int d = 0; d < ndims; d++) entry.dims[d] = (size_t)dims[d];
        sg_h5_listing_item(&file->listing, &entry, width, NULL, 0);
    }
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    H5Dclose(set);
    return status;
}

typedef struct gathering {
    sg_h5_listing listing;
    uint64_t count;
} gathering;

static int list_value(sg_h5_listing *listing, hid_t attribute, hid_t type) {
    size_t width = 0;
    int known = sg_h5_type_of(type, &width);
    hid_t space = H5Aget_space(attribute);
    hssize_t count = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    if (space >= 0) H5Sclose(space);
    if (count != 1) return SG_DATA; /* reading writes all of them */
    union {
        int64_t integer;
        uint64_t natural;
        double real;
    } value = {0};
    if (known == SG_H5_STRINGS && width < MAX_ATTRIBUTE_BYTES) {
        char *text;
        SG_TRY(SG_NEW(&text, width + 1));
        int status = H5Aread(attribute, type, text) >= 0 ? SG_OK : SG_DATA;
        sg_h5_listing_number(listing, SG_H5_TEXT);
        sg_h5_listing_number(listing, strlen(text) + 1);
        sg_h5_listing_text(listing, text, strlen(text) + 1);
        SG_FREE(text);
        return status;
    }
    if (known != SG_H5_I64 && known != SG_H5_U64 && known != SG_H5_F64) return SG_DATA;
    if (H5Aread(attribute, sg_h5_memory_type((enum sg_h5_type)known), &value) < 0) return SG_DATA;
    sg_h5_listing_number(listing, known == SG_H5_I64   ? SG_H5_INTEGER
                                  : known == SG_H5_U64 ? SG_H5_UNSIGNED
                                                       : SG_H5_REAL);
    sg_h5_listing_number(listing, value.natural);
    return SG_OK;
}

static herr_t list_attribute(hid_t at, const char *name, const H5A_info_t *info, void *context) {
    (void)info;
    gathering *g = context;
    hid_t attribute = H5Aopen(at, name, H5P_DEFAULT),
          type = attribute < 0 ? attribute : H5Aget_type(attribute);
    sg_h5_listing_number(&g->listing, strlen(name) + 1);
    sg_h5_listing_text(&g->listing, name, strlen(name) + 1);
    int status = type < 0 ? SG_DATA : list_value(&g->listing, attribute, type);
    g->count++;
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return status == SG_OK ? 0 : -1;
}

static int list_file(sg_h5_file *file, const sg_h5_block *block) {
    SG_TRY(sg_h5_prepare());
    file->file = H5Fopen(file->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file->file < 0)
        return sg_h5_error(SG_DATA, file->path, "cannot be opened, though its bytes are right");
    sg_h5_listing_number(&file->listing, strlen(block->kind) + 1);
    sg_h5_listing_text(&file->listing, block->kind, strlen(block->kind) + 1);
    sg_h5_listing_number(&file->listing, block->places);
    for (size_t i = 0; i < block->places; i++) SG_TRY(list_set(file, &block->place[i]));
    gathering g = {0};
    hsize_t from = 0;
    herr_t listed = H5Aiterate2(file->file, H5_INDEX_NAME, H5_ITER_INC, &from, list_attribute, &g);
    sg_h5_listing_number(&file->listing, g.count);
    sg_h5_listing_text(&file->listing, g.listing.byte, g.listing.bytes);
    SG_FREE(g.listing.byte);
    if (listed < 0)
        return sg_h5_error(SG_DATA, file->path, "an attribute has a type that signet does not write");
    return g.listing.status;
}

int sg_h5_open(sg_h5_file **file, const char *path, sg_comm *comm) {
    *file = NULL;
    int descriptor = -1;
    uint64_t bytes;
    sg_h5_block block = {0};
    int status = SG_AT(SG_NEW(file, 1));
    if (status == SG_OK) {
        (*file)->comm = comm;
        (*file)->file = H5I_INVALID_HID;
        status = SG_AT(sg_file_name(&(*file)->path, path, ""));
    }
    if (status == SG_OK) status = SG_AT(sg_h5_open_plain(&descriptor, path, &bytes));
    if ((status = agree(comm, status)) != SG_OK) goto done;
    if ((status = SG_AT(check_bytes(&block, descriptor, path, comm))) != SG_OK) goto done;
    if (rank_of(comm) == 0) {
        status = SG_AT(list_file(*file, &block));
        (*file)->place = block.place; /* taken over, in the order of the items */
        (*file)->places = block.places;
        block.place = NULL;
        block.places = 0;
    }
    status = SG_AT(sg_h5_share_listing(*file, status));
done:
    if (descriptor >= 0) close(descriptor);
    sg_h5_block_release(&block);
    if (status != SG_OK) sg_h5_close(file);
    return status;
}

void sg_h5_close(sg_h5_file **file) {
    sg_h5_file *f = *file;
    if (f == NULL) return;
    if (f->file >= 0) H5Fclose(f->file);
    for (size_t i = 0; i < f->places; i++) SG_FREE(f->place[i].path);
    SG_FREE(f->place);
    SG_FREE(f->item);
    SG_FREE(f->attribute);
    SG_FREE(f->listing.byte);
    SG_FREE(f->path);
    SG_FREE(*file);
}

const char *sg_h5_kind(const sg_h5_file *file) { return file->kind; }
size_t sg_h5_entries(const sg_h5_file *file) { return file->items; }
const sg_h5_entry *sg_h5_entry_at(const sg_h5_file *file, size_t i) { return &file->item[i].entry; }

static const sg_h5_item *find(const sg_h5_file *file, const char *path) {
    for (size_t i = 0; i < file->items; i++)
        if (strcmp(file->item[i].entry.path, path) == 0) return &file->item[i];
    return NULL;
}

const sg_h5_entry *sg_h5_find(const sg_h5_file *file, const char *path) {
    const sg_h5_item *item = find(file, path);
    return item == NULL ? NULL : &item->entry;
}

/* ---- Reading data */

static void shape_text(char *text, size_t room, enum sg_h5_type type, int ndims, const size_t *dims) {
    size_t used = (size_t)snprintf(text, room, "%s[", sg_h5_type_name(type));
    for (int d = 0; d < ndims && used < room; d++)
        used += (size_t)snprintf(text + used, room - used, "%s%zu", d == 0 ? "" : ", ", dims[d]);
    if (used < room) snprintf(text + used, room - used, "]");
}

static int read_on_first(sg_h5_file *file, const sg_h5_item *item, void *out, size_t bytes) {
    size_t i = (size_t)(item - file->item);
    hid_t set = open_set(file->file, item->entry.path), type = set < 0 ? set : H5Dget_type(set);
    hid_t memory = item->entry.type == SG_H5_STRINGS ? type : sg_h5_memory_type(item->entry.type);
    int status = SG_OK;
    if (type < 0 || (bytes > 0 && H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0))
        status = sg_h5_error(SG_IO, file->path, item->entry.path);
    if (type >= 0) H5Tclose(type);
    if (set >= 0) H5Dclose(set);
    if (status == SG_OK && sg_h5_checksum(out, bytes) != file->place[i].checksum)
        status = SG_FAIL(SG_DATA, "%s: %s is not what was written: its checksum differs", file->path,
                         item->entry.path);
    return status;
}

static int read_item(sg_h5_file *file, const sg_h5_item *item, void *out) {
    size_t bytes = item->entry.count * item->width;
    if (item->data != NULL || file->foreign) {
        if (bytes > 0) memcpy(out, item->data, bytes);
        return SG_OK;
    }
    int status = SG_OK;
    if (rank_of(file->comm) == 0) status = SG_AT(read_on_first(file, item, out, bytes));
    if (file->comm == NULL) return status;
    SG_TRY(sg_comm_agree(file->comm, status));
    return SG_AT(sg_comm_broadcast(file->comm, out, bytes, 0));
}

int sg_h5_read(sg_h5_file *file, const char *path, enum sg_h5_type type, int ndims, const size_t *dims,
               void *out) {
    const sg_h5_item *item = find(file, path);
    SG_CHECK(item != NULL, SG_DATA, "%s: has no %s", file->path, path);
    const sg_h5_entry *entry = &item->entry;
    bool same = entry->type == type && entry->ndims == ndims && type != SG_H5_STRINGS;
    for (int d = 0; same && d < ndims; d++) same = entry->dims[d] == dims[d];
    if (!same) {
        char there[256], wanted[256];
        shape_text(there, sizeof there, entry->type, entry->ndims, entry->dims);
        shape_text(wanted, sizeof wanted, type, ndims, dims);
        return SG_FAIL(SG_DATA, "%s: %s is %s, and %s is wanted", file->path, path, there, wanted);
    }
    return SG_AT(read_item(file, item, out));
}

int sg_h5_read_array(sg_h5_file *file, const char *path, enum sg_h5_type type, size_t count, void *out) {
    return SG_AT(sg_h5_read(file, path, type, 1, &count, out));
}

int sg_h5_read_scalar(sg_h5_file *file, const char *path, enum sg_h5_type type, void *out) {
    return SG_AT(sg_h5_read(file, path, type, 0, NULL, out));
}

int sg_h5_read_strings(sg_h5_file *file, const char *path, char ***text, size_t *count) {
    *text = NULL;
    *count = 0;
    const sg_h5_item *item = find(file, path);
    SG_CHECK(item != NULL, SG_DATA, "%s: has no %s", file->path, path);
    SG_CHECK(item->entry.type == SG_H5_STRINGS && item->entry.ndims == 1, SG_DATA,
             "%s: %s is no list of texts", file->path, path);
    size_t n = item->entry.count, width = item->width;
    char *raw = NULL, **rows = NULL;
    int status = SG_AT(SG_NEW(&raw, n * width));
    if (status == SG_OK) rows = sg_alloc(1, n * (sizeof *rows + width + 1));
    if (rows == NULL) status = SG_NOMEM;
    status = agree(file->comm, status);
    if (status == SG_OK) status = SG_AT(read_item(file, item, raw));
    if (status == SG_OK) {
        char *to = (char *)(rows + n);
        for (size_t i = 0; i < n; i++, to += width + 1) {
            memcpy(to, raw + i * width, width);
            rows[i] = to;
        }
        *text = rows;
        *count = n;
        rows = NULL;
    }
    SG_FREE(raw);
    SG_FREE(rows);
    return status;
}

int sg_h5_locate(const sg_h5_file *file, const char *path, uint64_t *offset) {
    const sg_h5_item *item = find(file, path);
    SG_CHECK(item != NULL && file->places == file->items, SG_DATA, "%s: has no %s", file->path, path);
    *offset = file->place[item - file->item].offset;
    return SG_OK;
}

/* ---- Attributes */

static const char *const attribute_types[] = {[SG_H5_TEXT] = "text",
                                              [SG_H5_INTEGER] = "an integer",
                                              [SG_H5_UNSIGNED] = "an unsigned integer",
                                              [SG_H5_REAL] = "a real number"};

static const sg_h5_attribute *find_attribute(const sg_h5_file *file, const char *name) {
    for (size_t i = 0; i < file->attributes; i++)
        if (strcmp(file->attribute[i].name, name) == 0) return &file->attribute[i];
    return NULL;
}

bool sg_h5_has(const sg_h5_file *file, const char *name) { return find_attribute(file, name) != NULL; }
size_t sg_h5_attributes(const sg_h5_file *file) { return file->attributes; }

const char *sg_h5_attribute_at(const sg_h5_file *file, size_t i, char *value, size_t room) {
    const sg_h5_attribute *attribute = &file->attribute[i];
    switch (attribute->type) {
    case SG_H5_TEXT:
        snprintf(value, room, "%s", attribute->text);
        sg_text_make_plain(value);
        break;
    case SG_H5_INTEGER:
        snprintf(value, room, "%" PRId64, attribute->value.integer);
        break;
    case SG_H5_UNSIGNED:
        snprintf(value, room, "%" PRIu64, attribute->value.natural);
        break;
    case SG_H5_REAL:
        snprintf(value, room, "%.17g", attribute->value.real);
        break;
    }
    return attribute->name;
}

static int get(const sg_h5_file *file, const char *name, enum sg_h5_attribute_type type,
               const sg_h5_attribute **attribute) {
    *attribute = find_attribute(file, name);
    SG_CHECK(*attribute != NULL, SG_DATA, "%s: has no attribute %s", file->path, name);
    SG_CHECK((*attribute)->type == type, SG_DATA, "%s: the attribute %s is %s, and %s is wanted", file->path,
             name, attribute_types[(*attribute)->type], attribute_types[type]);
    return SG_OK;
}

int sg_h5_get_text(const sg_h5_file *file, const char *name, const char **text) {
    const sg_h5_attribute *attribute = NULL;
    SG_TRY(get(file, name, SG_H5_TEXT, &attribute));
    *text = attribute->text;
    return SG_OK;
}

int sg_h5_get_integer(const sg_h5_file *file, const char *name, int64_t *value) {
    const sg_h5_attribute *attribute = NULL;
    SG_TRY(get(file, name, SG_H5_INTEGER, &attribute));
    *value = attribute->value.integer;
    return SG_OK;
}

int sg_h5_get_unsigned(const sg_h5_file *file, const char *name, uint64_t *value) {
    const sg_h5_attribute *attribute = NULL;
    SG_TRY(get(file, name, SG_H5_UNSIGNED, &attribute));
    *value = attribute->value.natural;
    return SG_OK;
}

int sg_h5_get_real(const sg_h5_file *file, const char *name, double *value) {
    const sg_h5_attribute *attribute = NULL;
    SG_TRY(get(file, name, SG_H5_REAL, &attribute));
    *value = attribute->value.real;
    return SG_OK;
}

/* ---- Checking */

/* One line about the damage in data set i, or in none when everything else is right. */
static int verify_bytes(const sg_h5_block *block, int descriptor, const char *path,
                        void (*report)(void *context, const char *line), void *context) {
    sg_h5_hash hash;
    SG_TRY(sg_h5_hash_file(&hash, descriptor, path, block->bytes, block->length, NULL));
    bool whole = memcmp(&hash, &block->hash, sizeof hash) == 0;
    size_t damaged = 0;
    char line[8192], first[8192] = "";
    for (size_t i = 0; i < block->places; i++) {
        const sg_h5_place *place = &block->place[i];
        uint64_t checksum;
        SG_TRY(sg_h5_checksum_file(&checksum, descriptor, path, place->offset, place->bytes));
        if (checksum == place->checksum) continue;
        snprintf(line, sizeof line, "%s: %s is damaged (bytes %" PRIu64 " to %" PRIu64 ")", path, place->path,
                 place->offset, place->offset + place->bytes - 1);
        if (report != NULL) report(context, line);
        if (damaged++ == 0) memcpy(first, line, sizeof first);
    }
    if (!whole && damaged == 0) {
        snprintf(first, sizeof first, "%s: is damaged in HDF5's own structure", path);
        if (report != NULL) report(context, first);
    }
    SG_CHECK(whole && damaged == 0, SG_DATA, "%s", first);
    return SG_OK;
}

int sg_h5_verify(const char *path, void (*report)(void *context, const char *line), void *context) {
    int descriptor = -1;
    uint64_t bytes;
    sg_h5_block block = {0};
    bool told = false;
    int status = SG_AT(sg_h5_open_plain(&descriptor, path, &bytes));
    if (status == SG_OK) status = SG_AT(sg_h5_block_read(&block, descriptor, path));
    if (status == SG_OK) {
        status = SG_AT(verify_bytes(&block, descriptor, path, report, context));
        told = status == SG_DATA;
    }
    if (status != SG_OK && !told && report != NULL) report(context, sg_error_message());
    if (descriptor >= 0) close(descriptor);
    sg_h5_block_release(&block);
    return status;
}
