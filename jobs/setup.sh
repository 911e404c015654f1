#!/bin/sh
# jobs/setup.sh [parity|slurm|browser|format]...: installs what Signet needs to build, to test, and to plot its report; with
# `parity` also what the comparison with PyTorch needs, with `slurm` and `browser` what `make slurm` and `make browser` need,
# with `format` the clang-format of `make format`. Debian and Ubuntu, as root or where sudo asks nothing. Does nothing when
# all is there; elsewhere says what to install, and exits with 69 (unavailable).
set -u
cd "$(dirname "$0")/.." || exit 70
for what in "$@"; do
    case $what in
    parity | slurm | browser | format) ;;
    *)
        echo "usage: jobs/setup.sh [parity|slurm|browser|format]..." >&2
        exit 64
        ;;
    esac
done
wanted=" $* "
wants() { case $wanted in *" $1 "*) ;; *) return 1 ;; esac }
: "${PYTHON:=/usr/bin/python3}"

build_packages="build-essential pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev libblis-dev libconfig-dev"
build_packages="$build_packages librandom123-dev libjpeg-dev libpng-dev zlib1g-dev libxxhash-dev libcmocka-dev"
build_packages="$build_packages python3 python3-h5py procps gnuplot-nox"
parity_packages="python3-torch python3-torchvision python3-h5py python3-numpy python3-pil"
slurm_packages="slurm-wlm munge"
browser_packages="chromium"
format_packages="clang-format-14"

# Everything that is used, whoever installed it: compiled, linked and run.
built_ok() {
    command -v make >/dev/null 2>&1 && { command -v mpirun >/dev/null 2>&1 || command -v srun >/dev/null 2>&1; } &&
        make --no-print-directory -s libraries >/dev/null 2>&1 &&
        make --no-print-directory -s cmocka >/dev/null 2>&1 && tools_ok
}
# What the tests call, and the report for its plots.
tools_ok() {
    python_has h5py numpy && command -v pgrep >/dev/null 2>&1 && command -v gnuplot >/dev/null 2>&1
}
# python_has MODULE...
python_has() {
    "$PYTHON" -c 'import importlib.util, sys
sys.exit(any(importlib.util.find_spec(m) is None for m in sys.argv[1:]))' "$@" >/dev/null 2>&1
}
parity_ok() { python_has torch torchvision h5py numpy PIL; }
# The daemons are where users do not look.
slurm_ok() (
    PATH=$PATH:/usr/sbin:/sbin
    command -v slurmctld >/dev/null 2>&1 && command -v slurmd >/dev/null 2>&1 && command -v munged >/dev/null 2>&1
)
browser_ok() { command -v "${CHROMIUM:-chromium}" >/dev/null 2>&1; }
format_ok() { command -v clang-format-14 >/dev/null 2>&1; }
all_ok() {
    built_ok || return 1
    for extra in parity slurm browser format; do
        if wants "$extra"; then "${extra}_ok" || return 1; fi
    done
}

explain() {
    cat >&2 <<END
signet: $1
Please install these, or ask who runs this machine, and run \`make setup\` again:

  Debian, Ubuntu
    apt-get install $build_packages
    for \`make parity\`: apt-get install $parity_packages
    for \`make slurm\`: apt-get install $slurm_packages
    for \`make browser\`: apt-get install $browser_packages
    for \`make format\`: apt-get install $format_packages
  Fedora, Rocky, Alma (with EPEL and CRB)
    dnf install gcc make pkgconf openmpi-devel hdf5-openmpi-devel blis-devel libconfig-devel Random123-devel \\
        libjpeg-turbo-devel libpng-devel zlib-devel xxhash-devel libcmocka-devel python3-h5py procps-ng gnuplot
    module load mpi/openmpi-x86_64
    for \`make parity\`: pip install torch torchvision h5py numpy pillow
  Spack
    spack install gcc openmpi hdf5+mpi blis threads=openmp libconfig random123 libjpeg-turbo libpng zlib xxhash cmocka \\
        python py-h5py procps gnuplot
    spack load openmpi hdf5 blis libconfig random123 libjpeg-turbo libpng zlib xxhash cmocka python py-h5py procps gnuplot
  Environment modules (names differ from site to site: module avail)
    module load gcc openmpi hdf5-parallel blis libconfig random123 libjpeg libpng zlib xxhash cmocka \\
        python h5py gnuplot

The tests call /usr/bin/python3 (another is named as in \`make test PYTHON=python3\`) with h5py, and pgrep, of procps; the
report's plots are gnuplot's.
What pkg-config and h5pcc do not find is named by HDF5_ROOT, BLIS_ROOT, LIBCONFIG_ROOT, RANDOM123_ROOT, JPEG_ROOT,
PNG_ROOT, ZLIB_ROOT, XXHASH_ROOT, CMOCKA_ROOT (folders with include/ and lib/). What is missing here:

END
    if command -v make >/dev/null 2>&1; then
        make --no-print-directory -s libraries 2>&1 >/dev/null | sed 's/^/  /' >&2
        make --no-print-directory -s cmocka 2>&1 >/dev/null | sed 's/^/  /' >&2
    else
        echo "  make" >&2
    fi
    if ! python_has h5py numpy; then echo "  $PYTHON with h5py" >&2; fi
    for tool in pgrep gnuplot; do
        if ! command -v "$tool" >/dev/null 2>&1; then echo "  $tool" >&2; fi
    done
    if wants parity && ! parity_ok; then echo "  Python modules of $parity_packages" >&2; fi
    if wants slurm && ! slurm_ok; then echo "  slurmctld, slurmd or munged" >&2; fi
    if wants browser && ! browser_ok; then echo "  chromium" >&2; fi
    if wants format && ! format_ok; then echo "  clang-format-14" >&2; fi
    exit 69
}

if all_ok; then exit 0; fi

if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    explain "something is missing, and only apt-get's systems are set up by this script."
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        explain "something is missing, and neither root nor sudo without a password is at hand."
    fi
fi

packages=$build_packages
if wants parity; then packages="$packages $parity_packages"; fi
if wants slurm; then packages="$packages $slurm_packages"; fi
if wants browser; then packages="$packages $browser_packages"; fi
if wants format; then packages="$packages $format_packages"; fi
missing=
for package in $packages; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then explain "all packages are installed, but something does not work."; fi

install() {
    # shellcheck disable=SC2086 # lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing </dev/null
}
echo "installing:$missing"
log=$(mktemp) || exit 73
trap 'rm -f "$log"' EXIT
# Lists of packages are fetched only when those at hand do not do.
if ! install >"$log" 2>&1; then
    if ! { $as_root env DEBIAN_FRONTEND=noninteractive apt-get update </dev/null && install; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        explain "apt-get failed (above)."
    fi
fi
all_ok || explain "the packages are installed, but something still does not work."
echo "setup done"
