#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/str.h"

TestSuite(str, .timeout = 5);

Test(str, the_empty_string_equals_itself_whatever_it_points_to)
{
    cr_assert(str_eq((struct str){0}, STR("")));
    cr_assert(str_eq(str_from(NULL), (struct str){0}));
    cr_assert(str_is_empty(str_from("")));
    cr_assert_eq(str_cmp((struct str){0}, STR("")), 0);
}

Test(str, compares_bytes_and_counts_nul_as_one)
{
    cr_assert(str_eq(str_of("a\0b", 3), str_of("a\0b", 3)));
    cr_assert_not(str_eq(str_of("a\0b", 3), str_of("a\0c", 3)));
    cr_assert_not(str_eq(STR("a"), STR("ab")));
}

Test(str, orders_a_prefix_before_what_it_begins)
{
    static const struct {
        const char *a, *b;
        int sign;
    } rows[] = {{"a", "ab", -1}, {"ab", "a", 1}, {"b", "ab", 1}, {"", "a", -1}, {"\xff", "a", 1}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int order = str_cmp(str_from(rows[i].a), str_from(rows[i].b));
        cr_assert_eq((order > 0) - (order < 0), rows[i].sign, "row %zu", i);
    }
}

Test(str, folds_ascii_letters_only)
{
    cr_assert(str_eq_ci(STR("Cluster.LOCAL"), STR("cluster.local")));
    cr_assert_not(str_eq_ci(STR("["), STR("{")));
    cr_assert_not(str_eq_ci(STR("@"), STR("`")));
    cr_assert_not(str_eq_ci(STR("\xc4"), STR("\xe4")));
    cr_assert_not(str_eq_ci(STR("a"), STR("ab")));
}

Test(str, finds_beginnings_ends_and_parts)
{
    struct str text = STR("svc.ns.svc");

    cr_assert(str_starts_with(text, STR("svc.")));
    cr_assert(str_starts_with(text, STR("")));
    cr_assert_not(str_starts_with(STR("sv"), STR("svc")));
    cr_assert(str_ends_with(text, STR(".svc")));
    cr_assert(str_ends_with(text, STR("")));
    cr_assert_not(str_ends_with(STR("vc"), STR("svc")));
    cr_assert(str_contains(text, STR("ns")));
    cr_assert(str_contains((struct str){0}, STR("")));
    cr_assert_not(str_contains(text, STR("nt")));
}

Test(str, a_part_is_clamped_to_the_text)
{
    struct str text = STR("abcdef");

    cr_assert(str_eq(str_sub(text, 2, 3), STR("cde")));
    cr_assert(str_eq(str_sub(text, 4, 99), STR("ef")));
    cr_assert(str_eq(str_sub(text, 4, SIZE_MAX), STR("ef")));
    cr_assert(str_is_empty(str_sub(text, 6, 1)));
    cr_assert(str_is_empty(str_sub(text, SIZE_MAX, SIZE_MAX)));
}

Test(str, splits_at_the_first_and_at_the_last_separator)
{
    struct str head, tail;

    cr_assert(str_split(STR("a:b:c"), ':', &head, &tail));
    cr_assert(str_eq(head, STR("a")) && str_eq(tail, STR("b:c")));
    cr_assert(str_rsplit(STR("a:b:c"), ':', &head, &tail));
    cr_assert(str_eq(head, STR("a:b")) && str_eq(tail, STR("c")));
    cr_assert(str_split(STR(":"), ':', &head, &tail));
    cr_assert(str_is_empty(head) && str_is_empty(tail));
}

Test(str, a_split_that_fails_leaves_the_outs_alone)
{
    struct str head = STR("kept"), tail = STR("too");

    cr_assert_not(str_split(STR("abc"), ':', &head, &tail));
    cr_assert_not(str_rsplit((struct str){0}, ':', &head, &tail));
    cr_assert(str_eq(head, STR("kept")) && str_eq(tail, STR("too")));
}

Test(str, reads_decimal_numbers_within_their_range_and_nothing_else)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"0", 10, true, 0},
        {"10", 10, true, 10},
        {"11", 10, false, 0},
        {"5", 3, false, 0},
        {"007", 10, true, 7},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999999", UINT64_MAX, false, 0},
        {"0", 0, true, 0},
        {"", 10, false, 0},
        {"+1", 10, false, 0},
        {"-1", 10, false, 0},
        {" 1", 10, false, 0},
        {"1 ", 10, false, 0},
        {"0x1", 10, false, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t value = 77;
        bool ok = str_to_u64(str_from(rows[i].text), rows[i].max, &value);
        cr_assert_eq(ok, rows[i].ok, "'%s'", rows[i].text);
        cr_assert_eq(value, ok ? rows[i].value : 77, "'%s'", rows[i].text);
    }
}

Test(str, knows_well_formed_utf8)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"a", 1},
        {"\xc3\xa9", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xc0\x80", 0},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xe0\xa0\x80", 3},
        {"\xed\xa0\x80", 0},
        {"\xed\x9f\xbf", 3},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"\x80", 0},
        {"\xc3", 0},
        {"\xe2\x82", 0},
        {"\xe2\x28\xa1", 0},
        {"\xf0\x9f\x98", 0},
        {"\xff", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_eq(str_utf8_len(str_from(rows[i].bytes), 0), rows[i].len, "row %zu", i);
    cr_assert_eq(str_utf8_len(STR("a\xc3\xa9"), 1), 2);
    cr_assert_eq(str_utf8_len(STR("a"), 1), 0);
    cr_assert_eq(str_utf8_len((struct str){0}, 0), 0);
}

Test(str, hash_is_xxhash64)
{
    /* The published vectors of XXH64 for the empty input and for "abc" with seed 0. */
    cr_assert_eq(str_hash((struct str){0}, 0), UINT64_C(0xef46db3751d8e999));
    cr_assert_eq(str_hash(STR("abc"), 0), UINT64_C(0x44bc2cf5ad770999));
    cr_assert_neq(str_hash(STR("abc"), 1), str_hash(STR("abc"), 0));
}
