#include "proxy/flow/clients.h"

#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

static struct str key_of(const struct ip *ip)
{
    return str_of((const char *)ip->bytes, sizeof ip->bytes);
}

static void forget(struct clients *clients)
{
    struct str key;
    void *value;
    for (size_t idx = 0; map_next(&clients->by_ip, &idx, &key, &value);) {
        struct client *client = value;
        if (client->n_flows == 0)
            mem_free(map_remove_at(&clients->by_ip, idx));
    }
}

struct client *clients_enter(struct clients *clients, const struct ip *ip)
{
    struct client *client = map_find(&clients->by_ip, key_of(ip));
    if (!client) {
        if (clients->by_ip.len >= CLIENTS_MAX)
            forget(clients);
        client = mem_new(struct client);
        client->ip = *ip;
        (void)map_put(&clients->by_ip, key_of(&client->ip), client);
    }
    client->n_flows++;
    return client;
}

void client_leave(struct client *client)
{
    ensure(client->n_flows > 0);
    client->n_flows--;
}

/* How long it takes to forgive what it has done so far. */
static uint64_t debt_ns(const struct client *client, uint64_t now_ns)
{
    return client->forgiven_ns > now_ns ? client->forgiven_ns - now_ns : 0;
}

void client_note_fault(struct client *client, uint64_t now_ns)
{
    const uint64_t debt = debt_ns(client, now_ns) + CLIENT_FAULT_NS;
    const uint64_t most = CLIENT_FAULTS_MAX * CLIENT_FAULT_NS;
    client->forgiven_ns = now_ns + (debt < most ? debt : most);
}

bool client_is_nuisance(const struct client *client, uint64_t now_ns)
{
    return debt_ns(client, now_ns) > CLIENT_FAULTS_FREE * CLIENT_FAULT_NS;
}

uint64_t client_penance_ns(struct client *client, uint64_t now_ns)
{
    uint64_t at_ns = now_ns + debt_ns(client, now_ns) / CLIENT_PENANCE_SHARE;
    if (at_ns < client->heard_ns + CLIENT_GAP_NS)
        at_ns = client->heard_ns + CLIENT_GAP_NS;
    if (at_ns > now_ns + CLIENT_WAIT_MAX_NS)
        at_ns = now_ns + CLIENT_WAIT_MAX_NS;
    client->heard_ns = at_ns;
    return at_ns - now_ns;
}

void clients_fini(struct clients *clients)
{
    forget(clients);
    ensure(clients->by_ip.len == 0);
    map_fini(&clients->by_ip);
}
