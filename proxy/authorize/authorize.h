/*
 * authorize.h - principal -> verdict: may they?
 *
 * Asked where the destination is: for every inbound tunnel and plaintext connection, and for
 * connections between two pods of this node. Never on the way out, since the destination's node
 * decides.
 *
 * No I/O, no state. Thread: any.
 */
#ifndef ISTHMUS_AUTHORIZE_AUTHORIZE_H
#define ISTHMUS_AUTHORIZE_AUTHORIZE_H

#include "config/policy.h"
#include "proxy/identify/identify.h"

struct verdict {
    int err;                     /* 0 allowed, -ERR_DENIED */
    struct policy_answer answer; /* borrows from the snapshot */
    /* Of a connection: who judges it has to read its requests, and ask about each. err is what
     * holds where nobody reads them. */
    bool is_by_request;
    bool asks_tokens; /* is_by_request not least because a RequestAuthentication has its word */
};

/* What policies are asked then. */
struct policy_question authorize_question(const struct principal *source,
                                          const struct addr *address);

/*
 * May source reach port of the destination workload at address? With what the request shows, or
 * NULL: about a connection, whatever it may carry.
 *
 * A connection is judged request by request where some request may be answered otherwise than
 * another, or RequestAuthentications say something of their tokens; but not on a port that a
 * service says is TCP or TLS; nor on one of which no service says anything when the verdict is to
 * allow all the same (only AUDIT and dry-run policies ask for more then, and those change nothing).
 */
struct verdict authorize(const struct workload *destination, const struct principal *source,
                         const struct addr *address, const struct policy_request *request);

/* "connection closed due to policy rejection: explicitly denied by: ns/name" into buf, which is
 * returned. */
const char *verdict_text(const struct verdict *verdict, char *buf, size_t size);

#endif
