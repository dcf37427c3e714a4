/*
 * delta_parts.h - what the two halves of the incremental protocol's server share: a stream's
 * subscriptions; inside the room.
 *
 * Owner: the server. Thread: the one of its resource_set.
 */
#ifndef ISTHMUS_XDS_DELTA_PARTS_H
#define ISTHMUS_XDS_DELTA_PARTS_H

#include "proxy/base/arena.h"
#include "proxy/base/list.h"
#include "proxy/base/map.h"
#include "proxy/base/text.h"
#include "xds/resource_set.h"

#define NONCE_CHARS 20

typedef void (*delta_send)(void *owner, struct str message);

struct interest {         /* a name that the client asked for */
    struct list due_link; /* in subscription.due while it is to be answered */
    bool is_subscribed;   /* false: answered once, then forgotten */
    struct str name;      /* behind the struct */
};

struct subscription { /* of one type */
    bool has_begun;
    bool is_wildcard;
    bool in_first_pass; /* of a wildcard */
    bool owes_first;    /* a first response is owed even when it is empty */
    bool in_flight;
    bool was_answered; /* a response of this stream */
    char nonce[NONCE_CHARS + 1];
    uint64_t read_seq;    /* of the log, without the removals */
    uint64_t removed_seq; /* of its removals */
    uint64_t start_seq;   /* removals up to here concern only what the client listed */
    struct map interests;
    struct list due;
    struct map listed; /* name -> version, both NUL-terminated: what the client holds, until the
                          first pass met it */
    struct arena listed_arena;
};

struct delta_server {
    struct resource_set *set;
    struct set_reader reader;
    struct subscription types[XDS_TYPES];
    struct arena arena;
    struct str node;
    uint64_t last_nonce;
    unsigned n_unknown;
    size_t unknown_bytes; /* of names that were handed back for types nobody has */
    uint64_t n_nacks;
    struct text last_nack;
};

/* ---- delta_response.c ---- */

/* Sends what is due of a type, unless an answer to what was sent is awaited; of addresses and what
 * they name all, as one may have waited for the other. */
void delta_respond(struct delta_server *server, enum xds_type type, delta_send send, void *owner);
/* The name is answered; one that was asked for once is forgotten. */
void delta_interest_done(struct subscription *sub, struct interest *interest);
/* What the client listed is of no more use. */
void delta_forget_listed(struct subscription *sub);

#endif
