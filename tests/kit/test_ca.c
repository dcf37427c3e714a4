#include "tests/kit/test_ca.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"

#define BACKDATE_S 60
#define LIFE_S     3600
#define ROOT_S     86400

EVP_PKEY *test_key_new(const char *kind)
{
    uint64_t bits = 0;
    EVP_PKEY *key = NULL;

    if (!kind)
        kind = "P-256";
    if (strncmp(kind, "RSA-", 4) == 0 && str_to_u64(str_from(kind + 4), 16384, &bits))
        key = EVP_RSA_gen((unsigned)bits);
    else if (strcmp(kind, "ED25519") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        key = EVP_EC_gen(kind);
    ensure(key);
    return key;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ensure(extension && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static void add_name(GENERAL_NAMES *names, int type, int asn1_type, struct str bytes)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(asn1_type);

    ensure(name && value && ASN1_STRING_set(value, bytes.ptr, (int)bytes.len) == 1);
    GENERAL_NAME_set0_value(name, type, value);
    ensure(sk_GENERAL_NAME_push(names, name) > 0);
}

static X509_EXTENSION *san_of(const struct test_cert *spec)
{
    if (spec->san_der.ptr) {
        ASN1_OCTET_STRING *der = ASN1_OCTET_STRING_new();

        ensure(der && ASN1_OCTET_STRING_set(der, (const unsigned char *)spec->san_der.ptr,
                                            (int)spec->san_der.len) == 1);
        X509_EXTENSION *raw =
            X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, !spec->san_not_critical, der);
        ASN1_OCTET_STRING_free(der);
        return raw;
    }
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

    ensure(names);
    if (spec->other_names) {
        add_name(names, GEN_DNS, V_ASN1_IA5STRING, STR("host.example"));
        add_name(names, GEN_EMAIL, V_ASN1_IA5STRING, STR("someone@host.example"));
        add_name(names, GEN_IPADD, V_ASN1_OCTET_STRING, STR("\x0a\x00\x00\x01"));
    }
    if (spec->ip.len > 0)
        add_name(names, GEN_IPADD, V_ASN1_OCTET_STRING, spec->ip);
    for (size_t i = 0; i < TEST_URIS_MAX && spec->uris[i].len > 0; i++)
        add_name(names, GEN_URI, V_ASN1_IA5STRING, spec->uris[i]);
    X509_EXTENSION *extension = NULL;
    if (sk_GENERAL_NAME_num(names) > 0)
        extension = X509V3_EXT_i2d(NID_subject_alt_name, !spec->san_not_critical, names);
    GENERAL_NAMES_free(names);
    return extension;
}

static void add_san(X509 *cert, const struct test_cert *spec)
{
    X509_EXTENSION *san = san_of(spec);

    if (!san)
        return;
    ensure(X509_add_ext(cert, san, -1) == 1);
    if (spec->san_twice)
        ensure(X509_add_ext(cert, san, -1) == 1);
    X509_EXTENSION_free(san);
}

static void add_basic_constraints(X509 *cert, const struct test_cert *spec)
{
    char value[64] = "critical,CA:FALSE";

    if (spec->no_basic_constraints)
        return;
    if (spec->is_ca && spec->path_len_plus_one > 0)
        (void)snprintf(value, sizeof(value), "critical,CA:TRUE,pathlen:%u",
                       spec->path_len_plus_one - 1);
    else if (spec->is_ca)
        (void)snprintf(value, sizeof(value), "critical,CA:TRUE");
    add_extension(cert, cert, NID_basic_constraints, value);
    if (spec->basic_constraints_twice)
        add_extension(cert, cert, NID_basic_constraints, value);
}

static void add_usages(X509 *cert, const struct test_cert *spec)
{
    const char *usage = spec->key_usage;
    const char *extended = spec->extended_key_usage;

    if (!usage)
        usage = spec->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature";
    if (!extended)
        extended = spec->is_ca ? "" : "serverAuth,clientAuth";
    if (usage[0])
        add_extension(cert, cert, NID_key_usage, usage);
    if (extended[0])
        add_extension(cert, cert, NID_ext_key_usage, extended);
}

static void add_unknown(X509 *cert, const char *value)
{
    static int nid;

    if (!nid)
        nid = OBJ_create("1.3.6.1.4.1.99999.7", "isthmusTest", "unknown to everybody");
    ASN1_OCTET_STRING *der = ASN1_OCTET_STRING_new();

    ensure(nid && der && ASN1_OCTET_STRING_set(der, (const unsigned char *)"\x05\x00", 2) == 1);
    X509_EXTENSION *extension =
        X509_EXTENSION_create_by_NID(NULL, nid, strncmp(value, "critical", 8) == 0, der);
    ensure(extension && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(der);
}

static void set_head(X509 *cert, const struct test_cert *spec)
{
    static long serial = 1000;
    int64_t now_s = spec->now_s ? spec->now_s : clock_wall_ns() / (int64_t)NS_PER_SEC;
    int64_t from_s = now_s + (spec->from_s ? spec->from_s : -BACKDATE_S);
    int64_t until_s = now_s + (spec->until_s ? spec->until_s : spec->is_ca ? ROOT_S : LIFE_S);

    ensure(ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial) == 1);
    ensure(ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from_s));
    ensure(ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)until_s));
    if (spec->subject)
        ensure(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                                          (const unsigned char *)spec->subject, -1, -1, 0) == 1);
}

X509 *test_ca_mint(const struct test_ca *issuer, const struct test_cert *spec, EVP_PKEY **out_key)
{
    EVP_PKEY *key = spec->public_key ? spec->public_key : test_key_new(spec->key);
    X509 *cert = X509_new();
    X509 *signer = issuer ? issuer->cert : cert;

    ensure(cert && X509_set_version(cert, X509_VERSION_3) == 1);
    set_head(cert, spec);
    ensure(X509_set_issuer_name(cert, X509_get_subject_name(signer)) == 1);
    ensure(X509_set_pubkey(cert, key) == 1);
    add_basic_constraints(cert, spec);
    add_usages(cert, spec);
    if (!spec->no_key_ids)
        add_extension(cert, signer, NID_subject_key_identifier, "hash");
    if (issuer && !spec->no_key_ids)
        add_extension(cert, signer, NID_authority_key_identifier, "keyid");
    add_san(cert, spec);
    if (spec->name_constraints)
        add_extension(cert, signer, NID_name_constraints, spec->name_constraints);
    if (spec->unknown_extension)
        add_unknown(cert, spec->unknown_extension);
    if (spec->is_version_1)
        ensure(X509_set_version(cert, X509_VERSION_1) == 1);
    const EVP_MD *digest = EVP_get_digestbyname(spec->digest ? spec->digest : "SHA256");
    ensure(X509_sign(cert, issuer ? issuer->key : key, digest) > 0);
    if (out_key && !spec->public_key)
        *out_key = key;
    else if (!spec->public_key)
        EVP_PKEY_free(key);
    return cert;
}

struct test_ca *test_ca_under(const struct test_ca *issuer, const struct test_cert *spec)
{
    struct test_ca *ca = mem_new(struct test_ca);

    ca->cert = test_ca_mint(issuer, spec, &ca->key);
    return ca;
}

static struct test_ca *root_of(const char *trust_domain, struct test_cert spec)
{
    char id[512], name[64];
    int len = snprintf(id, sizeof(id), "spiffe://%s", trust_domain);

    (void)snprintf(name, sizeof(name), "root of %.40s", trust_domain);
    spec.is_ca = true;
    spec.subject = name;
    spec.uris[0] = str_of(id, (size_t)len);
    struct test_ca *ca = test_ca_under(NULL, &spec);
    if (spec.public_key)
        ca->key = spec.public_key;
    return ca;
}

struct test_ca *test_ca_new(const char *trust_domain)
{
    return root_of(trust_domain, (struct test_cert){0});
}

/* ECPrivateKey of P-256 with the number 1...32 as its scalar; OpenSSL computes the point. */
struct test_ca *test_ca_fixed(const char *trust_domain)
{
    static const unsigned char der[] = "\x30\x31\x02\x01\x01\x04\x20"
                                       "\x01\x02\x03\x04\x05\x06\x07\x08"
                                       "\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
                                       "\x11\x12\x13\x14\x15\x16\x17\x18"
                                       "\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20"
                                       "\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const unsigned char *at = der;
    EVP_PKEY *key = d2i_PrivateKey(EVP_PKEY_EC, NULL, &at, sizeof(der) - 1);

    ensure(key);
    return root_of(trust_domain, (struct test_cert){.public_key = key,
                                                    .now_s = TEST_CA_NOW_S,
                                                    .until_s = 36500 * (int64_t)86400});
}

void test_ca_free(struct test_ca *ca)
{
    if (!ca)
        return;
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
    mem_free(ca);
}

void test_cert_pem(X509 *cert, struct text *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;

    ensure(bio && PEM_write_bio_X509(bio, cert) == 1);
    long len = BIO_get_mem_data(bio, &ptr);
    text_add(out, str_of(ptr, (size_t)len));
    BIO_free(bio);
}

void test_ca_pem(const struct test_ca *ca, struct text *out)
{
    test_cert_pem(ca->cert, out);
}

static struct svid *svid_of(const struct test_ca *issuer, const char *id, bool has_intermediate)
{
    struct test_cert spec = {.uris = {str_from(id)}};
    EVP_PKEY *key = NULL;
    X509 *leaf = test_ca_mint(issuer, &spec, &key);
    struct text chain = {0}, why = {0};
    struct svid *svid = NULL;

    test_cert_pem(leaf, &chain);
    if (has_intermediate)
        test_cert_pem(issuer->cert, &chain);
    ensure(svid_from_chain(text_str(&chain), key, &svid, &why) == 0);
    text_fini(&chain);
    X509_free(leaf);
    EVP_PKEY_free(key);
    return svid;
}

struct svid *test_svid_new(const struct test_ca *ca, const char *id)
{
    return svid_of(ca, id, false);
}

struct svid *test_svid_under(const struct test_ca *intermediate, const char *id)
{
    return svid_of(intermediate, id, true);
}

void test_trust_add(struct trust **trust, const char *trust_domain, const struct test_ca *ca)
{
    struct text pem = {0}, why = {0};
    struct trust *next = NULL;

    if (!*trust)
        *trust = trust_new();
    test_ca_pem(ca, &pem);
    ensure(trust_with(*trust, str_from(trust_domain), text_str(&pem), &next, &why) == 0);
    trust_unref(*trust);
    *trust = next;
    text_fini(&pem);
    text_fini(&why);
}

static void add_revoked(X509_CRL *crl, const X509 *cert, const ASN1_TIME *when)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_get0_serialNumber(cert));

    ensure(entry && serial && X509_REVOKED_set_serialNumber(entry, serial) == 1);
    ensure(X509_REVOKED_set_revocationDate(entry, (ASN1_TIME *)(uintptr_t)when) == 1);
    ensure(X509_CRL_add0_revoked(crl, entry) == 1);
    ASN1_INTEGER_free(serial);
}

static void add_crl_extensions(X509_CRL *crl, const struct test_crl *spec)
{
    if (spec->critical_nid) {
        ASN1_OCTET_STRING *der = ASN1_OCTET_STRING_new();

        ensure(der && ASN1_OCTET_STRING_set(der, (const unsigned char *)"\x02\x01\x01", 3) == 1);
        X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, spec->critical_nid, 1, der);
        ensure(extension && X509_CRL_add_ext(crl, extension, -1) == 1);
        X509_EXTENSION_free(extension);
        ASN1_OCTET_STRING_free(der);
    }
    if (spec->key_id_of) {
        const ASN1_OCTET_STRING *key_id = X509_get0_subject_key_id(spec->key_id_of->cert);
        AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();

        ensure(key_id && authority);
        authority->keyid = ASN1_OCTET_STRING_dup(key_id);
        ensure(X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, authority, 0, 0) == 1);
        AUTHORITY_KEYID_free(authority);
    }
    if (spec->is_indirect) {
        ISSUING_DIST_POINT *point = ISSUING_DIST_POINT_new();

        ensure(point);
        point->indirectCRL = 0xff;
        ensure(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, point, 1, 0) == 1);
        ISSUING_DIST_POINT_free(point);
    }
}

static X509_CRL *make_crl(const struct test_ca *ca, const struct test_crl *spec)
{
    X509_CRL *crl = X509_CRL_new();
    time_t now_s = (time_t)(clock_wall_ns() / (int64_t)NS_PER_SEC);
    ASN1_TIME *from = ASN1_TIME_set(NULL, now_s + (spec->from_s ? spec->from_s : -BACKDATE_S));
    ASN1_TIME *until = ASN1_TIME_set(NULL, now_s + (spec->until_s ? spec->until_s : LIFE_S));

    ensure(crl && from && until && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1);
    ensure(X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1);
    ensure(X509_CRL_set1_lastUpdate(crl, from) == 1);
    if (!spec->has_no_end)
        ensure(X509_CRL_set1_nextUpdate(crl, until) == 1);
    for (size_t i = 0; i < spec->n_revoked; i++)
        add_revoked(crl, spec->revoked[i], from);
    add_crl_extensions(crl, spec);
    ensure(X509_CRL_sort(crl) == 1);
    ensure(X509_CRL_sign(crl, spec->key ? spec->key : ca->key, EVP_sha256()) > 0);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    return crl;
}

void test_crl_der(const struct test_ca *ca, const struct test_crl *spec, struct text *out)
{
    X509_CRL *crl = make_crl(ca, spec);
    unsigned char *der = NULL;
    int len = i2d_X509_CRL(crl, &der);

    ensure(len > 0);
    text_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
    X509_CRL_free(crl);
}

void test_crl_pem(const struct test_ca *ca, const struct test_crl *spec, struct text *out)
{
    X509_CRL *crl = make_crl(ca, spec);
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;

    ensure(bio && PEM_write_bio_X509_CRL(bio, crl) == 1);
    long len = BIO_get_mem_data(bio, &ptr);
    text_add(out, str_of(ptr, (size_t)len));
    BIO_free(bio);
    X509_CRL_free(crl);
}
