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

Test(flow_clients, who_is_refused_often_is_a_nuisance_for_a_second)
{
    const uint64_t start_ns = 5 * NS_PER_SEC;
    struct client client = {0};

    cr_expect_not(client_is_nuisance(&client, start_ns));
    for (unsigned i = 0; i < CLIENT_FAULTS_FREE; i++)
        client_note_fault(&client, start_ns);
    cr_expect_not(client_is_nuisance(&client, start_ns));
    client_note_fault(&client, start_ns);
    cr_expect(client_is_nuisance(&client, start_ns));
    cr_expect(client_is_nuisance(&client, start_ns + NS_PER_SEC - 1));
    cr_expect_not(client_is_nuisance(&client, start_ns + NS_PER_SEC));
}

Test(flow_clients, connections_of_a_nuisance_are_heard_one_after_the_other_and_none_much_later)
{
    const uint64_t start_ns = 5 * NS_PER_SEC;
    struct client client = {0};

    cr_expect_eq(client_penance_ns(&client, start_ns), CLIENT_PENANCE_NS);
    cr_expect_eq(client_penance_ns(&client, start_ns), CLIENT_PENANCE_NS + CLIENT_GAP_NS);
    cr_expect_eq(client_penance_ns(&client, start_ns + CLIENT_GAP_NS),
                 CLIENT_PENANCE_NS + CLIENT_GAP_NS);
    for (unsigned i = 0; i < 5000; i++)
        cr_assert_leq(client_penance_ns(&client, start_ns + CLIENT_GAP_NS), CLIENT_WAIT_MAX_NS);
    cr_expect_eq(client_penance_ns(&client, start_ns + 10 * NS_PER_SEC), CLIENT_PENANCE_NS,
                 "what waited before is over");
}
