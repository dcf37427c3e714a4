/*
 * server.c - connections to the control port.
 *
 * Happy path: accept -> handshake -> HTTP/2 -> calls. A connection ends when its peer goes, when
 * its certificate runs out (the peer comes back with a new one), and an anonymous one after
 * ANONYMOUS_LIFE_NS. Failure modes: too many connections, no identity of ours yet, a handshake that
 * fails or takes too long: closed.
 *
 * Whoever can reach the port can open connections, so those that have proven nothing (in their
 * handshake, or anonymous) have a bound of their own, and one more ends the oldest of them: a flood
 * from outside displaces itself, and no node. So does one from within: an identity, which with
 * SPIFFE any workload has, is admitted a few times.
 */
#include "xds/server.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/io/tcp.h"
#include "xds/server_call.h"

#define ANONYMOUS_LIFE_NS (60 * NS_PER_SEC)
#define ANONYMOUS_STREAMS 4
#define LIFE_MAX_NS       (UINT64_C(7) * 24 * 3600 * NS_PER_SEC) /* of any connection */

struct connection {
    struct list link;
    struct xds_server *server;
    struct arena arena;
    struct server_context context;
    struct tls_handshake *handshake; /* then h2 */
    struct stream *secured;          /* below h2, while that lives */
    struct h2 *h2;
    struct timer life;
    bool is_proven;         /* it showed a verified certificate */
    struct same_peer *same; /* then: those of its identity */
};

struct same_peer { /* the connections of one identity; the ID is behind it */
    struct str id;
    unsigned n_connections;
};

struct xds_server {
    struct loop *loop;
    struct xds_server_options options;
    struct xds_server_events events;
    void *owner;
    struct listener *listener;
    struct list proven, unproven; /* connections, the oldest first */
    struct map peers;             /* ID of the proven ones -> struct same_peer */
    unsigned n_connections, n_unproven;
    bool is_closing;
};

static void connection_free(void *ptr)
{
    struct connection *connection = ptr;

    arena_fini(&connection->arena);
    mem_free(connection);
}

static void leave_same_peer(struct xds_server *server, struct same_peer *same)
{
    if (!same || --same->n_connections > 0)
        return;
    (void)map_remove(&server->peers, same->id);
    mem_free(same);
}

/* The end of every path. Its calls end with the HTTP/2 connection. */
static void connection_close(struct connection *connection)
{
    struct xds_server *server = connection->server;
    struct h2 *h2 = connection->h2;

    timer_stop(&connection->life);
    list_remove(&connection->link);
    server->n_connections--;
    server->n_unproven -= !connection->is_proven;
    leave_same_peer(server, connection->same);
    if (connection->handshake)
        tls_handshake_cancel(connection->handshake);
    connection->handshake = NULL;
    connection->h2 = NULL;
    if (h2)
        h2_close(h2, -ERR_SHUTDOWN);
    loop_bury(server->loop, connection, connection_free);
}

static void on_life_end(struct timer *timer)
{
    connection_close(container_of(timer, struct connection, life));
}

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    struct connection *connection = owner;

    server_call_begin(&connection->context, stream, head);
}

static void on_dead(void *owner, int err, struct str why)
{
    struct connection *connection = owner;

    log_debug("a control connection ended", log_str("peer", connection->context.peer.id),
              log_err("error", err), log_str("why", why));
    connection_close(connection);
}

static const struct h2_events h2_events = {.on_request = on_request, .on_dead = on_dead};

static uint64_t life_ns(const struct tls_peer *peer)
{
    int64_t now_ns = clock_wall_ns();
    uint64_t left_ns;

    if (str_is_empty(peer->id))
        return ANONYMOUS_LIFE_NS;
    left_ns = peer->not_after_ns > now_ns ? (uint64_t)(peer->not_after_ns - now_ns) : 0;
    return left_ns < LIFE_MAX_NS ? left_ns : LIFE_MAX_NS;
}

static struct same_peer *join_same_peer(struct xds_server *server, struct str id)
{
    struct same_peer *same = map_find(&server->peers, id);

    if (!same) {
        char *behind;
        same = mem_zalloc(sizeof(*same) + id.len);
        behind = (char *)(same + 1);
        memcpy(behind, id.ptr, id.len);
        same->id = str_of(behind, id.len);
        map_put(&server->peers, same->id, same);
    }
    same->n_connections++;
    return same;
}

static void close_oldest_of(struct xds_server *server, const struct same_peer *same)
{
    list_foreach(link, &server->proven)
    {
        struct connection *connection = list_entry(link, struct connection, link);

        if (connection->same != same)
            continue;
        log_warn("a peer has too many connections; the oldest was ended", log_str("peer", same->id),
                 log_addr("remote", &connection->context.peer.remote),
                 log_u64("most", SERVER_SAME_PEER));
        connection_close(connection);
        return;
    }
}

static void connection_proven(struct connection *connection)
{
    struct xds_server *server = connection->server;

    connection->is_proven = true;
    server->n_unproven--;
    list_remove(&connection->link);
    list_push_back(&server->proven, &connection->link);
    connection->same = join_same_peer(server, connection->context.peer.id);
    if (connection->same->n_connections > SERVER_SAME_PEER)
        close_oldest_of(server, connection->same);
}

static void on_handshake(void *owner, int err, struct stream *stream, struct str why)
{
    struct connection *connection = owner;
    struct xds_server *server = connection->server;
    struct h2_options options = {.max_concurrent_streams = SERVER_STREAMS};
    const struct tls_peer *peer;

    connection->handshake = NULL;
    if (err) {
        log_info("a handshake at the control port failed",
                 log_addr("remote", &connection->context.peer.remote), log_err("error", err),
                 log_str("why", why));
        connection_close(connection);
        return;
    }
    peer = tls_peer(stream);
    connection->context.peer.id = arena_str(&connection->arena, peer->id);
    if (str_is_empty(peer->id))
        options.max_concurrent_streams = ANONYMOUS_STREAMS;
    else
        connection_proven(connection);
    timer_start(server->loop, &connection->life, life_ns(peer), on_life_end);
    connection->secured = stream;
    connection->h2 = h2_server_new(server->loop, stream, &options, &h2_events, connection);
}

static struct connection *connection_new(struct xds_server *server, const struct stream *tcp)
{
    struct connection *connection = mem_new(struct connection);

    connection->server = server;
    connection->context = (struct server_context){
        .loop = server->loop,
        .events = &server->events,
        .owner = server->owner,
        .peer.remote = tcp_remote(tcp),
    };
    list_init(&connection->context.calls);
    list_push_back(&server->unproven, &connection->link);
    server->n_connections++;
    server->n_unproven++;
    return connection;
}

static void on_accept(void *owner, struct stream *tcp)
{
    struct xds_server *server = owner;
    struct tls_options tls = {
        .role = TLS_SERVER,
        .identity = *server->options.identity,
        .trust = server->options.trust,
        .peer_certificate_optional = true,
    };
    struct connection *connection;

    if (server->is_closing) {
        stream_close(tcp, -ERR_SHUTDOWN);
        return;
    }
    if (!tls.identity || server->n_connections >= SERVER_CONNECTIONS) {
        log_warn("a connection to the control port was refused",
                 log_cstr("why", tls.identity ? "too many connections" : "no certificate yet"));
        stream_close(tcp, -ERR_OVERLOAD);
        return;
    }
    if (server->n_unproven >= SERVER_UNPROVEN)
        connection_close(list_entry(server->unproven.next, struct connection, link));
    connection = connection_new(server, tcp);
    connection->handshake = tls_handshake(server->loop, tcp, &tls, on_handshake, connection);
}

/* ---- the owner's calls ---- */

int xds_server_open(struct loop *loop, const struct xds_server_options *options,
                    const struct xds_server_events *events, void *owner,
                    struct xds_server **out_server, int *out_errno)
{
    struct xds_server *server = mem_new(struct xds_server);
    int err;

    server->loop = loop;
    server->options = *options;
    server->events = *events;
    server->owner = owner;
    list_init(&server->proven);
    list_init(&server->unproven);
    err = listener_open(loop, &options->listen, &(struct listener_options){0}, on_accept, server,
                        &server->listener, out_errno);
    if (err) {
        mem_free(server);
        return err;
    }
    *out_server = server;
    return 0;
}

struct addr xds_server_addr(const struct xds_server *server)
{
    return listener_addr(server->listener);
}

void xds_server_notify(struct xds_server *server, struct resource_set *set)
{
    list_foreach(link, &server->proven)
        server_call_notify(&list_entry(link, struct connection, link)->context, set);
}

void xds_server_disconnect(struct xds_server *server, struct str peer_id)
{
    list_foreach(link, &server->proven)
    {
        struct connection *connection = list_entry(link, struct connection, link);

        if (str_eq(connection->context.peer.id, peer_id))
            connection_close(connection);
    }
}

void xds_server_recheck(struct xds_server *server, const struct trust *trust)
{
    list_foreach(link, &server->proven)
    {
        struct connection *connection = list_entry(link, struct connection, link);
        const int err = tls_recheck(connection->secured, trust);

        if (err == 0)
            continue;
        log_warn("a control connection was cut", log_str("peer", connection->context.peer.id),
                 log_addr("remote", &connection->context.peer.remote), log_err("why", err));
        connection_close(connection);
    }
}

static void close_all(struct list *connections)
{
    list_foreach(link, connections)
    {
        struct connection *connection = list_entry(link, struct connection, link);

        connection->context.is_silent = true;
        connection_close(connection);
    }
}

void xds_server_close(struct xds_server *server)
{
    server->is_closing = true; /* what the listener's backlog still holds is turned away */
    listener_close(server->listener);
    close_all(&server->proven);
    close_all(&server->unproven);
    map_fini(&server->peers);
    loop_bury(server->loop, server, mem_free);
}
