/*
 * lookup.h - the addresses of a host name, asked from the system's resolver without blocking the
 * loop.
 *
 * Happy path: lookup_start() -> on_done(0, addresses), as the resolver sorts them, at most
 * LOOKUP_ADDRESSES_MAX. An IP address as the host needs no resolver and answers itself. Failure
 * modes: no such name (-ERR_NOT_FOUND), the resolver fails (-ERR_SYSTEM), no answer within
 * LOOKUP_TIMEOUT_NS
 * (-ERR_CONNECT_TIMEOUT); cancelled with lookup_cancel(), after which nothing is called.
 *
 * Bound: a question that was given up stays with the resolver's thread until that has an answer.
 * libuv has four of them. Owner: the asker, until on_done or lookup_cancel(). Thread: the loop's.
 */
#ifndef ISTHMUS_IO_LOOKUP_H
#define ISTHMUS_IO_LOOKUP_H

#include "proxy/base/addr.h"
#include "proxy/io/loop.h"

#define LOOKUP_ADDRESSES_MAX 16
#define LOOKUP_TIMEOUT_NS    UINT64_C(5000000000)

struct lookup;

/* Never NULL; the handle is gone once on_done was called, which comes from the loop. addrs carry
 * the port and are borrowed for the call. */
struct lookup *lookup_start(struct loop *loop, struct str host, uint16_t port,
                            void (*on_done)(void *owner, int err, const struct addr *addrs,
                                            size_t n_addrs),
                            void *owner);
void lookup_cancel(struct lookup *lookup);

#endif
