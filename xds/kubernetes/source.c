/* source.c - a request for each kind, with the timers around it. */
#include "xds/kubernetes/source.h"

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "proxy/http/https_fetch.h"
#include "proxy/tls/tls_identity.h"
#include "xds/kubernetes/kept.h"
#include "xds/kubernetes/watch.h"

#define JITTER_PERMILLE 250 /* either way */
#define REFUSALS_SHOWN  100
#define NO_SUCH_FILE    "cannot be read"

struct run { /* of one kind */
    struct kube_source *source;
    struct kube_watch watch;
    struct timer due, silence;
    struct https_fetch *fetch; /* NULL: waiting */
    uint64_t asked_ns;
    int64_t heard_ns;      /* when the server said anything of it, by the wall clock; 0: never */
    uint64_t told_trouble; /* the hash of what was logged last; 0: it is well */
    bool is_behind;        /* as it was counted last */
};

struct kube_source {
    struct loop *loop;
    struct kube_source_options options;
    struct manifests_store *store;
    struct kube_kept kept;
    struct run runs[KUBE_KINDS];
    struct tls_identity *roots; /* NULL: there are none */
    uint64_t roots_hash;
    bool was_synced;
    int64_t n_objects, n_refused, heard_s; /* as they were counted last */
};

/* ---- counting and telling ---- */

static void count(const struct kube_source *source, enum metric metric, int64_t delta)
{
    if (delta != 0)
        meter_add(source->options.meter, metric, delta);
}

static void count_to(const struct kube_source *source, enum metric metric, int64_t *last,
                     int64_t now)
{
    count(source, metric, now - *last);
    *last = now;
}

static bool is_behind(const struct run *run)
{
    return !run->watch.is_synced || run->watch.trouble.len > 0;
}

/* A kind that was heard of longest ago says how old what is known may be. */
static int64_t oldest_heard_s(const struct kube_source *source)
{
    int64_t oldest_ns = source->runs[0].heard_ns;

    for (unsigned i = 1; i < KUBE_KINDS; i++)
        if (source->runs[i].heard_ns < oldest_ns)
            oldest_ns = source->runs[i].heard_ns;
    return oldest_ns / (int64_t)NS_PER_SEC;
}

static void count_state(struct kube_source *source)
{
    int64_t n = 0;

    for (unsigned i = 0; i < KUBE_KINDS; i++) {
        struct run *run = &source->runs[i];
        const bool was_behind = run->is_behind;

        run->is_behind = is_behind(run);
        count(source, METRIC_KUBERNETES_KINDS_BEHIND, (int64_t)run->is_behind - was_behind);
        n += (int64_t)manifests_store_count(source->store, str_from(run->watch.kind->kind));
    }
    count_to(source, METRIC_KUBERNETES_OBJECTS, &source->n_objects, n);
    count_to(source, METRIC_KUBERNETES_OBJECTS_REFUSED, &source->n_refused,
             (int64_t)manifests_store_n_refused(source->store));
    count_to(source, METRIC_KUBERNETES_HEARD, &source->heard_s, oldest_heard_s(source));
}

/* After whatever the server said. */
static void take_stock(struct kube_source *source)
{
    count_state(source);
    kube_kept_follow(&source->kept, source->store, loop_now_ns(source->loop));
}

/* Each trouble once, until it is another one or over. What is over with the next attempt is none,
 * as when a server that was restarted has forgotten its history. */
static void tell_trouble(struct run *run)
{
    const struct str trouble = text_str(&run->watch.trouble);
    const struct str kind = str_from(run->watch.kind->kind);
    const bool is_lasting = !run->watch.is_synced || run->watch.n_failures > 1;
    const uint64_t hash = trouble.len > 0 && is_lasting ? keyed_hash(1, trouble) : 0;

    if (hash == run->told_trouble || (trouble.len > 0 && !is_lasting))
        return;
    if (hash != 0)
        log_warn(run->watch.is_synced ? "objects of a kind are not followed; what is known stays"
                                      : "objects of a kind are not known yet",
                 log_str("kind", kind), log_str("why", trouble));
    else
        log_info("objects of a kind are followed again", log_str("kind", kind));
    run->told_trouble = hash;
}

static const char *in_force(enum manifests_put fate)
{
    switch (fate) {
    case MANIFESTS_PUT_KEPT: return "its last good version";
    case MANIFESTS_PUT_CLOSED: return "what closes in its place";
    case MANIFESTS_PUT_TAKEN:
    case MANIFESTS_PUT_SAME: return "it";
    case MANIFESTS_PUT_LEFT_OUT:
    case MANIFESTS_PUT_FULL: break;
    }
    return "nothing";
}

static struct str first_line(struct str text)
{
    struct str line, rest;

    return str_split(text, '\n', &line, &rest) ? line : text;
}

static void on_put(void *owner, struct str path, enum manifests_put fate)
{
    const struct run *run = owner;
    struct manifests_refusal refusal;

    if (fate == MANIFESTS_PUT_TAKEN || !manifests_store_refusal(run->source->store, path, &refusal))
        return;
    log_error("an object is wrong", log_str("object", path), log_cstr("in_force", in_force(fate)),
              log_str("why", first_line(refusal.why)));
}

static void on_change(void *owner)
{
    struct kube_source *source = ((struct run *)owner)->source;

    if (!kube_source_is_synced(source))
        return;
    if (!source->was_synced)
        log_info("all kinds of objects are known");
    source->was_synced = true;
    source->options.on_change(source->options.owner);
}

/* ---- token and roots ---- */

/* What an HTTP field bears, and no more. */
static bool is_token(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    return text.len > 0;
}

static struct str trimmed(struct str text)
{
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
        text.len--;
    return text;
}

static int read_small(struct str path, size_t max, const char *what, struct text *out,
                      struct text *why)
{
    const int err = file_read_all(path, max, out);

    if (err)
        text_addf(why, "kubernetes.%s: %.*s %s: %s", what, STR_ARG(path), NO_SUCH_FILE,
                  file_why(err));
    return err;
}

static int use_token(const struct kube_source *source, struct text *header, struct text *why)
{
    const struct str path = source->options.config->token_file;
    struct text token = {0};
    int err = read_small(path, KUBE_TOKEN_MAX, "tokenFile", &token, why);

    if (!err && !is_token(trimmed(text_str(&token)))) {
        text_addf(why, "kubernetes.tokenFile: %.*s holds no token", STR_ARG(path));
        err = -ERR_INVALID;
    }
    if (!err)
        text_addf(header, "Bearer %.*s", STR_ARG(trimmed(text_str(&token))));
    file_wipe(&token);
    return err;
}

static int use_roots(struct kube_source *source, struct text *why)
{
    const struct str path = source->options.config->trust_bundle;
    struct text pem = {0};
    int err = read_small(path, KUBE_ROOTS_MAX, "trustBundle", &pem, why);
    const uint64_t hash = keyed_hash(1, text_str(&pem));

    if (!err && (!source->roots || hash != source->roots_hash)) {
        struct tls_identity *roots = tls_identity_web_of(text_str(&pem));

        if (roots) {
            if (source->roots)
                tls_identity_unref(source->roots);
            source->roots = roots;
            source->roots_hash = hash;
        } else {
            text_addf(why, "kubernetes.trustBundle: %.*s holds no certificate", STR_ARG(path));
            err = -ERR_INVALID;
        }
    }
    text_fini(&pem);
    return err;
}

/* ---- requests ---- */

static void on_due(struct timer *timer);

static uint64_t swayed(struct kube_source *source, uint64_t wait_ns)
{
    const uint64_t sway = rng_below(loop_rng(source->loop), 2 * JITTER_PERMILLE + 1);

    return wait_ns / 1000 * (1000 - JITTER_PERMILLE + sway);
}

static void over(struct run *run, struct kube_answer answer)
{
    struct kube_source *source = run->source;
    const uint64_t n_lists = run->watch.n_lists;

    run->fetch = NULL;
    timer_stop(&run->silence);
    answer.lasted_ns = loop_now_ns(source->loop) - run->asked_ns;
    if (!answer.err)
        run->heard_ns = clock_wall_ns();
    const uint64_t wait_ns = kube_watch_over(&run->watch, &answer);
    count(source, METRIC_KUBERNETES_LISTS, (int64_t)(run->watch.n_lists - n_lists));
    count(source, METRIC_KUBERNETES_REQUESTS_FAILED, run->watch.trouble.len > 0 ? 1 : 0);
    tell_trouble(run);
    take_stock(source);
    timer_start(source->loop, &run->due, swayed(source, wait_ns), on_due);
}

static void on_silence(struct timer *timer)
{
    struct run *run = container_of(timer, struct run, silence);

    https_fetch_cancel(run->fetch);
    over(run, (struct kube_answer){.err = -ERR_IDLE_TIMEOUT,
                                   .why = STR("the server said nothing for too long")});
}

static void await_word(struct run *run)
{
    const uint64_t asked_ns = run->source->options.silent_ns;

    timer_start(run->source->loop, &run->silence,
                asked_ns > 0 ? asked_ns : KUBE_SILENT_S * NS_PER_SEC, on_silence);
}

static void on_piece(void *owner, struct str piece)
{
    struct run *run = owner;
    const uint64_t n_events = run->watch.n_events;

    run->heard_ns = clock_wall_ns();
    await_word(run);
    const bool is_good = kube_watch_piece(&run->watch, piece);
    count(run->source, METRIC_KUBERNETES_EVENTS, (int64_t)(run->watch.n_events - n_events));
    if (is_good) {
        tell_trouble(run);
        take_stock(run->source);
        return;
    }
    https_fetch_cancel(run->fetch);
    over(run, (struct kube_answer){.status = 200});
}

static void on_answer(void *owner, int err, const struct https_answer *answer, struct str why)
{
    struct kube_answer told = {.err = err, .why = why};

    if (answer) {
        told.status = answer->status;
        told.body = answer->body;
        told.retry_after = answer->retry_after;
    }
    over(owner, told);
}

static void send_request(struct run *run, struct str target, bool is_watch, struct str token)
{
    struct kube_source *source = run->source;
    const struct endpoint_name *server = &source->options.config->server;
    const struct http_field authorization = {STR("Authorization"), token};
    const struct https_request request = {
        .host = server->host,
        .port = server->port,
        .path = target,
        .max_body = KUBE_PAGE_BYTES,
        .timeout_ns =
            (is_watch ? KUBE_WATCH_S + KUBE_LIST_TIMEOUT_S : KUBE_LIST_TIMEOUT_S) * NS_PER_SEC,
        .fields = {.at = &authorization, .len = 1},
        .authorities = source->roots,
        .on_piece = is_watch ? on_piece : NULL,
    };

    run->fetch = https_fetch(source->loop, &request, on_answer, run);
    if (is_watch)
        await_word(run);
}

static void on_due(struct timer *timer)
{
    struct run *run = container_of(timer, struct run, due);
    struct text target = {0}, token = {0}, why = {0};
    const bool is_watch = kube_watch_ask(&run->watch, &target);

    run->asked_ns = loop_now_ns(run->source->loop);
    int err = use_roots(run->source, &why);
    if (!err)
        err = use_token(run->source, &token, &why);
    if (!err)
        send_request(run, text_str(&target), is_watch, text_str(&token));
    else
        over(run, (struct kube_answer){.err = err, .why = text_str(&why)});
    file_wipe(&token);
    text_fini(&target);
    text_fini(&why);
}

/* ---- what is known ---- */

bool kube_source_is_synced(const struct kube_source *source)
{
    for (unsigned i = 0; i < KUBE_KINDS; i++)
        if (!source->runs[i].watch.is_synced)
            return false;
    return true;
}

const struct manifests_store *kube_source_store(const struct kube_source *source)
{
    return source->store;
}

void kube_source_pending(const struct kube_source *source, struct text *out)
{
    const char *before = "the API server has not said yet what there is of ";

    for (unsigned i = 0; i < KUBE_KINDS; i++) {
        const struct kube_watch *watch = &source->runs[i].watch;

        if (watch->is_synced)
            continue;
        text_addf(out, "%s%s%s", before, watch->kind->kind, watch->trouble.len > 0 ? ": " : "");
        text_add(out, text_str(&watch->trouble));
        before = "; ";
    }
}

static void add_run(const struct run *run, bool is_first, struct text *out)
{
    const struct kube_watch *watch = &run->watch;
    const struct str kind = str_from(watch->kind->kind);
    char buf[CLOCK_TEXT_MAX];

    text_addf(out,
              "%s{\"kind\":\"%s\",\"path\":\"%s\",\"state\":\"%s\",\"synced\":%s,\"objects\":%zu",
              is_first ? "" : ",", watch->kind->kind, watch->kind->places[watch->place],
              watch->is_absent ? "not installed" : kube_watch_state_name(watch),
              watch->is_synced ? "true" : "false", manifests_store_count(run->source->store, kind));
    text_addf(out, ",\"events\":%llu,\"lists\":%llu,\"heard_at\":\"%s\",\"error\":",
              (unsigned long long)watch->n_events, (unsigned long long)watch->n_lists,
              run->heard_ns > 0 ? clock_text(run->heard_ns, buf) : "");
    text_add_json_string(out, text_str(&watch->trouble));
    text_addc(out, '}');
}

static void add_refusals(const struct kube_source *source, struct text *out)
{
    struct manifests_refusal refusal;
    size_t idx = 0;

    for (size_t n = 0;
         n < REFUSALS_SHOWN && manifests_store_next_refusal(source->store, &idx, &refusal); n++) {
        text_add(out, n > 0 ? STR(",{\"object\":") : STR("{\"object\":"));
        text_add_json_string(out, refusal.path);
        text_addf(out, ",\"in_force\":\"%s\",\"why\":", in_force(refusal.fate));
        text_add_json_string(out, first_line(refusal.why));
        text_addc(out, '}');
    }
}

void kube_source_json(const struct kube_source *source, struct text *out)
{
    text_add(out, STR("{\"server\":"));
    text_add_json_string(out, source->options.config->server.host);
    text_addf(out, ",\"synced\":%s,\"kinds\":[", kube_source_is_synced(source) ? "true" : "false");
    for (unsigned i = 0; i < KUBE_KINDS; i++)
        add_run(&source->runs[i], i == 0, out);
    text_addf(out, "],\"n_refused\":%zu,\"refused\":[", manifests_store_n_refused(source->store));
    add_refusals(source, out);
    text_add(out, STR("]}"));
}

/* ---- life ---- */

struct kube_source *kube_source_open(struct loop *loop, const struct kube_source_options *options)
{
    struct kube_source *source = mem_new(struct kube_source);

    source->loop = loop;
    source->options = *options;
    source->store = manifests_store_new();
    kube_kept_open(&source->kept, options->state_dir, source->store);
    for (unsigned i = 0; i < KUBE_KINDS; i++) {
        struct run *run = &source->runs[i];
        const struct kube_watch_events events = {on_put, on_change, run};

        run->source = source;
        kube_watch_init(&run->watch, kube_kind(i), source->store, &events);
        timer_start(loop, &run->due, 0, on_due);
    }
    count_state(source);
    return source;
}

void kube_source_close(struct kube_source *source)
{
    if (!source)
        return;
    for (unsigned i = 0; i < KUBE_KINDS; i++) {
        struct run *run = &source->runs[i];

        timer_stop(&run->due);
        timer_stop(&run->silence);
        if (run->fetch)
            https_fetch_cancel(run->fetch);
        kube_watch_fini(&run->watch);
    }
    if (source->roots)
        tls_identity_unref(source->roots);
    kube_kept_fini(&source->kept);
    manifests_store_free(source->store);
    mem_free(source);
}
