#include <criterion/criterion.h>

#include "tls_kit.h"

TestSuite(tls_identity, .timeout = 30);

Test(tls_identity, knows_whose_it_is_and_until_when)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct svid *svid = test_svid_new(ca, ID_A);
    struct tls_identity *identity;

    cr_assert_eq(tls_identity_new(svid, &identity), 0);
    cr_expect(str_eq(tls_identity_id(identity), STR(ID_A)));
    cr_expect_eq(tls_identity_not_after_ns(identity), svid->not_after_ns);

    tls_identity_unref(identity);
    svid_unref(svid);
    test_ca_free(ca);
}

Test(tls_identity, refuses_a_key_that_does_not_fit)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct svid *svid = test_svid_new(ca, ID_A), *other = test_svid_new(ca, ID_A);
    EVP_PKEY *own = svid->key;
    struct tls_identity *identity = NULL;

    svid->key = other->key;
    cr_expect_eq(tls_identity_new(svid, &identity), -ERR_TLS);
    cr_expect_null(identity);

    svid->key = own;
    svid_unref(svid);
    svid_unref(other);
    test_ca_free(ca);
}

Test(tls_identity, set_finds_by_id_and_the_newest_wins)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct trust *trust = trust_new();
    struct tls_set *set = tls_set_new(7, trust);
    struct tls_identity *old = world_identity(ca, ID_A), *newer = world_identity(ca, ID_A);

    tls_set_add(set, old);
    tls_set_add(set, newer);
    cr_expect_eq(set->generation, 7);
    cr_expect_eq(tls_set_find(set, STR(ID_A)), newer);
    cr_expect_null(tls_set_find(set, STR(ID_B)));

    tls_identity_unref(old);
    tls_identity_unref(newer); /* the set holds its own reference */
    cr_expect(str_eq(tls_identity_id(tls_set_find(set, STR(ID_A))), STR(ID_A)));
    tls_set_free(set);
    trust_unref(trust);
    test_ca_free(ca);
}

Test(tls_identity, anonymous_has_no_id)
{
    struct tls_identity *identity = tls_identity_anonymous();

    cr_expect(str_is_empty(tls_identity_id(identity)));
    tls_identity_unref(identity);
}
