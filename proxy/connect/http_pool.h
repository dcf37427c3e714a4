/*
 * http_pool.h - the worker's HTTP connections to endpoints, for the exchanges of one pod to share.
 *
 * A connection belongs to the pod on whose behalf it was made: what the far side decided about it
 * (its identity, its address) holds for no other. HTTP/2 carries as many exchanges at once as the
 * server allows, HTTP/1.1 one after the other.
 *
 *   http_pool_find() ─► a link with room ─► http_link_request()
 *          └─► NULL: http_pool_wait() while another makes one with room for more
 *          └─► none is being made: http_pool_make(), connect, http_pool_add() ─► a link
 *
 * So a burst of requests to an HTTP/2 server makes one connection, not one each. Only the first of
 * them is sent before the server has said how many it takes at once, or has not within
 * HTTP_POOL_UNKNOWN_NS.
 *
 * A link through a tunnel that follows trust, whose peer does not stand any more, has no room.
 * A link that is not used for idle_ns, that its server closes, or on which nothing may follow any
 * more goes by itself.
 *
 * Bounds: HTTP_POOL_IDLE_PER_KEY idle links a key, HTTP_POOL_LINKS_MAX a worker; what is beyond is
 * used once and closed.
 * Owner: the connector. Thread: the loop's. Units: ns.
 */
#ifndef ISTHMUS_CONNECT_HTTP_POOL_H
#define ISTHMUS_CONNECT_HTTP_POOL_H

#include "proxy/connect/connect.h"
#include "proxy/http/message.h"

#define HTTP_POOL_LINKS_MAX    20000
#define HTTP_POOL_IDLE_PER_KEY 64
#define HTTP_POOL_IDLE_NS      (UINT64_C(60) * 1000000000)
#define HTTP_POOL_UNKNOWN_NS   (UINT64_C(1) * 1000000000)
#define HTTP_POOL_STREAMS      100u /* of an HTTP/2 server that has not said how many it takes */

struct http_pool;
struct http_group;
struct http_link;

struct http_link_key {   /* borrowed for the call */
    struct ip source;    /* the pod that calls */
    struct str identity; /* its own: another pod may get its address */
    struct addr addr;    /* the endpoint */
    struct str service;
    bool through_tunnel;
    bool is_h2;
};

struct http_pool *http_pool_new(struct loop *loop);
/* Cuts every link; its exchanges fail first. */
void http_pool_free(struct http_pool *pool);

/* A link with room for one more exchange, or NULL. */
struct http_link *http_pool_find(struct http_pool *pool, const struct http_link_key *key);
/* Takes the upstream's stream. The link is there until the present event is over, so that one
 * exchange can be started on it; whether it lives on is the pool's matter. */
struct http_link *http_pool_add(struct http_pool *pool, const struct http_link_key *key,
                                const struct upstream *upstream);

struct http_making { /* a link that is being made; embedded, all zero while it is not */
    struct list by_group;
    struct http_group *group;
};

/* A link of that key is being made: until http_making_end(), or http_pool_add() right behind it,
 * for others to wait for. Of HTTP/1.1 nothing is kept. */
void http_pool_make(struct http_pool *pool, const struct http_link_key *key,
                    struct http_making *making);
/* It came or it will not; harmless when it is not being made. */
void http_making_end(struct http_making *making);

struct http_wait { /* for a link that another makes; embedded, all zero while nobody waits */
    struct list by_group;
    struct http_group *group;
    void (*on_link)(struct http_wait *wait, struct http_link *link);
};

/* True: links are being made that are expected to have room for it, and on_link comes from the
 * loop: with a link that has room, for one exchange from within the call; or NULL, and there will
 * be none.
 */
bool http_pool_wait(struct http_pool *pool, const struct http_link_key *key, struct http_wait *wait,
                    void (*on_link)(struct http_wait *wait, struct http_link *link));
/* Harmless when it does not wait. */
void http_wait_cancel(struct http_wait *wait);

/* The pod has gone: its links go as soon as their exchanges have ended. */
void http_pool_forget(struct http_pool *pool, const struct ip *source);
size_t http_pool_links(const struct http_pool *pool);

/* As http_request(). Who gets a stream calls http_link_ended() once it has closed it. */
struct http_stream *http_link_request(struct http_link *link, const struct http_request *head,
                                      const struct http_stream_events *http_events,
                                      const struct stream_events *events, void *owner);
/* The stream of an exchange is closed: the link may have room for the next at once, before it says
 * so by itself at the end of the turn. */
void http_link_ended(struct http_link *link);
/* Whom it reached, but for the stream; borrowed while the link lives. */
const struct upstream *http_link_upstream(const struct http_link *link);

#endif
