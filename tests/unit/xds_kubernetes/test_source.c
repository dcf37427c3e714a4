/* The source against an API server on loopback that spoils what it can: connections, timers, token
 * and roots. What single answers do to a kind is test_watch.c's. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "api_kit.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/temp_dir.h"
#include "tests/kit/test_ca.h"
#include "xds/kubernetes/source.h"

#define NODES    "/api/v1/nodes"
#define POLICIES "/apis/isthmus.io/v1alpha1/trafficpolicies"
#define LIST(version, next, items)                                                                 \
    "{\"kind\":\"NodeList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"" version    \
    "\",\"continue\":\"" next "\"},\"items\":[" items "]}"
#define ITEM(name) "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"7\"}}"
#define EVENT(type, name, version)                                                                 \
    "{\"type\":\"" type "\",\"object\":{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":"     \
    "{\"name\":\"" name "\",\"resourceVersion\":\"" version "\"}}}\n"
#define ERROR(code)                                                                                \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":" code ",\"message\":\"no\"}}\n"
#define BOOKMARK(meta)                                                                             \
    "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Node\",\"metadata\":{" meta "}}}\n"
#define ASKS       "?limit=500"
#define NEXT(next) "?limit=500&continue=" next
#define WATCH(version)                                                                             \
    "?watch=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=" version
#define WATCH_OF(version) "=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=" version
#define SILENT_NS         (500 * NS_PER_MS)
#define PATIENCE          30000 /* ms */

struct asker { /* a source, and the row of the server that it asks */
    struct api_row row;
    const char *name, *nodes; /* in the end */
    struct kube_source *source;
    struct kubernetes_config config;
    unsigned n_changes;
    size_t n_policies; /* that were known with the first change */
};

static struct loop *loop;
static struct meter *meter;
static struct api *api;
static struct temp_dir dir;
static struct arena arena;
static size_t n_askers;

static void init(void)
{
    loop = loop_new();
    meter = meter_new();
    dir = temp_dir_new();
    api = api_new(loop);
    n_askers = 0;
}

static void fini(void)
{
    api_free(api);
    loop_finish(loop);
    meter_free(meter);
    temp_dir_remove(&dir);
    arena_fini(&arena);
}

TestSuite(kube_source, .init = init, .fini = fini, .timeout = 90);

static struct str write(struct str name, struct str content)
{
    const struct str path =
        arena_printf(&arena, "%.*s/%.*s", STR_ARG(temp_dir_path(&dir)), STR_ARG(name));

    cr_assert_eq(file_write_atomic(path, content, 0600), 0);
    return path;
}

static void on_change(void *owner)
{
    struct asker *asker = owner;

    if (asker->n_changes++ == 0)
        asker->n_policies =
            manifests_store_count(kube_source_store(asker->source), STR("TrafficPolicy"));
}

/* With a token and roots that are right. */
static void prepare(struct asker *asker)
{
    const size_t n = n_askers++;

    api_add(api, &asker->row);
    asker->config = (struct kubernetes_config){
        .is_used = true,
        .server = {.host = STR("127.0.0.1"), .port = api_port(api)},
        .token_file =
            write(arena_printf(&arena, "token-%zu", n), arena_printf(&arena, "row-%zu\n", n)),
        .trust_bundle = write(arena_printf(&arena, "ca-%zu.crt", n), api_roots(api)),
    };
}

static struct str state_dir; /* "": nothing is kept */

static void open_with(struct asker *asker, uint64_t silent_ns)
{
    const struct kube_source_options options = {.state_dir = state_dir,
                                                .config = &asker->config,
                                                .meter = meter,
                                                .silent_ns = silent_ns,
                                                .on_change = on_change,
                                                .owner = asker};

    asker->source = kube_source_open(loop, &options);
}

static void nodes_of(const struct asker *asker, struct text *out)
{
    struct diag diag = {0};
    struct manifests *set = manifests_store_set(kube_source_store(asker->source), &diag);

    for (size_t i = 0; i < set->n_nodes; i++)
        text_addf(out, "%s%.*s", i > 0 ? " " : "", STR_ARG(set->nodes[i].meta.name));
    manifests_free(set);
    diag_fini(&diag);
}

static bool is_through(void *ctx)
{
    struct asker *asker = ctx;
    struct text nodes = {0};

    nodes_of(asker, &nodes);
    const bool is_right = str_eq(text_str(&nodes), str_from(asker->nodes));
    text_fini(&nodes);
    return asker->row.wrong.len > 0 || (is_right && asker->row.at == asker->row.n_steps &&
                                        kube_source_is_synced(asker->source));
}

static void expect_through(struct asker *asker)
{
    struct text nodes = {0};

    const bool is = run_until(loop, is_through, asker, PATIENCE);
    nodes_of(asker, &nodes);
    cr_expect(is && asker->row.wrong.len == 0, "%s: after step %zu: holds \"%.*s\"; %.*s",
              asker->name, asker->row.at, STR_ARG(text_str(&nodes)), STR_ARG(asker->row.wrong));
    text_fini(&nodes);
}

#define STEPS(...)                                                                                 \
    (const struct api_step[])                                                                      \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define ROW(called, left, ...)                                                                     \
    {                                                                                              \
        .name = called, .nodes = left, .row = {                                                    \
            NODES,                                                                                 \
            STEPS(__VA_ARGS__),                                                                    \
            ARRAY_LEN(STEPS(__VA_ARGS__)),                                                         \
            .at = 0                                                                                \
        }                                                                                          \
    }
#define HELD(version)                                                                              \
    {                                                                                              \
        WATCH(version), API_OPEN, 0, "", NULL                                                      \
    }

Test(kube_source, whatever_a_server_spoils_the_objects_are_right_in_the_end)
{
    struct asker askers[] = {
        ROW("nothing", "a b", {ASKS, API_WHOLE, 0, LIST("5", "t", ITEM("a")), NULL},
            {NEXT("t"), API_WHOLE, 0, LIST("5", "", ITEM("b")), NULL}, HELD("5")),
        ROW("a page token that expired between pages", "a c",
            {ASKS, API_WHOLE, 0, LIST("5", "t", ITEM("a") "," ITEM("b")), NULL},
            {NEXT("t"), API_WHOLE, 410, "{\"kind\":\"Status\",\"code\":410}", NULL},
            {ASKS, API_WHOLE, 0, LIST("6", "u", ITEM("a")), NULL},
            {NEXT("u"), API_WHOLE, 0, LIST("6", "", ITEM("c")), NULL}, HELD("6")),
        ROW("a server that closes between pages", "b",
            {ASKS, API_WHOLE, 0, LIST("5", "t", ITEM("a")), NULL},
            {NEXT("t"), API_GONE, 0, "", NULL},
            {ASKS, API_WHOLE, 0, LIST("6", "", ITEM("b")), NULL}, HELD("6")),
        ROW("a page that is cut", "b", {ASKS, API_WHOLE, 0, LIST("5", "t", ITEM("a")), NULL},
            {NEXT("t"), API_CUT, 0, LIST("5", "", ITEM("c")), NULL},
            {ASKS, API_WHOLE, 0, LIST("6", "", ITEM("b")), NULL}, HELD("6")),
        ROW("a page of the wrong kind", "a", {ASKS, API_WHOLE, 0, LIST("5", "t", ITEM("a")), NULL},
            {NEXT("t"), API_WHOLE, 0, "{\"kind\":\"Status\"}", NULL},
            {ASKS, API_WHOLE, 0, LIST("6", "", ITEM("a")), NULL}, HELD("6")),
        ROW("an error in the middle of a watch", "a b c",
            {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a")), NULL},
            {WATCH("5"), API_OPEN, 0,
             EVENT("ADDED", "b", "6") ERROR("500") EVENT("ADDED", "x", "7"), NULL},
            {WATCH("6"), API_OPEN, 0, EVENT("ADDED", "c", "8"), NULL}),
        ROW("an expired version in the middle of a watch", "b",
            {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a")), NULL},
            {WATCH("5"), API_OPEN, 0, EVENT("ADDED", "c", "6"), ERROR("410")},
            {ASKS, API_WHOLE, 0, LIST("9", "", ITEM("b")), NULL}, HELD("9")),
        ROW("a bookmark without resourceVersion", "b",
            {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a")), NULL},
            {WATCH("5"), API_OPEN, 0, BOOKMARK("\"resourceVersion\":\"6\""), BOOKMARK("")},
            {WATCH("6"), API_OPEN, 0, EVENT("DELETED", "a", "7") EVENT("ADDED", "b", "8"), NULL}),
        ROW("an object that vanishes between list and watch", "b",
            {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a") "," ITEM("b")), NULL},
            {WATCH("5"), API_OPEN, 0, EVENT("DELETED", "a", "6"), NULL}),
        ROW("one that vanishes with what the server knew of it", "b",
            {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a") "," ITEM("b")), NULL},
            {WATCH("5"), API_WHOLE, 410, "{}", NULL},
            {ASKS, API_WHOLE, 0, LIST("9", "", ITEM("b")), NULL}, HELD("9")),
        ROW("an answer that is larger than the bound", "a", {ASKS, API_LARGE, 0, "", NULL},
            {"?limit=250", API_WHOLE, 0, LIST("5", "", ITEM("a")), NULL}, HELD("5")),
        ROW("a watch that ends at once", "a", {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a")), NULL},
            {WATCH("5"), API_ENDED, 0, "", NULL}, HELD("5")),
        ROW("a server that answers a watch with a page of its own", "a",
            {ASKS, API_WHOLE, 0, LIST("5", "", ITEM("a")), NULL},
            {WATCH("5"), API_WHOLE, 0, "<html>\n", NULL}, HELD("5")),
    };

    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        prepare(&askers[i]);
        open_with(&askers[i], 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        expect_through(&askers[i]);
        cr_expect_gt(askers[i].n_changes, 0, "%s", askers[i].name);
        kube_source_close(askers[i].source);
    }
}

/* ---- silence ---- */

static bool was_silent(void *ctx)
{
    return ((struct asker *)ctx)->row.quiet_ns >= SILENT_NS;
}

#define MUTE_ROW 1

/* Only what is watched counts: a page came whole, and its connection is over at once. */
Test(kube_source, a_watch_that_says_nothing_for_too_long_is_asked_for_again_from_its_last_word)
{
    struct asker askers[] = {
        {.name = "no word after the head",
         .nodes = "",
         .row = {NODES "?watch",
                 STEPS({WATCH_OF("1"), API_OPEN, 0, "", NULL},
                       {WATCH_OF("1"), API_OPEN, 0, "", NULL}),
                 2}},
        {.name = "not even a head",
         .nodes = "",
         .row = {NODES "?watch",
                 STEPS({WATCH_OF("1"), API_MUTE, 0, "", NULL},
                       {WATCH_OF("1"), API_OPEN, 0, "", NULL}),
                 2}},
        {.name = "a bookmark puts it off",
         .nodes = "",
         .row = {NODES "?watch",
                 STEPS({WATCH_OF("1"), API_OPEN, 0, "", BOOKMARK("\"resourceVersion\":\"6\"")},
                       {WATCH_OF("6"), API_OPEN, 0, "", NULL}),
                 2}},
    };

    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        prepare(&askers[i]);
        open_with(&askers[i], SILENT_NS);
    }
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        expect_through(&askers[i]);
        if (i != MUTE_ROW) /* the handshake counts there, so it is not as long from the request */
            cr_expect(run_until(loop, was_silent, &askers[i], PATIENCE),
                      "%s: ended %llu ms after the last word", askers[i].name,
                      (unsigned long long)(askers[i].row.quiet_ns / NS_PER_MS));
        kube_source_close(askers[i].source);
    }
}

/* ---- kinds that are not there ---- */

#define POLICY                                                                                     \
    "{\"kind\":\"TrafficPolicyList\",\"apiVersion\":\"isthmus.io/v1alpha1\",\"metadata\":"         \
    "{\"resourceVersion\":\"5\"},\"items\":[{\"metadata\":{\"name\":\"p\",\"namespace\":\"shop\"}" \
    ",\"spec\":{}}]}"

/* A server that is starting may say so of what it does not serve yet. */
Test(kube_source, a_404_at_the_start_is_believed_the_second_time)
{
    struct asker starting = {
        .name = "starting",
        .nodes = "",
        .row = {POLICIES,
                STEPS({ASKS, API_WHOLE, 404, "404 page not found", NULL},
                      {ASKS, API_WHOLE, 0, POLICY, NULL}, HELD("5")),
                3},
    };
    struct asker lacking = {
        .name = "lacking",
        .nodes = "",
        .row = {POLICIES,
                STEPS({ASKS, API_WHOLE, 404, "404 page not found", NULL},
                      {ASKS, API_WHOLE, 404, "404 page not found", NULL},
                      {ASKS, API_WHOLE, 0, POLICY, NULL}, HELD("5")),
                4},
    };
    struct text json = {0};

    prepare(&starting);
    prepare(&lacking);
    open_with(&starting, 0);
    open_with(&lacking, 0);
    expect_through(&starting);
    cr_expect_eq(starting.n_policies, 1, "nothing is told before it is known");
    expect_through(&lacking);
    cr_expect_eq(lacking.n_policies, 0, "it was taken for not installed");
    kube_source_json(lacking.source, &json);
    cr_expect(str_contains(text_str(&json), STR("\"kind\":\"TrafficPolicy\",\"path\":\"" POLICIES
                                                "\",\"state\":\"watching\"")),
              "%s", json.ptr);
    kube_source_close(starting.source);
    kube_source_close(lacking.source);
    text_fini(&json);
}

/* ---- token and roots ---- */

static bool says(void *ctx)
{
    const struct asker *asker = ctx;
    struct text why = {0};

    kube_source_pending(asker->source, &why);
    const bool is_said = str_contains(text_str(&why), str_from(asker->nodes));
    text_fini(&why);
    return is_said;
}

static bool is_synced(void *ctx)
{
    return kube_source_is_synced(((struct asker *)ctx)->source);
}

Test(kube_source, token_and_roots_that_are_wrong_are_told_and_read_again)
{
    struct asker askers[] = {
        {.name = "no token", .nodes = "kubernetes.tokenFile: "},
        {.name = "a token with a blank in it", .nodes = "holds no token"},
        {.name = "a token of somebody else", .nodes = "our token was refused (401)"},
        {.name = "no roots", .nodes = "kubernetes.trustBundle: "},
        {.name = "roots without a certificate", .nodes = "holds no certificate"},
        {.name = "roots of another authority", .nodes = "unable to get local issuer certificate"},
    };
    struct test_ca *other = test_ca_new("other.example");
    struct text other_roots = {0};

    test_ca_pem(other, &other_roots);
    for (size_t i = 0; i < ARRAY_LEN(askers); i++)
        prepare(&askers[i]);
    cr_assert_eq(file_remove(askers[0].config.token_file), 0);
    write(STR("token-1"), STR("row- 1"));
    write(STR("token-2"), STR("nobody"));
    cr_assert_eq(file_remove(askers[3].config.trust_bundle), 0);
    write(STR("ca-4.crt"), STR("no certificate"));
    write(STR("ca-5.crt"), text_str(&other_roots));
    for (size_t i = 0; i < ARRAY_LEN(askers); i++)
        open_with(&askers[i], 0);

    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        struct text why = {0};

        cr_expect(run_until(loop, says, &askers[i], PATIENCE), "%s", askers[i].name);
        kube_source_pending(askers[i].source, &why);
        cr_expect(!kube_source_is_synced(askers[i].source), "%s: %s", askers[i].name, why.ptr);
        text_fini(&why);
        write(arena_printf(&arena, "token-%zu", i), arena_printf(&arena, "row-%zu", i));
        write(arena_printf(&arena, "ca-%zu.crt", i), api_roots(api));
    }
    for (size_t i = 0; i < ARRAY_LEN(askers); i++) {
        cr_expect(run_until(loop, is_synced, &askers[i], PATIENCE), "%s", askers[i].name);
        kube_source_close(askers[i].source);
    }
    test_ca_free(other);
    text_fini(&other_roots);
}

/* ---- last good versions ---- */

#define AUTHORIZATION "/apis/security.istio.io/v1/authorizationpolicies"
#define RULES(uid, spec)                                                                           \
    "{\"kind\":\"AuthorizationPolicy\",\"apiVersion\":\"security.istio.io/v1\",\"metadata\":"      \
    "{\"name\":\"p\",\"namespace\":\"shop\",\"uid\":\"" uid "\",\"resourceVersion\":\"6\"},"       \
    "\"spec\":" spec "}"
#define RULES_LIST(items)                                                                          \
    "{\"kind\":\"AuthorizationPolicyList\",\"apiVersion\":\"security.istio.io/v1\",\"metadata\":"  \
    "{\"resourceVersion\":\"5\"},\"items\":[" items "]}"
#define GOOD       "{\"rules\":[{\"to\":[{\"operation\":{\"ports\":[\"80\"]}}]}]}"
#define WRONG      "{\"ruls\":[]}"
#define MAKE_WRONG "{\"type\":\"MODIFIED\",\"object\":" RULES("u-1", WRONG) "}\n"

static bool has_refused(void *ctx)
{
    const struct asker *asker = ctx;

    return kube_source_is_synced(asker->source) &&
           manifests_store_n_refused(kube_source_store(asker->source)) == 1;
}

static struct asker asker_of_rules(const char *name, const char *list, const char *event)
{
    struct api_step *steps = arena_new_array(&arena, struct api_step, 2);

    steps[0] = (struct api_step){ASKS, API_WHOLE, 0, list, NULL};
    steps[1] = (struct api_step){WATCH("5"), API_OPEN, 0, event, NULL};
    return (struct asker){.name = name, .nodes = "", .row = {AUTHORIZATION, steps, 2}};
}

/* A life of control: until all is known and the policy was refused, or not. */
static void live(struct asker *asker, bool is_refused, enum manifests_put fate, size_t n_rules)
{
    struct manifests_refusal refusal = {0};
    struct diag diag = {0};

    prepare(asker);
    open_with(asker, 0);
    cr_expect(run_until(loop, is_refused ? has_refused : is_synced, asker, PATIENCE), "%s",
              asker->name);
    struct manifests *set = manifests_store_set(kube_source_store(asker->source), &diag);
    cr_expect_eq(manifests_store_refusal(kube_source_store(asker->source),
                                         STR("AuthorizationPolicy shop/p"), &refusal),
                 is_refused, "%s", asker->name);
    cr_expect_eq(refusal.fate, fate, "%s: %d", asker->name, refusal.fate);
    cr_expect(set->n_policies == 1 && set->policies[0].policy.n_rules == n_rules, "%s",
              asker->name);
    manifests_free(set);
    diag_fini(&diag);
    kube_source_close(asker->source);
}

static bool is_kept(struct text *out)
{
    const struct str path =
        arena_printf(&arena, "%.*s/last-good.jsonl", STR_ARG(temp_dir_path(&dir)));

    text_fini(out);
    return file_read_all(path, 65536, out) == 0;
}

Test(kube_source, a_wrong_object_stays_as_it_was_last_good_over_restarts)
{
    struct asker first = asker_of_rules("first", RULES_LIST(RULES("u-1", GOOD)), MAKE_WRONG);
    struct asker second = asker_of_rules("second", RULES_LIST(RULES("u-1", WRONG)), "");
    struct asker third = asker_of_rules("third", RULES_LIST(RULES("u-1", WRONG)), "");
    struct asker renewed = asker_of_rules("renewed", RULES_LIST(RULES("u-2", WRONG)), "");
    struct asker fourth = asker_of_rules("fourth", RULES_LIST(RULES("u-1", WRONG)), "");
    struct text lines = {0};
    struct stat info;

    state_dir = temp_dir_path(&dir);
    live(&first, true, MANIFESTS_PUT_KEPT, 1);
    cr_expect(is_kept(&lines));
    cr_assert_eq(stat(arena_printf(&arena, "%s/last-good.jsonl", dir.path).ptr, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600);
    live(&second, true, MANIFESTS_PUT_KEPT, 1);
    live(&third, true, MANIFESTS_PUT_KEPT, 1);
    cr_expect(is_kept(&lines));
    live(&renewed, true, MANIFESTS_PUT_CLOSED, 0);
    cr_expect(!is_kept(&lines), "another object's: %s", lines.ptr);
    live(&fourth, true, MANIFESTS_PUT_CLOSED, 0);
    text_fini(&lines);
}

Test(kube_source, what_is_kept_goes_when_its_object_is_good_again)
{
    struct asker first = asker_of_rules("first", RULES_LIST(RULES("u-1", GOOD)), MAKE_WRONG);
    struct asker mended = asker_of_rules("mended", RULES_LIST(RULES("u-1", GOOD)), "");
    struct text lines = {0};

    state_dir = temp_dir_path(&dir);
    live(&first, true, MANIFESTS_PUT_KEPT, 1);
    live(&mended, false, MANIFESTS_PUT_TAKEN, 1);
    cr_expect(!is_kept(&lines), "%s", lines.ptr);
    text_fini(&lines);
}

Test(kube_source, what_cannot_be_kept_or_read_is_closed_in_doubt_after_a_restart)
{
    struct asker first = asker_of_rules("first", RULES_LIST(RULES("u-1", GOOD)), MAKE_WRONG);
    struct asker second = asker_of_rules("second", RULES_LIST(RULES("u-1", WRONG)), "");
    struct asker third = asker_of_rules("third", RULES_LIST(RULES("u-1", WRONG)), "");
    struct text lines = {0};

    state_dir = STR("/nonexistent/state");
    live(&first, true, MANIFESTS_PUT_KEPT, 1);
    live(&second, true, MANIFESTS_PUT_CLOSED, 0);
    state_dir = temp_dir_path(&dir);
    write(STR("last-good.jsonl"), STR("{\"path\":\"AuthorizationPolicy shop/p\",\"object\":{}}\n"
                                      "[]\n\n{\"path\":\"AuthorizationPolicy shop/p\",\"obj"));
    live(&third, true, MANIFESTS_PUT_CLOSED, 0);
    cr_expect(!is_kept(&lines), "what was not read is gone: %s", lines.ptr);
    text_fini(&lines);
}

/* ---- the end ---- */

Test(kube_source, it_may_be_closed_at_any_time_and_leaves_nothing)
{
    static const unsigned turns[] = {0, 1, 2, 4, 8, 16, 32, 64};

    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        struct asker asker = {.name = "closed", .nodes = ""};

        prepare(&asker);
        open_with(&asker, 0);
        run_turns(loop, turns[i]);
        kube_source_close(asker.source);
        cr_expect(meter_total(METRIC_KUBERNETES_OBJECTS) == 0, "after %u turns", turns[i]);
    }
    kube_source_close(NULL);
}
