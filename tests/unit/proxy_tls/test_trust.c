/* What becomes of live peers when trust changes. R3 and R4 are rows of a table of rotation; X47 and
 * X48 of that of X.509-SVIDs. */
#include <criterion/criterion.h>
#include <string.h>

#include "certs/verified.h"
#include "tls_kit.h"

TestSuite(tls_trust, .timeout = 60);

static struct world world;
static struct side client, server;

static void start(void)
{
    world_open(&world);
    client = server = (struct side){0};
    tls_pair(&world, &client, &server);
}

static void finish(void)
{
    tap_free(&client.tap);
    tap_free(&server.tap);
    world_close(&world);
}

/* The next generation of trust; the caller frees it. */
static struct trust *with_roots(const struct trust *trust, const char *trust_domain,
                                const struct test_ca *first, const struct test_ca *second)
{
    struct text pem = {0}, why = {0};
    struct trust *next = NULL;

    if (first)
        test_ca_pem(first, &pem);
    if (second)
        test_ca_pem(second, &pem);
    cr_assert_eq(trust_with(trust, str_from(trust_domain), text_str(&pem), &next, &why), 0, "%s",
                 why.ptr);
    text_fini(&pem);
    return next;
}

static void is_after(const struct trust *trust, int client_err, int server_err)
{
    cr_expect_eq(tls_recheck(client.tap.stream, trust), client_err);
    cr_expect_eq(tls_recheck(server.tap.stream, trust), server_err);
}

Test(tls_trust, R4_a_removed_bundle_fails_the_live_peers_of_its_domain, .init = start,
     .fini = finish)
{
    struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);

    is_after(world.trust, 0, 0);
    is_after(without_west, 0, -ERR_TRUST_REMOVED);
    trust_unref(without_west);
}

Test(tls_trust, R4_a_replaced_root_fails_the_live_peers_it_vouched_for, .init = start,
     .fini = finish)
{
    struct test_ca *other = test_ca_new("east.example");
    struct trust *replaced = with_roots(world.trust, "east.example", other, NULL);

    is_after(replaced, -ERR_TRUST_REMOVED, 0);
    trust_unref(replaced);
    test_ca_free(other);
}

Test(tls_trust, R3_a_second_root_beside_the_first_cuts_nobody, .init = start, .fini = finish)
{
    struct test_ca *other = test_ca_new("east.example");
    struct trust *both = with_roots(world.trust, "east.example", other, world.east);

    is_after(both, 0, 0);
    trust_unref(both);
    test_ca_free(other);
}

Test(tls_trust, R3_peers_signed_by_the_old_and_by_the_new_root_are_let_in, .init = start,
     .fini = finish)
{
    struct test_ca *other = test_ca_new("east.example");
    struct trust *both = with_roots(world.trust, "east.example", other, world.east);
    struct tls_identity *renewed = world_identity(other, ID_B);
    struct tls_identity *shown[] = {world.b, renewed};

    for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
        struct side a = {0}, b = {0};
        struct tls_options ao = world_options(&world, TLS_CLIENT);
        struct tls_options bo = world_options(&world, TLS_SERVER);
        struct stream *lower_a, *lower_b;

        world.trust_now = both;
        bo.identity = shown[i];
        tcp_pair(world.loop, &lower_a, &lower_b);
        side_start(&a, &world, lower_a, &ao);
        side_start(&b, &world, lower_b, &bo);
        cr_assert(side_wait(&world, &a) && side_wait(&world, &b));
        cr_expect_eq(a.err, 0, "%s", a.why);
        cr_expect_eq(b.err, 0, "%s", b.why);
        tap_free(&a.tap);
        tap_free(&b.tap);
    }
    tls_identity_unref(renewed);
    trust_unref(both);
    test_ca_free(other);
}

Test(tls_trust, a_peer_that_another_root_vouches_for_stays, .init = start, .fini = finish)
{
    /* The same key and name, certified anew: a root that was prolonged. */
    struct test_cert spec = {.is_ca = true,
                             .subject = "root of east.example",
                             .uris = {STR("spiffe://east.example")},
                             .public_key = world.east->key};
    struct test_ca prolonged = {.key = world.east->key};
    prolonged.cert = test_ca_mint(world.east, &spec, NULL);
    struct trust *next = with_roots(world.trust, "east.example", &prolonged, NULL);

    is_after(next, 0, 0);
    trust_unref(next);
    X509_free(prolonged.cert);
}

Test(tls_trust, X47_a_revocation_fails_the_live_peer, .init = start, .fini = finish)
{
    struct text der = {0}, why = {0};
    struct trust *next = NULL;
    X509 *shown = X509_new(); /* with the number that the live peer's certificate has */
    struct test_crl spec = {.revoked = &shown, .n_revoked = 1};
    BIGNUM *number = NULL;

    cr_assert(BN_hex2bn(&number, tls_peer(server.tap.stream)->serial.ptr) > 0);
    cr_assert_not_null(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(shown)));
    test_crl_der(world.west, &spec, &der);
    cr_assert_eq(trust_with_crls(world.trust, STR("west.example"), text_str(&der), &next, &why), 0,
                 "%s", why.ptr);
    is_after(next, 0, -ERR_TLS_REVOKED);
    trust_unref(next);
    X509_free(shown);
    BN_free(number);
    text_fini(&der);
}

Test(tls_trust, X48_there_is_nothing_to_resume_with, .init = start, .fini = finish)
{
    const struct tls_peer *peer = tls_peer(client.tap.stream);
    struct side a = {0}, b = {0};
    struct tls_options ao = world_options(&world, TLS_CLIENT);
    struct tls_options bo = world_options(&world, TLS_SERVER);
    struct stream *lower_a, *lower_b;
    struct trust *without_east = with_roots(world.trust, "east.example", NULL, NULL);

    cr_assert_str_eq(peer->version, "TLSv1.3");
    world.trust_now = without_east;
    tcp_pair(world.loop, &lower_a, &lower_b);
    side_start(&a, &world, lower_a, &ao);
    side_start(&b, &world, lower_b, &bo);
    cr_assert(side_wait(&world, &a) && side_wait(&world, &b));
    cr_expect_eq(a.err, -ERR_TLS_TRUST_DOMAIN, "%s", a.why);
    tap_free(&a.tap);
    tap_free(&b.tap);
    trust_unref(without_east);
}

Test(tls_trust, peers_that_are_remembered_are_let_in_and_cut_and_refused_as_others, .init = start,
     .fini = finish)
{
    struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);
    struct tls_options options;
    struct stream *lower_client, *lower_server;

    world.verified = verified_new();
    for (int i = 0; i < 3; i++) { /* proven, then remembered twice */
        tap_free(&client.tap);
        tap_free(&server.tap);
        client = server = (struct side){0};
        tls_pair(&world, &client, &server);
        cr_expect(str_eq(tls_peer(server.tap.stream)->id, STR(ID_A)));
        cr_expect(str_eq(tls_peer(client.tap.stream)->id, STR(ID_B)));
    }
    is_after(without_west, 0, -ERR_TRUST_REMOVED);

    tap_free(&client.tap);
    tap_free(&server.tap);
    client = server = (struct side){0};
    world.trust_now = without_west;
    tcp_pair(world.loop, &lower_client, &lower_server);
    options = world_options(&world, TLS_CLIENT);
    side_start(&client, &world, lower_client, &options);
    options = world_options(&world, TLS_SERVER);
    side_start(&server, &world, lower_server, &options);
    cr_assert(side_wait(&world, &server) && side_wait(&world, &client));
    cr_expect_eq(server.err, -ERR_TLS_TRUST_DOMAIN, "%s", server.why);
    verified_free(world.verified);
    trust_unref(without_west);
}

/* ---- a stream that follows trust */

/* Two streams of which the server's is asked again by itself, or is not. */
static void pair_that_follows(bool follows)
{
    struct tls_options client_options, server_options;
    struct stream *lower_client, *lower_server;

    world_open(&world);
    client = server = (struct side){0};
    client_options = world_options(&world, TLS_CLIENT);
    server_options = world_options(&world, TLS_SERVER);
    server_options.follows_trust = follows;
    tcp_pair(world.loop, &lower_client, &lower_server);
    side_start(&client, &world, lower_client, &client_options);
    side_start(&server, &world, lower_server, &server_options);
    cr_assert(side_wait(&world, &client) && side_wait(&world, &server));
    cr_assert_eq(client.err, 0, "%s", client.why);
    cr_assert_eq(server.err, 0, "%s", server.why);
    stream_resume(client.tap.stream);
    stream_resume(server.tap.stream);
}

/* From one end to the other, after the trust of both has become this. */
static void send_under(const struct trust *trust, bool from_server)
{
    struct tap *from = from_server ? &server.tap : &client.tap;

    world.trust_now = trust;
    cr_assert(tap_write_pattern(from, 1000, 1000));
}

Test(tls_trust, R4_nothing_comes_or_goes_through_one_that_follows_once_its_peer_does_not_stand)
{
    for (int from_server = 0; from_server < 2; from_server++) {
        pair_that_follows(true);
        struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);

        send_under(without_west, from_server);
        cr_expect(tap_failed(world.loop, &server.tap));
        cr_expect_eq(server.tap.err, -ERR_TRUST_REMOVED, "%s", err_label(server.tap.err));
        tap_close(&server.tap, server.tap.err);
        cr_expect(tap_failed(world.loop, &client.tap));
        cr_expect_eq(server.tap.n_got + client.tap.n_got, 0, "%d", from_server);
        world.trust_now = world.trust;
        finish();
        trust_unref(without_west);
    }
}

Test(tls_trust, one_whose_peer_stands_goes_on_and_so_does_one_that_does_not_follow)
{
    for (int follows = 0; follows < 2; follows++) {
        pair_that_follows(follows);
        struct test_ca *other = test_ca_new("west.example");
        struct trust *both = with_roots(world.trust, "west.example", other, world.west);
        struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);
        const struct trust *next = follows ? both : without_west;

        for (int from_server = 0; from_server < 2; from_server++)
            send_under(next, from_server);
        cr_expect(tap_got(world.loop, &server.tap, 1000), "%d", follows);
        cr_expect(tap_got(world.loop, &client.tap, 1000), "%d", follows);
        cr_expect(tls_stands(server.tap.stream));
        cr_expect_eq(server.tap.err, 0);
        finish();
        trust_unref(both);
        trust_unref(without_west);
        test_ca_free(other);
    }
}

static bool takes_no_more(void *ctx)
{
    (void)ctx;
    return stream_queued(server.tap.stream) > 0;
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

Test(tls_trust, last_words_are_said_in_place_of_what_waits_and_are_an_end, .fini = finish)
{
    pair_that_follows(true);
    struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);

    cr_assert(stream_write_copy(server.tap.stream, "before ", 7));
    cr_assert(tap_got(world.loop, &client.tap, 7));
    world.trust_now = without_west;
    cr_expect_not(tls_stands(server.tap.stream));
    cr_assert(stream_write_copy(server.tap.stream, "after ", 6));
    cr_expect(tls_part(server.tap.stream, STR("farewell")));
    tap_close(&server.tap, 0);
    cr_expect(tap_ended(world.loop, &client.tap));
    cr_expect_str_eq(client.tap.got.ptr, "before farewell");
    cr_expect_eq(client.tap.err, 0);
    trust_unref(without_west);
}

/* What has left to the kernel, which the peer does not take, must not arrive later either. */
Test(tls_trust, to_who_reads_nothing_no_last_words_are_said, .fini = finish)
{
    pair_that_follows(true);
    struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);

    stream_pause(client.tap.stream);
    while (!takes_no_more(NULL)) {
        cr_assert(tap_write_pattern(&server.tap, server.tap.n_wrote + 65536, 65536) || true);
        (void)run_until(world.loop, never, NULL, 20);
    }
    world.trust_now = without_west;
    cr_expect_not(tls_stands(server.tap.stream));
    cr_expect_not(tls_part(server.tap.stream, STR("farewell")));
    tap_close(&server.tap, -ERR_TRUST_REMOVED);
    stream_resume(client.tap.stream);
    cr_expect(tap_failed(world.loop, &client.tap));
    cr_expect_not(client.tap.ended);
    cr_expect_eq(client.tap.n_wrong, 0);
    trust_unref(without_west);
}

/* Nobody uses it for a moment, in which trust comes back: what was said of it stays said. */
Test(tls_trust, one_that_was_found_not_to_stand_is_closed_by_whoever_asked, .fini = finish)
{
    pair_that_follows(true);
    struct trust *without_west = with_roots(world.trust, "west.example", NULL, NULL);

    world.trust_now = without_west;
    cr_expect_not(tls_stands(server.tap.stream));
    world.trust_now = world.trust;
    cr_expect_not(tls_stands(server.tap.stream));
    cr_expect_eq(tls_recheck(server.tap.stream, world.trust), -ERR_TRUST_REMOVED);
    tap_close(&server.tap, 0);
    cr_expect(tap_failed(world.loop, &client.tap));
    cr_expect_not(client.tap.ended, "a close_notify would say that all of it came");
    trust_unref(without_west);
}
