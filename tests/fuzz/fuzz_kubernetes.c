/*
 * Any bytes as the answers of an API server to one kind, which the first byte chooses. Answers are
 * lines that begin with a letter: L a page, W pieces of a watch (a tab ends a line of it), else the
 * status of a refusal. What is held is always a set that can be joined, and no refusal takes
 * anything away.
 */
#include "proxy/base/ensure.h"
#include "xds/kubernetes/watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LASTED_NS UINT64_C(5000000000)

static const unsigned statuses[] = {401, 403, 404, 410, 429, 500, 301};

static void on_put(void *owner, struct str path, enum manifests_put fate)
{
    (void)owner;
    ensure(path.len > 0 && fate != MANIFESTS_PUT_SAME && fate != MANIFESTS_PUT_FULL);
}

static void on_change(void *owner)
{
    ++*(unsigned *)owner;
}

static size_t held(const struct kube_watch *watch)
{
    return manifests_store_count(watch->store, str_from(watch->kind->kind));
}

/* It was asked for a watch. */
static void tell_piece(struct kube_watch *watch, struct str bytes)
{
    struct str line, rest = bytes;
    bool goes_on = kube_watch_piece(watch, (struct str){0});

    while (goes_on && str_split(rest, '\t', &line, &rest)) {
        goes_on = kube_watch_piece(watch, line);
        goes_on = goes_on && kube_watch_piece(watch, STR("\n"));
    }
    goes_on = goes_on && kube_watch_piece(watch, rest);
    (void)kube_watch_over(watch, &(struct kube_answer){.status = 200, .lasted_ns = LASTED_NS});
}

static void tell(struct kube_watch *watch, struct str line)
{
    struct text target = {0};
    const char letter = line.len > 0 ? line.ptr[0] : 'X';
    const struct str body = str_sub(line, 1, line.len);
    struct kube_answer answer = {.status = 200, .body = body, .lasted_ns = LASTED_NS};
    const bool is_watch = kube_watch_ask(watch, &target);
    const size_t before = held(watch);

    ensure(target.len > 0);
    if (is_watch && letter == 'W') {
        tell_piece(watch, body);
    } else {
        if (letter != 'L' || is_watch)
            answer.status = statuses[(unsigned char)letter % ARRAY_LEN(statuses)];
        ensure(kube_watch_over(watch, &answer) <= UINT64_C(1000000000) * KUBE_RETRY_AFTER_MAX_S);
        ensure(answer.status == 200 || held(watch) == before);
    }
    ensure(watch->state == KUBE_WAIT_LIST || watch->state == KUBE_WAIT_WATCH);
    text_fini(&target);
}

static void check_store(const struct manifests_store *store)
{
    struct diag diag = {0};
    struct manifests_refusal refusal;
    size_t n = 0;
    struct manifests *set = manifests_store_set(store, &diag);

    ensure(set);
    manifests_free(set);
    for (size_t idx = 0; manifests_store_next_refusal(store, &idx, &refusal); n++)
        ensure(refusal.why.len > 0 && refusal.fate != MANIFESTS_PUT_TAKEN);
    ensure(n == manifests_store_n_refused(store));
    diag_fini(&diag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifests_store *store = manifests_store_new();
    struct kube_watch watch;
    unsigned n_changes = 0;
    const struct kube_watch_events events = {on_put, on_change, &n_changes};
    struct str line, rest = str_of(data, size);

    kube_watch_init(&watch, kube_kind(size > 0 ? data[0] % KUBE_KINDS : 0), store, &events);
    rest = str_sub(rest, 1, rest.len);
    while (str_split(rest, '\n', &line, &rest))
        tell(&watch, line);
    tell(&watch, rest);
    check_store(store);
    kube_watch_fini(&watch);
    manifests_store_free(store);
    return 0;
}
