/* The S numbers are rows of a table of the SPIFFE-ID grammar, section 2 of that standard; many come
 * from go-spiffe. */
#include <criterion/criterion.h>
#include <string.h>

#include "certs/spiffe.h"
#include "proxy/base/err.h"
#include "proxy/base/text.h"

TestSuite(spiffe, .timeout = 5);

#define TD255                                                                                      \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."                             \
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."                             \
    "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc."                             \
    "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

static int parses(struct str text)
{
    struct spiffe_id id;

    return spiffe_parse(text, &id, NULL);
}

static void is_accepted(const char *text, const char *trust_domain, const char *path)
{
    struct spiffe_id id = {0};
    const char *why = NULL;

    cr_assert_eq(spiffe_parse(str_from(text), &id, &why), 0, "%s: %s", text, why);
    cr_assert(str_eq(id.trust_domain, str_from(trust_domain)), "%s", text);
    cr_assert(str_eq(id.path, str_from(path)), "%s", text);
    cr_assert(str_eq(id.text, str_from(text)), "%s", text);
}

static void is_refused(struct str text)
{
    struct spiffe_id id = {.path = STR("untouched")};
    const char *why = NULL;

    cr_assert_eq(spiffe_parse(text, &id, &why), -ERR_INVALID, "%.*s", STR_ARG(text));
    cr_assert_not_null(why, "%.*s", STR_ARG(text));
    cr_assert(str_eq(id.path, STR("untouched")), "%.*s", STR_ARG(text));
}

#define T(literal)                                                                                 \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define ACCEPTS(name, text, trust_domain, path)                                                    \
    Test(spiffe, name)                                                                             \
    {                                                                                              \
        is_accepted(text, trust_domain, path);                                                     \
    }
#define REFUSES(name, ...)                                                                         \
    Test(spiffe, name)                                                                             \
    {                                                                                              \
        static const struct str rows[] = {__VA_ARGS__};                                            \
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)                                               \
            is_refused(rows[i]);                                                                   \
    }

/* clang-format off */
ACCEPTS(S1_a_trust_domain_alone_is_an_ID, "spiffe://td", "td", "")
ACCEPTS(S2_a_path_of_one_segment, "spiffe://td/p", "td", "/p")
ACCEPTS(S3_every_character_of_a_trust_domain, "spiffe://abcdefghijklmnopqrstuvwxyz0123456789.-_/p",
        "abcdefghijklmnopqrstuvwxyz0123456789.-_", "/p")
ACCEPTS(S4_every_kind_of_character_of_a_path, "spiffe://td/ABCXYZabcxyz0189.-_/x", "td", "/ABCXYZabcxyz0189.-_/x")
ACCEPTS(S5_one_dot_before_a_name, "spiffe://td/.path", "td", "/.path")
ACCEPTS(S5_two_dots_before_a_name, "spiffe://td/..path", "td", "/..path")
ACCEPTS(S5_three_dots, "spiffe://td/...", "td", "/...")
ACCEPTS(S6_a_trust_domain_that_looks_like_an_address, "spiffe://10.0.0.1/x", "10.0.0.1", "/x")
ACCEPTS(S8_a_trust_domain_of_255_bytes, "spiffe://" TD255 "/x", TD255, "/x")
ACCEPTS(S10_underscores_in_a_trust_domain, "spiffe://_a_/x", "_a_", "/x")
ACCEPTS(S37_a_trust_domain_of_two_dots, "spiffe://../x", "..", "/x")
ACCEPTS(S37_dots_around_a_trust_domain, "spiffe://.td./x", ".td.", "/x")

REFUSES(S11_the_empty_text, {"", 0})
REFUSES(S12_a_scheme_cut_off, T("s"), T("spiffe:/"), T("spiffe:td"), T("spiffe:/td/x"))
REFUSES(S13_a_scheme_in_capitals, T("Spiffe://td/x"), T("SPIFFE://td/x"))
REFUSES(S14_nothing_behind_the_scheme, T("spiffe://"))
REFUSES(S15_an_empty_trust_domain, T("spiffe:///x"))
REFUSES(S16_a_trust_domain_in_capitals, T("spiffe://Td/x"))
REFUSES(S18_a_user, T("spiffe://user@td/x"), T("spiffe://user:pw@td/x"))
REFUSES(S19_a_port, T("spiffe://td:8443/x"))
REFUSES(S20_a_query, T("spiffe://td/x?q"), T("spiffe://td?q"))
REFUSES(S21_a_fragment, T("spiffe://td/x#f"), T("spiffe://td#f"))
REFUSES(S22_a_slash_at_the_end, T("spiffe://td/"), T("spiffe://td/p/"))
REFUSES(S23_an_empty_segment, T("spiffe://td//"), T("spiffe://td//x"), T("spiffe://td/x//y"))
REFUSES(S24_a_path_of_one_dot, T("spiffe://td/."))
REFUSES(S25_a_path_of_two_dots, T("spiffe://td/.."))
REFUSES(S26_a_segment_of_one_dot, T("spiffe://td/./x"), T("spiffe://td/x/./y"))
REFUSES(S27_a_segment_of_two_dots, T("spiffe://td/../x"), T("spiffe://td/x/.."), T("spiffe://td/x/../y"))
REFUSES(S28_percent_encoding, T("spiffe://t%64/x"), T("spiffe://td/%61"), T("spiffe://td/%F0%9F%A4%AF"))
REFUSES(S29_UTF_8, T("spiffe://td/\xc3\xa9"), T("spiffe://t\xc3\xa9/x"))
REFUSES(S30_control_characters_space_and_backslash, T("spiffe://td/a b"), T("spiffe://td/a\\b"), T("spiffe://td/a\x7f"))
REFUSES(S31_a_NUL, T("spiffe://td/x\0y"), T("spiffe://td\0/x"), T("spiffe://td/x\0"))
REFUSES(S32_another_scheme, T("https://td/x"))
REFUSES(S33_an_IPv6_address, T("spiffe://[::1]/x"))
REFUSES(S35_a_trust_domain_of_256_bytes, T("spiffe://" TD255 "d/x"))
REFUSES(S36_line_ends, T("spiffe://td\r\n"), T("spiffe://td/x\n"))

/* clang-format on */

/* Every byte in both places. */
Test(spiffe, S17_no_other_byte_in_a_trust_domain_or_a_path)
{
    static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
    static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    for (int c = 0; c < 256; c++) {
        char in_domain[] = "spiffe://t?d/x", in_path[] = "spiffe://td/x?y";
        bool is_lower = c != 0 && strchr(lower, c), is_upper = c != 0 && strchr(upper, c);

        in_domain[10] = in_path[13] = (char)c;
        /* A slash ends the trust domain and separates segments. */
        bool domain_ok = is_lower || c == '/', path_ok = is_lower || is_upper || c == '/';
        cr_assert_eq(parses(str_of(in_domain, 14)) == 0, domain_ok, "byte %d", c);
        cr_assert_eq(parses(str_of(in_path, 15)) == 0, path_ok, "byte %d", c);
        cr_assert_eq(spiffe_check_trust_domain(str_of(in_domain + 9, 3)) == 0, is_lower, "byte %d",
                     c);
    }
}

Test(spiffe, S7_S34_takes_2048_bytes_and_not_one_more)
{
    char text[SPIFFE_ID_MAX + 1];

    memset(text, 'a', sizeof(text));
    memcpy(text, "spiffe://td/", 12);
    cr_assert_eq(parses(str_of(text, SPIFFE_ID_MAX)), 0);
    cr_assert_eq(parses(str_of(text, SPIFFE_ID_MAX + 1)), -ERR_INVALID);
}

Test(spiffe, S9_tells_the_case_of_a_path_apart)
{
    struct spiffe_id a, b;

    cr_assert_eq(spiffe_parse(STR("spiffe://td/A"), &a, NULL), 0);
    cr_assert_eq(spiffe_parse(STR("spiffe://td/a"), &b, NULL), 0);
    cr_assert_not(str_eq(a.text, b.text));
}

Test(spiffe, checks_a_trust_domain_alone)
{
    cr_assert_eq(spiffe_check_trust_domain(STR("west.example")), 0);
    cr_assert_eq(spiffe_check_trust_domain(STR(TD255)), 0);
    cr_assert_eq(spiffe_check_trust_domain(STR(TD255 "x")), -ERR_INVALID);
    cr_assert_eq(spiffe_check_trust_domain(STR("")), -ERR_INVALID);
    cr_assert_eq(spiffe_check_trust_domain(STR("west/example")), -ERR_INVALID);
    cr_assert_eq(spiffe_check_trust_domain(STR("spiffe://west")), -ERR_INVALID);
}

Test(spiffe, makes_and_reads_the_ids_of_workloads)
{
    struct arena arena = {0};
    struct str text = spiffe_for_workload(&arena, STR("td"), STR("shop"), STR("cart"));
    struct spiffe_id id;
    struct str namespace_, service_account;

    cr_assert(str_eq(text, STR("spiffe://td/ns/shop/sa/cart")));
    cr_assert_eq(spiffe_parse(text, &id, NULL), 0);
    cr_assert(spiffe_workload_parts(&id, &namespace_, &service_account));
    cr_assert(str_eq(namespace_, STR("shop")));
    cr_assert(str_eq(service_account, STR("cart")));
    cr_assert(str_eq(spiffe_principal(&id), STR("td/ns/shop/sa/cart")));
    arena_fini(&arena);
}

Test(spiffe, a_workload_path_has_exactly_four_segments)
{
    static const char *rows[] = {"spiffe://td",
                                 "spiffe://td/ns/a",
                                 "spiffe://td/ns/a/sa",
                                 "spiffe://td/ns/a/sa/b/c",
                                 "spiffe://td/ns/a/xx/b",
                                 "spiffe://td/sa/b/ns/a",
                                 "spiffe://td/x/ns/a/sa/b"};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spiffe_id id;
        struct str namespace_, service_account;

        cr_assert_eq(spiffe_parse(str_from(rows[i]), &id, NULL), 0);
        cr_assert_not(spiffe_workload_parts(&id, &namespace_, &service_account), "%s", rows[i]);
    }
}

Test(spiffe, knows_our_own_processes)
{
    struct arena arena = {0};
    struct spiffe_id node, control, longer;
    struct str name;

    cr_assert_eq(spiffe_parse(spiffe_for_node(&arena, STR("td"), STR("n-1")), &node, NULL), 0);
    cr_assert_eq(spiffe_parse(spiffe_for_control(&arena, STR("td")), &control, NULL), 0);
    cr_assert_eq(spiffe_parse(STR("spiffe://td/isthmus/node/a/b"), &longer, NULL), 0);
    cr_assert(spiffe_node_name(&node, &name));
    cr_assert(str_eq(name, STR("n-1")));
    cr_assert_not(spiffe_node_name(&control, &name));
    cr_assert_not(spiffe_node_name(&longer, &name));
    arena_fini(&arena);
}
