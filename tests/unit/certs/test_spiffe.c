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

Test(spiffe, splits_good_ids)
{
    static const struct {
        const char *item, *text, *trust_domain, *path;
    } rows[] = {
        {"S1", "spiffe://td", "td", ""},
        {"S2", "spiffe://td/p", "td", "/p"},
        {"S3", "spiffe://abcdefghijklmnopqrstuvwxyz0123456789.-_/p",
         "abcdefghijklmnopqrstuvwxyz0123456789.-_", "/p"},
        {"S4", "spiffe://td/ABCXYZabcxyz0189.-_/x", "td", "/ABCXYZabcxyz0189.-_/x"},
        {"S5", "spiffe://td/.path", "td", "/.path"},
        {"S5", "spiffe://td/..path", "td", "/..path"},
        {"S5", "spiffe://td/...", "td", "/..."},
        {"S6", "spiffe://10.0.0.1/x", "10.0.0.1", "/x"},
        {"S8", "spiffe://" TD255 "/x", TD255, "/x"},
        {"S10", "spiffe://_a_/x", "_a_", "/x"},
        {"S37", "spiffe://../x", "..", "/x"},
        {"S37", "spiffe://.td./x", ".td.", "/x"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spiffe_id id = {0};
        const char *why = NULL;

        cr_assert_eq(spiffe_parse(str_from(rows[i].text), &id, &why), 0, "%s %s: %s", rows[i].item,
                     rows[i].text, why);
        cr_assert(str_eq(id.trust_domain, str_from(rows[i].trust_domain)), "%s", rows[i].item);
        cr_assert(str_eq(id.path, str_from(rows[i].path)), "%s", rows[i].item);
        cr_assert(str_eq(id.text, str_from(rows[i].text)), "%s", rows[i].item);
    }
}

Test(spiffe, refuses_bad_ids_with_a_reason_and_leaves_the_out_alone)
{
    static const struct {
        const char *item;
        struct str text;
    } rows[] = {
        {"S11", {"", 0}},
        {"S12", {"s", 1}},
        {"S12", {"spiffe:/", 8}},
        {"S12", {"spiffe:td", 9}},
        {"S12", {"spiffe:/td/x", 12}},
        {"S13", {"Spiffe://td/x", 13}},
        {"S13", {"SPIFFE://td/x", 13}},
        {"S14", {"spiffe://", 9}},
        {"S15", {"spiffe:///x", 11}},
        {"S16", {"spiffe://Td/x", 13}},
        {"S18", {"spiffe://user@td/x", 18}},
        {"S18", {"spiffe://user:pw@td/x", 21}},
        {"S19", {"spiffe://td:8443/x", 18}},
        {"S20", {"spiffe://td/x?q", 15}},
        {"S20", {"spiffe://td?q", 13}},
        {"S21", {"spiffe://td/x#f", 15}},
        {"S21", {"spiffe://td#f", 13}},
        {"S22", {"spiffe://td/", 12}},
        {"S22", {"spiffe://td/p/", 14}},
        {"S23", {"spiffe://td//", 13}},
        {"S23", {"spiffe://td//x", 14}},
        {"S23", {"spiffe://td/x//y", 16}},
        {"S24", {"spiffe://td/.", 13}},
        {"S25", {"spiffe://td/..", 14}},
        {"S26", {"spiffe://td/./x", 15}},
        {"S26", {"spiffe://td/x/./y", 17}},
        {"S27", {"spiffe://td/../x", 16}},
        {"S27", {"spiffe://td/x/..", 16}},
        {"S27", {"spiffe://td/x/../y", 18}},
        {"S28", {"spiffe://t%64/x", 15}},
        {"S28", {"spiffe://td/%61", 15}},
        {"S28", {"spiffe://td/%F0%9F%A4%AF", 24}},
        {"S29", {"spiffe://td/\xc3\xa9", 14}},
        {"S29", {"spiffe://t\xc3\xa9/x", 14}},
        {"S30", {"spiffe://td/a b", 15}},
        {"S30", {"spiffe://td/a\\b", 15}},
        {"S30", {"spiffe://td/a\x7f", 14}},
        {"S31", {"spiffe://td/x\0y", 15}},
        {"S31", {"spiffe://td\0/x", 14}},
        {"S31", {"spiffe://td/x\0", 14}},
        {"S32", {"https://td/x", 12}},
        {"S33", {"spiffe://[::1]/x", 16}},
        {"S35", {"spiffe://" TD255 "d/x", 9 + 255 + 3}},
        {"S36", {"spiffe://td\r\n", 13}},
        {"S36", {"spiffe://td/x\n", 14}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spiffe_id id = {.path = STR("untouched")};
        const char *why = NULL;

        cr_assert_eq(spiffe_parse(rows[i].text, &id, &why), -ERR_INVALID, "%s, row %zu",
                     rows[i].item, i);
        cr_assert_not_null(why, "%s, row %zu", rows[i].item, i);
        cr_assert(str_eq(id.path, STR("untouched")), "%s, row %zu", rows[i].item, i);
    }
}

/* S3, S4, S17, S30: every byte in both places. */
Test(spiffe, allows_exactly_the_characters_of_the_standard)
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

Test(spiffe, takes_2048_bytes_and_not_one_more) /* S7, S34 */
{
    char text[SPIFFE_ID_MAX + 1];

    memset(text, 'a', sizeof(text));
    memcpy(text, "spiffe://td/", 12);
    cr_assert_eq(parses(str_of(text, SPIFFE_ID_MAX)), 0);
    cr_assert_eq(parses(str_of(text, SPIFFE_ID_MAX + 1)), -ERR_INVALID);
}

Test(spiffe, tells_the_case_of_a_path_apart) /* S9 */
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
