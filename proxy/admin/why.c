#include "proxy/admin/why.h"

#include "config/names.h"
#include "proxy/authorize/authorize.h"
#include "proxy/http/path.h"

#define ENDPOINTS_SHOWN 64

/* ---- who and what ---- */

static int refuse(struct text *problem, const char *what, struct str text, const char *sentence)
{
    text_addf(problem, "%s \"%.*s\" %s", what, STR_ARG(text), sentence);
    return -ERR_INVALID;
}

/* "namespace/name" of the snapshot's own cluster; NULL when there is no such pod. */
static const struct workload *find_pod(const struct snapshot *snapshot, struct str text)
{
    struct text uid = {0};
    text_addf(&uid, "%.*s//v1/Pod/%.*s", STR_ARG(snapshot->vantage.cluster), STR_ARG(text));
    const struct workload *workload = snapshot_workload(snapshot, text_str(&uid));
    text_fini(&uid);
    return workload;
}

static int source_of_pod(const struct snapshot *snapshot, const struct workload *pod,
                         struct principal *out_source)
{
    const struct ip none = {0}, *ip = pod->n_addresses > 0 ? &pod->addresses[0] : &none;
    if (pod->speaks_hbone && !str_is_empty(pod->identity))
        return identify_svid(snapshot, pod->identity, ip, ip, out_source);
    identify_plaintext(snapshot, ip, out_source);
    return 0;
}

int why_source(const struct snapshot *snapshot, struct str text, struct principal *out_source,
               struct text *problem)
{
    static const struct ip nowhere = {0};
    struct ip ip;
    if (str_starts_with(text, STR("spiffe://"))) {
        if (identify_svid(snapshot, text, &nowhere, &nowhere, out_source) == 0)
            return 0;
        return refuse(problem, "the source", text, "is not a SPIFFE ID");
    }
    if (ip_parse(text, &ip) == 0) {
        identify_plaintext(snapshot, &ip, out_source);
        return 0;
    }
    const struct workload *pod = find_pod(snapshot, text);
    if (pod && source_of_pod(snapshot, pod, out_source) == 0)
        return 0;
    return refuse(problem, "the source", text,
                  "is no pod here (namespace/name), no SPIFFE ID and no address");
}

static bool is_listed(const struct why_destination *list, size_t n, const struct workload *workload)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].workload == workload)
            return true;
    return false;
}

/* Each workload once: those of the second family only when they have no address of the first. */
static size_t add_set(const struct endpoint_set *set, struct why_destination *list, size_t n,
                      size_t n_first)
{
    for (size_t i = 0; i < set->len; i++) {
        const struct endpoint *endpoint = &set->endpoints[i];
        if (n_first == 0 || endpoint->workload->n_addresses == 1 ||
            !is_listed(list, n_first, endpoint->workload))
            list[n++] = (struct why_destination){endpoint->workload, endpoint->addr};
    }
    return n;
}

static int service_destinations(const struct snapshot *snapshot, const struct service *service,
                                uint16_t port, struct arena *arena,
                                struct why_destination **out_destinations, size_t *out_n,
                                struct text *problem)
{
    const struct service_port *found = service_find_port(service, port);
    const struct endpoint_set *v4 = found ? snapshot_set(snapshot, found, false) : NULL;
    const struct endpoint_set *v6 = found ? snapshot_set(snapshot, found, true) : NULL;
    if (!found || v4->len + v6->len == 0) {
        text_addf(problem, "the service %.*s has %s %u", STR_ARG(service->hostname),
                  found ? "no endpoints on port" : "no port", port);
        return -ERR_INVALID;
    }
    struct why_destination *list =
        arena_new_array(arena, struct why_destination, v4->len + v6->len);
    const size_t n_first = add_set(v4, list, 0, 0);
    *out_n = add_set(v6, list, n_first, n_first);
    *out_destinations = list;
    return 0;
}

static int pod_destination(const struct workload *pod, const struct ip *ip, uint16_t port,
                           struct arena *arena, struct why_destination **out_destinations,
                           size_t *out_n)
{
    struct why_destination *list = arena_new(arena, struct why_destination);
    list->workload = pod;
    list->addr.port = port;
    if (ip)
        list->addr.ip = *ip;
    else if (pod->n_addresses > 0)
        list->addr.ip = pod->addresses[0];
    *out_destinations = list;
    *out_n = 1;
    return 0;
}

int why_destinations(const struct snapshot *snapshot, struct str host, uint16_t port,
                     struct arena *arena, struct why_destination **out_destinations, size_t *out_n,
                     struct text *problem)
{
    struct ip ip;
    const bool is_ip = ip_parse(host, &ip) == 0;
    const struct workload *pod =
        is_ip ? snapshot_workload_by_ip(snapshot, &ip) : find_pod(snapshot, host);
    if (pod)
        return pod_destination(pod, is_ip ? &ip : NULL, port, arena, out_destinations, out_n);
    const struct service *service =
        is_ip ? snapshot_service_by_ip(snapshot, &ip) : snapshot_service_by_host(snapshot, host);
    if (service)
        return service_destinations(snapshot, service, port, arena, out_destinations, out_n,
                                    problem);
    return refuse(problem, "the destination", host,
                  "is no pod here (namespace/name), no address of one and no service's host name");
}

/* ---- the verdict ---- */

bool why_is_judged(const struct why_destination *destination)
{
    return destination->workload->speaks_hbone;
}

/* As one who reads the connection there sees the request; NULL when nobody reads it. */
static const struct policy_request *seen(const struct principal *source,
                                         const struct why_destination *destination,
                                         const struct policy_request *request)
{
    const struct verdict verdict =
        authorize(destination->workload, source, &destination->addr, NULL);
    return verdict.is_by_request || !verdict.answer.depends_on_request ? request : NULL;
}

void why_explain(const struct principal *source, const struct why_destination *destination,
                 const struct policy_request *request, struct arena *arena,
                 struct policy_explanation *out_explanation)
{
    struct policy_question question = authorize_question(source, &destination->addr);
    question.request = seen(source, destination, request);
    policy_explain(destination->workload->policies, &question, arena, out_explanation);
}

static struct str verdict_word(const struct principal *source,
                               const struct why_destination *destination,
                               const struct policy_request *request)
{
    if (!why_is_judged(destination))
        return STR("allow");
    const struct verdict verdict = authorize(destination->workload, source, &destination->addr,
                                             seen(source, destination, request));
    if (verdict.is_by_request)
        return STR("by request");
    return verdict.err < 0 ? STR("deny") : STR("allow");
}

/* What became of the request, or of that there is none; NULL when it is of no matter. */
static const char *http_note(const struct principal *source,
                             const struct why_destination *destination,
                             const struct policy_request *request)
{
    const struct verdict verdict =
        authorize(destination->workload, source, &destination->addr, NULL);
    if (verdict.is_by_request)
        return request ? "asked with this method and path, no header but the host, and no token"
                       : "each request is judged: say METHOD and PATH to ask about one";
    if (verdict.answer.depends_on_request && verdict.answer.allowed)
        return "every request is allowed; what is audited or tried out may differ";
    if (verdict.answer.depends_on_request)
        return "nobody reads requests there, so policies that ask for what a request shows allow "
               "nobody and deny in doubt";
    return request ? "every request is answered so, whatever it shows" : NULL;
}

/* ---- the page ---- */

static void add_member(struct text *out, const char *key, struct str value)
{
    text_addf(out, "%s\"%s\":", out->ptr[out->len - 1] == '{' ? "" : ",", key);
    text_add_json_string(out, value);
}

static void add_addr(struct text *out, const char *key, const struct addr *addr)
{
    char buf[ADDR_TEXT_MAX];
    add_member(out, key, str_from(addr_text(addr, buf)));
}

static void add_pod(struct text *out, const char *key, const struct workload *workload)
{
    struct text name = {0};
    text_addf(&name, "%.*s/%.*s", STR_ARG(workload->namespace_), STR_ARG(workload->name));
    add_member(out, key, text_str(&name));
    text_fini(&name);
}

static void add_verdict(struct text *out, struct str word, const struct policy_answer *answer)
{
    struct text reason = {0};
    text_addf(&reason, "%s", answer->sentence);
    if (!str_is_empty(answer->policy))
        text_addf(&reason, " %.*s", STR_ARG(answer->policy));
    if (answer->has_rule)
        text_addf(&reason, ", rule %zu", answer->rule_idx);
    add_member(out, "verdict", word);
    add_member(out, "reason", text_str(&reason));
    text_fini(&reason);
}

/* Of what travels as a policy but was not written as one. Its name has underscores, which no
 * object's has. */
static void add_origin(struct text *out, struct str key)
{
    const struct str by_port = STR("isthmus_peer_authentication_");
    struct str namespace_, name;
    struct text origin = {0};
    if (!str_split(key, '/', &namespace_, &name))
        return;
    if (str_eq(name, STR("isthmus_strict_mtls")) ||
        str_eq(name, STR("istio_converted_static_strict"))) /* istiod's word for it */
        text_addf(&origin, "PeerAuthentication STRICT");
    else if (str_starts_with(name, by_port))
        text_addf(&origin, "PeerAuthentication %.*s/%.*s", STR_ARG(namespace_),
                  STR_ARG(str_sub(name, by_port.len, name.len)));
    if (origin.len > 0)
        add_member(out, "written_as", text_str(&origin));
    text_fini(&origin);
}

static void add_rule(struct text *out, const struct policy_line *line)
{
    const struct policy *policy = line->policy;
    text_addc(out, '{');
    add_member(out, "action", str_from(policy_action_text(policy->action)));
    add_member(out, "policy", policy->key);
    add_origin(out, policy->key);
    if (line->has_rule)
        text_addf(out, ",\"rule\":%zu", line->rule_idx);
    text_addf(out, ",\"matches\":%s", line->matches ? "true" : "false");
    if (line->depends_on_request)
        text_addf(out, ",\"depends_on_request\":true");
    add_member(out, "why_not", line->why_not);
    add_member(out, "mode",
               str_from(policy_mode_text(policy->dry_run ? POLICY_DRY_RUN : POLICY_ENFORCED)));
    text_addf(out, ",\"revision\":\"%016llx\"}", (unsigned long long)policy->revision);
}

static void add_explanation(struct text *out, const struct policy_explanation *explanation)
{
    const struct policy_dry_run *dry = &explanation->answer.dry_run;
    if (dry->is_asked) {
        struct text sentence = {0};
        const struct policy_hit *hit = dry->would_deny ? &dry->deny : &dry->allow;
        text_addf(&sentence, "%s", dry->sentence);
        if (!str_eq(str_from(dry->sentence), STR("would change nothing")) &&
            !str_is_empty(hit->policy))
            text_addf(&sentence, " %.*s", STR_ARG(hit->policy));
        add_member(out, "dry_run", text_str(&sentence));
        text_fini(&sentence);
    }
    text_addf(out, ",\"rules\":[");
    for (size_t i = 0; i < explanation->n_lines; i++) {
        text_addf(out, "%s", i > 0 ? "," : "");
        add_rule(out, &explanation->lines[i]);
    }
    text_addf(out, "],\"rules_left_out\":%zu", explanation->n_left_out);
}

/* Policies do not cross clusters: what others decide is not known here. */
static bool is_ours(const struct snapshot *snapshot, const struct why_destination *destination)
{
    return str_eq(destination->workload->cluster, snapshot->vantage.cluster);
}

static void add_endpoints(struct text *out, const struct snapshot *snapshot,
                          const struct principal *source, const struct policy_request *request,
                          const struct why_destination *list, size_t n)
{
    text_addf(out, ",\"endpoints\":[");
    for (size_t i = 0; i < n && i < ENDPOINTS_SHOWN; i++) {
        text_addf(out, "%s{", i > 0 ? "," : "");
        add_pod(out, "workload", list[i].workload);
        add_addr(out, "address", &list[i].addr);
        add_member(out, "cluster", list[i].workload->cluster);
        add_member(out, "verdict",
                   is_ours(snapshot, &list[i]) ? verdict_word(source, &list[i], request)
                                               : STR("not known here"));
        text_addc(out, '}');
    }
    text_addf(out, "],\"endpoints_left_out\":%zu", n > ENDPOINTS_SHOWN ? n - ENDPOINTS_SHOWN : 0);
}

static void add_source(struct text *out, const struct principal *source, struct str asked)
{
    add_member(out, "source", asked);
    add_member(out, "identity", str_is_empty(source->id) ? STR("none: plaintext") : source->id);
}

static void add_destination(struct text *out, const struct snapshot *snapshot,
                            const struct principal *source, const struct policy_request *request,
                            const struct why_destination *destination)
{
    struct arena arena = {0};
    struct policy_explanation explanation;
    add_pod(out, "destination", destination->workload);
    add_addr(out, "address", &destination->addr);
    if (!is_ours(snapshot, destination))
        add_member(out, "note",
                   STR("the pod is in another cluster, whose policies decide and are not known "
                       "here; this is what those of this cluster would say"));
    if (why_is_judged(destination)) {
        const char *note = http_note(source, destination, request);
        if (note)
            add_member(out, "http", str_from(note));
        why_explain(source, destination, request, &arena, &explanation);
        add_verdict(out, verdict_word(source, destination, request), &explanation.answer);
        add_explanation(out, &explanation);
    } else {
        add_member(out, "verdict", STR("allow"));
        add_member(out, "reason", STR("the pod is not in the mesh: nobody asks policies for it"));
    }
    arena_fini(&arena);
}

/* Of ours, the first that does not allow, else the first; where none is ours, the first. */
static const struct why_destination *pick_shown(const struct snapshot *snapshot,
                                                const struct principal *source,
                                                const struct policy_request *request,
                                                const struct why_destination *list, size_t n)
{
    const struct why_destination *shown = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_ours(snapshot, &list[i]))
            continue;
        if (!str_eq(verdict_word(source, &list[i], request), STR("allow")))
            return &list[i];
        shown = shown ? shown : &list[i];
    }
    return shown ? shown : &list[0];
}

static void write_page(const struct snapshot *snapshot, const struct why_question *question,
                       const struct principal *source, const struct policy_request *request,
                       const struct why_destination *list, size_t n, struct text *out)
{
    text_addc(out, '{');
    add_source(out, source, question->from);
    add_destination(out, snapshot, source, request, pick_shown(snapshot, source, request, list, n));
    if (n > 1)
        add_endpoints(out, snapshot, source, request, list, n);
    text_addf(out, "}\n");
}

/* A destination that is a name is the host of its requests. */
static bool make_request(const struct why_question *question, struct str host, struct arena *arena,
                         struct policy_request *out_request)
{
    struct ip ip;
    struct str path = question->path, query;
    (void)str_split(question->path, '?', &path, &query);
    *out_request = (struct policy_request){.method = question->method, .path = path};
    out_request->lax_path = http_path_lax(path, arena);
    if (!str_contains(host, STR("/")) && ip_parse(host, &ip) < 0)
        out_request->host = host;
    return !str_is_empty(question->method) || !str_is_empty(question->path);
}

/* The host may be a pod's "namespace/name", an address in brackets or a name. */
static bool split_destination(struct str text, struct str *out_host, uint16_t *out_port)
{
    struct str port;
    uint64_t number;
    if (!str_contains(text, STR("/")))
        return name_split_host_port(text, out_host, out_port);
    if (!str_rsplit(text, ':', out_host, &port) || !str_to_u64(port, 65535, &number) || number == 0)
        return false;
    *out_port = (uint16_t)number;
    return true;
}

int view_why(const struct snapshot *snapshot, const struct why_question *question, struct text *out)
{
    struct arena arena = {0};
    struct principal source;
    struct policy_request request;
    struct why_destination *list = NULL;
    struct str host = {0};
    uint16_t port = 0;
    size_t n = 0;
    int err = why_source(snapshot, question->from, &source, out);
    if (err == 0 && !split_destination(question->to, &host, &port))
        err = refuse(out, "the destination", question->to,
                     "has no port from 1 to 65535 behind a colon");
    if (err == 0 && !str_is_empty(question->path) && question->path.ptr[0] != '/' &&
        !str_eq(question->path, STR("*")))
        err = refuse(out, "the path", question->path, "does not begin with a slash");
    if (err == 0)
        err = why_destinations(snapshot, host, port, &arena, &list, &n, out);
    if (err == 0)
        write_page(snapshot, question, &source,
                   make_request(question, host, &arena, &request) ? &request : NULL, list, n, out);
    else
        text_addc(out, '\n');
    arena_fini(&arena);
    return err;
}
