/* A source that keeps what it is asked, clocks that stand until a test moves them, and one test on
 * the real ones. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "certs/csr.h"
#include "certs/rotation.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/test_ca.h"

static void quiet(void)
{
    log_set_level(LOG_ERROR);
}

TestSuite(rotation, .init = quiet, .timeout = 60);

#define ID_A       "spiffe://td/ns/shop/sa/a"
#define ID_B       "spiffe://td/ns/shop/sa/b"
#define SECOND_NS  ((int64_t)NS_PER_SEC)
#define ASKED_MAX  128
#define EVENTS_MAX 128
#define LIFE_S     1000

struct asked {
    char id[256];
    EVP_PKEY *key; /* of the request */
    bool is_answered;
};

struct event {
    char id[256];
    bool has_svid;
};

struct bench {
    struct loop *loop;
    struct cert_source source;
    struct rotation *rotation;
    struct test_ca *ca;
    int64_t wall_ns;
    uint64_t mono_ns;
    struct asked asked[ASKED_MAX];
    unsigned n_asked, n_cancelled, n_failed;
    struct event events[EVENTS_MAX];
    unsigned n_events;
};

static void on_request(struct cert_source *source, struct str id, struct str csr_pem)
{
    struct bench *bench = container_of(source, struct bench, source);
    struct asked *asked = &bench->asked[bench->n_asked++];
    char named[SPIFFE_ID_MAX + 1];
    const char *why = NULL;

    cr_assert_eq(csr_read(csr_pem, named, &asked->key, &why), 0, "%s", why);
    cr_assert(str_eq(str_from(named), id));
    (void)snprintf(asked->id, sizeof(asked->id), "%.*s", STR_ARG(id));
}

static void on_cancel(struct cert_source *source)
{
    container_of(source, struct bench, source)->n_cancelled++;
}

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    struct bench *bench = owner;
    struct event *event = &bench->events[bench->n_events++];

    (void)snprintf(event->id, sizeof(event->id), "%.*s", STR_ARG(id));
    event->has_svid = svid != NULL;
    cr_assert_eq(svid, rotation_find(bench->rotation, id));
}

static void on_failed(void *owner, struct str id, struct str why)
{
    struct bench *bench = owner;

    cr_assert(id.len > 0 && why.len > 0);
    bench->n_failed++;
}

static int64_t wall(void *owner)
{
    return ((struct bench *)owner)->wall_ns;
}

static uint64_t mono(void *owner)
{
    return ((struct bench *)owner)->mono_ns;
}

static const struct rotation_events events = {.on_svid = on_svid, .on_failed = on_failed};

static struct bench *bench_new(bool has_fake_clock)
{
    static struct bench bench;
    struct rotation_clock clock = {wall, mono, &bench};

    bench = (struct bench){
        .source = {.name = "test", .request = on_request, .cancel_all = on_cancel},
        .wall_ns = clock_wall_ns() / SECOND_NS * SECOND_NS,
        .mono_ns = 1000 * NS_PER_SEC,
    };
    bench.loop = loop_new();
    bench.ca = test_ca_new("td");
    bench.rotation = rotation_new(bench.loop, &bench.source, &events, &bench);
    if (has_fake_clock)
        rotation_use_clock(bench.rotation, &clock);
    return &bench;
}

static void bench_free(struct bench *bench)
{
    rotation_free(bench->rotation);
    for (unsigned i = 0; i < bench->n_asked; i++)
        EVP_PKEY_free(bench->asked[i].key);
    test_ca_free(bench->ca);
    loop_finish(bench->loop);
}

/* Lets time pass on both clocks and the rotation see it. */
static void pass(struct bench *bench, double seconds)
{
    bench->wall_ns += (int64_t)(seconds * 1e9);
    bench->mono_ns += (uint64_t)(seconds * 1e9);
    rotation_check(bench->rotation);
    run_turns(bench->loop, 2);
}

static void settle(struct bench *bench)
{
    run_turns(bench->loop, 2);
}

/* A chain for the request's key: life of LIFE_S from the bench's now unless spec says otherwise. */
static void chain_for(const struct bench *bench, const struct asked *asked, struct test_cert spec,
                      struct text *out)
{
    spec.now_s = bench->wall_ns / SECOND_NS;
    spec.from_s = spec.from_s ? spec.from_s : -1;
    spec.until_s = spec.until_s ? spec.until_s : LIFE_S;
    if (!spec.uris[0].ptr)
        spec.uris[0] = str_from(asked->id);
    if (!spec.public_key)
        spec.public_key = asked->key;
    X509 *leaf = test_ca_mint(bench->ca, &spec, NULL);
    test_cert_pem(leaf, out);
    X509_free(leaf);
}

static void answer_with(struct bench *bench, unsigned idx, struct test_cert spec)
{
    struct text chain = {0};

    cr_assert(idx < bench->n_asked && !bench->asked[idx].is_answered);
    bench->asked[idx].is_answered = true;
    chain_for(bench, &bench->asked[idx], spec, &chain);
    rotation_answer(bench->rotation, str_from(bench->asked[idx].id), text_str(&chain), 0, STR(""));
    text_fini(&chain);
    settle(bench);
}

static void answer(struct bench *bench, unsigned idx)
{
    answer_with(bench, idx, (struct test_cert){0});
}

static void refuse(struct bench *bench, unsigned idx)
{
    bench->asked[idx].is_answered = true;
    rotation_answer(bench->rotation, str_from(bench->asked[idx].id), STR(""), -ERR_UNREACHABLE,
                    STR("the CA is away"));
    settle(bench);
}

static void hold(struct bench *bench, const char *id)
{
    rotation_want(bench->rotation, str_from(id));
    settle(bench);
    answer(bench, bench->n_asked - 1);
    cr_assert_not_null(rotation_find(bench->rotation, str_from(id)));
}

static struct rotation_status status_of(const struct bench *bench, const char *id)
{
    struct rotation_status status;
    size_t idx = 0;

    while (rotation_next(bench->rotation, &idx, &status))
        if (str_eq(status.id, str_from(id)))
            return status;
    return (struct rotation_status){.state = "none"};
}

static struct svid *offer_of(const struct bench *bench, const char *id, int64_t from_s,
                             int64_t until_s)
{
    struct test_cert spec = {.uris = {str_from(id)},
                             .now_s = bench->wall_ns / SECOND_NS,
                             .from_s = from_s,
                             .until_s = until_s};
    EVP_PKEY *key = NULL;
    X509 *leaf = test_ca_mint(bench->ca, &spec, &key);
    struct text chain = {0}, why = {0};
    struct svid *svid = NULL;

    test_cert_pem(leaf, &chain);
    cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
    text_fini(&chain);
    X509_free(leaf);
    EVP_PKEY_free(key);
    return svid;
}

Test(rotation, asks_for_a_wanted_identity_and_holds_the_answer)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    cr_assert_eq(bench->n_asked, 0, "not out of the call");
    cr_assert_not(rotation_is_complete(bench->rotation));
    settle(bench);
    cr_assert_eq(bench->n_asked, 1);
    cr_assert_str_eq(status_of(bench, ID_A).state, "requested");

    answer(bench, 0);
    cr_assert_eq(bench->n_events, 1);
    cr_assert(bench->events[0].has_svid);
    cr_assert_str_eq(bench->events[0].id, ID_A);
    cr_assert(rotation_is_complete(bench->rotation));
    struct rotation_status status = status_of(bench, ID_A);
    cr_assert_str_eq(status.state, "held");
    cr_assert_eq(status.not_after_ns, bench->wall_ns + LIFE_S * SECOND_NS);
    cr_assert(status.serial.len > 0 && status.last_error.len == 0);
    pass(bench, 100);
    cr_assert_eq(bench->n_asked, 1);
    bench_free(bench);
}

Test(rotation, counts_wants_and_forgets_after_the_last_unwant)
{
    struct bench *bench = bench_new(true);

    hold(bench, ID_A);
    rotation_want(bench->rotation, STR(ID_A));
    rotation_unwant(bench->rotation, STR(ID_A));
    settle(bench);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 1);

    rotation_unwant(bench->rotation, STR(ID_A));
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    settle(bench);
    cr_assert_eq(bench->n_events, 2);
    cr_assert_not(bench->events[1].has_svid);
    cr_assert_str_eq(status_of(bench, ID_A).state, "none");
    bench_free(bench);
}

Test(rotation, an_identity_wanted_again_in_the_same_turn_keeps_its_svid)
{
    struct bench *bench = bench_new(true);

    hold(bench, ID_A);
    struct svid *before = rotation_find(bench->rotation, STR(ID_A));
    rotation_unwant(bench->rotation, STR(ID_A));
    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
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
    settle(bench);
    cr_assert_eq(bench->n_asked, ROTATION_IN_FLIGHT);
    answer(bench, 3);
    cr_assert_eq(bench->n_asked, ROTATION_IN_FLIGHT + 1);
    refuse(bench, 7);
    cr_assert_eq(bench->n_asked, ROTATION_IN_FLIGHT + 2);
    for (unsigned i = 0; i < bench->n_asked; i++)
        if (!bench->asked[i].is_answered)
            answer(bench, i);
    cr_assert_eq(bench->n_asked, 40);
    bench_free(bench);
}

Test(rotation, backs_off_from_1_s_to_150_s_with_jitter)
{
    struct bench *bench = bench_new(true);
    double floor_s = 1.0, longest_s = 0;

    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
    for (unsigned i = 0; i < 12; i++) {
        double waited_s = 0;

        refuse(bench, i);
        cr_assert_eq(bench->n_failed, i + 1);
        cr_assert(str_eq(status_of(bench, ID_A).last_error, STR("the CA is away")));
        while (bench->n_asked == i + 1 && waited_s < 1000) {
            pass(bench, 0.25);
            waited_s += 0.25;
        }
        double top_s = floor_s * 2 < 150 ? floor_s * 2 : 150;
        cr_assert(waited_s >= top_s / 2 && waited_s <= top_s + 0.25, "failure %u: %g s", i + 1,
                  waited_s);
        longest_s = waited_s > longest_s ? waited_s : longest_s;
        floor_s *= 2;
    }
    cr_assert(longest_s > 75);
    answer(bench, 12);
    cr_assert_eq(status_of(bench, ID_A).last_error.len, 0);

    /* A success starts it over. */
    pass(bench, LIFE_S * 0.56);
    refuse(bench, 13);
    pass(bench, 2.25);
    cr_assert_eq(bench->n_asked, 15);
    bench_free(bench);
}

Test(rotation, asks_at_once_when_the_source_is_back)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
    refuse(bench, 0);
    cr_assert_eq(bench->n_asked, 1);
    rotation_retry_now(bench->rotation);
    settle(bench);
    cr_assert_eq(bench->n_asked, 2);
    bench_free(bench);
}

Test(rotation, renews_at_half_life_and_keeps_the_old_one_meanwhile)
{
    struct bench *bench = bench_new(true);

    hold(bench, ID_A);
    struct svid *old = svid_ref(rotation_find(bench->rotation, STR(ID_A)));
    pass(bench, LIFE_S * 0.44);
    cr_assert_eq(bench->n_asked, 1);
    pass(bench, LIFE_S * 0.12);
    cr_assert_eq(bench->n_asked, 2);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), old);
    cr_assert_eq(bench->n_events, 1);

    answer(bench, 1);
    cr_assert_neq(rotation_find(bench->rotation, STR(ID_A)), old);
    cr_assert_eq(bench->n_events, 2);
    cr_assert_neq(EVP_PKEY_eq(rotation_find(bench->rotation, STR(ID_A))->key, old->key), 1);
    svid_unref(old);
    pass(bench, LIFE_S * 0.44);
    cr_assert_eq(bench->n_asked, 2);
    bench_free(bench);
}

Test(rotation, keeps_the_old_one_until_it_expires_and_not_longer)
{
    struct bench *bench = bench_new(true);

    hold(bench, ID_A);
    pass(bench, LIFE_S * 0.56);
    refuse(bench, 1);
    pass(bench, LIFE_S * 0.43);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_events, 1);

    pass(bench, LIFE_S * 0.02);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_events, 2);
    cr_assert_not(bench->events[1].has_svid);
    cr_assert_not(rotation_is_complete(bench->rotation));
    answer(bench, bench->n_asked - 1);
    cr_assert(rotation_is_complete(bench->rotation));
    bench_free(bench);
}

/* With 150 s of backoff an SVID of a few minutes would run out between two attempts. */
Test(rotation, tries_sooner_when_the_svid_in_hand_runs_out)
{
    struct bench *bench = bench_new(true);
    unsigned n_before;

    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
    answer_with(bench, 0, (struct test_cert){.until_s = 200});
    pass(bench, 115);
    n_before = bench->n_asked;
    cr_assert_eq(n_before, 2);
    for (int second = 0; second < 84; second++) {
        if (!bench->asked[bench->n_asked - 1].is_answered)
            refuse(bench, bench->n_asked - 1);
        pass(bench, 1);
    }
    cr_assert(bench->n_asked > n_before + 6, "%u", bench->n_asked);
    bench_free(bench);
}

Test(rotation, a_request_in_flight_outlives_the_want_and_serves_the_next)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    rotation_want(bench->rotation, STR(ID_B));
    settle(bench);
    rotation_unwant(bench->rotation, STR(ID_A));
    rotation_unwant(bench->rotation, STR(ID_B));
    settle(bench);
    cr_assert_str_eq(status_of(bench, ID_A).state, "none");
    rotation_want(bench->rotation, STR(ID_B));
    settle(bench);
    cr_assert_eq(bench->n_asked, 2);

    answer(bench, 0);
    answer(bench, 1);
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
        {.public_key = other}, {.from_s = -4000, .until_s = -2},
        {.is_ca = true},       {.uris = {STR(ID_A), STR(ID_B)}},
    };

    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        answer_with(bench, i, bad[i]);
        cr_assert_eq(bench->n_failed, i + 1, "answer %u", i);
        cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
        cr_assert(status_of(bench, ID_A).last_error.len > 0);
        rotation_retry_now(bench->rotation);
        settle(bench);
        cr_assert_eq(bench->n_asked, i + 2);
    }
    rotation_answer(bench->rotation, STR(ID_A), STR("junk"), 0, STR(""));
    settle(bench);
    cr_assert_eq(bench->n_failed, ARRAY_LEN(bad) + 1);
    cr_assert_eq(bench->n_events, 0);
    EVP_PKEY_free(other);
    bench_free(bench);
}

Test(rotation, uses_an_svid_from_the_disk)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    struct svid *svid = offer_of(bench, ID_A, -1, LIFE_S);
    rotation_offer(bench->rotation, svid);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), svid);
    settle(bench);
    cr_assert_eq(bench->n_asked, 0);
    cr_assert_eq(bench->n_events, 1);
    cr_assert(rotation_is_complete(bench->rotation));
    bench_free(bench);
}

Test(rotation, uses_an_svid_past_its_half_and_renews_it_at_once)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    rotation_offer(bench->rotation, offer_of(bench, ID_A, -LIFE_S, 100));
    settle(bench);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 1);
    refuse(bench, 0);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    bench_free(bench);
}

Test(rotation, takes_an_offer_only_if_wanted_and_fresher)
{
    struct bench *bench = bench_new(true);

    rotation_offer(bench->rotation, offer_of(bench, ID_B, -1, LIFE_S));
    settle(bench);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_B)));
    cr_assert_eq(bench->n_events, 0);

    hold(bench, ID_A);
    struct svid *held = rotation_find(bench->rotation, STR(ID_A));
    rotation_offer(bench->rotation, offer_of(bench, ID_A, -10, 10 * LIFE_S));
    settle(bench);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), held);
    cr_assert_eq(bench->n_events, 1);
    bench_free(bench);
}

Test(rotation, asks_first_for_those_that_have_nothing)
{
    struct bench *bench = bench_new(true);
    char id[64];

    hold(bench, ID_A);
    for (int i = 0; i < ROTATION_IN_FLIGHT; i++) {
        (void)snprintf(id, sizeof(id), "spiffe://td/x/%d", i);
        rotation_want(bench->rotation, str_from(id));
    }
    pass(bench, LIFE_S * 0.56);
    cr_assert_eq(bench->n_asked, 1 + ROTATION_IN_FLIGHT);
    for (unsigned i = 1; i < bench->n_asked; i++)
        cr_assert_str_neq(bench->asked[i].id, ID_A);
    answer(bench, 1);
    cr_assert_str_eq(bench->asked[bench->n_asked - 1].id, ID_A);
    bench_free(bench);
}

Test(rotation, does_not_spin_on_a_ca_that_hands_out_old_certificates)
{
    struct bench *bench = bench_new(true);
    struct test_cert old = {.from_s = -LIFE_S, .until_s = 500};

    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
    answer_with(bench, 0, old);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 1);
    pass(bench, 224);
    cr_assert_eq(bench->n_asked, 1);
    pass(bench, 52);
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
                refuse(bench, last);
            else
                answer_with(bench, last,
                            (struct test_cert){.from_s = -backdate_s, .until_s = life_s});
            n_answered += bench->asked[last].is_answered;
        }
        pass(bench, step);
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
            settle(bench);
            answer_with(bench, 0,
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
        settle(bench);
        answer_with(bench, 0, (struct test_cert){.from_s = -60, .until_s = lives_s[i]});
        live(bench, lives_s[i], 60, true);
        bench_free(bench);
    }
}

Test(rotation, sees_a_jump_of_the_wall_clock) /* R8 */
{
    struct bench *bench = bench_new(true);

    hold(bench, ID_A);
    pass(bench, 10);
    bench->wall_ns += 2 * LIFE_S * SECOND_NS;
    rotation_check(bench->rotation);
    settle(bench);
    cr_assert_null(rotation_find(bench->rotation, STR(ID_A)));
    cr_assert_eq(bench->n_asked, 2);
    cr_assert_not(bench->events[1].has_svid);
    bench_free(bench);
}

Test(rotation, cancels_what_is_in_flight_at_its_end)
{
    struct bench *bench = bench_new(true);

    rotation_want(bench->rotation, STR(ID_A));
    settle(bench);
    bench_free(bench);
    cr_assert_eq(bench->n_cancelled, 1);
}

/* The only test that waits, for the shortest backoff there is: the timer must fire by itself. */
Test(rotation, its_own_timer_makes_the_next_attempt)
{
    struct bench *bench = bench_new(false);

    rotation_want(bench->rotation, STR(ID_A));
    cr_assert(run_until_count(bench->loop, &bench->n_asked, 1, 1000));
    refuse(bench, 0);
    cr_assert_eq(bench->n_asked, 1);
    cr_assert(run_until_count(bench->loop, &bench->n_asked, 2, 5000));
    bench_free(bench);
}

/* ---- a source that gives by itself ---- */

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
    settle(bench);
    cr_assert_eq(n_followed, 1);
    return bench;
}

static void give(struct bench *bench, int64_t from_s, int64_t until_s)
{
    rotation_give(bench->rotation, STR(ID_A), offer_of(bench, ID_A, from_s, until_s));
    settle(bench);
}

Test(rotation, holds_what_a_source_gives_by_itself_and_forgets_with_the_last_want)
{
    struct bench *bench = giving_bench();

    cr_assert_str_eq(status_of(bench, ID_A).state, "followed");
    give(bench, -1, LIFE_S);
    cr_assert_eq(bench->n_events, 1);
    cr_assert_str_eq(status_of(bench, ID_A).state, "held");
    cr_assert_str_eq(status_of(bench, ID_A).source, "test");
    pass(bench, LIFE_S * 0.8);
    cr_assert_eq(bench->n_asked, 0, "nobody asks a source that gives by itself");

    rotation_unwant(bench->rotation, STR(ID_A));
    settle(bench);
    cr_assert_eq(n_forgotten, 1);
    cr_assert_not(bench->events[bench->n_events - 1].has_svid);
    cr_assert_str_eq(status_of(bench, ID_A).state, "none");
    bench_free(bench);
}

Test(rotation, takes_a_given_svid_though_it_is_older_but_not_twice)
{
    struct bench *bench = giving_bench();
    struct svid *older = offer_of(bench, ID_A, -100, LIFE_S);

    give(bench, -1, LIFE_S);
    rotation_give(bench->rotation, STR(ID_A), svid_ref(older));
    settle(bench);
    cr_assert_eq(rotation_find(bench->rotation, STR(ID_A)), older);
    cr_assert_eq(bench->n_events, 2);
    rotation_give(bench->rotation, STR(ID_A), older);
    settle(bench);
    cr_assert_eq(bench->n_events, 2, "the same certificate is no news");
    bench_free(bench);
}

Test(rotation, keeps_what_was_given_while_the_source_is_away_until_it_expires)
{
    struct bench *bench = giving_bench();

    give(bench, -1, LIFE_S);
    rotation_fail(bench->rotation, STR(ID_A), STR("the agent is away"), false);
    rotation_fail(bench->rotation, STR(ID_A), STR("the agent is away"), false);
    settle(bench);
    cr_assert_eq(bench->n_failed, 1, "the same trouble is told once");
    cr_assert(str_eq(status_of(bench, ID_A).last_error, STR("the agent is away")));
    pass(bench, LIFE_S - 10);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)));
    pass(bench, 11);
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
    settle(bench);
    cr_assert_eq(bench->n_events, 2);
    cr_assert_not(bench->events[1].has_svid);
    give(bench, -1, LIFE_S);
    cr_assert_not_null(rotation_find(bench->rotation, STR(ID_A)), "and takes the next one");
    bench_free(bench);
}
