#include "pipeline/h5_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [SG_H5_F32] = {"float32", 4}, [SG_H5_F64] = {"float64", 8},  [SG_H5_U8] = {"uint8", 1},
    [SG_H5_I8] = {"int8", 1},     [SG_H5_I32] = {"int32", 4},    [SG_H5_I64] = {"int64", 8},
    [SG_H5_U64] = {"uint64", 8},  [SG_H5_STRINGS] = {"text", 0},
};

const char *sg_h5_type_name(enum sg_h5_type type) { return types[type].name; }
size_t sg_h5_type_size(enum sg_h5_type type) { return types[type].size; }

int sg_h5_prepare(void) {
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    SG_CHECK(H5open() >= 0, SG_INTERNAL, "libhdf5 cannot be initialised; `signet doctor` checks it");
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    return SG_OK;
}

hid_t sg_h5_memory_type(enum sg_h5_type type) {
    switch (type) {
    case SG_H5_F32:
        return H5T_NATIVE_FLOAT;
    case SG_H5_F64:
        return H5T_NATIVE_DOUBLE;
    case SG_H5_U8:
        return H5T_NATIVE_UINT8;
    case SG_H5_I8:
        return H5T_NATIVE_INT8;
    case SG_H5_I32:
        return H5T_NATIVE_INT32;
    case SG_H5_I64:
        return H5T_NATIVE_INT64;
    case SG_H5_U64:
        return H5T_NATIVE_UINT64;
    case SG_H5_STRINGS:
        break;
    }
    return H5I_INVALID_HID;
}

int sg_h5_type_of(hid_t stored, size_t *width) {
    *width = H5Tget_size(stored);
    if (H5Tget_class(stored) == H5T_STRING) return H5Tis_variable_str(stored) > 0 ? -1 : SG_H5_STRINGS;
    /* Either byte order: libhdf5 converts. */
    const struct {
        enum sg_h5_type type;
        hid_t little, big;
    } known[] = {
        {SG_H5_F32, H5T_IEEE_F32LE, H5T_IEEE_F32BE}, {SG_H5_F64, H5T_IEEE_F64LE, H5T_IEEE_F64BE},
        {SG_H5_U8, H5T_STD_U8LE, H5T_STD_U8BE},      {SG_H5_I8, H5T_STD_I8LE, H5T_STD_I8BE},
        {SG_H5_I32, H5T_STD_I32LE, H5T_STD_I32BE},   {SG_H5_I64, H5T_STD_I64LE, H5T_STD_I64BE},
        {SG_H5_U64, H5T_STD_U64LE, H5T_STD_U64BE},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (H5Tequal(stored, known[i].little) > 0 || H5Tequal(stored, known[i].big) > 0)
            return (int)known[i].type;
    return -1;
}

static herr_t keep_innermost(unsigned depth, const H5E_error2_t *error, void *context) {
    char *reason = context;
    if (depth == 0) snprintf(reason, 256, "%s", error->desc == NULL ? "" : error->desc);
    return 0;
}

int sg_h5_error(int code, const char *path, const char *what) {
    char reason[256] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, reason);
    return SG_FAIL(code, "%s: %s (libhdf5: %s)", path, what, reason[0] == '\0' ? "gives no reason" : reason);
}
