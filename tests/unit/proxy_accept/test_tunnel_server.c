#include <criterion/criterion.h>
#include <string.h>

#include "house.h"
#include "proxy/base/clock.h"
#include "proxy/http/h2.h"
#include "proxy/io/sweep.h"
#include "tests/kit/hogs.h"

TestSuite(tunnel_server, .timeout = 60);

static struct house house;

static struct loop *loop(void)
{
    return house.world.loop;
}

static bool has_sessions(void *ctx)
{
    return acceptor_sessions(house.acceptor) == *(const size_t *)ctx;
}

static bool sessions_become(size_t n)
{
    return run_until(loop(), has_sessions, &n, PATIENCE_MS);
}

Test(tunnel_server, a_connect_arrives_with_its_verified_peer_and_its_fields)
{
    struct caller caller = {0};
    house_open(&house);

    caller_start(&caller, &house, "127.0.0.1:8080");
    cr_assert(house_has(&house, 1));
    struct arrival *arrival = house.arrivals[0];

    cr_expect_eq(arrival->kind, ARRIVAL_TUNNEL);
    cr_expect(str_eq(arrival->peer_id, STR(ID_A)));
    cr_expect(str_eq(arrival->method, STR("CONNECT")));
    cr_expect(str_eq(arrival->authority, STR("127.0.0.1:8080")));
    cr_expect(str_eq(arrival->baggage, STR("k8s.cluster.name=west")));
    cr_expect(str_eq(arrival->forwarded, STR("for=\"10.0.0.1:4711\"")));
    cr_expect_eq(arrival->traceparent.len, 55);
    cr_expect_str_eq(arrival->tls_version, "TLSv1.3");
    cr_expect_eq(arrival->destination.port, house_door(&house, ARRIVAL_TUNNEL).port);
    arrival_answer(arrival, "200", STR("k8s.pod.name=pay"), false);
    struct tap served = {0};
    tap_attach(&served, arrival_take_stream(arrival));
    stream_resume(served.stream);
    cr_assert(caller_wait(&caller));
    cr_assert(tap_write_pattern(&caller.tap, 5000, 1000));
    cr_expect(tap_got(loop(), &served, 5000));
    tap_free(&served);
    caller_end(&caller);
    house_close(&house);
}

Test(tunnel_server, a_refusal_is_a_status_and_nothing_more)
{
    static const struct {
        const char *status;
        int err;
    } rows[] = {{"401", -ERR_TUNNEL_DENIED}, {"503", -ERR_TUNNEL_UNAVAILABLE}};

    house_open(&house);

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct caller caller = {0};
        caller_start(&caller, &house, "127.0.0.1:8080");
        cr_assert(house_has(&house, i + 1));
        arrival_answer(house.arrivals[i], rows[i].status, (struct str){0}, true);
        arrival_free(house.arrivals[i], 0);
        house.arrivals[i] = NULL;
        cr_expect_not(caller_wait(&caller));
        cr_expect_eq(caller.err, rows[i].err);
    }
    cr_expect_eq(acceptor_sessions(house.acceptor), 1);
    house_close(&house);
}

Test(tunnel_server, pods_that_are_not_here_or_have_no_certificate_are_reset_before_a_byte)
{
    house_open(&house);
    const struct tls_set *set = house.set_now;
    for (int row = 0; row < 3; row++) {
        struct tap tap = {0};
        house.snapshot_now = row == 0 ? NULL : house.snapshot;
        house.set_now = row == 1 ? NULL : set;
        if (row == 2) {
            snap_drop(&house.snap, "pay");
            snap_pod(&house.snap, "pay", "n2", "127.0.0.1")->trust_domain = STR("east.example");
            house_learn(&house);
        }
        house_dial(&house, ARRIVAL_TUNNEL, &tap);
        cr_expect(tap_failed(loop(), &tap), "row %d", row);
        cr_expect_eq(tap.err, -ERR_RESET, "row %d", row);
        cr_expect_eq(house.n_refusals, row + 1);
        cr_expect_eq(house.refused_err, row == 1 ? -ERR_NO_IDENTITY : -ERR_UNKNOWN_DESTINATION);
        cr_expect_eq(acceptor_sessions(house.acceptor), 0);
        tap_free(&tap);
    }
    house.set_now = set;
    house_close(&house);
}

/* A handshake as some client; what the client hears at the end. */
static int secure_as(struct tls_identity *identity, const struct trust *const *trust)
{
    struct side side = {0};
    struct tap below = {0};
    const struct tls_options options = {.role = TLS_CLIENT, .identity = identity, .trust = trust};
    int err;
    house_dial(&house, ARRIVAL_TUNNEL, &below);
    side_start(&side, &house.world, below.stream, &options);
    cr_assert(side_wait(&house.world, &side));
    err = side.err;
    if (err == 0) { /* TLS 1.3: the server judges afterwards */
        stream_resume(side.tap.stream);
        cr_assert(run_until(loop(), has_sessions, &(size_t){0}, PATIENCE_MS));
        cr_expect(tap_failed(loop(), &side.tap));
        err = side.tap.err;
    }
    tap_free(&side.tap);
    return err;
}

static bool are_recalled(void *ctx)
{
    return meter_total(METRIC_PEERS_RECALLED) == *(const int64_t *)ctx;
}

Test(tunnel_server, a_client_that_comes_again_is_remembered)
{
    house_open(&house);
    const struct tls_options options = world_options(&house.world, TLS_CLIENT);
    for (int64_t n_before = 0; n_before < 3; n_before++) {
        struct side side = {0};
        struct tap below = {0};
        house_dial(&house, ARRIVAL_TUNNEL, &below);
        side_start(&side, &house.world, below.stream, &options);
        cr_assert(side_wait(&house.world, &side), "%s", side.why);
        cr_expect(run_until(loop(), are_recalled, &n_before, PATIENCE_MS));
        tap_free(&side.tap);
        cr_assert(sessions_become(0));
        cr_expect_eq(meter_total(METRIC_PEERS_RECALLED), n_before);
    }
    house_close(&house);
}

Test(tunnel_server, clients_that_cannot_prove_who_they_are_are_refused_told_and_counted)
{
    house_open(&house);
    struct tls_identity *nobody = tls_identity_anonymous();
    struct test_ca *foreign = test_ca_new("foreign.example");
    struct tls_identity *stranger = world_identity(foreign, "spiffe://foreign.example/ns/x/sa/y");
    struct test_ca *liar = test_ca_new("west.example"); /* not the root we know */
    struct tls_identity *forged = world_identity(liar, ID_A);

    const struct {
        struct tls_identity *identity;
        int err;
        const char *claimed;
    } rows[] = {
        {nobody, -ERR_TLS_NO_CERTIFICATE, ""},
        {stranger, -ERR_TLS_TRUST_DOMAIN, "spiffe://foreign.example/ns/x/sa/y"},
        {forged, -ERR_TLS_CHAIN, ID_A},
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        cr_expect_lt(secure_as(rows[i].identity, &house.trust), 0);
        cr_expect_eq(house.n_refusals, i + 1);
        cr_expect_eq(house.refused_err, rows[i].err, "%s", err_label(house.refused_err));
        cr_expect_str_eq(house.claimed_id, rows[i].claimed);
        cr_expect_eq(house.claimed_serial[0] != '\0', rows[i].claimed[0] != '\0');
        cr_expect_neq(house.refused_peer.port, 0);
        cr_expect_eq(house.refused_dialled.port, house_door(&house, ARRIVAL_TUNNEL).port);
    }

    cr_expect_eq(house.n_arrivals, 0);
    cr_expect_eq(meter_total(METRIC_HANDSHAKES_FAILED), 3);
    tls_identity_unref(nobody);
    tls_identity_unref(stranger);
    tls_identity_unref(forged);
    test_ca_free(foreign);
    test_ca_free(liar);
    house_close(&house);
}

Test(tunnel_server, bytes_that_are_no_tls_end_the_session)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                        "\x16\x03\x01\xff\xff....."};
    house_open(&house);
    for (size_t i = 0; i < ARRAY_LEN(words) - 1; i++) {
        struct tap tap = {0};
        house_dial(&house, ARRIVAL_TUNNEL, &tap);
        (void)stream_write_copy(tap.stream, words[i], strlen(words[i]));
        cr_expect(tap_ended(loop(), &tap) || tap.err, "%s", words[i]);
        cr_expect(sessions_become(0));
        tap_free(&tap);
    }
    struct tap tap = {0}; /* a client that leaves in the middle of its hello */
    house_dial(&house, ARRIVAL_TUNNEL, &tap);
    (void)stream_write_copy(tap.stream, words[2], strlen(words[2]));
    cr_assert(sessions_become(1));
    tap_free(&tap);
    cr_expect(sessions_become(0));
    cr_expect_eq(house.n_arrivals, 0);
    house_close(&house);
}

/* "store", which the pod serves, and another on another node if it is there. */
static struct model_service *add_store(bool is_elsewhere, bool is_ready)
{
    struct model_service *store = snap_service(&house.snap, "store", "10.96.0.1", 80, 8080);
    snap_drop(&house.snap, "pay");
    struct model_workload *pay = snap_pod(&house.snap, "pay", "n1", "127.0.0.1");
    pay->trust_domain = STR("east.example");
    snap_serve(&house.snap, pay, store);
    if (is_elsewhere) {
        struct model_workload *other = snap_pod(&house.snap, "pay-2", "n2", "127.0.0.2");
        other->is_healthy = is_ready;
        snap_serve(&house.snap, other, store);
    }
    return store;
}

/* The stream of the first caller, on which bytes go through. */
static void serve_first(struct caller *first, struct tap *served)
{
    caller_start(first, &house, "127.0.0.1:8080");
    cr_assert(house_has(&house, 1));
    arrival_answer(house.arrivals[0], "200", (struct str){0}, false);
    tap_attach(served, arrival_take_stream(house.arrivals[0]));
    stream_resume(served->stream);
    cr_assert(caller_wait(first));
}

Test(tunnel_server, draining_lets_streams_go_on_and_sends_new_ones_elsewhere)
{
    struct caller first = {0}, second = {0};
    struct tap served = {0};
    house_open(&house);
    (void)add_store(true, true);
    house_learn(&house);
    serve_first(&first, &served);

    acceptor_drain(house.acceptor);
    run_turns(loop(), 30);
    caller_start(&second, &house, "127.0.0.1:8080");
    cr_expect_not(caller_wait(&second));
    cr_expect_eq(second.err, -ERR_RESET, "%s", err_label(second.err));
    cr_expect_eq(house.n_refusals, 0, "it was not wrong to come");
    cr_assert(tap_write_pattern(&first.tap, 5000, 1000));
    cr_expect(tap_got(loop(), &served, 5000));

    tap_free(&served);
    caller_end(&first);
    cr_expect(sessions_become(0), "the tunnel ends with its last stream");
    house_close(&house);
}

Test(tunnel_server, who_has_nowhere_else_to_go_is_served_while_it_drains_until_the_last_call)
{
    static const struct {
        const char *what;
        bool is_called_by_address, is_headless, is_elsewhere, is_ready;
    } rows[] = {
        {"no service", true, false, false, false},
        {"a service that is nowhere else", false, false, false, false},
        {"a service that is not ready elsewhere", false, false, true, false},
        {"a headless service", false, true, true, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct caller first = {0}, second = {0}, third = {0}, last = {0};
        struct tap served = {0};
        house_open(&house);
        if (!rows[i].is_called_by_address)
            add_store(rows[i].is_elsewhere, rows[i].is_ready)->is_headless = rows[i].is_headless;
        house_learn(&house);
        serve_first(&first, &served);

        acceptor_drain(house.acceptor);
        run_turns(loop(), 30);
        caller_start(&second, &house, "127.0.0.1:8080");
        cr_expect(house_has(&house, 2), "%s", rows[i].what);
        third.other = "spiffe://west.example/ns/shop/sa/other"; /* on a tunnel of its own */
        caller_start(&third, &house, "127.0.0.1:8080");
        cr_expect(house_has(&house, 3), "%s", rows[i].what);

        acceptor_close_doors(house.acceptor);
        run_turns(loop(), 30);
        caller_start(&last, &house, "127.0.0.1:8080");
        cr_expect_not(caller_wait(&last), "%s", rows[i].what);
        cr_expect_eq(last.err, -ERR_REFUSED, "%s: %s", rows[i].what, err_label(last.err));
        cr_expect_eq(house.n_arrivals, 3);

        tap_free(&served);
        caller_end(&first);
        caller_end(&second);
        caller_end(&third);
        house_close(&house);
    }
}

Test(tunnel_server, sessions_of_a_pod_that_left_end)
{
    struct caller caller = {0};
    house_open(&house);
    caller_start(&caller, &house, "127.0.0.1:8080");
    cr_assert(house_has(&house, 1));

    acceptor_recheck(house.acceptor);
    cr_expect_eq(acceptor_sessions(house.acceptor), 1, "nothing changed");
    snap_drop(&house.snap, "pay");
    house_learn(&house);
    acceptor_recheck(house.acceptor);

    cr_expect_eq(acceptor_sessions(house.acceptor), 0);
    cr_expect_not(caller_wait(&caller));
    arrival_answer(house.arrivals[0], "200", (struct str){0}, false); /* too late, harmless */
    house_close(&house);
}

/* The address of "pay" is another pod's now, whose identity its sessions have not shown. */
static void replace_pod(void)
{
    snap_drop(&house.snap, "pay");
    (void)snap_pod(&house.snap, "cart", "n1", "127.0.0.1");
    house_learn(&house);
}

Test(tunnel_server, sessions_of_a_pod_whose_address_another_has_take_nothing_for_it)
{
    for (int row = 0; row < 2; row++) {
        struct caller first = {0}, second = {0};
        const bool is_looked_at = row == 0;
        house_open(&house);
        caller_start(&first, &house, "127.0.0.1:8080");
        cr_assert(house_has(&house, 1));

        replace_pod();
        if (is_looked_at)
            acceptor_recheck(house.acceptor);
        else
            caller_start(&second, &house, "127.0.0.1:8080"); /* on the same tunnel */

        cr_expect_not(caller_wait(is_looked_at ? &first : &second));
        cr_expect(sessions_become(0));
        cr_expect_eq(house.n_arrivals, 1, "row %d", row);
        caller_end(&first);
        caller_end(&second);
        house_close(&house);
    }
}

Test(tunnel_server, handshakes_as_a_pod_whose_address_another_has_come_to_nothing)
{
    for (unsigned n_turns = 1; n_turns < 12; n_turns++) {
        struct caller caller = {0};
        house_open(&house);
        caller_start(&caller, &house, "127.0.0.1:8080");
        for (unsigned i = 0; i < n_turns && house.n_arrivals == 0; i++)
            run_turns(loop(), 1);
        if (house.n_arrivals == 0) {
            replace_pod();
            cr_expect_not(caller_wait(&caller), "%u", n_turns);
            cr_expect_eq(house.n_arrivals, 0, "%u", n_turns);
        }
        caller_end(&caller);
        house_close(&house);
    }
}

Test(tunnel_server, closing_ends_sessions_in_every_state)
{
    for (unsigned n_turns = 0; n_turns < 40; n_turns += 3) {
        struct caller caller = {0};
        house_open(&house);
        caller_start(&caller, &house, "127.0.0.1:8080");
        run_turns(loop(), n_turns);
        acceptor_close(house.acceptor);
        struct acceptor *closed = house.acceptor;
        house.acceptor = NULL;
        (void)closed;
        run_turns(loop(), 5);
        caller_end(&caller);
        house_close(&house);
    }
}

Test(tunnel_server,
     a_flood_of_half_open_ones_displaces_its_own_oldest_and_not_who_has_proven_itself)
{
    static struct tap taps[SESSIONS_UNPROVEN_MAX], other;
    struct caller caller = {0};
    struct ip elsewhere;
    cr_assert_eq(ip_parse(STR("127.0.0.9"), &elsewhere), 0);
    house_open(&house);
    caller_start(&caller, &house, "127.0.0.1:8080");
    cr_assert(house_has(&house, 1));

    house_dial_from(&house, ARRIVAL_TUNNEL, &elsewhere, &other); /* is the oldest */
    for (size_t i = 0; i < ARRAY_LEN(taps); i++)
        house_dial(&house, ARRIVAL_TUNNEL, &taps[i]);

    cr_expect(tap_failed(loop(), &taps[0]));
    cr_expect_eq(house.refused_err, -ERR_OVERLOAD);
    cr_assert(sessions_become(1 + SESSIONS_UNPROVEN_MAX));
    cr_expect_not(taps[1].err);
    cr_expect_not(other.err, "it is of another's");
    arrival_answer(house.arrivals[0], "200", (struct str){0}, false);
    cr_expect(caller_wait(&caller));
    for (size_t i = 0; i < ARRAY_LEN(taps); i++)
        tap_free(&taps[i]);
    tap_free(&other);
    caller_end(&caller);
    house_close(&house);
}

#define FEW 32 /* sessions; a sixteenth of them is two */

Test(tunnel_server, one_address_cannot_take_the_places_of_all)
{
    static struct tap taps[FEW], own, others[3];
    struct ip elsewhere;
    cr_assert_eq(ip_parse(STR("127.0.0.9"), &elsewhere), 0);
    house_open_with(&house, FEW);

    for (size_t i = 0; i < FEW / 2; i++)
        house_dial(&house, ARRIVAL_TUNNEL, &taps[i]);
    cr_assert(sessions_become(FEW / 2));
    house_dial(&house, ARRIVAL_TUNNEL, &own);
    cr_expect(tap_failed(loop(), &own), "one more than half of all");
    cr_expect_eq(house.refused_err, -ERR_OVERLOAD);
    cr_expect_str_eq(house.refused_why, "too many tunnels of one address");
    for (size_t i = 0; i < 2; i++)
        house_dial_from(&house, ARRIVAL_TUNNEL, &elsewhere, &others[i]);
    cr_expect(sessions_become(FEW / 2 + 2), "another has its share");
    house_dial_from(&house, ARRIVAL_TUNNEL, &elsewhere, &others[2]);
    cr_expect(tap_failed(loop(), &others[2]), "and no more");

    for (size_t i = 0; i < FEW / 2 - 1; i++)
        tap_free(&taps[i]);
    cr_expect(sessions_become(3), "who goes gives the place back");
    tap_free(&own);
    house_dial(&house, ARRIVAL_TUNNEL, &own);
    cr_expect(sessions_become(4));
    tap_free(&taps[FEW / 2 - 1]);
    tap_free(&own);
    for (size_t i = 0; i < 3; i++)
        tap_free(&others[i]);
    house_close(&house);
}

Test(tunnel_server, R4_a_removed_root_cuts_the_sessions_that_rest_on_it)
{
    struct caller caller = {0};
    struct trust *without = NULL;
    struct text why = {0};
    house_open(&house);
    caller_start(&caller, &house, "127.0.0.1:8080");
    cr_assert(house_has(&house, 1));

    acceptor_recheck(house.acceptor);
    cr_expect_eq(acceptor_sessions(house.acceptor), 1, "nothing was removed");
    cr_assert_eq(trust_with(house.world.trust, STR("west.example"), STR(""), &without, &why), 0);
    house.trust = without;
    acceptor_recheck(house.acceptor);

    cr_expect_eq(acceptor_sessions(house.acceptor), 0);
    cr_expect_eq(meter_total(METRIC_TUNNELS_CUT), 1);
    cr_expect_not(caller_wait(&caller));
    caller_end(&caller);
    house_close(&house);
    trust_unref(without);
}

/* ---- more sessions than there is time for in a turn */

enum { MANY = 4 * SWEEP_PIECE };

static struct caller many[MANY], late;
static struct hogs hogs;

/* Each caller expects something else, so that each has a session of its own. */
static void open_sessions(void)
{
    static char others[MANY][48];
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(others[i], sizeof others[i], "spiffe://east.example/ns/shop/sa/pay%d", i);
        many[i] = (struct caller){.other = others[i]};
        caller_start(&many[i], &house, "127.0.0.1:8080");
        cr_assert(house_has(&house, (unsigned)i + 1));
    }
    cr_assert_eq(acceptor_sessions(house.acceptor), MANY);
}

/* One more stream on the session that is looked at last. */
static void call_late(void)
{
    late = (struct caller){.other = many[MANY - 1].other};
    caller_start(&late, &house, "127.0.0.1:8080");
}

static void close_many(void)
{
    hogs_send_away(&hogs);
    for (int i = 0; i < MANY; i++)
        caller_end(&many[i]);
    caller_end(&late);
    house_close(&house);
}

static uint64_t changed_ns;

/* A machine that stood still meanwhile has all sessions looked at. */
static bool patience_is_over(void)
{
    return clock_mono_ns() - changed_ns >= TRUST_SWEEP_NS;
}

static void change_trust(void *ctx)
{
    changed_ns = clock_mono_ns();
    house.trust = ctx;
    acceptor_recheck(house.acceptor);
    call_late();
}

Test(tunnel_server, R4_of_many_sessions_none_carries_anything_before_it_was_looked_at)
{
    struct trust *without = NULL;
    struct text why = {0};
    house_open(&house);
    open_sessions();
    cr_assert_eq(trust_with(house.world.trust, STR("west.example"), STR(""), &without, &why), 0);

    hogs_bring(&hogs, loop(), change_trust, without);
    cr_expect(acceptor_sessions(house.acceptor) == MANY - SWEEP_PIECE || patience_is_over(), "%zu",
              acceptor_sessions(house.acceptor));
    cr_expect_not(caller_wait(&late));

    cr_expect_eq(house.n_arrivals, MANY, "a stream of somebody who is not trusted any more");
    cr_expect(acceptor_sessions(house.acceptor) == MANY - SWEEP_PIECE - 1 || patience_is_over(),
              "the others wait");
    cr_expect(meter_total(METRIC_TUNNELS_CUT) == SWEEP_PIECE + 1 || patience_is_over());
    cr_expect(sessions_become(0));
    cr_expect_eq(meter_total(METRIC_TUNNELS_CUT), MANY);
    close_many();
    trust_unref(without);
}

static void lose_pod(void *ctx)
{
    (void)ctx;
    changed_ns = clock_mono_ns();
    acceptor_recheck(house.acceptor);
    call_late();
}

Test(tunnel_server, of_many_sessions_none_begins_anything_for_a_pod_that_left)
{
    house_open(&house);
    open_sessions();
    snap_drop(&house.snap, "pay");
    house_learn(&house);

    hogs_bring(&hogs, loop(), lose_pod, NULL);
    cr_expect(acceptor_sessions(house.acceptor) == MANY - SWEEP_PIECE || patience_is_over());
    cr_expect_not(caller_wait(&late));

    cr_expect_eq(house.n_arrivals, MANY);
    cr_expect(sessions_become(0));
    cr_expect_eq(meter_total(METRIC_TUNNELS_CUT), 0);
    close_many();
}

static void look(void *ctx)
{
    (void)ctx;
    acceptor_recheck(house.acceptor);
}

Test(tunnel_server, may_be_closed_while_sessions_are_looked_at)
{
    house_open(&house);
    open_sessions();
    hogs_bring(&hogs, loop(), look, NULL);
    close_many();
}
