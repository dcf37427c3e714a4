/*
 * delta_kit.h - the two halves of the protocol joined by a wire in memory, and messages taken
 * apart.
 *
 * Everything lives in the arena, which delta_fini() empties after each test.
 */
#ifndef TESTS_UNIT_XDS_DELTA_KIT_H
#define TESTS_UNIT_XDS_DELTA_KIT_H

#include <discovery.pb-c.h>

#include "models.h"
#include "xds/delta.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest delta_request;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse delta_response;

extern struct arena arena;
extern struct text why;

void delta_init(void);
void delta_fini(void);

#define QUEUE_MAX 256

struct queue {
    struct str messages[QUEUE_MAX];
    size_t len;
};

struct pair {
    struct resource_set *set;
    struct delta_server *server;
    struct delta_client *client;
    struct queue to_server, to_client;
    size_t n_responses, n_nacked, n_changes, max_bytes;
    size_t n_unfinished; /* responses after which more followed */
};

void push(void *owner, struct str message);
struct str shift(struct queue *queue);
struct pair *pair_new(const bool types[XDS_TYPES]);
void pair_free(struct pair *pair);
void client_takes(struct pair *pair, struct str message);
/* Carries messages until both are silent. */
void run(struct pair *pair);
void stream_up(struct pair *pair);
/* A new stream; what the old one had in flight is lost. */
void stream_again(struct pair *pair);
size_t publish(struct pair *pair, struct model_resource **resources, size_t n);
struct model_resource **pods(size_t n);
const struct delta_resource *held(const struct delta_client *client, struct str name);
delta_request *request_of(struct str message);
delta_response *response_of(struct str message);
struct str packed(const ProtobufCMessage *message);

#endif
