#!/bin/sh
# tests/integration/doctor.sh [SIGNET]: what `signet doctor` says of a good directory and of bad ones.
set -u
cd "$(dirname "$0")/../.." || exit 1
signet=$(realpath "${1:-build/signet}")
scratch=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
failed=0

ok() { echo "ok $1"; }
not_ok() {
    echo "not ok $1: $2"
    failed=1
}

# says NAME PATTERN: the last output has a line that matches.
says() {
    if grep -q "$2" "$scratch/out"; then
        ok "$1"
    else
        not_ok "$1" "no line matches \`$2\` in: $(cat "$scratch/out" "$scratch/error")"
    fi
}

mkdir "$scratch/run"
OMP_NUM_THREADS=1 "$signet" doctor --out "$scratch/run" > "$scratch/out" 2> "$scratch/error"
code=$?
problems=$(grep -c '^PROBLEM ' "$scratch/out")
if [ "$code" = "$((problems > 0))" ]; then
    ok exit_code_tells_of_problems
else
    not_ok exit_code_tells_of_problems "exit code $code with $problems problems"
fi
for check in mpi hdf5 blis threads openmp denormals cores "shared memory" directory "file system" disk sharing \
    "parallel file"; do
    says "checks_$(echo "$check" | tr ' ' '_')" "^\(ok\|note\|PROBLEM\)  *$check: "
done
if [ "$(uname -m)" = x86_64 ]; then says denormals_are_flushed '^ok  *denormals: flushed to zero in every thread'; fi
if grep -qv '^\(ok \|note\|PROBLEM\) ' "$scratch/out"; then
    not_ok every_line_is_a_verdict "$(grep -v '^\(ok \|note\|PROBLEM\) ' "$scratch/out" | head -n 1)"
else
    ok every_line_is_a_verdict
fi
if [ -z "$(ls -A "$scratch/run")" ]; then
    ok leaves_nothing_behind
else
    not_ok leaves_nothing_behind "$(ls -A "$scratch/run")"
fi

tests/mpirun.sh 2 "$signet" doctor --out "$scratch/run" > "$scratch/out" 2> "$scratch/error"
says two_ranks_write_one_file '^ok  *parallel file: 2 ranks wrote one file together'
says two_ranks_see_each_others_memory '^ok  *gradients: '
if [ -z "$(ls -A "$scratch/run")" ]; then
    ok two_ranks_leave_nothing_behind
else
    not_ok two_ranks_leave_nothing_behind "$(ls -A "$scratch/run")"
fi

# fails NAME PATTERN DIR
fails() {
    "$signet" doctor --out "$3" > "$scratch/out" 2> "$scratch/error"
    code=$?
    if [ $code = 1 ]; then says "$1" "$2"; else not_ok "$1" "expected exit code 1, got $code"; fi
}
fails missing_directory '^PROBLEM  *directory: .*No such file or directory; create it' "$scratch/absent"
: > "$scratch/file"
fails file_for_directory '^PROBLEM  *directory: .*is not a directory' "$scratch/file"
if [ "$(id -u)" != 0 ]; then
    mkdir "$scratch/locked" && chmod a-w "$scratch/locked"
    fails unwritable_directory '^PROBLEM  *directory: ' "$scratch/locked"
else
    fails unwritable_directory '^PROBLEM  *directory: ' /proc
fi

BLIS_NUM_THREADS=4 "$signet" doctor --out "$scratch/run" > "$scratch/out" 2> "$scratch/error"
says threads_of_blis '^note  *threads: BLIS_NUM_THREADS=4 has no effect'
OMP_THREAD_LIMIT=1 "$signet" doctor --out "$scratch/run" > "$scratch/out" 2> "$scratch/error"
if [ "$(nproc)" -gt 1 ]; then
    says thread_limit '^PROBLEM  *openmp: 1 of [0-9]* threads start; raise or unset OMP_THREAD_LIMIT'
fi
if [ "$(nproc)" -gt 1 ]; then
    taskset -c 0 "$signet" doctor --out "$scratch/run" > "$scratch/out" 2> "$scratch/error"
    says idle_cores '^note  *cores: .* cores do nothing'
fi

exit $failed
