/*
 * ca.c - the root on disk and the leaves it signs.
 *
 * First start: the key is written before the certificate. A crash between the two leaves a key that
 * no certificate was ever published for; the next start makes the certificate for it.
 */
#include "certs/ca.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/cert.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"

#define ROOT_LIFE_SECONDS ((int64_t)10 * 365 * 24 * 3600)
#define BACKDATE_SECONDS  60 /* for clocks that run behind ours */
#define KEY_MAX_BYTES     ((size_t)64 * 1024)
#define SERIAL_BITS       127

struct ca {
    struct arena arena;
    struct str trust_domain;
    struct str root_pem;
    EVP_PKEY *key;
    X509 *signer;         /* the root, or the intermediate */
    struct str chain_pem; /* goes out behind every leaf; empty when the root signs */
};

struct ca_paths {
    struct text dir, key, pem, middle_key, middle_pem;
};

static void paths_init(struct ca_paths *paths, struct str dir)
{
    text_addf(&paths->dir, "%.*s/ca", STR_ARG(dir));
    text_addf(&paths->key, "%.*s/ca/root.key", STR_ARG(dir));
    text_addf(&paths->pem, "%.*s/ca/root.pem", STR_ARG(dir));
    text_addf(&paths->middle_key, "%.*s/ca/intermediate.key", STR_ARG(dir));
    text_addf(&paths->middle_pem, "%.*s/ca/intermediate.pem", STR_ARG(dir));
}

static void paths_fini(struct ca_paths *paths)
{
    text_fini(&paths->dir);
    text_fini(&paths->key);
    text_fini(&paths->pem);
    text_fini(&paths->middle_key);
    text_fini(&paths->middle_pem);
}

static int fail(struct text *why, int err, const struct text *path, const char *sentence)
{
    ERR_clear_error();
    text_addf(why, "%.*s: %s", STR_ARG(text_str(path)), sentence);
    return err;
}

static int fail_file(struct text *why, int err, const struct text *path)
{
    int errnum = errno;

    return fail(why, err, path, errnum ? strerrordesc_np(errnum) : err_text(err));
}

static bool set_serial(X509 *cert)
{
    BIGNUM *serial = BN_new();

    ensure(serial);
    bool ok = BN_priv_rand(serial, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_set_bit(serial, 0) == 1 && /* never zero */
              BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
    BN_free(serial);
    return ok;
}

static bool set_time(X509 *cert, int64_t not_before_s, int64_t not_after_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)not_before_s) &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)not_after_s);
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static bool add_san(X509 *cert, struct str id)
{
    X509_EXTENSION *san = cert_san_make(id);
    bool ok = san && X509_add_ext(cert, san, -1) == 1;

    X509_EXTENSION_free(san);
    return ok;
}

static bool sign(X509 *cert, EVP_PKEY *key)
{
    bool own_digest = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");

    return X509_sign(cert, key, own_digest ? NULL : EVP_sha256()) > 0;
}

/* The name tells this root from others of ours: two roots of one name in a bundle make path
 * building guess. */
static bool set_root_name(X509 *root)
{
    X509_NAME *name = X509_NAME_new();
    unsigned char bytes[8];
    struct text common_name = {0};

    ensure(name);
    rng_secret(bytes, sizeof(bytes));
    text_addf(&common_name, "Isthmus CA ");
    for (size_t i = 0; i < sizeof(bytes); i++)
        text_addf(&common_name, "%02x", bytes[i]);
    bool ok = X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
                                         (const unsigned char *)"Isthmus", -1, -1, 0) == 1 &&
              X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                         (const unsigned char *)common_name.ptr, -1, -1, 0) == 1 &&
              X509_set_subject_name(root, name) == 1 && X509_set_issuer_name(root, name) == 1;
    text_fini(&common_name);
    X509_NAME_free(name);
    return ok;
}

static X509 *make_root(EVP_PKEY *key, struct str trust_domain)
{
    X509 *root = X509_new();
    struct text id = {0};
    int64_t now_s = clock_wall_ns() / (int64_t)NS_PER_SEC;

    ensure(root);
    text_addf(&id, "spiffe://%.*s", STR_ARG(trust_domain));
    bool ok = X509_set_version(root, X509_VERSION_3) == 1 && set_serial(root) &&
              set_time(root, now_s - BACKDATE_SECONDS, now_s + ROOT_LIFE_SECONDS) &&
              set_root_name(root) && X509_set_pubkey(root, key) == 1 &&
              add_extension(root, root, NID_basic_constraints, "critical,CA:TRUE") &&
              add_extension(root, root, NID_key_usage, "critical,keyCertSign,cRLSign") &&
              add_extension(root, root, NID_subject_key_identifier, "hash") &&
              add_san(root, text_str(&id)) && sign(root, key);
    text_fini(&id);
    if (ok)
        return root;
    X509_free(root);
    return NULL;
}

/* An encrypted key must not make OpenSSL ask for a password on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *owner)
{
    if (size > 0)
        buf[0] = '\0';
    (void)rwflag;
    (void)owner;
    return -1;
}

static int load_key(const struct text *path, EVP_PKEY **out_key, struct text *why)
{
    struct text pem = {0};
    int err = file_read_all(text_str(path), KEY_MAX_BYTES, &pem);

    if (err == -ERR_NOT_FOUND)
        return err;
    if (err < 0)
        return fail_file(why, err, path);
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

    BIO_free(bio);
    file_wipe(&pem);
    if (!key)
        return fail(why, -ERR_INVALID, path, "there is no unencrypted private key in PEM");
    *out_key = key;
    return 0;
}

static int make_key(const struct ca_paths *paths, EVP_PKEY **out_key, struct text *why)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    struct text pem = {0};

    ensure(key && bio);
    ensure(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    cert_take_bio(bio, &pem);
    int err = file_write_atomic(text_str(&paths->key), text_str(&pem), 0600);
    if (err < 0) {
        err = fail_file(why, err, &paths->key);
        EVP_PKEY_free(key);
    } else {
        *out_key = key;
    }
    file_wipe(&pem);
    return err;
}

/* The certificate of the key among those in the file: during a change of roots the file holds the
 * old one too. */
static X509 *own_root(const STACK_OF(X509) * roots, const EVP_PKEY *key)
{
    for (int i = 0; i < sk_X509_num(roots); i++) {
        X509 *root = sk_X509_value(roots, i);

        if (X509_check_private_key(root, key) == 1) {
            ensure(X509_up_ref(root) == 1);
            return root;
        }
    }
    return NULL;
}

static int adopt_roots(struct ca *ca, const struct ca_paths *paths, struct str pem,
                       struct text *why)
{
    STACK_OF(X509) *roots = NULL;
    const char *fault = NULL;
    struct text sentence = {0};

    if (bundle_check(pem, &sentence) < 0) {
        int err = fail(why, -ERR_INVALID, &paths->pem, sentence.ptr);
        text_fini(&sentence);
        return err;
    }
    if (cert_list_from_pem(pem, BUNDLE_ROOTS_MAX, &roots, &fault) < 0)
        return fail(why, -ERR_INVALID, &paths->pem, fault);
    ca->signer = own_root(roots, ca->key);
    cert_list_free(roots);
    ERR_clear_error();
    if (!ca->signer)
        return fail(why, -ERR_INVALID, &paths->pem, "no certificate fits the key in root.key");
    if (cert_time_ns(X509_get0_notAfter(ca->signer)) <= clock_wall_ns())
        return fail(why, -ERR_INVALID, &paths->pem, "the root has expired");
    ca->root_pem = arena_str(&ca->arena, pem);
    return 0;
}

/* ---- an intermediate ---- */

static const char *middle_fault(const STACK_OF(X509) * chain, const EVP_PKEY *key,
                                X509_STORE *roots)
{
    const char *why = NULL;
    X509 *first = sk_X509_value(chain, 0);

    if (X509_check_private_key(first, key) != 1)
        return "the first certificate does not fit the key in intermediate.key";
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (cert_check_signer(sk_X509_value(chain, i), &why) < 0)
            return why;
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    ensure(ctx && X509_STORE_CTX_init(ctx, roots, first, (STACK_OF(X509) *)(uintptr_t)chain) == 1);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
    if (X509_verify_cert(ctx) != 1)
        why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
    X509_STORE_CTX_free(ctx);
    return why;
}

static X509_STORE *store_of(struct str pem)
{
    STACK_OF(X509) *roots = NULL;
    const char *fault = NULL;
    X509_STORE *store = X509_STORE_new();

    ensure(store && cert_list_from_pem(pem, BUNDLE_ROOTS_MAX, &roots, &fault) == 0);
    for (int i = 0; i < sk_X509_num(roots); i++)
        ensure(X509_STORE_add_cert(store, sk_X509_value(roots, i)) == 1);
    cert_list_free(roots);
    return store;
}

static int adopt_middle(struct ca *ca, const struct ca_paths *paths, struct str pem,
                        struct text *why)
{
    STACK_OF(X509) *chain = NULL;
    const char *fault = NULL;

    if (cert_list_from_pem(pem, CA_INTERMEDIATES_MAX, &chain, &fault) < 0)
        return fail(why, -ERR_INVALID, &paths->middle_pem, fault);
    X509_STORE *roots = store_of(ca->root_pem);
    fault = middle_fault(chain, ca->key, roots);
    X509_STORE_free(roots);
    if (!fault) {
        struct text tidy = {0};

        for (int i = 0; i < sk_X509_num(chain); i++)
            cert_add_pem(sk_X509_value(chain, i), &tidy);
        ca->chain_pem = arena_str(&ca->arena, text_str(&tidy));
        ca->signer = sk_X509_shift(chain);
        text_fini(&tidy);
    }
    cert_list_free(chain);
    return fault ? fail(why, -ERR_INVALID, &paths->middle_pem, fault) : 0;
}

/* The roots of somebody whose key is not here. */
static int load_foreign_roots(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    struct text pem = {0}, sentence = {0};
    int err = file_read_all(text_str(&paths->pem), CERT_PEM_MAX_BYTES, &pem);

    if (err < 0)
        err = fail_file(why, err == -ERR_NOT_FOUND ? -ERR_INVALID : err, &paths->pem);
    else if (bundle_check(text_str(&pem), &sentence) < 0)
        err = fail(why, -ERR_INVALID, &paths->pem, sentence.ptr);
    else
        ca->root_pem = arena_str(&ca->arena, text_str(&pem));
    text_fini(&pem);
    text_fini(&sentence);
    return err;
}

static int load_middle(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    struct text pem = {0};
    int err = load_foreign_roots(ca, paths, why);

    if (err < 0)
        return err;
    err = file_read_all(text_str(&paths->middle_pem), CERT_PEM_MAX_BYTES, &pem);
    if (err < 0)
        err = fail_file(why, err == -ERR_NOT_FOUND ? -ERR_INVALID : err, &paths->middle_pem);
    else
        err = adopt_middle(ca, paths, text_str(&pem), why);
    text_fini(&pem);
    return err;
}

/* ---- the root ---- */

static int make_roots(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    X509 *root = make_root(ca->key, ca->trust_domain);
    struct text pem = {0};

    if (!root)
        return fail(why, -ERR_SYSTEM, &paths->pem, "the root certificate cannot be made");
    cert_add_pem(root, &pem);
    X509_free(root);
    int err = file_write_atomic(text_str(&paths->pem), text_str(&pem), 0644);
    if (err < 0)
        err = fail_file(why, err, &paths->pem);
    else
        err = adopt_roots(ca, paths, text_str(&pem), why);
    text_fini(&pem);
    return err;
}

static int load_or_make_roots(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    struct text pem = {0};
    int err = file_read_all(text_str(&paths->pem), CERT_PEM_MAX_BYTES, &pem);

    if (err == -ERR_NOT_FOUND)
        return make_roots(ca, paths, why);
    if (err < 0)
        return fail_file(why, err, &paths->pem);
    err = adopt_roots(ca, paths, text_str(&pem), why);
    text_fini(&pem);
    return err;
}

/* A root whose key is lost must be noticed by a person: a new root in its place would cut the mesh
 * in two. */
static int load_or_make_key(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    struct text pem = {0};
    int err = load_key(&paths->key, &ca->key, why);

    if (err != -ERR_NOT_FOUND)
        return err;
    err = file_read_all(text_str(&paths->pem), CERT_PEM_MAX_BYTES, &pem);
    text_fini(&pem);
    if (err != -ERR_NOT_FOUND)
        return fail(why, -ERR_INVALID, &paths->key,
                    "there is a root.pem but no root.key beside it");
    return make_key(paths, &ca->key, why);
}

static int load_root(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    int err = load_or_make_key(ca, paths, why);

    return err < 0 ? err : load_or_make_roots(ca, paths, why);
}

static int load(struct ca *ca, const struct ca_paths *paths, struct text *why)
{
    int err = load_key(&paths->middle_key, &ca->key, why);

    if (err == 0)
        return load_middle(ca, paths, why);
    return err == -ERR_NOT_FOUND ? load_root(ca, paths, why) : err;
}

int ca_open(struct str dir, struct str trust_domain, struct ca **out_ca, struct text *why)
{
    struct ca_paths paths = {0};
    struct ca *ca = mem_new(struct ca);

    paths_init(&paths, dir);
    ca->trust_domain = arena_str(&ca->arena, trust_domain);
    int err = 0;
    if (spiffe_check_trust_domain(trust_domain) < 0)
        err = fail(why, -ERR_INVALID, &paths.dir, "the name of the trust domain is malformed");
    if (err == 0 && (file_make_dir(dir, 0700) < 0 || file_make_dir(text_str(&paths.dir), 0700) < 0))
        err = fail_file(why, -ERR_SYSTEM, &paths.dir);
    if (err == 0)
        err = load(ca, &paths, why);
    paths_fini(&paths);
    if (err < 0)
        ca_close(ca);
    else
        *out_ca = ca;
    return err;
}

void ca_close(struct ca *ca)
{
    if (!ca)
        return;
    EVP_PKEY_free(ca->key);
    X509_free(ca->signer);
    arena_fini(&ca->arena);
    mem_free(ca);
}

struct str ca_root_pem(const struct ca *ca)
{
    return ca->root_pem;
}

/* A root of the user's own may have no key identifier to point at. */
static bool add_authority_key(X509 *leaf, X509 *signer)
{
    return !X509_get0_subject_key_id(signer) ||
           add_extension(leaf, signer, NID_authority_key_identifier, "keyid");
}

static bool fill_leaf(const struct ca *ca, X509 *leaf, struct str id, EVP_PKEY *key, int64_t now_ns,
                      int64_t not_after_ns)
{
    int64_t second = (int64_t)NS_PER_SEC;

    return X509_set_version(leaf, X509_VERSION_3) == 1 && set_serial(leaf) &&
           set_time(leaf, now_ns / second - BACKDATE_SECONDS, not_after_ns / second) &&
           X509_set_issuer_name(leaf, X509_get_subject_name(ca->signer)) == 1 &&
           X509_set_pubkey(leaf, key) == 1 &&
           add_extension(leaf, ca->signer, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(leaf, ca->signer, NID_key_usage, "critical,digitalSignature") &&
           add_extension(leaf, ca->signer, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_authority_key(leaf, ca->signer) && add_san(leaf, id) && sign(leaf, ca->key);
}

int ca_sign(struct ca *ca, struct str id, EVP_PKEY *key, int64_t ttl_ns, struct text *out_chain_pem)
{
    struct spiffe_id parsed;
    int64_t now_ns = clock_wall_ns();
    int64_t signer_ends_ns = cert_time_ns(X509_get0_notAfter(ca->signer));

    if (spiffe_parse(id, &parsed, NULL) < 0 || str_is_empty(parsed.path) ||
        !str_eq(parsed.trust_domain, ca->trust_domain) || ttl_ns <= 0 || signer_ends_ns <= now_ns)
        return -ERR_INVALID;
    int64_t not_after_ns = ttl_ns < signer_ends_ns - now_ns ? now_ns + ttl_ns : signer_ends_ns;
    X509 *leaf = X509_new();

    ensure(leaf);
    bool ok = fill_leaf(ca, leaf, id, key, now_ns, not_after_ns);
    if (ok) {
        cert_add_pem(leaf, out_chain_pem);
        text_add(out_chain_pem, ca->chain_pem);
    }
    X509_free(leaf);
    ERR_clear_error();
    return ok ? 0 : -ERR_INVALID;
}
