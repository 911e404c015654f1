#!/bin/sh
# When libhdf5 cannot close a file on one rank, the job ends with 74 (I/O), says why, and neither hangs nor publishes the
# file. tests/fault/h5_close.sh [TEST_H5]
set -u
test_h5=${1:-${BUILD:-build}/tests/mpi/test_h5}
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
timeout 60 "$here/../../jobs/mpirun.sh" 2 "$test_h5" close-fails "$folder/a.h5" >"$folder/output" 2>&1
code=$?
failed=0
check() {
    name=$1
    why=$2
    shift 2
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name: $why"
        failed=1
    fi
}
check "a failed close ends the job with 74" "exit code $code" [ "$code" = 74 ]
check "a failed close says why" "the reason is not printed" \
    grep -q 'cannot be closed: is the disk full?' "$folder/output"
check "a failed close publishes nothing" "a.h5 is there" [ ! -e "$folder/a.h5" ]
if [ "$failed" != 0 ]; then cat "$folder/output" >&2; fi
exit "$failed"
