#include <criterion/criterion.h>

#include "certs/anchors.h"
#include "tests/kit/test_ca.h"

TestSuite(anchors);

static struct test_ca *one, *two;
static struct anchors *anchors;

static void start(void)
{
    one = test_ca_new("td");
    two = test_ca_new("td");
    anchors = anchors_new();
}

static void finish(void)
{
    anchors_free(anchors);
    test_ca_free(one);
    test_ca_free(two);
}

static void say(const char *source, const char *domain, const struct test_ca *ca)
{
    struct text pem = {0}, why = {0};

    if (ca)
        test_ca_pem(ca, &pem);
    cr_assert_eq(anchors_set(anchors, source, str_from(domain), text_str(&pem), &why), 0, "%s",
                 why.ptr);
    text_fini(&pem);
}

static size_t n_roots(const char *domain)
{
    const struct bundle *bundle = trust_find(*anchors_trust(anchors), str_from(domain));

    return bundle ? bundle_n_roots(bundle) : 0;
}

Test(anchors, sources_of_one_domain_overlap_and_each_takes_back_its_own_word, .init = start,
     .fini = finish)
{
    say("a", "td", one);
    say("b", "td", two);
    cr_expect_eq(n_roots("td"), 2);
    say("a", "td", NULL);
    cr_expect_eq(n_roots("td"), 1);
    say("b", "td", NULL);
    cr_expect_eq(n_roots("td"), 0);
    cr_expect_null(trust_find(*anchors_trust(anchors), STR("td")), "a domain without roots denies");
}

Test(anchors, the_same_root_from_two_sources_counts_once, .init = start, .fini = finish)
{
    say("a", "td", one);
    say("b", "td", one);
    cr_expect_eq(n_roots("td"), 1);
    say("a", "td", NULL);
    cr_expect_eq(n_roots("td"), 1);
}

Test(anchors, b15_domains_are_never_mixed, .init = start, .fini = finish)
{
    say("a", "td", one);
    say("a", "other", two);
    cr_expect_eq(n_roots("td"), 1);
    cr_expect_eq(n_roots("other"), 1);
}

Test(anchors, keep_takes_back_the_rest_of_one_source_only, .init = start, .fini = finish)
{
    const struct str kept[] = {STR("td")};

    say("a", "td", one);
    say("a", "other", two);
    say("b", "other", one);
    anchors_keep(anchors, "a", kept, 1);
    cr_expect_eq(n_roots("td"), 1);
    cr_expect_eq(n_roots("other"), 1, "the word of b stays");
    anchors_keep(anchors, "a", NULL, 0);
    cr_expect_eq(n_roots("td"), 0);
}

Test(anchors, refused_roots_leave_the_earlier_word_and_the_trust_as_they_were, .init = start,
     .fini = finish)
{
    struct text why = {0};

    say("a", "td", one);
    const struct trust *before = *anchors_trust(anchors);
    cr_expect_lt(anchors_set(anchors, "a", STR("td"), STR("garbage"), &why), 0);
    cr_expect_gt(why.len, 0);
    cr_expect_eq(*anchors_trust(anchors), before);
    text_fini(&why);
    say("a", "td", one);
    cr_expect_eq(*anchors_trust(anchors), before, "the same word changes nothing");
}

/* ---- revocation lists ---- */

static void revoke(const char *source, const struct test_ca *ca)
{
    const struct test_crl spec = {0};
    struct text der = {0}, why = {0};

    if (ca)
        test_crl_der(ca, &spec, &der);
    cr_assert_eq(anchors_set_crls(anchors, source, STR("td"), text_str(&der), &why), 0, "%s",
                 why.ptr);
    text_fini(&der);
}

static bool has_crls(void)
{
    return trust_find_crls(*anchors_trust(anchors), STR("td")) != NULL;
}

Test(anchors, lists_and_roots_come_and_go_each_by_itself, .init = start, .fini = finish)
{
    revoke("a", one);
    cr_expect(has_crls(), "lists before roots");
    say("b", "td", one);
    cr_expect_eq(n_roots("td"), 1);
    cr_expect(has_crls());
    revoke("a", NULL);
    cr_expect_not(has_crls());
    cr_expect_eq(n_roots("td"), 1);
}

Test(anchors, a_list_of_a_root_that_is_gone_does_not_stop_its_successor_of_the_same_name,
     .init = start, .fini = finish)
{
    say("a", "td", one);
    revoke("a", one);
    say("a", "td", two);
    cr_expect_eq(n_roots("td"), 1);
    cr_expect(has_crls(), "the lists in force stay");
    anchors_keep(anchors, "a", NULL, 0);
    cr_expect_eq(n_roots("td"), 0);
}

Test(anchors, lists_that_are_none_are_refused_and_change_nothing, .init = start, .fini = finish)
{
    struct text why = {0};

    say("a", "td", one);
    revoke("a", one);
    const struct trust *before = *anchors_trust(anchors);
    cr_expect_lt(anchors_set_crls(anchors, "a", STR("td"), STR("garbage"), &why), 0);
    cr_expect_gt(why.len, 0);
    cr_expect_eq(*anchors_trust(anchors), before);
    text_fini(&why);
}
