/*
 * make_seeds FOLDER - writes the seeds of fuzz_cert, fuzz_jwks, fuzz_crl and fuzz_svid_update:
 * certificates of tests/kit, good and broken, by the root that fuzz_cert trusts, as
 * FOLDER/<target>/<name>. What it wrote is in the corpora; it is run again when the kit learns to
 * break something new.
 */
#include <openssl/pem.h>
#include <spiffe_workload.pb-c.h>
#include <stdio.h>

#include "certs/csr.h"
#include "certs/jwks.h"
#include "proxy/base/file.h"
#include "tests/kit/test_ca.h"
#include "xds/wire.h"

#define DECADE_S ((int64_t)10 * 365 * 24 * 3600)
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define GOOD .uris = {TEXT("spiffe://west.example/ns/a/sa/b")}

static const char *folder;

static void put(const char *target, const char *name, struct text *bytes)
{
    struct text path = {0};

    text_addf(&path, "%s/%s", folder, target);
    ensure(file_make_dir(text_str(&path), 0755) == 0);
    text_addf(&path, "/%s", name);
    ensure(file_write_atomic(text_str(&path), text_str(bytes), 0644) == 0);
    text_fini(&path);
    text_clear(bytes);
}

static void put_certificates(const struct test_ca *ca)
{
    static const struct {
        const char *name;
        struct test_cert spec;
    } rows[] = {
        {"good", {GOOD}},
        {"other_names", {GOOD, .other_names = true}},
        {"two_ids", {.uris = {TEXT("spiffe://west.example/a"), TEXT("spiffe://west.example/b")}}},
        {"nul", {.uris = {TEXT("spiffe://west.example/a\0b")}}},
        {"ca", {.is_ca = true, .subject = "ca", .uris = {TEXT("spiffe://west.example")}}},
        {"ca_with_path",
         {.is_ca = true, .subject = "ca", .uris = {TEXT("spiffe://west.example/p")}}},
        {"constraints",
         {.is_ca = true,
          .subject = "ca",
          .name_constraints = "critical,permitted;URI:west.example"}},
        {"no_usages", {GOOD, .key_usage = "", .extended_key_usage = ""}},
        {"unknown_critical", {GOOD, .unknown_extension = "critical"}},
        {"malformed_san", {.san_der = TEXT("\x30\x7f\x86\x01")}},
        {"san_twice", {GOOD, .san_twice = true}},
        {"version_1", {GOOD, .is_version_1 = true}},
        {"p384", {GOOD, .key = "P-384"}},
    };
    struct text bytes = {0};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct test_cert spec = rows[i].spec;
        unsigned char *der = NULL;

        spec.now_s = TEST_CA_NOW_S;
        spec.until_s = DECADE_S;
        X509 *cert = test_ca_mint(ca, &spec, NULL);
        int len = i2d_X509(cert, &der);
        text_addc(&bytes, '\0');
        text_add(&bytes, str_of(der, (size_t)len));
        put("cert", rows[i].name, &bytes);
        OPENSSL_free(der);
        X509_free(cert);
    }
    text_addc(&bytes, '\2');
    test_ca_pem(ca, &bytes);
    put("cert", "bundle", &bytes);
    text_fini(&bytes);
}

static void put_request(void)
{
    EVP_PKEY *key = NULL;
    struct text pem = {0}, bytes = {0};
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;

    ensure(csr_make(STR("spiffe://west.example/ns/a/sa/b"), &key, &pem) == 0);
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    ensure(PEM_read_bio(bio, &name, &header, &der, &len) == 1);
    text_addc(&bytes, '\1');
    text_add(&bytes, str_of(der, (size_t)len));
    put("cert", "request", &bytes);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    csr_key_free(key);
    text_fini(&pem);
    text_fini(&bytes);
}

static void put_bundles(const struct test_ca *ca)
{
    struct text pem = {0}, json = {0}, map = {0}, why = {0};

    test_ca_pem(ca, &pem);
    ensure(jwks_write(text_str(&pem), 7, 300, &json, &why) == 0);
    text_addf(&map, "{\"trust_domains\":{\"west.example\":%s}}", json.ptr);
    put("jwks", "one", &json);
    put("jwks", "map", &map);
    ensure(jwks_write((struct str){0}, 1, 60, &json, &why) == 0);
    put("jwks", "empty", &json);
    text_add(&json,
             STR("{\"keys\":[{\"kty\":\"XYZ\"},{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[]}],"
                 "\"spiffe_sequence\":99999999999999999999,\"spiffe_refresh_hint\":1e300}"));
    put("jwks", "numbers", &json);
    text_fini(&pem);
    text_fini(&json);
    text_fini(&map);
}

static void put_lists(const struct test_ca *ca)
{
    struct test_crl specs[] = {{0},
                               {.n_revoked = 1},
                               {.has_no_end = true},
                               {.is_indirect = true},
                               {.critical_nid = NID_delta_crl}};
    static const char *names[] = {"empty", "one", "no_end", "indirect", "delta"};
    struct test_cert leaf = {GOOD};
    X509 *cert = test_ca_mint(ca, &leaf, NULL);
    struct text bytes = {0};

    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        specs[i].revoked = &cert;
        test_crl_der(ca, &specs[i], &bytes);
        put("crl", names[i], &bytes);
    }
    test_crl_pem(ca, &specs[1], &bytes);
    put("crl", "pem", &bytes);
    X509_free(cert);
    text_fini(&bytes);
}

/* ---- messages of the Workload API ---- */

static ProtobufCBinaryData binary(const struct text *bytes)
{
    return (ProtobufCBinaryData){bytes->len, (uint8_t *)bytes->ptr};
}

static void add_der(X509 *cert, struct text *out)
{
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);

    text_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
}

static void add_key_der(EVP_PKEY *key, struct text *out)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    unsigned char *der = NULL;
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);

    text_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
}

struct parts {
    struct text chain, key, bundle, crl;
};

/* A chain of a leaf and intermediates under the root, with its key. */
static struct parts make_parts(const struct test_ca *root, unsigned n_intermediates)
{
    struct parts parts = {0};
    struct test_cert leaf = {GOOD, .now_s = TEST_CA_NOW_S, .until_s = 36000 * (int64_t)86400};
    struct test_cert middle = {.is_ca = true,
                               .subject = "intermediate",
                               .now_s = TEST_CA_NOW_S,
                               .until_s = 36000 * (int64_t)86400};
    struct test_ca *above[4] = {0};
    const struct test_ca *issuer = root;
    const struct test_crl list = {.n_revoked = 0};
    EVP_PKEY *key = NULL;

    for (unsigned i = 0; i < n_intermediates; i++)
        issuer = above[i] = test_ca_under(issuer, &middle);
    X509 *cert = test_ca_mint(issuer, &leaf, &key);
    add_der(cert, &parts.chain);
    for (unsigned i = n_intermediates; i > 0; i--)
        add_der(above[i - 1]->cert, &parts.chain);
    add_key_der(key, &parts.key);
    add_der(root->cert, &parts.bundle);
    test_crl_der(root, &list, &parts.crl);
    for (unsigned i = 0; i < n_intermediates; i++)
        test_ca_free(above[i]);
    X509_free(cert);
    EVP_PKEY_free(key);
    return parts;
}

static void parts_fini(struct parts *parts)
{
    text_fini(&parts->chain);
    text_fini(&parts->key);
    text_fini(&parts->bundle);
    text_fini(&parts->crl);
}

static void put_message(const char *name, const X509SVIDResponse *message)
{
    struct text bytes = {0};

    wire_pack(&message->base, &bytes);
    put("svid_update", name, &bytes);
    text_fini(&bytes);
}

static void put_messages(const struct test_ca *ca)
{
    static char id[] = "spiffe://west.example/ns/a/sa/b", hint[] = "main",
                key[] = "spiffe://east.example", bad_key[] = "east.example";
    struct parts parts = make_parts(ca, 0), deep = make_parts(ca, 2);
    X509SVID one, two;
    X509SVID *svids[] = {&one, &two};
    X509SVIDResponse__FederatedBundlesEntry good, bad;
    X509SVIDResponse__FederatedBundlesEntry *federated[] = {&good, &bad};
    X509SVIDResponse message;
    ProtobufCBinaryData lists[] = {binary(&parts.crl)};

    x509_svid__init(&one);
    x509_svid__init(&two);
    x509_svidresponse__init(&message);
    x509_svidresponse__federated_bundles_entry__init(&good);
    x509_svidresponse__federated_bundles_entry__init(&bad);
    one.spiffe_id = two.spiffe_id = id;
    one.hint = two.hint = hint;
    one.x509_svid = binary(&parts.chain);
    one.x509_svid_key = binary(&parts.key);
    two.x509_svid = binary(&deep.chain);
    two.x509_svid_key = binary(&deep.key);
    one.bundle = two.bundle = binary(&parts.bundle);
    message.svids = svids;
    message.n_svids = 1;
    put_message("one", &message);
    message.svids = &svids[1];
    put_message("intermediates", &message);
    message.svids = svids;
    message.n_svids = 2;
    put_message("same_hint", &message);
    good.key = key;
    good.value = bad.value = one.bundle;
    bad.key = bad_key;
    message.federated_bundles = federated;
    message.n_federated_bundles = 2;
    message.crl = lists;
    message.n_crl = 1;
    put_message("all", &message);
    one.x509_svid_key = two.x509_svid_key;
    put_message("key_of_another", &message);
    one.x509_svid_key = (ProtobufCBinaryData){0};
    put_message("no_key", &message);
    parts_fini(&parts);
    parts_fini(&deep);
}

int main(int argc, char **argv)
{
    ensure(argc == 2);
    folder = argv[1];
    struct test_ca *ca = test_ca_fixed("west.example");
    put_certificates(ca);
    put_request();
    put_bundles(ca);
    put_lists(ca);
    put_messages(ca);
    test_ca_free(ca);
    return 0;
}
