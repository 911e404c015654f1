#!/bin/bash
# Kernels of BLIS and of Signet, as they are chosen on other CPUs: what each computes, and what is said of slow ones.
. "$(dirname "$0")/../testing.sh"
write_tiny
unit=${BUILD:-$here/../build}/tests/unit
export SIGNET_TEST_BRIEF=1

has() { grep -qw -- "$1" /proc/cpuinfo 2>/dev/null; }
if ! has avx2; then
    echo "ok kernels # SKIP this CPU has no AVX2"
    exit 0
fi

declare -A running
tests=
for test in test_conv test_conv_direct test_conv_winograd; do
    if [ -x "$unit/$test" ]; then tests="$tests $test"
    else not_ok "kernels: $test is built" "no $unit/$test; make integration builds it"; fi
done

# BLIS's numbers: 0 skx (32x12), 3 haswell (6x16), 4 sandybridge (8x8), 5 penryn (8x4). It aborts for one that it was
# built without.
for number in 0 3 4 5; do
    if [ $number = 0 ] && ! has avx512vl; then continue; fi
    export BLIS_ARCH_TYPE=$number
    "$signet" doctor --out "$work" >"$work/out" 2>"$work/err"
    if [ $? = 134 ]; then continue; fi
    for test in $tests; do # most of their time is that of naive twins on one thread
        timeout 300 "$unit/$test" >"$work/$test.out" 2>"$work/$test.err" &
        running[$test]=$!
    done
    for test in $tests; do
        wait "${running[$test]}"
        code=$?
        mv "$work/$test.out" "$work/out"
        mv "$work/$test.err" "$work/err"
        expect_code "kernels: $test with BLIS_ARCH_TYPE=$number" 0
    done
done
unset BLIS_ARCH_TYPE

# The same bits of a whole run, whatever instruction set Signet's own kernels use.
sg 1 run "$work/tiny.cfg" --out "$work/avx2" --set kernels.isa=avx2 --set kernels.blis=haswell
expect_code "kernels: a run with AVX2" 0
if has avx512vl && has avx512dq && has avx512bw; then
    sg 2 run "$work/tiny.cfg" --out "$work/avx512" --set kernels.isa=avx512 --set kernels.blis=haswell
    expect_code "kernels: a run with AVX-512" 0
    expect_equal "kernels: AVX2 and AVX-512 give the same bits" "$(digest_of "$work/avx512")" "$(digest_of "$work/avx2")"
fi

# BLIS's fallback, as on a CPU that it does not know.
sg 1 run "$work/tiny.cfg" --out "$work/generic" --set kernels.blis=generic --time-limit 0.00001
expect_code "kernels: a run with generic kernels begins" 75
head -n 4 "$work/err" >"$work/first"
expect_text "kernels: its first lines warn of them" "$work/first" "warning: BLIS does not know this CPU and uses its generic kernels"
expect_text "kernels: the warning names BLIS_ARCH_TYPE" "$work/first" "BLIS_ARCH_TYPE"
finish
