/* In a network namespace of its own; needs root or unprivileged user namespaces, and nft to look at
 * what is there. */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/accept/capture.h"
#include "proxy/accept/routes.h"
#include "tests/kit/snap.h"

TestSuite(capture, .timeout = 60);

static const struct capture_options options = {
    .outbound = 15001,
    .inbound = 15006,
    .tunnel = 15008,
    .dns = 15053,
    .own_mark = 0x539,
    .route_table = 100,
};

/* What a command prints. */
static const char *said(const char *command)
{
    static char buf[65536];
    FILE *pipe = popen(command, "r");
    cr_assert_not_null(pipe);
    const size_t len = fread(buf, 1, sizeof buf - 1, pipe);
    buf[len] = '\0';
    (void)pclose(pipe);
    return buf;
}

static bool says(const char *command, const char *what)
{
    return strstr(said(command), what) != NULL;
}

static void enter(void)
{
    const int flags = CLONE_NEWNET | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (unshare(flags) != 0)
        cr_skip("no network namespace of our own is permitted here");
    (void)said("ip link set lo up");
    if (says("command -v nft >/dev/null || echo none", "none"))
        cr_skip("nft is not installed");
}

static struct snapshot *pods(const char *const *addresses, size_t n)
{
    struct snap snap;
    char name[32];
    snap_init(&snap, "n1");
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "pod-%zu", i);
        snap_pod(&snap, name, "n1", addresses[i]);
    }
    snap_pod(&snap, "plain", "n1", "10.9.9.9")->speaks_hbone = false;
    snap_pod(&snap, "elsewhere", "n2", "10.8.8.8");
    struct snapshot *snapshot = snap_build(&snap);
    snap_fini(&snap);
    return snapshot;
}

static struct capture *install(const char *const *addresses, size_t n)
{
    struct snapshot *snapshot = pods(addresses, n);
    struct capture *capture = NULL;
    struct text why = {0};
    cr_assert_eq(capture_install(&options, snapshot, &capture, &why), 0, "%s", why.ptr);
    cr_expect_eq(why.len, 0);
    text_fini(&why);
    snapshot_free(snapshot);
    return capture;
}

static void update(struct capture *capture, const char *const *addresses, size_t n)
{
    struct snapshot *snapshot = pods(addresses, n);
    struct text why = {0};
    cr_assert_eq(capture_update(capture, snapshot, &why), 0, "%s", why.ptr);
    text_fini(&why);
    snapshot_free(snapshot);
}

static const char *const two_pods[] = {"10.0.0.1 fd00::1", "10.0.0.2"};
static const char *const one_pod[] = {"10.0.0.3"};

#define TABLE "nft list table inet isthmus 2>&1"
#define SETS  "nft list set inet isthmus pods4; nft list set inet isthmus pods6"

Test(capture, installs_table_sets_and_routes_and_removes_them)
{
    enter();
    struct capture *capture = install(two_pods, 2);

    cr_expect(says(SETS, "10.0.0.1"));
    cr_expect(says(SETS, "10.0.0.2"));
    cr_expect(says(SETS, "fd00::1"));
    cr_expect_not(says(SETS, "10.9.9.9"), "a pod outside the mesh is not captured");
    cr_expect_not(says(SETS, "10.8.8.8"), "nor one of another node");
    cr_expect(says(TABLE, "tproxy ip to :15001"));
    cr_expect(says(TABLE, "tproxy ip6 to :15006"));
    cr_expect(says(TABLE, "tproxy ip to :15008"));
    cr_expect(says(TABLE, "tproxy ip to :15053"));
    cr_expect(says(TABLE, "type route hook output"));
    cr_expect(says("ip rule", "fwmark 0x111/0xfff lookup 100"));
    cr_expect(says("ip -6 rule", "fwmark 0x111/0xfff lookup 100"));
    cr_expect(says("ip route show table 100", "local default dev lo"));
    cr_expect(says("ip -6 route show table 100", "local default dev lo"));

    capture_close(capture, false);
    cr_expect(says(TABLE, "No such file"));
    cr_expect_not(says("ip rule; ip -6 rule", "0x111"));
    cr_expect_str_eq(said("ip route show table 100 2>/dev/null"), "");
}

Test(capture, with_no_pods_captures_nobody)
{
    enter();
    struct capture *capture = install(NULL, 0);

    cr_expect_not(says(SETS, "elements"));

    capture_close(capture, false);
}

Test(capture, holding_leaves_the_rules_and_the_next_start_replaces_them)
{
    enter();
    capture_close(install(two_pods, 2), true);
    cr_expect(says(SETS, "10.0.0.1"), "held back until the next start");
    cr_expect(says("ip rule", "0x111"));
    (void)said("nft add rule inet isthmus outbound counter comment stale; nft add set inet isthmus "
               "old '{ type ipv4_addr; }'");
    cr_expect(says(TABLE, "stale"));

    struct capture *capture = install(one_pod, 1);

    cr_expect(says(SETS, "10.0.0.3"));
    cr_expect_not(says(SETS, "10.0.0.1"));
    cr_expect_not(says(TABLE, "stale"));
    cr_expect_not(says(TABLE, "set old"));
    cr_expect(says("ip rule | grep -c 0x111", "1\n"), "one rule, not two");
    capture_close(capture, false);
    cr_expect(says(TABLE, "No such file"));
    cr_expect_not(says("ip rule", "0x111"));
}

Test(capture, sets_follow_the_snapshot_in_place)
{
    enter();
    struct capture *capture = install(two_pods, 2);
    (void)said("nft add rule inet isthmus outbound counter comment witness");

    update(capture, one_pod, 1);
    cr_expect(says(SETS, "10.0.0.3"));
    cr_expect_not(says(SETS, "10.0.0.1"));
    cr_expect_not(says(SETS, "fd00::1"));
    cr_expect(says(TABLE, "witness"), "the table itself is not touched");
    update(capture, NULL, 0);
    cr_expect_not(says(SETS, "elements"));
    update(capture, two_pods, 2);
    cr_expect(says(SETS, "fd00::1"));

    capture_close(capture, false);
}

Test(capture, an_update_that_changes_nothing_does_nothing)
{
    enter();
    struct capture *capture = install(two_pods, 2);
    (void)said("nft add element inet isthmus pods4 '{ 10.7.7.7 }'");

    update(capture, two_pods, 2);

    cr_expect(says(SETS, "10.7.7.7"), "nothing was written");
    capture_close(capture, false);
}

Test(capture, two_pods_with_one_address_are_no_error)
{
    static const char *const same[] = {"10.0.0.1", "10.0.0.1"};
    enter();
    struct capture *capture = install(same, 2);

    update(capture, two_pods, 2);
    update(capture, same, 2);

    cr_expect(says(SETS, "10.0.0.1"));
    capture_close(capture, false);
}

Test(capture, a_pod_of_the_host_network_is_never_captured)
{
    enter();
    struct snap snap;
    struct capture *capture;
    struct text why = {0};
    snap_init(&snap, "n1");
    snap_pod(&snap, "agent", "n1", "192.0.2.1")->host_network = true; /* the node's own address */
    struct snapshot *snapshot = snap_build(&snap);

    cr_assert_eq(capture_install(&options, snapshot, &capture, &why), 0, "%s", why.ptr);

    cr_expect_not(says(SETS, "192.0.2.1"));
    capture_close(capture, false);
    snapshot_free(snapshot);
    snap_fini(&snap);
}

Test(capture, a_refused_change_is_said_and_tried_again_with_the_next)
{
    enter();
    struct capture *capture = install(two_pods, 2);
    struct snapshot *snapshot = pods(one_pod, 1);
    struct text why = {0};
    (void)said("nft delete table inet isthmus"); /* somebody else's hand */

    cr_expect_eq(capture_update(capture, snapshot, &why), -ERR_SYSTEM);
    cr_expect_not_null(strstr(why.ptr, "nftables"), "%s", why.ptr);
    text_clear(&why);
    cr_expect_eq(capture_update(capture, snapshot, &why), -ERR_SYSTEM,
                 "it does not believe it was done");

    text_fini(&why);
    snapshot_free(snapshot);
    capture_close(capture, false);
}

Test(capture, without_the_right_to_it_says_so_and_leaves_nothing)
{
    if (geteuid() != 0)
        cr_skip("needs root, to give it up");
    enter();
    struct snapshot *snapshot = pods(two_pods, 2);
    struct capture *capture = NULL;
    struct text why = {0};
    cr_assert_eq(setuid(65534), 0);

    cr_expect_eq(capture_install(&options, snapshot, &capture, &why), -ERR_SYSTEM);

    cr_expect_null(capture);
    cr_expect_gt(why.len, 0);
    text_fini(&why);
    snapshot_free(snapshot);
}

Test(capture, many_pods_fit_into_one_change)
{
    enum { N = 2000 };

    enter();
    struct snap snap;
    struct text why = {0};
    snap_init(&snap, "n1");
    for (unsigned i = 0; i < N; i++) {
        char name[16], address[32];
        (void)snprintf(name, sizeof name, "p%u", i);
        (void)snprintf(address, sizeof address, "10.1.%u.%u", i / 250, i % 250 + 1);
        snap_pod(&snap, name, "n1", address);
    }
    struct snapshot *snapshot = snap_build(&snap);
    struct capture *capture = NULL;

    cr_assert_eq(capture_install(&options, snapshot, &capture, &why), 0, "%s", why.ptr);

    cr_expect(says("nft list set inet isthmus pods4 | tr ',' '\\n' | grep -c 10.1.", "2000\n"));
    capture_close(capture, false);
    snapshot_free(snapshot);
    snap_fini(&snap);
}

Test(capture, routes_may_be_added_twice_and_removed_twice)
{
    enter();
    struct text why = {0};

    for (int i = 0; i < 2; i++)
        cr_assert_eq(routes_add(100, 0x111, 0xfff, &why), 0, "%s", why.ptr);
    cr_expect(says("ip rule | grep -c 0x111", "1\n"));
    routes_remove(100, 0x111, 0xfff);
    routes_remove(100, 0x111, 0xfff);

    cr_expect_not(says("ip rule; ip -6 rule", "0x111"));
    text_fini(&why);
}
