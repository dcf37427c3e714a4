/*
 * why.h - would this connection be allowed, and why: asked of a snapshot, without a connection.
 *
 * The question is made as the node makes it (proxy/identify, proxy/authorize), so that the answer
 * is the one that a connection would get on the destination's node.
 *
 *   a source       spiffe://td/ns/x/sa/y; a pod, "namespace/name"; an address, which is plaintext
 *   a destination  a pod, "namespace/name"; an address; the full host name of a service. The port
 *                  of a service is the service's, of a pod or its address the pod's own
 *
 * Thread: any that may read the snapshot.
 */
#ifndef ISTHMUS_ADMIN_WHY_H
#define ISTHMUS_ADMIN_WHY_H

#include "config/policy_explain.h"
#include "proxy/identify/identify.h"

struct why_destination {
    const struct workload *workload;
    struct addr addr; /* of the pod, with its own port */
};

/* Who is meant: 0, or -ERR_INVALID with a sentence in *problem. Borrows from snapshot and text. */
MUST_USE int why_source(const struct snapshot *snapshot, struct str text,
                        struct principal *out_source, struct text *problem);

/* What is meant, into the arena; a service is all its endpoints, ready or not. 0 with at least one,
 * or -ERR_INVALID with a sentence in *problem. */
MUST_USE int why_destinations(const struct snapshot *snapshot, struct str host, uint16_t port,
                              struct arena *arena, struct why_destination **out_destinations,
                              size_t *out_n, struct text *problem);

/* Nobody asks policies for a pod that is not in the mesh. */
bool why_is_judged(const struct why_destination *destination);

/* The verdict, with every rule that was in question; of a request, or of a connection (NULL). What
 * nobody reads there (authorize.h) is not shown to the policies. */
void why_explain(const struct principal *source, const struct why_destination *destination,
                 const struct policy_request *request, struct arena *arena,
                 struct policy_explanation *out_explanation);

struct why_question {
    struct str from, to;     /* to: destination and port, "shop/till-1:7070" */
    struct str method, path; /* of HTTP, "" when not said */
};

/*
 * {"source","identity","destination","address","verdict","reason","dry_run","note","http",
 *  "endpoints":[{"workload","address","cluster","verdict"}], of a service
 *  "rules":[{"action","policy","rule","matches","depends_on_request","why_not","mode","revision"}],
 *  "rules_left_out"}
 * verdict is allow, deny, or "by request" when each request is judged and none is asked about;
 * of the first endpoint of this cluster that does not allow, else of its first. An endpoint of
 * another cluster has "not known here" for one: policies do not cross clusters. 0, or -ERR_INVALID
 * with a sentence in out.
 */
MUST_USE int view_why(const struct snapshot *snapshot, const struct why_question *question,
                      struct text *out);

#endif
