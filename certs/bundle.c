/*
 * bundle.c - each domain's roots in an X509_STORE of their own. A new generation shares the stores
 * of the domains that did not change (OpenSSL counts them) and copies only the small structs around
 * them.
 */
#include "certs/bundle.h"

#include <openssl/err.h>

#include "certs/cert.h"
#include "certs/crl.h"
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

int bundle_pem_from_der(struct str der, struct text *out_pem, struct text *why)
{
    STACK_OF(X509) *roots = NULL;
    struct text pem = {0};
    const char *fault = NULL;

    if (cert_list_from_der(der, BUNDLE_ROOTS_MAX, &roots, &fault) < 0)
        return fail(why, -ERR_INVALID, fault);
    for (int i = 0; i < sk_X509_num(roots); i++)
        cert_add_pem(sk_X509_value(roots, i), &pem);
    cert_list_free(roots);
    int err = bundle_check(text_str(&pem), why);
    if (err == 0)
        text_add(out_pem, text_str(&pem));
    text_fini(&pem);
    return err;
}

struct trust *trust_new(void)
{
    static uint64_t last_generation; /* trust is made by one thread */
    struct trust *trust = mem_new(struct trust);

    trust->refs = 1;
    trust->generation = ++last_generation;
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
    idx = 0;
    while (map_next(&trust->revocations, &idx, &key, &value))
        crl_list_free(((struct revocations *)value)->crls);
    map_fini(&trust->bundles);
    map_fini(&trust->revocations);
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

static void copy_bundles(struct trust *to, const struct trust *from, struct str without)
{
    size_t idx = 0;
    struct str key;
    void *value;

    while (map_next(&from->bundles, &idx, &key, &value)) {
        const struct bundle *bundle = value;

        if (str_eq(bundle->trust_domain, without))
            continue;
        ensure(X509_STORE_up_ref(bundle->store) == 1);
        add_bundle(to, bundle, bundle->store, X509_chain_up_ref(bundle->roots));
    }
}

static void add_revocations(struct trust *trust, struct str trust_domain, struct str der,
                            STACK_OF(X509_CRL) * crls)
{
    struct revocations *revocations = arena_new(&trust->arena, struct revocations);

    revocations->trust_domain = arena_str(&trust->arena, trust_domain);
    revocations->der = arena_str(&trust->arena, der);
    revocations->crls = crls;
    map_put(&trust->revocations, revocations->trust_domain, revocations);
}

static void copy_revocations(struct trust *to, const struct trust *from, struct str without)
{
    size_t idx = 0;
    struct str key;
    void *value;

    while (map_next(&from->revocations, &idx, &key, &value)) {
        const struct revocations *revocations = value;

        if (!str_eq(revocations->trust_domain, without))
            add_revocations(to, revocations->trust_domain, revocations->der,
                            crl_list_ref(revocations->crls));
    }
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

/* Whether one more domain fits and may be called that. */
static int check_domain(const struct map *map, struct str trust_domain, struct text *why)
{
    if (spiffe_check_trust_domain(trust_domain) < 0)
        return fail(why, -ERR_INVALID, "the name of the trust domain is malformed");
    if (map->len >= TRUST_DOMAINS_MAX && !map_find(map, trust_domain))
        return fail(why, -ERR_LIMIT, "there are too many trust domains");
    return 0;
}

int trust_with(const struct trust *trust, struct str trust_domain, struct str pem,
               struct trust **out_trust, struct text *why)
{
    STACK_OF(X509) *roots = NULL;
    int err = check_domain(&trust->bundles, trust_domain, why);

    if (err == 0 && !str_is_empty(pem))
        err = roots_from_pem(pem, &roots, why);
    if (err < 0)
        return err;
    struct trust *next = trust_new();

    copy_bundles(next, trust, trust_domain);
    copy_revocations(next, trust, (struct str){0});
    if (roots)
        add_roots(next, trust_domain, roots);
    *out_trust = next;
    return 0;
}

static int read_crls(const struct trust *trust, struct str trust_domain, struct str bytes,
                     STACK_OF(X509_CRL) * *out_crls, struct text *why)
{
    const struct bundle *bundle = trust_find(trust, trust_domain);
    int err = crl_read(bytes, out_crls, why);

    if (err == 0 && bundle && (err = crl_check_roots(*out_crls, bundle->roots, why)) < 0)
        crl_list_free(*out_crls);
    return err;
}

int trust_with_crls(const struct trust *trust, struct str trust_domain, struct str crls,
                    struct trust **out_trust, struct text *why)
{
    STACK_OF(X509_CRL) *lists = NULL;
    struct text der = {0};
    int err = check_domain(&trust->revocations, trust_domain, why);

    if (err == 0 && !str_is_empty(crls))
        err = crl_to_der(crls, &der, why);
    if (err == 0 && der.len > 0)
        err = read_crls(trust, trust_domain, text_str(&der), &lists, why);
    if (err == 0) {
        struct trust *next = trust_new();

        copy_bundles(next, trust, (struct str){0});
        copy_revocations(next, trust, trust_domain);
        if (lists)
            add_revocations(next, trust_domain, text_str(&der), lists);
        *out_trust = next;
    }
    text_fini(&der);
    return err;
}

const struct revocations *trust_find_crls(const struct trust *trust, struct str trust_domain)
{
    return map_find(&trust->revocations, trust_domain);
}

const struct bundle *trust_find(const struct trust *trust, struct str trust_domain)
{
    return map_find(&trust->bundles, trust_domain);
}

size_t bundle_n_roots(const struct bundle *bundle)
{
    return (size_t)sk_X509_num(bundle->roots);
}
