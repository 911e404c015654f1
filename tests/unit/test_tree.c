/* The order of sums over blocks, against the definition in kernels/tree.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/tree.h"

enum { MOST = 33, TEXT = 1024 };

/* A value is the text of the expression that made it, so that equal texts are equal trees. */
typedef struct value {
    char text[TEXT];
} value;

static void join(value *low, const value *high) {
    value sum;
    int used = snprintf(sum.text, sizeof sum.text, "(%.500s+%.500s)", low->text, high->text);
    assert_in_range(used, 1, TEXT - 1);
    *low = sum;
}

static void name(value *v, int block) { snprintf(v->text, sizeof v->text, "%d", block); }

/* v[b] += v[b + d] for d = top/2, top/4, ..., 1, absent blocks skipped. */
static void define(int blocks, value *v) {
    int top = 1;
    while (top < blocks) top *= 2;
    for (int b = 0; b < blocks; b++) name(&v[b], b);
    for (int d = top / 2; d >= 1; d /= 2)
        for (int b = 0; b < d && b + d < blocks; b++) join(&v[b], &v[b + d]);
}

/* The local part of a rank as sg_tree_order says; returns the deepest stack. */
static int evaluate(int blocks, int rank, int ranks, value *result) {
    static value stack[MOST + 1];
    int leaf[MOST + 1], merges[MOST + 1], top = 0, deepest = 0;
    int local = sg_tree_local_blocks(blocks, rank, ranks);
    sg_tree_order(local, leaf, merges);
    for (int i = 0; i < local; i++) {
        name(&stack[top++], leaf[i] * ranks + rank);
        if (top > deepest) deepest = top;
        for (int merge = 0; merge < merges[i]; merge++) {
            assert_in_range(top, 2, MOST);
            top--;
            join(&stack[top - 1], &stack[top]);
        }
    }
    assert_int_equal(top, local > 0 ? 1 : 0);
    if (local > 0) *result = stack[0];
    return deepest;
}

static void every_block_is_visited_once(void **state) {
    (void)state;
    for (int n = 0; n <= MOST; n++) {
        int leaf[MOST + 1], merges[MOST + 1], merged = 0;
        bool seen[MOST + 1] = {false};
        sg_tree_order(n, leaf, merges);
        for (int i = 0; i < n; i++) {
            assert_in_range(leaf[i], 0, n - 1);
            assert_false(seen[leaf[i]]);
            seen[leaf[i]] = true;
            merged += merges[i];
        }
        assert_int_equal(merged, n > 0 ? n - 1 : 0);
    }
}

static void nothing_is_written_behind_n(void **state) {
    (void)state;
    for (int n = 0; n <= MOST; n++) {
        int leaf[MOST + 2], merges[MOST + 2];
        memset(leaf, 0x55, sizeof leaf);
        memset(merges, 0x55, sizeof merges);
        sg_tree_order(n, leaf, merges);
        assert_int_equal(leaf[n], 0x55555555);
        assert_int_equal(merges[n], 0x55555555);
    }
}

static void one_rank_evaluates_the_definition(void **state) {
    (void)state;
    for (int blocks = 1; blocks <= MOST; blocks++) {
        static value v[MOST + 1], got;
        define(blocks, v);
        evaluate(blocks, 0, 1, &got);
        assert_string_equal(got.text, v[0].text);
    }
}

/* Local trees, then the ranks at distance ranks/2, ..., 1, lower (+) upper, absent ranks skipped. */
static void ranks_evaluate_the_definition(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 4, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int blocks = 1; blocks <= MOST; blocks++) {
            static value v[MOST + 1], rank[8];
            int ranks = sizes[i];
            define(blocks, v);
            for (int r = 0; r < ranks; r++) evaluate(blocks, r, ranks, &rank[r]);
            for (int d = ranks / 2; d >= 1; d /= 2)
                for (int r = 0; r < d && r + d < ranks; r++)
                    if (r + d < blocks) join(&rank[r], &rank[r + d]);
            assert_string_equal(rank[0].text, v[0].text);
        }
}

/* The deepest stack that an order of n leaves makes. */
static int deepest_stack(int n) {
    int *leaf = malloc(2 * (size_t)n * sizeof *leaf), *merges = leaf + n, top = 0, deepest = 0;
    assert_non_null(leaf);
    sg_tree_order(n, leaf, merges);
    for (int i = 0; i < n; i++) {
        if (++top > deepest) deepest = top;
        top -= merges[i];
    }
    free(leaf);
    return deepest;
}

static void the_stack_is_as_deep_as_the_tree(void **state) {
    (void)state;
    static const int large[] = {1000, 65535, 65536, 65537, 100000};
    for (int blocks = 1; blocks <= MOST; blocks++) {
        static value got;
        assert_int_equal(evaluate(blocks, 0, 1, &got), deepest_stack(blocks));
        assert_int_equal(deepest_stack(blocks), sg_tree_depth(blocks));
    }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        assert_int_equal(deepest_stack(large[i]), sg_tree_depth(large[i]));
}

static void the_depth_is_one_more_than_the_logarithm(void **state) {
    (void)state;
    static const int depth[][2] = {{0, 0}, {1, 1}, {2, 2},      {3, 2},      {4, 3},
                                   {7, 3}, {8, 4}, {65535, 16}, {65536, 17}, {INT_MAX, 31}};
    for (size_t i = 0; i < sizeof depth / sizeof *depth; i++)
        assert_int_equal(sg_tree_depth(depth[i][0]), depth[i][1]);
}

static void local_blocks_add_up_to_all_blocks(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 8; ranks *= 2)
        for (int blocks = 0; blocks <= MOST; blocks++) {
            int sum = 0;
            for (int r = 0; r < ranks; r++) sum += sg_tree_local_blocks(blocks, r, ranks);
            assert_int_equal(sum, blocks);
        }
}

static void samples_of_the_blocks_add_up_to_the_minibatch(void **state) {
    (void)state;
    const int lanes = 16;
    for (int ranks = 1; ranks <= 8; ranks *= 2)
        for (int samples = 1; samples <= 131; samples++) {
            int blocks = sg_divide_up(samples, lanes), sum = 0;
            for (int r = 0; r < ranks; r++)
                for (int j = 0; j < sg_tree_local_blocks(blocks, r, ranks); j++) {
                    int here = sg_tree_block_samples(samples, lanes, j, r, ranks);
                    assert_in_range(here, 1, lanes);
                    sum += here;
                }
            assert_int_equal(sum, samples);
            assert_int_equal(sg_tree_block_samples(samples, lanes, blocks, 0, 1), 0);
        }
}

static void as_many_ranks_work_as_have_blocks(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 9; ranks++)
        for (int blocks = 1; blocks <= 9; blocks++) {
            int working = sg_tree_ranks(blocks, ranks), least = ranks < blocks ? ranks : blocks;
            assert_int_equal(working & (working - 1), 0);
            assert_in_range(working, 1, least);
            assert_true(2 * working > least);
        }
    assert_int_equal(sg_tree_ranks(0, 4), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_is_visited_once),
        cmocka_unit_test(nothing_is_written_behind_n),
        cmocka_unit_test(one_rank_evaluates_the_definition),
        cmocka_unit_test(ranks_evaluate_the_definition),
        cmocka_unit_test(the_stack_is_as_deep_as_the_tree),
        cmocka_unit_test(the_depth_is_one_more_than_the_logarithm),
        cmocka_unit_test(local_blocks_add_up_to_all_blocks),
        cmocka_unit_test(as_many_ranks_work_as_have_blocks),
        cmocka_unit_test(samples_of_the_blocks_add_up_to_the_minibatch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
