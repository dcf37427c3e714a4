/*
 * watch.c - answers of an API server become puts and removals.
 *
 * Happy path: list page, ..., last page -> sweep -> watch -> ADDED, MODIFIED, DELETED, BOOKMARK ->
 * the server ends it -> watch from the last version -> ...
 * Failure modes: every one ends in fail(), once, which counts and says it; what is held stays.
 */
#include "xds/kubernetes/watch.h"

#include "certs/json_strict.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/sm.h"
#include "xds/kubernetes/tree.h"

#define VERSION_MAX  256  /* bytes of a resourceVersion */
#define CONTINUE_MAX 8192 /* of a continue token */
#define MESSAGE_MAX  300  /* of a server's sentence, that are passed on */
#define DEPTH_MAX    (YAML_DEPTH_MAX + 4)
#define ABSENT_AFTER 2 /* times that a server says so */
#define STUCK_AFTER  5 /* refusals of a watch in a row: the version may be one it never had */

static const struct sm_rule rules[KUBE_STATES] = {
    [KUBE_WAIT_LIST] = {"waiting to list", SM_TO(KUBE_LISTING)},
    [KUBE_LISTING] = {"listing", SM_TO(KUBE_WAIT_LIST) | SM_TO(KUBE_WAIT_WATCH)},
    [KUBE_WAIT_WATCH] = {"waiting to watch", SM_TO(KUBE_WATCHING)},
    [KUBE_WATCHING] = {"watching", SM_TO(KUBE_WAIT_WATCH) | SM_TO(KUBE_WAIT_LIST)},
};

static struct str place_of(const struct kube_watch *watch)
{
    return str_from(watch->kind->places[watch->place]);
}

static struct str kind_of(const struct kube_watch *watch)
{
    return str_from(watch->kind->kind);
}

static void set(struct text *text, struct str value)
{
    text_clear(text);
    text_add(text, value);
}

/* ---- failing ---- */

/* Twice as long each time. */
static uint64_t doubled_ns(unsigned n_times, uint64_t first_ms, uint64_t max_ms)
{
    uint64_t wait_ms = first_ms;

    for (unsigned i = 1; i < n_times && wait_ms < max_ms; i++)
        wait_ms *= 2;
    return (wait_ms < max_ms ? wait_ms : max_ms) * NS_PER_MS;
}

static uint64_t backoff_ns(const struct kube_watch *watch)
{
    return watch->n_failures == 0 ? 0
                                  : doubled_ns(watch->n_failures, KUBE_BACKOFF_FIRST_MS,
                                               KUBE_BACKOFF_MAX_S * UINT64_C(1000));
}

static void well(struct kube_watch *watch)
{
    watch->n_failures = 0;
    text_clear(&watch->trouble);
}

static void trouble(struct kube_watch *watch, const char *format, ...) PRINTF_LIKE(2, 3);

static void trouble(struct kube_watch *watch, const char *format, ...)
{
    va_list args;

    text_clear(&watch->trouble);
    va_start(args, format);
    text_addv(&watch->trouble, format, args);
    va_end(args);
}

/* Where an attempt goes on from that came to nothing: a list begins anew. */
static uint64_t fail(struct kube_watch *watch)
{
    watch->n_failures++;
    text_clear(&watch->next);
    sm_move(rules, &watch->state, watch->state == KUBE_WATCHING ? KUBE_WAIT_WATCH : KUBE_WAIT_LIST);
    return backoff_ns(watch);
}

/* The server no longer knows from where to go on. */
static uint64_t begin_anew(struct kube_watch *watch)
{
    watch->n_failures++;
    text_clear(&watch->next);
    text_clear(&watch->version);
    sm_move(rules, &watch->state, KUBE_WAIT_LIST);
    return backoff_ns(watch);
}

/* ---- objects ---- */

static struct str member(json_t *object, const char *key)
{
    return json_strict_text(json_object_get(object, key));
}

/* What it is called: "Node west-1", "Pod shop/till-1". "", with the trouble, without a name. */
static struct str path_of(struct kube_watch *watch, struct arena *arena, json_t *object)
{
    json_t *metadata = json_object_get(object, "metadata");
    const struct str name = member(metadata, "name"), namespace_ = member(metadata, "namespace");

    if (name.len == 0) {
        trouble(watch, "the answer holds something that is no object with a name");
        return (struct str){0};
    }
    return arena_printf(arena, "%s %.*s%s%.*s", watch->kind->kind, STR_ARG(namespace_),
                        namespace_.len > 0 ? "/" : "", STR_ARG(name));
}

/* False, with the trouble, when nothing more of this answer can be taken. */
static bool put(struct kube_watch *watch, json_t *object, struct str api_version, bool *is_changed)
{
    struct arena arena = {0};
    const struct str path = path_of(watch, &arena, object);
    struct yaml *doc =
        path.len > 0 ? kube_tree(&arena, path, object, kind_of(watch), api_version) : NULL;
    const enum manifests_put fate =
        doc ? manifests_store_put(watch->store, path, doc) : MANIFESTS_PUT_FULL;

    if (path.len > 0 && !doc)
        trouble(watch, "%.*s is nested too deep", STR_ARG(path));
    else if (doc && fate == MANIFESTS_PUT_FULL)
        trouble(watch, "there are more than %d objects", MANIFESTS_STORE_MAX);
    else if (doc && fate != MANIFESTS_PUT_SAME) {
        *is_changed = true;
        watch->events.on_put(watch->events.owner, path, fate);
    }
    arena_fini(&arena);
    return doc && fate != MANIFESTS_PUT_FULL;
}

static void tell_change(const struct kube_watch *watch, bool is_changed)
{
    if (is_changed)
        watch->events.on_change(watch->events.owner);
}

/* False, with the trouble, without a version. */
static bool take_version(struct kube_watch *watch, json_t *metadata)
{
    const struct str version = member(metadata, "resourceVersion");

    if (version.len == 0 || version.len > VERSION_MAX) {
        trouble(watch, "the answer has no resourceVersion");
        return false;
    }
    set(&watch->version, version);
    return true;
}

/* ---- lists ---- */

static bool put_items(struct kube_watch *watch, json_t *items, struct str api_version,
                      bool *is_changed)
{
    bool is_good = true;

    for (size_t i = 0; is_good && i < json_array_size(items); i++)
        is_good = put(watch, json_array_get(items, i), api_version, is_changed);
    return is_good;
}

static uint64_t finish_list(struct kube_watch *watch, bool *is_changed)
{
    const size_t n_gone = manifests_store_end(watch->store, kind_of(watch), watch->begun);

    *is_changed = *is_changed || n_gone > 0 || !watch->is_synced;
    watch->is_synced = true;
    watch->is_absent = false;
    watch->n_absent = 0;
    watch->n_lists++;
    text_clear(&watch->trouble); /* the failures are forgotten when the watch is in order too */
    sm_move(rules, &watch->state, KUBE_WAIT_WATCH);
    return 0;
}

/* It must be a list: an empty object would take away all that is held. */
static bool is_list(const struct kube_watch *watch, json_t *page, json_t *items)
{
    struct text wanted = {0};

    text_addf(&wanted, "%sList", watch->kind->kind);
    const bool is = str_eq(member(page, "kind"), text_str(&wanted)) && items &&
                    (json_is_array(items) || json_is_null(items));
    text_fini(&wanted);
    return is;
}

static uint64_t take_page(struct kube_watch *watch, json_t *page)
{
    json_t *items = json_object_get(page, "items"), *metadata = json_object_get(page, "metadata");
    const struct str next = member(metadata, "continue");
    bool is_changed = false;
    uint64_t wait_ns = 0;

    if (!is_list(watch, page, items)) {
        trouble(watch, "the answer is no %sList", watch->kind->kind);
        return fail(watch);
    }
    if (next.len > CONTINUE_MAX) {
        trouble(watch, "the continue token has %zu bytes, %d at most", next.len, CONTINUE_MAX);
        return fail(watch);
    }
    if (watch->next.len == 0)
        watch->begun = manifests_store_begin(watch->store);
    if (!put_items(watch, items, member(page, "apiVersion"), &is_changed) ||
        !take_version(watch, metadata)) {
        wait_ns = fail(watch);
    } else if (next.len > 0) {
        set(&watch->next, next);
        sm_move(rules, &watch->state, KUBE_WAIT_LIST);
    } else {
        text_clear(&watch->next);
        wait_ns = finish_list(watch, &is_changed);
    }
    tell_change(watch, is_changed);
    return wait_ns;
}

static uint64_t on_page(struct kube_watch *watch, struct str body)
{
    const struct json_bounds bounds = {KUBE_PAGE_BYTES, DEPTH_MAX};
    struct text why = {0};
    json_t *page = json_strict_load(body, bounds, &why);
    uint64_t wait_ns;

    if (page) {
        wait_ns = take_page(watch, page);
    } else {
        trouble(watch, "the list is no JSON: %s", why.ptr);
        wait_ns = fail(watch);
    }
    json_decref(page);
    text_fini(&why);
    return wait_ns;
}

/* ---- events ---- */

static bool on_error_event(struct kube_watch *watch, json_t *status)
{
    const json_int_t code = json_integer_value(json_object_get(status, "code"));
    const struct str reason = member(status, "reason");

    watch->is_expired =
        code == 410 || str_eq(reason, STR("Expired")) || str_eq(reason, STR("Gone"));
    watch->is_bad = !watch->is_expired;
    trouble(watch, "the watch ended with %lld %.*s: %.*s", (long long)code, STR_ARG(reason),
            STR_ARG(str_sub(member(status, "message"), 0, MESSAGE_MAX)));
    return false;
}

static bool remove_object(struct kube_watch *watch, json_t *object, bool *is_changed)
{
    struct arena arena = {0};
    const struct str path = path_of(watch, &arena, object);
    const bool is_good = path.len > 0;

    *is_changed = is_good && manifests_store_remove(watch->store, path);
    arena_fini(&arena);
    return is_good;
}

static bool on_object(struct kube_watch *watch, json_t *object, bool is_deleted)
{
    bool is_changed = false;
    const bool is_good = is_deleted ? remove_object(watch, object, &is_changed)
                                    : put(watch, object, (struct str){0}, &is_changed);

    tell_change(watch, is_changed);
    return is_good;
}

static bool take_event(struct kube_watch *watch, json_t *event)
{
    const struct str type = member(event, "type");
    json_t *object = json_object_get(event, "object");
    const bool is_deleted = str_eq(type, STR("DELETED"));

    if (str_eq(type, STR("ERROR")))
        return on_error_event(watch, object);
    if (is_deleted || str_eq(type, STR("ADDED")) || str_eq(type, STR("MODIFIED"))) {
        if (!on_object(watch, object, is_deleted))
            return false;
    } else if (!str_eq(type, STR("BOOKMARK"))) {
        trouble(watch, "an event has the type \"%.*s\", which there is not",
                STR_ARG(str_sub(type, 0, 40)));
        return false;
    }
    if (!take_version(watch, json_object_get(object, "metadata")))
        return false;
    watch->n_events++;
    well(watch);
    return true;
}

static bool on_line(struct kube_watch *watch, struct str line)
{
    const struct json_bounds bounds = {KUBE_LINE_BYTES, DEPTH_MAX};
    struct text why = {0};
    json_t *event = json_strict_load(line, bounds, &why);
    const bool is_good = event && take_event(watch, event);

    if (!event)
        trouble(watch, "an event is no JSON: %s", why.ptr);
    json_decref(event);
    text_fini(&why);
    return is_good;
}

/* A line that came whole is read where it is. */
static bool end_line(struct kube_watch *watch, struct str rest)
{
    bool is_good;

    if (watch->line.len > 0)
        text_add(&watch->line, rest);
    const struct str line = watch->line.len > 0 ? text_str(&watch->line) : rest;
    is_good = line.len == 0 || on_line(watch, line);
    text_clear(&watch->line);
    return is_good;
}

bool kube_watch_piece(struct kube_watch *watch, struct str piece)
{
    struct str line, rest;

    text_clear(&watch->trouble);
    while (!watch->is_expired && !watch->is_bad && str_split(piece, '\n', &line, &rest)) {
        watch->is_bad = !end_line(watch, line) && !watch->is_expired;
        piece = rest;
    }
    if (!watch->is_bad && !watch->is_expired && piece.len > KUBE_LINE_BYTES - watch->line.len) {
        trouble(watch, "an event has more than %zu bytes", KUBE_LINE_BYTES);
        watch->is_bad = true;
    }
    if (watch->is_bad || watch->is_expired)
        return false;
    text_add(&watch->line, piece);
    return true;
}

/* ---- the end of a request ---- */

/* One that the server ended when its time was over is in order, an event that was cut is not
 * missed: it comes again. */
static uint64_t on_watch_end(struct kube_watch *watch, const struct kube_answer *answer)
{
    if (watch->is_expired)
        return begin_anew(watch);
    if (watch->is_bad)
        return fail(watch);
    if (answer->lasted_ns < KUBE_SHORT_WATCH_NS) {
        trouble(watch, "the watch ended at once");
        return fail(watch);
    }
    watch->n_failures = 0;
    sm_move(rules, &watch->state, KUBE_WAIT_WATCH);
    return 0;
}

/* The sentence in a Status, as errors are answered, else the answer's beginning. */
static struct str message_of(struct str body, struct arena *arena)
{
    const struct json_bounds bounds = {KUBE_LINE_BYTES, DEPTH_MAX};
    json_t *status = json_strict_load(body, bounds, NULL);
    const struct str said = status ? member(status, "message") : body;
    struct text clean = {0};

    text_add_printable(&clean, str_sub(said, 0, MESSAGE_MAX));
    const struct str kept = arena_str(arena, text_str(&clean));
    json_decref(status);
    text_fini(&clean);
    return kept;
}

static uint64_t on_absent(struct kube_watch *watch)
{
    const size_t n = manifests_store_count(watch->store, kind_of(watch));

    if (watch->state == KUBE_WATCHING)
        return begin_anew(watch);
    watch->place++;
    if (watch->kind->places[watch->place]) {
        text_clear(&watch->next);
        sm_move(rules, &watch->state, KUBE_WAIT_LIST);
        return 0;
    }
    watch->place = 0;
    if (!watch->kind->is_optional || n > 0) {
        trouble(watch, "the server says that it has no %.*s (404)%s",
                STR_ARG(kube_resource(place_of(watch))),
                n > 0 ? "; those that are known stay" : "");
        return fail(watch);
    }
    watch->n_absent++;
    well(watch);
    sm_move(rules, &watch->state, KUBE_WAIT_LIST);
    if (watch->is_synced || watch->n_absent >= ABSENT_AFTER) {
        const bool is_news = !watch->is_synced;
        watch->is_absent = watch->is_synced = true;
        tell_change(watch, is_news);
    }
    return doubled_ns(watch->n_absent, KUBE_ABSENT_FIRST_MS, KUBE_ABSENT_S * UINT64_C(1000));
}

static void tell_status(struct kube_watch *watch, const struct kube_answer *answer)
{
    const char *verb = watch->state == KUBE_WATCHING ? "watch" : "list";
    const struct str resource = kube_resource(place_of(watch)), group = kube_group(place_of(watch));
    struct arena arena = {0};
    const struct str message = message_of(answer->body, &arena);

    if (answer->status == 403)
        trouble(watch,
                "the role of our token lacks the verb \"%s\" for resource \"%.*s\" of apiGroup "
                "\"%.*s\" (403): %.*s",
                verb, STR_ARG(resource), STR_ARG(group), STR_ARG(message));
    else if (answer->status == 401)
        trouble(watch, "our token was refused (401): %.*s", STR_ARG(message));
    else
        trouble(watch, "the server answered to %s %.*s with status %u: %.*s", verb,
                STR_ARG(resource), answer->status, STR_ARG(message));
    arena_fini(&arena);
}

static uint64_t on_refusal(struct kube_watch *watch, const struct kube_answer *answer)
{
    uint64_t asked_s = 0;

    if (answer->status == 404)
        return on_absent(watch);
    tell_status(watch, answer);
    if (answer->status == 410)
        return begin_anew(watch);
    const bool is_stuck = watch->state == KUBE_WATCHING && watch->n_failures >= STUCK_AFTER;
    const uint64_t wait_ns = is_stuck ? begin_anew(watch) : fail(watch);
    if (!str_to_u64(answer->retry_after, UINT32_MAX, &asked_s))
        asked_s = 0;
    if (asked_s > KUBE_RETRY_AFTER_MAX_S)
        asked_s = KUBE_RETRY_AFTER_MAX_S;
    return asked_s * NS_PER_SEC > wait_ns ? asked_s * NS_PER_SEC : wait_ns;
}

static uint64_t on_no_answer(struct kube_watch *watch, const struct kube_answer *answer)
{
    const bool is_too_large = answer->err == -ERR_LIMIT && watch->state == KUBE_LISTING;

    trouble(watch, "%.*s", STR_ARG(answer->why));
    if (is_too_large && watch->page_objects > 1)
        watch->page_objects /= 2;
    if (watch->state == KUBE_WATCHING && answer->lasted_ns >= KUBE_SHORT_WATCH_NS)
        watch->n_failures = 0;
    return fail(watch);
}

uint64_t kube_watch_over(struct kube_watch *watch, const struct kube_answer *answer)
{
    const bool is_watch = watch->state == KUBE_WATCHING;
    uint64_t wait_ns;

    if (is_watch && (watch->is_expired || watch->is_bad))
        wait_ns = on_watch_end(watch, answer);
    else if (answer->err)
        wait_ns = on_no_answer(watch, answer);
    else if (answer->status != 200)
        wait_ns = on_refusal(watch, answer);
    else
        wait_ns = is_watch ? on_watch_end(watch, answer) : on_page(watch, answer->body);
    text_clear(&watch->line);
    watch->is_expired = watch->is_bad = false;
    return wait_ns;
}

/* ---- asking ---- */

static void add_escaped(struct text *out, struct str value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (size_t i = 0; i < value.len; i++) {
        const struct str byte = str_sub(value, i, 1);

        if (str_contains(str_from(plain), byte))
            text_add(out, byte);
        else
            text_addf(out, "%%%02X", (unsigned char)value.ptr[i]);
    }
}

bool kube_watch_ask(struct kube_watch *watch, struct text *out_target)
{
    const bool is_watch = watch->state == KUBE_WAIT_WATCH;

    text_add(out_target, place_of(watch));
    if (is_watch) {
        text_addf(
            out_target,
            "?watch=1&allowWatchBookmarks=true&timeoutSeconds=%d&resourceVersion=", KUBE_WATCH_S);
        add_escaped(out_target, text_str(&watch->version));
    } else {
        text_addf(out_target, "?limit=%u", watch->page_objects);
        if (watch->next.len > 0) {
            text_add(out_target, STR("&continue="));
            add_escaped(out_target, text_str(&watch->next));
        }
    }
    sm_move(rules, &watch->state, is_watch ? KUBE_WATCHING : KUBE_LISTING);
    return is_watch;
}

/* ---- life ---- */

void kube_watch_init(struct kube_watch *watch, const struct kube_kind *kind,
                     struct manifests_store *store, const struct kube_watch_events *events)
{
    *watch = (struct kube_watch){
        .kind = kind, .store = store, .events = *events, .page_objects = KUBE_PAGE_OBJECTS};
}

void kube_watch_fini(struct kube_watch *watch)
{
    text_fini(&watch->version);
    text_fini(&watch->next);
    text_fini(&watch->line);
    text_fini(&watch->trouble);
}

const char *kube_watch_state_name(const struct kube_watch *watch)
{
    return rules[watch->state].name;
}
