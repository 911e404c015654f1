#!/bin/bash
# What `signet doctor` says of a good directory and of bad ones.
. "$(dirname "$0")/../testing.sh"
dir=$work/run

# says NAME PATTERN: the last output has a line that matches.
says() { expect "doctor: $1" "no line matches \`$2\` in: $(cat "$work/out" "$work/err")" grep -q "$2" "$work/out"; }
leaves_nothing() { expect_equal "doctor: $1 leaves nothing behind" "$(ls -A "$dir")" ""; }

mkdir "$dir"
OMP_NUM_THREADS=1 sg 0 doctor --out "$dir"
problems=$(grep -c '^PROBLEM ' "$work/out")
expect_code "doctor: the exit code tells of problems, here $problems" $((problems > 0))
for check in mpi hdf5 blis threads openmp denormals cores "shared memory" directory "file system" disk sharing \
    "parallel file"; do
    says "checks $check" "^\(ok\|note\|PROBLEM\)  *$check: "
done
if [ "$(uname -m)" = x86_64 ]; then says "denormals are flushed" '^ok  *denormals: flushed to zero in every thread'; fi
expect_equal "doctor: every line is a verdict" "$(grep -v '^\(ok \|note\|PROBLEM\) ' "$work/out" | head -n 1)" ""
leaves_nothing "one rank"

sg 2 doctor --out "$dir"
says "two ranks write one file" '^ok  *parallel file: 2 ranks wrote one file together'
says "two ranks see each other's memory" '^ok  *gradients: '
leaves_nothing "two ranks"

# fails NAME PATTERN DIR
fails() {
    sg 0 doctor --out "$3"
    expect_code "doctor: $1 is a problem" 1
    says "$1 is named" "$2"
}
fails "a missing directory" '^PROBLEM  *directory: .*No such file or directory; create it' "$work/absent"
: >"$work/file"
fails "a file in its place" '^PROBLEM  *directory: .*is not a directory' "$work/file"
locked=/proc
if [ "$(id -u)" != 0 ]; then
    locked=$work/locked
    mkdir "$locked" && chmod a-w "$locked"
fi
fails "a directory that cannot be written" '^PROBLEM  *directory: ' "$locked"

BLIS_NUM_THREADS=4 sg 0 doctor --out "$dir"
says "threads of BLIS" '^note  *threads: BLIS_NUM_THREADS=4 has no effect'
if [ "$(nproc)" -gt 1 ]; then
    OMP_THREAD_LIMIT=1 sg 0 doctor --out "$dir"
    says "a limit of threads" '^PROBLEM  *openmp: 1 of [0-9]* threads start; raise or unset OMP_THREAD_LIMIT'
    taskset -c 0 "$signet" doctor --out "$dir" >"$work/out" 2>"$work/err"
    says "idle cores" '^note  *cores: .* cores do nothing'
fi
finish
