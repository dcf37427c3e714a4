/*
 * Happy path: dns_relay() -> the resolver's packet -> on_relayed. Failure modes: packets that are
 * no answer to the query are passed over and the wait goes on; the deadline gives SERVFAIL;
 * dns_relays_fini() forgets.
 */
#include "proxy/dns/relay.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/dns/wire.h"
#include "proxy/io/udp.h"

struct relay {
    struct dns_waiting waiting;
    struct list link; /* in relays->list */
    struct dns_relays *relays;
    struct udp *udp;
    struct timer deadline;
    struct addr client, asked;
    uint16_t client_id;
    size_t len;
    uint8_t query[]; /* with our own id */
};

static void relay_end(struct relay *relay)
{
    struct dns_context *context = relay->relays->context;
    timer_stop(&relay->deadline);
    if (relay->udp)
        udp_close(relay->udp);
    list_remove(&relay->link);
    dns_context_leave(context, &relay->waiting);
    loop_bury(context->loop, relay, mem_free);
}

static void hand_back(struct relay *relay, size_t len)
{
    struct dns_relays *relays = relay->relays;
    uint8_t *packet = dns_context_packet(relays->context);
    dns_set_id(packet, relay->client_id);
    relays->on_relayed(relays->owner, str_of(packet, len), &relay->client, &relay->asked);
}

static void on_packet(void *owner, struct str packet, const struct addr *from,
                      const struct addr *to)
{
    (void)from, (void)to; /* the socket is connected: only the resolver can be heard */
    struct relay *relay = owner;
    if (packet.len > DNS_TCP_MAX || !dns_is_answer_to(packet, str_of(relay->query, relay->len)))
        return;
    memcpy(dns_context_packet(relay->relays->context), packet.ptr, packet.len);
    hand_back(relay, packet.len);
    relay_end(relay);
}

static void on_deadline(struct timer *timer)
{
    struct relay *relay = container_of(timer, struct relay, deadline);
    struct dns_context *context = relay->relays->context;
    size_t len;
    meter_add(context->meter, METRIC_DNS_UPSTREAM_FAILURES, 1);
    if (dns_servfail(str_of(relay->query, relay->len), dns_context_packet(context), &len))
        hand_back(relay, len);
    relay_end(relay);
}

/* NULL when a bound was reached. */
static struct relay *relay_new(struct dns_relays *relays, struct str query,
                               const struct addr *client, const struct addr *asked)
{
    struct relay *relay = mem_zalloc(sizeof(*relay) + query.len);
    if (!dns_context_admit(relays->context, &relay->waiting, &client->ip)) {
        mem_free(relay);
        return NULL;
    }
    relay->relays = relays;
    relay->client = *client;
    relay->asked = *asked;
    relay->client_id = dns_id(query);
    relay->len = query.len;
    memcpy(relay->query, query.ptr, query.len);
    dns_set_id(relay->query, dns_fresh_id());
    list_push_back(&relays->list, &relay->link);
    return relay;
}

static bool send_on(struct relay *relay, const struct addr *resolver)
{
    struct dns_context *context = relay->relays->context;
    const struct udp_options options = {.mark = context->options.mark};
    if (ip_is_none(&resolver->ip) || resolver->port == 0 ||
        udp_connect(context->loop, resolver, &options, on_packet, relay, &relay->udp) < 0)
        return false;
    struct addr local = udp_addr(relay->udp);
    return !dns_is_ourselves(resolver, &local.ip, context->udp_port) &&
           udp_send(relay->udp, str_of(relay->query, relay->len), NULL) == 0;
}

void dns_relays_init(struct dns_relays *relays, struct dns_context *context,
                     dns_on_relayed *on_relayed, void *owner)
{
    *relays = (struct dns_relays){.context = context, .on_relayed = on_relayed, .owner = owner};
    list_init(&relays->list);
}

bool dns_relay(struct dns_relays *relays, struct str query, const struct addr *client,
               const struct addr *asked)
{
    struct dns_context *context = relays->context;
    struct addr resolver = dns_context_resolver(context, asked);
    meter_add(context->meter, METRIC_DNS_UPSTREAM_REQUESTS, 1);
    struct relay *relay = relay_new(relays, query, client, asked);
    if (relay && send_on(relay, &resolver)) {
        timer_start(context->loop, &relay->deadline, DNS_RELAY_TIMEOUT_MS * NS_PER_MS, on_deadline);
        return true;
    }
    if (relay)
        relay_end(relay);
    meter_add(context->meter, METRIC_DNS_UPSTREAM_FAILURES, 1);
    return false;
}

void dns_relays_fini(struct dns_relays *relays)
{
    while (!list_is_empty(&relays->list))
        relay_end(list_entry(relays->list.next, struct relay, link));
}
