/*
 * fold.h - records of requests that say the same, waiting to become one line.
 *
 * A record is compared whole: connection, parties, method, path, verdict, policy, rule, revision,
 * generation, reason. Only what each request has of its own is summed up: struct audit_request. So
 * nothing that differs is ever told as if it were the same, and a line that stands for many leaves
 * out nothing but each one's time, bytes and duration.
 *
 * Bounded: FOLD_RECORDS_MAX records, FOLD_BYTES_MAX bytes, FOLD_CHUNKS_MAX chunks. One that finds
 * no room is refused, and whoever has the table makes room or does without.
 *
 * Records live for a second. In the heap thousands of them would stand between what lives for hours
 * and leave holes; they lie in chunks of pages, filled one after the other, each of which goes back
 * when the last of its records is told.
 *
 * Owner: the pen. Thread: its worker's. Errors: none.
 */
#ifndef ISTHMUS_AUDIT_FOLD_H
#define ISTHMUS_AUDIT_FOLD_H

#include "proxy/base/list.h"
#include "proxy/base/str.h"

/* Of busy connections, times the paths that each calls in a window. */
#define FOLD_RECORDS_MAX ((size_t)4096)
#define FOLD_BYTES_MAX   ((size_t)4 * 1024 * 1024)
#define FOLD_CHUNK_BYTES ((size_t)65536)
#define FOLD_PACKED_MAX  (FOLD_CHUNK_BYTES - 512) /* of one record; its own head is in the rest */
#define FOLD_CHUNKS_MAX  ((size_t)96) /* all of the above, and a third for what ends out of turn */

struct audit_request { /* what requests that are otherwise the same differ in; of one, or of all */
    uint64_t n;
    int64_t first_wall_ns, last_wall_ns; /* when they ended */
    uint64_t bytes_sent, bytes_received, duration_ns, longest_ns, attempts;
};

struct fold_chunk;

struct fold_record {
    struct list by_age, by_key, by_connection;
    struct fold_chunk *chunk;
    uint64_t connection, hash, begun_ns;
    struct fold_record **holder; /* who has to know when it is dropped; NULL: nobody */
    struct audit_request sum;
    size_t len;
    char packed[];
};

struct fold;

struct fold *fold_new(void);
void fold_free(struct fold *fold);

/* Adds a request to the record that says the same, or begins one: which. NULL: there is no room. */
struct fold_record *fold_add(struct fold *fold, struct str packed, uint64_t connection,
                             const struct audit_request *request, uint64_t now_ns);
/* Adds one that is known to say the same. */
void fold_add_to(struct fold_record *record, const struct audit_request *request);
/* *holder is the record, until another takes that place, another holds it, or it is dropped: then
 * it is NULL. */
void fold_hold(struct fold_record *record, struct fold_record **holder);
/* The record that was begun first; NULL when there is none. */
struct fold_record *fold_oldest(struct fold *fold);
/* The first of a connection, and the one after another; NULL when there is none. Whoever drops them
 * one by one asks for the next before: to look for the first each time is quadratic where another
 * connection has as many. */
struct fold_record *fold_of_connection(struct fold *fold, uint64_t connection);
struct fold_record *fold_next(struct fold *fold, const struct fold_record *record);
/* Forgets a record. */
void fold_drop(struct fold *fold, struct fold_record *record);
/* Nothing was added for a while: gives back what is kept for the next record. */
void fold_rest(struct fold *fold);
/* Chunks that are there: for tests. */
size_t fold_chunks(const struct fold *fold);

#endif
