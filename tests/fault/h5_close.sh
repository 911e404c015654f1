#!/bin/sh
# tests/fault/h5_close.sh TEST_H5: when libhdf5 cannot close a file on one rank, the job ends with 74 (I/O), says why, and
# neither hangs nor publishes the file.
set -u
test_h5=$1
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
timeout 60 "$here/../mpirun.sh" 2 "$test_h5" close-fails "$folder/a.h5" >"$folder/output" 2>&1
code=$?
fail() {
    echo "tests/fault/h5_close.sh: $1" >&2
    cat "$folder/output" >&2
    exit 1
}
[ "$code" = 74 ] || fail "exit code $code, expected 74"
grep -q 'cannot be closed: is the disk full?' "$folder/output" || fail "the reason is not printed"
[ ! -e "$folder/a.h5" ] || fail "the file was published"
