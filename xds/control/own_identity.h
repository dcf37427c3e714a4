/*
 * own_identity.h - the control process's own certificate: signed by its own CA at the start, again
 * at half of its life.
 *
 * Owner: control. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_CONTROL_OWN_IDENTITY_H
#define ISTHMUS_XDS_CONTROL_OWN_IDENTITY_H

#include "certs/ca.h"
#include "proxy/io/loop.h"
#include "proxy/tls/tls_identity.h"

struct own_identity;

/* 0, or a negative enum err with *why. */
MUST_USE int own_identity_open(struct loop *loop, struct ca *ca, struct str trust_domain,
                               uint64_t ttl_ns, struct own_identity **out_identity,
                               struct text *why);
void own_identity_close(struct own_identity *identity);
/* Where the current one stands, for those who read it at each handshake. Never NULL inside. */
struct tls_identity *const *own_identity_current(const struct own_identity *identity);

#endif
