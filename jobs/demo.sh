#!/bin/sh
# jobs/demo.sh DIR RANKS: runs or resumes the demonstration, then says where its results are and how to go on.
set -u
dir=$1 ranks=$2
here=$(dirname "$0")
OMP_WAIT_POLICY=passive "$here/mpirun.sh" "$ranks" ./signet run configs/demo.cfg --out "$dir"
code=$?
if [ "$code" = 75 ]; then
    echo "interrupted; \`make demo\` goes on from the last checkpoint" >&2
    exit "$code"
fi
if [ "$code" != 0 ]; then exit "$code"; fi
cat <<END

The tables are $dir/results.csv (networks), $dir/connectivity.csv (barriers) and $dir/curves.csv (error along each path);
README.md says how to read them. \`./signet status $dir\` shows the stages.

A real use, ResNet-20 on a fifth of CIFAR-10 (about an hour on two cores; \`./signet plan\` says what it costs):
  mkdir -p data && curl -L https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz | tar -xz -C data
  jobs/mpirun.sh $ranks ./signet run configs/cifar10_resnet20_quick.cfg
END
