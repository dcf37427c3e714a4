/*
 * test_ca.h - mints certificates for tests: good SVIDs in one call, broken ones by saying what is
 * wrong with them.
 *
 * Everything aborts on failure: a test that cannot mint its certificate has nothing to test.
 *
 * Owner: what _new, _under and _mint return is the caller's.
 */
#ifndef ISTHMUS_TESTS_KIT_TEST_CA_H
#define ISTHMUS_TESTS_KIT_TEST_CA_H

#include "certs/bundle.h"
#include "certs/svid.h"

#define TEST_URIS_MAX 3

/* {.uris = {STR("spiffe://td/x")}} is a good leaf for an hour; every other field breaks or changes
 * something. */
struct test_cert {
    struct str uris[TEST_URIS_MAX]; /* raw bytes; ends at the first empty one */
    bool other_names; /* a DNS name, an email address and an IP address in the SAN too */
    struct str ip;    /* 4 or 16 bytes: an address in the SAN too; "": none */
    bool san_not_critical;
    bool san_twice;
    struct str san_der;  /* the whole value of the SAN extension, in place of uris */
    const char *subject; /* common name; NULL: empty subject */
    bool is_ca;          /* CA:true, keyCertSign and cRLSign, no extended key usage */
    bool no_basic_constraints;
    bool basic_constraints_twice;
    bool no_key_ids;                /* neither subject nor authority key identifier */
    unsigned path_len_plus_one;     /* 0: no pathlen */
    const char *key_usage;          /* as in openssl.cnf; NULL: right, "": absent */
    const char *extended_key_usage; /* NULL: both for a leaf, none for a CA; "": absent */
    const char *name_constraints;
    const char *unknown_extension; /* "critical" or "plain"; NULL: none */
    int64_t now_s;                 /* 0: the wall clock */
    int64_t from_s, until_s;       /* from now; 0: a minute ago, in an hour */
    EVP_PKEY *public_key;          /* certifies this one and makes no key; borrowed */
    const char *key;               /* "P-256" (NULL), "P-192", "RSA-1024", "RSA-2048", ... */
    const char *digest;            /* "SHA256" (NULL), "SHA1" */
    bool is_version_1;             /* keeps its extensions all the same */
};

struct test_ca {
    EVP_PKEY *key;
    X509 *cert;
};

/* A root as the standard wants it. */
struct test_ca *test_ca_new(const char *trust_domain);
/* A CA (is_ca is set unless key_usage or no_basic_constraints say otherwise) under issuer, or
 * self-signed if NULL. */
struct test_ca *test_ca_under(const struct test_ca *issuer, const struct test_cert *spec);
/* The same key, name and time in every process: what it signed once is verified for ever, at
 * TEST_CA_NOW_S. For the seeds of fuzzers; the key is in the source. */
#define TEST_CA_NOW_S ((int64_t)1767225600) /* 2026-01-01 */
struct test_ca *test_ca_fixed(const char *trust_domain);
void test_ca_free(struct test_ca *ca);
void test_ca_pem(const struct test_ca *ca, struct text *out);
void test_cert_pem(X509 *cert, struct text *out);

/* A certificate; its key goes to *out_key unless that is NULL. */
X509 *test_ca_mint(const struct test_ca *issuer, const struct test_cert *spec, EVP_PKEY **out_key);
EVP_PKEY *test_key_new(const char *kind);

/* A good SVID for an hour, signed by the CA; intermediate may be NULL, else it signs and is in the
 * chain. */
struct svid *test_svid_new(const struct test_ca *ca, const char *id);
struct svid *test_svid_under(const struct test_ca *intermediate, const char *id);

/* Adds the CA's certificate as the bundle of a trust domain: *trust is replaced by the next
 * generation; NULL starts one. */
void test_trust_add(struct trust **trust, const char *trust_domain, const struct test_ca *ca);

/* {0} is a list of nothing, from a minute ago for an hour. */
struct test_crl {
    X509 *const *revoked; /* certificates it takes back */
    size_t n_revoked;
    int64_t from_s, until_s; /* from now; 0: a minute ago, in an hour */
    bool has_no_end;         /* no nextUpdate */
    EVP_PKEY *key;           /* signs in place of the CA's; borrowed */
    /* Whose key the list says it is signed with (authority key identifier); NULL: it does not say
     */
    const struct test_ca *key_id_of;
    int critical_nid; /* an extension of this kind, critical and empty; 0: none */
    bool is_indirect;
};

/* Appends a revocation list of the CA as DER, or as PEM. */
void test_crl_der(const struct test_ca *ca, const struct test_crl *spec, struct text *out);
void test_crl_pem(const struct test_ca *ca, const struct test_crl *spec, struct text *out);

#endif
