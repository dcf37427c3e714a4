/*
 * record.h - what is written about a flow: its traffic series and its one line in the access log.
 *
 * Gathered while the walk learns it, written once at the end. A connection between two pods of this
 * node is reported by both sides, as it would be if they were on two nodes.
 *
 * Owner: embedded in the flow. Strings live in the arena given. Thread: the worker's.
 * Source: ztunnel's access log and metrics (names and their order).
 */
#ifndef ISTHMUS_FLOW_RECORD_H
#define ISTHMUS_FLOW_RECORD_H

#include "proxy/accept/arrival.h"
#include "proxy/authorize/authorize.h"
#include "proxy/meter/traffic.h"
#include "proxy/pump/pump.h"

struct party { /* one end; what it is called is among the record's names */
    struct addr addr;
    const char *proof; /* of the identity: "mtls", "node" (a pod of ours); NULL: expected only */
    bool is_stranger;  /* no workload that we know: its names are what its peer says */
};

enum party_side { PARTY_SOURCE, PARTY_DESTINATION };

/* What a party is called: the six names of a side. */
#define PARTY_NAMES 6

struct ruling { /* a verdict, copied out of the snapshot; decision NULL: nobody was asked */
    const char *decision;
    bool is_late;      /* it cut a live connection */
    struct str policy; /* that decided; "" when none did */
    bool has_rule;
    enum policy_action action;
    size_t rule_idx;
    const char *mode;
    uint64_t revision;    /* 0: not known */
    const char *sentence; /* a constant, or of the flow's arena */
    uint64_t generation;  /* of the snapshot */
};

struct record {
    enum arrival_kind kind;
    bool is_same_node;
    bool is_mutual_tls;
    struct party source, destination;
    struct addr hbone_addr;           /* the real target behind port 15008 */
    const struct str *names;          /* by traffic label; NULL: none yet. Its own, or lent */
    struct str *own_names;            /* the same while they may change, else NULL */
    const char *tls_version, *cipher; /* constants, NULL without TLS */
    struct str peer_serial;
    int64_t peer_not_after_ns; /* 0 without TLS */
    struct str trace;          /* the traceparent that travels along */
    struct ruling ruling;
    struct str dry_run_policy; /* that would have denied */
    struct str detail;         /* the sentence behind the reason */
    unsigned attempts;
    struct traffic_series *series[2]; /* by reporter; NULL until opened */
    uint64_t reported_received, reported_sent;
};

/* A name of one of the ends or of the service, "" when it is not known. */
struct str record_name(const struct record *record, enum traffic_label label);
/* Borrows all of them from somebody who keeps them meanwhile; they are copied when one is set. */
void record_lend_names(struct record *record, const struct str *names);
/* Sets one; copies it into the arena. */
void record_set_name(struct record *record, struct arena *arena, enum traffic_label label,
                     struct str name);
/* The names of one side, to look at another one meanwhile and to come back to it. */
void record_save_names(const struct record *record, enum party_side side,
                       struct str names[PARTY_NAMES]);
void record_load_names(struct record *record, struct arena *arena, enum party_side side,
                       const struct str names[PARTY_NAMES]);

void record_party(struct record *record, enum party_side side, struct arena *arena,
                  const struct workload *workload, const struct addr *addr);
void record_service(struct record *record, struct arena *arena, const struct service *service);
/* Makes an empty arena as large as both of a connection's take that may live long, and text beside
 * them. */
void record_room(struct arena *arena, const struct workload *source, const struct service *service,
                 struct str text);
/* What is known of a peer that a handshake proved: its verified ID and what its baggage says. */
void record_peer(struct record *record, enum party_side side, struct arena *arena, struct str id,
                 struct str baggage);

/* The pod of this node that made an outbound connection, as that snapshot has it; NULL: it left, or
 * its address is another identity's by now. */
const struct workload *record_caller(const struct record *connection,
                                     const struct snapshot *snapshot);

/* What is known of a connection holds for what happens on it. Borrows from it. */
void record_copy_connection(struct record *record, const struct record *connection);
/* The same of who made it alone, and of what was called; what they are called comes later. */
void record_copy_ends(struct record *record, const struct record *connection);
/* What who made it is called. */
void record_copy_source(struct record *record, struct arena *arena,
                        const struct record *connection);

/* The labels of its series, as a reporter ("source", "destination") sees it; borrowed. */
void record_labels(const struct record *record, const char *reporter,
                   struct traffic_labels *out_labels);

/* Opens the series; call when both ends are as known as they will be, at the latest before
 * record_close(). */
void record_open(struct record *record, struct traffic *traffic);
/* The record is complete but for its end: names that its series has too are borrowed from there, so
 * that what a long connection holds is not its own copy of them. True: none of its names is in the
 * arena any more. */
bool record_fold(struct record *record, const struct traffic *traffic);
/* Adds what moved since the last report. */
void record_bytes(struct record *record, const struct totals *totals);
/* Closes the series and writes the line(s). */
void record_close(struct record *record, const struct totals *totals, uint64_t duration_ns,
                  bool log_access);

/* The record as JSON members (without braces), for the log and for `ctl connections`. */
void record_json(const struct record *record, bool inbound_view, struct text *out);

#endif
