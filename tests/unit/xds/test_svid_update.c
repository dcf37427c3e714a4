/* The messages are built here field by field, without protobuf-c. */
#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <string.h>

#include "proxy/base/log.h"
#include "tests/kit/test_ca.h"
#include "xds/broker_api.h"
#include "xds/svid_update.h"

#define ID    "spiffe://td/isthmus/node/n1"
#define OTHER "spiffe://td/ns/shop/sa/cart"

static struct test_ca *ca, *east;
static struct text why;
static struct svid_update update;

static void start(void)
{
    log_set_level(LOG_ERROR);
    ca = test_ca_new("td");
    east = test_ca_new("east");
}

static void finish(void)
{
    svid_update_fini(&update);
    text_fini(&why);
    test_ca_free(ca);
    test_ca_free(east);
}

TestSuite(svid_update, .init = start, .fini = finish);

/* ---- protobuf by hand ---- */

static void add_varint(struct text *out, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        text_addc(out, (char)(value | 128));
    text_addc(out, (char)value);
}

static void add_bytes(struct text *out, unsigned field, struct str bytes)
{
    add_varint(out, field << 3 | 2);
    add_varint(out, bytes.len);
    text_add(out, bytes);
}

static void add_der(struct text *out, X509 *cert)
{
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);

    text_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
}

static void add_key(struct text *out, EVP_PKEY *key)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    unsigned char *der = NULL;
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);

    text_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
}

enum part { SPIFFE_ID = 1, SVID, KEY, BUNDLE, HINT };

struct entry { /* one X509SVID and what is wrong with it */
    const char *id;
    const char *claimed; /* NULL: id */
    const char *hint;
    unsigned without;    /* a part that is left out */
    bool strange_key;    /* of another certificate */
    bool rubbish_behind; /* the key */
    bool two_roots;
};

static void add_entry(struct text *message, const struct entry *entry)
{
    struct svid *svid = test_svid_new(ca, entry->id), *another = test_svid_new(ca, entry->id);
    struct text all = {0}, chain = {0}, key = {0}, bundle = {0};

    add_der(&chain, svid->leaf);
    add_key(&key, entry->strange_key ? another->key : svid->key);
    if (entry->rubbish_behind)
        text_addc(&key, 'x');
    add_der(&bundle, ca->cert);
    if (entry->two_roots)
        add_der(&bundle, east->cert);
    if (entry->without != SPIFFE_ID)
        add_bytes(&all, SPIFFE_ID, str_from(entry->claimed ? entry->claimed : entry->id));
    if (entry->without != SVID)
        add_bytes(&all, SVID, text_str(&chain));
    if (entry->without != KEY)
        add_bytes(&all, KEY, text_str(&key));
    if (entry->without != BUNDLE)
        add_bytes(&all, BUNDLE, text_str(&bundle));
    if (entry->hint)
        add_bytes(&all, HINT, str_from(entry->hint));
    add_bytes(message, 1, text_str(&all));
    text_fini(&all);
    text_fini(&chain);
    text_fini(&key);
    text_fini(&bundle);
    svid_unref(svid);
    svid_unref(another);
}

static void add_federated(struct text *message, const char *key, X509 *cert)
{
    struct text entry = {0}, der = {0};

    if (cert)
        add_der(&der, cert);
    add_bytes(&entry, 1, str_from(key));
    add_bytes(&entry, 2, text_str(&der));
    add_bytes(message, 3, text_str(&entry));
    text_fini(&entry);
    text_fini(&der);
}

static int read_message(struct text *message)
{
    text_clear(&why);
    svid_update_fini(&update);
    int err = svid_update_read(text_str(message), &update, &why);
    text_fini(message);
    return err;
}

static int read_entry(struct entry entry)
{
    struct text message = {0};

    add_entry(&message, &entry);
    return read_message(&message);
}

/* ---- the items ---- */

Test(svid_update, w3_reads_svids_bundles_federated_bundles_and_crls)
{
    struct text message = {0};

    add_entry(&message, &(struct entry){.id = ID, .hint = "internal"});
    add_bytes(&message, 2, STR("a revocation list"));
    add_federated(&message, "spiffe://east", east->cert);
    cr_assert_eq(read_message(&message), 0, "%s", why.ptr);
    cr_expect_eq(update.n_svids, 1);
    cr_expect(str_eq(update.svids[0]->id.text, STR(ID)));
    cr_assert_eq(update.n_bundles, 2);
    cr_expect(str_eq(update.bundles[0].trust_domain, STR("td")));
    cr_expect(str_eq(update.bundles[1].trust_domain, STR("east")));
    cr_expect(str_starts_with(update.bundles[1].pem, STR("-----BEGIN CERTIFICATE-----")));
    cr_assert_eq(update.n_crls, 1);
    cr_expect(str_eq(update.crls[0], STR("a revocation list")));
}

Test(svid_update, w5_certificates_stand_behind_one_another_and_the_key_is_pkcs8_alone)
{
    cr_assert_eq(read_entry((struct entry){.id = ID, .two_roots = true}), 0, "%s", why.ptr);
    cr_expect_lt(read_entry((struct entry){.id = ID, .rubbish_behind = true}), 0);
    cr_expect_not_null(strstr(why.ptr, "PKCS#8"), "%s", why.ptr);
    cr_expect_lt(read_entry((struct entry){.id = ID, .strange_key = true}), 0);
    cr_expect_not_null(strstr(why.ptr, "does not fit"), "%s", why.ptr);
}

Test(svid_update, w6_a_message_is_the_whole_truth)
{
    struct text message = {0};

    add_entry(&message, &(struct entry){.id = ID});
    add_federated(&message, "spiffe://east", east->cert);
    cr_assert_eq(read_message(&message), 0);
    cr_expect_eq(update.n_bundles, 2);
    cr_assert_eq(read_entry((struct entry){.id = OTHER}), 0);
    cr_expect_null(svid_update_find(&update, STR(ID)), "the identity before is gone");
    cr_expect_eq(update.n_bundles, 1, "and the federated bundle");
}

Test(svid_update, w8_a_mandatory_field_that_is_absent_refuses_the_message)
{
    static const char *const names[] = {"", "spiffe_id", "x509_svid", "x509_svid_key", "bundle"};
    struct text empty = {0};

    for (unsigned part = SPIFFE_ID; part <= BUNDLE; part++) {
        struct text message = {0};

        add_entry(&message, &(struct entry){.id = OTHER});
        add_entry(&message, &(struct entry){.id = ID, .without = part});
        cr_expect_lt(read_message(&message), 0, "%s", names[part]);
        cr_expect_not_null(strstr(why.ptr, names[part]), "%s: %s", names[part], why.ptr);
        cr_expect_eq(update.n_svids, 0, "%s", names[part]);
    }
    cr_expect_lt(read_message(&empty), 0, "no SVID at all");
}

Test(svid_update, w9_the_first_svid_is_the_default_identity)
{
    struct text message = {0};

    add_entry(&message, &(struct entry){.id = OTHER});
    add_entry(&message, &(struct entry){.id = ID});
    cr_assert_eq(read_message(&message), 0);
    cr_expect(str_eq(svid_update_find(&update, (struct str){0})->id.text, STR(OTHER)));
    cr_expect(str_eq(svid_update_find(&update, STR(ID))->id.text, STR(ID)));
}

Test(svid_update, w10_of_two_svids_with_one_hint_the_first_counts_and_a_long_hint_is_no_harm)
{
    struct text message = {0};
    char hint[3000];

    memset(hint, 'h', sizeof(hint) - 1);
    hint[sizeof(hint) - 1] = '\0';
    add_entry(&message, &(struct entry){.id = ID, .hint = hint});
    add_entry(&message, &(struct entry){.id = OTHER, .hint = hint});
    cr_assert_eq(read_message(&message), 0, "%s", why.ptr);
    cr_expect_eq(update.n_svids, 1);
    cr_expect(str_eq(update.svids[0]->id.text, STR(ID)));
}

Test(svid_update, w16_unknown_fields_are_ignored)
{
    struct text message = {0};

    add_bytes(&message, 99, STR("from the future"));
    add_entry(&message, &(struct entry){.id = ID});
    cr_assert_eq(read_message(&message), 0, "%s", why.ptr);
}

Test(svid_update, w17_a_certificate_that_names_another_identity_is_refused)
{
    cr_expect_lt(read_entry((struct entry){.id = ID, .claimed = OTHER}), 0);
    cr_expect_not_null(strstr(why.ptr, "names another identity"), "%s", why.ptr);
    cr_expect_not_null(strstr(why.ptr, ID), "%s", why.ptr);
    cr_expect_not_null(strstr(why.ptr, OTHER), "%s", why.ptr);
}

Test(svid_update, w18_a_federated_key_is_a_trust_domains_id_and_a_bad_one_is_skipped)
{
    static const char *const bad[] = {"east", "spiffe://east/with/path", "https://east", ""};
    struct text message = {0};

    add_entry(&message, &(struct entry){.id = ID});
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        add_federated(&message, bad[i], east->cert);
    add_federated(&message, "spiffe://north", NULL);
    add_federated(&message, "spiffe://east", east->cert);
    cr_assert_eq(read_message(&message), 0, "%s", why.ptr);
    cr_expect_eq(update.n_bundles, 2);
    cr_expect_eq(update.n_skipped, ARRAY_LEN(bad) + 1);
}

Test(svid_update, a_chain_of_50_intermediates_is_refused)
{
    struct test_cert spec = {.is_ca = true, .subject = "intermediate"};
    struct test_ca *west = test_ca_new("td"), *middle = test_ca_under(west, &spec);
    struct test_cert leaf_spec = {.uris = {STR(ID)}};
    EVP_PKEY *key = NULL;
    X509 *leaf = test_ca_mint(middle, &leaf_spec, &key);
    struct text chain = {0};
    struct svid *svid = NULL;

    add_der(&chain, leaf);
    for (int i = 0; i < 50; i++)
        add_der(&chain, middle->cert);
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    text_clear(&why);
    cr_expect_lt(svid_from_der(text_str(&chain), str_of(der, (size_t)len), &svid, &why), 0);
    cr_expect_not_null(strstr(why.ptr, "too many"), "%s", why.ptr);
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
    X509_free(leaf);
    EVP_PKEY_free(key);
    text_fini(&chain);
    test_ca_free(west);
    test_ca_free(middle);
}

Test(svid_update, bytes_that_are_no_message_are_refused)
{
    struct text message = {0};

    text_add(&message, STR("\x0a\x7f no message"));
    cr_expect_lt(read_message(&message), 0);
    cr_expect_gt(why.len, 0);
}

/* KubernetesObjectReference in an Any in a WorkloadReference in the request, by hand. */
static void expected_request(const char *uid, struct text *out)
{
    struct text type = {0}, key = {0}, object = {0}, any = {0}, reference = {0};

    add_bytes(&type, 1, STR("pods"));
    add_bytes(&type, 2, STR("core"));
    add_bytes(&key, 1, STR("shop"));
    add_bytes(&key, 2, STR("cart-1"));
    add_bytes(&object, 1, text_str(&type));
    add_bytes(&object, 2, text_str(&key));
    if (uid)
        add_bytes(&object, 3, str_from(uid));
    add_bytes(&any, 1, STR("type.googleapis.com/spiffe.broker.KubernetesObjectReference"));
    add_bytes(&any, 2, text_str(&object));
    add_bytes(&reference, 1, text_str(&any));
    add_bytes(out, 1, text_str(&reference));
    text_fini(&type);
    text_fini(&key);
    text_fini(&object);
    text_fini(&any);
    text_fini(&reference);
}

#define CART STR("spiffe://west.example/ns/shop/sa/cart")

static void expect_request(struct str workload_uid, const char *pod_uid)
{
    struct text request = {0}, expected = {0};
    struct arena arena = {0};
    struct str uid = pod_uid ? str_from(pod_uid) : (struct str){0};

    expected_request(pod_uid, &expected);
    cr_assert(broker_api_request(svid_key_for(&arena, CART, workload_uid, uid), &request));
    cr_expect(str_eq(text_str(&request), text_str(&expected)));
    text_fini(&request);
    text_fini(&expected);
    arena_fini(&arena);
}

Test(svid_update, k6_k7_a_pod_is_named_by_kind_namespace_name_and_uid)
{
    expect_request(STR("west//v1/Pod/shop/cart-1"), "0b7c1f6e-3f0e-4f0e-9a55-2f6f7d1c9e10");
}

Test(svid_update, k7_a_pod_whose_uid_is_not_known_is_named_without_it)
{
    expect_request(STR("west//v1/Pod/shop/cart-1"), NULL);
}

Test(svid_update, k7_what_is_no_pod_is_not_asked_for)
{
    static const char *const uids[] = {"west//v1/Service/shop/cart-1", "west//v1/Pod/shop",
                                       "west//v1/Pod//cart-1", ""};

    for (size_t i = 0; i < sizeof(uids) / sizeof(uids[0]); i++) {
        struct text request = {0};
        struct arena arena = {0};

        cr_expect_not(broker_api_request(
                          svid_key_for(&arena, CART, str_from(uids[i]), STR("0b7c1f6e")), &request),
                      "%s", uids[i]);
        text_fini(&request);
        arena_fini(&arena);
    }
}
