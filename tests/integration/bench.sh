#!/bin/sh
# tests/integration/bench.sh [SIGNET]: what `signet bench` prints. No speed is asserted.
set -u
cd "$(dirname "$0")/../.." || exit 1
signet=${1:-build/signet}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
failed=0

ok() { echo "ok $1"; }
not_ok() {
    echo "not ok $1: $2"
    failed=1
}

# has_keys NAME FILE KEY...: every line is a JSON object that has all the keys.
has_keys() {
    name=$1 file=$2
    shift 2
    [ -s "$file" ] || { not_ok "$name" "nothing was printed"; return; }
    for key; do
        lines=$(wc -l < "$file") with=$(grep -c "\"$key\":" "$file")
        [ "$lines" = "$with" ] || { not_ok "$name" "$with of $lines lines have the key $key"; return; }
    done
    if command -v python3 > /dev/null; then
        while IFS= read -r line; do
            printf '%s\n' "$line" | python3 -m json.tool > /dev/null 2>&1 || { not_ok "$name" "not JSON: $line"; return; }
        done < "$file"
    fi
    ok "$name"
}

train_keys="net batch density ranks threads isa images_per_s gflops roofline_share bytes_sent sum_hidden"

# shellcheck disable=SC2086 # train_keys is a list of words
if "$signet" bench train --arch lenet --batch 32 --density 0.1 --steps 2 --threads 1 --json > "$scratch/train"; then
    has_keys train_json "$scratch/train" $train_keys
else
    not_ok train_json "exit code $?"
fi

# Two blocks of samples, of 16 or 32.
# shellcheck disable=SC2086
if tests/mpirun.sh 2 "$signet" bench train --arch lenet --batch 64 --steps 2 --threads 1 --json > "$scratch/ranks"; then
    has_keys train_ranks_json "$scratch/ranks" $train_keys
    if grep -q '"ranks":2,' "$scratch/ranks" && ! grep -q '"bytes_sent":0,' "$scratch/ranks"; then
        ok train_ranks_share_the_gradient
    else
        not_ok train_ranks_share_the_gradient "expected 2 ranks that send something, got $(cat "$scratch/ranks")"
    fi
else
    not_ok train_ranks_json "exit code $?"
fi

if "$signet" bench --arch resnet20 --batch 16 --density 0.05 --steps 1 --threads 1 --json > "$scratch/all"; then
    grep '"record":"pass"' "$scratch/all" > "$scratch/passes"
    has_keys layers_json "$scratch/passes" layer kind pass algorithm ms gflops gflops_direct gb_per_s roofline_share
    for pass in forward data_gradient weight_gradient; do
        if grep "\"pass\":\"$pass\"" "$scratch/passes" | grep -q '"algorithm":"sparse"'; then
            ok "layers_sparse_$pass"
        else
            not_ok "layers_sparse_$pass" "no layer at density 0.05 is sparse"
        fi
    done
    if grep -q '"record":"machine".*"fma_gflops_core":' "$scratch/all"; then
        ok layers_machine
    else
        not_ok layers_machine "no line with the machine's peak"
    fi
else
    not_ok layers_json "exit code $?"
fi

# refuses NAME CODE MESSAGE ARGUMENT...
refuses() {
    name=$1 expected=$2 message=$3
    shift 3
    "$signet" bench "$@" > "$scratch/out" 2> "$scratch/error"
    code=$?
    if [ $code != "$expected" ]; then
        not_ok "$name" "expected exit code $expected, got $code"
    elif ! grep -qF -e "$message" "$scratch/error"; then
        not_ok "$name" "expected \`$message\`, got \`$(cat "$scratch/error")\`"
    else
        ok "$name"
    fi
}
refuses unknown_benchmark 64 "\`tain\` cannot be measured" tain
refuses density_above_one 64 "--density takes a share from 0 to 1, got 1.5" --density 1.5
refuses batch_of_zero 64 "--batch takes an integer from 1 to" train --batch 0
refuses unknown_network 78 "resnet20" --arch resnet21
refuses unknown_isa 78 "is not known" --isa avx1024

exit $failed
