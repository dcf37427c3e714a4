/*
 * Happy path: packet -> answer or relay -> packet. Failure modes: no port to listen on is the
 * caller's to handle; all else is answered SERVFAIL or, where no answer can be given, dropped and
 * counted.
 *
 * Close: relays and sessions are forgotten; what the listener's backlog still holds comes in later
 * in the same turn (listener_close()) and is reset.
 */
#include "proxy/dns/server.h"

#include "proxy/base/mem.h"
#include "proxy/dns/relay.h"
#include "proxy/dns/session.h"
#include "proxy/io/udp.h"

struct dns_server {
    struct dns_context context;
    struct udp *udp;
    struct listener *listener;
    struct dns_relays relays;
    struct dns_sessions sessions;
    bool is_closing;
};

/* A packet that cannot be sent is lost, as packets are: the client asks again. */
static void send_packet(void *owner, struct str packet, const struct addr *client,
                        const struct addr *asked)
{
    struct dns_server *server = owner;
    if (server->context.options.transparent)
        (void)udp_send_from(server->udp, packet, client, asked);
    else
        (void)udp_send(server->udp, packet, client);
}

static void on_packet(void *owner, struct str query, const struct addr *from, const struct addr *to)
{
    struct dns_server *server = owner;
    uint8_t *packet = dns_context_packet(&server->context);
    size_t len;
    switch (dns_context_answer(&server->context, query, to, false, &len)) {
    case DNS_ANSWERED: break;
    case DNS_RELAY:
        if (dns_relay(&server->relays, query, from, to) || !dns_servfail(query, packet, &len))
            return;
        break;
    case DNS_DROP: return;
    }
    send_packet(server, str_of(packet, len), from, to);
}

static void on_accept(void *owner, struct stream *stream)
{
    dns_server_take(owner, stream);
}

static int open_udp(struct dns_server *server, int *out_errno)
{
    const struct dns_server_options *options = &server->context.options;
    const struct udp_options udp = {.transparent = options->transparent,
                                    .reuse_port = options->reuse_port,
                                    .mark = options->listen_mark};
    int err = udp_open(server->context.loop, &options->listen, &udp, on_packet, server,
                       &server->udp, out_errno);
    if (err == 0)
        server->context.udp_port = udp_addr(server->udp).port;
    return err;
}

static int open_tcp(struct dns_server *server, int *out_errno)
{
    const struct dns_server_options *options = &server->context.options;
    const struct listener_options tcp = {.transparent = options->transparent,
                                         .reuse_port = options->reuse_port,
                                         .mark = options->listen_mark};
    int err = listener_open(server->context.loop, &options->listen, &tcp, on_accept, server,
                            &server->listener, out_errno);
    if (err == 0)
        server->context.tcp_port = listener_addr(server->listener).port;
    return err;
}

static struct dns_server *server_new(struct loop *loop, const struct dns_server_options *options,
                                     const struct snapshot *const *snapshot, struct meter *meter)
{
    struct dns_server *server = mem_new(struct dns_server);
    server->context.loop = loop;
    server->context.meter = meter;
    server->context.snapshot = snapshot;
    server->context.options = *options;
    list_init(&server->context.waiting);
    dns_relays_init(&server->relays, &server->context, send_packet, server);
    dns_sessions_init(&server->sessions, &server->context);
    return server;
}

int dns_server_open(struct loop *loop, const struct dns_server_options *options,
                    const struct snapshot *const *snapshot, struct meter *meter,
                    struct dns_server **out_server, int *out_errno)
{
    struct dns_server *server = server_new(loop, options, snapshot, meter);
    int err = open_udp(server, out_errno);
    if (err < 0)
        goto fail_free;
    err = open_tcp(server, out_errno);
    if (err < 0)
        goto fail_udp;
    *out_server = server;
    return 0;

fail_udp:
    udp_close(server->udp);
fail_free:
    mem_free(server);
    return err;
}

struct addr dns_server_udp_addr(const struct dns_server *server)
{
    return udp_addr(server->udp);
}

struct addr dns_server_tcp_addr(const struct dns_server *server)
{
    return listener_addr(server->listener);
}

void dns_server_take(struct dns_server *server, struct stream *stream)
{
    if (server->is_closing)
        stream_close(stream, -ERR_SHUTDOWN);
    else
        dns_sessions_take(&server->sessions, stream);
}

void dns_server_close(struct dns_server *server)
{
    ensure(!server->is_closing);
    server->is_closing = true;
    dns_relays_fini(&server->relays);
    dns_sessions_fini(&server->sessions);
    udp_close(server->udp);
    listener_close(server->listener);
    loop_bury(server->context.loop, server, mem_free);
}
