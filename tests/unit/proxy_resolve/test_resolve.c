#include <criterion/criterion.h>

#include "proxy/resolve/resolve.h"
#include "tests/kit/snap.h"

TestSuite(resolve, .timeout = 10);

static const struct own_ports own = {15001, 15006, 15008, true};

static struct addr addr_of(const char *text)
{
    struct addr addr;
    cr_assert_eq(addr_parse(str_from(text), &addr), 0, "%s", text);
    return addr;
}

/* web is here (both families), db elsewhere (IPv4 only); the service "store" is served by db,
 * "local" by web. */
static struct snapshot *some_mesh(void)
{
    struct snap snap;
    snap_init(&snap, "n1");
    struct model_workload *web = snap_pod(&snap, "web", "n1", "10.0.0.1 fd00::1");
    struct model_workload *db = snap_pod(&snap, "db", "n2", "10.0.0.3");
    snap_serve(&snap, db, snap_service(&snap, "store", "10.96.0.1 fd96::1", 6379, 6380));
    snap_serve(&snap, web, snap_service(&snap, "local", "10.96.0.2", 80, 8080));
    snap_serve(&snap, web, snap_service(&snap, "looped", "10.96.0.3", 81, 15006));
    snap_service(&snap, "empty", "10.96.0.4", 80, 8080);
    struct snapshot *snapshot = snap_build(&snap);
    snap_fini(&snap);
    return snapshot;
}

Test(resolve, outbound_looks_for_a_vip_then_a_workload_else_passes_through)
{
    const struct {
        const char *destination;
        int err;
        enum target_kind kind;
        const char *name; /* of the service or the workload */
        size_t n_endpoints;
    } rows[] = {
        {"10.96.0.1:6379", 0, TARGET_SERVICE, "store", 1},
        {"[fd96::1]:6379", 0, TARGET_SERVICE, "store", 1}, /* no IPv6 endpoint: the other family */
        {"10.96.0.4:80", 0, TARGET_SERVICE, "empty", 0},
        {"10.96.0.1:6380", -ERR_NO_SUCH_PORT, 0, NULL, 0},
        {"10.0.0.3:6380", 0, TARGET_WORKLOAD, "db", 0},
        {"[fd00::1]:1", 0, TARGET_WORKLOAD, "web", 0},
        {"192.0.2.7:443", 0, TARGET_PASSTHROUGH, NULL, 0},
        {"10.0.0.3:15001", -ERR_SELF_CALL, 0, NULL, 0},
        {"10.0.0.1:15006", -ERR_SELF_CALL, 0, NULL, 0},
        {"127.0.0.1:15008", -ERR_SELF_CALL, 0, NULL, 0},
        {"127.0.0.1:15000", -ERR_SELF_CALL, 0, NULL, 0},
        {"127.8.8.8:80", -ERR_SELF_CALL, 0, NULL, 0},
        {"0.0.0.0:80", -ERR_SELF_CALL, 0, NULL, 0},
        {"[::1]:80", -ERR_SELF_CALL, 0, NULL, 0},
        {"[::]:80", -ERR_SELF_CALL, 0, NULL, 0},
    };
    struct snapshot *snapshot = some_mesh();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct target target = {.kind = (enum target_kind)99};
        const struct addr destination = addr_of(rows[i].destination);
        cr_assert_eq(resolve_outbound(snapshot, &own, &destination, &target), rows[i].err, "%s",
                     rows[i].destination);
        if (rows[i].err < 0) {
            cr_expect_eq((int)target.kind, 99, "%s: untouched", rows[i].destination);
            continue;
        }
        cr_expect_eq(target.kind, rows[i].kind, "%s", rows[i].destination);
        cr_expect(addr_eq(&target.addr, &destination), "%s", rows[i].destination);
        if (target.kind == TARGET_SERVICE) {
            cr_expect(str_eq(target.service->name, str_from(rows[i].name)));
            cr_expect_eq(target.endpoints->len, rows[i].n_endpoints, "%s", rows[i].destination);
        } else if (rows[i].name) {
            cr_expect(str_eq(target.workload->name, str_from(rows[i].name)));
        } else {
            cr_expect_null(target.workload);
        }
    }
    snapshot_free(snapshot);
}

Test(resolve, a_connects_authority_must_name_the_pod_that_was_dialled)
{
    const struct {
        const char *authority, *dialled;
        int err;
        uint16_t port;
    } rows[] = {
        {"10.0.0.1:8080", "10.0.0.1", 0, 8080},
        {"[fd00::1]:8080", "fd00::1", 0, 8080},
        {"[::ffff:10.0.0.1]:8080", "10.0.0.1", 0, 8080},
        {"local.shop.svc.clusterset.local:80", "10.0.0.1", 0, 8080},
        {"LOCAL.shop.svc.clusterset.LOCAL.:80", "10.0.0.1", 0, 8080},
        {"10.0.0.3:8080", "10.0.0.1", -ERR_IP_MISMATCH, 0},
        {"10.0.0.1:8080", "fd00::1", -ERR_IP_MISMATCH, 0},
        {"10.0.0.3:8080", "10.0.0.3", -ERR_UNKNOWN_DESTINATION, 0}, /* of another node */
        {"10.9.9.9:8080", "10.9.9.9", -ERR_UNKNOWN_DESTINATION, 0},
        {"nobody.shop.svc.clusterset.local:80", "10.0.0.1", -ERR_UNKNOWN_DESTINATION, 0},
        {"local.shop.svc.clusterset.local:81", "10.0.0.1", -ERR_NO_SUCH_PORT, 0},
        {"store.shop.svc.clusterset.local:6379", "10.0.0.1", -ERR_NO_SUCH_PORT, 0}, /* not its */
        {"10.0.0.1:15008", "10.0.0.1", -ERR_SELF_CALL, 0},
        {"looped.shop.svc.clusterset.local:81", "10.0.0.1", -ERR_SELF_CALL, 0},
        {"", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"10.0.0.1", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"10.0.0.1:0", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"10.0.0.1:65536", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"10.0.0.1:+80", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {":80", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"host:", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"ho st:80", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"user@host:80", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"host:80/path", "10.0.0.1", -ERR_BAD_AUTHORITY, 0},
        {"fd00::1:80", "fd00::1", -ERR_BAD_AUTHORITY, 0}, /* brackets are missing */
    };
    struct snapshot *snapshot = some_mesh();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct target target = {0};
        struct ip dialled;
        cr_assert_eq(ip_parse(str_from(rows[i].dialled), &dialled), 0);
        const int err =
            resolve_inbound(snapshot, &own, str_from(rows[i].authority), &dialled, &target);
        cr_expect_eq(err, rows[i].err, "%s: %s", rows[i].authority, err_label(err));
        if (rows[i].err < 0)
            continue;
        cr_expect_eq(target.addr.port, rows[i].port, "%s", rows[i].authority);
        cr_expect(ip_eq(&target.addr.ip, &dialled), "%s", rows[i].authority);
        cr_expect(str_eq(target.workload->name, STR("web")), "%s", rows[i].authority);
    }
    snapshot_free(snapshot);
}

Test(resolve, a_host_name_that_is_too_long_is_no_authority)
{
    char authority[300];
    struct snapshot *snapshot = some_mesh();
    struct target target;
    const struct ip dialled = addr_of("10.0.0.1:1").ip;

    for (size_t len = 250; len < 260; len++) {
        for (size_t i = 0; i < len; i++)
            authority[i] = 'a';
        authority[len] = ':';
        authority[len + 1] = '1';
        cr_expect_eq(resolve_inbound(snapshot, &own, str_of(authority, len + 2), &dialled, &target),
                     len <= 253 ? -ERR_UNKNOWN_DESTINATION : -ERR_BAD_AUTHORITY, "%zu", len);
    }
    snapshot_free(snapshot);
}

Test(resolve, plaintext_goes_only_to_a_pod_of_this_node)
{
    const struct {
        const char *destination;
        int err;
    } rows[] = {
        {"10.0.0.1:8080", 0},
        {"[fd00::1]:8080", 0},
        {"10.0.0.1:15006", -ERR_SELF_CALL},
        {"10.0.0.3:8080", -ERR_UNKNOWN_DESTINATION},
        {"10.96.0.2:80", -ERR_UNKNOWN_DESTINATION},
        {"192.0.2.7:80", -ERR_UNKNOWN_DESTINATION},
    };
    struct snapshot *snapshot = some_mesh();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct target target;
        const struct addr destination = addr_of(rows[i].destination);
        cr_expect_eq(resolve_plaintext(snapshot, &own, &destination, &target), rows[i].err, "%s",
                     rows[i].destination);
    }
    snapshot_free(snapshot);
}
