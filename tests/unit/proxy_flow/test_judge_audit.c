/* What the audit log says of requests that are judged one by one. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "proxy/audit/audit.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "tests/kit/temp_dir.h"
#include "ways.h"

TestSuite(judge_audit, .timeout = 60);

#define LINES_MAX 64

static struct temp_dir dir;
static char path[256];
static json_t *lines[LINES_MAX];
static size_t n_lines;

/* audit.events */
enum { VERDICTS = 1, ENDS = 2, REQUESTS = 4 };

#define USUAL (VERDICTS | ENDS)

static void begin_audited(unsigned events)
{
    dir = temp_dir_new();
    (void)snprintf(path, sizeof path, "%s/audit.log", dir.path);
    n_lines = 0;
    town_open(&town);
    town.audits_requests = events & REQUESTS;
    town.lacks_verdicts = !(events & VERDICTS);
    town.lacks_ends = !(events & ENDS);
    town_audit(&town, path);
}

static void open_audited(const struct way *way, void (*policies)(void), unsigned events)
{
    begin_audited(events);
    open_way_of(way, policies);
}

/* What is in the file by now. */
static void read_lines(void)
{
    struct text text = {0};
    struct str line, rest;
    while (n_lines > 0)
        json_decref(lines[--n_lines]);
    cr_assert_eq(file_read_all(str_from(path), (size_t)1 << 20, &text), 0);
    rest = text_str(&text);
    while (str_split(rest, '\n', &line, &rest) && !str_is_empty(line)) {
        cr_assert_lt(n_lines, LINES_MAX);
        cr_expect_not(str_contains(line, STR("secret")), "no query");
        lines[n_lines++] = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
        cr_assert_not_null(lines[n_lines - 1], "%.*s", STR_ARG(line));
    }
    text_fini(&text);
}

static void close_audited(void)
{
    close_way();
    read_lines();
}

static void forget(void)
{
    while (n_lines > 0)
        json_decref(lines[--n_lines]);
    temp_dir_remove(&dir);
}

static const char *member(const json_t *line, const char *key)
{
    const char *value = json_string_value(json_object_get(line, key));
    return value ? value : "";
}

static json_int_t number(const json_t *line, const char *key)
{
    return json_integer_value(json_object_get(line, key));
}

/* The idx-th line of that event about that path, where it was judged ("" : of a connection). */
static const json_t *find(const char *event, const char *about, size_t idx)
{
    for (size_t i = 0; i < n_lines; i++) {
        if (strcmp(member(lines[i], "event"), event) == 0 &&
            strcmp(member(lines[i], "request.path"), about) == 0 &&
            strcmp(member(lines[i], "direction"), "outbound") != 0 && idx-- == 0)
            return lines[i];
    }
    return NULL;
}

static const json_t *end_of_connection(const char *name)
{
    for (size_t i = 0; i < n_lines; i++) {
        if (strcmp(member(lines[i], "event"), "end") == 0 &&
            strcmp(member(lines[i], "connection"), name) == 0 &&
            !json_object_get(lines[i], "request.number"))
            return lines[i];
    }
    return NULL;
}

#define SAYS(line, key, value)                                                                     \
    cr_expect_str_eq(member(line, key), value, "%s: %s", key, member(line, key))
#define LACKS(line, key) cr_expect_null(json_object_get(line, key), "%s is there", key)

static void serve(const char *target, unsigned nth)
{
    get(target);
    cr_assert(app_saw(1, "GET ", nth));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", nth));
}

static void ask_slowly(void)
{
    get("/public/slow");
    cr_assert(app_saw(1, "GET /public/slow ", 1));
}

/* A request that was allowed, and is no more before it is answered. */
static void cut_a_slow_one(void)
{
    ask_slowly();
    snap_drop(&town.snap, "shop/public");
    (void)allow("other", "/other");
    town_learn(&town);
    cr_assert(got(&call.tap, DENIED, 1));
}

Test(judge_audit, each_request_is_told_allowed_ones_together_and_a_denied_one_by_itself)
{
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        open_audited(&ways[i], allow_public, USUAL);
        get("/admin/\"x?secret=1");
        cr_assert(got(&call.tap, DENIED, 1), "%s", ways[i].name);
        serve("/public/a", 1);
        serve("/public/a?secret=2", 2);
        serve("/public/b", 3);
        close_audited();

        const json_t *denied = find("verdict", "/admin/\"x", 0);
        const json_t *a = find("requests", "/public/a", 0), *b = find("requests", "/public/b", 0);
        const json_t *refused = find("requests", "/admin/\"x", 0);
        cr_assert(denied && a && b && refused, "%s", ways[i].name);
        SAYS(denied, "decision", "deny");
        SAYS(denied, "request.method", "GET");
        cr_expect_gt(number(denied, "request.number"), 0);
        cr_expect_eq(number(refused, "count"), 1);
        SAYS(refused, "decision", "deny");
        SAYS(refused, "why", "denied");
        cr_expect_eq(number(a, "count"), 2, "%s", ways[i].name);
        cr_expect_eq(number(b, "count"), 1);
        SAYS(a, "decision", "allow");
        SAYS(a, "policy", "shop/public");
        cr_expect_eq(number(a, "rule"), 0);
        SAYS(a, "request.method", "GET");
        SAYS(a, "why", "ok");
        SAYS(a, "connection", member(denied, "connection"));
        SAYS(a, "src.workload", "cart");
        SAYS(a, "dst.workload", "pay-1");
        cr_expect_leq(strcmp(member(a, "first"), member(a, "last")), 0);
        LACKS(a, "request.number");
        const json_t *end = end_of_connection(member(a, "connection"));
        cr_assert_not_null(end, "%s", ways[i].name);
        cr_expect_lt(number(a, "seq"), number(end, "seq"), "%s", ways[i].name);
        cr_expect_null(find("verdict", "/public/a", 0), "its end tells it");
        cr_expect_null(find("end", "/public/a", 0));
        forget();
    }
}

Test(judge_audit, who_asks_for_every_request_has_a_line_for_each)
{
    open_audited(&ways[0], allow_public, USUAL | REQUESTS);
    serve("/public/a", 1);
    serve("/public/a", 2);
    close_audited();
    const json_t *first = find("requests", "/public/a", 0);
    const json_t *second = find("requests", "/public/a", 1);
    cr_assert(first && second);
    cr_expect_eq(number(first, "count"), 1);
    cr_expect_lt(number(first, "request.number"), number(second, "request.number"));
    forget();
}

Test(judge_audit, who_asks_for_nothing_but_requests_has_those_that_were_cut_too)
{
    open_audited(&ways[0], allow_public, REQUESTS);
    cut_a_slow_one();
    close_audited();
    const json_t *line = find("requests", "/public/slow", 0);
    cr_assert_not_null(line);
    SAYS(line, "why", "denied_late");
    SAYS(line, "decision", "deny");
    cr_expect_null(find("verdict", "/public/slow", 0));
    cr_expect_null(find("end", "/public/slow", 0));
    forget();
}

static bool are_in_the_log(void *ctx)
{
    (void)ctx;
    read_lines();
    return find("verdict", "/public/slow", 0) && find("verdict", "/admin", 0);
}

Test(judge_audit, who_asks_for_nothing_but_verdicts_has_each_once)
{
    open_audited(&ways[0], allow_public, VERDICTS);
    get("/admin");
    cr_assert(got(&call.tap, DENIED, 1));
    ask_slowly();
    cr_assert(run_until(town.world.loop, are_in_the_log, NULL, PATIENCE_MS), "it lasts");
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    serve("/public/a", 2);
    close_audited();
    SAYS(find("verdict", "/admin", 0), "decision", "deny");
    SAYS(find("verdict", "/public/slow", 0), "decision", "allow");
    cr_expect_null(find("requests", "/admin", 0), "its verdict is told");
    cr_expect_null(find("requests", "/public/slow", 0), "its verdict is told");
    const json_t *line = find("requests", "/public/a", 0);
    cr_assert_not_null(line, "it was over at once: one fact");
    SAYS(line, "decision", "allow");
    cr_expect_eq(number(line, "count"), 1);
    forget();
}

static bool is_in_the_log(void *ctx)
{
    (void)ctx;
    read_lines();
    return find("verdict", "/public/slow", 0) && find("requests", "/public/a", 0);
}

Test(judge_audit, a_request_that_lasts_is_told_while_it_does_and_at_its_end)
{
    open_audited(&ways[0], allow_public, USUAL);
    serve("/public/a", 1); /* is told in its time, though its connection lives on */
    ask_slowly();
    cr_assert(run_until(town.world.loop, is_in_the_log, NULL, PATIENCE_MS));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 2));
    close_audited();
    const json_t *verdict = find("verdict", "/public/slow", 0);
    const json_t *end = find("end", "/public/slow", 0);
    cr_assert(verdict && end);
    SAYS(verdict, "decision", "allow");
    SAYS(verdict, "policy", "shop/public");
    SAYS(end, "why", "ok");
    SAYS(end, "connection", member(verdict, "connection"));
    cr_expect_eq(number(end, "request.number"), number(verdict, "request.number"));
    cr_expect_geq(number(end, "duration_ns"), (json_int_t)AUDIT_LONG_NS);
    cr_expect_null(find("verdict", "/public/slow", 1));
    cr_expect_null(find("end", "/public/slow", 1));
    cr_expect_null(find("requests", "/public/slow", 0));
    forget();
}

Test(judge_audit, a_late_denial_stands_behind_what_was_allowed_before)
{
    open_audited(&ways[0], allow_public, USUAL);
    serve("/public/a", 1);
    cut_a_slow_one();
    close_audited();
    const json_t *before = find("requests", "/public/a", 0);
    const json_t *allowed = find("verdict", "/public/slow", 0);
    const json_t *denied = find("verdict", "/public/slow", 1);
    const json_t *end = find("end", "/public/slow", 0);
    cr_assert(before && allowed && denied && end);
    SAYS(allowed, "decision", "allow");
    SAYS(allowed, "policy", "shop/public");
    SAYS(denied, "decision", "deny");
    cr_expect(json_is_true(json_object_get(denied, "late")));
    SAYS(end, "why", "denied_late");
    cr_expect_lt(number(before, "seq"), number(allowed, "seq"));
    cr_expect_lt(number(allowed, "seq"), number(denied, "seq"));
    cr_expect_lt(number(denied, "seq"), number(end, "seq"));
    forget();
}

Test(judge_audit, a_lost_trust_stands_behind_what_was_allowed_before)
{
    open_audited(&ways[0], allow_public, USUAL);
    serve("/public/a", 1);
    struct trust *without = NULL;
    struct text why = {0};
    cr_assert_eq(trust_with(town.trust, STR("west.example"), STR(""), &without, &why), 0);
    town.trust = without;
    acceptor_recheck(town.n2.acceptor);
    cr_assert(tap_failed(town.world.loop, &call.tap));
    close_audited();
    const json_t *before = find("requests", "/public/a", 0);
    const json_t *cut = find("verdict", "", 0);
    cr_assert(before && cut);
    SAYS(before, "decision", "allow");
    SAYS(cut, "decision", "deny");
    cr_expect(json_is_true(json_object_get(cut, "late")));
    cr_expect_lt(number(before, "seq"), number(cut, "seq"));
    forget();
    trust_unref(without);
}

Test(judge_audit, paths_that_differ_only_beyond_what_a_line_takes_are_a_line_each)
{
    static const char ends[] = "aab";
    char path_[sizeof "/public/" + ENTRY_VALUE_MAX], text[sizeof path_ + 64];
    open_audited(&ways[0], allow_public, USUAL);
    (void)snprintf(path_, sizeof path_, "/public/%0*d", (int)ENTRY_VALUE_MAX - 8, 0);
    for (unsigned i = 0; ends[i]; i++) {
        (void)snprintf(text, sizeof text, "GET %s%c HTTP/1.1\r\nHost: store\r\n\r\n", path_,
                       ends[i]);
        say(text);
        cr_assert(app_saw(1, "GET ", i + 1));
        answer(1);
        cr_assert(got(&call.tap, "200 OK", i + 1));
    }
    close_audited();
    for (size_t i = 0; ends[i]; i++) {
        const json_t *line = find("requests", path_, i);
        cr_assert_not_null(line, "%zu", i);
        cr_expect(json_is_true(json_object_get(line, "cut")));
        cr_expect_eq(number(line, "count"), 1);
        cr_expect_gt(number(line, "request.number"), 0);
    }
    forget();
}

Test(judge_audit, a_request_that_is_tried_at_another_pod_tells_of_both)
{
    unsigned n = 0;
    begin_audited(USUAL);
    town_pay(&town, "pay-2", "n1", PAY2); /* nobody listens */
    open_way_of(&ways[4], allow_public);
    while (count(METRIC_CONNECT_RETRIES) == 0 && n < 30) /* either of the two is asked first */
        serve("/public/a", ++n);
    close_audited();
    const json_t *first = find("verdict", "/public/a", 0);
    const json_t *second = find("verdict", "/public/a", 1), *end = find("end", "/public/a", 0);
    cr_assert(first && second && end, "none was tried again, of %u", n);
    SAYS(first, "decision", "allow");
    SAYS(first, "dst.workload", "pay-2");
    SAYS(second, "dst.workload", "pay-1");
    SAYS(end, "dst.workload", "pay-1");
    SAYS(end, "why", "ok");
    cr_expect_eq(number(end, "attempts"), 2);
    cr_expect_eq(number(first, "request.number"), number(end, "request.number"));
    cr_expect_eq(number(second, "request.number"), number(end, "request.number"));
    json_int_t n_folded = 0;
    for (size_t i = 0; find("requests", "/public/a", i); i++)
        n_folded += number(find("requests", "/public/a", i), "count");
    cr_expect_eq(n_folded, n - 1, "the others, alike");
    forget();
}

static void watch_public(void)
{
    allow_public();
    snap_policy(&town.snap, "watched", POLICY_AUDIT, CART_ID);
    snap_policy(&town.snap, "tomorrow", POLICY_DENY, CART_ID)->dry_run = true;
}

Test(judge_audit, what_audit_and_dry_run_policies_say_is_a_line_for_each_request)
{
    open_audited(&ways[0], watch_public, USUAL);
    serve("/public/a", 1);
    serve("/public/a", 2);
    close_audited();
    unsigned n_audited = 0, n_would = 0;
    for (size_t i = 0; find("verdict", "/public/a", i); i++) {
        const json_t *line = find("verdict", "/public/a", i);
        n_audited += strcmp(member(line, "decision"), "audit") == 0;
        n_would += strcmp(member(line, "decision"), "would-deny") == 0;
        cr_expect_gt(number(line, "request.number"), 0);
    }
    cr_expect_eq(n_audited, 2);
    cr_expect_eq(n_would, 2);
    cr_expect_eq(number(find("requests", "/public/a", 0), "count"), 2);
    forget();
}

Test(judge_audit, a_request_at_which_no_policy_looked_is_told_as_whole_as_others)
{
    open_audited(&ways[4], allow_cart, USUAL);
    serve("/public/a?secret=1", 1);
    serve("/public/a?secret=2", 2);
    close_audited();

    const json_t *a = find("requests", "/public/a", 0);
    const json_t *local = NULL;
    for (size_t i = 0; i < n_lines && !local; i++)
        if (strcmp(member(lines[i], "event"), "requests") == 0)
            local = lines[i];
    cr_assert(a && local == a);
    cr_expect_eq(number(a, "count"), 2);
    SAYS(a, "decision", "allow");
    SAYS(a, "policy", "shop/cart");
    cr_expect_eq(number(a, "rule"), 0);
    SAYS(a, "mode", "enforced");
    SAYS(a, "request.method", "GET");
    SAYS(a, "src.identity", "spiffe://" CART_ID);
    forget();
}

static void ask_by(const char *method, const char *target, unsigned nth)
{
    char text[128];
    (void)snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: store\r\n\r\n", method, target);
    say(text);
    cr_assert(app_saw(1, " HTTP/1.1\r\n", nth));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", nth));
}

/* What is told of a request that others were like is found without packing it: it must not take one
 * for another. */
Test(judge_audit, requests_that_differ_in_one_thing_take_turns_and_are_counted_apart)
{
    open_audited(&ways[4], allow_cart, USUAL);
    for (unsigned i = 0; i < 3; i++) {
        ask_by("GET", "/a?secret", 4 * i + 1);
        ask_by("GET", "/b", 4 * i + 2);
        ask_by("PUT", "/a", 4 * i + 3);
        ask_by("GET", "/a", 4 * i + 4);
    }
    snap_drop(&town.snap, "shop/cart");
    snap_policy(&town.snap, "carts", POLICY_ALLOW, CART_ID);
    town_learn(&town);
    ask_by("GET", "/a", 13);
    ask_by("GET", "/a", 14);
    close_audited();

    static const struct {
        const char *path, *method, *policy;
        json_int_t count;
    } rows[] = {
        {"/a", "GET", "shop/cart", 6},
        {"/b", "GET", "shop/cart", 3},
        {"/a", "PUT", "shop/cart", 3},
        {"/a", "GET", "shop/carts", 2},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_int_t n = 0;
        for (size_t j = 0; j < n_lines; j++)
            if (strcmp(member(lines[j], "event"), "requests") == 0 &&
                strcmp(member(lines[j], "request.path"), rows[i].path) == 0 &&
                strcmp(member(lines[j], "request.method"), rows[i].method) == 0 &&
                strcmp(member(lines[j], "policy"), rows[i].policy) == 0)
                n += number(lines[j], "count");
        cr_expect_eq(n, rows[i].count, "row %zu: %lld", i, (long long)n);
    }
    forget();
}
