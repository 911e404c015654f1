#!/bin/bash
# When libhdf5 cannot close a file on one rank, the job ends with 74 (I/O), says why, and neither hangs nor publishes the
# file.
. "$(dirname "$0")/../testing.sh"
timeout 60 "$here/mpirun.sh" 2 "${BUILD:-$here/../build}/tests/mpi/test_h5" close-fails "$work/a.h5" >"$work/out" 2>"$work/err"
code=$?
expect_code "h5_close: a failed close ends the job with 74" 74
cat "$work/out" "$work/err" >"$work/both"
expect_text "h5_close: a failed close says why" "$work/both" 'cannot be closed: is the disk full?'
expect "h5_close: a failed close publishes nothing" "a.h5 is there" [ ! -e "$work/a.h5" ]
finish
