#!/bin/bash
# A rank that runs out of memory while the others wait for it in a sum ends the job: within 30 s, with its code and reason.
. "$(dirname "$0")/../testing.sh"
program=${BUILD:-$here/../build}/tests/mpi/test_comm
started=$SECONDS
timeout 60 "$here/mpirun.sh" 2 "$program" fails-alone >"$work/out" 2>"$work/err"
code=$?
expect_code "alone: a rank that fails alone ends the job with its code" 71
expect_text "alone: it says why" "$work/err" "out of memory: nothing is left"
if [ $((SECONDS - started)) -le 30 ]; then ok "alone: within 30 s"
else not_ok "alone: within 30 s" "it took $((SECONDS - started)) s" show; fi
finish
