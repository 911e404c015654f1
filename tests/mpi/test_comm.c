/* Groups, agreement, and the reduction's bits: on any number of ranks those of a serial evaluation of
 * tree.h's tree over all blocks. Equality is exact throughout. */
#include <math.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/tree.h"
#include "pipeline/comm.h"
#include "pipeline/shared_memory.h"
#include "tests/mpi/check.h"

enum { MAX_BLOCKS = 17 };

static sg_comm *world;

/* Values of widely different sizes, so that another order of summation has other bits; -0.0 among them. */
static float block_value(int block, size_t i) {
    sg_random random = sg_rng(7, SG_RNG_TEST, (uint32_t)block, (uint32_t)i, 0);
    if (random.word[0] % 16 == 0) return -0.0f;
    return ldexpf(sg_uniform(random.word[1]) - 0.5f, (int)(random.word[2] % 24));
}

/* tree.h literally: at distance d = 2^ceil(log2 B)/2, ..., 1, v[b] += v[b + d] where both exist. */
static void serial_tree(int blocks, size_t n, float *value) {
    float *v;
    CHECK_OK(SG_NEW(&v, (size_t)blocks * n));
    for (int b = 0; b < blocks; b++)
        for (size_t i = 0; i < n; i++) v[(size_t)b * n + i] = block_value(b, i);
    int top = 1;
    while (top < blocks) top *= 2;
    for (int d = top / 2; d >= 1; d /= 2)
        for (int b = 0; b < d && b + d < blocks; b++)
            for (size_t i = 0; i < n; i++) v[(size_t)b * n + i] += v[(size_t)(b + d) * n + i];
    memcpy(value, v, n * sizeof *value);
    SG_FREE(v);
}

/* This rank's blocks, combined in the order of the local tree; garbage that must not be used when it has
 * none. */
static void local_tree(int blocks, int rank, int ranks, size_t n, float *value) {
    int leaf[MAX_BLOCKS], merges[MAX_BLOCKS], local = sg_tree_local_blocks(blocks, rank, ranks), depth = 0;
    for (size_t i = 0; i < n; i++) value[i] = NAN;
    if (local == 0) return;
    sg_tree_order(local, leaf, merges);
    float *stack;
    CHECK_OK(SG_NEW(&stack, (size_t)sg_tree_depth(local) * n));
    for (int k = 0; k < local; k++) {
        for (size_t i = 0; i < n; i++) stack[(size_t)depth * n + i] = block_value(leaf[k] * ranks + rank, i);
        depth++;
        for (int m = 0; m < merges[k]; m++, depth--)
            sg_combine_float(stack + (size_t)(depth - 2) * n, stack + (size_t)(depth - 1) * n, n);
    }
    memcpy(value, stack, n * sizeof *value);
    SG_FREE(stack);
}

static void check_bits(const float *got, const float *expected, size_t n, int blocks, const char *how) {
    for (size_t i = 0; i < n; i++)
        CHECK(memcmp(&got[i], &expected[i], sizeof *got) == 0,
              "%s, %d blocks, length %zu, element %zu: %a, expected %a", how, blocks, n, i, (double)got[i],
              (double)expected[i]);
}

/* got: [n], in memory of any kind. */
static void compare_with_serial(const sg_reduce *reduce, float *got, size_t n) {
    float *expected;
    CHECK_OK(SG_NEW(&expected, n));
    for (int blocks = 1; blocks <= MAX_BLOCKS; blocks++) {
        serial_tree(blocks, n, expected);
        local_tree(blocks, reduce->rank, reduce->size, n, got);
        CHECK_OK(reduce->combine(reduce->context, got, n, sizeof *got, sg_combine_float, blocks));
        check_bits(got, expected, n, blocks, "blocking");
        local_tree(blocks, reduce->rank, reduce->size, n, got);
        CHECK_OK(reduce->sum_begin(reduce->context, got, n, blocks));
        CHECK_OK(reduce->finish(reduce->context));
        check_bits(got, expected, n, blocks, "non-blocking");
    }
    SG_FREE(expected);
}

static void compare_messages(size_t long_bytes, size_t message_bytes, size_t n) {
    sg_reduce reduce;
    CHECK_OK(sg_comm_reduce(world, 2, &reduce));
    sg_comm_tune(world, long_bytes, message_bytes);
    float *got;
    CHECK_OK(SG_NEW(&got, n));
    compare_with_serial(&reduce, got, n);
    SG_FREE(got);
}

static void compare_allocated(int threads, size_t n) {
    sg_reduce reduce;
    CHECK_OK(sg_comm_reduce(world, threads, &reduce));
    float *got;
    CHECK_OK(reduce.allocate(reduce.context, n, &got));
    for (size_t i = 0; i < n; i++) CHECK(got[i] == 0.0f, "element %zu is not zero", i);
    compare_with_serial(&reduce, got, n);
    reduce.release(reduce.context, &got);
    CHECK(got == NULL, "the pointer is not cleared");
}

static void short_messages_follow_the_tree(void) {
    for (size_t n = 0; n <= 9; n++) compare_messages(1 << 30, 1 << 30, n);
    compare_messages(1 << 30, 1 << 30, 1000);
}

static void long_messages_follow_the_tree(void) {
    for (size_t n = 0; n <= 9; n++) compare_messages(1, 1 << 30, n);
    compare_messages(1, 1 << 30, 1000);
}

static void messages_in_pieces_follow_the_tree(void) {
    compare_messages(1, 100, 1001);
    compare_messages(1 << 30, 100, 1001);
}

static void usual_sizes_follow_the_tree(void) { compare_messages(32 << 10, 1 << 30, 20000); }

static void shared_memory_follows_the_tree(void) {
    for (size_t n = 0; n <= 70; n += n < 9 ? 1 : 7) compare_allocated(1, n);
    compare_allocated(1, 20000);
}

static void two_threads_follow_the_tree(void) {
    compare_messages(32 << 10, 1 << 30, 140001);
    compare_allocated(2, 300001);
}

/* Without the shared file that rank 0 would make. */
static void unshared_memory_follows_the_tree(void) {
    struct rlimit usual, none;
    CHECK(getrlimit(RLIMIT_FSIZE, &usual) == 0, "getrlimit failed");
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = usual.rlim_max};
    if (sg_comm_rank(world) == 0) CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0, "setrlimit failed");
    sg_shared_memory *memory;
    CHECK_OK(sg_shared_memory_create(&memory, sg_comm_mpi(world), 1));
    CHECK(memory == NULL, "shared in spite of the limit");
    compare_allocated(1, 1000);
    if (sg_comm_rank(world) == 0) CHECK(setrlimit(RLIMIT_FSIZE, &usual) == 0, "setrlimit failed");
}

static void ranks_see_each_others_memory(void) {
    enum { BYTES = 100000 };
    int rank = sg_comm_rank(world), size = sg_comm_size(world);
    sg_shared_memory *memory;
    CHECK_OK(sg_shared_memory_create(&memory, sg_comm_mpi(world), BYTES));
    CHECK(memory != NULL, "the ranks of one node share nothing");
    memset(sg_shared_memory_of(memory, rank), 1 + rank, BYTES);
    CHECK_OK(sg_comm_barrier_quietly(world));
    for (int r = 0; r < size; r++) {
        const char *part = sg_shared_memory_of(memory, r);
        for (int i = 0; i < BYTES; i++) CHECK(part[i] == 1 + r, "rank %d, byte %d: %d", r, i, part[i]);
    }
    sg_shared_memory_destroy(&memory);
    CHECK(memory == NULL, "the handle is not cleared");
}

enum { SUMS = 40, MOST = 300 };

/* got: [SUMS * MOST], in memory of any kind. */
static void run_many_sums(const sg_reduce *reduce, float *got) {
    enum { BLOCKS = 13 };
    float expected[MOST];
    for (int s = 0; s < SUMS; s++) {
        size_t n = (size_t)(s * 7) % MOST;
        local_tree(BLOCKS, reduce->rank, reduce->size, n, got + s * MOST);
        CHECK_OK(reduce->sum_begin(reduce->context, got + s * MOST, n, BLOCKS));
        for (int i = 0; i < (s + reduce->rank) % 3; i++)
            CHECK_OK(reduce->progress(reduce->context)); /* ranks differ */
    }
    /* A blocking one in between must not mix with them. */
    float one = (float)reduce->rank;
    CHECK_OK(reduce->combine(reduce->context, &one, 1, sizeof one, sg_combine_float, reduce->size));
    CHECK(one == (float)(reduce->size * (reduce->size - 1) / 2), "got %g", (double)one);
    CHECK_OK(reduce->finish(reduce->context));
    for (int s = 0; s < SUMS; s++) {
        size_t n = (size_t)(s * 7) % MOST;
        serial_tree(BLOCKS, n, expected);
        check_bits(got + s * MOST, expected, n, BLOCKS, "many at once");
    }
}

static void many_sums_at_once_stay_apart(void) {
    sg_reduce reduce;
    CHECK_OK(sg_comm_reduce(world, 1, &reduce));
    sg_comm_tune(world, 256, 512);
    float *plain, *one, *other;
    CHECK_OK(SG_NEW(&plain, SUMS * MOST));
    CHECK_OK(reduce.allocate(reduce.context, SUMS * MOST, &one));
    CHECK_OK(reduce.allocate(reduce.context, SUMS * MOST, &other));
    run_many_sums(&reduce, plain);
    for (int i = 0; i < 3; i++) {
        run_many_sums(&reduce, one);
        run_many_sums(&reduce, other);
    }
    reduce.release(reduce.context, &one);
    run_many_sums(&reduce, other);
    reduce.release(reduce.context, &other);
    SG_FREE(plain);
}

/* The highest rank comes late, and begins all sums while the others look at one after the other. */
static void a_sum_is_not_overtaken_by_the_next(void) {
    enum { ROUNDS = 100, SUMS_AT_ONCE = 200, COUNT = 16 };
    sg_reduce reduce;
    CHECK_OK(sg_comm_reduce(world, 1, &reduce));
    float *data;
    CHECK_OK(reduce.allocate(reduce.context, (size_t)SUMS_AT_ONCE * COUNT, &data));
    float expected = (float)(reduce.size * (reduce.size + 1) / 2);
    for (int round = 0, wrong = 0; round < ROUNDS && wrong == 0; round++) {
        for (size_t i = 0; i < (size_t)SUMS_AT_ONCE * COUNT; i++) data[i] = (float)(reduce.rank + 1);
        float met = 1;
        CHECK_OK(reduce.combine(reduce.context, &met, 1, sizeof met, sg_combine_float, reduce.size));
        double start = MPI_Wtime();
        while (reduce.rank == reduce.size - 1 && MPI_Wtime() - start < 1e-4) {}
        for (size_t s = 0; s < SUMS_AT_ONCE; s++)
            CHECK_OK(reduce.sum_begin(reduce.context, data + s * COUNT, COUNT, reduce.size));
        CHECK_OK(reduce.finish(reduce.context));
        for (size_t i = 0; i < (size_t)SUMS_AT_ONCE * COUNT; i++) wrong += data[i] != expected;
        CHECK(wrong == 0, "round %d: %d sums are wrong", round, wrong);
    }
    reduce.release(reduce.context, &data);
}

typedef struct word {
    char text[16];
} word;

/* Not commutative: shows which side each value came from. */
static void join(void *low, const void *high, size_t count) {
    word *to = low;
    const word *from = high;
    for (size_t i = 0; i < count; i++)
        strncat(to[i].text, from[i].text, sizeof to[i].text - strlen(to[i].text) - 1);
}

static void low_comes_from_the_lower_rank(void) {
    sg_reduce reduce;
    CHECK_OK(sg_comm_reduce(world, 1, &reduce));
    const char *expected[] = {"0", "01", "", "0213", "", "", "", "04261537"};
    if (reduce.size > 8) return;
    for (size_t long_bytes = 1; long_bytes <= 1 << 20; long_bytes <<= 20) {
        sg_comm_tune(world, long_bytes, 1 << 20);
        word words[3];
        for (int i = 0; i < 3; i++) snprintf(words[i].text, sizeof words[i].text, "%d", reduce.rank);
        CHECK_OK(reduce.combine(reduce.context, words, 3, sizeof *words, join, reduce.size));
        for (int i = 0; i < 3; i++)
            CHECK(strcmp(words[i].text, expected[reduce.size - 1]) == 0, "got \"%s\", expected \"%s\"",
                  words[i].text, expected[reduce.size - 1]);
    }
}

static void a_group_of_three_cannot_reduce(void) {
    if (sg_comm_size(world) < 4) return;
    sg_comm *three;
    CHECK_OK(sg_comm_split(&three, world, sg_comm_rank(world) < 3 ? 0 : -1, 0));
    CHECK((three == NULL) == (sg_comm_rank(world) >= 3), "membership of rank %d is wrong",
          sg_comm_rank(world));
    sg_reduce reduce;
    if (three != NULL) CHECK_STATUS(sg_comm_reduce(three, 1, &reduce), SG_INTERNAL, "power of two");
    sg_comm_destroy(&three);
}

static void halves_work_by_themselves(void) {
    int rank = sg_comm_rank(world), size = sg_comm_size(world);
    if (size < 2) return;
    sg_comm *half;
    CHECK_OK(sg_comm_split(&half, world, rank % 2, -rank));
    CHECK(sg_comm_size(half) == size / 2, "size %d, expected %d", sg_comm_size(half), size / 2);
    CHECK(sg_comm_rank(half) == size / 2 - 1 - rank / 2, "rank %d by falling key", sg_comm_rank(half));
    sg_reduce reduce;
    CHECK_OK(sg_comm_reduce(half, 1, &reduce));
    double sum = rank;
    CHECK_OK(reduce.combine(reduce.context, &sum, 1, sizeof sum, sg_combine_double, reduce.size));
    double expected = 0;
    for (int r = rank % 2; r < size; r += 2) expected += r;
    CHECK(sum == expected, "%g, expected %g", sum, expected);
    sg_comm_destroy(&half);
    CHECK(half == NULL, "the handle is not cleared");
}

static void agreement_when_all_is_well(void) { CHECK_OK(sg_comm_agree(world, SG_OK)); }

static void agreement_takes_the_worst_and_its_message(void) {
    int rank = sg_comm_rank(world), size = sg_comm_size(world), status = SG_OK;
    if (rank == size - 1) status = SG_FAIL(SG_IO, "disk of rank %d is full", rank);
    if (size > 2 && rank == 1) status = SG_FAIL(SG_DATA, "less bad");
    CHECK_STATUS(sg_comm_agree(world, status), SG_IO, "is full");
    char expected[64];
    snprintf(expected, sizeof expected, "disk of rank %d is full", size - 1);
    CHECK(strcmp(sg_error_message(), expected) == 0, "message \"%s\"", sg_error_message());
    CHECK(strstr(sg_error_trace(), "agreement_takes_the_worst") != NULL, "trace \"%s\"", sg_error_trace());
}

static void agreement_takes_the_lowest_of_equals(void) {
    int rank = sg_comm_rank(world), size = sg_comm_size(world), status = SG_OK;
    if (rank >= size / 2) status = SG_FAIL(SG_IO, "from %d", rank);
    char expected[64];
    snprintf(expected, sizeof expected, "from %d", size / 2);
    CHECK_STATUS(sg_comm_agree(world, status), SG_IO, expected);
}

static void an_interruption_hides_no_failure(void) {
    int rank = sg_comm_rank(world), size = sg_comm_size(world);
    int status = SG_FAIL(SG_INTERRUPTED, "stopped");
    CHECK_STATUS(sg_comm_agree(world, status), SG_INTERRUPTED, "stopped");
    if (rank == size - 1) status = SG_FAIL(SG_FAILED, "diverged");
    CHECK_STATUS(sg_comm_agree(world, status), SG_FAILED, "diverged");
}

static void helpers_collect_and_spread(void) {
    int rank = sg_comm_rank(world), size = sg_comm_size(world);
    int largest = 3 * rank;
    CHECK_OK(sg_comm_max_int(world, &largest));
    CHECK(largest == 3 * (size - 1), "maximum %d", largest);
    double value = ldexp(1.0, -30 * rank), expected = 1;
    for (int r = 1; r < size; r++) expected += ldexp(1.0, -30 * r);
    CHECK_OK(sg_comm_sum_double(world, &value, 1));
    CHECK(value == expected, "%a, expected %a", value, expected);
    char text[32] = "";
    if (rank == size - 1) strcpy(text, "from the last rank");
    CHECK_OK(sg_comm_broadcast(world, text, sizeof text, size - 1));
    CHECK(strcmp(text, "from the last rank") == 0, "\"%s\"", text);
    int node_rank, node_ranks;
    CHECK_OK(sg_comm_node(world, &node_rank, &node_ranks));
    CHECK(node_rank == rank && node_ranks == size, "%d of %d on the node", node_rank, node_ranks);
}

static int count_call(void *context) {
    ++*(int *)context;
    return SG_OK;
}

/* The last to come finds all others there, perhaps; whoever waits is called. */
static void waiting_ranks_are_called(void) {
    int calls = 0;
    struct timespec a_while = {.tv_nsec = 200 * 1000 * 1000};
    if (sg_comm_rank(world) == 0) nanosleep(&a_while, NULL);
    CHECK_OK(sg_comm_barrier_watching(world, count_call, &calls));
    CHECK(sg_comm_rank(world) == 0 || calls > 0, "%d calls", calls);
}

static void quiet_messages_arrive(void) {
    int rank = sg_comm_rank(world), size = sg_comm_size(world), from = -1, next = (rank + 1) % size;
    bool arrived = true;
    size_t bytes = 0;
    CHECK_OK(sg_comm_wait_quietly(world, MPI_ANY_SOURCE, SG_TAG_TEST, 0.01, &arrived, &from, &bytes));
    CHECK(!arrived, "a message that nobody sent");
    CHECK_OK(sg_comm_barrier_quietly(world));
    int sent = 1000 + rank, received = 0;
    CHECK_OK(sg_comm_send(world, &sent, sizeof sent, next, SG_TAG_TEST));
    CHECK_OK(sg_comm_wait_quietly(world, MPI_ANY_SOURCE, SG_TAG_TEST, -1, &arrived, &from, &bytes));
    CHECK(arrived && from == (rank + size - 1) % size && bytes == sizeof sent, "from %d, %zu bytes", from,
          bytes);
    CHECK_OK(sg_comm_receive(world, &received, sizeof received, from, SG_TAG_TEST, &bytes));
    CHECK(received == 1000 + from, "%d from %d", received, from);
}

static void an_mpi_error_names_its_call(void) {
    int rank = sg_comm_rank(world);
    CHECK_STATUS(sg_comm_send(world, &rank, sizeof rank, sg_comm_size(world) + 5, SG_TAG_TEST), SG_INTERNAL,
                 "MPI_Send failed");
}

/* `test_comm fails-alone`: the last rank is out of memory while the others wait for it in a sum.
 * tests/fault/alone.sh looks at how the job ends. */
static void fail_alone(void) {
    sg_reduce reduce;
    float value = 1.0f;
    CHECK_OK(sg_comm_reduce(world, 1, &reduce));
    int size = sg_comm_size(world);
    if (sg_comm_rank(world) == size - 1)
        sg_comm_agree(world, SG_FAIL(SG_NOMEM, "out of memory: nothing is left"));
    else
        reduce.combine(reduce.context, &value, 1, sizeof value, sg_combine_float, size);
    CHECK(false, "the job went on");
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(sg_comm_create(&world, MPI_COMM_WORLD));
    if (argc == 2 && strcmp(argv[1], "fails-alone") == 0) fail_alone();
    RUN(short_messages_follow_the_tree);
    RUN(long_messages_follow_the_tree);
    RUN(messages_in_pieces_follow_the_tree);
    RUN(usual_sizes_follow_the_tree);
    RUN(shared_memory_follows_the_tree);
    RUN(two_threads_follow_the_tree);
    RUN(unshared_memory_follows_the_tree);
    RUN(ranks_see_each_others_memory);
    RUN(many_sums_at_once_stay_apart);
    RUN(a_sum_is_not_overtaken_by_the_next);
    RUN(low_comes_from_the_lower_rank);
    RUN(a_group_of_three_cannot_reduce);
    RUN(halves_work_by_themselves);
    RUN(agreement_when_all_is_well);
    RUN(agreement_takes_the_worst_and_its_message);
    RUN(agreement_takes_the_lowest_of_equals);
    RUN(an_interruption_hides_no_failure);
    RUN(helpers_collect_and_spread);
    RUN(quiet_messages_arrive);
    RUN(waiting_ranks_are_called);
    RUN(an_mpi_error_names_its_call);
    sg_comm_destroy(&world);
    MPI_Finalize();
    return 0;
}
