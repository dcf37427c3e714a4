/*
 * route.h - a request's head -> where it goes, and how it is changed on the way.
 *
 * Asked once for each request of a connection that was captured for a service's port whose
 * http_mode is not HTTP_MODE_NONE, after its path was normalised, before pick. No I/O: the snapshot
 * is an argument in the shape of service and port, chance is a number, memory is the exchange's
 * arena.
 *
 *   http_path_normalize(head->path, rules, arena, &path, &why)      400 when it fails
 *   route_decide(&(struct route_question){...}, arena, &decision)
 *   decision.status != 0:  answer it with status, location, body; server: isthmus and why in
 *       the reason field (gRPC: the status in its words); response_edits apply to redirects too
 *   else:
 *       target = decision.service and decision.port, endpoints of the client's family; pick
 *       head.path = decision.target; head.authority = decision.authority
 *       head.fields = route_edit(&head.fields, decision.request_edits, arena)
 *       http_mode of decision.port says what the backend speaks
 *       the answer's fields = route_edit(&fields, decision.response_edits, arena)
 *       each of decision.mirrors: the same request, "-shadow" behind its host, answer thrown away
 *       decision.timeout_ns for the whole, decision.attempt_ns for each try, decision.retry
 *
 * service and port borrow from the snapshot that was asked; the rest is the arena's or borrows from
 * the question. A retry after an await finds its service again with
 * snapshot_service_by_key(snapshot, decision.service_key), and its port by number.
 *
 * A port without routes gives what was called, unchanged. Thread: any. Source: Gateway API v1.
 */
#ifndef ISTHMUS_ROUTE_ROUTE_H
#define ISTHMUS_ROUTE_ROUTE_H

#include "config/snapshot.h"
#include "proxy/http/message.h"
#include "proxy/http/path.h"

struct route_question {
    const struct http_request *head;
    const struct http_path *path;
    const struct service *service; /* what the connection was captured for */
    const struct service_port *port;
    struct str source_namespace; /* of the calling workload; "" when it is not known */
    struct ip source;
    struct str principal; /* "" when it is not known */
    uint64_t random;
};

struct route_edit_list { /* applied in this order: the rule's, the backend's */
    struct route_edits at[2];
    unsigned len;
};

/* By what the endpoint is chosen, where the service's policy hashes. */
struct route_hash {
    bool is_made;  /* false: the service does not hash requests */
    bool is_there; /* false: the request has none of the keys */
    uint64_t value;
    struct str set_cookie; /* the field's value that the answer is to have, "" for none */
};

struct route_mirror_choice {
    const struct service *service;
    const struct service_port *port;
};

struct route_decision {
    struct str rule; /* "<namespace>/<route>/<rule>", "" when no routes are there */
    const char *why; /* of an answer: "no_route", "redirect", "direct_response",
                        "backend_not_found", "no_backend"; else NULL */

    unsigned status; /* 0: forward */
    struct str location, body;

    const struct service *service;
    const struct service_port *port;
    struct str service_key; /* for snapshot_service_by_key() */
    struct str target;      /* path and query to forward */
    struct str authority;
    struct route_edit_list request_edits, response_edits;
    const struct route_mirror_choice *mirrors; /* those that chance chose, and that are there */
    size_t n_mirrors;
    uint64_t timeout_ns, attempt_ns;
    struct route_retry retry; /* attempts 0: none */
    struct route_hash hash;
};

/* Whatever callers of that namespace ask of the port goes to what was called, as it is: there are
 * no routes, and nothing of a request is hashed. route_decide() has no more to say then. */
bool route_passes(const struct service *service, const struct service_port *port,
                  struct str source_namespace);

void route_decide(const struct route_question *question, struct arena *arena,
                  struct route_decision *out_decision);

/* Is it a call of gRPC, by its content type. */
bool route_is_grpc(const struct http_request *head);

/* The fields as the edits make them; borrowed from all three. Unchanged when there is nothing to
 * do. */
struct http_fields route_edit(const struct http_fields *fields, const struct route_edit_list *edits,
                              struct arena *arena);

#endif
