#!/bin/bash
# The shell scripts: syntax, and what the job scripts and jobs/setup.sh do with stand-ins for the programs they call.
set -u
cd "$(dirname "$0")/../.." || exit 70
folder=$(mktemp -d) || exit 73
trap 'rm -rf "$folder"' EXIT
failed=0

check() { # NAME WHY COMMAND...
    local name=$1 why=$2
    shift 2
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name: $why"
        failed=1
    fi
}

for script in jobs/*.sh jobs/*/*.sh tests/*.sh tests/*/*.sh tests/slurm/cluster .ci/run; do
    [ -e "$script" ] || continue
    shell=$(sed -n '1s/^#!.*[/ ]//p' "$script")
    check "syntax of $script" "see standard error" "$shell" -n "$script"
done

# A launcher that, like mpirun, dies of TERM and passes USR1 on: here to itself.
cat >"$folder/mpirun" <<'END'
#!/bin/bash
echo "launched $*"
if [ -n "${STAND_IN_CODE:-}" ]; then exit "$STAND_IN_CODE"; fi
trap 'sleep 0.3; echo "checkpoint written"; exit 75' USR1
trap 'echo "killed by TERM"; exit 1' TERM
: >"$STAND_IN_READY"
for _ in $(seq 100); do sleep 0.1; done
END
for tool in scontrol qsub brequeue; do
    printf '#!/bin/sh\necho "%s $*"\n' "$tool" >"$folder/$tool"
done
chmod +x "$folder/mpirun" "$folder"/scontrol "$folder"/qsub "$folder"/brequeue
printf 'a\nb\nc\n' >"$folder/nodes"
export PATH="$folder:$PATH" STAND_IN_READY="$folder/ready" SLURM_NTASKS=3 SLURM_CPUS_PER_TASK=2
export SLURM_SUBMIT_DIR=$PWD PBS_O_WORKDIR=$PWD LS_SUBCWD=$PWD PBS_NODEFILE=$folder/nodes LSB_DJOB_NUMPROC=3
export OMP_NUM_THREADS=2
unset MPIRUN SIGNET JOBS RESTARTS RESTART MINUTES

# job SCHEDULER [CONFIG [DIR]]: its script as the scheduler would call it.
job() {
    local scheduler=$1
    shift
    case $scheduler in
    sweep) SLURM_JOB_ID=17 exec bash jobs/slurm/sweep.sh "$@" ;;
    requeue) SLURM_JOB_ID=17 exec bash jobs/slurm/requeue.sh "$@" ;;
    array) SLURM_JOB_ID=17 SLURM_ARRAY_JOB_ID=17 SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_MAX=4 exec bash jobs/slurm/array.sh "$@" ;;
    pbs) PBS_JOBID=17 CONFIG=${1:-} DIR=${2:-} exec bash jobs/pbs/requeue.sh ;;
    lsf) LSB_JOBID=17 CONFIG=${1:-} DIR=${2:-} exec bash jobs/lsf/requeue.sh ;;
    esac
}
# What each says when it goes back to the queue.
again_sweep='' again_requeue='^scontrol requeue 17$' again_array='^scontrol requeue 17_2$' again_lsf='^brequeue 17$'
again_pbs='^qsub -W depend=afterany:17 -v CONFIG=a/b.cfg,DIR=.*RESTART=1 jobs/pbs/requeue.sh$'

# stop SCHEDULER SIGNAL: starts its job, sends the script the signal, leaves $code and $folder/log.
stop() {
    local job
    rm -f "$folder/ready"
    (job "$1" a/b.cfg "$dir") >"$folder/log" 2>&1 &
    job=$!
    for _ in $(seq 300); do
        [ -e "$folder/ready" ] && break
        sleep 0.1
    done
    kill "-$2" "$job"
    wait "$job"
    code=$?
}

for scheduler in sweep requeue array pbs lsf; do
    dir=$folder/run-$scheduler
    stop "$scheduler" TERM
    check "$scheduler passes TERM on as USR1" "$(cat "$folder/log")" grep -q 'checkpoint written' "$folder/log"
    check "$scheduler never sends TERM to mpirun" "$(cat "$folder/log")" bash -c "! grep -q 'killed by TERM' '$folder/log'"
    check "$scheduler leaves with 75 when it is cancelled" "exit code $code" [ "$code" = 75 ]
    check "$scheduler does not come back when it is cancelled" "$(cat "$folder/log")" \
        bash -c "! grep -Eq '^(scontrol|qsub|brequeue) ' '$folder/log'"
    stop "$scheduler" USR1
    check "$scheduler launches all tasks" "$(cat "$folder/log")" \
        grep -q -- "--map-by slot:PE=2 --bind-to core -n 3 ./signet run a/b.cfg --out $dir.*--wait" "$folder/log"
    again=again_$scheduler
    if [ -n "${!again}" ]; then
        check "$scheduler queues again after 75" "$(cat "$folder/log")" grep -q -- "${!again}" "$folder/log"
        check "$scheduler ends with 0 once queued again" "exit code $code" [ "$code" = 0 ]
        (RESTARTS=0 STAND_IN_CODE=75 job "$scheduler" a/b.cfg "$folder/capped") >"$folder/log" 2>&1
        code=$?
        check "$scheduler ends with 75 at the cap" "exit code $code" [ "$code" = 75 ]
        check "$scheduler says how to go on at the cap" "$(cat "$folder/log")" grep -q 'submit it again to go on' "$folder/log"
        (STAND_IN_CODE=138 job "$scheduler" a/b.cfg "$folder/early-$scheduler") >"$folder/log" 2>&1
        check "$scheduler queues again when ranks were not ready for USR1" "$(cat "$folder/log")" \
            grep -Eq '^(scontrol|qsub|brequeue) ' "$folder/log"
    else
        check "$scheduler ends with 75" "exit code $code" [ "$code" = 75 ]
    fi
    for expected in 0 1 78; do
        (STAND_IN_CODE=$expected job "$scheduler" a.cfg "$dir") >"$folder/log" 2>&1
        code=$?
        check "$scheduler ends with the run's $expected" "exit code $code" [ "$code" = "$expected" ]
        check "$scheduler does not queue again after $expected" "$(cat "$folder/log")" \
            bash -c "! grep -Eq '^(scontrol|qsub|brequeue) ' '$folder/log'"
    done
    (job "$scheduler") >"$folder/log" 2>&1
    code=$?
    check "$scheduler without a configuration is a usage error" "exit code $code" [ "$code" = 64 ]
done
(STAND_IN_CODE=0 job sweep a/b.cfg) >"$folder/log" 2>&1
check "sweep names a folder for the configuration" "$(cat "$folder/log")" grep -q -- '--out runs/b --wait$' "$folder/log"
(STAND_IN_CODE=0 job requeue a.cfg out --retry-failed) >"$folder/log" 2>&1
check "requeue passes options on" "$(cat "$folder/log")" grep -q -- 'run a.cfg --out out --wait --retry-failed$' "$folder/log"
(STAND_IN_CODE=0 job array a.cfg out) >"$folder/log" 2>&1
check "array runs one part" "$(cat "$folder/log")" grep -q -- '--out out/part-2 --part 2/4 --wait$' "$folder/log"

# What a site is given to install from.
spack_words=$(sed -nE 's/^ *- ([a-z0-9-]+).*/\1/p' jobs/spack.yaml | sort | tr '\n' ' ')
said_words=$(sed -n 's/^ *spack load //p' jobs/setup.sh | tr ' ' '\n' | sort | tr '\n' ' ')
check "spack.yaml lists what setup.sh says" "$spack_words against $said_words" [ "$spack_words" = "$said_words" ]
check "the container is set up by setup.sh" "jobs/signet.def" grep -q '^ *jobs/setup.sh$' jobs/signet.def
for section in post environment runscript test; do
    check "the container has %$section" "jobs/signet.def" grep -q "^%$section\$" jobs/signet.def
done
make --no-print-directory -s install-files DESTDIR="$folder/to" PREFIX=/opt/signet >"$folder/log" 2>&1
check "the module knows where it was installed" "$(cat "$folder/log")" \
    grep -q 'prepend_path("PATH", "/opt/signet/bin")' "$folder/to/opt/signet/share/signet/signet.lua"
check "installed scripts know where launch.sh is" "$(cat "$folder/log")" \
    grep -q '^JOBS=${JOBS:-/opt/signet/share/signet/jobs}$' "$folder/to/opt/signet/share/signet/jobs/slurm/array.sh"

# No library is found, nobody is root, nothing can be installed: setup.sh says what to do.
mkdir "$folder/bin"
for tool in sh dirname make cat sed mktemp mkdir mv rm head grep uname; do
    ln -s "$(command -v "$tool")" "$folder/bin/$tool"
done
printf '#!/bin/sh\necho 1000\n' >"$folder/bin/id"
chmod +x "$folder/bin/id"
PATH="$folder/bin" BUILD="$folder/build" sh jobs/setup.sh >"$folder/log" 2>&1
code=$?
check "setup.sh that cannot install ends with 69" "exit code $code" [ "$code" = 69 ]
for remedy in 'apt-get install build-essential' 'dnf install' 'spack install' 'module load' 'mpicc is missing'; do
    check "setup.sh that cannot install says: $remedy" "$(cat "$folder/log")" grep -q "$remedy" "$folder/log"
done
bash jobs/setup.sh nonsense >"$folder/log" 2>&1
code=$?
check "setup.sh with an unknown argument is a usage error" "exit code $code" [ "$code" = 64 ]
exit "$failed"
