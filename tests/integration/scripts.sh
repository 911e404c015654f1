#!/bin/bash
# The shell scripts: syntax, and what the job scripts and jobs/setup.sh do with stand-ins for the programs they call.
. "$(dirname "$0")/../testing.sh"
cd "$here/.." || exit 70

for script in jobs/*.sh jobs/*/*.sh tests/*.sh tests/*/*.sh tests/slurm/cluster .ci/run; do
    [ -e "$script" ] || continue
    shell=$(sed -n '1s/^#!.*[/ ]//p' "$script")
    expect "scripts: syntax of $script" "see standard error" "$shell" -n "$script"
done

# A launcher that, like mpirun, dies of TERM and passes USR1 on: here to itself.
cat >"$work/mpirun" <<'END'
#!/bin/bash
echo "launched $*"
if [ -n "${STAND_IN_CODE:-}" ]; then exit "$STAND_IN_CODE"; fi
trap 'sleep 0.3; echo "checkpoint written"; exit 75' USR1
trap 'echo "killed by TERM"; exit 1' TERM
: >"$STAND_IN_READY"
for _ in $(seq 100); do sleep 0.1; done
END
for tool in scontrol qsub brequeue; do
    printf '#!/bin/sh\necho "%s $*"\n' "$tool" >"$work/$tool"
done
chmod +x "$work/mpirun" "$work"/scontrol "$work"/qsub "$work"/brequeue
printf 'a\nb\nc\n' >"$work/nodes"
export PATH="$work:$PATH" STAND_IN_READY="$work/ready" SLURM_NTASKS=3 SLURM_CPUS_PER_TASK=2
export SLURM_SUBMIT_DIR=$PWD PBS_O_WORKDIR=$PWD LS_SUBCWD=$PWD PBS_NODEFILE=$work/nodes LSB_DJOB_NUMPROC=3
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

# stop SCHEDULER SIGNAL: starts its job, sends the script the signal, leaves $code and $work/log.
stop() {
    local script
    rm -f "$work/ready"
    (job "$1" a/b.cfg "$dir") >"$work/log" 2>&1 &
    script=$!
    for _ in $(seq 300); do
        [ -e "$work/ready" ] && break
        sleep 0.1
    done
    kill "-$2" "$script"
    wait "$script"
    code=$?
}

for scheduler in sweep requeue array pbs lsf; do
    dir=$work/run-$scheduler
    stop "$scheduler" TERM
    expect "scripts: $scheduler passes TERM on as USR1" "$(cat "$work/log")" grep -q 'checkpoint written' "$work/log"
    expect "scripts: $scheduler never sends TERM to mpirun" "$(cat "$work/log")" bash -c "! grep -q 'killed by TERM' '$work/log'"
    expect "scripts: $scheduler leaves with 75 when it is cancelled" "exit code $code" [ "$code" = 75 ]
    expect "scripts: $scheduler does not come back when it is cancelled" "$(cat "$work/log")" \
        bash -c "! grep -Eq '^(scontrol|qsub|brequeue) ' '$work/log'"
    stop "$scheduler" USR1
    expect "scripts: $scheduler launches all tasks" "$(cat "$work/log")" \
        grep -q -- "--map-by slot:PE=2 --bind-to core -n 3 ./signet run a/b.cfg --out $dir.*--wait" "$work/log"
    again=again_$scheduler
    if [ -n "${!again}" ]; then
        expect "scripts: $scheduler queues again after 75" "$(cat "$work/log")" grep -q -- "${!again}" "$work/log"
        expect "scripts: $scheduler ends with 0 once queued again" "exit code $code" [ "$code" = 0 ]
        (RESTARTS=0 STAND_IN_CODE=75 job "$scheduler" a/b.cfg "$work/capped") >"$work/log" 2>&1
        code=$?
        expect "scripts: $scheduler ends with 75 at the cap" "exit code $code" [ "$code" = 75 ]
        expect "scripts: $scheduler says how to go on at the cap" "$(cat "$work/log")" grep -q 'submit it again to go on' "$work/log"
        (STAND_IN_CODE=138 job "$scheduler" a/b.cfg "$work/early-$scheduler") >"$work/log" 2>&1
        expect "scripts: $scheduler queues again when ranks were not ready for USR1" "$(cat "$work/log")" \
            grep -Eq '^(scontrol|qsub|brequeue) ' "$work/log"
    else
        expect "scripts: $scheduler ends with 75" "exit code $code" [ "$code" = 75 ]
    fi
    for expected in 0 1 78; do
        (STAND_IN_CODE=$expected job "$scheduler" a.cfg "$dir") >"$work/log" 2>&1
        code=$?
        expect "scripts: $scheduler ends with the run's $expected" "exit code $code" [ "$code" = "$expected" ]
        expect "scripts: $scheduler does not queue again after $expected" "$(cat "$work/log")" \
            bash -c "! grep -Eq '^(scontrol|qsub|brequeue) ' '$work/log'"
    done
    (job "$scheduler") >"$work/log" 2>&1
    code=$?
    expect "scripts: $scheduler without a configuration is a usage error" "exit code $code" [ "$code" = 64 ]
done
(STAND_IN_CODE=0 job sweep a/b.cfg) >"$work/log" 2>&1
expect "scripts: sweep names a folder for the configuration" "$(cat "$work/log")" grep -q -- '--out runs/b --wait$' "$work/log"
(STAND_IN_CODE=0 job requeue a.cfg out --retry-failed) >"$work/log" 2>&1
expect "scripts: requeue passes options on" "$(cat "$work/log")" grep -q -- 'run a.cfg --out out --wait --retry-failed$' "$work/log"
(STAND_IN_CODE=0 job array a.cfg out) >"$work/log" 2>&1
expect "scripts: array runs one part" "$(cat "$work/log")" grep -q -- '--out out/part-2 --part 2/4 --wait$' "$work/log"

# What a site is given to install from.
spack_words=$(sed -nE 's/^ *- ([a-z0-9-]+).*/\1/p' jobs/spack.yaml | sort | tr '\n' ' ')
said_words=$(sed -n 's/^ *spack load //p' jobs/setup.sh | tr ' ' '\n' | sort | tr '\n' ' ')
expect "scripts: spack.yaml lists what setup.sh says" "$spack_words against $said_words" [ "$spack_words" = "$said_words" ]
expect "scripts: the container is set up by setup.sh" "jobs/signet.def" grep -q '^ *jobs/setup.sh$' jobs/signet.def
for section in post environment runscript test; do
    expect "scripts: the container has %$section" "jobs/signet.def" grep -q "^%$section\$" jobs/signet.def
done
make --no-print-directory -s install-files DESTDIR="$work/to" PREFIX=/opt/signet >"$work/log" 2>&1
expect "scripts: the module knows where it was installed" "$(cat "$work/log")" \
    grep -q 'prepend_path("PATH", "/opt/signet/bin")' "$work/to/opt/signet/share/signet/signet.lua"
expect "scripts: installed scripts know where launch.sh is" "$(cat "$work/log")" \
    grep -q '^JOBS=${JOBS:-/opt/signet/share/signet/jobs}$' "$work/to/opt/signet/share/signet/jobs/slurm/array.sh"

# No library is found, nobody is root, nothing can be installed: setup.sh says what to do.
mkdir "$work/bin"
for tool in sh dirname make cat sed mktemp mkdir mv rm head grep uname; do
    ln -s "$(command -v "$tool")" "$work/bin/$tool"
done
printf '#!/bin/sh\necho 1000\n' >"$work/bin/id"
chmod +x "$work/bin/id"
PATH="$work/bin" BUILD="$work/build" sh jobs/setup.sh >"$work/log" 2>&1
code=$?
expect "scripts: setup.sh that cannot install ends with 69" "exit code $code" [ "$code" = 69 ]
for remedy in 'apt-get install build-essential' 'dnf install' 'spack install' 'module load' 'mpicc is missing'; do
    expect "scripts: setup.sh that cannot install says: $remedy" "$(cat "$work/log")" grep -q "$remedy" "$work/log"
done
bash jobs/setup.sh nonsense >"$work/log" 2>&1
code=$?
expect "scripts: setup.sh with an unknown argument is a usage error" "exit code $code" [ "$code" = 64 ]
finish
