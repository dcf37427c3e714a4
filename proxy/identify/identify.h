/*
 * identify.h - arrival -> principal: who is it that knocks?
 *
 * Outbound, a captured connection's source address names the pod of this node that owns it, and so
 * the identity under which we speak for it. Inbound through a tunnel, the verified SVID is the
 * identity; the address that the peer's proxy claims for its pod is believed only when the workload
 * we know under it has that same identity.
 *
 * No I/O, no state. The principal borrows from the snapshot and from the ID it was made of: use it
 * within the call chain.
 * Thread: any.
 */
#ifndef ISTHMUS_IDENTIFY_IDENTIFY_H
#define ISTHMUS_IDENTIFY_IDENTIFY_H

#include "config/snapshot.h"
#include "proxy/base/err.h"

struct principal {
    struct str id;   /* spiffe://..., "" for plaintext */
    struct str name; /* the ID without scheme, as policies write it; "" for plaintext */
    struct str namespace_, service_account; /* from the ID, "" when it is no workload's */
    const struct workload *workload;        /* NULL when it is none we know */
    struct ip ip; /* the source's own address as far as it can be believed */
};

/* The pod of this node that has this address and may call; NULL: there is none. */
const struct workload *identify_caller(const struct snapshot *snapshot, const struct ip *source);
/* As whom such a pod calls. */
struct principal identify_as(const struct workload *pod, const struct ip *source);
/* Both: a captured connection from a pod of this node. 0 or -ERR_UNKNOWN_SOURCE. */
MUST_USE int identify_pod(const struct snapshot *snapshot, const struct ip *source,
                          struct principal *out_principal);

/* A tunnel's client with a verified SVID. peer is the socket's address, claimed the pod address
 * that its proxy gave
 * ("none": it gave none). */
MUST_USE int identify_svid(const struct snapshot *snapshot, struct str id, const struct ip *peer,
                           const struct ip *claimed, struct principal *out_principal);

/* A plaintext connection from outside: nobody in particular. */
void identify_plaintext(const struct snapshot *snapshot, const struct ip *source,
                        struct principal *out_principal);

#endif
