#!/bin/sh
# jobs/check_libraries.sh [--paths]: compiles and runs jobs/libraries.c with CC, CFLAGS and LIBS from the environment, as
# `make` finds them, and prints what is there. When something is missing, names it and the remedy, and exits with 1.
set -u
here=$(dirname "$0")
folder=$(mktemp -d) || exit 73
trap 'rm -rf "$folder"' EXIT
: "${CC:=mpicc}" "${CFLAGS:=}" "${LIBS:=}"

# shellcheck disable=SC2086 # flags are lists of words
compile() { $CC -std=gnu11 $CFLAGS "$@" "$here/libraries.c" -o "$folder/libraries" $LIBS >"$folder/messages" 2>&1; }

if ! command -v "${CC%% *}" >/dev/null 2>&1; then
    echo "signet: the MPI compiler ${CC%% *} is missing." >&2
    echo "\`make setup\` installs what is missing, or says how; CC=... names another compiler." >&2
    exit 1
fi
if ! compile; then
    cp "$folder/messages" "$folder/all"
    missing=
    for library in MPI HDF5 BLIS LIBCONFIG RANDOM123 JPEG PNG ZLIB XXHASH; do
        extra=
        if [ "$library" = HDF5 ]; then extra=-DWITH_MPI; fi
        # Linked against what this one needs alone, because one missing library fails every link.
        libs=$LIBS
        case $library in
        MPI) LIBS= ;;
        HDF5) LIBS=${HDF5_LIBS-$LIBS} ;;
        BLIS) LIBS="${BLIS_LIBS-$LIBS} -lm -lpthread" ;;
        RANDOM123) LIBS= ;;
        LIBCONFIG) LIBS=${LIBCONFIG_LIBS-$LIBS} ;;
        JPEG) LIBS=${JPEG_LIBS-$LIBS} ;;
        PNG) LIBS=${PNG_LIBS-$LIBS} ;;
        ZLIB) LIBS=${ZLIB_LIBS-$LIBS} ;;
        XXHASH) LIBS=${XXHASH_LIBS-$LIBS} ;;
        esac
        # shellcheck disable=SC2086 # at most one word
        if ! compile "-DWITH_$library" $extra; then
            missing="$missing $library"
            if grep -q 'built without MPI' "$folder/messages"; then missing="$missing(built_without_MPI)"; fi
        fi
        LIBS=$libs
    done
    if [ -n "$missing" ]; then
        echo "signet: missing or unusable:$missing" >&2
    else
        cat "$folder/all" >&2
        echo "signet: the libraries work one by one but not together (above)" >&2
    fi
    echo "\`make setup\` installs what is missing, or says how; <NAME>_ROOT=DIR names where a library is." >&2
    exit 1
fi
if ! "$folder/libraries" >"$folder/versions" 2>"$folder/messages"; then
    cat "$folder/messages" >&2
    echo "signet: a program with these libraries links but does not run; is LD_LIBRARY_PATH right?" >&2
    exit 1
fi
echo "compiler   $($CC --version | head -n 1)"
cat "$folder/versions"
if [ "${1:-}" = --paths ] && command -v ldd >/dev/null; then
    ldd "$folder/libraries" | sed -n 's/^[[:space:]]*\(lib\(mpi\|hdf5[^.]*\|blis\|config\|jpeg\|png[0-9]*\|z\|xxhash\)\.so[^ ]*\) => \([^ ]*\).*/\1 \3/p' |
        while read -r name path; do printf '%-24s %s\n' "$name" "$path"; done
fi
