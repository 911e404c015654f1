#!/bin/sh
# tests/run.sh KIND...: runs the tests of these kinds, shows the output of what fails, and ends with a line
# "N passed, N failed" that counts every single test; exit code 1 when one failed or there was none.
#
#   unit         $BUILD/tests/unit/test_*: cmocka programs
#   mpi          $BUILD/tests/mpi/test_* under mpirun, each on 1, 2 and 4 ranks (MPI_RANKS="1 2 4")
#   fuzz         $BUILD/tests/fuzz/fuzz_* on the inputs of tests/fuzz/corpus
#   integration  tests/integration/*.sh
#   fault        tests/fault/*.sh
#   slurm        tests/slurm/*.sh
#   browser      tests/browser/*.sh
#
# A test is a line "ok NAME", "ok N - NAME" or "not ok NAME: why" on standard output; "ok NAME # SKIP why" counts as
# skipped. A program that crashes, takes too long (TEST_TIMEOUT seconds) or ends with an error but names no failed test
# counts as one more failure; so does one without tests. TEST_JOBS programs run at a time: by default as many as there are
# cores, but 4 at most. CHECKER is a command that unit tests run under, such as valgrind; SIGNET_TEST_BRIEF makes slow ones
# smaller, for which they look themselves. Only sources that are there are run, not what an earlier build left behind.
set -u
cd "$(dirname "$0")/.." || exit 70
: "${BUILD:=build}" "${SIGNET:=$PWD/$BUILD/signet}" "${MPI_RANKS:=1 2 4}" "${TEST_TIMEOUT:=600}"
cores=$(nproc)
: "${TEST_JOBS:=$((cores < 4 ? cores : 4))}"
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
export BUILD SIGNET TEST_TIMEOUT CMOCKA_MESSAGE_OUTPUT=TAP OMP_WAIT_POLICY=passive

# tell PASSED FAILED SKIPPED: what one program counted, and what is to be shown of it, from standard input.
tell() {
    {
        flock 9
        echo "$1 $2 $3" >&9
        cat
    } 9>>"$TEST_COUNTS"
}

# run NAME COMMAND...
run() {
    name=$1
    shift
    output=$(mktemp) || exit 73
    trap 'rm -f "$output" "$output.err"' EXIT
    trap 'exit 130' INT TERM
    start=$(date +%s)
    timeout -k 10 "$TEST_TIMEOUT" "$@" >"$output" 2>"$output.err" </dev/null
    code=$?
    seconds=$(($(date +%s) - start))
    # cmocka writes "not ok N # SKIP NAME" for a test that does not apply.
    skip=$(grep -cE '^[[:space:]]*(not )?ok .*# SKIP' "$output")
    good=$(grep -E '^[[:space:]]*ok ' "$output" | grep -cv '# SKIP')
    bad=$(grep -E '^[[:space:]]*not ok ' "$output" | grep -cv '# SKIP')
    planned=$(sed -nE 's/^1\.\.([0-9]+)$/\1/p' "$output" | awk '{ n += $1 } END { print n + 0 }')
    why=
    if [ "$code" = 124 ] || { [ "$code" = 137 ] && [ "$seconds" -ge "$TEST_TIMEOUT" ]; }; then
        why="took longer than $TEST_TIMEOUT s"
    elif [ "$code" != 0 ] && [ "$bad" = 0 ]; then
        why="exit code $code"
    elif [ "$code" = 0 ] && [ "$bad" != 0 ]; then
        why="exit code 0 in spite of failed tests"
    elif [ $((good + bad + skip)) -lt "$planned" ]; then
        why="ended after $((good + bad + skip)) of $planned tests, exit code $code"
    elif [ $((good + bad)) = 0 ] && [ "$skip" = 0 ]; then
        why="ran no test"
    fi
    if [ -n "$why" ]; then bad=$((bad + 1)); fi
    if [ $((good + bad)) = 0 ]; then
        printf 'skipped %-43s %s\n' "$name" "$(sed -n 's/.*\(# SKIP.*\)/\1/p' "$output" | head -n 1)"
    elif [ "$bad" = 0 ]; then
        printf 'ok     %-44s %3d tests %4d s\n' "$name" "$good" "$seconds"
    else
        printf 'FAILED %-44s %3d passed, %d failed%s\n' "$name" "$good" "$bad" "${why:+: $why}"
        sed 's/^/    | /' "$output" "$output.err" | tail -n 200
    fi | tell "$good" "$bad" "$skip"
}

# The program of a line of `list`.
run_line() {
    case $1 in
    unit\ *)
        # What MPI's plugins keep has no name any more once they are unloaded: no leaks are looked for there.
        leaks=1
        if grep -q MPI_Init "$2.c"; then leaks=0; fi
        # shellcheck disable=SC2086 # a command is a list of words
        run "$2" env ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=$leaks" ${CHECKER:-} "$BUILD/$2"
        ;;
    mpi\ *) run "$2 on $3" jobs/mpirun.sh "$3" "$BUILD/$2" ;;
    fuzz\ *) run "$2" "$BUILD/$2" tests/fuzz/corpus/"${2##*/fuzz_}"/* ;;
    script\ *) run "$2" "$2.sh" ;;
    esac
}

# programs KIND SOURCE...: those that are built.
programs() {
    kind=$1
    shift
    for source in "$@"; do
        program=${source%.c}
        if [ ! -x "$BUILD/$program" ]; then
            echo "FAILED $program: is not built" | tell 0 1 0 >&2
        elif [ "$kind" = mpi ]; then
            for ranks in $MPI_RANKS; do echo "mpi $program $ranks"; done
        else
            echo "$kind $program"
        fi
    done
}

scripts() {
    for script in "$@"; do
        case ${script##*/} in _*) continue ;; esac # shared parts, sourced by the others
        if [ -x "$script" ]; then
            echo "script ${script%.sh}"
        elif [ -e "$script" ]; then
            echo "FAILED $script: is not executable (chmod +x)" | tell 0 1 0 >&2
        fi
    done
}

# What is to be run, a program a line: "unit PROGRAM", "mpi PROGRAM RANKS", "fuzz PROGRAM" or "script NAME".
list() {
    for kind in "$@"; do
        case $kind in
        unit | mpi) programs "$kind" tests/"$kind"/test_*.c ;;
        fuzz) programs fuzz tests/fuzz/fuzz_*.c ;;
        integration | fault | slurm | browser) scripts tests/"$kind"/*.sh ;;
        esac
    done
}

if [ "${1:-}" = --line ]; then # from xargs below
    # shellcheck disable=SC2086 # a line is a list of words
    run_line "$2" ${2#* }
    exit
fi
for kind in "$@"; do
    case $kind in
    unit | mpi | fuzz | integration | fault | slurm | browser) ;;
    *)
        echo "tests/run.sh: no kind $kind: unit, mpi, integration, fault, fuzz, slurm, browser" >&2
        exit 64
        ;;
    esac
done
TEST_COUNTS=$(mktemp) || exit 73
export TEST_COUNTS
trap 'rm -f "$TEST_COUNTS"' EXIT
trap 'exit 130' INT TERM
list "$@" | xargs -r -d '\n' -n 1 -P "$TEST_JOBS" tests/run.sh --line
status=$?
# shellcheck disable=SC2046 # three numbers
set -- $(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$TEST_COUNTS")
passed=$1 failed=$2 skipped=$3
if [ "$status" != 0 ]; then
    echo "tests/run.sh: a program could not be started or counted (xargs: $status)" >&2
    failed=$((failed + 1))
fi
if [ "$skipped" != 0 ]; then echo "$skipped skipped"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
