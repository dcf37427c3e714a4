#include "verify_kit.h"

#include <criterion/criterion.h>
#include <openssl/err.h>

#include "proxy/base/clock.h"

struct world world_new(void)
{
    struct world world = {test_ca_new("west.example"), test_ca_new("east.example"), NULL};

    test_trust_add(&world.trust, "west.example", world.west);
    test_trust_add(&world.trust, "east.example", world.east);
    return world;
}

void world_free(struct world *world)
{
    test_ca_free(world->west);
    test_ca_free(world->east);
    trust_unref(world->trust);
}

int world_verify(const struct world *world, X509 *leaf, STACK_OF(X509) * chain,
                 enum verify_role role, struct verify_result *result)
{
    struct verify_request request = {
        .trust = world->trust, .role = role, .now_ns = clock_wall_ns()};
    int err = verify_peer(leaf, chain, &request, result);

    cr_assert_eq(ERR_peek_error(), 0, "the error queue is not empty");
    cr_assert_eq(result->path != NULL, err == 0);
    verify_path_free(result->path);
    return err;
}

int world_verify_spec(const struct world *world, const struct test_cert *spec,
                      enum verify_role role, struct verify_result *result)
{
    X509 *leaf = test_ca_mint(world->west, spec, NULL);
    int err = world_verify(world, leaf, NULL, role, result);

    X509_free(leaf);
    return err;
}
