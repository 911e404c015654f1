#include "pipeline/config_schema.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/net.h"
#include "pipeline/data.h"

#define AT(member) offsetof(sg_config_draft, member)
#define NUMBERS(low, high, above, below) (low), (high), (above), (below), NULL
#define ANY 0, 0, false, false, NULL
#define ONE_OF(names) 0, 0, false, false, (names)

static const char *const augmentations[] = {"none", "crop_flip", "resized_crop", NULL};
static const char *const optimizers[] = {"sgd", "adam", NULL};
static const char *const orders[] = {"sequential", "shuffled", NULL};
static const char *const isas[] = {"auto", "portable", "avx2", "avx512", NULL};
static const char *const blis_kernels[] = {"auto", "haswell",     "zen",    "zen2",    "zen3",
                                           "skx",  "sandybridge", "penryn", "generic", NULL};

_Static_assert(SG_SGD == 0 && SG_ADAM == 1, "the names of optimizers follow the enum");

const sg_key_group sg_key_groups[] = {
    {"net", "the network", false},
    {"data", "what it learns from", false},
    {"train", "how every training goes", false},
    {"search", "how winning signs are searched", false},
    {"transfer", "what is made of them", false},
    {"single", "what `signet train` does", false},
    {"connect", "paths between trained networks", false},
    {"run", "how the work is spread; never changes a result", true},
    {"kernels", "which arithmetic computes", true},
};
const int sg_key_group_count = sizeof sg_key_groups / sizeof *sg_key_groups;

const sg_key sg_keys[] = {
    {"net.arch", SG_KEY_NAMES, AT(archs), AT(arch_count), SG_CONFIG_ARCHS, "\"resnet20\"", ANY, "",
     "architecture; a list of them gives one case each"},
    {"net.classes", SG_KEY_INT, AT(config.net.classes), 0, 0, "10", NUMBERS(1, 1000000, false, false), "",
     "outputs of the classifier"},
    {"net.width", SG_KEY_INT, AT(config.net.width), 0, 0, "0", NUMBERS(0, 65536, false, false), "channels",
     "channels of the first stage (hidden units of an mlp); 0 = the architecture's own"},
    {"net.dropout", SG_KEY_FLOAT, AT(config.net.dropout), 0, 0, "-1.0", NUMBERS(-1, 1, false, true), "",
     "probability of dropout; -1 = the architecture's own"},
    {"net.depth", SG_KEY_INT, AT(config.net.depth), 0, 0, "0", NUMBERS(0, 1000, false, false), "layers",
     "layers of a vit or an mlp_mixer; 0 = the architecture's own"},

    {"data.kind", SG_KEY_NAME, AT(config.data.kind), 0, 0, "\"shapes\"", ONE_OF(sg_data_kinds), "",
     "shapes is procedural and needs no files"},
    {"data.path", SG_KEY_STRING, AT(config.data.path), 0, SG_CONFIG_PATH, "\"\"", ANY, "",
     "folder or file of the data set, relative to the current directory"},
    {"data.train_limit", SG_KEY_INT, AT(config.data.train_limit), 0, 0, "0",
     NUMBERS(0, INT_MAX, false, false), "samples", "use the first N training samples; 0 = all"},
    {"data.test_limit", SG_KEY_INT, AT(config.data.test_limit), 0, 0, "0", NUMBERS(0, INT_MAX, false, false),
     "samples", "use the first N test samples; 0 = all"},
    {"data.augment", SG_KEY_NAME, AT(config.data.augment), 0, 0, "\"crop_flip\"", ONE_OF(augmentations), "",
     "how training images are varied"},
    {"data.size", SG_KEY_INT, AT(config.data.size), 0, 0, "0", NUMBERS(0, 4096, false, false), "pixels",
     "side of the images that the network sees (folder, packed folder); 0 = their own, 224 where they "
     "differ"},
    {"data.memory_gb", SG_KEY_FLOAT, AT(config.data.memory_gb), 0, 0, "0.0", NUMBERS(0, 1e6, false, false),
     "GB",
     "of samples that a node keeps in memory; more are read when needed (never changes a result); 0 = half "
     "of "
     "the node's"},
    {"data.seed", SG_KEY_SEED, AT(config.data.seed), 0, 0, "1",
     NUMBERS(0, 9223372036854775807.0, false, false), "", "of the procedural data set"},

    {"train.optimizer", SG_KEY_CHOICE, AT(config.train.optimizer), 0, 0, "\"sgd\"", ONE_OF(optimizers), "",
     "sgd has momentum (not Nesterov's); adam has L2 decay"},
    {"train.lr", SG_KEY_FLOAT, AT(config.train.lr), 0, 0, "0.1", NUMBERS(0, 1e6, true, false), "",
     "full learning rate"},
    {"train.momentum", SG_KEY_FLOAT, AT(config.train.momentum), 0, 0, "0.9", NUMBERS(0, 1, false, true), "",
     "of sgd; adam ignores it"},
    {"train.weight_decay", SG_KEY_FLOAT, AT(config.train.weight_decay), 0, 0, "0.0005",
     NUMBERS(0, 1e6, false, false), "", "on every parameter, norms and biases included"},
    {"train.batch", SG_KEY_INT, AT(config.train.batch), 0, 0, "128", NUMBERS(1, 65536, false, false),
     "samples", "minibatch over all ranks of a stage"},
    {"train.order", SG_KEY_SWITCH, AT(config.train.shuffled), 0, 0, "\"shuffled\"", ONE_OF(orders), "",
     "of the training samples in each epoch"},
    {"train.max_steps", SG_KEY_INT, AT(config.train.max_steps), 0, 0, "0", NUMBERS(0, INT_MAX, false, false),
     "steps", "stops each training early; 0 = no limit"},

    {"search.methods", SG_KEY_CHOICES, AT(config.search.methods), AT(config.search.method_count),
     SG_METHOD_COUNT, "(\"lrr\", \"aws\")", ONE_OF(sg_method_names), "",
     "a search each: learning-rate rewinding, A Winning Sign, IMP"},
    {"search.seeds", SG_KEY_SEEDS, AT(config.search.seeds), AT(config.search.seed_count), SG_CONFIG_LIST,
     "(1)", NUMBERS(0, 9223372036854775807.0, false, false), "",
     "initialisation, data order and alpha; a search each"},
    {"search.warmup_epochs", SG_KEY_INT, AT(config.search.warmup_epochs), 0, 0, "10",
     NUMBERS(0, 1000000, false, false), "epochs", "training before the first pruning"},
    {"search.rounds", SG_KEY_INT, AT(config.search.rounds), 0, 0, "15", NUMBERS(1, 999, false, false),
     "rounds", "of pruning, each followed by training"},
    {"search.round_epochs", SG_KEY_INT, AT(config.search.round_epochs), 0, 0, "10",
     NUMBERS(1, 1000000, false, false), "epochs", "training after each pruning"},
    {"search.prune_fraction", SG_KEY_FLOAT, AT(config.search.prune_fraction), 0, 0, "0.2",
     NUMBERS(0, 1, true, true), "", "of the surviving weights, removed in each round"},
    {"search.schedule", SG_KEY_CHOICE, AT(config.search.schedule), 0, 0, "\"constant\"",
     ONE_OF(sg_schedule_names), "", "learning rate within the warm-up and within each round"},
    {"search.alpha", SG_KEY_RANGES, AT(config.search.alpha), AT(config.search.alpha_count), SG_CONFIG_LIST,
     "(0.0, 1.0)", NUMBERS(0, 1, false, false), "",
     "range (low, high) of the interpolation coefficient of aws; a list of ranges is an ablation"},
    {"search.imp_rewind_epoch", SG_KEY_INT, AT(config.search.imp_rewind_epoch), 0, 0, "0",
     NUMBERS(0, 1000000, false, false), "epochs",
     "imp goes back to the state after that many warm-up epochs"},

    {"transfer.modes", SG_KEY_CHOICES, AT(config.transfer.modes), AT(config.transfer.mode_count),
     SG_MODE_COUNT, "(\"signed\", \"signed_norms\", \"mask\", \"retrain\", \"dense\")", ONE_OF(sg_mode_names),
     "", "what a training starts from"},
    {"transfer.seeds", SG_KEY_SEEDS, AT(config.transfer.seeds), AT(config.transfer.seed_count),
     SG_CONFIG_LIST, "(2, 3)", NUMBERS(0, 9223372036854775807.0, false, false), "",
     "initialisation and data order; a training each"},
    {"transfer.rounds", SG_KEY_ROUNDS, AT(config.transfer.rounds), AT(config.transfer.round_count),
     SG_CONFIG_LIST, "()", NUMBERS(1, 999, false, false), "rounds",
     "from which states of a search, or \"all\"; () = what transfer.densities says, or else the last"},
    {"transfer.densities", SG_KEY_FLOATS, AT(densities), AT(density_count), SG_CONFIG_LIST, "()",
     NUMBERS(0, 1, true, true), "", "instead of transfer.rounds: the rounds nearest to these densities"},
    {"transfer.mask_file", SG_KEY_STRING, AT(config.transfer.mask_file), 0, SG_CONFIG_PATH, "\"\"", ANY, "",
     "a signed mask from elsewhere: there is no search then, and transfer.rounds means nothing"},
    {"transfer.noise_orders", SG_KEY_INT, AT(config.transfer.noise_orders), 0, 0, "1",
     NUMBERS(0, 999, false, false), "",
     "further trainings of each start in other data orders (for sgd-noise)"},
    {"transfer.epochs", SG_KEY_INT, AT(config.transfer.epochs), 0, 0, "100",
     NUMBERS(1, 1000000, false, false), "epochs", "of each training"},
    {"transfer.schedule", SG_KEY_CHOICE, AT(config.transfer.schedule), 0, 0, "\"step\"",
     ONE_OF(sg_schedule_names), "",
     "step: x0.1 from half of the epochs on, x0.01 from three quarters; cosine: to a thousandth"},

    {"single.epochs", SG_KEY_INT, AT(config.single.epochs), 0, 0, "100", NUMBERS(1, 1000000, false, false),
     "epochs", "of the training"},
    {"single.schedule", SG_KEY_CHOICE, AT(config.single.schedule), 0, 0, "\"step\"",
     ONE_OF(sg_schedule_names), "", "as transfer.schedule"},
    {"single.alpha", SG_KEY_RANGE, AT(config.single.alpha), 0, 0, "(1.0, 1.0)", NUMBERS(0, 1, false, false),
     "", "range of the interpolation coefficient; (0.37, 0.37) fixes it"},

    {"connect.points", SG_KEY_INT, AT(config.connect.points), 0, 0, "11", NUMBERS(2, 10001, false, false),
     "points", "on each path, ends included"},
    {"connect.recalibrate", SG_KEY_BOOL, AT(config.connect.recalibrate), 0, 0, "true", ANY, "",
     "re-estimates batch-norm statistics at each point"},
    {"connect.pairs", SG_KEY_CHOICES, AT(config.connect.pairs), AT(config.connect.pair_count), SG_PAIR_COUNT,
     "(\"signed-search\", \"signed-retrain\", \"signed_norms-retrain\", \"signed-signed\", \"sgd-noise\", "
     "\"norm-reinit\")",
     ONE_OF(sg_pair_names), "", "networks to connect; unless given, those whose modes are in transfer.modes"},

    {"run.ranks_per_stage", SG_KEY_INT, AT(run.ranks_per_stage), 0, 0, "0", NUMBERS(0, 65536, false, false),
     "ranks", "that work on one network: a power of two; 0 = choose"},
    {"run.threads", SG_KEY_INT, AT(run.threads), 0, 0, "0", NUMBERS(0, 4096, false, false), "threads",
     "of each rank; 0 = the cores that it may run on, divided by the ranks that share them. OMP_NUM_THREADS "
     "has no effect"},
    {"run.checkpoint_minutes", SG_KEY_FLOAT, AT(run.checkpoint_minutes), 0, 0, "5.0",
     NUMBERS(0, 1e6, false, false), "minutes",
     "between two checkpoints of a stage; 0 = only when the run is asked to stop"},
    {"run.keep", SG_KEY_INT, AT(run.keep), 0, 0, "2", NUMBERS(1, 1000, false, false), "",
     "checkpoint generations of a running stage"},
    {"run.time_limit_minutes", SG_KEY_FLOAT, AT(run.time_limit_minutes), 0, 0, "0.0",
     NUMBERS(0, 1e7, false, false), "minutes",
     "write checkpoints and stop in time; 0 = the scheduler's limit, if any"},

    {"kernels.isa", SG_KEY_NAME, AT(kernels.isa), 0, 0, "\"auto\"", ONE_OF(isas), "",
     "instruction set of Signet's own kernels (the same bits from avx2 and avx512)"},
    {"kernels.blis", SG_KEY_NAME, AT(kernels.blis), 0, 0, "\"auto\"", ONE_OF(blis_kernels), "",
     "BLIS's micro-kernel; auto: BLIS's choice, but skx on Intel with AVX-512"},
    {"kernels.winograd", SG_KEY_BOOL, AT(kernels.winograd), 0, 0, "true", ANY, "",
     "Winograd convolutions where they are faster; false: direct sums"},
    {"kernels.sparse", SG_KEY_BOOL, AT(kernels.sparse), 0, 0, "true", ANY, "",
     "sparse convolutions where they are faster; false: dense sums over zeros"},
};
const int sg_key_count = sizeof sg_keys / sizeof *sg_keys;

_Static_assert(sizeof sg_keys / sizeof *sg_keys <= SG_KEY_LIMIT, "sg_config_places has room for every key");

const char *const *sg_key_choices(const sg_key *key) {
    return key->type == SG_KEY_NAMES ? sg_net_names() : key->choices;
}

int sg_key_find(const char *path) {
    for (int i = 0; i < sg_key_count; i++)
        if (strcmp(sg_keys[i].path, path) == 0) return i;
    return -1;
}

/* Edit distance with exchanges of neighbours (optimal string alignment), on words cut to the table's size. */
static int distance(const char *a, const char *b) {
    enum { LENGTH = 64 };
    int rows[3][LENGTH + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    int m = (int)strnlen(a, LENGTH), n = (int)strnlen(b, LENGTH);
    for (int j = 0; j <= n; j++) last[j] = before[j] = j;
    for (int i = 1; i <= m; i++) {
        now[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        int *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[n];
}

const char *sg_nearest(const char *name, const char *const *names, int count) {
    const char *best = NULL;
    int least = INT_MAX;
    for (int i = 0; i < count; i++) {
        int d = distance(name, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

const char *sg_key_nearest(const char *path) {
    const char *best = sg_keys[0].path;
    int least = INT_MAX;
    for (int i = 0; i < sg_key_count; i++) {
        int d = distance(path, sg_keys[i].path);
        /* A key that is written outside its group. */
        const char *leaf = strchr(sg_keys[i].path, '.') + 1;
        const char *own = strrchr(path, '.') != NULL ? strrchr(path, '.') + 1 : path;
        int e = 1 + 2 * distance(own, leaf);
        if (e < d) d = e;
        if (d < least) {
            least = d;
            best = sg_keys[i].path;
        }
    }
    for (int i = 0; i < sg_key_group_count && strchr(path, '.') == NULL; i++) {
        int d = distance(path, sg_key_groups[i].name);
        if (d <= least) {
            least = d;
            best = sg_key_groups[i].name;
        }
    }
    return best;
}
