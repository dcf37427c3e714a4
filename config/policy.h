/*
 * policy.h - compiled authorization policies and the one function that asks them.
 *
 * Semantics are Istio's, closed in doubt:
 *   1. a DENY policy that matches denies; 2. a policy that is referred to and not there denies;
 *   3. with no ALLOW policy at all it is allowed; 4. an ALLOW policy that matches allows; 5. else
 *   denied.
 * AUDIT and dry-run policies are evaluated and reported, never decisive. Rules are alternatives,
 * clauses must all match, matches are alternatives, fields must all match, values are alternatives,
 * not_ values must all fail. A policy without rules never matches; a rule without clauses and a
 * clause without matches do; a wholly empty match never does, except one with has_unknown in a DENY
 * or AUDIT policy, which does.
 *
 * A question with a request has one answer. A question without one is about a connection, and what
 * only a request shows (struct request_field) may match or not. Its answer is for a connection
 * whose requests nobody sees: such a match allows nobody and keeps no DENY from denying, as in
 * Istio on a TCP port; a DENY that matches for certain is named before one that may. Whoever will
 * see the requests looks at depends_on_request first: where it is false, every request would be
 * answered the same; where it is true, each request is to be asked.
 *
 * Policies that apply together are a layer: the mesh's, a namespace's, those that name a workload.
 * A layer is compiled once (policy_index.h) and shared by all workloads under it; what a workload
 * has of its own is a policy_set, a list of layers. So memory grows with the policies, not with
 * policies times workloads, and a verdict finds its candidates by lookup.
 *
 * Source: Istio AuthorizationPolicy; ztunnel rbac (see docs/policy.md).
 * Owner: the arena given, of the snapshot. Thread: any; immutable.
 */
#ifndef ISTHMUS_CONFIG_POLICY_H
#define ISTHMUS_CONFIG_POLICY_H

#include "config/model.h"

struct policy {
    struct str key; /* "<namespace>/<name>" */
    enum policy_action action;
    enum policy_scope scope;
    bool dry_run;
    uint64_t revision, mark;   /* see model.h */
    const struct str *targets; /* see model.h */
    size_t n_targets;
    const struct model_rule *rules; /* values of a field sorted, those that others cover left out */
    size_t n_rules;
};

/* Copies a policy into the arena. */
const struct policy *policy_compile(struct arena *arena, const struct model_policy *model);

struct policy_index;

struct policy_layer {
    const struct policy *const *policies; /* as policy_compare() orders them */
    size_t n_policies;
    const uint16_t *ports; /* of the workload: the layer holds on these only; NULL: on all */
    size_t n_ports;
    const struct str *headers; /* of a request that its rules ask for, each once, sorted */
    size_t n_headers;
    bool has_allow, has_dry_allow, has_dry_deny;
    uint64_t revision, mark; /* of all of it; 0 when a policy's is not known */
    const struct policy_index *index;
};

/* Compiles; policies are borrowed and sorted in place, the array and ports must live as long. */
const struct policy_layer *policy_layer_new(struct arena *arena, const struct policy **policies,
                                            size_t n_policies, const uint16_t *ports,
                                            size_t n_ports);

/* DENY, ALLOW, AUDIT; then by name, so that the one which a log names is always the same. */
int policy_compare(const struct policy *a, const struct policy *b);

struct policy_set { /* all that applies to a workload */
    const struct policy_layer *const *layers;
    size_t n_layers;
    struct str
        missing; /* a policy that the workload refers to and that is not there; "" when none */
    uint64_t revision; /* of all of it, to be shown */
    uint64_t mark;     /* equal marks give equal verdicts, in this process; 0 equals nothing */
};

/* Sets revision and mark out of the rest. */
void policy_set_seal(struct policy_set *set);

/* Does any of its policies ask for a header of that name, or of one that some servers take for it
 * ("x_role" for "x-role")? */
bool policy_set_asks_header(const struct policy_set *set, struct str name);

/* ---- what only HTTP shows ---- */

struct policy_header {
    struct str name, value; /* the name in lower case; several of one name are several entries */
};

struct policy_claim {
    struct str path; /* names of nested claims, each followed by a NUL but the last: "a\0b" */
    const struct str *values; /* of a string one, of an array of strings all of them */
    size_t n_values;
};

struct policy_token {     /* a verified JWT; see config/model.h for who issued it */
    struct str principal; /* "<iss>/<sub>" */
    struct str presenter; /* azp; "" when there is none */
    const struct str *audiences;
    size_t n_audiences;
    const struct policy_claim *claims;
    size_t n_claims;
};

/* Compared as given: who fills it in has normalised the path as it will be forwarded and taken the
 * query off, and has put names into lower case. "" is a thing that the request does not have, and
 * matches no value. */
struct policy_request {
    struct str method; /* compared in its case */
    struct str host;   /* as in Host or :authority, in any case, with its port if it had one */
    struct str path;
    /* The path as a liberal server may read it (%2F as a slash, ";" and what is behind it in a
     * segment passed over), where that is another one; else "". */
    struct str lax_path;
    const struct policy_header *headers;
    size_t n_headers;
    const struct policy_token *token; /* NULL: the request has none */
};

struct policy_question {
    struct str
        principal; /* "td/ns/x/sa/y" of the verified source, "" when there is none (plaintext) */
    struct str namespace_, service_account; /* of the source, from its principal; "" when unknown */
    struct ip source, destination;
    uint16_t port; /* of the workload, not of the service */
    /* NULL: of a connection, before or without a request. */
    const struct policy_request *request;
};

enum policy_mode { POLICY_ENFORCED, POLICY_DRY_RUN };

/* A longer host, and several headers of one name that are longer together with a comma between two,
 * are not compared but held against the request: ALLOW does not match, DENY and AUDIT do. */
#define POLICY_HOST_MAX   512
#define POLICY_METHOD_MAX 32 /* a longer one is only compared in its case */
#define POLICY_HEADER_MAX 8192
#define POLICY_PARTS_MAX  256 /* of a header with commas, beyond which it is held against it too */

#define POLICY_AUDITS_MAX 4 /* AUDIT policies named in an answer */

struct policy_hit { /* a policy that matched; policy "" when none did */
    struct str policy;
    size_t rule_idx;
    enum policy_mode mode;
    uint64_t revision;
};

/* What the dry-run policies would have done, were they in force beside the others. */
struct policy_dry_run {
    bool is_asked;           /* there is a dry-run policy to ask */
    bool would_deny;         /* the verdict would have been to deny */
    struct policy_hit deny;  /* the DENY policy that matched */
    bool has_allow;          /* there are dry-run ALLOW policies */
    struct policy_hit allow; /* the one of them that matched */
    const char
        *sentence; /* "would be denied by", "would be denied because no dry-run allow matched",
                      "would be allowed by", "would change nothing"; NULL when not asked */
};

struct policy_answer {
    bool allowed;
    /* Never with a request, nor when the connection is denied whatever its requests may be. Else:
     * some request may change allowed, an audit, or what a dry run would have done. */
    bool depends_on_request;
    /* Never with a request. Else: some policy that may decide looks at it, so that another one may
     * be named, at least. False: every request has this very answer. */
    bool looks_at_request;
    enum policy_action action; /* POLICY_ALLOW or POLICY_DENY, as allowed says */
    enum policy_mode mode;     /* of what decided: always POLICY_ENFORCED; see dry_run */
    struct str policy;         /* which decided, or is missing; "" when none did */
    bool has_rule;             /* a rule of it decided: rule_idx, from 0 */
    size_t rule_idx;
    uint64_t revision; /* of that policy; of all policies that apply when none decided */
    const char
        *sentence; /* "explicitly denied by", "allowed by", "no allow policies", "allow policies
                      exist, but none allowed", "refers to a policy that is not there" */
    struct policy_hit audits[POLICY_AUDITS_MAX]; /* AUDIT policies that matched, by name */
    size_t n_audits,
        n_audits_matched; /* in the list; the same, or one more when others matched too */
    struct policy_dry_run dry_run;
};

struct policy_answer policy_ask(const struct policy_set *set,
                                const struct policy_question *question);

/* Does the layer hold on that port? */
bool policy_layer_holds(const struct policy_layer *layer, uint16_t port);
const char *policy_action_text(enum policy_action action);
const char *policy_mode_text(enum policy_mode mode);

#endif
