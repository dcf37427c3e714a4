#include "tests/kit/test_ca.h"

#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/ca.h"
#include "certs/svid.h"
#include "certs/verify.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "tests/kit/temp_dir.h"

TestSuite(ca, .timeout = 60);

#define ID      "spiffe://td/ns/shop/sa/cart"
#define HOUR_NS (3600 * (int64_t)NS_PER_SEC)

static struct ca *open_ca(const struct temp_dir *dir)
{
    struct ca *ca = NULL;
    struct text why = {0};

    cr_assert_eq(ca_open(temp_dir_path(dir), STR("td"), &ca, &why), 0, "%s", why.ptr);
    cr_assert_eq(ERR_peek_error(), 0);
    return ca;
}

static int open_fails(const struct temp_dir *dir, const char *trust_domain)
{
    struct ca *ca = NULL;
    struct text why = {0};
    int err = ca_open(temp_dir_path(dir), str_from(trust_domain), &ca, &why);

    cr_assert_null(ca);
    cr_assert(why.len > 0);
    cr_assert_eq(ERR_peek_error(), 0);
    text_fini(&why);
    return err;
}

static struct text path_of(const struct temp_dir *dir, const char *name)
{
    struct text path = {0};

    text_addf(&path, "%s/%s", dir->path, name);
    return path;
}

static void put(const struct temp_dir *dir, const char *name, struct str content)
{
    struct text folder = path_of(dir, "ca"), path = path_of(dir, name);

    cr_assert_eq(file_make_dir(text_str(&folder), 0700), 0);
    cr_assert_eq(file_write_atomic(text_str(&path), content, 0600), 0);
    text_fini(&folder);
    text_fini(&path);
}

static unsigned mode_of(const struct temp_dir *dir, const char *name)
{
    struct text path = path_of(dir, name);
    struct stat info;

    cr_assert_eq(stat(path.ptr, &info), 0, "%s", path.ptr);
    text_fini(&path);
    return info.st_mode & 07777;
}

Test(ca, makes_a_root_that_is_a_bundle_and_keeps_its_key_to_itself)
{
    struct temp_dir dir = temp_dir_new();
    struct ca *ca = open_ca(&dir);
    struct text why = {0};

    cr_assert_eq(bundle_check(ca_root_pem(ca), &why), 0, "%s", why.ptr);
    cr_assert_eq(mode_of(&dir, "ca/root.key"), 0600);
    cr_assert_eq(mode_of(&dir, "ca"), 0700);
    ca_close(ca);
    temp_dir_remove(&dir);
}

Test(ca, is_the_same_after_a_restart)
{
    struct temp_dir dir = temp_dir_new();
    struct ca *first = open_ca(&dir), *second = open_ca(&dir);

    cr_assert(str_eq(ca_root_pem(first), ca_root_pem(second)));
    ca_close(first);
    ca_close(second);
    temp_dir_remove(&dir);
}

Test(ca, signs_leaves_that_verify_against_its_root)
{
    struct temp_dir dir = temp_dir_new();
    struct ca *ca = open_ca(&dir);
    EVP_PKEY *key = test_key_new(NULL);
    struct text chain = {0}, why = {0};
    struct svid *svid = NULL;
    struct trust *none = trust_new(), *trust = NULL;
    const int64_t before_ns = clock_wall_ns();

    cr_assert_eq(ca_sign(ca, STR(ID), key, HOUR_NS, &chain), 0);
    const int64_t after_ns = clock_wall_ns();
    cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
    cr_assert_eq(trust_with(none, STR("td"), ca_root_pem(ca), &trust, &why), 0);
    for (int role = VERIFY_PEER_IS_CLIENT; role <= VERIFY_PEER_IS_SERVER; role++) {
        struct verify_request request = {
            .trust = trust, .role = (enum verify_role)role, .now_ns = clock_wall_ns()};
        struct verify_result result;

        cr_assert_eq(verify_peer(svid->leaf, NULL, &request, &result), 0, "%s", result.reason);
        verify_path_free(result.path);
        cr_assert_str_eq(result.id, ID);
    }
    cr_assert(svid->not_before_ns <= after_ns - 59 * (int64_t)NS_PER_SEC);
    cr_assert(svid->not_after_ns > before_ns + HOUR_NS - 2 * (int64_t)NS_PER_SEC);
    cr_assert(svid->not_after_ns <= after_ns + HOUR_NS);
    svid_unref(svid);
    trust_unref(none);
    trust_unref(trust);
    text_fini(&chain);
    EVP_PKEY_free(key);
    ca_close(ca);
    temp_dir_remove(&dir);
}

Test(ca, gives_every_leaf_a_serial_of_its_own)
{
    struct temp_dir dir = temp_dir_new();
    struct ca *ca = open_ca(&dir);
    EVP_PKEY *key = test_key_new(NULL);
    struct svid *svids[2] = {0};

    for (int i = 0; i < 2; i++) {
        struct text chain = {0}, why = {0};

        cr_assert_eq(ca_sign(ca, STR(ID), key, HOUR_NS, &chain), 0);
        cr_assert_eq(svid_from_chain(text_str(&chain), key, &svids[i], &why), 0);
        text_fini(&chain);
    }
    cr_assert_not(str_eq(svids[0]->serial, svids[1]->serial));
    cr_assert(svids[0]->serial.len > 20);
    svid_unref(svids[0]);
    svid_unref(svids[1]);
    EVP_PKEY_free(key);
    ca_close(ca);
    temp_dir_remove(&dir);
}

Test(ca, signs_only_for_workloads_of_its_trust_domain)
{
    static const struct {
        const char *id;
        int64_t ttl_ns;
    } rows[] = {
        {"spiffe://other/ns/shop/sa/cart", HOUR_NS},
        {"spiffe://td", HOUR_NS},
        {"spiffe://td.evil/x", HOUR_NS},
        {"spiffe://TD/x", HOUR_NS},
        {"", HOUR_NS},
        {"td/x", HOUR_NS},
        {ID, 0},
        {ID, -1},
    };
    struct temp_dir dir = temp_dir_new();
    struct ca *ca = open_ca(&dir);
    EVP_PKEY *key = test_key_new(NULL);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text chain = {0};

        cr_assert_eq(ca_sign(ca, str_from(rows[i].id), key, rows[i].ttl_ns, &chain), -ERR_INVALID,
                     "row %zu", i);
        cr_assert_eq(chain.len, 0, "row %zu", i);
    }
    EVP_PKEY_free(key);
    ca_close(ca);
    temp_dir_remove(&dir);
}

static void put_root(const struct temp_dir *dir, const struct test_ca *root, bool has_key)
{
    struct text pem = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;

    test_ca_pem(root, &pem);
    put(dir, "ca/root.pem", text_str(&pem));
    PEM_write_bio_PrivateKey_traditional(bio, root->key, NULL, NULL, 0, NULL, NULL);
    long len = BIO_get_mem_data(bio, &ptr);
    if (has_key)
        put(dir, "ca/root.key", str_of(ptr, (size_t)len));
    BIO_free(bio);
    text_fini(&pem);
}

Test(ca, uses_the_root_that_was_put_there_and_never_outlives_it)
{
    struct temp_dir dir = temp_dir_new();
    struct test_cert spec = {
        .is_ca = true, .subject = "own", .key = "RSA-2048", .until_s = 600, .no_key_ids = true};
    struct test_ca *own = test_ca_under(NULL, &spec);
    EVP_PKEY *key = test_key_new(NULL);
    struct text chain = {0}, why = {0};
    struct svid *svid = NULL;

    put_root(&dir, own, true);
    struct ca *ca = open_ca(&dir);
    cr_assert_eq(ca_sign(ca, STR(ID), key, HOUR_NS, &chain), 0);
    cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
    cr_assert_eq(X509_verify(svid->leaf, own->key), 1);
    cr_assert_lt(X509_get_ext_by_NID(svid->leaf, NID_authority_key_identifier, -1), 0);
    cr_assert_eq(ASN1_TIME_compare(X509_get0_notAfter(svid->leaf), X509_get0_notAfter(own->cert)),
                 0);
    svid_unref(svid);
    text_fini(&chain);
    EVP_PKEY_free(key);
    test_ca_free(own);
    ca_close(ca);
    temp_dir_remove(&dir);
}

Test(ca, refuses_a_folder_that_does_not_fit_together_and_leaves_it_as_it_is)
{
    struct test_ca *root = test_ca_new("td"), *other = test_ca_new("td");
    struct test_cert old_spec = {.is_ca = true, .subject = "o", .from_s = -7200, .until_s = -1};
    struct test_cert leaf_spec = {.subject = "l", .uris = {STR("spiffe://td/x")}};
    struct test_ca *old = test_ca_under(NULL, &old_spec), *leaf = test_ca_under(NULL, &leaf_spec);
    static const char *cases[] = {"no key",   "other key", "junk key",
                                  "junk pem", "expired",   "a leaf"};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct temp_dir dir = temp_dir_new();
        struct test_ca mixed = {.key = other->key, .cert = root->cert};
        const struct test_ca *used[] = {root, &mixed, root, root, old, leaf};
        struct text path = path_of(&dir, "ca/root.pem"), before = {0}, after = {0};

        put_root(&dir, used[i], i != 0);
        if (i == 2)
            put(&dir, "ca/root.key", STR("junk"));
        if (i == 3)
            put(&dir, "ca/root.pem", STR("junk"));
        cr_assert_eq(file_read_all(text_str(&path), 65536, &before), 0);
        cr_assert_eq(open_fails(&dir, "td"), -ERR_INVALID, "%s", cases[i]);
        cr_assert_eq(file_read_all(text_str(&path), 65536, &after), 0);
        cr_assert(str_eq(text_str(&before), text_str(&after)), "%s", cases[i]);
        text_fini(&before);
        text_fini(&after);
        text_fini(&path);
        temp_dir_remove(&dir);
    }
    test_ca_free(root);
    test_ca_free(other);
    test_ca_free(old);
    test_ca_free(leaf);
}

Test(ca, finishes_what_a_crash_between_key_and_certificate_left)
{
    struct temp_dir dir = temp_dir_new();
    struct text path = path_of(&dir, "ca/root.pem"), key_path = path_of(&dir, "ca/root.key");
    struct text before = {0}, after = {0};

    ca_close(open_ca(&dir));
    cr_assert_eq(file_read_all(text_str(&key_path), 65536, &before), 0);
    cr_assert_eq(file_remove(text_str(&path)), 0);
    ca_close(open_ca(&dir));
    cr_assert_eq(file_read_all(text_str(&key_path), 65536, &after), 0);
    cr_assert(str_eq(text_str(&before), text_str(&after)));
    text_fini(&before);
    text_fini(&after);
    text_fini(&path);
    text_fini(&key_path);
    temp_dir_remove(&dir);
}

Test(ca, refuses_a_folder_or_a_trust_domain_that_cannot_be)
{
    struct temp_dir dir = temp_dir_new(), gone = temp_dir_new();

    temp_dir_remove(&gone);
    strcat(gone.path, "/sub");
    cr_assert_eq(open_fails(&gone, "td"), -ERR_SYSTEM);
    cr_assert_eq(open_fails(&dir, "Not A Domain"), -ERR_INVALID);
    temp_dir_remove(&dir);
}

/* ---- an intermediate ---- */

static void add_key_pem(EVP_PKEY *key, struct text *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;

    cr_assert_eq(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &ptr);
    text_add(out, str_of(ptr, (size_t)len));
    BIO_free(bio);
}

/* A CA's folder with a root that is elsewhere, and an intermediate of signer. */
static void put_middle(const struct temp_dir *dir, const struct test_ca *root,
                       const struct test_ca *middle, EVP_PKEY *key)
{
    struct text root_pem = {0}, middle_pem = {0}, key_pem = {0};

    test_ca_pem(root, &root_pem);
    test_ca_pem(middle, &middle_pem);
    add_key_pem(key, &key_pem);
    put(dir, "ca/root.pem", text_str(&root_pem));
    put(dir, "ca/intermediate.pem", text_str(&middle_pem));
    put(dir, "ca/intermediate.key", text_str(&key_pem));
    text_fini(&root_pem);
    text_fini(&middle_pem);
    text_fini(&key_pem);
}

Test(ca, an_intermediate_signs_while_the_key_of_the_root_is_elsewhere)
{
    struct temp_dir dir = temp_dir_new();
    struct test_ca *root = test_ca_new("td");
    struct test_cert spec = {.is_ca = true, .subject = "intermediate"};
    struct test_ca *middle = test_ca_under(root, &spec);
    struct text chain = {0}, why = {0};
    struct trust *trust = NULL;
    struct svid *svid = NULL;
    EVP_PKEY *key = test_key_new(NULL);
    struct verify_result result;

    put_middle(&dir, root, middle, middle->key);
    struct ca *ca = open_ca(&dir);
    cr_assert_eq(ca_sign(ca, STR(ID), key, HOUR_NS, &chain), 0);
    cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
    cr_assert_eq(sk_X509_num(svid->chain), 1);
    test_trust_add(&trust, "td", root);
    struct verify_request request = {.trust = trust, .now_ns = clock_wall_ns()};
    cr_assert_eq(verify_peer(svid->leaf, svid->chain, &request, &result), 0, "%s", result.reason);
    cr_assert_eq(sk_X509_num(result.path), 3);
    verify_path_free(result.path);
    cr_assert(str_starts_with(ca_root_pem(ca), STR("-----BEGIN CERTIFICATE-----")));
    struct text no_key = path_of(&dir, "ca/root.key");
    cr_assert_neq(access(no_key.ptr, F_OK), 0, "a key of the root was made");

    text_fini(&no_key);
    ca_close(ca);
    svid_unref(svid);
    trust_unref(trust);
    EVP_PKEY_free(key);
    text_fini(&chain);
    test_ca_free(middle);
    test_ca_free(root);
    temp_dir_remove(&dir);
}

Test(ca, refuses_an_intermediate_that_would_be_refused_by_everybody)
{
    struct test_ca *root = test_ca_new("td"), *stranger = test_ca_new("td");
    EVP_PKEY *other_key = test_key_new(NULL);
    struct test_cert good = {.is_ca = true, .subject = "m"};
    struct test_cert no_ca = {.subject = "m"};
    struct test_cert expired = {.is_ca = true, .subject = "m", .from_s = -7200, .until_s = -3600};

    const struct {
        const char *name;
        const struct test_ca *issuer;
        const struct test_cert *spec;
        EVP_PKEY *key;
    } rows[] = {{"another key", root, &good, other_key},
                {"another root", stranger, &good, NULL},
                {"no CA", root, &no_ca, NULL},
                {"expired", root, &expired, NULL}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct temp_dir dir = temp_dir_new();
        struct test_ca *middle = test_ca_under(rows[i].issuer, rows[i].spec);

        put_middle(&dir, root, middle, rows[i].key ? rows[i].key : middle->key);
        cr_assert_eq(open_fails(&dir, "td"), -ERR_INVALID, "%s", rows[i].name);
        test_ca_free(middle);
        temp_dir_remove(&dir);
    }
    EVP_PKEY_free(other_key);
    test_ca_free(root);
    test_ca_free(stranger);
}
