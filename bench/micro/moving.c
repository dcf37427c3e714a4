#include "bench/micro/cases.h"
#include "bench/micro/two_nodes.h"
#include "proxy/base/str.h"

#define REQUEST_BYTES 1024
#define UNIT_BYTES    16384

static struct wire wire;

static void prepare_plain(size_t splice_after_bytes)
{
    nodes_open(splice_after_bytes);
    wire = nodes_connect(ROUTE_PLAIN);
}

static void prepare_tunnel(size_t size)
{
    nodes_open(size);
    wire = nodes_connect(ROUTE_TUNNEL);
}

/* Both directions are the kernel's before it is counted. */
static void prepare_splice(size_t splice_after_bytes)
{
    prepare_plain(splice_after_bytes);
    for (int i = 0; i < 4; i++) {
        nodes_move(wire.client, wire.app, UNIT_BYTES);
        nodes_move(wire.app, wire.client, UNIT_BYTES);
    }
}

static void request_once(size_t i)
{
    (void)i;
    nodes_move(wire.client, wire.app, REQUEST_BYTES);
    nodes_move(wire.app, wire.client, REQUEST_BYTES);
}

static void unit_once(size_t i)
{
    (void)i;
    nodes_move(wire.app, wire.client, UNIT_BYTES);
}

static void connect_plain_once(size_t i)
{
    (void)i;
    wire = nodes_connect(ROUTE_PLAIN);
    nodes_disconnect(&wire);
}

static void connect_tunnel_once(size_t i)
{
    (void)i;
    wire = nodes_connect(ROUTE_TUNNEL);
    nodes_disconnect(&wire);
}

static void prepare_nodes(size_t size)
{
    nodes_open(size);
}

/* ---- snapshots ---- */

static void prepare_flows(size_t n_flows)
{
    nodes_open(0);
    for (size_t i = 0; i < n_flows; i++)
        wire = nodes_connect(ROUTE_PLAIN);
}

/* What a worker does with the next one: the pointer, and a look at every flow of its. */
static void swap_once(size_t i)
{
    (void)i;
    nodes_take_snapshot();
}

const struct bench_case bench_moving_cases[] = {
    {"connect-plain", "a connection captured, made to a pod of the node, and reset", prepare_nodes,
     0, connect_plain_once},
    {"connect-tunnel", "a connection captured, a stream opened on a tunnel, and reset: both nodes",
     prepare_nodes, 0, connect_tunnel_once},
    {"http1-connect",
     "a client's connection captured, such a request on it, and reset; the app's is there",
     prepare_http1_connect, 0, http1_connect_once},
    {"request-plain", "1 KB there and 1 KB back, plain", prepare_plain, 0, request_once},
    {"request-tunnel", "the same through a tunnel: both nodes", prepare_tunnel, 0, request_once},
    {"request-splice", "the same, moved by the kernel", prepare_splice, 1, request_once},
    {"unit-plain", "16 KB to the client, plain", prepare_plain, 0, unit_once},
    {"unit-tunnel", "the same through a tunnel: both nodes", prepare_tunnel, 0, unit_once},
    {"unit-splice", "the same, moved by the kernel", prepare_splice, 1, unit_once},
    {"http1-walk", "a request of HTTP/1.1 and its answer of 1 KB, through the whole walk of a node",
     prepare_http1_walk, 0, http1_walk_once},
    {"http1-audited", "the same, told in the audit log", prepare_http1_audited, 0, http1_walk_once},
    {"http2-walk", "the same over HTTP/2", prepare_http2_walk, 0, http2_walk_once},
    {"swap-100", "a worker with 100 flows takes a snapshot", prepare_flows, 100, swap_once},
};

const size_t bench_n_moving_cases = ARRAY_LEN(bench_moving_cases);
