/*
 * bundle.c - each domain's roots in an X509_STORE of their own. A new generation shares the stores
 * of the domains that did not change (OpenSSL counts them) and copies only the small structs around
 * them.
 */
#include "certs/bundle.h"

#include <openssl/err.h>

#include "certs/cert.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

static int fail(struct text *why, int err, const char *sentence)
{
    ERR_clear_error();
    text_addf(why, "%s", sentence);
    return err;
}

static int roots_from_pem(struct str pem, STACK_OF(X509) * *out_roots, struct text *why)
{
    STACK_OF(X509) *roots = NULL;
    const char *fault = NULL;

    if (cert_list_from_pem(pem, BUNDLE_ROOTS_MAX, &roots, &fault) < 0)
        return fail(why, -ERR_INVALID, fault);
    for (int i = 0; i < sk_X509_num(roots); i++) {
        if (cert_check_signer(sk_X509_value(roots, i), &fault) == 0)
            continue;
        cert_list_free(roots);
        text_addf(why, "certificate %d: ", i + 1);
        return fail(why, -ERR_INVALID, fault);
    }
    *out_roots = roots;
    return 0;
}

int bundle_check(struct str pem, struct text *why)
{
    STACK_OF(X509) *roots = NULL;
    int err = roots_from_pem(pem, &roots, why);

    if (err == 0)
        cert_list_free(roots);
    return err;
}

struct trust *trust_new(void)
{
    struct trust *trust = mem_new(struct trust);

    trust->refs = 1;
    return trust;
}

struct trust *trust_ref(struct trust *trust)
{
    trust->refs++;
    return trust;
}

void trust_unref(struct trust *trust)
{
    size_t idx = 0;
    struct str key;
    void *value;

    if (!trust || --trust->refs > 0)
        return;
    while (map_next(&trust->bundles, &idx, &key, &value)) {
        struct bundle *bundle = value;

        X509_STORE_free(bundle->store);
        cert_list_free(bundle->roots);
    }
    map_fini(&trust->bundles);
    arena_fini(&trust->arena);
    mem_free(trust);
}

/* Files a bundle with copies of the texts; store and roots pass to it. */
static void add_bundle(struct trust *trust, const struct bundle *from, X509_STORE *store,
                       STACK_OF(X509) * roots)
{
    struct bundle *bundle = arena_new(&trust->arena, struct bundle);

    ensure(store && roots);
    bundle->trust_domain = arena_str(&trust->arena, from->trust_domain);
    bundle->pem = arena_str(&trust->arena, from->pem);
    bundle->not_after_ns = from->not_after_ns;
    bundle->store = store;
    bundle->roots = roots;
    map_put(&trust->bundles, bundle->trust_domain, bundle);
}

static struct trust *copy_without(const struct trust *trust, struct str trust_domain)
{
    struct trust *copy = trust_new();
    size_t idx = 0;
    struct str key;
    void *value;

    while (map_next(&trust->bundles, &idx, &key, &value)) {
        const struct bundle *bundle = value;

        if (str_eq(bundle->trust_domain, trust_domain))
            continue;
        ensure(X509_STORE_up_ref(bundle->store) == 1);
        add_bundle(copy, bundle, bundle->store, X509_chain_up_ref(bundle->roots));
    }
    return copy;
}

static void add_roots(struct trust *trust, struct str trust_domain, STACK_OF(X509) * roots)
{
    struct bundle bundle = {.trust_domain = trust_domain, .not_after_ns = INT64_MIN};
    struct text pem = {0};
    X509_STORE *store = X509_STORE_new();

    ensure(store);
    for (int i = 0; i < sk_X509_num(roots); i++) {
        X509 *root = sk_X509_value(roots, i);
        int64_t not_after_ns = cert_time_ns(X509_get0_notAfter(root));

        ensure(X509_STORE_add_cert(store, root) == 1);
        cert_add_pem(root, &pem);
        if (not_after_ns > bundle.not_after_ns)
            bundle.not_after_ns = not_after_ns;
    }
    bundle.pem = text_str(&pem);
    add_bundle(trust, &bundle, store, roots);
    text_fini(&pem);
}

int trust_with(const struct trust *trust, struct str trust_domain, struct str pem,
               struct trust **out_trust, struct text *why)
{
    STACK_OF(X509) *roots = NULL;

    if (spiffe_check_trust_domain(trust_domain) < 0)
        return fail(why, -ERR_INVALID, "the name of the trust domain is malformed");
    if (!str_is_empty(pem)) {
        if (trust->bundles.len >= TRUST_DOMAINS_MAX && !trust_find(trust, trust_domain))
            return fail(why, -ERR_LIMIT, "there are too many trust domains");
        int err = roots_from_pem(pem, &roots, why);
        if (err < 0)
            return err;
    }
    struct trust *next = copy_without(trust, trust_domain);

    if (roots)
        add_roots(next, trust_domain, roots);
    *out_trust = next;
    return 0;
}

const struct bundle *trust_find(const struct trust *trust, struct str trust_domain)
{
    return map_find(&trust->bundles, trust_domain);
}

size_t bundle_n_roots(const struct bundle *bundle)
{
    return (size_t)sk_X509_num(bundle->roots);
}
