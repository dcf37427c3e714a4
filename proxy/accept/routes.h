/*
 * routes.h - the routing rule that brings marked packets to the local stack, for IPv4 and IPv6.
 *
 * As `ip rule add fwmark MARK/MASK lookup TABLE priority ROUTES_PRIORITY` and `ip route add local
 * default dev lo table TABLE`. Adding what is there already is no error. IPv6 is left out where the
 * kernel has none.
 * Source: rtnetlink(7). Thread: any.
 */
#ifndef ISTHMUS_ACCEPT_ROUTES_H
#define ISTHMUS_ACCEPT_ROUTES_H

#include <stdint.h>

#include "proxy/base/err.h"
#include "proxy/base/text.h"

#define ROUTES_PRIORITY 100

MUST_USE int routes_add(uint32_t table, uint32_t mark, uint32_t mask, struct text *why);
void routes_remove(uint32_t table, uint32_t mark, uint32_t mask);

#endif
