#!/bin/bash
# The same digest on any number of ranks, ranks per stage and threads.
. "$(dirname "$0")/../testing.sh"
write_tiny
sg 0 run "$work/tiny.cfg" --out "$work/reference"
expect_code "ranks: one rank finishes" 0
reference=$(digest_of "$work/reference")

check() { # RANKS RANKS_PER_STAGE THREADS [OPTION...]
    local dir=$work/$1-$2-$3
    sg "$1" run "$work/tiny.cfg" --out "$dir" --set "run.ranks_per_stage=$2" --set "run.threads=$3" "${@:4}"
    if [ "$code" != 0 ]; then not_ok "ranks: $1 ranks, $2 per stage, $3 threads" "exit code $code" show
    else expect_equal "ranks: $1 ranks, $2 per stage, $3 threads" "$(digest_of "$dir")" "$reference"; fi
}
check 1 1 2
check 2 1 1
check 2 2 1
check 3 2 1
check 4 1 1
check 4 2 1
check 4 4 1
check 2 2 2
check 2 0 0
check 8 1 1

# Eight blocks of 16 samples, for eight ranks on one network; four of 32.
wide=(--set train.batch=128)
sg 0 run "$work/tiny.cfg" --out "$work/wide" "${wide[@]}"
expect_code "ranks: one rank finishes with larger minibatches" 0
tiny_reference=$reference
reference=$(digest_of "$work/wide")
check 8 8 1 "${wide[@]}"
check 2 1 4 "${wide[@]}"
reference=$tiny_reference

# The results do depend on what is computed: a digest that never changes would pass all of the above.
sg 0 run "$work/tiny.cfg" --out "$work/other" --set search.seeds=5
if [ "$(digest_of "$work/other")" != "$reference" ]; then ok "ranks: another seed has another digest"
else not_ok "ranks: another seed has another digest" "it is the same"; fi
finish
