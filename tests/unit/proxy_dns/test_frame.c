#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/rng.h"
#include "proxy/dns/frame.h"

TestSuite(dns_frame, .timeout = 20);

#define N_MESSAGES 40

static struct slab_pool pool;

static void set_up(void)
{
    slab_pool_init(&pool, 2);
}

static void tear_down(void)
{
    slab_pool_fini(&pool); /* ensures that no slice is left */
}

static void add_frame(struct text *wire, size_t len, char fill)
{
    text_addc(wire, (char)(len >> 8));
    text_addc(wire, (char)len);
    for (size_t i = 0; i < len; i++)
        text_addc(wire, fill);
}

static bool is_message(struct str message, size_t len, char fill)
{
    for (size_t i = 0; i < message.len; i++) {
        if (message.ptr[i] != fill)
            return false;
    }
    return message.len == len;
}

Test(dns_frame, messages_come_out_however_the_bytes_were_cut, .init = set_up, .fini = tear_down)
{
    static const size_t lens[] = {0, 1, 2, 12, 30, 511, 4000, 65535};
    struct rng rng;
    for (unsigned seed = 0; seed < 200; seed++) {
        struct text wire = {0};
        struct dns_framer framer = {0};
        struct str message;
        unsigned n_out = 0;
        rng_seed(&rng, seed);
        for (unsigned i = 0; i < N_MESSAGES; i++)
            add_frame(&wire, lens[(i + seed) % (seed % 8 + 1)], (char)('a' + i));
        for (size_t at = 0, len; at < wire.len; at += len) {
            len = 1 + rng_below(&rng, seed % 3 ? 7000 : 3);
            len = len < wire.len - at ? len : wire.len - at;
            dns_framer_feed(&framer, slice_copy(&pool, wire.ptr + at, len));
            while (dns_framer_next(&framer, &message)) {
                cr_assert(
                    is_message(message, lens[(n_out + seed) % (seed % 8 + 1)], (char)('a' + n_out)),
                    "seed %u: message %u", seed, n_out);
                n_out++;
            }
            cr_assert(dns_framer_is_drained(&framer));
        }
        cr_expect_eq(n_out, N_MESSAGES, "seed %u: %u", seed, n_out);
        dns_framer_fini(&framer);
        text_fini(&wire);
    }
}

Test(dns_frame, a_claimed_length_allocates_nothing, .init = set_up, .fini = tear_down)
{
    struct dns_framer framer = {0};
    struct str message;
    dns_framer_feed(&framer, slice_copy(&pool, "\xff\xffx", 3));
    cr_expect_not(dns_framer_next(&framer, &message));
    cr_expect(framer.held.cap < 4096, "%zu", framer.held.cap);
    dns_framer_fini(&framer);
}

Test(dns_frame, what_is_left_over_is_given_back_at_the_end, .init = set_up, .fini = tear_down)
{
    struct dns_framer framer = {0};
    struct str message;
    dns_framer_feed(&framer, slice_copy(&pool, "\0\2ab\0\2cd", 8));
    cr_assert(dns_framer_next(&framer, &message));
    cr_expect(is_message(str_sub(message, 0, 1), 1, 'a'));
    cr_expect_not(dns_framer_is_drained(&framer), "the reader may stop here");
    dns_framer_fini(&framer);
    cr_expect_eq(pool.n_live, 0);
}
