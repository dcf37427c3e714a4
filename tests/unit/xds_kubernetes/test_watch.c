/* One kind listed and followed: scripts of answers, and what is asked and held after each. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "xds/kubernetes/watch.h"

#define LIST(version, next, items)                                                                 \
    "{\"kind\":\"NodeList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"" version    \
    "\",\"continue\":\"" next "\"},\"items\":[" items "]}"
#define ITEM(name)                                                                                 \
    "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"7\",\"managedFields\":[{}]},"      \
    "\"status\":{\"phase\":\"x\"}}"
#define OBJECT(name, version)                                                                      \
    "{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"" name                      \
    "\",\"resourceVersion\":\"" version "\"}}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" OBJECT(name, version) "}\n"
#define BOOKMARK(version)                                                                          \
    "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Node\",\"metadata\":{\"resourceVersion\":"      \
    "\"" version "\"}}}\n"
#define ERROR(code, reason)                                                                        \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":" code ",\"reason\":\"" reason   \
    "\",\"message\":\"told to\"}}\n"
#define LONG (10 * NS_PER_SEC)

static struct manifests_store *store;
static struct kube_watch watch;
static unsigned n_changes;
static enum manifests_put last_fate;
static struct text target;
static bool is_stream;

static void on_put(void *owner, struct str path, enum manifests_put fate)
{
    (void)owner;
    cr_expect(str_starts_with(path, STR("Node ")) || path.len > 0);
    last_fate = fate;
}

static void on_change(void *owner)
{
    (void)owner;
    n_changes++;
}

static const struct kube_kind *kind_called(const char *name)
{
    for (unsigned i = 0; i < KUBE_KINDS; i++)
        if (strcmp(kube_kind(i)->kind, name) == 0)
            return kube_kind(i);
    cr_assert(false, "there is no kind %s", name);
    return kube_kind(0);
}

static void begin_with(const char *kind)
{
    const struct kube_watch_events events = {on_put, on_change, NULL};

    kube_watch_init(&watch, kind_called(kind), store, &events);
}

static void begin(void)
{
    store = manifests_store_new();
    begin_with("Node");
}

static void end(void)
{
    kube_watch_fini(&watch);
    manifests_store_free(store);
    text_fini(&target);
}

TestSuite(kube_watch, .init = begin, .fini = end, .timeout = 20);

static void ask(void)
{
    text_clear(&target);
    is_stream = kube_watch_ask(&watch, &target);
}

static uint64_t answer(unsigned status, const char *body)
{
    const struct kube_answer told = {.status = status, .body = str_from(body), .lasted_ns = LONG};

    return kube_watch_over(&watch, &told);
}

/* One request for each page. */
static uint64_t list(const char *body)
{
    ask();
    cr_assert(!is_stream, "%s", target.ptr);
    return answer(200, body);
}

static void expect_nodes(const char *row, const char *names)
{
    struct text all = {0};
    struct diag diag = {0};
    struct manifests *set = manifests_store_set(store, &diag);

    for (size_t i = 0; i < set->n_nodes; i++)
        text_addf(&all, "%s%.*s", i > 0 ? " " : "", STR_ARG(set->nodes[i].meta.name));
    cr_expect_str_eq(all.len ? all.ptr : "", names, "%s: holds \"%s\"", row, all.ptr);
    manifests_free(set);
    diag_fini(&diag);
    text_fini(&all);
}

static void expect_asks(const char *row, const char *expected)
{
    ask();
    cr_expect_str_eq(target.ptr, expected, "%s: asks \"%s\"", row, target.ptr);
}

#define ASKS_WATCH(version)                                                                        \
    "/api/v1/nodes?watch=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=" version
#define ASKS_LIST "/api/v1/nodes?limit=500"

Test(kube_watch, pages_are_asked_for_with_the_token_and_what_was_not_listed_is_gone)
{
    cr_expect_eq(list(LIST("5", "", ITEM("a") "," ITEM("old"))), 0);
    cr_expect(watch.is_synced);
    cr_expect_eq(n_changes, 1);

    ask();
    cr_expect(is_stream);
    cr_expect(!kube_watch_piece(&watch, STR(ERROR("410", "Expired"))));
    cr_expect_gt(answer(200, ""), 0);
    expect_asks("first page", ASKS_LIST);
    cr_expect_eq(answer(200, LIST("9", "a/b=", ITEM("a"))), 0);
    expect_nodes("between the pages", "a old");
    expect_asks("second page", ASKS_LIST "&continue=a%2Fb%3D");
    cr_expect_eq(answer(200, LIST("9", "", ITEM("b"))), 0);
    expect_nodes("after the last", "a b");
    expect_asks("watch", ASKS_WATCH("9"));
}

Test(kube_watch, events_of_a_watch)
{
    static const struct {
        const char *name, *pieces, *nodes, *asks, *trouble;
        bool is_ended; /* by us */
    } rows[] = {
        {"added", EVENT("ADDED", "b", "6"), "a b", ASKS_WATCH("6"), "", false},
        {"modified", EVENT("MODIFIED", "a", "6"), "a", ASKS_WATCH("6"), "", false},
        {"deleted", EVENT("DELETED", "a", "6"), "", ASKS_WATCH("6"), "", false},
        {"deleted twice", EVENT("DELETED", "a", "6") EVENT("DELETED", "a", "7"), "",
         ASKS_WATCH("7"), "", false},
        {"added again", EVENT("ADDED", "a", "6"), "a", ASKS_WATCH("6"), "", false},
        {"deleted and added", EVENT("DELETED", "a", "6") EVENT("ADDED", "a", "7"), "a",
         ASKS_WATCH("7"), "", false},
        {"versions are no numbers", EVENT("ADDED", "b", "9") EVENT("ADDED", "c", "10"), "a b c",
         ASKS_WATCH("10"), "", false},
        {"bookmark", BOOKMARK("8"), "a", ASKS_WATCH("8"), "", false},
        {"cut in a line", EVENT("ADDED", "b", "6") "{\"type\":\"ADDED\",\"object\":{", "a b",
         ASKS_WATCH("6"), "", false},
        {"an empty line", "\n" EVENT("ADDED", "b", "6") "\n", "a b", ASKS_WATCH("6"), "", false},
        {"gone", EVENT("ADDED", "b", "6") ERROR("410", "Expired") EVENT("ADDED", "c", "7"), "a b",
         ASKS_LIST, "410 Expired: told to", true},
        {"too old a version", ERROR("400", "Gone"), "a", ASKS_LIST, "told to", true},
        {"another error", ERROR("500", "InternalError"), "a", ASKS_WATCH("5"),
         "500 InternalError: told to", true},
        {"no JSON", "{]\n", "a", ASKS_WATCH("5"), "no JSON", true},
        {"a name twice", "{\"type\":\"BOOKMARK\",\"type\":\"ADDED\"}\n", "a", ASKS_WATCH("5"),
         "no JSON", true},
        {"no event", "[]\n", "a", ASKS_WATCH("5"), "type", true},
        {"an odd type", EVENT("RENAMED", "b", "6"), "a", ASKS_WATCH("5"), "\"RENAMED\"", true},
        {"no name", "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n", "a", ASKS_WATCH("5"),
         "name", true},
        {"no object", "{\"type\":\"DELETED\",\"object\":7}\n", "a", ASKS_WATCH("5"), "name", true},
        {"no version", "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}\n", "a",
         ASKS_WATCH("5"), "resourceVersion", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        end();
        target = (struct text){0};
        begin();
        (void)list(LIST("5", "", ITEM("a")));
        ask();
        bool goes_on = kube_watch_piece(&watch, (struct str){0});
        for (const char *at = rows[i].pieces; *at && goes_on; at++) /* cut anywhere */
            goes_on = kube_watch_piece(&watch, str_of(at, 1));
        cr_expect_eq(!goes_on, rows[i].is_ended, "%s", rows[i].name);
        cr_expect(strstr(watch.trouble.ptr ? watch.trouble.ptr : "", rows[i].trouble), "%s: %s",
                  rows[i].name, watch.trouble.ptr);
        const uint64_t wait_ns = answer(200, "");
        cr_expect_eq(wait_ns > 0, rows[i].is_ended, "%s", rows[i].name);
        expect_nodes(rows[i].name, rows[i].nodes);
        expect_asks(rows[i].name, rows[i].asks);
    }
}

Test(kube_watch, refusals_keep_what_is_held_and_say_what_is_wrong)
{
    static const struct {
        const char *name;
        unsigned status;
        const char *body, *retry_after, *trouble;
        uint64_t wait_ms;
    } rows[] = {
        {"forbidden", 403, "{\"kind\":\"Status\",\"message\":\"User x cannot\"}", "",
         "lacks the verb \"list\" for resource \"nodes\" of apiGroup \"\" (403): User x cannot",
         500},
        {"token", 401, "{}", "", "our token was refused (401)", 500},
        {"busy", 429, "", "3", "status 429", 3000},
        {"busy for a day", 429, "", "86400", "status 429", KUBE_RETRY_AFTER_MAX_S * 1000},
        {"odd wait", 503, "", "soon", "status 503", 500},
        {"not there", 404, "404 page not found", "", "no nodes (404); those that are known stay",
         500},
        {"expired token", 410, "{}", "", "status 410", 500},
        {"no list", 200, "{}", "", "no NodeList", 500},
        {"another list", 200,
         "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}", "",
         "no NodeList", 500},
        {"no items", 200, "{\"kind\":\"NodeList\",\"metadata\":{\"resourceVersion\":\"1\"}}", "",
         "no NodeList", 500},
        {"no JSON", 200, "<html>", "", "no JSON", 500},
        {"nameless", 200, LIST("9", "", "{}"), "", "name", 500},
        {"no version", 200, LIST("", "", ITEM("b")), "", "resourceVersion", 500},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        end();
        target = (struct text){0};
        begin();
        (void)list(LIST("5", "", ITEM("a")));
        ask();
        cr_assert(!kube_watch_piece(&watch, STR(ERROR("410", "Expired"))));
        (void)answer(200, "");
        watch.n_failures = 0;
        ask();
        const struct kube_answer told = {.status = rows[i].status,
                                         .body = str_from(rows[i].body),
                                         .retry_after = str_from(rows[i].retry_after)};
        cr_expect_eq(kube_watch_over(&watch, &told), rows[i].wait_ms * NS_PER_MS, "%s",
                     rows[i].name);
        cr_expect(strstr(watch.trouble.ptr, rows[i].trouble), "%s: %s", rows[i].name,
                  watch.trouble.ptr);
        const size_t n = manifests_store_count(store, STR("Node"));
        cr_expect(n == 1 || strcmp(rows[i].name, "no version") == 0, "%s: %zu", rows[i].name, n);
        expect_asks(rows[i].name, ASKS_LIST);
    }
}

Test(kube_watch, failures_wait_for_longer_and_longer_and_a_word_ends_them)
{
    const struct kube_answer cut = {.err = -ERR_RESET, .why = STR("reset")};
    uint64_t waits_ms[9];

    (void)list(LIST("5", "", ITEM("a")));
    for (size_t i = 0; i < ARRAY_LEN(waits_ms); i++) {
        ask();
        cr_assert(is_stream);
        waits_ms[i] = kube_watch_over(&watch, &cut) / NS_PER_MS;
    }
    cr_expect_eq(waits_ms[0], 500);
    cr_expect_eq(waits_ms[1], 1000);
    cr_expect_eq(waits_ms[8], 30000);
    cr_expect_str_eq(watch.trouble.ptr, "reset");

    ask();
    cr_expect(kube_watch_piece(&watch, STR(BOOKMARK("6"))));
    cr_expect_eq(watch.trouble.len, 0);
    cr_expect_eq(kube_watch_over(&watch, &cut) / NS_PER_MS, 500);
    ask();
    const struct kube_answer at_once = {.status = 200};
    cr_expect_eq(kube_watch_over(&watch, &at_once) / NS_PER_MS, 1000,
                 "a watch that ends at once is not asked for at once");
    expect_nodes("after all", "a");
}

Test(kube_watch, a_watch_that_is_refused_again_and_again_is_a_list_in_the_end)
{
    (void)list(LIST("5", "", ITEM("a")));
    for (unsigned i = 0; i < 5; i++) {
        expect_asks("not yet", ASKS_WATCH("5"));
        (void)answer(504, "Too large resource version");
    }
    ask();
    (void)answer(504, "");
    expect_asks("the sixth time", ASKS_LIST);
    expect_nodes("meanwhile", "a");
}

Test(kube_watch, pages_that_are_too_large_are_asked_for_by_half)
{
    const struct kube_answer large = {.err = -ERR_LIMIT, .why = STR("the answer is too large")};

    ask();
    (void)kube_watch_over(&watch, &large);
    expect_asks("after one", "/api/v1/nodes?limit=250");
}

Test(kube_watch, an_optional_kind_that_no_version_has_is_empty_and_asked_for_again)
{
    static const uint64_t waits_s[] = {1, 2, 4, 8, 16, 30, KUBE_ABSENT_S};

    begin_with("AuthorizationPolicy");
    for (size_t i = 0; i < ARRAY_LEN(waits_s); i++) {
        expect_asks("v1", "/apis/security.istio.io/v1/authorizationpolicies?limit=500");
        cr_expect_eq(answer(404, "404 page not found"), 0);
        expect_asks("v1beta1", "/apis/security.istio.io/v1beta1/authorizationpolicies?limit=500");
        cr_expect_eq(answer(404, "404 page not found"), waits_s[i] * NS_PER_SEC, "round %zu", i);
        cr_expect_eq(watch.is_synced, i > 0, "a server that starts may say so once");
        cr_expect_eq(watch.is_absent, i > 0, "round %zu", i);
        cr_expect_eq(n_changes, i > 0, "round %zu", i);
        cr_expect_eq(watch.trouble.len, 0, "%s", watch.trouble.ptr);
    }

    (void)list("{\"kind\":\"AuthorizationPolicyList\",\"apiVersion\":\"security.istio.io/v1\","
               "\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{\"metadata\":{\"name\":\"p\","
               "\"namespace\":\"shop\"},\"spec\":{}}]}");
    cr_expect(!watch.is_absent);
    cr_expect_eq(last_fate, MANIFESTS_PUT_TAKEN);

    ask();
    (void)answer(404, "");
    ask();
    (void)answer(404, "");
    ask();
    cr_expect_gt(answer(404, ""), 0);
    cr_expect_eq(manifests_store_count(store, STR("AuthorizationPolicy")), 1, "404 takes nothing");
}

Test(kube_watch, a_core_kind_must_be_there)
{
    ask();
    cr_expect_gt(answer(404, ""), 0);
    cr_expect(!watch.is_synced);
}

Test(kube_watch, an_event_beyond_the_bound_ends_the_watch)
{
    static char much[65536];
    bool goes_on = true;
    size_t n = 0;

    memset(much, ' ', sizeof(much));
    (void)list(LIST("5", "", ITEM("a")));
    ask();
    for (; goes_on && n < 2 * KUBE_LINE_BYTES; n += sizeof(much))
        goes_on = kube_watch_piece(&watch, str_of(much, sizeof(much)));
    cr_expect(!goes_on);
    cr_expect_leq(n, KUBE_LINE_BYTES + sizeof(much));
    cr_expect_gt(answer(200, ""), 0);
    expect_nodes("after it", "a");
}

Test(kube_watch, what_is_nested_too_deep_is_refused)
{
    struct text deep = {0};

    text_add(&deep, STR("{\"kind\":\"NodeList\",\"metadata\":{\"resourceVersion\":\"1\"},"
                        "\"items\":[{\"metadata\":{\"name\":\"a\"},\"spec\":"));
    for (unsigned i = 0; i < 64; i++)
        text_addc(&deep, '[');
    for (unsigned i = 0; i < 64; i++)
        text_addc(&deep, ']');
    text_add(&deep, STR("}]}"));
    ask();
    cr_expect_gt(answer(200, deep.ptr), 0);
    cr_expect(strstr(watch.trouble.ptr, "Node a is nested too deep"), "%s", watch.trouble.ptr);
    text_fini(&deep);
}

Test(kube_watch, every_kind_of_the_folder_is_asked_for_where_its_version_says)
{
    for (unsigned i = 0; i < KUBE_KINDS; i++) {
        const struct kube_kind *kind = kube_kind(i);

        for (size_t k = 0; kind->places[k]; k++) {
            const struct str place = str_from(kind->places[k]);
            struct text doc = {0};
            struct arena arena = {0};
            struct diag diag = {0};
            struct yaml **docs;
            const size_t cut = str_starts_with(place, STR("/api/")) ? 5 : 6;
            struct str version = str_sub(place, cut, place.len), resource;

            cr_assert(str_rsplit(version, '/', &version, &resource));
            text_addf(&doc, "{apiVersion: %.*s, kind: %s, metadata: {name: a}, spec: {}}",
                      STR_ARG(version), kind->kind);
            cr_assert_eq(yaml_parse(&arena, STR("x"), text_str(&doc), &docs, &diag), 1);
            struct text path = {0};
            text_addf(&path, "%s default/a", kind->kind);
            (void)manifests_store_put(store, text_str(&path), docs[0]);
            struct manifests_refusal refusal;
            if (manifests_store_refusal(store, text_str(&path), &refusal))
                cr_expect(!str_contains(refusal.why, STR("kind:")) &&
                              !str_contains(refusal.why, STR("apiVersion:")),
                          "%s: %.*s", kind->places[k], STR_ARG(refusal.why));
            text_fini(&path);
            text_fini(&doc);
            diag_fini(&diag);
            arena_fini(&arena);
        }
    }
}
