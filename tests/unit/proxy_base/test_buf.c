#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"

TestSuite(buf, .timeout = 20);

static struct slab_pool pool;
static struct buf buf;

static void start(size_t low, size_t high)
{
    slab_pool_init(&pool, 4);
    buf_init(&buf, &pool, low, high);
}

/* Proves that the queue gave everything back. */
static void finish(void)
{
    buf_fini(&buf);
    slab_pool_fini(&pool);
}

static bool push_bytes(const char *text)
{
    return buf_push(&buf, slice_copy(&pool, text, strlen(text)));
}

/* A slice of len bytes in a full slab, as a socket read leaves it. */
static struct slice read_of(size_t len, int byte)
{
    struct slab *slab = slab_new(&pool, SLAB_BYTES);
    memset(slab->bytes, byte, len);
    struct slice slice = slice_of(slab, 0, len);

    slab_unref(slab);
    return slice;
}

static struct str front(char *out, size_t cap)
{
    struct iovec iov[64];
    unsigned n = buf_peek(&buf, iov, 64);
    size_t len = 0;

    for (unsigned i = 0; i < n; i++) {
        cr_assert_leq(len + iov[i].iov_len, cap);
        memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    return (struct str){out, len};
}

Test(buf, gives_bytes_back_in_order_across_slices)
{
    char out[64];

    start(10, 100000);
    cr_assert(push_bytes("hello "));
    cr_assert(push_bytes("big "));
    cr_assert(push_bytes("world"));

    cr_assert(str_eq(front(out, sizeof(out)), STR("hello big world")));
    cr_assert_not(buf_pop(&buf, 8));
    cr_assert(str_eq(front(out, sizeof(out)), STR("g world")));
    cr_assert(buf_is_sane(&buf));
    cr_assert_not(buf_pop(&buf, 7));
    cr_assert_eq(buf.bytes, 0);
    cr_assert_eq(buf.len, 0);
    finish();
}

Test(buf, says_stop_at_high_and_go_at_low_once)
{
    start(5, 10);
    cr_assert(push_bytes("123456789"));
    cr_assert_not(push_bytes("0"));
    cr_assert_not(buf_pop(&buf, 2));
    cr_assert_not(push_bytes("x"), "between the marks it stays stopped");
    cr_assert_not(buf_pop(&buf, 3));
    cr_assert(buf_pop(&buf, 1), "six bytes to five crosses the low mark");
    cr_assert_not(buf_pop(&buf, 1), "once");
    cr_assert(push_bytes("y"));
    finish();
}

Test(buf, popping_without_having_been_full_is_no_news)
{
    start(5, 10);
    cr_assert(push_bytes("123456789"));
    cr_assert_not(buf_pop(&buf, 9));
    finish();
}

Test(buf, small_slices_do_not_hold_full_slabs)
{
    start(10, 1 << 20);
    for (int i = 0; i < 1000; i++)
        (void)buf_push(&buf, read_of(60, 'a' + i % 26));

    cr_assert_eq(buf.bytes, 60000);
    cr_assert_leq(pool.live_bytes, 70000, "%llu bytes are held",
                  (unsigned long long)pool.live_bytes);
    cr_assert_leq(buf.len, 20);
    cr_assert(buf_is_sane(&buf));
    for (int i = 0; i < 1000; i++) {
        struct iovec iov;
        cr_assert_eq(buf_peek(&buf, &iov, 1), 1);
        cr_assert_eq(*(const char *)iov.iov_base, 'a' + i % 26);
        (void)buf_pop(&buf, 60);
    }
    finish();
}

Test(buf, large_slices_are_passed_on_without_a_copy)
{
    start(10, 1 << 20);
    struct slice big = read_of(30000, 'b');
    const uint8_t *where = big.ptr;
    struct iovec iov;

    (void)buf_push(&buf, big);
    cr_assert_eq(buf_peek(&buf, &iov, 1), 1);
    cr_assert_eq(iov.iov_base, where);
    finish();
}

Test(buf, nothing_is_written_behind_a_slice_that_somebody_else_sees)
{
    char out[32];

    start(10, 1 << 20);
    struct slab *slab = slab_new(&pool, SLAB_BYTES);
    memset(slab->bytes, 'x', SLAB_BYTES);
    (void)buf_push(&buf, slice_of(slab, 0, 5000));
    (void)push_bytes("tail");

    cr_assert_eq(slab->bytes[5000], 'x', "the reader may be filling this byte");
    (void)buf_pop(&buf, 5000);
    cr_assert(str_eq(front(out, sizeof(out)), STR("tail")));
    slab_unref(slab);
    finish();
}

Test(buf, a_shared_part_of_a_slab_is_not_overwritten_after_its_owner_left)
{
    char out[6000];

    start(10, 1 << 20);
    struct slab *slab = slab_new(&pool, SLAB_BYTES);
    memset(slab->bytes, 'x', SLAB_BYTES);
    struct slice later = slice_of(slab, 5000, 100);
    (void)buf_push(&buf, slice_of(slab, 0, 5000));
    slab_unref(slab);
    (void)push_bytes("tail");

    cr_assert_eq(later.ptr[0], 'x');
    (void)buf_pop(&buf, 5000);
    cr_assert(str_eq(front(out, sizeof(out)), STR("tail")));
    slice_release(later);
    finish();
}

Test(buf, the_rest_of_a_slab_that_only_the_queue_holds_is_filled)
{
    char out[6000];

    start(10, 1 << 20);
    (void)buf_push(&buf, read_of(5000, 'x'));
    (void)push_bytes("tail");

    cr_assert_eq(buf.len, 1);
    cr_assert_eq(pool.live_bytes, SLAB_BYTES);
    cr_assert(buf_is_sane(&buf));
    (void)buf_pop(&buf, 5000);
    cr_assert(str_eq(front(out, sizeof(out)), STR("tail")));
    finish();
}

Test(buf, shift_hands_over_the_first_slice)
{
    bool drained = true;

    start(5, 5000);
    cr_assert_null(buf_shift(&buf, &drained).slab);
    cr_assert_not(drained);
    (void)buf_push(&buf, read_of(5000, 'a'));
    (void)push_bytes("b");
    (void)buf_pop(&buf, 1);
    struct slice first = buf_shift(&buf, &drained);

    cr_assert_eq(first.len + buf.bytes, 5000);
    cr_assert_eq(drained, buf.bytes <= 5);
    cr_assert_eq(first.ptr[0], 'a');
    slice_release(first);
    cr_assert(buf_is_sane(&buf));
    finish();
}

Test(buf, an_empty_slice_changes_nothing)
{
    start(5, 10);
    cr_assert(buf_push(&buf, (struct slice){0}));
    cr_assert_eq(buf.len, 0);
    cr_assert_not(buf_pop(&buf, 0));
    finish();
}

Test(buf, ending_a_queue_gives_back_what_was_queued)
{
    start(5, 100000);
    (void)buf_push(&buf, read_of(5000, 'a'));
    (void)push_bytes("abc");
    finish();
    cr_assert_eq(pool.n_live, 0);
}

/* Against a plain array: a million bytes in random pieces. */
Test(buf, agrees_with_a_plain_array_through_random_work)
{
    const size_t total = 1000000;
    uint8_t *expected = mem_alloc(total);
    struct rng rng;
    size_t in = 0, out = 0;
    bool stopped = false;

    start(20000, 60000);
    rng_seed(&rng, 5);
    for (size_t i = 0; i < total; i++)
        expected[i] = (uint8_t)rng_next(&rng);
    while (out < total) {
        if (!stopped && in < total && rng_below(&rng, 2)) {
            size_t len = rng_below(&rng, rng_below(&rng, 4) ? 200 : 20000) + 1;
            len = len < total - in ? len : total - in;
            struct slab *slab = slab_new(&pool, SLAB_BYTES);
            memcpy(slab->bytes, expected + in, len);
            stopped = !buf_push(&buf, slice_of(slab, 0, len));
            slab_unref(slab);
            in += len;
        } else {
            struct iovec iov[4];
            unsigned n = buf_peek(&buf, iov, 4);
            size_t at = out;
            for (unsigned i = 0; i < n; at += iov[i].iov_len, i++)
                cr_assert_eq(memcmp(iov[i].iov_base, expected + at, iov[i].iov_len), 0);
            size_t len = at > out ? rng_below(&rng, (uint32_t)(at - out) + 1) : 0;
            if (buf_pop(&buf, len)) {
                cr_assert(stopped);
                stopped = false;
            }
            out += len;
        }
        cr_assert(buf_is_sane(&buf));
        cr_assert_eq(buf.bytes, in - out);
    }
    mem_free(expected);
    finish();
}

Test(buf, a_producer_that_does_not_stop_breaks_the_contract, .signal = SIGABRT)
{
    start(5, 10);
    for (int i = 0; i < 3; i++)
        (void)buf_push(&buf, read_of(SLAB_BYTES, 'x'));
}

Test(buf, what_is_not_there_cannot_be_popped, .signal = SIGABRT)
{
    start(5, 10);
    (void)push_bytes("abc");
    (void)buf_pop(&buf, 4);
}
