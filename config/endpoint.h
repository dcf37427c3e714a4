/*
 * endpoint.h - where a server is: a host and a port, or a Unix socket; and the URIs that SPIFFE
 * writes for its endpoints.
 *
 * Source: SPIFFE Workload Endpoint section 4 and SPIFFE Broker Endpoint section 4:
 * "unix:///absolute/path" without an authority, or "tcp://address:port" with nothing behind it.
 * Thread: any.
 */
#ifndef ISTHMUS_CONFIG_ENDPOINT_H
#define ISTHMUS_CONFIG_ENDPOINT_H

#include "proxy/base/addr.h"

/* host: an IP address or a name, resolved when connecting. */
struct endpoint_name {
    struct str host;
    uint16_t port;
};

#define UNIX_PATH_MAX 107 /* what the kernel takes */

/* Exactly one of them is there; neither in one that was never set. */
struct spiffe_endpoint {
    struct str unix_path;
    struct endpoint_name tcp;
};

/* A name in place of the address is an error unless names_allowed: the Workload API knows its
 * callers by where they are. 0 with borrowed parts of text, or -ERR_INVALID with *out_why constant.
 */
MUST_USE int spiffe_endpoint_parse(struct str text, bool names_allowed,
                                   struct spiffe_endpoint *out_endpoint, const char **out_why);

static inline bool spiffe_endpoint_is_set(const struct spiffe_endpoint *endpoint)
{
    return endpoint->unix_path.len > 0 || endpoint->tcp.port != 0;
}

#endif
