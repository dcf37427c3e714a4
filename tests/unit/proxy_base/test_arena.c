#include <criterion/criterion.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>

#include "proxy/base/arena.h"

TestSuite(arena, .timeout = 5);

Test(arena, gives_zeroed_aligned_memory_that_does_not_overlap)
{
    struct arena arena = {0};
    char *blocks[500];

    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        size_t size = i * 7 % 300 + 1;
        blocks[i] = arena_alloc(&arena, size);
        cr_assert_eq((uintptr_t)blocks[i] % alignof(max_align_t), 0);
        for (size_t j = 0; j < size; j++)
            cr_assert_eq(blocks[i][j], 0);
        memset(blocks[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        for (size_t j = 0; j < i * 7 % 300 + 1; j++)
            cr_assert_eq((unsigned char)blocks[i][j], i & 0xff, "block %zu byte %zu", i, j);
    arena_fini(&arena);
}

Test(arena, a_large_block_leaves_the_current_chunk_in_use)
{
    struct arena arena = {0};

    char *before = arena_alloc(&arena, 16);
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    char *after = arena_alloc(&arena, 16);

    cr_assert_eq(after - before, 16);
    arena_fini(&arena);
}

Test(arena, counts_what_it_handed_out_and_forgets_it_on_reset)
{
    struct arena arena = {0};

    (void)arena_alloc(&arena, 100);
    cr_assert_geq(arena.allocated_bytes, 100);
    arena_reset(&arena);

    cr_assert_eq(arena.allocated_bytes, 0);
    cr_assert_null(arena.chunks);
    (void)arena_alloc(&arena, 1);
    arena_fini(&arena);
}

Test(arena, copies_strings_with_a_nul_behind)
{
    struct arena arena = {0};
    char source[] = "word";

    struct str copy = arena_str(&arena, str_from(source));
    source[0] = 'X';
    struct str empty = arena_str(&arena, (struct str){0});

    cr_assert(str_eq(copy, STR("word")));
    cr_assert_eq(copy.ptr[4], '\0');
    cr_assert_eq(empty.len, 0);
    cr_assert_eq(empty.ptr[0], '\0');
    arena_fini(&arena);
}

Test(arena, formats_strings_of_any_length)
{
    struct arena arena = {0};

    struct str text = arena_printf(&arena, "%s-%0*d", "a", 5000, 7);

    cr_assert_eq(text.len, 5002);
    cr_assert_eq(text.ptr[5001], '7');
    cr_assert_eq(text.ptr[5002], '\0');
    arena_fini(&arena);
}

Test(arena, an_array_whose_size_overflows_is_a_broken_contract, .signal = SIGABRT)
{
    struct arena arena = {0};

    (void)arena_alloc_array(&arena, SIZE_MAX / 2, 16);
}

Test(arena, fills_room_that_was_lent_before_it_asks_the_heap_and_zeroes_what_it_hands_out)
{
    struct arena arena = {0};
    max_align_t room[64];

    memset(room, 0xff, sizeof room);
    arena_lend(&arena, (char *)room + 8, sizeof room - 8); /* aligned for nothing */
    char *lent = arena_alloc(&arena, 100);
    char *more = arena_alloc(&arena, sizeof room);

    cr_expect(lent >= (char *)room && lent < (char *)room + sizeof room);
    cr_expect(more < (char *)room || more >= (char *)room + sizeof room);
    cr_expect_eq((uintptr_t)lent % alignof(max_align_t), 0);
    for (size_t i = 0; i < 100; i++)
        cr_assert_eq(lent[i], 0);
    arena_reset(&arena); /* frees nothing that it was lent */
    cr_assert_null(arena.chunks);
}

Test(arena, a_first_chunk_is_as_large_as_what_is_expected_within_bounds)
{
    static const size_t sizes[] = {1, 1500, 60000, 1 << 20};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct arena arena = {0};
        arena_expect(&arena, sizes[i]);
        const struct arena_chunk *first = arena.chunks;
        const size_t room = sizes[i] < 60000 ? sizes[i] : 60000;
        for (size_t taken = 0; taken + 16 <= room; taken += 16)
            (void)arena_alloc(&arena, 16);
        cr_expect(!first || arena.chunks == first, "%zu bytes", sizes[i]);
        cr_expect_eq(first != NULL, sizes[i] > 1000, "as ever");
        arena_fini(&arena);
    }
}
