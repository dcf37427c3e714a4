#include <criterion/criterion.h>

#include "far.h"
#include "proxy/base/clock.h"

TestSuite(tunnel, .timeout = 60);

static struct near near;

Test(tunnel, is_released_when_it_was_idle_for_its_time)
{
    static const struct connector_options options = {.idle_ns = 60 * NS_PER_MS};
    near_open(&near, &options);
    struct attempt first = {0}, second = {0};
    const struct connect_request request = near_request();
    attempt_start(&first, &near, &request);
    cr_assert(attempt_wait(&first));
    const uint64_t started_ns = clock_mono_ns();
    while (clock_mono_ns() - started_ns < 120 * NS_PER_MS)
        run_turns(near.world.loop, 1);
    cr_expect_eq(near.far.n_lost, 0, "a tunnel with a stream is not idle");

    attempt_end(&first);
    cr_expect(far_has_lost(&near.far, 1));
    cr_expect_eq(pool_tunnels(connector_pool(near.connector)), 0);
    attempt_start(&second, &near, &request);

    cr_expect(attempt_wait(&second));
    cr_expect_eq(near.far.n_accepted, 2);
    attempt_end(&second);
    near_close(&near);
}

/* ID_A for a few seconds. */
static struct tls_identity *brief_identity(void)
{
    const struct test_cert spec = {.uris = {STR(ID_A)}, .until_s = 4};
    EVP_PKEY *key;
    X509 *leaf = test_ca_mint(near.world.west, &spec, &key);
    struct text pem = {0}, why = {0};
    struct svid *svid;
    struct tls_identity *brief;
    test_cert_pem(leaf, &pem);
    cr_assert_eq(svid_from_chain(text_str(&pem), key, &svid, &why), 0, "%s", why.ptr);
    cr_assert_eq(tls_identity_new(svid, &brief), 0);
    svid_unref(svid);
    EVP_PKEY_free(key);
    X509_free(leaf);
    text_fini(&pem);
    text_fini(&why);
    return brief;
}

/* It has a flow through a tunnel; where the machine stood still until the certificate was over, by
 * another. What it is in, to be freed behind it. */
static struct tls_set *flow_briefly(struct attempt *first, struct tls_identity **out_brief)
{
    const struct connect_request request = near_request();
    for (;;) {
        struct tls_identity *brief = brief_identity();
        struct tls_set *set = tls_set_new(2, near.world.trust);
        tls_set_add(set, brief);
        near.set_now = set;
        *first = (struct attempt){0};
        attempt_start(first, &near, &request);
        const bool is_up = attempt_wait(first);
        near.set_now = near.set; /* renewed */
        *out_brief = brief;
        if (is_up)
            return set;
        cr_assert_geq(clock_wall_ns(), tls_identity_not_after_ns(brief), "%s", first->why);
        tls_set_free(set);
        tls_identity_unref(brief);
    }
}

Test(tunnel, ends_with_the_certificate_that_proved_it)
{
    near_open(&near, NULL);
    struct attempt first, second = {0};
    const struct connect_request request = near_request();
    struct tls_identity *brief;
    struct tls_set *set = flow_briefly(&first, &brief);
    const unsigned n_before = near.far.n_accepted;

    while (clock_wall_ns() <= tls_identity_not_after_ns(brief) + 20 * (int64_t)NS_PER_MS)
        run_turns(near.world.loop, 1);
    attempt_start(&second, &near, &request);

    cr_expect(attempt_wait(&second));
    cr_expect_eq(near.far.n_accepted, n_before + 1);
    cr_expect_not(first.tap.err, "what flows goes on");
    attempt_end(&first);
    attempt_end(&second);
    near_close(&near);
    tls_set_free(set);
    tls_identity_unref(brief);
}

Test(tunnel, closing_the_connector_ends_tunnels_in_every_state)
{
    for (unsigned n_turns = 0; n_turns < 40; n_turns += 3) {
        near_open(&near, NULL);
        struct attempt attempt = {0};
        const struct connect_request request = near_request();
        attempt_start(&attempt, &near, &request);
        run_turns(near.world.loop, n_turns);
        if (attempt.connect)
            connect_cancel(attempt.connect);
        attempt.connect = NULL;

        connector_free(near.connector);
        run_turns(near.world.loop, 5);
        attempt_end(&attempt);

        near.connector = connector_new(near.world.loop, &(struct connector_options){0},
                                       &near.set_now, &near.world.trust_now, near.meter);
        near_close(&near);
    }
}
