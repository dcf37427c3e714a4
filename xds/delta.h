/*
 * delta.h - the incremental xDS protocol as two engines without sockets: messages in, messages out.
 *
 * The client half keeps what it holds of each type, answers every response with exactly one ACK or
 * NACK, applies the good resources of a refused response and remembers the bad ones as not held.
 * The server half sends what changed since the stream's last send, one response of a type in flight
 * at a time, at most DELTA_RESPONSE_BYTES each, unless a single resource
 * has more and then goes alone. Large changes come in several responses, all but
 * the last of which say that more follows: half of a cluster is not its state.
 *
 * Source: xDS protocol, "Incremental xDS"; envoy.service.discovery.v3.
 * Thread: one. Units: bytes.
 */
#ifndef ISTHMUS_XDS_DELTA_H
#define ISTHMUS_XDS_DELTA_H

#include "proxy/base/map.h"
#include "xds/codec.h"

#define DELTA_RESPONSE_BYTES ((size_t)1 << 20)
#define DELTA_RESOURCES_MAX  2000000 /* a client holds no more; further ones are NACKed */

/* ---- what a client holds ---- */

struct delta_resource {
    struct str name, version;
    struct str bytes;   /* of the Any's value, as received: for the disk */
    struct arena arena; /* holds all of this */
    struct model_resource model;
};

struct delta_client;

/* subscribed: one bool a type. node_id as in Node.id; cluster in Node.cluster. */
struct delta_client *delta_client_new(struct str node_id, struct str cluster,
                                      const bool subscribed[XDS_TYPES]);
void delta_client_free(struct delta_client *client);
/* What it holds may take so many bytes of memory; what would be more is NACKed. 0: no such bound.
 */
void delta_client_limit(struct delta_client *client, size_t max_bytes);

/* A new stream: appends the first request of every subscribed type through send(owner, bytes), with
 * initial_resource_versions of what is held. */
void delta_client_connected(struct delta_client *client,
                            void (*send)(void *owner, struct str message), void *owner);

struct delta_outcome {
    bool changed; /* what is held changed */
    bool nacked;
    bool more_follows; /* the next response belongs to the same change */
    enum xds_type type;
    size_t n_applied, n_refused, n_removed;
    struct text why; /* of the NACK; the caller text_fini()s it */
};

/* One DeltaDiscoveryResponse: applies it and appends the ACK or NACK through send. -ERR_INVALID
 * when the bytes are no such message (the stream should be ended); then nothing changed. */
MUST_USE int delta_client_receive(struct delta_client *client, struct str message,
                                  void (*send)(void *owner, struct str message), void *owner,
                                  struct delta_outcome *out_outcome);

/* Every resource held; start with *idx 0. */
const struct delta_resource *delta_client_next(const struct delta_client *client, size_t *idx);
const struct delta_resource *delta_client_find(const struct delta_client *client,
                                               enum xds_type type, struct str name);
size_t delta_client_count(const struct delta_client *client);
/* From here on it is noted which workloads change, a bounded number of them. */
void delta_client_mark(struct delta_client *client);
/* The uids of all workloads that changed, came or went since the mark; they stay valid until the
 * next response. False when something else changed too, or too many did, or there was no mark. */
bool delta_client_changes(const struct delta_client *client, const struct str **out_uids,
                          size_t *out_n);
/* True when everything there was of every subscribed type was received since the start, or a state
 * was loaded. */
bool delta_client_is_synced(const struct delta_client *client);
/* Forgets everything held (a peer's lease ran out). */
void delta_client_clear(struct delta_client *client);

/* The state as one file's bytes (magic, version, records, xxHash64 at the end), and back. Load is
 * all or nothing: 0, or -ERR_INVALID with the reason in *why. */
void delta_client_save(const struct delta_client *client, struct text *out);
MUST_USE int delta_client_load(struct delta_client *client, struct str bytes, struct text *why);

/* ---- what a server offers ---- */

struct resource_set;

struct resource_set *resource_set_new(void);
void resource_set_free(struct resource_set *set); /* no stream may be reading it */

/*
 * A new state of everything of all types, compared with the old: equal bytes keep their version,
 * changed ones get a new one, absent ones become removals (remembered until every stream saw them).
 * resources are borrowed for the call. Returns how many resources were added, changed or removed.
 * Streams are told (delta_server_notify) by the caller.
 */
size_t resource_set_replace(struct resource_set *set, const struct model_resource *const *resources,
                            size_t n_resources);

/* Some resources only: those given are put in, the workloads of these names taken out, and all else
 * stays. Costs what they cost. */
struct resource_changes {
    const struct model_resource *const *resources;
    size_t n_resources;
    const struct str *gone;
    size_t n_gone;
};

size_t resource_set_update(struct resource_set *set, const struct resource_changes *changes);
size_t resource_set_count(const struct resource_set *set);

struct delta_server; /* one stream's reading of a set */

struct delta_server *delta_server_new(struct resource_set *set);
void delta_server_free(struct delta_server *server);
/* The first request's Node.id, "" before it. */
struct str delta_server_node(const struct delta_server *server);

/* One DeltaDiscoveryRequest. May append responses through send. 0, or -ERR_INVALID with *why when
 * the bytes are no such message or break the protocol: the stream should be ended with
 * INVALID_ARGUMENT; or -ERR_LIMIT when it was so slow that removals it has not seen are forgotten:
 * it should be ended with RESOURCE_EXHAUSTED, and the client begins anew. A NACK is logged and
 * counted. */
MUST_USE int delta_server_receive(struct delta_server *server, struct str message,
                                  void (*send)(void *owner, struct str message), void *owner,
                                  struct text *why);
/* The set changed, or the stream is writable again: sends what is due. */
void delta_server_notify(struct delta_server *server, void (*send)(void *owner, struct str message),
                         void *owner);
/* How many NACKs the stream sent, and the last one's message. */
uint64_t delta_server_nacks(const struct delta_server *server, struct str *out_last);

#endif
