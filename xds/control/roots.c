/*
 * The trust map: the roots of each domain from everyone who speaks for it, and its revocation
 * lists. It is made anew as a whole, for control's own handshakes and for what nodes and peers are
 * told.
 */
#include "certs/bundle.h"
#include "certs/crl.h"
#include "proxy/base/log.h"
#include "xds/control/inside.h"

/* A resource of the stream has XDS_RESOURCE_MAX_BYTES, and the roots go along. About 20,000
 * entries. */
#define CRLS_ON_STREAM_MAX_BYTES ((size_t)768 * 1024)

/* Each source's roots are tried with those before it: what would be too much together leaves the
 * later one out, and not the whole domain. */
static void add_roots(struct str trust_domain, struct str roots, struct text *out)
{
    struct text both = {0}, why = {0};
    if (str_is_empty(roots) || str_contains(text_str(out), roots))
        return;
    text_add(&both, text_str(out));
    if (out->len > 0 && !str_ends_with(text_str(out), STR("\n")))
        text_addc(&both, '\n');
    text_add(&both, roots);
    if (bundle_check(text_str(&both), &why) == 0) {
        text_clear(out);
        text_add(out, text_str(&both));
    } else {
        log_error("roots were refused", log_str("trust_domain", trust_domain),
                  log_str("why", text_str(&why)));
    }
    text_fini(&both);
    text_fini(&why);
}

/* What this control process says of a domain by itself. */
static void gather_own(const struct control *control, struct str trust_domain, struct text *out)
{
    const struct bundle *federated =
        trust_find(federation_trust(control->federation), trust_domain);
    if (str_eq(trust_domain, control->config->trust_domain))
        text_add(out, ca_root_pem(control->ca));
    if (federated)
        add_roots(trust_domain, federated->pem, out);
}

/* The roots of one trust domain, from everyone who speaks for it, each text once. */
static void gather(const struct control *control, struct str trust_domain, struct text *out)
{
    gather_own(control, trust_domain, out);
    for (size_t i = 0; i < control->n_peers; i++)
        if (control->peers[i] && str_eq(control->config->peers[i].trust_domain, trust_domain))
            add_roots(trust_domain, peer_roots(control->peers[i]), out);
}

struct str control_own_roots(const struct control *control, struct arena *arena)
{
    struct text roots = {0};
    gather_own(control, control->config->trust_domain, &roots);
    struct str kept = arena_str(arena, text_str(&roots));
    text_fini(&roots);
    return kept;
}

static bool is_known(const struct model_bundle *bundles, size_t n, struct str trust_domain)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(bundles[i].trust_domain, trust_domain))
            return true;
    return false;
}

/* Who may have roots: we, the peers, the domains of trustBundles; a domain may be among them more
 * than once. */
static struct str domain_at(const struct control_config *config, size_t idx)
{
    if (idx == 0)
        return config->trust_domain;
    if (idx <= config->n_peers)
        return config->peers[idx - 1].trust_domain;
    return config->trust_bundles[idx - 1 - config->n_peers].trust_domain;
}

/* ---- revocation lists ---- */

/* Each source's lists are tried against the roots with those before it: those of one that
 * contradict them, or are too many with the others, must not stop another's. */
static void add_crls(const struct trust *roots, struct str trust_domain, struct str crls,
                     struct text *out)
{
    struct trust *tried = NULL;
    struct text both = {0}, why = {0};
    if (str_is_empty(crls) || str_contains(text_str(out), crls))
        return;
    text_add(&both, text_str(out));
    text_add(&both, crls);
    if (out->len + crls.len > CRLS_ON_STREAM_MAX_BYTES)
        text_addf(&why, "they are %zu bytes, and what is sent to nodes holds %zu",
                  out->len + crls.len, CRLS_ON_STREAM_MAX_BYTES);
    else if (trust_with_crls(roots, trust_domain, text_str(&both), &tried, &why) == 0)
        text_add(out, crls);
    if (why.len > 0)
        log_error("revocation lists were refused", log_str("trust_domain", trust_domain),
                  log_str("why", text_str(&why)));
    trust_unref(tried);
    text_fini(&both);
    text_fini(&why);
}

struct str control_own_crls(const struct control *control)
{
    const struct revocations *own =
        trust_find_crls(federation_trust(control->federation), control->config->trust_domain);
    return own && own->der.len <= CRLS_ON_STREAM_MAX_BYTES ? own->der : (struct str){0};
}

static void gather_crls(const struct control *control, const struct trust *roots,
                        struct str trust_domain, struct text *out)
{
    const struct revocations *filed =
        trust_find_crls(federation_trust(control->federation), trust_domain);
    if (filed)
        add_crls(roots, trust_domain, filed->der, out);
    for (size_t i = 0; i < control->n_peers; i++)
        if (control->peers[i] && str_eq(control->config->peers[i].trust_domain, trust_domain))
            add_crls(roots, trust_domain, peer_crls(control->peers[i]), out);
}

/* ---- both ---- */

/* Adds a domain to the trust and to what nodes are told. False when its roots are none. */
static bool add_domain(struct control *control, struct str trust_domain, struct trust **trust)
{
    struct text pem = {0}, crls = {0}, why = {0};
    struct trust *with_roots = NULL, *with_crls = NULL;
    gather(control, trust_domain, &pem);
    bool is_good = pem.len > 0;
    if (is_good && trust_with(*trust, trust_domain, text_str(&pem), &with_roots, &why) < 0) {
        log_error("roots were refused", log_str("trust_domain", trust_domain),
                  log_str("why", text_str(&why)));
        is_good = false;
    }
    if (is_good) {
        gather_crls(control, with_roots, trust_domain, &crls);
        ensure(trust_with_crls(with_roots, trust_domain, text_str(&crls), &with_crls, &why) == 0);
        trust_unref(*trust);
        trust_unref(with_roots);
        *trust = with_crls;
        control->bundles[control->n_bundles++] = (struct model_bundle){
            .trust_domain = trust_domain,
            .pem = arena_str(&control->bundles_arena, text_str(&pem)),
            .crls = arena_str(&control->bundles_arena, text_str(&crls)),
        };
    }
    text_fini(&pem);
    text_fini(&crls);
    text_fini(&why);
    return is_good;
}

void control_rebuild_trust(struct control *control)
{
    const size_t n_domains = 1 + control->config->n_peers + control->config->n_trust_bundles;
    struct trust *trust = trust_new();
    arena_fini(&control->bundles_arena);
    control->bundles_arena = (struct arena){0};
    control->bundles = arena_new_array(&control->bundles_arena, struct model_bundle, n_domains);
    control->n_bundles = 0;
    for (size_t i = 0; i < n_domains; i++) {
        struct str trust_domain = domain_at(control->config, i);
        if (!is_known(control->bundles, control->n_bundles, trust_domain))
            (void)add_domain(control, trust_domain, &trust);
    }
    if (control->trust)
        trust_unref(control->trust);
    control->trust = trust;
    control->trust_view = trust;
}
