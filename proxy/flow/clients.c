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

void clients_fini(struct clients *clients)
{
    forget(clients);
    ensure(clients->by_ip.len == 0);
    map_fini(&clients->by_ip);
}
