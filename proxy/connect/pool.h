/*
 * pool.h - the tunnels of one worker, by (source identity, destination, expected identities).
 *
 * Who asks for a stream gets one at once when a tunnel has room, else waits for a tunnel that is
 * being made; as many are made as the waiters need. A tunnel that fails to come up fails everybody
 * who waits for its key, so that they may try another endpoint. Before a tunnel that follows trust
 * is given away after a change of that, it is asked whether its peer still stands, and cut if not.
 *
 * Bounds: POOL_TUNNELS_MAX tunnels a worker, POOL_TUNNELS_PER_KEY a key that are not retired;
 * waiters are bounded by the worker's flows.
 * Owner: the connector. Thread: the loop's.
 */
#ifndef ISTHMUS_CONNECT_POOL_H
#define ISTHMUS_CONNECT_POOL_H

#include "proxy/connect/tunnel.h"
#include "proxy/meter/meter.h"

#define POOL_TUNNELS_MAX     10000
#define POOL_TUNNELS_PER_KEY 64

struct pool;
struct group;

struct pool_waiter { /* embedded in whoever asks */
    struct list link;
    const struct group *group; /* the pool's; while it waits */
    /* err 0 with a tunnel that has room now, or why none came up. The waiter is out of the pool
     * when called. */
    void (*on_tunnel)(struct pool_waiter *waiter, int err, struct tunnel *tunnel, struct str why);
};

/* trust: where the worker keeps what it trusts now; outlives the pool. */
struct pool *pool_new(struct loop *loop, struct meter *meter, const struct trust *const *trust);
/* Closes every tunnel. Nobody may wait any more. */
void pool_free(struct pool *pool);

/* Asks for a tunnel with room. on_tunnel always comes later, from the loop. */
void pool_ask(struct pool *pool, const struct tunnel_options *options, struct pool_waiter *waiter);
/* Stops waiting; harmless when it does not wait. */
void pool_forget(struct pool_waiter *waiter);
/* It waits for a tunnel whose TCP connection is not made yet: nobody answers on the tunnel port so
 * far. */
bool pool_is_dialing(const struct pool_waiter *waiter);

/* Retires the tunnels of an identity that is no longer ours, by tls_identity_key(). */
void pool_retire_identity(struct pool *pool, struct str key_of_identity);
/* Trust has changed: cuts the tunnels whose peer would not be let in any more; their streams fail
 * with the reason. Of very many the last are looked at some turns later, TRUST_SWEEP_NS at most;
 * those that follow trust carry nothing until then, and nobody gets one. */
void pool_recheck_trust(struct pool *pool);
size_t pool_tunnels(const struct pool *pool);

#endif
