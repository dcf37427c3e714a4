/* What a rotation asks its source for, and when. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "rotation_kit.h"

static void quiet(void)
{
    log_set_level(LOG_ERROR);
}

TestSuite(rotation, .init = quiet, .timeout = 60);

Test(rotation, asks_for_a_wanted_identity_and_holds_the_answer)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    cr_assert_eq(bench->n_asked, 0, "not out of the call");
    cr_assert_not(rotation_is_complete(bench->rotation));
    bench_settle(bench);
    cr_assert_eq(bench->n_asked, 1);
    cr_assert_str_eq(bench_status(bench, ID_A).state, "requested");

    bench_answer(bench, 0);
    cr_assert_eq(bench->n_events, 1);
    cr_assert(bench->events[0].has_svid);
    cr_assert_str_eq(bench->events[0].id, ID_A);
    cr_assert(rotation_is_complete(bench->rotation));
    struct rotation_status status = bench_status(bench, ID_A);
    cr_assert_str_eq(status.state, "held");
    cr_assert_eq(status.not_after_ns, bench->wall_ns + LIFE_S * SECOND_NS);
    cr_assert(status.serial.len > 0 && status.last_error.len == 0);
    bench_pass(bench, 100);
    cr_assert_eq(bench->n_asked, 1);
    bench_free(bench);
}

Test(rotation, counts_wants_and_forgets_after_the_last_unwant)
{
    struct bench *bench = bench_new(true);

    bench_hold(bench, ID_A);
    rotation_want(bench->rotation, STR(ID_A));
    rotation_unwant(bench->rotation, STR(ID_A));
    bench_settle(bench);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 1);

    rotation_unwant(bench->rotation, STR(ID_A));
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    bench_settle(bench);
    cr_assert_eq(bench->n_events, 2);
    cr_assert_not(bench->events[1].has_svid);
    cr_assert_str_eq(bench_status(bench, ID_A).state, "none");
    bench_free(bench);
}

Test(rotation, an_identity_wanted_again_in_the_same_turn_keeps_its_svid)
{
    struct bench *bench = bench_new(true);

    bench_hold(bench, ID_A);
    struct svid *before = rotation_find(bench->rotation, STR(ID_A));
    rotation_unwant(bench->rotation, STR(ID_A));
    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), before);
    cr_assert_eq(bench->n_events, 1);
    cr_assert_eq(bench->n_asked, 1);
    bench_free(bench);
}

Test(rotation, has_at_most_16_requests_in_flight)
{
    struct bench *bench = bench_new(true);
    char id[64];

    for (int i = 0; i < 40; i++) {
        (void)snprintf(id, sizeof(id), "spiffe://td/x/%d", i);
        rotation_want(bench->rotation, str_from(id));
    }
    bench_settle(bench);
    cr_assert_eq(bench->n_asked, ROTATION_IN_FLIGHT);
    bench_answer(bench, 3);
    cr_assert_eq(bench->n_asked, ROTATION_IN_FLIGHT + 1);
    bench_refuse(bench, 7);
    cr_assert_eq(bench->n_asked, ROTATION_IN_FLIGHT + 2);
    for (unsigned i = 0; i < bench->n_asked; i++)
        if (!bench->asked[i].is_answered)
            bench_answer(bench, i);
    cr_assert_eq(bench->n_asked, 40);
    bench_free(bench);
}

Test(rotation, backs_off_from_1_s_to_150_s_with_jitter)
{
    struct bench *bench = bench_new(true);
    double floor_s = 1.0, longest_s = 0;

    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    for (unsigned i = 0; i < 12; i++) {
        double waited_s = 0;

        bench_refuse(bench, i);
        cr_assert_eq(bench->n_failed, i + 1);
        cr_assert(str_eq(bench_status(bench, ID_A).last_error, STR("the CA is away")));
        while (bench->n_asked == i + 1 && waited_s < 1000) {
            bench_pass(bench, 0.25);
            waited_s += 0.25;
        }
        double top_s = floor_s * 2 < 150 ? floor_s * 2 : 150;
        cr_assert(waited_s >= top_s / 2 && waited_s <= top_s + 0.25, "failure %u: %g s", i + 1,
                  waited_s);
        longest_s = waited_s > longest_s ? waited_s : longest_s;
        floor_s *= 2;
    }
    cr_assert(longest_s > 75);
    bench_answer(bench, 12);
    cr_assert_eq(bench_status(bench, ID_A).last_error.len, 0);

    /* A success starts it over. */
    bench_pass(bench, LIFE_S * 0.56);
    bench_refuse(bench, 13);
    bench_pass(bench, 2.25);
    cr_assert_eq(bench->n_asked, 15);
    bench_free(bench);
}

Test(rotation, asks_at_once_when_the_source_is_back)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    bench_refuse(bench, 0);
    cr_assert_eq(bench->n_asked, 1);
    rotation_retry_now(bench->rotation);
    bench_settle(bench);
    cr_assert_eq(bench->n_asked, 2);
    bench_free(bench);
}

Test(rotation, renews_at_half_life_and_keeps_the_old_one_meanwhile)
{
    struct bench *bench = bench_new(true);

    bench_hold(bench, ID_A);
    struct svid *old = svid_ref(rotation_find(bench->rotation, STR(ID_A)));
    bench_pass(bench, LIFE_S * 0.44);
    cr_assert_eq(bench->n_asked, 1);
    bench_pass(bench, LIFE_S * 0.12);
    cr_assert_eq(bench->n_asked, 2);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), old);
    cr_assert_eq(bench->n_events, 1);

    bench_answer(bench, 1);
    cr_assert_neq(rotation_find(bench->rotation, STR(ID_A)), old);
    cr_assert_eq(bench->n_events, 2);
    cr_assert_neq(EVP_PKEY_eq(rotation_find(bench->rotation, STR(ID_A))->key, old->key), 1);
    svid_unref(old);
    bench_pass(bench, LIFE_S * 0.44);
    cr_assert_eq(bench->n_asked, 2);
    bench_free(bench);
}

Test(rotation, keeps_the_old_one_until_it_expires_and_not_longer)
{
    struct bench *bench = bench_new(true);

    bench_hold(bench, ID_A);
    bench_pass(bench, LIFE_S * 0.56);
    bench_refuse(bench, 1);
    bench_pass(bench, LIFE_S * 0.43);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_events, 1);

    bench_pass(bench, LIFE_S * 0.02);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_events, 2);
    cr_assert_not(bench->events[1].has_svid);
    cr_assert_not(rotation_is_complete(bench->rotation));
    bench_answer(bench, bench->n_asked - 1);
    cr_assert(rotation_is_complete(bench->rotation));
    bench_free(bench);
}

/* With 150 s of backoff an SVID of a few minutes would run out between two attempts. */
Test(rotation, tries_sooner_when_the_svid_in_hand_runs_out)
{
    struct bench *bench = bench_new(true);
    unsigned n_before;

    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    bench_answer_with(bench, 0, (struct test_cert){.until_s = 200});
    bench_pass(bench, 115);
    n_before = bench->n_asked;
    cr_assert_eq(n_before, 2);
    for (int second = 0; second < 84; second++) {
        if (!bench->asked[bench->n_asked - 1].is_answered)
            bench_refuse(bench, bench->n_asked - 1);
        bench_pass(bench, 1);
    }
    cr_assert(bench->n_asked > n_before + 6, "%u", bench->n_asked);
    bench_free(bench);
}

Test(rotation, a_request_in_flight_outlives_the_want_and_serves_the_next)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    rotation_want(bench->rotation, STR(ID_B));
    bench_settle(bench);
    rotation_unwant(bench->rotation, STR(ID_A));
    rotation_unwant(bench->rotation, STR(ID_B));
    bench_settle(bench);
    cr_assert_str_eq(bench_status(bench, ID_A).state, "none");
    rotation_want(bench->rotation, STR(ID_B));
    bench_settle(bench);
    cr_assert_eq(bench->n_asked, 2);

    bench_answer(bench, 0);
    bench_answer(bench, 1);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_B)));
    cr_assert_eq(bench->n_events, 1);
    cr_assert_str_eq(bench->events[0].id, ID_B);
    bench_free(bench);
}

Test(rotation, refuses_answers_that_are_no_good)
{
    struct bench *bench = bench_new(true);
    EVP_PKEY *other = test_key_new(NULL);
    const struct test_cert bad[] = {
        {.uris = {STR(ID_B)}}, {.uris = {STR("spiffe://td/ns/shop/sa/aa")}},
        {.public_key = other}, {.from_s = -4000, .until_s = -AHEAD_S - 2},
        {.is_ca = true},       {.uris = {STR(ID_A), STR(ID_B)}},
    };

    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        bench_answer_with(bench, i, bad[i]);
        cr_assert_eq(bench->n_failed, i + 1, "answer %u", i);
        cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
        cr_assert(bench_status(bench, ID_A).last_error.len > 0);
        rotation_retry_now(bench->rotation);
        bench_settle(bench);
        cr_assert_eq(bench->n_asked, i + 2);
    }
    rotation_answer(bench->rotation, STR(ID_A), STR("junk"), 0, STR(""));
    bench_settle(bench);
    cr_assert_eq(bench->n_failed, ARRAY_LEN(bad) + 1);
    cr_assert_eq(bench->n_events, 0);
    EVP_PKEY_free(other);
    bench_free(bench);
}

Test(rotation, uses_an_svid_from_the_disk)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    struct svid *svid = bench_offer(bench, ID_A, -1, LIFE_S);
    rotation_offer(bench->rotation, svid);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), svid);
    bench_settle(bench);
    cr_assert_eq(bench->n_asked, 0);
    cr_assert_eq(bench->n_events, 1);
    cr_assert(rotation_is_complete(bench->rotation));
    bench_free(bench);
}

Test(rotation, uses_an_svid_past_its_half_and_renews_it_at_once)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    rotation_offer(bench->rotation, bench_offer(bench, ID_A, -LIFE_S, 100));
    bench_settle(bench);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 1);
    bench_refuse(bench, 0);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    bench_free(bench);
}

Test(rotation, takes_an_offer_only_if_wanted_and_fresher)
{
    struct bench *bench = bench_new(true);

    rotation_offer(bench->rotation, bench_offer(bench, ID_B, -1, LIFE_S));
    bench_settle(bench);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_B)));
    cr_assert_eq(bench->n_events, 0);

    bench_hold(bench, ID_A);
    struct svid *held = rotation_find(bench->rotation, STR(ID_A));
    rotation_offer(bench->rotation, bench_offer(bench, ID_A, -10, 10 * LIFE_S));
    bench_settle(bench);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), held);
    cr_assert_eq(bench->n_events, 1);
    bench_free(bench);
}

Test(rotation, asks_first_for_those_that_have_nothing)
{
    struct bench *bench = bench_new(true);
    char id[64];

    bench_hold(bench, ID_A);
    for (int i = 0; i < ROTATION_IN_FLIGHT; i++) {
        (void)snprintf(id, sizeof(id), "spiffe://td/x/%d", i);
        rotation_want(bench->rotation, str_from(id));
    }
    bench_pass(bench, LIFE_S * 0.56);
    cr_assert_eq(bench->n_asked, 1 + ROTATION_IN_FLIGHT);
    for (unsigned i = 1; i < bench->n_asked; i++)
        cr_assert_str_neq(bench->asked[i].id, ID_A);
    bench_answer(bench, 1);
    cr_assert_str_eq(bench->asked[bench->n_asked - 1].id, ID_A);
    bench_free(bench);
}

Test(rotation, does_not_spin_on_a_ca_that_hands_out_old_certificates)
{
    struct bench *bench = bench_new(true);
    struct test_cert old = {.from_s = -LIFE_S, .until_s = 500};

    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    bench_answer_with(bench, 0, old);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 1);
    bench_pass(bench, 224);
    cr_assert_eq(bench->n_asked, 1);
    bench_pass(bench, 52);
    cr_assert_eq(bench->n_asked, 2, "half of what was left");
    bench_free(bench);
}

/* Lets lives pass under a CA that answers at once, or only every third time. */
static void live(struct bench *bench, int64_t life_s, int64_t backdate_s, bool is_flaky)
{
    const double step = (double)life_s / 200;
    unsigned n_first = bench->n_asked, n_answered = 0;

    for (unsigned i = 0; i < 200 * 10 && bench->n_asked < ASKED_MAX; i++) {
        const unsigned last = bench->n_asked - 1;

        if (bench->n_asked > n_first && !bench->asked[last].is_answered) {
            if (is_flaky && bench->n_asked % 3 != 0)
                bench_refuse(bench, last);
            else
                bench_answer_with(bench, last,
                                  (struct test_cert){.from_s = -backdate_s, .until_s = life_s});
            n_answered += bench->asked[last].is_answered;
        }
        bench_pass(bench, step);
        cr_assert(rotation_find(bench->rotation, STR(ID_A)),
                  "%lld s of life, dated back %lld s, flaky %d: lost after %u steps",
                  (long long)life_s, (long long)backdate_s, is_flaky, i);
    }
    cr_assert_geq(n_answered, 9, "%lld s: it was renewed in every life", (long long)life_s);
    if (!is_flaky)
        cr_assert_leq(n_answered, 24, "%lld s, dated back %lld s: %u requests in ten lives",
                      (long long)life_s, (long long)backdate_s, n_answered);
}

/* R1: the CA of ours dates back 60 s, so the half of a life of minutes is over soon, or at once. */
Test(rotation, R1_a_short_life_is_renewed_in_time_and_not_again_and_again)
{
    static const int64_t lives_s[] = {4, 8, 20, 60, 120, 300, 3600};
    static const int64_t backdates_s[] = {1, 60};

    for (size_t i = 0; i < ARRAY_LEN(lives_s); i++)
        for (size_t k = 0; k < ARRAY_LEN(backdates_s); k++) {
            struct bench *bench = bench_new(true);

            rotation_want(bench->rotation, STR(ID_A));
            bench_settle(bench);
            bench_answer_with(bench, 0,
                              (struct test_cert){.from_s = -backdates_s[k], .until_s = lives_s[i]});
            live(bench, lives_s[i], backdates_s[k], false);
            bench_free(bench);
        }
}

Test(rotation, R1_a_short_life_outlasts_a_source_that_fails_two_times_of_three)
{
    static const int64_t lives_s[] = {30, 60, 120, 300, 3600};

    for (size_t i = 0; i < ARRAY_LEN(lives_s); i++) {
        struct bench *bench = bench_new(true);

        rotation_want(bench->rotation, STR(ID_A));
        bench_settle(bench);
        bench_answer_with(bench, 0, (struct test_cert){.from_s = -60, .until_s = lives_s[i]});
        live(bench, lives_s[i], 60, true);
        bench_free(bench);
    }
}

Test(rotation, sees_a_jump_of_the_wall_clock) /* R8 */
{
    struct bench *bench = bench_new(true);

    bench_hold(bench, ID_A);
    bench_pass(bench, 10);
    bench->wall_ns += 2 * LIFE_S * SECOND_NS;
    rotation_check(bench->rotation);
    bench_settle(bench);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 2);
    cr_assert_not(bench->events[1].has_svid);
    bench_free(bench);
}

Test(rotation, cancels_what_is_in_flight_at_its_end)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    bench_settle(bench);
    bench_free(bench);
    cr_assert_eq(bench->n_cancelled, 1);
}

/* The only test that waits, for the shortest backoff there is: the timer must fire by itself. */
Test(rotation, its_own_timer_makes_the_next_attempt)
{
    struct bench *bench = bench_new(false);

    rotation_want(bench->rotation, STR(ID_A));
    cr_assert(run_until_count(bench->loop, &bench->n_asked, 1, 10000));
    bench_refuse(bench, 0);
    cr_assert(run_until_count(bench->loop, &bench->n_asked, 2, 5000));
    bench_free(bench);
}
