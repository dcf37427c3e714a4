/*
 * federation.c - an endpoint each, with a timer and at most one request.
 *
 * Happy path: look -> 200 with a bundle -> kept, told -> wait for the hint -> look.
 * Failure modes: look() ends in trouble(), once, and the wait is the same.
 */
#include "xds/control/federation.h"

#include <sys/stat.h>

#include "certs/bundle_files.h"
#include "certs/jwks.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/http/https_fetch.h"

#define FETCH_TIMEOUT_NS (30 * NS_PER_SEC)
#define REDIRECTS_MAX    5
#define JITTER_PERMILLE  100 /* of the hint, either way */
#define SAYS_FILE        "file"
#define SAYS_ENDPOINT    "endpoint"

struct endpoint {
    struct federation *federation;
    const struct trust_bundle_config *config;
    struct arena arena;
    struct str kept_path;
    struct jwks held; /* of the last good answer; {0} before */
    bool has_held;
    struct timer timer;
    struct https_fetch *fetch; /* NULL: waiting */
    unsigned n_redirects;
    struct arena redirect; /* of the target that is being asked */
    struct text last_error;
    int64_t fetched_ns;
};

struct federation {
    struct loop *loop;
    struct federation_options options;
    struct anchors *anchors;
    struct bundle_files *files;
    struct endpoint *endpoints;
    size_t n_endpoints;
    bool is_open; /* changes are told */
};

static bool say(struct federation *federation, const char *source, struct str trust_domain,
                struct str pem, struct text *why)
{
    const struct trust *before = anchors_current(federation->anchors);
    const int err = anchors_set(federation->anchors, source, trust_domain, pem, why);

    if (federation->is_open && anchors_current(federation->anchors) != before)
        federation->options.on_change(federation->options.owner);
    return err == 0;
}

/* ---- waiting ---- */

static void on_timer(struct timer *timer);

static void wait(struct endpoint *endpoint)
{
    const unsigned hint_s = endpoint->has_held ? endpoint->held.hint_s : JWKS_HINT_DEFAULT_S;
    const uint64_t hint_ns = hint_s * NS_PER_SEC;
    const uint64_t sway = rng_below(loop_rng(endpoint->federation->loop), 2 * JITTER_PERMILLE + 1);

    timer_start(endpoint->federation->loop, &endpoint->timer,
                hint_ns / 1000 * (1000 - JITTER_PERMILLE + sway), on_timer);
}

/* The last good bundle stays; the next look comes when it would have come anyway. */
static void trouble(struct endpoint *endpoint, struct str why)
{
    if (!str_eq(text_str(&endpoint->last_error), why))
        log_warn("a bundle could not be fetched; the last good one stays",
                 log_str("trust_domain", endpoint->config->trust_domain),
                 log_str("url", endpoint->config->url), log_str("why", why));
    text_clear(&endpoint->last_error);
    text_add(&endpoint->last_error, why);
    meter_add(endpoint->federation->options.meter, METRIC_BUNDLES_FAILED, 1);
    wait(endpoint);
}

/* ---- a bundle ---- */

/* Takes over what jwks holds. False with *why when it is not to be used. */
static bool use_bundle(struct endpoint *endpoint, struct jwks *jwks, struct text *why)
{
    if (endpoint->has_held && jwks_is_older(jwks, &endpoint->held)) {
        text_addf(why, "sequence %llu is older than %llu, which is held",
                  (unsigned long long)jwks->sequence, (unsigned long long)endpoint->held.sequence);
        return false;
    }
    if (!say(endpoint->federation, SAYS_ENDPOINT, endpoint->config->trust_domain,
             text_str(&jwks->pem), why))
        return false;
    if (endpoint->has_held)
        jwks_fini(&endpoint->held);
    endpoint->held = *jwks;
    endpoint->has_held = true;
    *jwks = (struct jwks){0};
    /* The latest counts alone, also when it trusts nobody. */
    return say(endpoint->federation, SAYS_FILE, endpoint->config->trust_domain, (struct str){0},
               why);
}

static bool take_bundle(struct endpoint *endpoint, struct str json, struct text *why)
{
    struct jwks jwks = {0};

    if (jwks_parse(json, &jwks, why) < 0)
        return false;
    const bool is_used = use_bundle(endpoint, &jwks, why);

    jwks_fini(&jwks);
    return is_used;
}

static void take_answer(struct endpoint *endpoint, struct str json)
{
    struct text why = {0};

    if (!take_bundle(endpoint, json, &why)) {
        trouble(endpoint, text_str(&why));
    } else {
        text_clear(&endpoint->last_error);
        endpoint->fetched_ns = clock_wall_ns();
        int err = file_write_atomic(endpoint->kept_path, json, 0600);
        if (err < 0)
            log_error("a bundle could not be kept on disk", log_str("path", endpoint->kept_path),
                      log_cstr("error", file_why(err)));
        wait(endpoint);
    }
    text_fini(&why);
}

/* ---- asking ---- */

static void ask(struct endpoint *endpoint, const struct trust_bundle_config *where);

static bool is_redirect(unsigned status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void follow(struct endpoint *endpoint, struct str location)
{
    struct trust_bundle_config where = {0};
    struct text why = {0};
    struct arena arena = {0};
    const char *fault = bundle_endpoint_url(location, &where, &arena);

    if (fault)
        text_addf(&why, "the redirect to \"%.*s\" is not followed: the URL %s", STR_ARG(location),
                  fault);
    else if (++endpoint->n_redirects > REDIRECTS_MAX)
        text_addf(&why, "there are more than %d redirects", REDIRECTS_MAX);
    arena_fini(&endpoint->redirect);
    endpoint->redirect = arena;
    if (why.len > 0)
        trouble(endpoint, text_str(&why));
    else
        ask(endpoint, &where);
    text_fini(&why);
}

static void on_answer(void *owner, int err, const struct https_answer *answer, struct str why)
{
    struct endpoint *endpoint = owner;
    struct text sentence = {0};

    endpoint->fetch = NULL;
    if (err) {
        trouble(endpoint, why);
    } else if (is_redirect(answer->status)) {
        follow(endpoint, answer->location);
    } else if (answer->status != 200) {
        text_addf(&sentence, "the endpoint answered with status %u", answer->status);
        trouble(endpoint, text_str(&sentence));
    } else {
        take_answer(endpoint, answer->body);
    }
    text_fini(&sentence);
}

static void ask(struct endpoint *endpoint, const struct trust_bundle_config *where)
{
    const struct https_request request = {
        .host = where->server.host,
        .port = where->server.port,
        .path = where->path,
        .max_body = JWKS_MAX_BYTES,
        .timeout_ns = FETCH_TIMEOUT_NS,
        .spiffe_id = endpoint->config->endpoint_id,
        .trust = endpoint->federation->options.trust,
    };

    endpoint->fetch = https_fetch(endpoint->federation->loop, &request, on_answer, endpoint);
}

static void on_timer(struct timer *timer)
{
    struct endpoint *endpoint = container_of(timer, struct endpoint, timer);

    endpoint->n_redirects = 0;
    ask(endpoint, endpoint->config);
}

/* ---- what is there at the start ---- */

/* When a file was written last; 0 when it is not there. */
static int64_t written_ns(struct arena *arena, struct str path)
{
    struct stat info;

    if (str_is_empty(path) || stat(arena_str(arena, path).ptr, &info) < 0)
        return 0;
    return (int64_t)info.st_mtim.tv_sec * (int64_t)NS_PER_SEC + info.st_mtim.tv_nsec;
}

static void load_kept(struct endpoint *endpoint)
{
    struct text json = {0}, why = {0};
    struct arena arena = {0};
    const int64_t kept_ns = written_ns(&arena, endpoint->kept_path);

    if (kept_ns > 0 && kept_ns >= written_ns(&arena, endpoint->config->file) &&
        (file_read_all(endpoint->kept_path, JWKS_MAX_BYTES, &json) < 0 ||
         !take_bundle(endpoint, text_str(&json), &why)))
        log_warn("a kept bundle is of no use", log_str("path", endpoint->kept_path),
                 log_str("why", text_str(&why)));
    arena_fini(&arena);
    text_fini(&json);
    text_fini(&why);
}

static void open_endpoint(struct endpoint *endpoint)
{
    const struct control_config *config = endpoint->federation->options.config;

    endpoint->kept_path =
        arena_printf(&endpoint->arena, "%.*s/federation/%016llx.json", STR_ARG(config->state_dir),
                     (unsigned long long)str_hash(endpoint->config->trust_domain, 0));
    load_kept(endpoint);
    timer_start(endpoint->federation->loop, &endpoint->timer, 0, on_timer);
}

/* A file beside an endpoint is what to begin with, or an operator's help. */
static void on_file(void *owner, struct str trust_domain, struct str pem)
{
    struct federation *federation = owner;
    struct text why = {0};

    if (!say(federation, SAYS_FILE, trust_domain, pem, &why))
        log_error("roots were refused", log_str("trust_domain", trust_domain),
                  log_str("why", text_str(&why)));
    text_fini(&why);
}

static void on_crls(void *owner, struct str trust_domain, struct str crls)
{
    struct federation *federation = owner;
    const struct trust *before = anchors_current(federation->anchors);
    struct text why = {0};

    if (anchors_set_crls(federation->anchors, SAYS_FILE, trust_domain, crls, &why) < 0)
        log_error("revocation lists were refused", log_str("trust_domain", trust_domain),
                  log_str("why", text_str(&why)));
    if (federation->is_open && anchors_current(federation->anchors) != before)
        federation->options.on_change(federation->options.owner);
    text_fini(&why);
}

static int make_dir(const struct control_config *config, struct text *why)
{
    struct text path = {0};

    text_addf(&path, "%.*s/federation", STR_ARG(config->state_dir));
    const int err = file_make_dir(text_str(&path), 0700);
    if (err < 0)
        text_addf(why, "stateDir: %.*s cannot be made: %s", STR_ARG(text_str(&path)),
                  file_why(err));
    text_fini(&path);
    return err;
}

/* ---- life ---- */

static void open_endpoints(struct federation *federation)
{
    const struct control_config *config = federation->options.config;

    for (size_t i = 0; i < config->n_trust_bundles; i++) {
        struct endpoint *endpoint = &federation->endpoints[federation->n_endpoints];

        if (str_is_empty(config->trust_bundles[i].url))
            continue;
        endpoint->federation = federation;
        endpoint->config = &config->trust_bundles[i];
        federation->n_endpoints++;
        open_endpoint(endpoint);
    }
}

static void add_files(struct federation *federation)
{
    const struct control_config *config = federation->options.config;

    for (size_t i = 0; i < config->n_trust_bundles; i++) {
        const struct trust_bundle_config *bundle = &config->trust_bundles[i];

        if (!str_is_empty(bundle->file))
            bundle_files_add(federation->files, bundle->trust_domain, bundle->file);
        if (!str_is_empty(bundle->crls))
            bundle_files_add_crls(federation->files, bundle->trust_domain, bundle->crls);
    }
}

int federation_open(struct loop *loop, const struct federation_options *options,
                    struct federation **out_federation, struct text *why)
{
    const struct control_config *config = options->config;
    struct federation *federation = mem_new(struct federation);

    federation->loop = loop;
    federation->options = *options;
    federation->anchors = anchors_new();
    federation->files = bundle_files_new(loop, on_file, on_crls, federation);
    federation->endpoints = mem_new_array(struct endpoint, config->n_trust_bundles + 1);
    add_files(federation);
    int err = make_dir(config, why);
    if (err == 0) {
        text_addf(why, "trustBundles: ");
        err = bundle_files_read(federation->files, why);
    }
    if (err < 0) {
        federation_close(federation);
        return err;
    }
    text_clear(why);
    open_endpoints(federation);
    federation->is_open = true;
    *out_federation = federation;
    return 0;
}

void federation_close(struct federation *federation)
{
    if (!federation)
        return;
    for (size_t i = 0; i < federation->n_endpoints; i++) {
        struct endpoint *endpoint = &federation->endpoints[i];

        timer_stop(&endpoint->timer);
        if (endpoint->fetch)
            https_fetch_cancel(endpoint->fetch);
        jwks_fini(&endpoint->held);
        text_fini(&endpoint->last_error);
        arena_fini(&endpoint->redirect);
        arena_fini(&endpoint->arena);
    }
    bundle_files_free(federation->files);
    anchors_free(federation->anchors);
    mem_free(federation->endpoints);
    mem_free(federation);
}

const struct trust *federation_trust(const struct federation *federation)
{
    return anchors_current(federation->anchors);
}

bool federation_next(const struct federation *federation, size_t *idx,
                     struct federation_status *out_status)
{
    if (*idx >= federation->n_endpoints)
        return false;
    const struct endpoint *endpoint = &federation->endpoints[(*idx)++];

    *out_status = (struct federation_status){
        .config = endpoint->config,
        .last_error = text_str(&endpoint->last_error),
        .fetched_ns = endpoint->fetched_ns,
        .has_sequence = endpoint->has_held && endpoint->held.has_sequence,
        .sequence = endpoint->held.sequence,
        .hint_s = endpoint->has_held ? endpoint->held.hint_s : JWKS_HINT_DEFAULT_S,
    };
    return true;
}
