#!/bin/sh
# tests/fuzz/run.sh BUILD SECONDS [HARNESS]...: runs each harness, or those named (config, image ...), with libFuzzer,
# from the corpus here. New inputs go to BUILD/corpus, findings to BUILD/findings; exit code 1 when there are any.
set -u
cd "$(dirname "$0")/../.." || exit 70
build=$1 seconds=$2
shift 2
if [ $# = 0 ]; then
    # shellcheck disable=SC2046 # names without spaces
    set -- $(ls tests/fuzz/fuzz_*.c | sed 's,.*/fuzz_\(.*\)\.c,\1,')
fi
export LSAN_OPTIONS="${LSAN_OPTIONS:-suppressions=$PWD/tests/leaks.supp:print_suppressions=0}"
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1}" OMP_NUM_THREADS=1
found=0
for name in "$@"; do
    mkdir -p "$build/corpus/$name" "$build/findings"
    # libconfig keeps what it allocated for a text that it rejects: looking for leaks each time would take all the time.
    leaks=1
    if [ "$name" = config ]; then leaks=0; fi
    if "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -malloc_limit_mb=2048 \
        -max_len=65536 -detect_leaks=$leaks -print_final_stats=1 -artifact_prefix="$build/findings/$name-" \
        "$build/corpus/$name" "tests/fuzz/corpus/$name" >"$build/fuzz_$name.log" 2>&1; then
        echo "ok $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz_$name.log") inputs in $seconds s"
    else
        echo "not ok $name:"
        tail -n 60 "$build/fuzz_$name.log"
        found=1
    fi
done
exit $found
