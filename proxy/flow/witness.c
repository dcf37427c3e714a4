#include "proxy/flow/witness.h"

#include <string.h>

#include "proxy/flow/walk.h"

#define REVISION_TEXT_LEN 16

/* ---- the parts of a line ---- */

static const char *direction_of(const struct record *record)
{
    if (record->kind != ARRIVAL_OUTBOUND)
        return "inbound";
    return record->is_same_node ? "local" : "outbound";
}

/* Of the end that a handshake proved: "spiffe://<trust domain>/...". */
static struct str trust_domain_of(struct str id)
{
    struct str domain = {0}, path;
    (void)str_split(str_sub(id, sizeof "spiffe://" - 1, id.len), '/', &domain, &path);
    return domain;
}

static void add_peer(struct audit_entry *entry, const struct record *record)
{
    const struct str peer =
        record_name(record, record->kind == ARRIVAL_OUTBOUND ? LABEL_DESTINATION_PRINCIPAL
                                                             : LABEL_SOURCE_PRINCIPAL);
    entry_flag(entry, AUDIT_MTLS, record->is_mutual_tls);
    if (!record->is_mutual_tls)
        return;
    entry_cstr(entry, AUDIT_TLS_VERSION, record->tls_version);
    entry_cstr(entry, AUDIT_TLS_CIPHER, record->cipher);
    entry_str(entry, AUDIT_PEER_TRUST_DOMAIN, trust_domain_of(peer));
    entry_str(entry, AUDIT_PEER_SERIAL, record->peer_serial);
    if (record->peer_not_after_ns > 0)
        entry_time(entry, AUDIT_PEER_NOT_AFTER, record->peer_not_after_ns);
}

void witness_parties(struct audit_entry *entry, const struct record *record)
{
    const struct party *source = &record->source, *destination = &record->destination;
    entry_str(entry, AUDIT_TRACE, record->trace);
    entry_cstr(entry, AUDIT_DIRECTION, direction_of(record));
    entry_addr(entry, AUDIT_SRC_ADDR, &source->addr);
    entry_str(entry, AUDIT_SRC_WORKLOAD, record_name(record, LABEL_SOURCE_WORKLOAD));
    entry_str(entry, AUDIT_SRC_NAMESPACE, record_name(record, LABEL_SOURCE_WORKLOAD_NAMESPACE));
    if (source->proof) {
        entry_str(entry, AUDIT_SRC_IDENTITY, record_name(record, LABEL_SOURCE_PRINCIPAL));
        entry_cstr(entry, AUDIT_SRC_PROOF, source->proof);
    }
    entry_str(entry, AUDIT_SRC_CLUSTER, record_name(record, LABEL_SOURCE_CLUSTER));
    entry_addr(entry, AUDIT_DST_ADDR, &destination->addr);
    entry_addr(entry, AUDIT_DST_TARGET, &record->hbone_addr);
    entry_str(entry, AUDIT_DST_SERVICE, record_name(record, LABEL_DESTINATION_SERVICE));
    entry_str(entry, AUDIT_DST_WORKLOAD, record_name(record, LABEL_DESTINATION_WORKLOAD));
    entry_str(entry, AUDIT_DST_NAMESPACE,
              record_name(record, LABEL_DESTINATION_WORKLOAD_NAMESPACE));
    if (destination->proof) {
        entry_str(entry, AUDIT_DST_IDENTITY, record_name(record, LABEL_DESTINATION_PRINCIPAL));
        entry_cstr(entry, AUDIT_DST_PROOF, destination->proof);
    }
    entry_str(entry, AUDIT_DST_CLUSTER, record_name(record, LABEL_DESTINATION_CLUSTER));
    add_peer(entry, record);
}

static void add_revision(struct audit_entry *entry, uint64_t revision)
{
    static const char digits[] = "0123456789abcdef";
    char text[REVISION_TEXT_LEN];
    for (size_t i = 0; i < REVISION_TEXT_LEN; i++)
        text[i] = digits[(revision >> (60 - 4 * i)) & 15];
    entry_str(entry, AUDIT_REVISION, str_of(text, sizeof text));
}

void witness_ruling(struct audit_entry *entry, const struct ruling *ruling)
{
    entry_cstr(entry, AUDIT_DECISION, ruling->decision);
    if (ruling->is_late)
        entry_flag(entry, AUDIT_LATE, true);
    if (ruling->has_rule)
        entry_cstr(entry, AUDIT_ACTION, policy_action_text(ruling->action));
    entry_str(entry, AUDIT_POLICY, ruling->policy);
    if (ruling->has_rule)
        entry_u64(entry, AUDIT_RULE, ruling->rule_idx);
    entry_cstr(entry, AUDIT_MODE, ruling->mode);
    if (ruling->revision != 0) /* 0: not known */
        add_revision(entry, ruling->revision);
    entry_cstr(entry, AUDIT_SENTENCE, ruling->sentence);
}

/* ---- lines ---- */

static bool is_request(const struct call *call)
{
    return call->connection != call->id;
}

static void add_call(struct audit_entry *entry, const struct call *call)
{
    char name[AUDIT_NAME_MAX];
    entry_str(entry, AUDIT_CONNECTION, audit_name(call->walk->tools.audit, call->connection, name));
    witness_parties(entry, &call->record);
    if (call->shown) {
        entry_str(entry, AUDIT_METHOD, call->shown->method);
        entry_str(entry, AUDIT_PATH, call->shown->path);
    }
}

static struct audit_entry *begin(struct call *call, enum audit_event event)
{
    struct audit_entry *entry = audit_begin(call->walk->tools.audit, event);
    if (!entry)
        return NULL;
    add_call(entry, call);
    if (is_request(call))
        entry_u64(entry, AUDIT_REQUEST_NUMBER, call->id);
    return entry;
}

static void write_ruling(struct call *call, const struct ruling *ruling)
{
    struct audit_entry *entry = begin(call, AUDIT_VERDICT);
    if (!entry)
        return;
    witness_ruling(entry, ruling);
    entry_u64(entry, AUDIT_GENERATION, ruling->generation);
    audit_commit(call->walk->tools.audit);
}

static void write_hit(struct call *call, const struct policy_hit *hit, const char *decision,
                      enum policy_action action, const char *sentence)
{
    const bool has_policy = !str_is_empty(hit->policy);
    const struct ruling ruling = {
        .decision = decision,
        .policy = hit->policy,
        .has_rule = has_policy,
        .action = action,
        .rule_idx = hit->rule_idx,
        .mode = policy_mode_text(hit->mode),
        .revision = hit->revision,
        .sentence = sentence,
        .generation = call->record.ruling.generation,
    };
    write_ruling(call, &ruling);
}

static void write_dry_run(struct call *call, const struct policy_dry_run *dry)
{
    struct policy_hit hit = str_is_empty(dry->deny.policy) ? dry->allow : dry->deny;
    const enum policy_action action = str_is_empty(dry->deny.policy) ? POLICY_ALLOW : POLICY_DENY;
    hit.mode = POLICY_DRY_RUN;
    write_hit(call, &hit, dry->would_deny ? "would-deny" : "would-allow", action, dry->sentence);
}

void witness_tell(struct call *call)
{
    if (!call->told.is_due)
        return;
    call->told.is_due = false;
    call->told.is_apart = true;
    write_ruling(call, &call->record.ruling);
}

struct ruling witness_ruling_of(const struct policy_answer *answer, uint64_t generation)
{
    return (struct ruling){
        .decision = answer->allowed ? "allow" : "deny",
        .policy = answer->policy,
        .has_rule = answer->has_rule,
        .action = answer->action,
        .rule_idx = answer->rule_idx,
        .mode = policy_mode_text(answer->mode),
        .revision = answer->revision,
        .sentence = answer->sentence,
        .generation = generation,
    };
}

/* It is the call's from now on; said now, or by a request's end. */
static void take_ruling(struct call *call, const struct ruling *taken, bool may_wait)
{
    struct ruling *ruling = &call->record.ruling;
    witness_tell(call); /* it was allowed before */
    *ruling = *taken;
    if (!str_is_empty(ruling->policy))
        ruling->policy = arena_str(&call->arena, ruling->policy);
    if (!call->walk->tools.audit)
        return;
    call->told.is_due = may_wait && is_request(call) && !call->told.is_copy;
    if (!call->told.is_due)
        write_ruling(call, ruling);
}

void witness_known(struct call *call, const struct ruling *ruling)
{
    take_ruling(call, ruling, true);
}

void witness_verdict(struct call *call, const struct policy_answer *answer, bool is_late)
{
    struct ruling ruling = witness_ruling_of(answer, call_snapshot(call)->generation);
    ruling.is_late = is_late;
    take_ruling(call, &ruling, answer->allowed);
    if (!call->walk->tools.audit)
        return;
    call->told.is_apart |= is_late;
    if (answer->dry_run.is_asked)
        write_dry_run(call, &answer->dry_run);
    for (size_t i = 0; i < answer->n_audits; i++)
        write_hit(call, &answer->audits[i], "audit", POLICY_AUDIT,
                  answer->n_audits_matched > answer->n_audits
                      ? "matched, and more AUDIT policies than are named"
                      : "matched");
}

void witness_cut(struct call *call, struct str sentence)
{
    struct ruling *ruling = &call->record.ruling;
    witness_tell(call);
    *ruling = (struct ruling){
        .decision = "deny",
        .is_late = true,
        .sentence = arena_printf(&call->arena, "%.*s", STR_ARG(sentence)).ptr,
        .generation = call_snapshot(call)->generation,
    };
    write_ruling(call, ruling);
}

static const char *fault_text(int err)
{
    switch (err_info(err)->blame) {
    case BLAME_NONE: return "none";
    case BLAME_CLIENT: return "caller";
    case BLAME_UPSTREAM: return "called";
    case BLAME_CONFIG: return "configuration";
    case BLAME_POLICY: return "policy";
    case BLAME_LOCAL: return "node";
    }
    return "none";
}

/* Who was dialled is known, who dialled is not: what its certificate claims is told as a claim. */
static void add_strangers(struct audit_entry *entry, const struct workload *dialled,
                          const struct refusal *refusal)
{
    const struct tls_claim *claim = &refusal->claim;
    entry_cstr(entry, AUDIT_DIRECTION, "inbound");
    entry_addr(entry, AUDIT_SRC_ADDR, &refusal->peer);
    entry_str(entry, AUDIT_SRC_CLAIMED, claim->id);
    entry_addr(entry, AUDIT_DST_ADDR, &refusal->dialled);
    if (dialled) {
        entry_str(entry, AUDIT_DST_WORKLOAD, dialled->name);
        entry_str(entry, AUDIT_DST_NAMESPACE, dialled->namespace_);
        entry_str(entry, AUDIT_DST_CLUSTER, dialled->cluster);
    }
    entry_flag(entry, AUDIT_MTLS, false);
    entry_str(entry, AUDIT_PEER_SERIAL, claim->serial);
    if (claim->not_after_ns > 0)
        entry_time(entry, AUDIT_PEER_NOT_AFTER, claim->not_after_ns);
}

void witness_refusal(struct audit_pen *pen, const struct snapshot *snapshot,
                     const struct refusal *refusal)
{
    struct audit_entry *entry = audit_begin_stranger(pen, AUDIT_VERDICT);
    if (!entry)
        return;
    const struct workload *dialled =
        snapshot ? snapshot_workload_by_ip(snapshot, &refusal->dialled.ip) : NULL;
    add_strangers(entry, dialled, refusal);
    entry_cstr(entry, AUDIT_DECISION, "deny");
    entry_cstr(entry, AUDIT_SENTENCE, "no tunnel came to be, so no policy was asked");
    entry_cstr(entry, AUDIT_WHY, err_label(refusal->err));
    entry_cstr(entry, AUDIT_FAULT, fault_text(refusal->err));
    if (str_is_empty(refusal->detail))
        entry_cstr(entry, AUDIT_ERROR, err_text(refusal->err));
    else
        entry_str(entry, AUDIT_ERROR, refusal->detail);
    if (snapshot)
        entry_u64(entry, AUDIT_GENERATION, snapshot->generation);
    audit_commit(pen);
}

/* The generation that decided; where nobody was asked, the one of the end. */
static uint64_t generation_of(const struct call *call)
{
    const struct snapshot *snapshot = call_snapshot(call);
    if (call->record.ruling.decision)
        return call->record.ruling.generation;
    return snapshot ? snapshot->generation : 0;
}

static void add_end(struct audit_entry *entry, const struct call *call, const struct totals *totals)
{
    const struct record *record = &call->record;
    witness_ruling(entry, &record->ruling);
    entry_u64(entry, AUDIT_GENERATION, generation_of(call));
    entry_cstr(entry, AUDIT_WHY, err_label(totals->err));
    entry_cstr(entry, AUDIT_FAULT, fault_text(totals->err));
    if (totals->err < 0 && str_is_empty(record->detail))
        entry_cstr(entry, AUDIT_ERROR, err_text(totals->err));
    else if (totals->err < 0)
        entry_str(entry, AUDIT_ERROR, record->detail);
}

/* What the line of a request is made of, but for its strings. A hole that differs costs a look. */
struct made_of {
    uint64_t connection, generation; /* of now: names and policies are of one generation */
    const struct str *names;
    const char *proofs[2], *tls_version, *cipher, *decision, *mode, *sentence; /* constants */
    int64_t peer_not_after_ns;
    uint64_t ruling_generation, revision, rule_idx;
    struct addr source, destination, hbone_addr;
    uint32_t kind, action;
    bool is_same_node, is_mutual_tls, has_rule, is_shown;
};

/* False: something in it may be of this request alone. Names are so when it has copies of its own,
 * and sentences when they tell of a failure or of a late verdict. */
static bool gather(const struct call *call, const struct totals *totals, struct made_of *made_of,
                   struct str strings[AGAIN_STRINGS])
{
    const struct record *record = &call->record;
    const struct ruling *ruling = &record->ruling;
    if (totals->err < 0 || record->own_names || ruling->is_late)
        return false;
    memset(made_of, 0, sizeof *made_of);
    made_of->connection = call->connection;
    made_of->generation = call_snapshot(call)->generation;
    made_of->names = record->names;
    made_of->proofs[0] = record->source.proof;
    made_of->proofs[1] = record->destination.proof;
    made_of->tls_version = record->tls_version;
    made_of->cipher = record->cipher;
    made_of->decision = ruling->decision;
    made_of->mode = ruling->mode;
    made_of->sentence = ruling->sentence;
    made_of->peer_not_after_ns = record->peer_not_after_ns;
    made_of->ruling_generation = ruling->generation;
    made_of->revision = ruling->revision;
    made_of->rule_idx = ruling->rule_idx;
    made_of->source = record->source.addr;
    made_of->destination = record->destination.addr;
    made_of->hbone_addr = record->hbone_addr;
    made_of->kind = (uint32_t)record->kind;
    made_of->action = (uint32_t)ruling->action;
    made_of->is_same_node = record->is_same_node;
    made_of->is_mutual_tls = record->is_mutual_tls;
    made_of->has_rule = ruling->has_rule;
    made_of->is_shown = call->shown != NULL;
    strings[0] = record->trace;
    strings[1] = record->peer_serial;
    strings[2] = ruling->policy;
    strings[3] = call->shown ? call->shown->method : (struct str){0};
    strings[4] = call->shown ? call->shown->path : (struct str){0};
    return true;
}

#define MADE_OF_STRINGS 5

static void end_request(struct call *call, const struct totals *totals,
                        const struct audit_request *request)
{
    struct audit_pen *pen = call->walk->tools.audit;
    struct made_of made_of;
    struct str strings[AGAIN_STRINGS];
    const struct audit_facts facts = {&made_of, sizeof made_of, strings, MADE_OF_STRINGS};
    const bool is_due = call->told.is_due;
    call->told.is_due = false;
    if (!audit_wants_request(pen, is_due))
        return;
    const bool is_plain = audit_folds(pen) && gather(call, totals, &made_of, strings);
    if (is_plain && audit_commit_again(pen, &facts, request))
        return;
    struct audit_entry *entry = audit_begin_request(pen, is_due);
    add_call(entry, call);
    if (!audit_folds(pen) || entry->is_cut) /* what is not told may differ */
        entry_u64(entry, AUDIT_REQUEST_NUMBER, call->id);
    add_end(entry, call, totals);
    const bool is_whole = !entry->is_cut;
    audit_commit_request(pen, call->connection, request, call_now_ns(call));
    if (is_plain && is_whole)
        audit_remember(pen, &facts);
}

void witness_end(struct call *call, const struct totals *totals, uint64_t duration_ns)
{
    const struct audit_pen *pen = call->walk->tools.audit;
    const bool is_inbound = call->record.kind != ARRIVAL_OUTBOUND;
    const struct audit_request what = {
        .bytes_sent = is_inbound ? totals->sent : totals->received,
        .bytes_received = is_inbound ? totals->received : totals->sent,
        .duration_ns = duration_ns,
        .attempts = call->record.attempts,
    };
    if (is_request(call) && !(call->told.is_apart && audit_wants(pen, AUDIT_END))) {
        end_request(call, totals, &what);
        return;
    }
    witness_tell(call);
    struct audit_entry *entry = begin(call, AUDIT_END);
    if (!entry)
        return;
    add_end(entry, call, totals);
    entry_u64(entry, AUDIT_BYTES_SENT, what.bytes_sent);
    entry_u64(entry, AUDIT_BYTES_RECEIVED, what.bytes_received);
    entry_u64(entry, AUDIT_DURATION, what.duration_ns);
    entry_u64(entry, AUDIT_ATTEMPTS, what.attempts);
    audit_commit(call->walk->tools.audit);
}
