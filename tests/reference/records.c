#include "tests/reference/records.h"

#include <errno.h>
#include <string.h>

#include "kernels/memory.h"

enum { RECORDS_MAX = 4096 };

/* One array; *more becomes false at the end of the file. */
static int read_record(FILE *file, const char *path, sg_record *record, bool *more) {
    char line[sizeof record->name + 32];
    *more = fgets(line, sizeof line, file) != NULL;
    if (!*more) return SG_OK;
    char end = '\0';
    int fields = sscanf(line, "%127s %zu%c", record->name, &record->count, &end);
    SG_CHECK(fields == 3 && end == '\n', SG_DATA, "%s: expected \"name count\", got \"%.60s\"", path, line);
    SG_TRY(SG_NEW(&record->values, record->count));
    SG_CHECK(fread(record->values, sizeof(double), record->count, file) == record->count, SG_DATA,
             "%s: ends inside of %s", path, record->name);
    return SG_OK;
}

int sg_records_read(sg_records **records, const char *path) {
    *records = NULL;
    FILE *file = fopen(path, "rb");
    SG_CHECK(file != NULL, SG_NOINPUT, "cannot read %s: %s", path, strerror(errno));
    sg_records *made = NULL;
    int status = SG_AT(SG_NEW(&made, 1));
    if (status == SG_OK) status = SG_AT(SG_NEW(&made->record, RECORDS_MAX));
    for (bool more = true; status == SG_OK && more;) {
        if (made->count == RECORDS_MAX) {
            status = SG_FAIL(SG_DATA, "%s: more than %d arrays", path, RECORDS_MAX);
            break;
        }
        status = SG_AT(read_record(file, path, &made->record[made->count], &more));
        if (more) made->count++; /* also a half read one: its values are freed with the others */
    }
    fclose(file);
    if (status != SG_OK) sg_records_destroy(&made);
    *records = made;
    return status;
}

void sg_records_destroy(sg_records **records) {
    if (records == NULL || *records == NULL) return;
    for (size_t r = 0; r < (*records)->count; r++) free((*records)->record[r].values);
    free((*records)->record);
    SG_FREE(*records);
}

static const sg_record *find(const sg_records *records, const char *name) {
    for (size_t r = 0; r < records->count; r++)
        if (strcmp(records->record[r].name, name) == 0) return &records->record[r];
    return NULL;
}

bool sg_records_has(const sg_records *records, const char *name) { return find(records, name) != NULL; }

int sg_records_find(const sg_records *records, const char *name, size_t count, const double **values) {
    const sg_record *record = find(records, name);
    SG_CHECK(record != NULL, SG_DATA, "the input has no array %s", name);
    SG_CHECK(record->count == count, SG_DATA, "%s has %zu values, expected %zu", name, record->count, count);
    *values = record->values;
    return SG_OK;
}

int sg_records_write(FILE *file, const char *prefix, const char *name, size_t count, const double *values) {
    bool written = fprintf(file, "%s%s %zu\n", prefix, name, count) > 0 &&
                   fwrite(values, sizeof *values, count, file) == count;
    SG_CHECK(written, SG_IO, "cannot write %s%s: %s", prefix, name, strerror(errno));
    return SG_OK;
}
