/*
 * verify_kit.h - two trust domains, each with its root, and peers that are verified in them.
 */
#ifndef TESTS_UNIT_CERTS_VERIFY_KIT_H
#define TESTS_UNIT_CERTS_VERIFY_KIT_H

#include "certs/verify.h"
#include "tests/kit/test_ca.h"

#define ID     "spiffe://west.example/ns/shop/sa/cart"
#define GOOD   .uris = {{ID, sizeof(ID) - 1}}
#define CLIENT VERIFY_PEER_IS_CLIENT
#define SERVER VERIFY_PEER_IS_SERVER
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

#define NAMED(literal) .subject = "intermediate", .uris = {TEXT(literal)}

struct world {
    struct test_ca *west, *east;
    struct trust *trust;
};

struct world world_new(void);
void world_free(struct world *world);

/* Now. The path is freed, so that only the rest of the result may be looked at. */
int world_verify(const struct world *world, X509 *leaf, STACK_OF(X509) * chain,
                 enum verify_role role, struct verify_result *result);
/* A leaf of west. */
int world_verify_spec(const struct world *world, const struct test_cert *spec,
                      enum verify_role role, struct verify_result *result);

#endif
