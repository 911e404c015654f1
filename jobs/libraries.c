/* What jobs/check_libraries.sh compiles: a program that needs every library and prints its version.
 * WITH_<NAME> chooses one; without any, all. */
#if !defined WITH_MPI && !defined WITH_HDF5 && !defined WITH_BLIS && !defined WITH_LIBCONFIG &&              \
    !defined WITH_RANDOM123 && !defined WITH_JPEG && !defined WITH_PNG && !defined WITH_ZLIB &&              \
    !defined WITH_XXHASH
#define WITH_MPI
#define WITH_HDF5
#define WITH_BLIS
#define WITH_LIBCONFIG
#define WITH_RANDOM123
#define WITH_JPEG
#define WITH_PNG
#define WITH_ZLIB
#define WITH_XXHASH
#endif

#include <stdio.h>
#include <string.h>

#ifdef WITH_MPI
#include <mpi.h>
#endif
#ifdef WITH_HDF5
#include <hdf5.h>
#ifndef H5_HAVE_PARALLEL
#error "this HDF5 was built without MPI"
#endif
#endif
#ifdef WITH_BLIS
#include <blis.h>
#endif
#ifdef WITH_LIBCONFIG
#include <libconfig.h>
#endif
#ifdef WITH_RANDOM123
#include <Random123/philox.h>
#endif
#ifdef WITH_JPEG
#include <jpeglib.h>
#endif
#ifdef WITH_PNG
#include <png.h>
#endif
#ifdef WITH_ZLIB
#include <zlib.h>
#endif
#ifdef WITH_XXHASH
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#endif

int main(void) {
#ifdef WITH_MPI
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, "\n,")] = '\0';
    printf("MPI        %s\n", mpi);
#endif
#ifdef WITH_HDF5
    unsigned major, minor, release;
    H5get_libversion(&major, &minor, &release);
    /* Named, so that a library without MPI fails to link; a call would need MPI_Init. */
    herr_t (*volatile parallel)(hid_t, MPI_Comm, MPI_Info) = H5Pset_fapl_mpio;
    printf("HDF5       %u.%u.%u%s\n", major, minor, release, parallel != NULL ? ", parallel" : "");
#endif
#ifdef WITH_BLIS
    printf("BLIS       %s, kernels for %s here\n", bli_info_get_version_str(),
           bli_arch_string(bli_arch_query_id()));
#endif
#ifdef WITH_LIBCONFIG
    config_t config;
    config_init(&config);
    config_destroy(&config);
    printf("libconfig  %d.%d.%d\n", LIBCONFIG_VER_MAJOR, LIBCONFIG_VER_MINOR, LIBCONFIG_VER_REVISION);
#endif
#ifdef WITH_RANDOM123
    philox4x32_ctr_t counter = {{0}};
    philox4x32_key_t key = {{0}};
    counter = philox4x32(counter, key);
    printf("Random123  headers%s\n", counter.v[0] == 0x6627e8d5u ? "" : ", BUT WRONG NUMBERS");
#endif
#ifdef WITH_JPEG
    struct jpeg_error_mgr errors;
    jpeg_std_error(&errors);
    printf("libjpeg    API %d\n", JPEG_LIB_VERSION);
#endif
#ifdef WITH_PNG
    printf("libpng     %s\n", png_get_libpng_ver(NULL));
#endif
#ifdef WITH_ZLIB
    printf("zlib       %s\n", zlibVersion());
#endif
#ifdef WITH_XXHASH
    printf("xxHash     %u%s\n", XXH_versionNumber(), XXH3_64bits("", 0) != 0 ? "" : "?");
#endif
    return 0;
}
