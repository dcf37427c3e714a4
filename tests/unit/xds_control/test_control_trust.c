/*
 * Whom whole control processes trust, and what they say of it: roots of a peer and of its domain,
 * revocations, and their own certificate.
 */
#include <criterion/criterion.h>

#include "certs/crl.h"
#include "pair.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "tests/kit/loop_kit.h"
#include "xds/control/own_identity.h"

TestSuite(control_trust, .init = pair_init, .fini = pair_fini, .timeout = 60);

static bool lacks_roots(void *ctx)
{
    (void)ctx;
    return side_status_has(&west, "no roots to know it by");
}

Test(control_trust, roots_of_a_peer_that_come_late_are_found)
{
    introduce();
    cr_assert_eq(file_remove(west.peers[0].trust_bundle), 0);
    side_start(&west);
    side_start(&east);
    cr_assert(until(lacks_roots));
    cr_assert(!side_endpoints_have(&west, EAST_POD));

    side_copy_roots(&east, &west);
    cr_assert(until(knows_easts_roots));
}

Test(control_trust, once_the_peer_told_its_roots_the_file_may_go_and_a_changed_file_wins)
{
    introduce();
    side_start(&west);
    side_start(&east);
    cr_assert(until(knows_easts_roots));
    side_stop(&west);
    side_stop(&east);

    cr_assert_eq(file_remove(west.peers[0].trust_bundle), 0);
    west.cluster.config.peer_lease_ns = 10 * NS_PER_MS; /* what was held is of no help */
    side_start(&west);
    cr_assert(until(west_has_no_east_pod));
    side_start(&east);
    cr_assert(until(west_has_east_pod), "by the roots that were kept");
    side_stop(&west);
    side_stop(&east);

    side_lose_ca(&east);
    side_copy_roots(&east, &west);
    side_start(&west);
    cr_assert(until(west_has_no_east_pod));
    side_start(&east);
    cr_assert(until(west_has_east_pod), "by the file that an operator has put there");
}

static bool guest_has_both_roots(void *ctx)
{
    const struct model_resource *found = guest_find(&guest, "spiffe://west.example");
    struct text both[2] = {{0}, {0}};
    bool has = found != NULL;
    (void)ctx;
    cr_assert_eq(file_read_all(str_from(west.roots_path), 65536, &both[0]), 0);
    cr_assert_eq(file_read_all(str_from(east.roots_path), 65536, &both[1]), 0);
    for (size_t i = 0; i < 2; i++) {
        has = has && str_contains(found->of.bundle->pem, text_str(&both[i]));
        text_fini(&both[i]);
    }
    return has;
}

Test(control_trust, clusters_of_one_trust_domain_have_all_their_roots_in_it)
{
    east.cluster.config.trust_domain = STR("west.example");
    cr_assert_eq(east.cluster.config.n_peers, 0);
    side_lose_ca(&east);
    introduce();
    side_start(&west);
    side_start(&east);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(west_has_east_pod));
    cr_assert(until(guest_has_both_roots));
    guest_close(&guest);
}

/* How many certificates the lists of west's domain take back, as a node of east was told. */
static int east_guest_knows(void)
{
    const struct model_resource *found = guest_find(&guest, "spiffe://west.example");
    STACK_OF(X509_CRL) *crls = NULL;
    struct text why = {0};
    if (!found || str_is_empty(found->of.bundle->crls))
        return -1;
    cr_assert_eq(crl_read(found->of.bundle->crls, &crls, &why), 0);
    const int n = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(sk_X509_CRL_value(crls, 0)));
    crl_list_free(crls);
    return n < 0 ? 0 : n;
}

static bool east_guest_has_a_list(void *ctx)
{
    (void)ctx;
    return east_guest_knows() == 0;
}

static bool east_guest_has_the_revocation(void *ctx)
{
    (void)ctx;
    return east_guest_knows() == 1;
}

Test(control_trust, X47_a_revocation_written_at_one_control_reaches_the_nodes_of_its_peers)
{
    struct test_ca *stranger = test_ca_new("west.example");
    introduce();
    side_revokes(&west, &west, NULL);
    side_start(&west);
    side_start(&east);
    guest_open(&guest, &east, "n1", SIDE_TOKEN);
    cr_assert(until(east_guest_has_a_list));

    side_revokes(&west, &west, stranger->cert);
    cr_assert(until(east_guest_has_the_revocation));
    side_stop(&west);
    side_stop(&east);
    side_start(&east);
    cr_assert(until(east_guest_has_the_revocation), "also without the peer that sent it");
    guest_close(&guest);
    test_ca_free(stranger);
}

static bool guest_was_turned_away(void *ctx)
{
    (void)ctx;
    return !guest.is_connected && guest.n_downs >= 3;
}

Test(control_trust, X47_a_revoked_node_loses_its_stream_and_gets_no_other)
{
    side_revokes(&west, &west, NULL);
    side_start(&west);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(guest_is_connected));
    guest.n_downs = 0;

    side_revokes(&west, &west, rotation_find(guest.rotation, str_from(guest.id))->leaf);
    cr_assert(until(guest_was_turned_away));
    guest_close(&guest);
}

static bool both_streams_are_up(void *ctx)
{
    (void)ctx;
    return side_status_has(&west, "\"connected\":true") &&
           side_status_has(&east, "\"connected\":true");
}

static bool both_streams_are_cut(void *ctx)
{
    (void)ctx;
    return side_status_has(&west, "\"connected\":false") &&
           side_status_has(&east, "\"connected\":false") && side_status_has(&west, "revoked");
}

Test(control_trust, R4_a_peer_whose_signer_is_revoked_loses_its_stream_and_ours_to_it_ends)
{
    struct test_ca *middle = side_give_intermediate(&east);
    introduce();
    side_revokes(&west, &east, NULL);
    side_start(&west);
    side_start(&east);
    cr_assert(until(both_streams_are_up));

    side_revokes(&west, &east, middle->cert);
    cr_assert(until(both_streams_are_cut));
    test_ca_free(middle);
}

/* Each source's lists are in bounds, and both together are not. */
Test(control_trust,
     more_lists_of_two_sources_than_a_domain_may_have_leave_those_of_the_later_one_out)
{
    introduce();
    side_revokes(&west, &east, NULL);
    side_has_many_lists(&east, CRLS_MAX);
    side_start(&east);
    side_start(&west);
    cr_assert(until(both_streams_are_up));
    cr_assert(until(west_has_east_pod));

    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(is_joined));
    const struct model_resource *found = guest_find(&guest, "spiffe://east.example");
    STACK_OF(X509_CRL) *crls = NULL;
    struct text why = {0};
    cr_assert_eq(crl_read(found->of.bundle->crls, &crls, &why), 0, "%s", why.ptr);
    cr_assert_eq(sk_X509_CRL_num(crls), 1, "the operator's own");
    crl_list_free(crls);
    guest_close(&guest);
}

/* A peer of our own domain that said as many roots as a domain may have: ours stay. */
Test(control_trust,
     more_roots_of_two_sources_than_a_domain_may_have_leave_those_of_the_later_one_out)
{
    east.cluster.config.trust_domain = STR("west.example");
    introduce();
    side_was_told_many_roots(&west, &east, BUNDLE_ROOTS_MAX);
    side_start(&west);
    cr_assert(side_status_has(&west, "from its stream"));
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(guest_is_connected));
    guest_close(&guest);
}

static int64_t own_end_ns;
static struct own_identity *own;

static bool is_renewed(void *ctx)
{
    (void)ctx;
    return tls_identity_not_after_ns(*own_identity_current(own)) > own_end_ns;
}

Test(control_trust, its_own_certificate_is_renewed_before_it_ends)
{
    struct text why = {0};
    struct ca *ca = NULL;
    cr_assert_eq(ca_open(west.cluster.config.state_dir, STR("west.example"), &ca, &why), 0);
    /* Due after a fourth of it: what is left is for a machine that pauses. */
    cr_assert_eq(own_identity_open(loop, ca, STR("west.example"), 12 * NS_PER_SEC, &own, &why), 0);
    assert_str(tls_identity_id(*own_identity_current(own)),
               "spiffe://west.example/isthmus/control");
    own_end_ns = tls_identity_not_after_ns(*own_identity_current(own));

    cr_assert(until(is_renewed));

    cr_assert_lt(clock_wall_ns(), own_end_ns);
    own_identity_close(own);
    ca_close(ca);
}
