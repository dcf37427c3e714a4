#include "proxy/accept/acceptor.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/io/tcp.h"

#define DOORS 3

struct acceptor {
    struct loop *loop;
    bool is_closed;                /* a closed door still delivers its backlog within the turn */
    struct listener *doors[DOORS]; /* by enum arrival_kind; NULL once closed */
    struct addr addrs[DOORS];
    struct tunnel_server *tunnels;
    void (*on_arrival)(void *owner, struct arrival *arrival);
    void *owner;
};

static void arrive(struct acceptor *acceptor, enum arrival_kind kind, struct stream *stream)
{
    const struct addr source = tcp_remote(stream), destination = tcp_local(stream);
    if (acceptor->is_closed) {
        stream_close(stream, -ERR_SHUTDOWN);
        return;
    }
    acceptor->on_arrival(acceptor->owner, arrival_new(kind, stream, &source, &destination));
}

static void on_outbound(void *owner, struct stream *stream)
{
    arrive(owner, ARRIVAL_OUTBOUND, stream);
}

static void on_plaintext(void *owner, struct stream *stream)
{
    arrive(owner, ARRIVAL_PLAINTEXT, stream);
}

static void on_tunnel(void *owner, struct stream *stream)
{
    struct acceptor *acceptor = owner;
    if (acceptor->is_closed)
        stream_close(stream, -ERR_SHUTDOWN);
    else
        tunnel_server_take(acceptor->tunnels, stream);
}

static int open_door(struct acceptor *acceptor, struct loop *loop, enum arrival_kind kind,
                     const struct addr *addr, const struct acceptor_options *options,
                     struct text *why)
{
    static void (*const on_accept[DOORS])(void *owner, struct stream *stream) = {
        [ARRIVAL_OUTBOUND] = on_outbound,
        [ARRIVAL_TUNNEL] = on_tunnel,
        [ARRIVAL_PLAINTEXT] = on_plaintext,
    };
    const struct listener_options listener = {
        .transparent = options->transparent,
        .reuse_port = true,
        .acks_late = kind == ARRIVAL_OUTBOUND,
        .mark = kind == ARRIVAL_OUTBOUND ? options->outbound_mark : options->mark,
    };
    char buf[ADDR_TEXT_MAX];
    int errnum = 0;
    const int err = listener_open(loop, addr, &listener, on_accept[kind], acceptor,
                                  &acceptor->doors[kind], &errnum);
    if (err < 0) {
        if (addr->ip.len == 0) /* any */
            text_addf(why, "cannot listen on port %u: %s", addr->port, strerrordesc_np(errnum));
        else
            text_addf(why, "cannot listen on %s: %s", addr_text(addr, buf),
                      strerrordesc_np(errnum));
        return err;
    }
    acceptor->addrs[kind] = listener_addr(acceptor->doors[kind]);
    return 0;
}

int acceptor_open(struct loop *loop, const struct acceptor_options *options, struct meter *meter,
                  void (*on_arrival)(void *owner, struct arrival *arrival), void *owner,
                  struct acceptor **out_acceptor, struct text *why)
{
    const struct addr *addrs[DOORS] = {
        [ARRIVAL_OUTBOUND] = &options->outbound,
        [ARRIVAL_TUNNEL] = &options->tunnel,
        [ARRIVAL_PLAINTEXT] = &options->inbound,
    };
    struct acceptor *acceptor = mem_new(struct acceptor);
    acceptor->loop = loop;
    acceptor->on_arrival = on_arrival;
    acceptor->owner = owner;
    acceptor->tunnels = tunnel_server_new(loop, &options->tunnels, meter, on_arrival, owner);
    for (enum arrival_kind kind = 0; kind < DOORS; kind++) {
        const int err = open_door(acceptor, loop, kind, addrs[kind], options, why);
        if (err < 0) {
            acceptor_close(acceptor);
            return err;
        }
    }
    *out_acceptor = acceptor;
    return 0;
}

struct addr acceptor_addr(const struct acceptor *acceptor, enum arrival_kind door)
{
    return acceptor->addrs[door];
}

size_t acceptor_sessions(const struct acceptor *acceptor)
{
    return tunnel_server_sessions(acceptor->tunnels);
}

void acceptor_recheck(struct acceptor *acceptor)
{
    tunnel_server_recheck(acceptor->tunnels);
}

static void close_door(struct acceptor *acceptor, enum arrival_kind kind)
{
    if (acceptor->doors[kind])
        listener_close(acceptor->doors[kind]);
    acceptor->doors[kind] = NULL;
}

void acceptor_close_doors(struct acceptor *acceptor)
{
    for (enum arrival_kind kind = 0; kind < DOORS; kind++)
        close_door(acceptor, kind);
    tunnel_server_last_call(acceptor->tunnels);
}

void acceptor_drain(struct acceptor *acceptor)
{
    tunnel_server_drain(acceptor->tunnels);
}

static void free_acceptor(void *ptr)
{
    mem_free(ptr);
}

void acceptor_close(struct acceptor *acceptor)
{
    acceptor->is_closed = true;
    acceptor_close_doors(acceptor);
    tunnel_server_free(acceptor->tunnels);
    loop_bury(acceptor->loop, acceptor, free_acceptor);
}
