/*
 * Happy path: open (roots from a file, SVIDs from the disk) -> node certificate -> snapshot ->
 * pods' certificates -> sets. Failure modes: the CA is away (rotation waits and keeps what it has),
 * the disk is full (logged; memory goes on), a root that does not parse (refused, the earlier
 * stays).
 */
#include "proxy/run/identities.h"

#include "certs/store.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/ca_client.h"

#define SETTLE_NS     (UINT64_C(10) * NS_PER_MS)
#define ROOT_FILE_MAX ((size_t)1 << 20)

struct identities {
    struct loop *loop;
    struct meter *meter;
    const struct identities_events *events;
    void *owner;
    struct arena arena;
    struct str node_id, state_dir, trust_domain;
    struct trust *trust;
    struct ca_client *ca;
    struct rotation *rotation;
    struct map contexts; /* SPIFFE ID -> struct context */
    struct map wanted;   /* SPIFFE ID -> struct wish */
    bool is_connected;   /* to the control process */
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
    struct tls_set *set = tls_set_new(++identities->generation, identities->trust);
    size_t idx = 0;
    struct str id;
    void *value;
    while (map_next(&identities->contexts, &idx, &id, &value))
        tls_set_add(set, ((struct context *)value)->tls);
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

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    struct identities *identities = owner;
    struct tls_identity *tls;
    if (!svid) {
        drop_context(identities, id);
        store_remove_svid(identities->state_dir, id);
    } else if (tls_identity_new(svid, &tls) < 0) {
        log_error("a certificate cannot be used", log_str("identity", id));
        return;
    } else {
        put_context(identities, id, tls);
        meter_add(identities->meter, METRIC_CERTIFICATES_RENEWED, 1);
        if (store_put_svid(identities->state_dir, svid) < 0)
            log_error("a certificate could not be kept on disk", log_str("identity", id));
    }
    set_changed(identities);
    if (svid && str_eq(id, identities->node_id))
        identities->events->on_node_identity(identities->owner);
}

/* ---- what is needed ---- */

static void offer(void *owner, struct svid *svid)
{
    rotation_offer(((struct identities *)owner)->rotation, svid);
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
    rotation_want(identities->rotation, wish->id);
    return true;
}

static void drop_wish(struct identities *identities, struct wish *wish)
{
    (void)map_remove(&identities->wanted, wish->id);
    rotation_unwant(identities->rotation, wish->id);
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
        if (!str_is_empty(workload->identity))
            has_new |= wish_for(identities, workload->identity, snapshot->generation);
    }
    drop_stale_wishes(identities, snapshot->generation);
    if (has_new)
        store_load_svids(identities->state_dir, offer, identities);
}

bool identities_set_bundle(struct identities *identities, struct str trust_domain, struct str pem)
{
    const struct bundle *held = trust_find(identities->trust, trust_domain);
    if (held ? str_eq(held->pem, pem) : str_is_empty(pem))
        return true;
    struct text why = {0};
    struct trust *next;
    const int err = trust_with(identities->trust, trust_domain, pem, &next, &why);
    if (err < 0) {
        log_error("a trust bundle was refused", log_str("trust_domain", trust_domain),
                  log_str("error", text_str(&why)));
    } else {
        trust_unref(identities->trust);
        identities->trust = next;
        set_changed(identities);
    }
    text_fini(&why);
    return err == 0;
}

static bool is_among(struct str wanted, const struct str *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(list[i], wanted))
            return true;
    }
    return false;
}

void identities_keep_bundles(struct identities *identities, const struct str *trust_domains,
                             size_t n)
{
    size_t idx = 0;
    struct str domain;
    void *value;
    while (map_next(&identities->trust->bundles, &idx, &domain, &value)) {
        if (str_eq(domain, identities->trust_domain) || is_among(domain, trust_domains, n))
            continue;
        log_info("a trust bundle was removed", log_str("trust_domain", domain));
        if (!identities_set_bundle(identities, domain, (struct str){0}))
            return;
        idx = 0; /* another generation of the map */
    }
}

/* ---- life ---- */

static int load_roots(struct identities *identities, const struct proxy_config *config,
                      struct text *why)
{
    struct text pem = {0}, reason = {0};
    struct trust *next = NULL;
    int err = file_read_all(config->control_trust_bundle, ROOT_FILE_MAX, &pem);
    if (err == 0)
        err = trust_with(identities->trust, config->trust_domain, text_str(&pem), &next, &reason);
    if (err < 0) {
        text_addf(why, "control.trustBundle: %.*s: %s", STR_ARG(config->control_trust_bundle),
                  reason.len > 0 ? reason.ptr : file_why(err));
    } else {
        trust_unref(identities->trust);
        identities->trust = next;
    }
    text_fini(&pem);
    text_fini(&reason);
    return err;
}

/* Without a connection nothing was asked; that there is none is said where it was lost. */
static void on_failed(void *owner, struct str id, struct str why)
{
    struct identities *identities = owner;
    if (!identities->is_connected)
        return;
    meter_add(identities->meter, METRIC_CERTIFICATES_FAILED, 1);
    log_warn("a certificate could not be obtained", log_str("identity", id), log_str("error", why));
}

static const struct rotation_events rotation_events = {
    .on_svid = on_svid,
    .on_failed = on_failed,
};

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
    identities->trust = trust_new();
    identities->ca = ca_client_new(loop, config->cluster, config->control_token_file);
    identities->rotation =
        rotation_new(loop, ca_client_source(identities->ca), &rotation_events, identities);
    const int err = load_roots(identities, config, why);
    if (err < 0) {
        identities_close(identities);
        return err;
    }
    rotation_want(identities->rotation, identities->node_id);
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
    rotation_free(identities->rotation);
    ca_client_free(identities->ca);
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
    trust_unref(identities->trust);
    arena_fini(&identities->arena);
    mem_free(identities);
}

void identities_set_h2(struct identities *identities, struct h2 *h2, bool is_anonymous)
{
    ca_client_set_h2(identities->ca, h2, is_anonymous);
    identities->is_connected = h2 != NULL;
    if (h2)
        rotation_retry_now(identities->rotation);
}

struct tls_identity *identities_node(const struct identities *identities)
{
    const struct context *context = map_find(&identities->contexts, identities->node_id);
    return context ? context->tls : NULL;
}

const struct trust *const *identities_trust(const struct identities *identities)
{
    return (const struct trust *const *)&identities->trust;
}

const struct rotation *identities_rotation(const struct identities *identities)
{
    return identities->rotation;
}
