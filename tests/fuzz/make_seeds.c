/*
 * make_seeds FOLDER - writes the seeds of fuzz_cert, fuzz_jwks and fuzz_crl: certificates of
 * tests/kit, good and broken, as FOLDER/<target>/<name>. What it wrote is in the corpora; it is run
 * again when the kit learns to break something new.
 */
#include <openssl/pem.h>
#include <stdio.h>

#include "certs/csr.h"
#include "certs/jwks.h"
#include "proxy/base/file.h"
#include "tests/kit/test_ca.h"

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

int main(int argc, char **argv)
{
    ensure(argc == 2);
    folder = argv[1];
    struct test_ca *ca = test_ca_new("west.example");
    put_certificates(ca);
    put_request();
    put_bundles(ca);
    put_lists(ca);
    test_ca_free(ca);
    return 0;
}
