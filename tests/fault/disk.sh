#!/bin/bash
# Disks that fail: reads, writes, syncs and reservations that return ENOSPC, EDQUOT or EIO; a full, a read-only and a
# vanished directory. All ranks leave in time with the right code and the reason, and the next start ends with the same digest.
. "$(dirname "$0")/../testing.sh"
write_tiny
often=(--set run.checkpoint_minutes=0.0001)
sg 1 run "$work/tiny.cfg" --out "$work/reference"
expect_code "disk: undisturbed" 0
reference=$(digest_of "$work/reference")
export LIMIT=60

resumes() { # NAME DIR
    sg 2 run "$work/tiny.cfg" --out "$2" "${often[@]}"
    if [ "$code" != 0 ]; then not_ok "$1" "exit code $code on resuming" show
    else expect_equal "$1" "$(digest_of "$2")" "$reference"; fi
}
leaves() { # NAME TEXT: one of the codes for output that fails, and the reason
    case $code in
    73 | 74) ok "$1 ends with $code" ;;
    *) not_ok "$1 ends with 73 or 74" "exit code $code" show ;;
    esac
    expect_text "$1 says why" "$work/err" "$2"
}

${CC:-cc} -shared -fPIC -O1 -o "$work/failing_io.so" "$here/fault/failing_io.c" -ldl || exit 1
number=0
for failure in write:28:'is the disk full?' fsync:5:'Input/output error' reserve:122:'quota is used up'; do
    IFS=: read -r call errno text <<<"$failure"
    name="disk: $call that fails with $errno"
    dir=$work/io-$((number += 1))
    export SG_FAIL_CALL=$call SG_FAIL_ERRNO=$errno SG_FAIL_PATH=$dir/stages SG_FAIL_AFTER=9 LD_PRELOAD=$work/failing_io.so
    sg 2 run "$work/tiny.cfg" --out "$dir" "${often[@]}"
    unset SG_FAIL_CALL LD_PRELOAD
    leaves "$name" "$text"
    resumes "$name: the next start has the same digest" "$dir"
done

# A checkpoint that cannot be read may be whole: `train` ends, and the checkpoint is there when reading works again.
train=(train "$work/tiny.cfg" --set single.epochs=6 --out "$work/solo.h5" "${often[@]}")
sg_start 1 "${train[@]}"
if wait_for 60 test -e "$work/solo.h5.checkpoint"; then kill -USR1 "$job"; fi
sg_wait
expect_code "disk: train stops on SIGUSR1" 75
cp "$work/solo.h5.checkpoint" "$work/before"
export SG_FAIL_CALL=read SG_FAIL_ERRNO=5 SG_FAIL_PATH=solo.h5.checkpoint SG_FAIL_AFTER=0 LD_PRELOAD=$work/failing_io.so
sg 1 "${train[@]}" --set run.checkpoint_minutes=0 # which would end well, had it begun anew
unset SG_FAIL_CALL LD_PRELOAD
expect_code "disk: train with a checkpoint that cannot be read" 74
if cmp -s "$work/before" "$work/solo.h5.checkpoint"; then ok "disk: train leaves that checkpoint alone"
else not_ok "disk: train leaves that checkpoint alone" "it has changed"; fi
sg 1 "${train[@]}"
expect_code "disk: train goes on when it can be read" 0
expect_text "disk: train goes on from that checkpoint" "$work/err" "goes on from $work/solo.h5.checkpoint"

# A file that cannot be read is no reason to leave the others unverified.
export SG_FAIL_CALL=read SG_FAIL_ERRNO=5 SG_FAIL_PATH=round-01/result.h5 SG_FAIL_AFTER=0 LD_PRELOAD=$work/failing_io.so
sg 0 verify "$work/reference"
unset SG_FAIL_CALL LD_PRELOAD
expect_code "disk: verify with a file that cannot be read" 65
expect_text "disk: verify says why" "$work/out" "Input/output error"
expect_text "disk: verify goes on to the others" "$work/out" "13 files checked, 1 damaged"

# A directory that vanishes: the job ends, and another start begins anew.
dir=$work/vanishes
sg_start 2 run "$work/tiny.cfg" --out "$dir" "${often[@]}"
if wait_for 60 has_files "$dir" 'result.h5' 1; then mv "$dir" "$dir.gone"; fi
LIMIT=30 sg_wait
case $code in
0 | 124) not_ok "disk: a directory that vanishes ends the job within 30 s" "exit code $code" show ;;
*) ok "disk: a directory that vanishes ends the job ($code)" ;;
esac
rm -rf "$dir"
mv "$dir.gone" "$dir"
resumes "disk: when it is back, the run goes on" "$dir"

# A full and a read-only file system need the right to mount.
mkdir "$work/small"
if mount -t tmpfs -o size=2m none "$work/small" 2>/dev/null; then
    trap 'umount -l "$work/small"; clean' EXIT
    dir=$work/small/run
    sg 2 run "$work/tiny.cfg" --out "$dir" "${often[@]}"
    leaves "disk: a full file system" "the disk is full"
    mount -o remount,size=200m "$work/small"
    resumes "disk: with more room the run goes on" "$dir"
    mount -o remount,ro "$work/small"
    sg 2 run "$work/tiny.cfg" --out "$dir" --set transfer.epochs=3 --recompute
    leaves "disk: a read-only file system" "the file system is read-only"
    sg 2 run "$work/tiny.cfg" --out "$work/small/new"
    leaves "disk: a new directory on a read-only file system" "the file system is read-only"
else
    echo "ok disk: full and read-only file systems # SKIP may not mount"
fi
finish
