#include "tests/unit/proxy_dns/served.h"

#include <criterion/criterion.h>

struct loop *loop;
struct meter *meter;
struct snapshot *snapshot;
const struct snapshot *current;
struct resolver resolver;
struct dns_server *server;
struct client client;

void open_server(struct addr listen, struct addr to)
{
    const struct dns_server_options options = {.listen = listen, .resolver = to};
    int errnum;
    cr_assert_eq(dns_server_open(loop, &options, &current, meter, &server, &errnum), 0);
}

void set_up(void)
{
    loop = loop_new();
    meter = meter_new();
    snapshot = zone_snapshot(7, true);
    current = snapshot;
    resolver_open(&resolver, loop);
    open_server(localhost(), resolver.addr);
}

void tear_down(void)
{
    if (client.loop)
        client_close(&client);
    dns_server_close(server);
    resolver_close(&resolver);
    loop_finish(loop);
    snapshot_free(snapshot);
    meter_free(meter);
}

void set_up_udp(void)
{
    set_up();
    client_open_udp(&client, loop, dns_server_udp_addr(server));
}

void set_up_tcp(void)
{
    set_up();
    client_open_tcp(&client, loop, dns_server_tcp_addr(server));
}

struct message odd_answer;

void answer_oddly(struct resolver *from, struct asked *asked)
{
    resolver_make_answer(asked, &odd_answer);
    odd_answer.bytes[2] |= 0x02; /* TC */
    odd_answer.bytes[3] |= 0x7b; /* Z, AD, CD, RCODE 11 */
    message_add(&odd_answer, "\0\0\x29\x04\xd0\0\0\0\0\0\4\xfd\xe9\0\0 garbage", 24);
    resolver_send(from, asked, message_str(&odd_answer));
}

void expect_same_but_id(struct str a, struct str b)
{
    cr_expect_eq(a.len, b.len);
    cr_expect(str_eq(str_sub(a, 2, a.len), str_sub(b, 2, b.len)));
}
