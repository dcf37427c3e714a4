#include <criterion/criterion.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>

#include "proxy/base/slice.h"

TestSuite(slice, .timeout = 5);

Test(slice, the_last_reference_frees_the_slab)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 4);
    struct slab *slab = slab_new(&pool, SLAB_BYTES);
    memcpy(slab->bytes, "hello world", 11);
    struct slice hello = slice_of(slab, 0, 5);
    slab_unref(slab);
    struct slice ell = slice_sub(hello, 1, 3);
    slice_release(hello);

    cr_assert(str_eq(slice_str(ell), STR("ell")));
    cr_assert_eq(pool.n_live, 1);
    cr_assert_eq(pool.live_bytes, SLAB_BYTES);
    slice_release(ell);
    cr_assert_eq(pool.n_live, 0);
    cr_assert_eq(pool.live_bytes, 0);
    slab_pool_fini(&pool);
}

Test(slice, full_slabs_are_kept_up_to_the_bound)
{
    struct slab_pool pool;
    struct slab *slabs[3];

    slab_pool_init(&pool, 2);
    for (int i = 0; i < 3; i++)
        slabs[i] = slab_new(&pool, SLAB_BYTES);
    for (int i = 0; i < 3; i++)
        slab_unref(slabs[i]);
    cr_assert_eq(pool.n_free, 2);
    struct slab *again = slab_new(&pool, SLAB_BYTES);

    cr_assert_eq(again, slabs[1]);
    cr_assert_eq(again->refs, 1);
    cr_assert_eq(again->used, 0);
    cr_assert_eq(pool.n_free, 1);
    slab_unref(again);
    slab_pool_fini(&pool);
}

Test(slice, other_sizes_come_from_the_heap_and_are_counted)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 2);
    struct slab *small = slab_new(&pool, 100), *large = slab_new(&pool, 200000);
    cr_assert_eq(pool.live_bytes, 200100);
    memset(large->bytes, 1, 200000);
    slab_unref(small);
    slab_unref(large);

    cr_assert_eq(pool.n_free, 0);
    cr_assert_eq(pool.live_bytes, 0);
    slab_pool_fini(&pool);
}

Test(slice, a_copy_is_its_own)
{
    struct slab_pool pool;
    char source[] = "abc";

    slab_pool_init(&pool, 0);
    struct slice copy = slice_copy(&pool, source, 3);
    source[0] = 'X';
    struct slice second = slice_ref(copy);
    slice_release(copy);

    cr_assert(str_eq(slice_str(second), STR("abc")));
    cr_assert_eq(pool.live_bytes, 3);
    slice_release(second);
    slab_pool_fini(&pool);
}

Test(slice, the_empty_slice_holds_nothing)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 0);
    struct slab *slab = slab_new(&pool, 8);
    struct slice empty = slice_of(slab, 3, 0), copied = slice_copy(&pool, "", 0);
    slice_release(slice_ref((struct slice){0}));

    cr_assert_null(empty.slab);
    cr_assert_null(copied.slab);
    cr_assert_null(slice_sub(empty, 0, 0).slab);
    cr_assert_eq(slab->refs, 1);
    slab_unref(slab);
    slab_pool_fini(&pool);
}

Test(slice, a_window_ends_with_its_slab, .signal = SIGABRT)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 0);
    (void)slice_of(slab_new(&pool, 8), 4, 5);
}

Test(slice, a_part_lies_inside_the_whole, .signal = SIGABRT)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 0);
    (void)slice_sub(slice_copy(&pool, "abc", 3), 2, SIZE_MAX);
}

Test(slice, a_pool_with_live_slabs_is_not_ended, .signal = SIGABRT)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 0);
    (void)slab_new(&pool, 8);
    slab_pool_fini(&pool);
}

Test(slice, a_block_is_aligned_counted_and_reused_like_the_small_slab_it_is)
{
    struct slab_pool pool;

    slab_pool_init(&pool, 1);
    char *first = slab_block_new(&pool), *second = slab_block_new(&pool);
    memset(first, 1, SLAB_SMALL_BYTES);
    cr_expect_eq((uintptr_t)first % alignof(max_align_t), 0);
    cr_expect_eq(pool.live_bytes, 2 * SLAB_SMALL_BYTES);
    slab_block_free(first);
    slab_block_free(second); /* one more than is kept */
    slab_block_free(NULL);

    cr_expect_eq(pool.n_free_small, 1);
    cr_expect_eq(slab_block_new(&pool), first);
    slab_block_free(first);
    slab_pool_fini(&pool);
}
