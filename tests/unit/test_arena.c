/* Places in an arena: over random pieces no two that are needed together overlap, nothing is larger than one
 * behind the other, and `shared` is what a naive look says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/arena.h"
#include "kernels/memory.h"
#include "kernels/rng.h"

enum { MOST = 60, STEPS = 40, TRIALS = 300 };

static uint32_t draw(uint32_t trial, uint32_t number, uint32_t below) {
    return sg_rng(5, SG_RNG_TEST, trial, number, 0).word[0] % below;
}

/* The naive twin: which of `bytes` small units of memory a piece holds, step by step. */
static void check(const sg_piece *pieces, int count, size_t bytes) {
    enum { UNIT = SG_ALIGNMENT };
    size_t units = bytes / UNIT;
    int *holder;
    assert_int_equal(SG_NEW(&holder, units + 1), SG_OK);
    for (int step = 0; step < STEPS; step++) {
        for (size_t u = 0; u < units; u++) holder[u] = -1;
        for (int i = 0; i < count; i++) {
            if (step < pieces[i].first || step > pieces[i].last) continue;
            assert_int_equal(pieces[i].at % UNIT, 0);
            assert_true(pieces[i].at + pieces[i].bytes <= bytes);
            for (size_t at = pieces[i].at; at < pieces[i].at + pieces[i].bytes; at += UNIT) {
                if (holder[at / UNIT] >= 0)
                    fail_msg("step %d: pieces %d and %d lie over each other", step, holder[at / UNIT], i);
                holder[at / UNIT] = i;
            }
        }
    }
    for (int i = 0; i < count; i++) {
        bool shared = false;
        for (int j = 0; j < count; j++)
            for (size_t at = 0; at < pieces[i].bytes && j != i; at++)
                shared |=
                    pieces[i].at + at >= pieces[j].at && pieces[i].at + at < pieces[j].at + pieces[j].bytes;
        assert_int_equal(pieces[i].shared, shared);
    }
    free(holder);
}

static void pieces_needed_together_do_not_overlap(void **state) {
    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        sg_piece pieces[MOST];
        int count = 1 + (int)draw(trial, 0, MOST);
        size_t bytes, whole = 0, most = 0;
        for (int i = 0; i < count; i++) {
            uint32_t n = 4 * (uint32_t)i + 1;
            int first = (int)draw(trial, n, STEPS), length = (int)draw(trial, n + 1, trial % 2 ? 5 : STEPS);
            pieces[i] = (sg_piece){.bytes = 1 + draw(trial, n + 2, 700),
                                   .first = first,
                                   .last = first + length < STEPS ? first + length : STEPS - 1};
            whole += sg_round_up(pieces[i].bytes, SG_ALIGNMENT);
        }
        assert_int_equal(sg_arena_plan(pieces, count, &bytes), SG_OK);
        check(pieces, count, bytes);
        for (int step = 0; step < STEPS; step++) {
            size_t live = 0;
            for (int i = 0; i < count; i++)
                if (pieces[i].first <= step && step <= pieces[i].last) live += pieces[i].bytes;
            most = live > most ? live : most;
        }
        assert_true(bytes >= most && bytes <= whole);
    }
}

static void a_later_piece_takes_the_place_of_a_dead_one(void **state) {
    (void)state;
    sg_piece pieces[] = {{.bytes = 640, .first = 0, .last = 2},
                         {.bytes = 128, .first = 0, .last = 9},
                         {.bytes = 256, .first = 3, .last = 9},
                         {.bytes = 320, .first = 4, .last = 4}};
    size_t bytes;
    assert_int_equal(sg_arena_plan(pieces, 4, &bytes), SG_OK);
    assert_int_equal(bytes, 640 + 128);
    assert_int_equal(pieces[3].at, 0);
    assert_int_equal(pieces[2].at, 320);
    assert_true(pieces[0].shared && pieces[2].shared && pieces[3].shared && !pieces[1].shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_needed_together_do_not_overlap),
        cmocka_unit_test(a_later_piece_takes_the_place_of_a_dead_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
