/* Checks over several keys, and the values that follow from others: rounds, modes and pairs. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/config_schema.h"

/* "demo.cfg:3: key `path` ...": the message stands at the first of the two keys that was set (other may be
 * NULL). */
__attribute__((format(printf, 4, 5))) static int fail(const sg_config_places *places, const char *path,
                                                      const char *other, const char *format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    const char *place = places->place[sg_key_find(path)];
    if (place[0] == '\0' && other != NULL) place = places->place[sg_key_find(other)];
    return SG_FAIL(SG_CONFIG, "%s: key `%s` %s", place[0] != '\0' ? place : places->name, path, message);
}

static bool is_given(const sg_config_places *places, const char *path) {
    return places->place[sg_key_find(path)][0] != '\0';
}

static bool has_mode(const sg_config *c, enum sg_mode mode) {
    for (int i = 0; i < c->transfer.mode_count; i++)
        if (c->transfer.modes[i] == mode) return true;
    return false;
}

static bool has_method(const sg_config *c, enum sg_method method) {
    for (int i = 0; i < c->search.method_count; i++)
        if (c->search.methods[i] == method) return true;
    return false;
}

static bool from_file(const sg_config *c) { return c->transfer.mask_file[0] != '\0'; }

static int check_data(const sg_config *c, const sg_config_places *places) {
    if (strcmp(c->data.kind, "shapes") != 0 && c->data.path[0] == '\0')
        return fail(places, "data.path", "data.kind",
                    "is empty; data.kind = \"%s\" needs to know where its files are", c->data.kind);
    bool files = strcmp(c->data.kind, "folder") == 0 || strcmp(c->data.kind, "packed") == 0;
    if (c->data.size > 0 && !files)
        return fail(places, "data.size", "data.kind",
                    "= %d, but images of data.kind = \"%s\" have a size of their own; leave it 0",
                    c->data.size, c->data.kind);
    if (c->data.size > 0 && strcmp(c->data.augment, "crop_flip") == 0)
        return fail(
            places, "data.augment", "data.size",
            "= \"crop_flip\" does not bring images to data.size = %d; set \"resized_crop\" or \"none\"",
            c->data.size);
    int least = strcmp(c->data.kind, "cifar10") == 0 ? 10 : strcmp(c->data.kind, "cifar100") == 0 ? 100 : 0;
    if (c->net.classes < least)
        return fail(places, "net.classes", "data.kind", "= %d, but %s has %d classes", c->net.classes,
                    c->data.kind, least);
    if (c->net.dropout < 0 && c->net.dropout != -1)
        return fail(places, "net.dropout", NULL,
                    "= %g is no probability; -1 stands for the architecture's own", c->net.dropout);
    return SG_OK;
}

static int check_search(const sg_config *c, const sg_config_places *places) {
    if (from_file(c)) return SG_OK;
    bool needed = false;
    for (int i = 0; i < c->transfer.mode_count; i++) needed = needed || c->transfer.modes[i] != SG_MODE_DENSE;
    if (c->search.method_count == 0) {
        if (!needed && c->transfer.mode_count > 0) return SG_OK;
        return fail(places, "search.methods", NULL,
                    "is empty, but only `dense` transfers and a transfer.mask_file need no "
                    "search; name lrr, aws or imp");
    }
    if (c->search.seed_count == 0)
        return fail(places, "search.seeds", NULL, "is empty; a search needs a seed");
    if (has_method(c, SG_METHOD_AWS) && c->search.alpha_count == 0)
        return fail(places, "search.alpha", NULL, "is empty; aws needs a range, (0.0, 1.0) in the paper");
    if (has_method(c, SG_METHOD_IMP) && c->search.imp_rewind_epoch > c->search.warmup_epochs)
        return fail(places, "search.imp_rewind_epoch", "search.warmup_epochs",
                    "= %d is later than the warm-up lasts (search.warmup_epochs = %d)",
                    c->search.imp_rewind_epoch, c->search.warmup_epochs);
    return SG_OK;
}

/* A mask file holds signs, but no trained magnitudes and norms. */
static bool mask_file_allows(enum sg_mode mode) {
    return mode == SG_MODE_SIGNED || mode == SG_MODE_MASK || mode == SG_MODE_FROZEN || mode == SG_MODE_DENSE;
}

static int check_modes(sg_config *c, const sg_config_places *places) {
    sg_transfer_config *t = &c->transfer;
    if (from_file(c)) {
        int kept = 0;
        for (int i = 0; i < t->mode_count; i++) {
            if (mask_file_allows(t->modes[i]))
                t->modes[kept++] = t->modes[i];
            else if (is_given(places, "transfer.modes"))
                return fail(places, "transfer.modes", NULL,
                            "holds \"%s\", which needs trained weights; a transfer.mask_file has signs only "
                            "(signed, mask, "
                            "frozen and dense are possible)",
                            sg_mode_name(t->modes[i]));
        }
        t->mode_count = kept;
    }
    if (t->mode_count > 0 && t->seed_count == 0)
        return fail(places, "transfer.seeds", NULL, "is empty; a transfer needs a seed");
    return SG_OK;
}

static int compare_ints(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* The round whose density (1 - fraction)^t is nearest. */
static int nearest_round(double density, double fraction) {
    int below = (int)ceil(log(density) / log1p(-fraction));
    if (below < 1) below = 1;
    double after = pow(1 - fraction, below), before = pow(1 - fraction, below - 1);
    return below > 1 && before - density <= density - after ? below - 1 : below;
}

static int settle_rounds(sg_config_draft *draft, const sg_config_places *places) {
    sg_config *c = &draft->config;
    sg_transfer_config *t = &c->transfer;
    bool rounds = draft->all_rounds || t->round_count > 0;
    if (rounds && draft->density_count > 0)
        return fail(places, "transfer.densities", "transfer.rounds",
                    "and transfer.rounds are both given; leave one of them empty: ()");
    if (from_file(c) || c->search.method_count == 0) {
        t->round_count = 0;
        return SG_OK;
    }
    if (draft->all_rounds) {
        if (c->search.rounds > SG_CONFIG_LIST)
            return fail(places, "transfer.rounds", "search.rounds",
                        "= \"all\" is possible up to %d rounds; list some", SG_CONFIG_LIST);
        for (t->round_count = 0; t->round_count < c->search.rounds; t->round_count++)
            t->rounds[t->round_count] = t->round_count + 1;
    } else if (draft->density_count > 0) {
        t->round_count = 0;
        for (int i = 0; i < draft->density_count; i++) {
            int round = nearest_round(draft->densities[i], c->search.prune_fraction);
            if (round > c->search.rounds)
                return fail(
                    places, "transfer.densities", "search.rounds",
                    "asks for density %g, which is reached in round %d; search.rounds = %d ends at %.2g",
                    draft->densities[i], round, c->search.rounds,
                    pow(1 - c->search.prune_fraction, c->search.rounds));
            bool known = false;
            for (int j = 0; j < t->round_count; j++) known = known || t->rounds[j] == round;
            if (!known) t->rounds[t->round_count++] = round;
        }
    } else if (!rounds) {
        t->rounds[0] = c->search.rounds;
        t->round_count = 1;
    }
    qsort(t->rounds, (size_t)t->round_count, sizeof *t->rounds, compare_ints);
    if (t->rounds[t->round_count - 1] > c->search.rounds)
        return fail(places, "transfer.rounds", "search.rounds", "asks for round %d, but search.rounds = %d",
                    t->rounds[t->round_count - 1], c->search.rounds);
    draft->density_count = 0;
    draft->all_rounds = false;
    return SG_OK;
}

/* What keeps this pair from being made, as a sentence's end; NULL: nothing. */
static const char *obstacle(const sg_config *c, enum sg_pair pair) {
    bool search = !from_file(c) && c->search.method_count > 0;
    switch (pair) {
    case SG_PAIR_SIGNED_SEARCH:
        if (!search) return "a search, and there is none";
        return has_mode(c, SG_MODE_SIGNED) ? NULL : "the mode \"signed\", which is not in transfer.modes";
    case SG_PAIR_SIGNED_RETRAIN:
        if (!has_mode(c, SG_MODE_SIGNED)) return "the mode \"signed\", which is not in transfer.modes";
        return has_mode(c, SG_MODE_RETRAIN) ? NULL : "the mode \"retrain\", which is not in transfer.modes";
    case SG_PAIR_SIGNED_NORMS_RETRAIN:
        if (!has_mode(c, SG_MODE_SIGNED_NORMS))
            return "the mode \"signed_norms\", which is not in transfer.modes";
        return has_mode(c, SG_MODE_RETRAIN) ? NULL : "the mode \"retrain\", which is not in transfer.modes";
    case SG_PAIR_SIGNED_SIGNED:
        if (!has_mode(c, SG_MODE_SIGNED)) return "the mode \"signed\", which is not in transfer.modes";
        return c->transfer.seed_count > 1 ? NULL : "two transfer.seeds or more";
    case SG_PAIR_SGD_NOISE:
        if (c->transfer.mode_count == 0) return "a mode in transfer.modes";
        return c->transfer.noise_orders > 0 ? NULL : "transfer.noise_orders = 1 or more";
    default:
        return search ? NULL : "a search, and there is none";
    }
}

static int settle_pairs(sg_config *c, const sg_config_places *places) {
    bool given = is_given(places, "connect.pairs");
    int kept = 0;
    for (int i = 0; i < c->connect.pair_count; i++) {
        const char *missing = obstacle(c, c->connect.pairs[i]);
        if (missing == NULL)
            c->connect.pairs[kept++] = c->connect.pairs[i];
        else if (given)
            return fail(places, "connect.pairs", NULL, "holds \"%s\", which needs %s",
                        sg_pair_name(c->connect.pairs[i]), missing);
    }
    c->connect.pair_count = kept;
    return SG_OK;
}

int sg_config_check(sg_config_draft *draft, const sg_config_places *places) {
    sg_config *c = &draft->config;
    if (draft->arch_count == 0) return fail(places, "net.arch", NULL, "is empty; name an architecture");
    int ranks = draft->run.ranks_per_stage;
    if ((ranks & (ranks - 1)) != 0)
        return fail(places, "run.ranks_per_stage", NULL,
                    "= %d is no power of two; use 0 (choose), 1, 2, 4, 8 ...", ranks);
    SG_TRY(check_data(c, places));
    SG_TRY(check_modes(c, places));
    SG_TRY(check_search(c, places));
    SG_TRY(settle_rounds(draft, places));
    return SG_AT(settle_pairs(c, places));
}
