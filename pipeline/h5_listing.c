/* The listing of a file: what it has, as bytes for a pipe or a broadcast. The bytes may come from a child
 * process that read a hostile file, so every length is checked. */
#include <string.h>

#include "kernels/memory.h"
#include "kernels/text.h"
#include "pipeline/h5_common.h"

void sg_h5_listing_text(sg_h5_listing *listing, const void *text, size_t bytes) {
    if (listing->status != SG_OK) return;
    if (listing->room - listing->bytes < bytes) {
        size_t room = 2 * listing->room + bytes + 4096;
        char *larger;
        if ((listing->status = SG_AT(SG_NEW(&larger, room))) != SG_OK) return;
        if (listing->bytes > 0) memcpy(larger, listing->byte, listing->bytes);
        SG_FREE(listing->byte);
        listing->byte = larger;
        listing->room = room;
    }
    if (bytes > 0) memcpy(listing->byte + listing->bytes, text, bytes);
    listing->bytes += bytes;
}

void sg_h5_listing_number(sg_h5_listing *listing, uint64_t number) {
    sg_h5_listing_text(listing, &number, sizeof number);
}

void sg_h5_listing_item(sg_h5_listing *listing, const sg_h5_entry *entry, size_t width, const void *data,
                        size_t data_bytes) {
    sg_h5_listing_number(listing, strlen(entry->path) + 1);
    sg_h5_listing_text(listing, entry->path, strlen(entry->path) + 1);
    sg_h5_listing_number(listing, entry->type);
    sg_h5_listing_number(listing, (uint64_t)entry->ndims);
    for (int d = 0; d < entry->ndims; d++) sg_h5_listing_number(listing, entry->dims[d]);
    sg_h5_listing_number(listing, width);
    sg_h5_listing_number(listing, data_bytes);
    sg_h5_listing_text(listing, data, data_bytes);
}

typedef struct cursor {
    char *at, *end;
    bool good;
} cursor;

static uint64_t take_number(cursor *c) {
    uint64_t number = 0;
    c->good = c->good && c->end - c->at >= (ptrdiff_t)sizeof number;
    if (!c->good) return 0;
    memcpy(&number, c->at, sizeof number);
    c->at += sizeof number;
    return number;
}

static char *take_bytes(cursor *c, uint64_t bytes) {
    c->good = c->good && (uint64_t)(c->end - c->at) >= bytes;
    char *start = c->at;
    if (c->good) c->at += bytes;
    return start;
}

/* A text with its NUL. */
static char *take_text(cursor *c) {
    uint64_t bytes = take_number(c);
    char *text = take_bytes(c, bytes);
    c->good = c->good && bytes > 0 && text[bytes - 1] == '\0' && strlen(text) == bytes - 1;
    return text;
}

static char *take_name(cursor *c) {
    char *name = take_text(c);
    c->good = c->good && sg_text_is_plain(name);
    return name;
}

static sg_h5_item take_item(cursor *c, bool foreign) {
    sg_h5_item item = {.entry = {.path = take_name(c), .count = 1}};
    uint64_t type = take_number(c), ndims = take_number(c);
    c->good = c->good && type <= SG_H5_STRINGS && ndims <= SG_H5_MAX_DIMS;
    if (!c->good) return item;
    item.entry.type = (enum sg_h5_type)type;
    item.entry.ndims = (int)ndims;
    for (int d = 0; d < item.entry.ndims; d++) {
        item.entry.dims[d] = (size_t)take_number(c);
        if (__builtin_mul_overflow(item.entry.count, item.entry.dims[d], &item.entry.count)) c->good = false;
    }
    item.width = (size_t)take_number(c);
    size_t whole, bytes = (size_t)take_number(c);
    if (__builtin_mul_overflow(item.entry.count, item.width, &whole)) c->good = false;
    if (type != SG_H5_STRINGS && item.width != sg_h5_type_size(item.entry.type)) c->good = false;
    if (type == SG_H5_STRINGS && item.entry.count > 0 && item.width == 0) c->good = false;
    /* Of a foreign file all data is here; of ours, none. */
    c->good = c->good && bytes == (foreign ? whole : 0);
    item.data = take_bytes(c, bytes);
    if (bytes == 0) item.data = NULL;
    return item;
}

static sg_h5_attribute take_attribute(cursor *c) {
    sg_h5_attribute attribute = {.name = take_name(c)};
    uint64_t type = take_number(c);
    c->good = c->good && type <= SG_H5_REAL;
    if (!c->good) return attribute;
    attribute.type = (enum sg_h5_attribute_type)type;
    if (attribute.type == SG_H5_TEXT)
        attribute.text = take_text(c);
    else
        attribute.value.natural = take_number(c);
    return attribute;
}

static int parse(sg_h5_file *file) {
    cursor c = {.at = file->listing.byte, .end = file->listing.byte + file->listing.bytes, .good = true};
    file->kind = take_name(&c);
    uint64_t items = take_number(&c), most = file->listing.bytes / 8; /* each takes more than 8 bytes */
    c.good = c.good && items <= most;
    if (c.good) SG_TRY(SG_NEW(&file->item, items));
    for (uint64_t i = 0; c.good && i < items; i++) {
        file->item[i] = take_item(&c, file->foreign);
        file->items += c.good;
    }
    uint64_t attributes = take_number(&c);
    c.good = c.good && attributes <= most;
    if (c.good) SG_TRY(SG_NEW(&file->attribute, attributes));
    for (uint64_t i = 0; c.good && i < attributes; i++) {
        file->attribute[i] = take_attribute(&c);
        file->attributes += c.good;
    }
    SG_CHECK(c.good && c.at == c.end, SG_DATA, "%s: the list of what is in it makes no sense", file->path);
    return SG_OK;
}

int sg_h5_share_listing(sg_h5_file *file, int status) {
    if (status == SG_OK && file->listing.status != SG_OK) status = file->listing.status;
    if (file->comm != NULL) {
        SG_TRY(sg_comm_agree(file->comm, status));
        uint64_t bytes = file->listing.bytes;
        SG_TRY(sg_comm_broadcast(file->comm, &bytes, sizeof bytes, 0));
        if (sg_comm_rank(file->comm) != 0 && (status = SG_AT(SG_NEW(&file->listing.byte, bytes))) == SG_OK)
            file->listing.bytes = file->listing.room = (size_t)bytes;
        SG_TRY(sg_comm_agree(file->comm, status));
        SG_TRY(sg_comm_broadcast(file->comm, file->listing.byte, (size_t)bytes, 0));
        return SG_AT(sg_comm_agree(file->comm, SG_AT(parse(file))));
    }
    return status != SG_OK ? status : SG_AT(parse(file));
}
