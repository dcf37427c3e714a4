#include "proxy/tls/tls_identity.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "proxy/base/mem.h"
#include "proxy/tls/tls_internal.h"

#define SUITES        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
#define CERT_LIST_MAX 65536 /* bytes of a peer's chain */

/*
 * The certificate counts (one of our own, empty for an identity without); this hangs off it and
 * goes with it. The key is nowhere in the SSL_CTX, which every connection keeps for its life: a
 * handshake borrows it and gives it back when it is done (tls_identity_forget()). So a key goes
 * when its identity is replaced, whatever connections were made under it.
 */
struct tls_identity {
    X509 *leaf;
    EVP_PKEY *pkey; /* NULL: none to show */
    STACK_OF(X509) * chain;
    SSL_CTX *ctx;
    struct arena arena;
    struct str id, key;
    int64_t not_after_ns;
    bool is_web;
};

static int identity_slot; /* OpenSSL's index of ours in an X509 */
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

static void free_identity(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                          void *argp)
{
    struct tls_identity *identity = ptr;

    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    if (!identity)
        return;
    EVP_PKEY_free(identity->pkey);
    sk_X509_pop_free(identity->chain, X509_free);
    SSL_CTX_free(identity->ctx);
    arena_fini(&identity->arena);
    mem_free(identity);
}

static void make_slot(void)
{
    identity_slot = X509_get_ex_new_index(0, NULL, NULL, NULL, free_identity);
    ensure(identity_slot >= 0);
}

/* Everything that does not depend on whose identity it is. None of it can fail on the OpenSSL we
 * build against. */
static SSL_CTX *new_context(void)
{
    int groups[] = {NID_X25519, NID_X9_62_prime256v1};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    ensure(ctx);
    ensure(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1);
    ensure(SSL_CTX_set_ciphersuites(ctx, SUITES) == 1);
    ensure(SSL_CTX_set1_groups(ctx, groups, ARRAY_LEN(groups)) == 1);
    ensure(SSL_CTX_set_num_tickets(ctx, 0) == 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
    tls_check_install(ctx);
    return ctx;
}

/* Takes over the context and the certificate. */
static struct tls_identity *identity_new(SSL_CTX *ctx, X509 *leaf)
{
    struct tls_identity *identity = mem_new(struct tls_identity);

    ensure(CRYPTO_THREAD_run_once(&once, make_slot) == 1);
    ensure(leaf && X509_set_ex_data(leaf, identity_slot, identity) == 1);
    identity->ctx = ctx;
    identity->leaf = leaf;
    return identity;
}

struct tls_identity *tls_identity_anonymous(void)
{
    return identity_new(new_context(), X509_new());
}

static struct tls_identity *new_web(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    ensure(ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
    struct tls_identity *identity = identity_new(ctx, X509_new());

    identity->is_web = true;
    return identity;
}

struct tls_identity *tls_identity_web(void)
{
    struct tls_identity *identity = new_web();

    /* Without the system's authorities every server is refused. */
    (void)SSL_CTX_set_default_verify_paths(identity->ctx);
    ERR_clear_error();
    return identity;
}

struct tls_identity *tls_identity_web_of(struct str authorities)
{
    struct tls_identity *identity = new_web();
    X509_STORE *store = SSL_CTX_get_cert_store(identity->ctx);
    BIO *bio =
        authorities.len < INT_MAX ? BIO_new_mem_buf(authorities.ptr, (int)authorities.len) : NULL;
    size_t n = 0;

    for (X509 *cert; bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
        n += X509_STORE_add_cert(store, cert) == 1 ? 1 : 0;
        X509_free(cert);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (n > 0)
        return identity;
    tls_identity_unref(identity);
    return NULL;
}

bool tls_identity_is_web(const struct tls_identity *identity)
{
    return identity->is_web;
}

/* Lends the key to a connection that is in its handshake. */
static bool lend(const struct tls_identity *identity, SSL *ssl)
{
    return !identity->pkey ||
           SSL_use_cert_and_key(ssl, identity->leaf, identity->pkey, identity->chain, 1) == 1;
}

static bool is_usable(const struct tls_identity *identity)
{
    SSL *ssl = SSL_new(identity->ctx);
    const bool is_good = ssl && lend(identity, ssl) && SSL_check_private_key(ssl) == 1;

    SSL_free(ssl);
    ERR_clear_error();
    return is_good;
}

int tls_identity_new(const struct svid *svid, struct tls_identity **out_identity)
{
    return tls_identity_new_for(svid, svid->id.text, out_identity);
}

int tls_identity_new_for(const struct svid *svid, struct str key,
                         struct tls_identity **out_identity)
{
    struct tls_identity *identity = identity_new(new_context(), X509_dup(svid->leaf));

    ERR_clear_error();
    ensure(EVP_PKEY_up_ref(svid->key) == 1);
    identity->pkey = svid->key;
    identity->chain = X509_chain_up_ref(svid->chain);
    if (!is_usable(identity)) {
        tls_identity_unref(identity);
        return -ERR_TLS;
    }
    identity->id = arena_str(&identity->arena, svid->id.text);
    identity->key = arena_str(&identity->arena, key);
    identity->not_after_ns = svid->not_after_ns;
    *out_identity = identity;
    return 0;
}

struct tls_identity *tls_identity_ref(struct tls_identity *identity)
{
    ensure(X509_up_ref(identity->leaf) == 1);
    return identity;
}

void tls_identity_unref(struct tls_identity *identity)
{
    if (identity)
        X509_free(identity->leaf);
}

struct str tls_identity_id(const struct tls_identity *identity)
{
    return identity->id;
}

struct str tls_identity_key(const struct tls_identity *identity)
{
    return identity->key;
}

int64_t tls_identity_not_after_ns(const struct tls_identity *identity)
{
    return identity->not_after_ns;
}

SSL *tls_identity_ssl(struct tls_identity *identity)
{
    SSL *ssl = SSL_new(identity->ctx);

    if (ssl && !lend(identity, ssl)) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

void tls_identity_forget(SSL *ssl)
{
    SSL_certs_clear(ssl);
}

struct tls_set *tls_set_new(uint64_t generation, struct trust *trust)
{
    struct tls_set *set = mem_new(struct tls_set);

    set->generation = generation;
    set->trust = trust_ref(trust);
    return set;
}

void tls_set_add(struct tls_set *set, struct tls_identity *identity)
{
    struct str key = arena_str(&set->arena, identity->key);
    struct tls_identity *before = map_put(&set->identities, key, tls_identity_ref(identity));

    tls_identity_unref(before);
}

struct tls_identity *tls_set_find(const struct tls_set *set, struct str id)
{
    return map_find(&set->identities, id);
}

void tls_set_free(struct tls_set *set)
{
    size_t idx = 0;
    struct str key;
    void *identity;

    while (map_next(&set->identities, &idx, &key, &identity))
        tls_identity_unref(identity);
    map_fini(&set->identities);
    trust_unref(set->trust);
    arena_fini(&set->arena);
    mem_free(set);
}
