#!/bin/bash
# All methods, modes and pairs in one run, and its tables; IMP's rewinding points; a mask file instead of a search.
. "$(dirname "$0")/../testing.sh"
cat >"$work/all.cfg" <<'END'
net = { arch = "lenet"; classes = 10; width = 0; };
data = { kind = "shapes"; train_limit = 128; test_limit = 64; augment = "none"; };
train = { lr = 0.02; batch = 64; };
search = { methods = ("lrr", "aws", "imp"); seeds = (1); warmup_epochs = 1; rounds = 2; round_epochs = 1; };
transfer = { modes = ("signed", "signed_norms", "mask", "retrain", "random_signs", "magnitude", "frozen", "dense");
             seeds = (2, 3); rounds = (2); noise_orders = 1; epochs = 1; };
connect = { points = 3; };
run = { threads = 1; };
END
dir=$work/all
sg 2 run "$work/all.cfg" --out "$dir" --set run.ranks_per_stage=1
expect_code "methods: everything finishes" 0

check() { # NAME PYTHON-CODE: R results, C connectivity, V curves as lists of dicts, H results.h5
    if "$python" - "$dir" >"$work/check" 2>&1 <<END
import csv, sys, h5py
d = sys.argv[1]
R, C, V = (list(csv.DictReader(open(f"{d}/{n}.csv"))) for n in ("results", "connectivity", "curves"))
H = h5py.File(f"{d}/results.h5")
def want(came, expected):
    if came != expected: sys.exit(f"{came}, expected {expected}")
$2
END
    then ok "methods: $1"; else not_ok "methods: $1" "$(tail -1 "$work/check")"; fi
}
check "columns of results.csv" 'want(list(R[0]), """stage kind method alpha_low alpha_high search_seed round density mode
transfer_seed order_seed arch dataset train_loss train_accuracy test_loss test_accuracy test_accuracy_recalibrated sign_flips
negative_gammas images_per_s wall_s""".split())'
check "columns of connectivity.csv" 'want(list(C[0]), """kind a b round density barrier_error barrier_loss stage method alpha_low
alpha_high search_seed mode arch dataset wall_s""".split())'
check "a row per warm-up, round and transfer" '
want(sum(r["kind"] == "warmup" for r in R), 3)
want(sum(r["kind"] == "round" for r in R), 6)
# 7 modes x 3 methods and dense, each 2 seeds and 2 orders of each.
want(sum(r["kind"] == "transfer" for r in R), (7 * 3 + 1) * 2 * 2)
want(len(R), 97)'
check "every mode of every method" '
want({(r["method"], r["mode"]) for r in R if r["kind"] == "transfer" and r["method"]},
     {(m, t) for m in ("lrr", "aws", "imp") for t in "signed signed_norms mask retrain random_signs magnitude frozen".split()})
want(sum(r["mode"] == "dense" for r in R), 4)'
check "densities" '
n = 6*3*25 + 16*6*25 + 120*400 + 84*120
kept = [n, n*4//5, (n*4//5)*4//5]
for r in R:
    t = 0 if r["mode"] == "dense" else int(r["round"])
    want(abs(float(r["density"]) - kept[t] / n) < 1e-8, True)'
check "frozen signs never flip" '
want({r["sign_flips"] for r in R if r["mode"] == "frozen"}, {"0"})'
check "all six kinds of pairs" '
want({c["kind"] for c in C}, set("signed-search signed-retrain signed_norms-retrain signed-signed sgd-noise norm-reinit".split()))
trained = {r["stage"] for r in R}
for c in C:
    want(c["a"] in trained, True)
    want(c["b"] in trained or c["kind"] == "norm-reinit", True)'
check "curves.csv has every point of every path" '
want(len(V), 3 * len(C))
want([c["stage"] for c in C for k in range(3)], [v["stage"] for v in V])
want([v["lambda"] for v in V], ["0", "0.5", "1"] * len(C))'
check "barriers follow from the curves" '
for i, c in enumerate(C):
    e, l = ([float(v[k]) for v in V[3*i:3*i+3]] for k in ("error", "loss"))
    want(abs(float(c["barrier_error"]) - max(0, e[1] - (e[0] + e[2]) / 2)) < 1e-8, True)
    want(abs(float(c["barrier_loss"]) - max(0, l[1] - (l[0] + l[2]) / 2)) < 1e-6 * max(l), True)'
check "results.h5 holds the same" '
for table, rows in (("results", R), ("connectivity", C)):
    want(set(H[table]), set(rows[0]))
    for name in rows[0]:
        column = H[table][name][:]
        want(len(column), len(rows))
        for value, row in zip(column, rows):
            text = row[name]
            if isinstance(value, bytes): want(value.decode(), text)
            elif text == "": want(value != value or value < 0, True)
            else: want(abs(float(value) - float(text)) <= 1e-8 * abs(float(text)), True)
want(H["curves/points"].shape, (len(V), 4))
for point, v in zip(H["curves/points"][:], V):
    want(C[int(point[0])]["stage"], v["stage"])
    want(abs(point[2] - float(v["error"])) < 1e-8, True)'
# IMP: rounds start from the state after that many warm-up epochs. After all of them that is the warm-up's own result, and the
# first round is that of lrr, which carries it on; the second is not.
methods=(imp imp lrr,imp)
for epoch in 0 1 2; do
    sg 1 run "$work/all.cfg" --out "$work/imp-$epoch" --set "search.methods=${methods[epoch]}" --set search.warmup_epochs=2 \
        --set "search.imp_rewind_epoch=$epoch" --set transfer.modes=retrain --set transfer.seeds=2 --set connect.pairs=
    expect_code "methods: imp rewinds to epoch $epoch" 0
done
of_round() { digest_of "$(find "$work/imp-$1" -path "*/$2-s1/round-0$3/result.h5")"; } # EPOCH METHOD ROUND
expect_equal "methods: the rewinding point matters" \
    "$(for epoch in 0 1 2; do of_round $epoch imp 1; done | grep -xE '[0-9a-f]{32}' | sort -u | wc -l)" 3
expect_equal "methods: rewound to the end of the warm-up, the first round carries it on" "$(of_round 2 imp 1)" "$(of_round 2 lrr 1)"
if [ "$(of_round 2 imp 2)" != "$(of_round 2 lrr 2)" ]; then ok "methods: the second round is rewound, not carried on"
else not_ok "methods: the second round is rewound, not carried on" "imp and lrr give the same digest"; fi
check "what imp goes back to" '
import glob
def state(epoch, group):
    f = h5py.File(glob.glob(f"{d}/../imp-{epoch}/stages/*/imp-s1/warmup/result.h5")[0])
    return [f[group][name][()] for name in sorted(f[group])]
def same(a, b): return all((x == y).all() for x, y in zip(a, b))
names = sorted(h5py.File(glob.glob(f"{d}/../imp-2/stages/*/imp-s1/warmup/result.h5")[0])["weights"])
want(len(names), 10)
want(same(state(2, "kept"), state(2, "weights")), True)
want(same(state(1, "kept"), state(1, "weights")), False)
want(same(state(0, "kept"), state(1, "kept")), False)
for epoch in (0, 1): want(same(state(epoch, "weights"), state(2, "weights")), True)'

# A mask file: the same starts as from the search.
mask=$(find "$dir" -path '*lrr-s1/round-02/extract/result.h5')
from_mask=(run "$work/all.cfg" --set transfer.seeds=2 --set transfer.noise_orders=0 --set "transfer.mask_file=$mask"
    --set connect.pairs=)
sg 1 "${from_mask[@]}" --out "$work/mask" --set transfer.modes=signed,mask,frozen
expect_code "methods: transfer from a mask file" 0
for mode in signed mask frozen; do
    expect_equal "methods: $mode from a mask file is $mode from the search" \
        "$(digest_of "$(find "$work/mask" -path "*/$mode-s2/result.h5")")" \
        "$(digest_of "$(find "$dir" -path "*lrr-s1/round-02/$mode-s2/result.h5")")"
done
# A learning rate that moves nothing leaves every start as it was.
sg 1 "${from_mask[@]}" --out "$work/start" --set transfer.modes=signed,mask,frozen --set train.lr=1e-30
expect_code "methods: starts of transfers" 0
check "mode frozen starts as mode signed does, mode mask with its own signs" '
import glob, numpy
M = h5py.File(glob.glob(f"{d}/stages/*/lrr-s1/round-02/extract/result.h5")[0])["signs"]
def start(mode):
    f = h5py.File(glob.glob(f"{d}/../start/stages/**/{mode}-s2/result.h5", recursive=True)[0])["weights"]
    return {name: f[name][()] for name in f}
signed, mask, frozen = start("signed"), start("mask"), start("frozen")
want(set(frozen), set(signed))
for name in signed: want((name, (frozen[name] == signed[name]).all()), (name, True))
pruned = [name for name in M if (M[name][()] == 0).any()]
want(len(pruned) >= 4, True)
for name in pruned:
    s = M[name][()]
    want((name, (numpy.sign(signed[name]) == s).all()), (name, True))
    want((name, (numpy.abs(signed[name]) == numpy.abs(mask[name])).all()), (name, True))
    want((name, (numpy.sign(mask[name]) == s).all()), (name, False))'
for mode in signed_norms retrain random_signs magnitude; do
    sg 0 "${from_mask[@]}" --out "$work/refused" --set "transfer.modes=$mode"
    expect_code "methods: $mode from a mask file is refused" 78
    expect_text "methods: $mode is named" "$work/err" "\"$mode\""
done
sg 0 "${from_mask[@]}" --out "$work/refused" --set transfer.modes=signed --set "transfer.mask_file=$work/missing.h5"
expect_code "methods: a missing mask file" 66
sg 0 "${from_mask[@]}" --out "$work/refused" --set transfer.modes=signed --set net.arch=resnet20 --set net.width=4
if [ "$code" = 65 ] || [ "$code" = 78 ]; then ok "methods: a mask of another network is refused"
else not_ok "methods: a mask of another network is refused" "exit code $code" show; fi
# A sweep: the tables for people keep its cases apart, whatever tells them apart.
cat >"$work/cases.cfg" <<'END'
data = { kind = "shapes"; train_limit = 64; test_limit = 32; };
search = { methods = ("lrr"); warmup_epochs = 1; rounds = 1; round_epochs = 1; };
transfer = { modes = ("signed"); seeds = (2, 3); rounds = (1); epochs = 1; noise_orders = 0; };
connect = { points = 3; pairs = ("signed-signed"); };
run = { threads = 1; };
sweeps = ({ net = { arch = "mlp"; width = 16; }; train = { lr = 0.1; batch = 32; }; },
          { net = { arch = "mlp"; width = 16; }; train = { lr = 0.01; batch = 32; }; });
END
sg 1 run "$work/cases.cfg" --out "$work/cases"
expect_code "methods: a sweep over train.lr" 0
cases=$(find "$work/cases/stages" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)
expect_equal "methods: it has two cases" "$(echo "$cases" | wc -l)" 2
rows() { awk -v mode="$1" '$6 == mode { print $1 }' "$work/out" | sort; }
expect_equal "methods: a row of transfers for each case" "$(rows signed)" "$cases"
expect_equal "methods: a row of rounds for each case" "$(rows round)" "$cases"
expect_equal "methods: a row of paths for each case" "$(awk '$2 == "signed-signed" { print $1 }' "$work/out" | sort)" "$cases"
expect_equal "methods: transfers of a case are summed up alone" "$(awk '$6 == "signed" { print $7 }' "$work/out" | sort -u)" 2
finish
