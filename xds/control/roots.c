#include "certs/bundle.h"
#include "proxy/base/log.h"
#include "xds/control/inside.h"

static void add_roots(struct str roots, struct text *out)
{
    if (str_is_empty(roots) || str_contains(text_str(out), roots))
        return;
    if (out->len > 0 && !str_ends_with(text_str(out), STR("\n")))
        text_addc(out, '\n');
    text_add(out, roots);
}

/* What this control process says of a domain by itself. */
static void gather_own(const struct control *control, struct str trust_domain, struct text *out)
{
    const struct bundle *federated =
        trust_find(federation_trust(control->federation), trust_domain);
    if (str_eq(trust_domain, control->config->trust_domain))
        text_add(out, ca_root_pem(control->ca));
    if (federated)
        add_roots(federated->pem, out);
}

/* The roots of one trust domain, from everyone who speaks for it, each text once. */
static void gather(const struct control *control, struct str trust_domain, struct text *out)
{
    gather_own(control, trust_domain, out);
    for (size_t i = 0; i < control->n_peers; i++)
        if (control->peers[i] && str_eq(control->config->peers[i].trust_domain, trust_domain))
            add_roots(peer_roots(control->peers[i]), out);
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

struct model_bundle *control_bundles(const struct control *control, struct arena *arena,
                                     size_t *out_n)
{
    const size_t n_domains = 1 + control->config->n_peers + control->config->n_trust_bundles;
    struct model_bundle *bundles = arena_new_array(arena, struct model_bundle, n_domains);
    size_t n = 0;
    for (size_t i = 0; i < n_domains; i++) {
        struct str trust_domain = domain_at(control->config, i);
        struct text roots = {0};
        if (is_known(bundles, n, trust_domain))
            continue;
        gather(control, trust_domain, &roots);
        if (roots.len > 0)
            bundles[n++] = (struct model_bundle){trust_domain, arena_str(arena, text_str(&roots))};
        text_fini(&roots);
    }
    *out_n = n;
    return bundles;
}

void control_rebuild_trust(struct control *control)
{
    struct arena arena = {0};
    struct text why = {0};
    size_t n;
    const struct model_bundle *bundles = control_bundles(control, &arena, &n);
    struct trust *trust = trust_new();
    for (size_t i = 0; i < n; i++) {
        struct trust *next;
        text_clear(&why);
        if (trust_with(trust, bundles[i].trust_domain, bundles[i].pem, &next, &why) < 0) {
            log_error("roots were refused", log_str("trust_domain", bundles[i].trust_domain),
                      log_str("why", text_str(&why)));
            continue;
        }
        trust_unref(trust);
        trust = next;
    }
    if (control->trust)
        trust_unref(control->trust);
    control->trust = trust;
    control->trust_view = trust;
    text_fini(&why);
    arena_fini(&arena);
}
