/*
 * The control port and its clients end to end: TCP on loopback, mutual TLS, HTTP/2, gRPC, delta
 * xDS, certificates.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "models.h"
#include "port_kit.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/test_ca.h"

#define PATIENCE_MS 15000

static struct arena arena;
static struct port port;
static struct node node;

static void init(void)
{
    log_set_level(LOG_ERROR);
    port_open(&port);
}

static void fini(void)
{
    port_close(&port);
    arena_fini(&arena);
}

TestSuite(control_port, .timeout = 60, .init = init, .fini = fini);

static const char *in_dir(const char *name)
{
    return arena_printf(&arena, "%s/%s", port.dir, name).ptr;
}

static void write_file(const char *path, struct str content)
{
    cr_assert_eq(file_write_atomic(str_from(path), content, 0600), 0);
}

static bool until(bool (*done)(void *ctx))
{
    return run_until(port.loop, done, NULL, PATIENCE_MS);
}

static bool is_synced(void *ctx)
{
    (void)ctx;
    return node.n_changes > 0 && delta_client_is_synced(xds_client_state(node.client));
}

static bool is_connected(void *ctx)
{
    (void)ctx;
    return node.is_connected;
}

static bool has_b(void *ctx)
{
    (void)ctx;
    return node_has(&node, "c1//v1/Pod/ns/b");
}

static bool has_no_a(void *ctx)
{
    (void)ctx;
    return !node_has(&node, "c1//v1/Pod/ns/a");
}

static bool was_told(void *ctx)
{
    (void)ctx;
    return node.n_changes > 0;
}

static bool is_down(void *ctx)
{
    (void)ctx;
    return !node.is_connected && !node.is_up;
}

static void publish(const char *name)
{
    struct model_resource *resources[] = {model_pod(&arena, name, "10.0.0.1"),
                                          model_rich_service(&arena), model_rich_policy(&arena)};

    port_publish(&port, resources, 3);
}

Test(control_port, a_node_without_a_certificate_gets_one_and_then_the_state)
{
    publish("a");
    write_file(in_dir("token"), STR(" " TOKEN "\n"));
    node_open(&node, &port, NULL, "", in_dir("token"));
    rotation_want(node.rotation, STR(NODE_ID));
    cr_assert(until(is_synced));

    cr_assert(node.has_svid);
    cr_assert_eq(port.n_certificates, 1);
    cr_assert(str_is_empty(port.asked_by));
    cr_assert_eq(node.n_ups, 2, "anonymous first, then under its own identity");
    cr_assert_eq(delta_client_count(xds_client_state(node.client)), 3);
    cr_assert_eq(port.n_streams_up, 1);
    node_close(&node);
}

static bool was_refused(void *ctx)
{
    (void)ctx;
    return str_contains(str_from(node.last_failure), STR("the token is not right"));
}

Test(control_port, a_wrong_token_gets_no_certificate_and_no_state)
{
    publish("a");
    write_file(in_dir("token"), STR("open please"));
    node_open(&node, &port, NULL, "", in_dir("token"));
    rotation_want(node.rotation, STR(NODE_ID));
    cr_assert(run_until_count(port.loop, &port.n_refused, 1, PATIENCE_MS));
    cr_assert(until(was_refused), "%s", node.last_failure);

    cr_assert(!node.has_svid);
    cr_assert_eq(port.n_streams_up, 0);
    node_close(&node);
}

Test(control_port, without_a_token_file_the_reason_is_told)
{
    node_open(&node, &port, NULL, "", in_dir("no-such-file"));
    cr_assert(run_until_set(port.loop, &node.is_up, PATIENCE_MS));
    rotation_want(node.rotation, STR(NODE_ID));
    cr_assert(run_until_count(port.loop, &node.n_failed, 1, PATIENCE_MS));

    cr_assert(str_contains(str_from(node.last_failure), STR("no-such-file: No such file")));
    cr_assert_eq(port.n_refused, 0);
    node_close(&node);
}

Test(control_port, a_node_asks_for_its_pods_certificates_as_itself)
{
    node_open(&node, &port, NODE_ID, "", "");
    rotation_want(node.rotation, STR("spiffe://west.example/ns/shop/sa/cart"));
    cr_assert(run_until_count(port.loop, &port.n_certificates, 1, PATIENCE_MS));
    cr_assert(str_eq(port.asked_by, STR(NODE_ID)));
    cr_assert(run_until_set(port.loop, &node.has_svid, PATIENCE_MS));
    node_close(&node);
}

Test(control_port, changes_arrive_and_the_stream_outlives_the_server)
{
    uint16_t tcp_port = port.addr.port;

    publish("a");
    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(until(is_synced));
    publish("b");
    cr_assert(until(has_b));
    cr_assert(until(has_no_a));

    port_shut(&port);
    cr_assert(until(is_down));
    cr_assert_eq(delta_client_count(xds_client_state(node.client)), 3, "what is held stays");
    publish("c");
    port_listen(&port, tcp_port);
    cr_assert(until(is_connected));
    while (has_b(NULL))
        loop_turn(port.loop, true);
    cr_assert(node_has(&node, "c1//v1/Pod/ns/c"));
    cr_assert_eq(node.n_connects, 2);
    cr_assert_eq(node.n_disconnects, 1);
    node_close(&node);
}

Test(control_port, a_refused_stream_never_counts_as_connected)
{
    port.refuses_streams = true;
    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(run_until_set(port.loop, &node.is_up, PATIENCE_MS));
    cr_assert(run_until_count(port.loop, &port.n_refused_streams, 3, PATIENCE_MS));

    cr_assert_eq(node.n_connects, 0);
    cr_assert(node.is_up);
    port.refuses_streams = false;
    cr_assert(until(is_connected));
    node_close(&node);
}

Test(control_port, a_peer_that_is_thrown_out_comes_back_only_by_dialing)
{
    publish("a");
    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(until(is_synced));
    xds_server_disconnect(port.server, STR("spiffe://west.example/isthmus/node/other"));
    run_turns(port.loop, 20);
    cr_assert_eq(node.n_downs, 0);

    xds_server_disconnect(port.server, STR(NODE_ID));
    cr_assert_eq(port.n_streams_down, 1);
    cr_assert(until(is_down));
    cr_assert(until(is_connected));
    cr_assert_eq(port.n_streams_up, 2);
    node_close(&node);
}

/* Other roots than those that the port and the node know each other by. */
static struct trust *other_trust(void)
{
    struct test_ca *stranger = test_ca_new("west.example");
    struct trust *trust = NULL;

    test_trust_add(&trust, "west.example", stranger);
    test_ca_free(stranger);
    return trust;
}

Test(control_port, R4_a_removed_root_ends_the_streams_of_its_peers)
{
    struct trust *other = other_trust();

    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(until(is_connected));
    xds_server_recheck(port.server, port.trust);
    run_turns(port.loop, 20);
    cr_assert_eq(node.n_downs, 0, "nothing has changed");

    port.trust_now = other;
    xds_server_recheck(port.server, other);
    cr_assert_eq(port.n_streams_down, 1);
    cr_assert(run_until_count(port.loop, &node.n_downs, 3, PATIENCE_MS), "it is let in no more");
    cr_assert_eq(port.n_streams_up, 1);
    port.trust_now = port.trust;
    cr_assert(until(is_connected));
    trust_unref(other);
    node_close(&node);
}

Test(control_port, R4_a_removed_root_ends_the_stream_to_its_server)
{
    struct trust *other = other_trust();

    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(until(is_connected));
    channel_recheck(node.channel, port.trust);
    cr_assert_eq(node.n_downs, 0, "nothing has changed");

    channel_recheck(node.channel, other);
    cr_assert_eq(node.n_downs, 1);
    cr_assert_eq(node.down_err, -ERR_TRUST_REMOVED);
    cr_assert(until(is_down));
    channel_recheck(node.channel, other);
    cr_assert(until(is_connected), "the channel's own trust still has the root");
    trust_unref(other);
    node_close(&node);
}

Test(control_port, a_server_with_another_identity_is_not_spoken_to)
{
    tls_identity_unref(port.identity);
    port.identity = port_identity(&port, "spiffe://west.example/ns/evil/sa/evil");
    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(run_until_count(port.loop, &node.n_downs, 2, PATIENCE_MS));

    cr_assert_eq(node.down_err, -ERR_TLS_IDENTITY);
    cr_assert_eq(node.n_ups, 0);
    node_close(&node);
}

Test(control_port, a_node_that_restarts_alone_comes_up_with_its_saved_state)
{
    publish("a");
    node_open(&node, &port, NODE_ID, in_dir("state"), "");
    cr_assert(until(is_synced));
    node_close(&node);
    port_shut(&port);
    run_until_empty(port.loop, 5000);

    node_open(&node, &port, NODE_ID, in_dir("state"), "");
    cr_assert(until(was_told));
    cr_assert(delta_client_is_synced(xds_client_state(node.client)));
    cr_assert_eq(delta_client_count(xds_client_state(node.client)), 3);
    cr_assert(!node.is_connected);
    node_close(&node);
}

Test(control_port, a_damaged_state_file_is_passed_over)
{
    publish("a");
    write_file(in_dir("state"), STR("ISTHXDS1 and then nonsense"));
    node_open(&node, &port, NODE_ID, in_dir("state"), "");
    cr_assert(!delta_client_is_synced(xds_client_state(node.client)));
    cr_assert(until(is_synced));
    node_close(&node);
}

Test(control_port, a_disk_that_takes_nothing_stops_nothing)
{
    publish("a");
    node_open(&node, &port, NODE_ID, "/proc/no-such-folder/state", "");
    cr_assert(until(is_synced));
    publish("b");
    cr_assert(until(has_b));
    log_set_level(LOG_ERROR);
    node_close(&node);
}

Test(control_port, what_is_forgotten_is_brought_again)
{
    publish("a");
    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(until(is_synced));
    node.n_changes = 0;
    xds_client_clear(node.client);
    cr_assert_eq(delta_client_count(xds_client_state(node.client)), 0);
    cr_assert(until(was_told));
    while (has_no_a(NULL))
        loop_turn(port.loop, true);
    cr_assert_eq(delta_client_count(xds_client_state(node.client)), 3);
    node_close(&node);
}

/* Connections that say nothing, as many as the port admits and more: the node gets in all the same.
 */
Test(control_port, a_flood_of_silent_connections_displaces_itself)
{
    enum { FLOOD = SERVER_UNPROVEN + 100 };

    static int sockets[FLOOD];
    struct sockaddr_storage to;
    socklen_t len = addr_to_sockaddr(&port.addr, &to);
    struct rlimit files = {4096, 4096};

    (void)setrlimit(RLIMIT_NOFILE, &files);
    publish("a");
    for (size_t i = 0; i < FLOOD; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(connect(sockets[i], (struct sockaddr *)&to, len) == 0);
        run_turns(port.loop, 2);
    }
    node_open(&node, &port, NODE_ID, "", "");
    cr_assert(until(is_synced));
    node_close(&node);
    for (size_t i = 0; i < FLOOD; i++)
        close(sockets[i]);
}

static struct node flood[SERVER_SAME_PEER + 1];

static bool all_are_up(void *ctx)
{
    const size_t *n = ctx;
    for (size_t i = 0; i < *n; i++)
        if (!flood[i].is_connected)
            return false;
    return true;
}

static bool the_oldest_was_ended(void *ctx)
{
    (void)ctx;
    return flood[0].n_downs > 0;
}

/* Whoever has a certificate could else take all the places that there are. */
Test(control_port, a_flood_of_connections_of_one_identity_displaces_itself)
{
    publish("a");
    for (size_t i = 0, n = 1; i < SERVER_SAME_PEER; i++, n++) {
        node_open(&flood[i], &port, NODE_ID, "", "");
        cr_assert(run_until(port.loop, all_are_up, &n, PATIENCE_MS));
    }
    for (size_t i = 0; i < SERVER_SAME_PEER; i++)
        cr_assert_eq(flood[i].n_downs, 0);
    node_open(&flood[SERVER_SAME_PEER], &port, NODE_ID, "", "");
    cr_assert(until(the_oldest_was_ended));
    for (size_t i = 0; i < ARRAY_LEN(flood); i++)
        node_close(&flood[i]);
}

/* Closing in every state must leave nothing behind: loop_finish() looks. */
Test(control_port, a_channel_can_be_closed_at_any_moment)
{
    publish("a");
    for (unsigned n_turns = 0; n_turns < 40; n_turns++) {
        node_open(&node, &port, NODE_ID, "", "");
        rotation_want(node.rotation, STR("spiffe://west.example/ns/shop/sa/cart"));
        for (unsigned i = 0; i < n_turns; i++)
            loop_turn(port.loop, i % 2 == 0 && !node.is_connected);
        if (n_turns % 3 == 0)
            channel_redial(node.channel);
        if (n_turns % 5 == 0)
            loop_turn(port.loop, false);
        node_close(&node);
        run_turns(port.loop, 3);
    }
}
