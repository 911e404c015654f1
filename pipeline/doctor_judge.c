/* What is known of MPI releases, BLIS's kernels, places of ranks and file systems: findings from plain facts.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/doctor.h"

static bool between(const int version[3], int low, int high) {
    int number = version[0] * 10000 + version[1] * 100 + version[2];
    return number >= low && number <= high;
}

void sg_judge_mpi(const char *library, sg_opinion *opinion) {
    int v[3] = {0}, length = (int)strcspn(library, "\n,");
    if (sscanf(library, "Open MPI v%d.%d.%d", &v[0], &v[1], &v[2]) < 2)
        sg_opine(opinion, SG_FINE, "%.*s", length < 120 ? length : 120, library);
    else if (between(v, 50000, 50005))
        sg_opine(opinion, SG_PROBLEM,
                 "Open MPI %d.%d.%d: parallel HDF5 fails with 5.0.0 to 5.0.5; load 4.1 or 5.0.6 and newer",
                 v[0], v[1], v[2]);
    else if (between(v, 20000, 30103) || between(v, 40000, 40000))
        sg_opine(opinion, SG_PROBLEM,
                 "Open MPI %d.%d.%d: its file layer can damage what parallel HDF5 writes (2.x to 3.1.3, "
                 "4.0.0); load "
                 "4.1 or 5.0.6 and newer",
                 v[0], v[1], v[2]);
    else if (v[0] < 2)
        sg_opine(opinion, SG_NOTE,
                 "Open MPI %d.%d.%d is older than all that Signet was tried with; load 4.1 or newer", v[0],
                 v[1], v[2]);
    else
        sg_opine(opinion, SG_FINE, "Open MPI %d.%d.%d", v[0], v[1], v[2]);
}

static bool is_one_of(const char *name, const char *const *list) {
    while (*list != NULL && strcmp(*list, name) != 0) list++;
    return *list != NULL;
}

void sg_judge_blis(const char *kernel, bool avx2, bool avx512, sg_opinion *opinion) {
    static const char *const wide[] = {"skx", "knl", "zen4", "zen5", "zen6", NULL};
    static const char *const old[] = {"generic", "sandybridge", "penryn", "bulldozer", "piledriver", NULL};
    if (strcmp(kernel, "own") == 0)
        sg_opine(opinion, SG_NOTE,
                 "its register block fits no lane count, so Signet computes with its own, slower "
                 "micro-kernel; set "
                 "kernels.blis = \"haswell\", or \"skx\" with AVX-512");
    else if (avx2 && is_one_of(kernel, old))
        sg_opine(
            opinion, SG_PROBLEM,
            "it chose its %s kernels on a CPU with AVX2, several times slower than need be; set kernels.blis "
            "= "
            "\"haswell\" or load a BLIS that was built for x86_64 or amd64 (BLIS_ARCH_TYPE must be unset)",
            kernel);
    else if (strcmp(kernel, "generic") == 0)
        sg_opine(opinion, SG_PROBLEM,
                 "it fell back to its generic kernels, many times slower than need be; load a BLIS that was "
                 "built for this CPU (BLIS_ARCH_TYPE must be unset)");
    else if (avx512 && !is_one_of(kernel, wide))
        sg_opine(
            opinion, SG_NOTE,
            "%s kernels on a CPU with AVX-512: this BLIS was not built for it, is older than it, or "
            "BLIS_ARCH_TYPE is set; on Intel load one built for x86_64 or skx, on AMD Zen 4 little is lost",
            kernel);
    else
        sg_opine(opinion, SG_FINE, "%s kernels", kernel);
}

/* ---- ranks and cores */

static bool same_host(const sg_place *a, const sg_place *b) { return strcmp(a->host, b->host) == 0; }

static bool within(const cpu_set_t *inner, const cpu_set_t *outer) {
    cpu_set_t both;
    CPU_AND(&both, inner, outer);
    return CPU_EQUAL(&both, inner);
}

typedef struct crowd {
    int ranks, threads, cores;
} crowd;

/* The ranks of this host that can run nowhere but on these cores. */
static crowd crowd_on(const sg_place *place, int ranks, const sg_place *host, const cpu_set_t *cpus) {
    crowd c = {.cores = CPU_COUNT(cpus)};
    for (int r = 0; r < ranks; r++)
        if (same_host(&place[r], host) && within(&place[r].cpus, cpus)) {
            c.ranks++;
            c.threads += place[r].threads;
        }
    return c;
}

static bool is_first_of_host(const sg_place *place, int r) {
    for (int before = 0; before < r; before++)
        if (same_host(&place[before], &place[r])) return false;
    return true;
}

static cpu_set_t cores_of_host(const sg_place *place, int ranks, const sg_place *host) {
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int r = 0; r < ranks; r++)
        if (same_host(&place[r], host)) CPU_OR(&all, &all, &place[r].cpus);
    return all;
}

/* Any set of cores must hold the threads of the ranks that are confined to it: looked at are every rank's own
 * set and each host's union. */
static bool find_crowd(const sg_place *place, int ranks, sg_opinion *opinion) {
    for (int r = 0; r < ranks; r++) {
        cpu_set_t sets[2] = {place[r].cpus, cores_of_host(place, ranks, &place[r])};
        for (int s = 0; s < 2; s++) {
            crowd c = crowd_on(place, ranks, &place[r], &sets[s]);
            if (c.threads <= c.cores) continue;
            sg_opine(
                opinion, SG_PROBLEM,
                "on %s %d rank%s with %d threads share %d core%s; start fewer ranks or threads, or bind each "
                "rank "
                "to cores of its own: mpirun --map-by slot:PE=N, srun --cpus-per-task=N --cpu-bind=cores",
                place[r].host, c.ranks, c.ranks == 1 ? "" : "s", c.threads, c.cores, c.cores == 1 ? "" : "s");
            return true;
        }
    }
    return false;
}

void sg_judge_places(const sg_place *place, int ranks, sg_opinion *opinion) {
    int hosts = 0, threads = 0;
    if (find_crowd(place, ranks, opinion)) return;
    for (int r = 0; r < ranks; r++) {
        threads += place[r].threads;
        if (!is_first_of_host(place, r)) continue;
        hosts++;
        cpu_set_t all = cores_of_host(place, ranks, &place[r]);
        crowd c = crowd_on(place, ranks, &place[r], &all);
        if (c.threads >= place[r].online) continue;
        sg_opine(opinion, SG_NOTE,
                 "on %s %d of %d cores do nothing: %d rank%s may use %d; mpirun binds one or two ranks to "
                 "one core each "
                 "unless told --bind-to none or --map-by slot:PE=N",
                 place[r].host, place[r].online - c.threads, place[r].online, c.ranks,
                 c.ranks == 1 ? "" : "s", c.cores);
        return;
    }
    sg_opine(opinion, SG_FINE, "%d rank%s on %d node%s, %d thread%s, each with a core of its own", ranks,
             ranks == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s", threads, threads == 1 ? "" : "s");
}

/* ---- file systems */

void sg_judge_file_system(unsigned long magic, sg_opinion *opinion) {
    static const struct {
        unsigned long magic;
        enum sg_finding finding;
        const char *name, *remedy;
    } known[] = {
        {0xEF53, SG_FINE, "ext4", ""},
        {0x58465342, SG_FINE, "xfs", ""},
        {0x9123683E, SG_FINE, "btrfs", ""},
        {0x2FC12FC1, SG_FINE, "zfs", ""},
        {0x0BD00BD0, SG_FINE, "lustre", ""},
        {0x47504653, SG_FINE, "gpfs", ""},
        {0x19830326, SG_FINE, "beegfs", ""},
        {0x00C36400, SG_FINE, "ceph", ""},
        {0x01021994, SG_NOTE, "tmpfs", "it is memory: results are gone when the node restarts"},
        {0x794C7630, SG_NOTE, "overlayfs",
         "it goes with its container: use a mounted directory for what should stay"},
        {0x6969, SG_NOTE, "nfs",
         "ranks of other nodes may see old data; parallel HDF5 needs a mount with locks (no nolock), better "
         "noac; "
         "prefer the parallel file system"},
        {0x65735546, SG_NOTE, "fuse",
         "many file systems behind FUSE (sshfs, s3fs, gcsfuse) keep neither order nor renames; prefer a "
         "native one"},
        {0xFF534D42, SG_NOTE, "cifs",
         "renames and links are not those of POSIX; prefer a native file system"},
        {0xFE534D42, SG_NOTE, "smb2",
         "renames and links are not those of POSIX; prefer a native file system"},
        {0x01021997, SG_NOTE, "9p",
         "a host's directory in a virtual machine, slow and not POSIX; prefer a local disk"},
        {0x4D44, SG_NOTE, "fat", "it has no links and no permissions; prefer a native file system"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].magic != magic) continue;
        sg_opine(opinion, known[i].finding, "%s%s%s", known[i].name, known[i].remedy[0] != '\0' ? ": " : "",
                 known[i].remedy);
        return;
    }
    sg_opine(opinion, SG_FINE, "type %#lx, of which nothing bad is known", magic);
}
