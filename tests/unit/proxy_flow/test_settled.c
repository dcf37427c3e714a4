/* Verdicts that hold for every request of a caller, and when they hold no longer. */
#include <criterion/criterion.h>

#include "proxy/flow/settled.h"
#include "ways.h"

TestSuite(settled, .timeout = 60);

/* Where each request is judged for itself, and no policy looks at any. */
static const struct way *const as_http = &ways[4];

/* So many times on that connection of the app. */
static void serve(const char *path, unsigned n_served, unsigned times, unsigned n_answers)
{
    get(path);
    cr_assert(app_saw(n_served, "GET ", times), "%s", path);
    answer(n_served);
    cr_assert(got(&call.tap, "200 OK", n_answers), "%s", path);
}

Test(settled, a_policy_that_begins_to_look_at_requests_is_asked_about_the_next_one)
{
    open_way(as_http, allow_cart);
    serve("/admin", 1, 1, 1);
    serve("/admin", 1, 2, 2);
    cr_expect_eq(count(METRIC_VERDICTS_ALLOWED), 2, "each is counted");
    allow_public();
    snap_drop(&town.snap, "shop/cart");
    town_learn(&town);
    get("/admin");
    cr_assert(got(&call.tap, DENIED, 1));
    serve("/public", 1, 3, 3);
    cr_expect_eq(count(METRIC_VERDICTS_ALLOWED), 3);
    cr_expect_eq(count(METRIC_VERDICTS_DENIED), 1);
    allow_cart();
    town_learn(&town);
    serve("/admin", 1, 4, 4);
    close_way();
}

Test(settled, one_that_denies_for_certain_does_so_from_the_next_request_on)
{
    open_way(as_http, allow_cart);
    serve("/a", 1, 1, 1);
    snap_policy(&town.snap, "nobody", POLICY_DENY, NULL);
    town_learn(&town);
    get("/a");
    cr_assert(got(&call.tap, DENIED, 1));
    cr_expect_eq(count(METRIC_VERDICTS_DENIED), 1);
    finish();
    cr_expect(LOGGED(&town, "\"why\":\"denied\"", "\"policy\":\"shop/nobody\"",
                     "\"request.path\":\"/a\""));
    town_close(&town);
}

Test(settled, a_request_on_its_way_is_shown_to_policies_that_look_at_it_now)
{
    open_way(as_http, allow_cart);
    get("/public/%73low");
    cr_assert(app_saw(1, "GET /public/slow ", 1));
    snap_drop(&town.snap, "shop/cart");
    allow_public();
    town_learn(&town);
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1), "it may still");
    allow_cart();
    town_learn(&town);
    get("/public/%73low");
    cr_assert(app_saw(1, "GET /public/slow ", 2));
    snap_drop(&town.snap, "shop/cart");
    snap_drop(&town.snap, "shop/public");
    (void)allow("other", "/other");
    town_learn(&town);
    cr_expect(got(&call.tap, DENIED, 1), "and now no more");
    cr_expect(LOGGED(&town, "\"why\":\"denied_late\"", "/public/%73low"));
    close_way();
}

Test(settled, one_that_reports_only_is_told_of_each_request_from_then_on)
{
    open_way(as_http, allow_cart);
    serve("/a", 1, 1, 1);
    snap_policy(&town.snap, "watch", POLICY_AUDIT, NULL);
    town_learn(&town);
    serve("/a", 1, 2, 2);
    serve("/a", 1, 3, 3);
    cr_expect_eq(count(METRIC_VERDICTS_AUDITED), 2);
    snap_drop(&town.snap, "shop/watch");
    snap_policy(&town.snap, "trial", POLICY_DENY, NULL)->dry_run = true;
    town_learn(&town);
    serve("/a", 1, 4, 4);
    serve("/a", 1, 5, 5);
    cr_expect_eq(count(METRIC_VERDICTS_WOULD_DENY), 2);
    cr_expect_eq(count(METRIC_VERDICTS_ALLOWED), 5);
    close_way();
}

Test(settled, a_pod_that_left_serves_nobody_whom_it_was_settled_for)
{
    open_way(as_http, allow_cart);
    serve("/a", 1, 1, 1);
    snap_drop(&town.snap, "pay-1");
    town_learn(&town);
    get("/a");
    cr_expect(got(&call.tap, "HTTP/1.1 503 ", 1));
    cr_expect_eq(count(METRIC_VERDICTS_ALLOWED), 1);
    close_way();
}

/* Pointers that nobody follows. */
static struct settled_key key_of(uintptr_t source, uintptr_t destination)
{
    return (struct settled_key){.generation = 1,
                                .source = (const void *)source,
                                .destination = (const void *)destination,
                                .source_ip = {4, {10, 0, 0, 1}},
                                .addr = {{4, {10, 0, 0, 2}}, 80}};
}

Test(settled, every_part_of_a_key_makes_it_another)
{
    const struct settled_key base = key_of(0x10, 0x20);
    struct settled_key others[] = {base, base, base, base, base, base, base};
    others[0].generation = 2;
    others[1].source = (const void *)(uintptr_t)0x30;
    others[2].destination = (const void *)(uintptr_t)0x30;
    others[3].is_proven = true;
    others[4].source_ip.bytes[3] = 9;
    others[5].addr.ip.bytes[3] = 9;
    others[6].addr.port = 81;

    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        static struct settled all[SETTLED_MAX];
        settled_place(all, &base)->settlement = SETTLED_ALLOW;
        cr_expect_eq(settled_place(all, &base)->settlement, SETTLED_ALLOW, "row %zu", i);
        cr_expect_eq(settled_place(all, &others[i])->settlement, SETTLED_NOT, "row %zu", i);
    }
}

Test(settled, who_is_known_by_a_name_alone_has_no_key)
{
    const struct addr addr = {{4, {10, 0, 0, 2}}, 80};
    const struct workload *const known = (const void *)(uintptr_t)0x10;
    const struct principal rows[] = {
        {.id = STR("spiffe://west.example/ns/a/sa/b"), .workload = known},
        {.workload = known},
        {.ip = {4, {10, 0, 0, 1}}},
        {.id = STR("spiffe://west.example/ns/a/sa/b")},
    };
    struct settled_key key;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(settled_key_of(1, known, &rows[i], &addr, &key), i < 3, "row %zu", i);
}
