#include "proxy/identify/identify.h"

#include "certs/spiffe.h"

/* An ID's principal and namespace; -ERR_INVALID when it is no SPIFFE ID. */
static int fill_identity(struct str id, struct principal *principal)
{
    struct spiffe_id parsed;
    if (spiffe_parse(id, &parsed, NULL) < 0)
        return -ERR_INVALID;
    principal->id = id;
    principal->name = spiffe_principal(&parsed);
    if (!spiffe_workload_parts(&parsed, &principal->namespace_, &principal->service_account))
        principal->namespace_ = principal->service_account = (struct str){0};
    return 0;
}

const struct workload *identify_caller(const struct snapshot *snapshot, const struct ip *source)
{
    const struct workload *workload = snapshot_workload_by_ip(snapshot, source);
    return workload && workload->is_local && workload->speaks_hbone &&
                   !str_is_empty(workload->identity)
               ? workload
               : NULL;
}

/* The snapshot made the identity out of its parts, so nothing has to be parsed for a connection. */
struct principal identify_as(const struct workload *pod, const struct ip *source)
{
    static const size_t scheme_len = sizeof "spiffe://" - 1;
    return (struct principal){
        .id = pod->identity,
        .name = str_sub(pod->identity, scheme_len, pod->identity.len),
        .namespace_ = pod->namespace_,
        .service_account = pod->service_account,
        .workload = pod,
        .ip = *source,
    };
}

int identify_pod(const struct snapshot *snapshot, const struct ip *source,
                 struct principal *out_principal)
{
    const struct workload *pod = identify_caller(snapshot, source);
    if (!pod)
        return -ERR_UNKNOWN_SOURCE;
    *out_principal = identify_as(pod, source);
    return 0;
}

int identify_svid(const struct snapshot *snapshot, struct str id, const struct ip *peer,
                  const struct ip *claimed, struct principal *out_principal)
{
    struct principal principal = {.ip = *peer};
    if (fill_identity(id, &principal) < 0)
        return -ERR_TLS_SVID;
    const struct ip *candidates[] = {claimed, peer};
    for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
        const struct workload *workload = snapshot_workload_by_ip(snapshot, candidates[i]);
        if (!workload || !str_eq(workload->identity, id))
            continue;
        principal.workload = workload;
        principal.ip = *candidates[i];
        break;
    }
    *out_principal = principal;
    return 0;
}

void identify_plaintext(const struct snapshot *snapshot, const struct ip *source,
                        struct principal *out_principal)
{
    *out_principal = (struct principal){
        .workload = snapshot_workload_by_ip(snapshot, source),
        .ip = *source,
    };
}
