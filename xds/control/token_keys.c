/*
 * token_keys.c - a source each, with a timer and at most one request.
 *
 * Happy path: look -> 200 with a key set -> kept, told if it is another -> wait -> look.
 * Failure modes: every look that brings nothing ends in trouble(), once; what is held stays.
 */
#include "xds/control/token_keys.h"

#include <unistd.h>

#include "certs/digest.h"
#include "certs/jwk.h"
#include "config/url.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "proxy/http/https_fetch.h"

#define JITTER_PERMILLE 100 /* either way */
#define FILE_SCHEME     STR("file://")
#define FILES_MAX       ((size_t)16 * TOKEN_KEYS_SOURCES_MAX) /* that are looked through */

struct source {
    struct list link;
    struct token_keys *keys;
    struct arena arena;
    struct str uri, kept_path;
    struct str path; /* of a file; "" of a server's */
    struct url url;
    uint64_t timeout_ns;
    bool is_wanted;
    struct text held;    /* normalised; "" before the first */
    unsigned n_failures; /* in a row */
    struct timer timer;
    struct https_fetch *fetch; /* NULL: waiting */
    struct text last_error;
    int64_t fetched_ns;
};

struct token_keys {
    struct loop *loop;
    struct token_keys_options options;
    struct arena arena;
    struct str dir;
    struct list sources;
    size_t n_sources;
    bool is_full;      /* there was no room for a source, */
    bool is_full_told; /* which was said */
    bool is_swept;
};

static bool is_file(const struct source *source)
{
    return source->path.len > 0;
}

/* ---- waiting ---- */

static void on_timer(struct timer *timer);

/* What is waited for after n failures in a row; none: until the next refresh. */
static uint64_t wait_ns(const struct source *source)
{
    const uint64_t asked_ns = source->keys->options.refresh_ns;
    const uint64_t usual_s = is_file(source) ? TOKEN_KEYS_FILE_S : TOKEN_KEYS_REFRESH_S;
    const uint64_t usual_ns = asked_ns > 0 ? asked_ns : usual_s * NS_PER_SEC;
    uint64_t retry_s = 1;

    for (unsigned i = 1; i < source->n_failures && retry_s < TOKEN_KEYS_RETRY_MAX_S; i++)
        retry_s *= 2;
    if (retry_s > TOKEN_KEYS_RETRY_MAX_S)
        retry_s = TOKEN_KEYS_RETRY_MAX_S;
    return source->n_failures > 0 && retry_s * NS_PER_SEC < usual_ns ? retry_s * NS_PER_SEC
                                                                     : usual_ns;
}

static void wait(struct source *source)
{
    const uint64_t sway = rng_below(loop_rng(source->keys->loop), 2 * JITTER_PERMILLE + 1);

    timer_start(source->keys->loop, &source->timer,
                wait_ns(source) / 1000 * (1000 - JITTER_PERMILLE + sway), on_timer);
}

static void trouble(struct source *source, struct str why)
{
    if (!str_eq(text_str(&source->last_error), why))
        log_warn(source->held.len > 0
                     ? "keys of an issuer of tokens could not be fetched; the last ones stay"
                     : "keys of an issuer of tokens could not be fetched; its tokens are refused",
                 log_str("uri", source->uri), log_str("why", why));
    text_clear(&source->last_error);
    text_add(&source->last_error, why);
    source->n_failures++;
    meter_add(source->keys->options.meter, METRIC_TOKEN_KEYS_FAILED, 1);
    wait(source);
}

/* ---- keys ---- */

/* True when they are others than before. */
static bool hold(struct source *source, struct str normal)
{
    if (str_eq(text_str(&source->held), normal))
        return false;
    text_clear(&source->held);
    text_add(&source->held, normal);
    return true;
}

static bool normalize(struct str json, struct text *normal, struct text *why)
{
    if (jwk_set_normalize(json, normal, why) < 0)
        return false;
    if (normal->len <= TOKEN_KEYS_TEXT_MAX)
        return true;
    text_addf(why, "its keys have %zu bytes, expected %zu at most", normal->len,
              TOKEN_KEYS_TEXT_MAX);
    return false;
}

static void take(struct source *source, struct str json)
{
    struct token_keys *keys = source->keys;
    struct text normal = {0}, why = {0};

    if (!normalize(json, &normal, &why)) {
        trouble(source, text_str(&why));
    } else {
        const bool is_other = hold(source, text_str(&normal));

        text_clear(&source->last_error);
        source->n_failures = 0;
        source->fetched_ns = clock_wall_ns();
        int err = is_other ? file_write_atomic(source->kept_path, text_str(&normal), 0600) : 0;
        if (err < 0)
            log_error("keys could not be kept on disk", log_str("path", source->kept_path),
                      log_cstr("error", file_why(err)));
        wait(source);
        if (is_other)
            keys->options.on_change(keys->options.owner);
    }
    text_fini(&normal);
    text_fini(&why);
}

/* ---- looking ---- */

static void on_answer(void *owner, int err, const struct https_answer *answer, struct str why)
{
    struct source *source = owner;
    struct text sentence = {0};

    source->fetch = NULL;
    if (err) {
        trouble(source, why);
    } else if (answer->status != 200) {
        text_addf(&sentence, "the server answered with status %u", answer->status);
        trouble(source, text_str(&sentence));
    } else {
        take(source, answer->body);
    }
    text_fini(&sentence);
}

static void read_file(struct source *source)
{
    struct text json = {0};
    const int err = file_read_all(source->path, JWK_SET_MAX_BYTES, &json);

    if (err < 0)
        trouble(source, str_from(file_why(err)));
    else
        take(source, text_str(&json));
    text_fini(&json);
}

static void on_timer(struct timer *timer)
{
    struct source *source = container_of(timer, struct source, timer);
    const struct https_request request = {
        .host = source->url.server.host,
        .port = source->url.server.port,
        .is_plain = source->url.is_plain,
        .path = source->url.path,
        .max_body = JWK_SET_MAX_BYTES,
        .timeout_ns = source->timeout_ns,
    };

    if (is_file(source))
        read_file(source);
    else
        source->fetch = https_fetch(source->keys->loop, &request, on_answer, source);
}

/* ---- sources ---- */

static void load_kept(struct source *source)
{
    struct text json = {0}, normal = {0}, why = {0};

    if (access(source->kept_path.ptr, F_OK) == 0) {
        if (file_read_all(source->kept_path, JWK_SET_MAX_BYTES, &json) == 0 &&
            normalize(text_str(&json), &normal, &why))
            (void)hold(source, text_str(&normal));
        else
            log_warn("kept keys are of no use", log_str("path", source->kept_path),
                     log_str("why", text_str(&why)));
    }
    text_fini(&json);
    text_fini(&normal);
    text_fini(&why);
}

static void add_source(struct token_keys *keys, struct str uri, uint64_t timeout_ns)
{
    struct source *source = mem_new(struct source);
    char name[DIGEST_HEX_LEN + 1]; /* of which nobody can find a second URI, for others' keys */

    source->keys = keys;
    source->uri = arena_str(&source->arena, uri);
    source->timeout_ns = timeout_ns;
    source->is_wanted = true;
    digest_sha256_hex(uri, name);
    source->kept_path = arena_printf(&source->arena, "%.*s/%s.json", STR_ARG(keys->dir), name);
    if (str_starts_with(uri, FILE_SCHEME))
        source->path = arena_str(&source->arena, str_sub(uri, FILE_SCHEME.len, uri.len));
    else /* the manifests were checked */
        ensure(!url_parse(uri, true, &source->arena, &source->url));
    list_push_back(&keys->sources, &source->link);
    keys->n_sources++;
    load_kept(source);
    timer_start(keys->loop, &source->timer, 0, on_timer);
}

static void free_source(struct source *source)
{
    timer_stop(&source->timer);
    if (source->fetch)
        https_fetch_cancel(source->fetch);
    list_remove(&source->link);
    source->keys->n_sources--;
    text_fini(&source->held);
    text_fini(&source->last_error);
    arena_fini(&source->arena);
    mem_free(source);
}

static struct source *find(const struct token_keys *keys, struct str uri)
{
    list_foreach(link, &keys->sources)
    {
        struct source *source = list_entry(link, struct source, link);

        if (str_eq(source->uri, uri))
            return source;
    }
    return NULL;
}

/* Of several rules the most patient counts. */
static void adopt(struct source *source, uint64_t timeout_ns)
{
    if (!source->is_wanted || source->timeout_ns < timeout_ns)
        source->timeout_ns = timeout_ns;
    source->is_wanted = true;
}

static void adopt_known(struct token_keys *keys, const struct k8s_token_rule *rule)
{
    struct source *source = find(keys, rule->jwks_uri);

    if (source)
        adopt(source, rule->timeout_ns);
}

static void adopt_new(struct token_keys *keys, const struct k8s_token_rule *rule)
{
    struct source *source = find(keys, rule->jwks_uri);

    if (source) {
        adopt(source, rule->timeout_ns);
    } else if (keys->n_sources < TOKEN_KEYS_SOURCES_MAX) {
        add_source(keys, rule->jwks_uri, rule->timeout_ns);
    } else {
        if (!keys->is_full_told)
            log_error("there are too many sources of keys; the tokens of the others are refused",
                      log_u64("most", TOKEN_KEYS_SOURCES_MAX), log_str("first", rule->jwks_uri));
        keys->is_full = keys->is_full_told = true;
    }
}

static void each_rule(struct token_keys *keys, const struct manifests *manifests,
                      void (*take_up)(struct token_keys *keys, const struct k8s_token_rule *rule))
{
    for (size_t i = 0; i < manifests->n_request_auths; i++)
        for (size_t k = 0; k < manifests->request_auths[i].n_rules; k++)
            if (manifests->request_auths[i].rules[k].jwks_uri.len > 0)
                take_up(keys, &manifests->request_auths[i].rules[k]);
}

/* ---- what is on disk ---- */

static bool is_kept_name(struct str name)
{
    struct str stem, ending;

    if (!str_rsplit(name, '.', &stem, &ending) || !str_eq(ending, STR("json")) ||
        stem.len != DIGEST_HEX_LEN)
        return false;
    for (size_t i = 0; i < stem.len; i++)
        if (!str_contains(STR("0123456789abcdef"), str_sub(stem, i, 1)))
            return false;
    return true;
}

static bool is_of_a_source(const struct token_keys *keys, struct str path)
{
    list_foreach(link, &keys->sources)
    {
        if (str_eq(list_entry(link, struct source, link)->kept_path, path))
            return true;
    }
    return false;
}

static void sweep_one(void *owner, struct str name)
{
    const struct token_keys *keys = owner;
    struct arena arena = {0};
    const struct str path = arena_printf(&arena, "%.*s/%.*s", STR_ARG(keys->dir), STR_ARG(name));

    if (is_kept_name(name) && !is_of_a_source(keys, path) && file_remove(path) < 0)
        log_warn("keys that no rule names any more could not be removed", log_str("path", path));
    arena_fini(&arena);
}

/* A rule may have gone while nobody was there to see it: what was kept for it goes now, or its keys
 * would count again, however old, should a rule name that source once more. Files of other names
 * are not ours. */
static void sweep(struct token_keys *keys)
{
    if (!keys->is_swept && file_each_name(keys->dir, FILES_MAX, sweep_one, keys) < 0)
        log_warn("kept keys could not be looked through", log_str("path", keys->dir));
    keys->is_swept = true;
}

/* ---- following ---- */

/* Those that nobody names go before new ones come, which may need their room. */
void token_keys_follow(struct token_keys *keys, const struct manifests *manifests)
{
    list_foreach(link, &keys->sources)
    {
        list_entry(link, struct source, link)->is_wanted = false;
    }
    keys->is_full = false;
    each_rule(keys, manifests, adopt_known);
    list_foreach(link, &keys->sources)
    {
        struct source *source = list_entry(link, struct source, link);

        if (source->is_wanted)
            continue;
        (void)unlink(source->kept_path.ptr);
        free_source(source);
    }
    each_rule(keys, manifests, adopt_new);
    keys->is_full_told = keys->is_full;
    sweep(keys);
}

const struct registry_keys *token_keys_list(const struct token_keys *keys, struct arena *arena,
                                            size_t *out_n)
{
    struct registry_keys *list = arena_new_array(arena, struct registry_keys, keys->n_sources);

    *out_n = 0;
    list_foreach(link, &keys->sources)
    {
        const struct source *source = list_entry(link, struct source, link);

        list[(*out_n)++] = (struct registry_keys){source->uri, text_str(&source->held)};
    }
    return list;
}

bool token_keys_next(const struct token_keys *keys, size_t *idx,
                     struct token_keys_status *out_status)
{
    size_t at = 0;

    list_foreach(link, &keys->sources)
    {
        const struct source *source = list_entry(link, struct source, link);

        if (at++ != *idx)
            continue;
        (*idx)++;
        *out_status = (struct token_keys_status){
            .uri = source->uri,
            .last_error = text_str(&source->last_error),
            .fetched_ns = source->fetched_ns,
            .has_keys = source->held.len > 0,
        };
        return true;
    }
    return false;
}

/* ---- life ---- */

int token_keys_open(struct loop *loop, const struct token_keys_options *options,
                    struct token_keys **out_keys, struct text *why)
{
    struct token_keys *keys = mem_new(struct token_keys);

    keys->loop = loop;
    keys->options = *options;
    keys->dir = arena_printf(&keys->arena, "%.*s/token-keys", STR_ARG(options->state_dir));
    list_init(&keys->sources);
    const int err = file_make_dir(keys->dir, 0700);
    if (err < 0) {
        text_addf(why, "stateDir: %.*s cannot be made: %s", STR_ARG(keys->dir), file_why(err));
        token_keys_close(keys);
        return err;
    }
    *out_keys = keys;
    return 0;
}

void token_keys_close(struct token_keys *keys)
{
    if (!keys)
        return;
    list_foreach(link, &keys->sources)
    {
        free_source(list_entry(link, struct source, link));
    }
    arena_fini(&keys->arena);
    mem_free(keys);
}
