/*
 * witness.h - what a flow says in the audit log: every verdict on it, and its end, once.
 *
 * A verdict is written when it is spoken: what was decided and by which policy, then what dry-run
 * policies would have done (when there are any), then each AUDIT policy that matched. One that is
 * asked again for a live connection is written only when it cuts it. The end carries everything
 * that is known by then, the verdict that the connection lived under included.
 *
 * Of a request that was allowed the end tells the verdict too, in a line for all that ended alike
 * (proxy/audit/fold.h). One that lasts longer than AUDIT_LONG_NS, is tried at another endpoint, or
 * is cut late, has its verdict and its end in lines of its own.
 *
 * An identity is said only together with how it was proved: a workload's expected ID that no
 * handshake has shown is left out.
 *
 * Cost: some thousand instructions for a line or a request (bench/micro, audit-record and
 * audit-request), some hundred for a request that is told as one before it (proxy/audit/again.h),
 * nothing for a byte.
 * Without an audit log nothing is done. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_WITNESS_H
#define ISTHMUS_FLOW_WITNESS_H

#include "proxy/accept/tunnel_server.h"
#include "proxy/audit/audit.h"
#include "proxy/flow/record.h"

struct call;

/* A verdict on what the flow's record shows. is_late: it cuts a live connection. */
void witness_verdict(struct call *call, const struct policy_answer *answer, bool is_late);
/* The same of a request whose verdict is known, which is to allow and nothing besides; the policy
 * is copied. */
void witness_known(struct call *call, const struct ruling *ruling);
/* Borrows from the answer. */
struct ruling witness_ruling_of(const struct policy_answer *answer, uint64_t generation);
/* Writes an allowed request's verdict that its end was to tell: it lasts. */
void witness_tell(struct call *call);
/* A live connection is cut because what proved the peer does not hold any more. */
void witness_cut(struct call *call, struct str sentence);
/* Somebody was refused on the tunnel port before there was a flow: see walk_note_refusal(). */
void witness_refusal(struct audit_pen *pen, const struct snapshot *snapshot,
                     const struct refusal *refusal);
void witness_end(struct call *call, const struct totals *totals, uint64_t duration_ns);

/* The part of a line that tells who, whom and through what. */
void witness_parties(struct audit_entry *entry, const struct record *record);
/* The part that tells of the decision. */
void witness_ruling(struct audit_entry *entry, const struct ruling *ruling);

#endif
