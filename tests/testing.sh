#!/bin/bash
# For the shell tests of the program (source it): a temporary directory $work, runs with a time limit, and lines of
# `ok NAME` and `not ok NAME: why`. End a test with `finish`.
# shellcheck shell=bash
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
signet=${SIGNET:-$here/../build/signet}
python=${PYTHON:-/usr/bin/python3}
# Ranks that wait give way to whatever else the machine runs (Open MPI; others ignore it).
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
unset SLURM_JOB_ID
work=$(mktemp -d "${TMPDIR:-/tmp}/signet-test.XXXXXX")
failures=0
job=
[ -x "$signet" ] || { echo "not ok $0: $signet is not there; run make first"; exit 1; }

clean() {
    if [ -n "$job" ]; then kill_job; fi
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

ok() { echo "ok $1"; }
not_ok() {
    echo "not ok $1: $2"
    failures=$((failures + 1))
    if [ "${3:-}" = show ]; then sed 's/^/    /' "$work/out" "$work/err" | tail -n 40; fi
}

# sg RANKS ARGUMENT...: runs signet; RANKS 0 is without mpirun. Leaves $code, $work/out and $work/err.
sg() {
    local ranks=$1
    shift
    if [ "$ranks" = 0 ]; then timeout -k 5 "${LIMIT:-120}" "$signet" "$@" >"$work/out" 2>"$work/err"
    else timeout -k 5 "${LIMIT:-120}" "$here/mpirun.sh" "$ranks" "$signet" "$@" >"$work/out" 2>"$work/err"; fi
    code=$?
}

# sg_start RANKS ARGUMENT...: the same in the background; $job is mpirun.
sg_start() {
    local ranks=$1
    shift
    "$here/mpirun.sh" "$ranks" "$signet" "$@" >"$work/out" 2>"$work/err" &
    job=$!
}

ranks_of_job() { pgrep -P "$job"; }

# The process of rank N.
rank_of_job() {
    local process
    for process in $(ranks_of_job); do
        if tr '\0' '\n' <"/proc/$process/environ" | grep -qxE "(OMPI_COMM_WORLD_RANK|PMI_RANK)=$1"; then echo "$process"; fi
    done
}

# Waits for the job, at most LIMIT seconds; leaves $code (124: it hung and was killed).
sg_wait() {
    local deadline=$((SECONDS + ${LIMIT:-120}))
    while kill -0 "$job" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.05; done
    if kill -0 "$job" 2>/dev/null; then
        kill_job
        code=124
        return
    fi
    wait "$job" 2>/dev/null
    code=$?
    job=
}

# SIGKILL to every rank and to mpirun, as the out-of-memory killer and a power cut do.
kill_job() {
    local ranks
    ranks=$(ranks_of_job)
    # shellcheck disable=SC2086 # a list of numbers
    kill -KILL $ranks "$job" 2>/dev/null
    wait "$job" 2>/dev/null
    job=
}

# wait_for SECONDS COMMAND...: until the command holds, while the job runs.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$job" 2>/dev/null; then return 1; fi
        sleep 0.02
    done
}

count_files() { find "$1" -name "$2" 2>/dev/null | wc -l; }
has_files() { [ "$(count_files "$1" "$2")" -ge "$3" ]; } # DIR PATTERN NUMBER

expect_code() { # NAME EXPECTED
    if [ "$code" = "$2" ]; then ok "$1"; else not_ok "$1" "exit code $code, expected $2" show; fi
}
expect_text() { # NAME FILE FIXED-STRING
    if grep -qF -- "$3" "$2"; then ok "$1"; else not_ok "$1" "no \"$3\" in $(basename "$2")" show; fi
}
expect_equal() { # NAME CAME EXPECTED
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "$2, expected $3"; fi
}

expect() { # NAME WHY-NOT COMMAND...
    if "${@:3}"; then ok "$1"; else not_ok "$1" "$2"; fi
}

# Never the same twice when there is none.
digest_of() { "$signet" inspect "$1" --digest 2>/dev/null || echo "none, $RANDOM$RANDOM"; }

flip_byte() { # FILE OFFSET: inverts one byte
    "$python" -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1)[0]; f.seek(int(sys.argv[2])); f.write(bytes([b ^ 255]))' "$1" "$2"
}

finish() { exit $((failures > 0)); }

# A small search: tiny.cfg in $work. The last minibatches are incomplete, and so is the last block.
write_tiny() {
    cat >"$work/tiny.cfg" <<'END'
net = { arch = "resnet20"; classes = 10; width = 4; };
data = { kind = "shapes"; train_limit = 250; test_limit = 100; };
train = { lr = 0.1; batch = 64; };
search = { methods = ("aws"); seeds = (1); warmup_epochs = 1; rounds = 2; round_epochs = 1; prune_fraction = 0.4; };
transfer = { modes = ("signed", "retrain"); seeds = (2); rounds = (2); noise_orders = 1; epochs = 2; };
connect = { points = 3; pairs = ("signed-retrain", "sgd-noise"); };
run = { threads = 1; };
END
}
