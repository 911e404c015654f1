#!/bin/bash
# What `signet bench` prints. No speed is asserted.
. "$(dirname "$0")/../testing.sh"
export LIMIT=300

# has_keys NAME FILE KEY...: every line is a JSON object that has all the keys.
has_keys() {
    local name=$1 file=$2 key lines with
    shift 2
    [ -s "$file" ] || { not_ok "$name" "nothing was printed"; return; }
    for key; do
        lines=$(wc -l <"$file") with=$(grep -c "\"$key\":" "$file")
        [ "$lines" = "$with" ] || { not_ok "$name" "$with of $lines lines have the key $key"; return; }
    done
    while IFS= read -r line; do
        printf '%s\n' "$line" | "$python" -m json.tool >/dev/null 2>&1 || { not_ok "$name" "not JSON: $line"; return; }
    done <"$file"
    ok "$name"
}

train_keys=(net batch density ranks threads isa images_per_s gflops roofline_share bytes_sent sum_hidden)
sg 0 bench train --arch lenet --batch 32 --density 0.1 --steps 2 --threads 1 --json
expect_code "bench: a training" 0
has_keys "bench: a training's JSON" "$work/out" "${train_keys[@]}"

# Two blocks of samples, of 16 or 32.
sg 2 bench train --arch lenet --batch 64 --steps 2 --threads 1 --json
expect_code "bench: a training on two ranks" 0
has_keys "bench: its JSON" "$work/out" "${train_keys[@]}"
expect_text "bench: it has two ranks" "$work/out" '"ranks":2,'
expect "bench: they share the gradient" "nothing is sent: $(cat "$work/out")" [ "$(grep -c '"bytes_sent":[1-9]' "$work/out")" = 1 ]

sg 0 bench --arch resnet20 --batch 16 --density 0.05 --steps 1 --threads 1 --json
expect_code "bench: a network's layers" 0
grep '"record":"pass"' "$work/out" >"$work/passes"
has_keys "bench: their JSON" "$work/passes" layer kind pass algorithm ms gflops gflops_direct gb_per_s roofline_share
for pass in forward data_gradient weight_gradient; do
    grep "\"pass\":\"$pass\"" "$work/passes" >"$work/pass"
    expect_text "bench: at density 0.05 some layer's $pass is sparse" "$work/pass" '"algorithm":"sparse"'
done
expect "bench: the machine's peak" "no line has it" grep -q '"record":"machine".*"fma_gflops_core":' "$work/out"

# refuses NAME CODE MESSAGE ARGUMENT...
refuses() {
    sg 0 bench "${@:4}"
    expect_code "bench: $1" "$2"
    expect_text "bench: $1 is named" "$work/err" "$3"
}
refuses "an unknown benchmark" 64 "\`tain\` cannot be measured" tain
refuses "a density above one" 64 "--density takes a share from 0 to 1, got 1.5" --density 1.5
refuses "a batch of zero" 64 "--batch takes an integer from 1 to" train --batch 0
refuses "an unknown network" 78 "resnet20" --arch resnet21
refuses "an unknown instruction set" 78 "is not known" --isa avx1024
finish
