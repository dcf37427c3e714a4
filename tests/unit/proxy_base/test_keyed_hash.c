#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/base/keyed_hash.h"

TestSuite(keyed_hash, .timeout = 5);

/* The key and the messages 00 01 02 ... of the paper's appendix, with what OpenSSL's SIPHASH makes
 * of them; the first eight bytes are the number. */
Test(keyed_hash, is_siphash_2_4)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {
        {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)},
        {16, UINT64_C(0x3f2acc7f57c29bdb)},
        {63, UINT64_C(0x958a324ceb064572)},
    };
    const struct keyed_hash_key key = {
        {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};
    char message[64];

    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (char)i;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(keyed_hash_under(&key, UINT64_C(0x0706050403020100),
                                      str_of(message + 8, rows[i].len - 8)),
                     rows[i].hash, "%zu bytes", rows[i].len);
}

/* They were searched for, in less than a second: under seed 0 they have one XXH64. */
Test(keyed_hash, of_what_was_made_to_look_alike_differs)
{
    const struct str one = STR("file:///proc/self/cwd/u8jzPde0IgxLd6GncfBAepfJBd0Kh8oOOL8dKLzdoc"
                               "J2isAjIhKtJ0RlgLKOmxgJTeKdNnFRIB");
    const struct str other = STR("file:///proc/self/cwd/u8jzPde0IgSKwO0LDUBAepfJBd0Kh8oOOL8dKLzdoc"
                                 "i5HA4mYhKtJ0RlgLKOmxgJTeKdNnFRIB");

    cr_assert_eq(str_hash(one, 0), str_hash(other, 0));
    cr_expect_neq(keyed_hash(0, one), keyed_hash(0, other));
    cr_expect_eq(keyed_hash(7, one), keyed_hash(7, one));
    cr_expect_neq(keyed_hash(7, one), keyed_hash(8, one));
    cr_expect_neq(keyed_hash(0, STR("")), 0);
}

Test(keyed_hash, is_under_a_key_that_was_drawn)
{
    const struct keyed_hash_key none = {{0, 0}};

    cr_expect_neq(keyed_hash(1, STR("a")), keyed_hash_under(&none, 1, STR("a")));
}
