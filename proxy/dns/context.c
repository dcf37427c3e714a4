#include "proxy/dns/context.h"

#include <string.h>

#include "proxy/base/rng.h"
#include "proxy/dns/wire.h"

#define RCODE_FORMERR 1
#define CAPTURED_PORT 53

/* What is captured was sent to port 53 of somebody's resolver. Who calls our own port may be
 * anybody, under anybody's address. */
static bool is_captured(const struct dns_context *context, const struct addr *asked, bool tcp)
{
    const uint16_t own_port = tcp ? context->tcp_port : context->udp_port;
    return !context->options.transparent || asked->port == CAPTURED_PORT || asked->port != own_port;
}

enum dns_verdict dns_context_answer(struct dns_context *context, struct str query,
                                    const struct addr *asked, bool tcp, size_t *out_len)
{
    uint8_t *packet = dns_context_packet(context);
    enum dns_verdict verdict;
    if (is_captured(context, asked, tcp))
        verdict = dns_answer(*context->snapshot, query, tcp, context->rotation++, packet, out_len);
    else
        verdict = dns_refuse(query, packet, out_len) ? DNS_ANSWERED : DNS_DROP;
    meter_add(context->meter, METRIC_DNS_REQUESTS, 1);
    if (verdict == DNS_DROP ||
        (verdict == DNS_ANSWERED && dns_rcode(str_of(packet, *out_len)) == RCODE_FORMERR))
        meter_add(context->meter, METRIC_DNS_MALFORMED, 1);
    return verdict;
}

static unsigned count_of(const struct dns_context *context, const struct ip *client)
{
    unsigned n = 0;
    list_foreach(link, &context->waiting)
    {
        n += ip_eq(&list_entry(link, struct dns_waiting, link)->client, client);
    }
    return n;
}

bool dns_context_admit(struct dns_context *context, struct dns_waiting *waiting,
                       const struct ip *client)
{
    /* Below the one bound nobody can have reached the other. */
    if (context->n_waiting >= DNS_RELAYS_MAX)
        return false;
    if (context->n_waiting >= DNS_RELAYS_PER_CLIENT &&
        count_of(context, client) >= DNS_RELAYS_PER_CLIENT)
        return false;
    waiting->client = *client;
    list_push_back(&context->waiting, &waiting->link);
    context->n_waiting++;
    return true;
}

void dns_context_leave(struct dns_context *context, struct dns_waiting *waiting)
{
    ensure(context->n_waiting > 0);
    list_remove(&waiting->link);
    context->n_waiting--;
}

struct addr dns_context_resolver(const struct dns_context *context, const struct addr *asked)
{
    static const struct ip unspecified;
    if (!context->options.transparent)
        return context->options.resolver;
    /* No pod's resolver: it would be what listens on the node's loopback, see resolve.c. */
    if (ip_is_loopback(&asked->ip) ||
        memcmp(asked->ip.bytes, unspecified.bytes, asked->ip.len) == 0)
        return (struct addr){0};
    return *asked;
}

bool dns_is_ourselves(const struct addr *resolver, const struct ip *local, uint16_t own_port)
{
    return resolver->port == own_port &&
           (ip_is_loopback(&resolver->ip) || ip_eq(&resolver->ip, local));
}

uint16_t dns_fresh_id(void)
{
    uint16_t id;
    rng_secret(&id, sizeof(id));
    return id;
}
