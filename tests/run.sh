#!/bin/sh
# tests/run.sh KIND...: runs the tests of these kinds, shows the output of what fails, and ends with a line
# "N passed, N failed" that counts every single test; exit code 1 when one failed or none ran.
#
#   unit         $BUILD/tests/unit/test_*: cmocka programs
#   mpi          $BUILD/tests/mpi/test_* under mpirun, each on 1, 2 and 4 ranks (MPI_RANKS="1 2 4")
#   fuzz         $BUILD/tests/fuzz/fuzz_* on the inputs of tests/fuzz/corpus
#   integration  tests/integration/*.sh
#   fault        tests/fault/*.sh
#   slurm        tests/slurm/*.sh
#   browser      tests/browser/*.sh
#
# A test is a line "ok NAME", "ok N - NAME" or "not ok NAME: why" on standard output. A program that crashes, takes too long
# (TEST_TIMEOUT seconds) or ends with an error but names no failed test counts as one more failure; so does one without
# tests. CHECKER is a command that unit tests run under, such as valgrind; SIGNET_TEST_BRIEF makes slow ones smaller, for
# which they look themselves. Only sources that are there are run, not what an earlier build left behind.
set -u
cd "$(dirname "$0")/.." || exit 70
: "${BUILD:=build}" "${SIGNET:=$PWD/$BUILD/signet}" "${MPI_RANKS:=1 2 4}" "${TEST_TIMEOUT:=600}"
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
export BUILD SIGNET CMOCKA_MESSAGE_OUTPUT=TAP OMP_WAIT_POLICY=passive
output=$(mktemp) || exit 73
trap 'rm -f "$output" "$output.err"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0

# run NAME COMMAND...
run() {
    name=$1
    shift
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
    if [ "$code" = 124 ] || [ "$code" = 137 ]; then
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
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
    if [ "$bad" = 0 ]; then
        printf 'ok     %-44s %3d tests %4d s\n' "$name" "$good" "$seconds"
    else
        printf 'FAILED %-44s %3d passed, %d failed%s\n' "$name" "$good" "$bad" "${why:+: $why}"
        sed 's/^/    | /' "$output" "$output.err" | tail -n 200
    fi
}

missing() {
    printf 'FAILED %s: %s\n' "$1" "$2"
    failed=$((failed + 1))
}

unit() {
    for source in tests/unit/test_*.c; do
        name=${source%.c}
        # What MPI's plugins keep has no name any more once they are unloaded: no leaks are looked for there.
        leaks=1
        if grep -q MPI_Init "$source"; then leaks=0; fi
        if [ -x "$BUILD/$name" ]; then
            # shellcheck disable=SC2086 # a command is a list of words
            run "$name" env ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=$leaks" ${CHECKER:-} "$BUILD/$name"
        else
            missing "$name" "is not built"
        fi
    done
}

mpi() {
    for source in tests/mpi/test_*.c; do
        program=${source%.c}
        for ranks in $MPI_RANKS; do
            if [ -x "$BUILD/$program" ]; then
                run "$program on $ranks" jobs/mpirun.sh "$ranks" "$BUILD/$program"
            else
                missing "$program on $ranks" "is not built"
            fi
        done
    done
}

fuzz() {
    for source in tests/fuzz/fuzz_*.c; do
        name=${source%.c}
        if [ -x "$BUILD/$name" ]; then
            run "$name" "$BUILD/$name" tests/fuzz/corpus/"${name##*/fuzz_}"/*
        else
            missing "$name" "is not built"
        fi
    done
}

scripts() {
    for script in "tests/$1"/*.sh; do
        case ${script##*/} in _*) continue ;; esac # shared parts, sourced by the others
        if [ -x "$script" ]; then run "${script%.sh}" "$script"; fi
    done
}

for kind in "$@"; do
    case $kind in
    unit | mpi | fuzz) "$kind" ;;
    integration | fault | slurm | browser) scripts "$kind" ;;
    *)
        echo "tests/run.sh: no kind $kind: unit, mpi, integration, fault, fuzz, slurm, browser" >&2
        exit 64
        ;;
    esac
done
if [ "$skipped" != 0 ]; then echo "$skipped skipped"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
