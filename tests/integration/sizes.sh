#!/bin/bash
# Sizes that do not divide: 10,007 samples in minibatches of 100; 3 classes, 1 class; 1 sample.
. "$(dirname "$0")/../testing.sh"

# write_idx FOLDER CLASSES TRAIN TEST: random grey images of 12x12 pixels as IDX files.
write_idx() {
    mkdir -p "$1"
    "$python" - "$@" <<'PY'
import random, struct, sys
folder, classes, sizes = sys.argv[1], int(sys.argv[2]), dict(train=int(sys.argv[3]), t10k=int(sys.argv[4]))
random.seed(1)
for split, count in sizes.items():
    with open(f"{folder}/{split}-images-idx3-ubyte", "wb") as f:
        f.write(struct.pack(">4I", 0x803, count, 12, 12) + random.randbytes(count * 144))
    with open(f"{folder}/{split}-labels-idx1-ubyte", "wb") as f:
        f.write(struct.pack(">2I", 0x801, count) + bytes(i % classes for i in range(count)))
PY
}

# trains NAME CLASSES TRAIN TEST BATCH RANKS: two epochs; the weights are the same on one rank and on RANKS.
trains() {
    write_idx "$work/$1" "$2" "$3" "$4"
    cat >"$work/$1.cfg" <<END_CONFIG
net = { arch = "mlp"; classes = $2; width = 8; };
data = { kind = "idx"; path = "$work/$1"; augment = "none"; };
train = { lr = 0.01; batch = $5; };
single = { epochs = 2; };
run = { threads = 1; };
END_CONFIG
    local ranks
    for ranks in 1 "$6"; do
        sg "$ranks" train "$work/$1.cfg" --out "$work/$1-$ranks.h5"
        expect_code "sizes: $1 on $ranks" 0
    done
    expect_equal "sizes: $1 has the same digest on 1 and $6 ranks" "$(digest_of "$work/$1-1.h5")" \
        "$(digest_of "$work/$1-$6.h5")"
}

trains odd-samples 3 10007 101 100 4
trains one-class 1 50 20 16 2
trains one-sample 3 1 1 128 2
finish
