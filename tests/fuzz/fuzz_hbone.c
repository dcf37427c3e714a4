/*
 * Any bytes as the head of a CONNECT: the first line is the authority, the second forwarded, the
 * rest baggage. What is resolved is the pod that was dialled, on a port that is not ours; what is
 * parsed lies within the input; a principal of any text is refused or names itself.
 */
#include "proxy/http/hbone.h"
#include "proxy/identify/identify.h"
#include "proxy/resolve/resolve.h"
#include "tests/kit/snap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct own_ports own = {15001, 15006, 15008};

static struct snapshot *make_snapshot(void)
{
    struct snap snap;
    snap_init(&snap, "n1");
    struct model_workload *till = snap_pod(&snap, "till", "n1", "10.1.1.10 fd00:1:1::10");
    snap_serve(&snap, till, snap_service(&snap, "till", "10.201.0.7", 7000, 7070));
    struct snapshot *snapshot = snap_build(&snap);
    snap_fini(&snap);
    return snapshot;
}

static void check_inside(struct str part, struct str whole)
{
    if (part.len > 0)
        ensure(part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void check_authority(const struct snapshot *snapshot, struct str authority,
                            const struct ip *dialled)
{
    struct target target;
    const int err = resolve_inbound(snapshot, &own, authority, dialled, &target);
    ensure(err <= 0 && err > -ERR_COUNT);
    if (err < 0)
        return;
    ensure(ip_eq(&target.addr.ip, dialled));
    ensure(target.addr.port != 0 && target.addr.port != own.tunnel &&
           target.addr.port != own.inbound && target.addr.port != own.outbound);
    ensure(target.workload && target.workload->is_local);
}

static void check_fields(struct str forwarded, struct str baggage)
{
    struct addr client;
    struct str host;
    struct hbone_labels labels;
    hbone_parse_forwarded(forwarded, &client, &host);
    check_inside(host, forwarded);
    ensure(client.ip.len == 0 || client.ip.len == 4 || client.ip.len == 16);
    hbone_parse_baggage(baggage, &labels);
    check_inside(labels.cluster, baggage);
    check_inside(labels.workload, baggage);
}

static void check_principal(const struct snapshot *snapshot, struct str id, const struct ip *ip)
{
    struct principal principal;
    if (identify_svid(snapshot, id, ip, ip, &principal) == 0)
        ensure(str_eq(principal.id, id) && str_ends_with(id, principal.name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct snapshot *snapshot;
    static struct ip dialled;
    if (!snapshot) {
        snapshot = make_snapshot();
        ensure(ip_parse(STR("10.1.1.10"), &dialled) == 0);
    }
    struct str authority, forwarded, baggage;
    struct str rest = str_of(data, size);
    if (!str_split(rest, '\n', &authority, &rest) || !str_split(rest, '\n', &forwarded, &baggage))
        return 0;
    check_authority(snapshot, authority, &dialled);
    check_fields(forwarded, baggage);
    check_principal(snapshot, authority, &dialled);
    return 0;
}
