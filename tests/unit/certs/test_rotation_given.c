/* A source that gives by itself. */
#include <criterion/criterion.h>

#include "proxy/base/log.h"
#include "rotation_kit.h"

static void quiet(void)
{
    log_set_level(LOG_ERROR);
}

TestSuite(rotation, .init = quiet, .timeout = 60);

static unsigned n_followed, n_forgotten;

static void on_follow(struct cert_source *source, struct str key)
{
    (void)source;
    cr_assert(str_eq(key, STR(ID_A)));
    n_followed++;
}

static void on_forget(struct cert_source *source, struct str key)
{
    (void)source;
    cr_assert(str_eq(key, STR(ID_A)));
    n_forgotten++;
}

static struct bench *giving_bench(void)
{
    struct bench *bench = bench_new(true);

    n_followed = n_forgotten = 0;
    bench->source.request = NULL;
    bench->source.follow = on_follow;
    bench->source.forget = on_forget;
    rotation_want(bench->rotation, STR(ID_A));
    cr_assert_eq(n_followed, 0, "not out of the call");
    bench_settle(bench);
    cr_assert_eq(n_followed, 1);
    return bench;
}

static void give(struct bench *bench, int64_t from_s, int64_t until_s)
{
    rotation_give(bench->rotation, STR(ID_A), bench_offer(bench, ID_A, from_s, until_s));
    bench_settle(bench);
}

Test(rotation, holds_what_a_source_gives_by_itself_and_forgets_with_the_last_want)
{
    struct bench *bench = giving_bench();

    cr_assert_str_eq(bench_status(bench, ID_A).state, "followed");
    give(bench, -1, LIFE_S);
    cr_assert_eq(bench->n_events, 1);
    cr_assert_str_eq(bench_status(bench, ID_A).state, "held");
    cr_assert_str_eq(bench_status(bench, ID_A).source, "test");
    bench_pass(bench, LIFE_S * 0.8);
    cr_assert_eq(bench->n_asked, 0, "nobody asks a source that gives by itself");

    rotation_unwant(bench->rotation, STR(ID_A));
    bench_settle(bench);
    cr_assert_eq(n_forgotten, 1);
    cr_assert_not(bench->events[bench->n_events - 1].has_svid);
    cr_assert_str_eq(bench_status(bench, ID_A).state, "none");
    bench_free(bench);
}

Test(rotation, takes_a_given_svid_though_it_is_older_but_not_twice)
{
    struct bench *bench = giving_bench();
    struct svid *older = bench_offer(bench, ID_A, -100, LIFE_S);

    give(bench, -1, LIFE_S);
    rotation_give(bench->rotation, STR(ID_A), svid_ref(older));
    bench_settle(bench);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), older);
    cr_assert_eq(bench->n_events, 2);
    rotation_give(bench->rotation, STR(ID_A), older);
    bench_settle(bench);
    cr_assert_eq(bench->n_events, 2, "the same certificate is no news");
    bench_free(bench);
}

Test(rotation, keeps_what_was_given_while_the_source_is_away_until_it_expires)
{
    struct bench *bench = giving_bench();

    give(bench, -1, LIFE_S);
    rotation_fail(bench->rotation, STR(ID_A), STR("the agent is away"), false);
    rotation_fail(bench->rotation, STR(ID_A), STR("the agent is away"), false);
    bench_settle(bench);
    cr_assert_eq(bench->n_failed, 1, "the same trouble is told once");
    cr_assert(str_eq(bench_status(bench, ID_A).last_error, STR("the agent is away")));
    bench_pass(bench, LIFE_S - 10);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    bench_pass(bench, 11);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_not(bench->events[bench->n_events - 1].has_svid);
    bench_free(bench);
}

Test(rotation, drops_what_is_withdrawn_at_once)
{
    struct bench *bench = giving_bench();

    give(bench, -1, LIFE_S);
    rotation_fail(bench->rotation, STR(ID_A), STR("withdrawn"), true);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    bench_settle(bench);
    cr_assert_eq(bench->n_events, 2);
    cr_assert_not(bench->events[1].has_svid);
    give(bench, -1, LIFE_S);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)), "and takes the next one");
    bench_free(bench);
}
