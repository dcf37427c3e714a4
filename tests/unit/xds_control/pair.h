/*
 * pair.h - what tests of whole control processes begin with: two sides in one loop, west and east,
 * and a guest.
 *
 * A pod of app cart runs in each. East has the Services cart, which it exports, and secret, which
 * it does not; neither side knows the other yet, and nothing is started. pair_init() makes all that
 * before a test and pair_fini() unmakes it after; a guest is the test's own to open and close.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_CONTROL_PAIR_H
#define ISTHMUS_TESTS_UNIT_XDS_CONTROL_PAIR_H

#include "peering.h"

#define CART     "shop/cart.shop.svc.clusterset.local"
#define EAST_POD "east//v1/Pod/shop/e"

extern struct loop *loop;
extern struct side west, east;
extern struct guest guest;

void pair_init(void);
/* Stops the sides that still run; nothing may be left in the loop. */
void pair_fini(void);

/* Makes each know the other as a peer. */
void introduce(void);

/* Turns the loop until it holds, for as long as a slow machine may need. */
bool until(bool (*done)(void *ctx));

/* What to wait for; ctx is not used. */
bool west_has_east_pod(void *ctx);
bool west_has_no_east_pod(void *ctx);
/* West has the pod, and east's roots from east itself. */
bool knows_easts_roots(void *ctx);
bool guest_is_connected(void *ctx);
/* The guest has its stream, and was told of east's pod, the cart, and east's roots. */
bool is_joined(void *ctx);

#endif
