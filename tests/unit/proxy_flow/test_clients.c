#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/flow/clients.h"

TestSuite(flow_clients, .timeout = 20);

static struct ip ip_of(unsigned n)
{
    return (struct ip){4, {10, 0, (uint8_t)(n >> 8), (uint8_t)n}};
}

Test(flow_clients, connections_in_a_row_are_of_one_client)
{
    struct clients clients = {0};
    const struct ip ip = ip_of(1), other_ip = ip_of(2);

    struct client *client = clients_enter(&clients, &ip);
    client->resets.n = 7;
    client_leave(client);
    struct client *again = clients_enter(&clients, &ip);
    struct client *other = clients_enter(&clients, &other_ip);
    cr_expect_eq(again, client);
    cr_expect_eq(again->resets.n, 7);
    cr_expect_neq(other, client);
    cr_expect_eq(other->resets.n, 0);
    client_leave(again);
    client_leave(other);
    clients_fini(&clients);
}

Test(flow_clients, are_forgotten_when_there_are_too_many_but_for_those_that_are_in)
{
    struct clients clients = {0};
    const struct ip first = ip_of(0);
    struct client *stays = clients_enter(&clients, &first);

    for (unsigned i = 1; i < 3 * CLIENTS_MAX; i++) {
        const struct ip ip = ip_of(i);
        client_leave(clients_enter(&clients, &ip));
        cr_assert_leq(clients.by_ip.len, CLIENTS_MAX);
    }
    cr_expect_eq(clients_enter(&clients, &first), stays);
    client_leave(stays);
    client_leave(stays);
    clients_fini(&clients);
}

static void note_faults(struct client *client, unsigned n, uint64_t now_ns)
{
    for (unsigned i = 0; i < n; i++)
        client_note_fault(client, now_ns);
}

Test(flow_clients, who_is_refused_often_is_a_nuisance_until_that_is_forgiven)
{
    const uint64_t start_ns = 5 * NS_PER_SEC;
    struct client client = {0};

    cr_expect_not(client_is_nuisance(&client, start_ns));
    note_faults(&client, CLIENT_FAULTS_FREE, start_ns);
    cr_expect_not(client_is_nuisance(&client, start_ns));
    note_faults(&client, 1, start_ns);
    cr_expect(client_is_nuisance(&client, start_ns));
    cr_expect(client_is_nuisance(&client, start_ns + CLIENT_FAULT_NS - 1));
    cr_expect_not(client_is_nuisance(&client, start_ns + CLIENT_FAULT_NS));
}

Test(flow_clients, as_many_faults_a_second_as_are_free_make_nobody_a_nuisance)
{
    struct client client = {0};
    uint64_t now_ns = 5 * NS_PER_SEC;
    for (unsigned i = 0; i < 100 * CLIENT_FAULTS_FREE; i++, now_ns += CLIENT_FAULT_NS) {
        client_note_fault(&client, now_ns);
        cr_assert_not(client_is_nuisance(&client, now_ns));
    }
}

Test(flow_clients, the_worst_nuisance_is_forgiven_as_soon_as_any_that_was_as_bad_as_counts)
{
    const uint64_t start_ns = 5 * NS_PER_SEC;
    const uint64_t most_ns = (CLIENT_FAULTS_MAX - CLIENT_FAULTS_FREE) * CLIENT_FAULT_NS;
    struct client client = {0};
    note_faults(&client, 100000, start_ns);
    cr_expect(client_is_nuisance(&client, start_ns + most_ns - 1));
    cr_expect_not(client_is_nuisance(&client, start_ns + most_ns));
}

Test(flow_clients, who_goes_on_waits_longer_up_to_two_seconds)
{
    const uint64_t start_ns = 5 * NS_PER_SEC;
    struct client client = {0};
    note_faults(&client, CLIENT_FAULTS_FREE, start_ns);
    cr_expect_eq(client_penance_ns(&client, start_ns), 500 * NS_PER_MS);
    client.heard_ns = 0;
    note_faults(&client, CLIENT_FAULTS_FREE, start_ns);
    cr_expect_eq(client_penance_ns(&client, start_ns), NS_PER_SEC);
    client.heard_ns = 0;
    note_faults(&client, 100000, start_ns);
    cr_expect_eq(client_penance_ns(&client, start_ns), 2 * NS_PER_SEC);
}

/* What 20 connections that are refused as soon as they are heard, and opened anew, come to. */
Test(flow_clients, a_flood_over_few_connections_ends_at_the_refusals_that_are_free)
{
    enum { CONNECTIONS = 20, SECONDS = 40, FREE = NS_PER_SEC / CLIENT_FAULT_NS };

    struct client client = {0};
    uint64_t heard_ns[CONNECTIONS] = {0};
    unsigned n_heard = 0;
    for (uint64_t now_ns = 0; now_ns < SECONDS * NS_PER_SEC; now_ns += NS_PER_MS) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            if (heard_ns[i] > now_ns)
                continue;
            client_note_fault(&client, now_ns);
            n_heard += now_ns >= SECONDS * NS_PER_SEC / 2;
            heard_ns[i] = now_ns;
            if (client_is_nuisance(&client, now_ns))
                heard_ns[i] += client_penance_ns(&client, now_ns);
        }
    }
    cr_expect_leq(n_heard, (FREE + 1) * SECONDS / 2, "%u", n_heard);
    cr_expect_geq(n_heard, (FREE - 1) * SECONDS / 2, "%u", n_heard);
}

Test(flow_clients, connections_of_a_nuisance_are_heard_one_after_the_other_and_none_much_later)
{
    const uint64_t start_ns = 5 * NS_PER_SEC;
    struct client client = {0};

    note_faults(&client, CLIENT_FAULTS_FREE, start_ns);
    const uint64_t first_ns = client_penance_ns(&client, start_ns);
    cr_expect_eq(client_penance_ns(&client, start_ns), first_ns + CLIENT_GAP_NS);
    cr_expect_eq(client_penance_ns(&client, start_ns + CLIENT_GAP_NS), first_ns + CLIENT_GAP_NS);
    for (unsigned i = 0; i < 5000; i++)
        cr_assert_leq(client_penance_ns(&client, start_ns + CLIENT_GAP_NS), CLIENT_WAIT_MAX_NS);
    cr_expect_eq(client_penance_ns(&client, start_ns + 10 * NS_PER_SEC), 0,
                 "what waited before is over, and what was done is forgiven");
}
