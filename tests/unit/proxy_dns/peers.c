#include "tests/unit/proxy_dns/peers.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/dns/wire.h"
#include "tests/kit/loop_kit.h"

#define PATIENCE_MS 5000

struct addr localhost(void)
{
    struct addr addr;
    ensure(addr_parse(STR("127.0.0.1:0"), &addr) == 0);
    return addr;
}

static void write_framed(struct stream *stream, struct str message)
{
    uint8_t head[2] = {(uint8_t)(message.len >> 8), (uint8_t)message.len};
    stream_write_copy(stream, head, 2);
    stream_write_copy(stream, message.ptr, message.len);
}

/* ------------------------------------------------------------------ client */

static void keep(struct client *client, struct str message)
{
    ensure(client->n_got < GOT_MAX);
    char *copy = mem_alloc(message.len + 1);
    memcpy(copy, message.ptr, message.len);
    client->got[client->n_got++] = (struct str){copy, message.len};
}

static void on_client_packet(void *owner, struct str packet, const struct addr *from,
                             const struct addr *to)
{
    (void)from, (void)to;
    keep(owner, packet);
}

static void on_client_data(void *owner, struct slice bytes)
{
    struct client *client = owner;
    struct str message;
    dns_framer_feed(&client->framer, slice_ref(bytes));
    while (dns_framer_next(&client->framer, &message))
        keep(client, message);
}

static void on_client_end(void *owner)
{
    struct client *client = owner;
    client->is_ended = true;
}

static void on_client_drain(void *owner)
{
    (void)owner;
}

static void on_client_fail(void *owner, int err)
{
    (void)err;
    struct client *client = owner;
    client->is_failed = true;
}

static const struct stream_events client_events = {on_client_data, on_client_end, on_client_drain,
                                                   on_client_fail};

static void on_client_connected(void *owner, int err, struct stream *stream)
{
    struct client *client = owner;
    client->connect = NULL;
    client->is_connected = true;
    ensure(err == 0);
    client->stream = stream;
    stream_set_owner(stream, &client_events, client);
    stream_resume(stream);
}

void client_open_udp(struct client *client, struct loop *loop, struct addr server)
{
    const struct udp_options options = {0};
    *client = (struct client){.loop = loop};
    ensure(udp_connect(loop, &server, &options, on_client_packet, client, &client->udp) == 0);
}

void client_open_tcp(struct client *client, struct loop *loop, struct addr server)
{
    client_open_tcp_from(client, loop, server, "127.0.0.1");
}

void client_open_tcp_from(struct client *client, struct loop *loop, struct addr server,
                          const char *source)
{
    struct tcp_options options = {0};
    ensure(ip_parse(str_from(source), &options.source.ip) == 0);
    *client = (struct client){.loop = loop};
    client->connect = tcp_connect(loop, &server, &options, on_client_connected, client);
    ensure(run_until_set(loop, &client->is_connected, PATIENCE_MS));
}

void client_send(struct client *client, struct str message)
{
    if (client->udp)
        ensure(udp_send(client->udp, message, NULL) == 0);
    else
        write_framed(client->stream, message);
}

void client_ask(struct client *client, const char *name, uint16_t type, uint16_t id)
{
    static struct message query;
    query_make(&query, name, type);
    dns_set_id(query.bytes, id);
    client_send(client, message_str(&query));
}

bool client_wait(struct client *client, unsigned n)
{
    return run_until_count(client->loop, &client->n_got, n, PATIENCE_MS);
}

const char *client_text(const struct client *client, unsigned idx)
{
    return message_text(client->got[idx]);
}

uint16_t client_id(const struct client *client, unsigned idx)
{
    return dns_id(client->got[idx]);
}

void client_close(struct client *client)
{
    if (client->udp)
        udp_close(client->udp);
    if (client->stream)
        stream_close(client->stream, 0);
    dns_framer_fini(&client->framer);
    for (unsigned i = 0; i < client->n_got; i++)
        mem_free((void *)(uintptr_t)client->got[i].ptr);
}

/* ------------------------------------------------------------------ resolver */

static void asked(struct resolver *resolver, struct str query, const struct addr *from,
                  struct stream *stream)
{
    struct asked *asked = &resolver->last[resolver->n_asked++ % ARRAY_LEN(resolver->last)];
    asked->query.len = 0;
    message_add(&asked->query, query.ptr, query.len);
    asked->from = from ? *from : (struct addr){0};
    asked->stream = stream;
    if (resolver->on_asked)
        resolver->on_asked(resolver, asked);
}

static void on_resolver_packet(void *owner, struct str packet, const struct addr *from,
                               const struct addr *to)
{
    (void)to;
    asked(owner, packet, from, NULL);
}

/* What a stream of the resolver is given as its owner. */
struct line {
    struct resolver *resolver;
    unsigned idx;
};

static struct line lines[16];

static void on_line_data(void *owner, struct slice bytes)
{
    struct line *line = owner;
    struct resolver *resolver = line->resolver;
    struct dns_framer *framer = &resolver->framers[line->idx];
    struct str message;
    dns_framer_feed(framer, slice_ref(bytes));
    while (resolver->streams[line->idx] && dns_framer_next(framer, &message))
        asked(resolver, message, NULL, resolver->streams[line->idx]);
}

static void on_line_over(void *owner)
{
    struct line *line = owner;
    if (line->resolver->streams[line->idx])
        resolver_hang_up(line->resolver, line->resolver->streams[line->idx]);
}

static void on_line_fail(void *owner, int err)
{
    (void)err;
    on_line_over(owner);
}

static const struct stream_events line_events = {on_line_data, on_line_over, on_client_drain,
                                                 on_line_fail};

static void on_line_accept(void *owner, struct stream *stream)
{
    struct resolver *resolver = owner;
    unsigned idx = resolver->n_streams++;
    ensure(idx < ARRAY_LEN(resolver->streams));
    lines[idx] = (struct line){resolver, idx};
    resolver->streams[idx] = stream;
    stream_set_owner(stream, &line_events, &lines[idx]);
    stream_resume(stream);
}

/* UDP and TCP on one port: a port that is free for the one may be taken for the other. */
void resolver_open(struct resolver *resolver, struct loop *loop)
{
    const struct udp_options udp = {0};
    const struct listener_options tcp = {0};
    int errnum;
    *resolver = (struct resolver){.loop = loop};
    for (unsigned tries = 0; tries < 20; tries++) {
        struct addr any = localhost();
        ensure(udp_open(loop, &any, &udp, on_resolver_packet, resolver, &resolver->udp, &errnum) ==
               0);
        resolver->addr = udp_addr(resolver->udp);
        if (listener_open(loop, &resolver->addr, &tcp, on_line_accept, resolver,
                          &resolver->listener, &errnum) == 0)
            return;
        udp_close(resolver->udp);
    }
    ensure(!"a port");
}

void resolver_send(struct resolver *resolver, const struct asked *asked, struct str message)
{
    if (asked->stream)
        write_framed(asked->stream, message);
    else
        ensure(udp_send(resolver->udp, message, &asked->from) == 0);
}

void resolver_make_answer(const struct asked *asked, struct message *out_answer)
{
    static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4, 192, 0, 2, 1};
    struct dns_question question;
    ensure(dns_question_read(message_str(&asked->query), &question));
    out_answer->len = 0;
    message_add(out_answer, asked->query.bytes, question.end);
    message_set_u16(out_answer, 2, 0x8180);
    message_set_u16(out_answer, 6, 1);
    message_set_u16(out_answer, 10, 0);
    message_add(out_answer, record, sizeof(record));
}

void resolver_answer(struct resolver *resolver, struct asked *asked)
{
    static struct message answer;
    resolver_make_answer(asked, &answer);
    resolver_send(resolver, asked, message_str(&answer));
}

void resolver_hang_up(struct resolver *resolver, struct stream *stream)
{
    for (unsigned i = 0; i < resolver->n_streams; i++) {
        if (resolver->streams[i] != stream)
            continue;
        resolver->streams[i] = NULL;
        stream_shutdown(stream);
        stream_close(stream, 0);
        dns_framer_fini(&resolver->framers[i]);
    }
}

bool resolver_wait(struct resolver *resolver, unsigned n_asked)
{
    return run_until_count(resolver->loop, &resolver->n_asked, n_asked, PATIENCE_MS);
}

void resolver_close(struct resolver *resolver)
{
    for (unsigned i = 0; i < resolver->n_streams; i++) {
        if (resolver->streams[i])
            resolver_hang_up(resolver, resolver->streams[i]);
    }
    udp_close(resolver->udp);
    listener_close(resolver->listener);
}
