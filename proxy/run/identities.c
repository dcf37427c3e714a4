/*
 * Happy path: open (roots from a file, SVIDs from the disk) -> node certificate -> snapshot ->
 * pods' certificates -> sets. Failure modes: the CA is away (rotation waits and keeps what it has),
 * the disk is full (logged; memory goes on), a root that does not parse (refused, the earlier
 * stays).
 */
#include "proxy/run/identities.h"

#include "certs/anchors.h"
#include "certs/bundle_files.h"
#include "certs/crl_watch.h"
#include "certs/store.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/run/identity_sources.h"

#define SETTLE_NS     (UINT64_C(10) * NS_PER_MS)
#define ROOT_FILE_MAX ((size_t)1 << 20)

/* Who speaks for a trust domain's roots. */
#define SAYS_BOOTSTRAP "control.trustBundle"
#define SAYS_CONTROL   "control"
#define SAYS_SPIFFE    "workload API"
#define SAYS_FILES     "files"

struct identities {
    struct loop *loop;
    struct meter *meter;
    struct crl_watch *crl_watch;
    const struct identities_events *events;
    void *owner;
    struct arena arena;
    struct str node_id, state_dir, trust_domain;
    const struct proxy_config *config;
    struct anchors *anchors;
    struct bundle_files *bundle_files;
    struct identity_sources sources;
    struct rotation *rotations[IDENTITIES_ROTATIONS]; /* the node's own, its pods' */
    struct map contexts;                              /* svid_key_for() -> struct context */
    struct map wanted;                                /* the same -> struct wish */
    bool is_connected;                                /* to the control process */
    uint64_t generation;
    struct timer settle;
};

struct context { /* an identity that can be shown */
    struct str id;
    struct tls_identity *tls;
};

struct wish { /* an identity that local workloads need */
    struct str id;
    uint64_t seen; /* the sweep that last saw it */
};

static struct str copy_str(struct str text)
{
    char *copy = mem_alloc(text.len + 1);
    for (size_t i = 0; i < text.len; i++)
        copy[i] = text.ptr[i];
    copy[text.len] = '\0';
    return str_of(copy, text.len);
}

static void free_str(struct str text)
{
    union {
        const char *borrowed;
        void *owned;
    } ptr = {.borrowed = text.ptr};

    mem_free(ptr.owned);
}

/* ---- sets ---- */

static void on_settled(struct timer *timer)
{
    struct identities *identities = container_of(timer, struct identities, settle);
    struct tls_set *set =
        tls_set_new(++identities->generation, anchors_current(identities->anchors));
    size_t idx = 0;
    struct str id;
    void *value;
    while (map_next(&identities->contexts, &idx, &id, &value))
        tls_set_add(set, ((struct context *)value)->tls);
    crl_watch_follow(identities->crl_watch, anchors_current(identities->anchors));
    if (identities->sources.broker_api)
        broker_api_recheck(identities->sources.broker_api, anchors_current(identities->anchors));
    identities->events->on_set(identities->owner, set);
}

/* Several certificates arrive together; they make one set. */
static void set_changed(struct identities *identities)
{
    if (!timer_is_running(&identities->settle))
        timer_start(identities->loop, &identities->settle, SETTLE_NS, on_settled);
}

static void drop_context(struct identities *identities, struct str id)
{
    struct context *context = map_remove(&identities->contexts, id);
    if (!context)
        return;
    tls_identity_unref(context->tls);
    free_str(context->id);
    mem_free(context);
}

static void put_context(struct identities *identities, struct str id, struct tls_identity *tls)
{
    struct context *context = mem_new(struct context);
    drop_context(identities, id);
    context->id = copy_str(id);
    context->tls = tls;
    (void)map_put(&identities->contexts, context->id, context);
}

static struct rotation *rotation_of(const struct identities *identities, struct str key)
{
    return identities->rotations[str_eq(key, identities->node_id) ? 0 : 1];
}

/* What others keep for us is theirs to keep; a pod's key from the Broker API may not outlive it. */
static bool is_kept_on_disk(const struct identities *identities, struct str key)
{
    const struct identity_config *config = &identities->config->identity;
    return (str_eq(key, identities->node_id) ? config->node : config->pods) == IDENTITY_CONTROL;
}

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    struct identities *identities = owner;
    struct tls_identity *tls;
    if (!svid) {
        drop_context(identities, id);
        store_remove_svid(identities->state_dir, id);
    } else if (tls_identity_new_for(svid, id, &tls) < 0) {
        log_error("a certificate cannot be used", log_str("identity", id));
        return;
    } else {
        put_context(identities, id, tls);
        meter_add(identities->meter, METRIC_CERTIFICATES_RENEWED, 1);
        if (is_kept_on_disk(identities, id))
            (void)store_put_svid(identities->state_dir, svid);
    }
    set_changed(identities);
    if (svid && str_eq(id, identities->node_id)) {
        if (identities->sources.broker_api)
            broker_api_identity_changed(identities->sources.broker_api);
        identities->events->on_node_identity(identities->owner);
    }
}

/* ---- what is needed ---- */

static void offer(void *owner, struct svid *svid)
{
    struct identities *identities = owner;
    if (is_kept_on_disk(identities, svid->id.text))
        rotation_offer(rotation_of(identities, svid->id.text), svid);
    else
        svid_unref(svid);
}

static bool wish_for(struct identities *identities, struct str id, uint64_t sweep)
{
    struct wish *wish = map_find(&identities->wanted, id);
    if (wish) {
        wish->seen = sweep;
        return false;
    }
    wish = mem_new(struct wish);
    wish->id = copy_str(id);
    wish->seen = sweep;
    (void)map_put(&identities->wanted, wish->id, wish);
    rotation_want(identities->rotations[1], wish->id);
    return true;
}

static void drop_wish(struct identities *identities, struct wish *wish)
{
    (void)map_remove(&identities->wanted, wish->id);
    rotation_unwant(identities->rotations[1], wish->id);
    free_str(wish->id);
    mem_free(wish);
}

static void drop_stale_wishes(struct identities *identities, uint64_t sweep)
{
    size_t idx = 0;
    struct str id;
    void *value;
    while (map_next(&identities->wanted, &idx, &id, &value)) {
        struct wish *wish = value;
        if (wish->seen == sweep)
            continue;
        drop_wish(identities, wish);
        idx = 0; /* the map changed */
    }
}

void identities_follow(struct identities *identities, const struct snapshot *snapshot)
{
    bool has_new = false;
    for (size_t i = 0; i < snapshot->n_local; i++) {
        const struct workload *workload = snapshot->local[i];
        if (!str_is_empty(workload->svid_key))
            has_new |= wish_for(identities, workload->svid_key, snapshot->generation);
    }
    drop_stale_wishes(identities, snapshot->generation);
    if (has_new)
        store_load_svids(identities->state_dir, offer, identities);
}

/* ---- trust ---- */

/* False and a log line when they are no roots; what the source said before stays. */
static bool say(struct identities *identities, const char *source, struct str trust_domain,
                struct str pem)
{
    const struct trust *before = anchors_current(identities->anchors);
    struct text why = {0};
    const int err = anchors_set(identities->anchors, source, trust_domain, pem, &why);
    if (err < 0)
        log_error("a trust bundle was refused", log_str("trust_domain", trust_domain),
                  log_cstr("source", source), log_str("error", text_str(&why)));
    if (anchors_current(identities->anchors) != before)
        set_changed(identities);
    text_fini(&why);
    return err == 0;
}

static void keep(struct identities *identities, const char *source, const struct str *trust_domains,
                 size_t n)
{
    const struct trust *before = anchors_current(identities->anchors);
    anchors_keep(identities->anchors, source, trust_domains, n);
    if (anchors_current(identities->anchors) == before)
        return;
    log_info("trust bundles were removed", log_cstr("source", source));
    set_changed(identities);
}

static void say_crls(struct identities *identities, const char *source, struct str trust_domain,
                     struct str crls)
{
    const struct trust *before = anchors_current(identities->anchors);
    struct text why = {0};
    if (anchors_set_crls(identities->anchors, source, trust_domain, crls, &why) < 0)
        log_error("revocation lists were refused", log_str("trust_domain", trust_domain),
                  log_cstr("source", source), log_str("error", text_str(&why)));
    if (anchors_current(identities->anchors) != before)
        set_changed(identities);
    text_fini(&why);
}

/* The roots of the first connection have served once control itself says which they are. */
bool identities_set_bundle(struct identities *identities, struct str trust_domain, struct str pem,
                           struct str crls)
{
    const bool is_own = str_eq(trust_domain, identities->trust_domain);
    if (is_own && str_is_empty(pem))
        return true; /* our own roots are never taken back */
    if (!say(identities, SAYS_CONTROL, trust_domain, pem))
        return false;
    say_crls(identities, SAYS_CONTROL, trust_domain, crls);
    return !is_own || say(identities, SAYS_BOOTSTRAP, trust_domain, (struct str){0});
}

void identities_keep_bundles(struct identities *identities, const struct str *trust_domains,
                             size_t n)
{
    struct str *kept = mem_new_array(struct str, n + 1);
    for (size_t i = 0; i < n; i++)
        kept[i] = trust_domains[i];
    kept[n] = identities->trust_domain;
    keep(identities, SAYS_CONTROL, kept, n + 1);
    mem_free(kept);
}

static void on_spiffe_trust(void *owner, const struct svid_update *update)
{
    struct identities *identities = owner;
    const size_t n = update ? update->n_bundles : 0;
    struct str *domains = mem_new_array(struct str, n + 1);
    struct text crls = {0};
    for (size_t i = 0; update && i < update->n_crls; i++)
        text_add(&crls, update->crls[i]);
    for (size_t i = 0; i < n; i++) {
        domains[i] = update->bundles[i].trust_domain;
        (void)say(identities, SAYS_SPIFFE, domains[i], update->bundles[i].pem);
        /* Lists come for all domains together: each counts where its issuer's roots are. */
        say_crls(identities, SAYS_SPIFFE, domains[i], text_str(&crls));
    }
    keep(identities, SAYS_SPIFFE, domains, n);
    text_fini(&crls);
    mem_free(domains);
}

static void on_bundle_file(void *owner, struct str trust_domain, struct str pem)
{
    (void)say(owner, SAYS_FILES, trust_domain, pem);
}

static void on_crl_file(void *owner, struct str trust_domain, struct str crls)
{
    say_crls(owner, SAYS_FILES, trust_domain, crls);
}

static int open_bundle_files(struct identities *identities, struct text *why)
{
    const struct proxy_config *config = identities->config;
    identities->bundle_files =
        bundle_files_new(identities->loop, on_bundle_file, on_crl_file, identities);
    for (size_t i = 0; i < config->n_trust_bundles; i++) {
        const struct trust_bundle_config *bundle = &config->trust_bundles[i];
        if (!str_is_empty(bundle->file))
            bundle_files_add(identities->bundle_files, bundle->trust_domain, bundle->file);
        if (!str_is_empty(bundle->crls))
            bundle_files_add_crls(identities->bundle_files, bundle->trust_domain, bundle->crls);
    }
    return bundle_files_read(identities->bundle_files, why);
}

/* ---- life ---- */

static int load_roots(struct identities *identities, const struct proxy_config *config,
                      struct text *why)
{
    struct text pem = {0}, reason = {0};
    int err = file_read_all(config->control_trust_bundle, ROOT_FILE_MAX, &pem);
    if (err == 0)
        err = bundle_check(text_str(&pem), &reason);
    if (err == 0)
        err = anchors_set(identities->anchors, SAYS_BOOTSTRAP, config->trust_domain, text_str(&pem),
                          &reason);
    if (err < 0)
        text_addf(why, SAYS_BOOTSTRAP ": %.*s: %s", STR_ARG(config->control_trust_bundle),
                  reason.len > 0 ? reason.ptr : file_why(err));
    text_fini(&pem);
    text_fini(&reason);
    return err;
}

/* Without a connection nothing was asked; that there is none is said where it was lost. */
static void on_failed(void *owner, struct str id, struct str why)
{
    struct identities *identities = owner;
    if (!identities->is_connected && is_kept_on_disk(identities, id))
        return;
    meter_add(identities->meter, METRIC_CERTIFICATES_FAILED, 1);
    log_warn("a certificate could not be obtained", log_str("identity", id), log_str("error", why));
}

static const struct rotation_events rotation_events = {
    .on_svid = on_svid,
    .on_failed = on_failed,
};

static struct tls_identity *node_identity(void *owner)
{
    return identities_node(owner);
}

static void open_rotations(struct identities *identities)
{
    const struct identity_sources_options options = {
        .config = identities->config,
        .trust = anchors_trust(identities->anchors),
        .on_trust = on_spiffe_trust,
        .node_identity = node_identity,
        .owner = identities,
    };
    identity_sources_open(&identities->sources, identities->loop, &options);
    identities->rotations[0] =
        rotation_new(identities->loop, identities->sources.node, &rotation_events, identities);
    identities->rotations[1] =
        rotation_new(identities->loop, identities->sources.pods, &rotation_events, identities);
}

int identities_open(struct loop *loop, const struct proxy_config *config, struct meter *meter,
                    const struct identities_events *events, void *owner,
                    struct identities **out_identities, struct text *why)
{
    struct identities *identities = mem_new(struct identities);
    identities->loop = loop;
    identities->meter = meter;
    identities->events = events;
    identities->owner = owner;
    identities->state_dir = config->state_dir;
    identities->trust_domain = config->trust_domain;
    identities->node_id = spiffe_for_node(&identities->arena, config->trust_domain, config->node);
    identities->config = config;
    identities->anchors = anchors_new();
    identities->crl_watch = crl_watch_new(loop, meter);
    open_rotations(identities);
    int err = load_roots(identities, config, why);
    if (err == 0)
        err = open_bundle_files(identities, why);
    if (err < 0) {
        identities_close(identities);
        return err;
    }
    rotation_want(identities->rotations[0], identities->node_id);
    store_load_svids(identities->state_dir, offer, identities);
    set_changed(identities);
    *out_identities = identities;
    return 0;
}

void identities_close(struct identities *identities)
{
    size_t idx = 0;
    struct str id;
    void *value;
    timer_stop(&identities->settle);
    crl_watch_free(identities->crl_watch);
    for (size_t i = 0; i < IDENTITIES_ROTATIONS; i++)
        rotation_free(identities->rotations[i]);
    identity_sources_close(&identities->sources);
    bundle_files_free(identities->bundle_files);
    while (map_next(&identities->contexts, &idx, &id, &value)) {
        drop_context(identities, id);
        idx = 0;
    }
    idx = 0;
    while (map_next(&identities->wanted, &idx, &id, &value)) {
        struct wish *wish = value;
        (void)map_remove(&identities->wanted, id);
        free_str(wish->id);
        mem_free(wish);
        idx = 0;
    }
    map_fini(&identities->contexts);
    map_fini(&identities->wanted);
    anchors_free(identities->anchors);
    arena_fini(&identities->arena);
    mem_free(identities);
}

void identities_set_h2(struct identities *identities, struct h2 *h2, bool is_anonymous)
{
    identity_sources_set_h2(&identities->sources, h2, is_anonymous);
    identities->is_connected = h2 != NULL;
    for (size_t i = 0; h2 && i < IDENTITIES_ROTATIONS; i++)
        rotation_retry_now(identities->rotations[i]);
}

struct tls_identity *identities_node(const struct identities *identities)
{
    const struct context *context = map_find(&identities->contexts, identities->node_id);
    return context ? context->tls : NULL;
}

const struct trust *const *identities_trust(const struct identities *identities)
{
    return anchors_trust(identities->anchors);
}

const struct rotation *const *identities_rotations(const struct identities *identities)
{
    return (const struct rotation *const *)identities->rotations;
}
