/*
 * The ways on which bytes are moved: copied between two sockets (dataPath.spliceAfterBytes: 0),
 * moved by the kernel (1: from the first read on), and through a tunnel, which a destination on
 * another node takes, and one on the same node with dataPath.sameNode: tunnel. What holds on one
 * has to hold on all of them.
 */
#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "town.h"

TestSuite(paths, .timeout = 120);

#define MIB ((size_t)1 << 20)

static const struct path {
    const char *name;
    bool is_far;
    struct walk_options options;
    enum metric bytes;
} paths[] = {
    {"copied", false, {.splice_after_bytes = 0}, METRIC_BYTES_COPIED},
    {"spliced", false, {.splice_after_bytes = 1}, METRIC_BYTES_SPLICED},
    {"tunnelled", true, {.splice_after_bytes = 1}, METRIC_BYTES_TUNNELLED},
    {"tunnelled within a node",
     false,
     {.splice_after_bytes = 1, .tunnels_own_node = true},
     METRIC_BYTES_TUNNELLED},
};

static struct town town;
static struct tap client; /* a pod's real socket; served: the app's */

#define served town.served[0]

static bool is_served(void *ctx)
{
    (void)ctx;
    return town.n_served == 1;
}

static struct addr addr_of(const char *text, uint16_t port)
{
    struct addr addr = {.port = port};
    cr_assert_eq(ip_parse(str_from(text), &addr.ip), 0);
    return addr;
}

static void open_path(const struct path *path)
{
    struct stream *ours, *theirs;
    town_open(&town);
    const struct addr from = addr_of(CART, 40000), to = addr_of(PAY1, town.port);
    if (!path->is_far) {
        snap_drop(&town.snap, "pay-1");
        town_pay(&town, "pay-1", "n1", PAY1);
        town_learn(&town);
    }
    town_walk(&town.n1, &path->options);
    tcp_pair(town.world.loop, &ours, &theirs);
    tap_attach(&client, ours);
    stream_resume(ours);
    walk_start(town.n1.walk, arrival_new(ARRIVAL_OUTBOUND, theirs, &from, &to));
    cr_assert(run_until(town.world.loop, is_served, NULL, PATIENCE_MS), "%s", path->name);
}

static bool is_quiet(void *ctx)
{
    (void)ctx;
    return walk_flows(town.n1.walk) + walk_flows(town.n2.walk) == 0;
}

static void close_path(const struct path *path)
{
    if (client.stream)
        tap_close(&client, -ERR_RESET);
    tap_free(&client);
    cr_expect(run_until(town.world.loop, is_quiet, NULL, PATIENCE_MS), "%s", path->name);
    town_close(&town);
    client = (struct tap){0};
}

static size_t to_send[2]; /* by the client, by the app */

/* Nobody writes on who was told to stop. */
static bool sends(struct tap *tap, size_t total)
{
    return tap->n_wrote == total ||
           (stream_queued(tap->stream) < 65536 && tap_write_pattern(tap, total, 16000));
}

static bool all_sent(void *ctx)
{
    (void)ctx;
    const bool up = sends(&client, to_send[0]);
    return sends(&served, to_send[1]) && up;
}

static void send_all(const struct path *path, size_t up, size_t down)
{
    to_send[0] = up;
    to_send[1] = down;
    cr_assert(run_until(town.world.loop, all_sent, NULL, PATIENCE_MS), "%s", path->name);
}

static void expect_got(const struct path *path, const struct tap *tap, size_t n_bytes)
{
    cr_expect(tap_got(town.world.loop, tap, n_bytes), "%s: %zu of %zu", path->name, tap->n_got,
              n_bytes);
    cr_expect_eq(tap->n_got, n_bytes, "%s", path->name);
    cr_expect_eq(tap->n_wrong, 0, "%s", path->name);
}

Test(paths, bulk_both_ways_is_byte_identical_and_counted_where_it_went)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct path *path = &paths[i];
        const size_t up = 5 * MIB + 3, down = 4 * MIB + 1;
        int64_t before[ARRAY_LEN(paths)];
        for (size_t other = 0; other < ARRAY_LEN(paths); other++)
            before[other] = meter_total(paths[other].bytes);
        open_path(path);
        send_all(path, up, down);
        stream_shutdown(client.stream);
        stream_shutdown(served.stream);
        expect_got(path, &served, up);
        expect_got(path, &client, down);
        cr_expect(tap_ended(town.world.loop, &client), "%s", path->name);
        cr_expect(tap_ended(town.world.loop, &served), "%s", path->name);
        cr_expect(run_until(town.world.loop, is_quiet, NULL, PATIENCE_MS), "%s", path->name);
        const int64_t moved = meter_total(path->bytes) - before[i];
        cr_expect_geq(moved, (int64_t)(8 * MIB), "%s: %lld", path->name, (long long)moved);
        for (size_t other = 0; other < ARRAY_LEN(paths); other++)
            if (paths[other].bytes != path->bytes)
                cr_expect_lt(meter_total(paths[other].bytes) - before[other], (int64_t)MIB, "%s",
                             path->name);
        close_path(path);
    }
}

Test(paths, either_side_may_end_first_and_still_gets_the_rest)
{
    for (size_t i = 0; i < 2 * ARRAY_LEN(paths); i++) {
        const struct path *path = &paths[i / 2];
        const bool client_first = i % 2;
        open_path(path);
        struct tap *first = client_first ? &client : &served;
        struct tap *last = client_first ? &served : &client;
        send_all(path, client_first ? 300000 : 0, client_first ? 0 : 300000);
        stream_shutdown(first->stream);
        expect_got(path, last, 300000);
        cr_expect(tap_ended(town.world.loop, last), "%s", path->name);
        cr_expect_not(first->ended, "%s", path->name);
        send_all(path, client_first ? 300000 : 2 * MIB, client_first ? 2 * MIB : 300000);
        stream_shutdown(last->stream);
        expect_got(path, first, 2 * MIB);
        cr_expect(tap_ended(town.world.loop, first), "%s", path->name);
        close_path(path);
    }
}

Test(paths, a_reader_that_stands_still_holds_the_writer_back_and_gets_all_later)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct path *path = &paths[i];
        const size_t most = 48 * MIB; /* more than all buffers hold */
        open_path(path);
        stream_pause(served.stream);
        size_t before = SIZE_MAX;
        for (unsigned turns = 0; turns % 500 != 0 || client.n_wrote != before; turns++) {
            if (turns % 500 == 0)
                before = client.n_wrote;
            (void)sends(&client, most);
            run_turns(town.world.loop, 1);
        }
        cr_expect_lt(client.n_wrote, most, "%s: the writer has to wait", path->name);
        const size_t written = client.n_wrote, up = written + 2 * MIB;
        send_all(path, written, MIB);
        expect_got(path, &client, MIB); /* the other way flows on */
        stream_resume(served.stream);
        send_all(path, up, MIB);
        expect_got(path, &served, up);
        close_path(path);
    }
}

Test(paths, a_reset_of_either_side_reaches_the_other_as_a_failure)
{
    for (size_t i = 0; i < 2 * ARRAY_LEN(paths); i++) {
        const struct path *path = &paths[i / 2];
        open_path(path);
        send_all(path, 2 * MIB, 2 * MIB);
        expect_got(path, &served, 2 * MIB);
        expect_got(path, &client, 2 * MIB);
        struct tap *resets = i % 2 ? &client : &served, *other = i % 2 ? &served : &client;
        tap_close(resets, -ERR_RESET);
        cr_expect(tap_failed(town.world.loop, other), "%s: a broken transfer must not look whole",
                  path->name);
        cr_expect_not(other->ended, "%s", path->name);
        close_path(path);
    }
}

/* One node tells of both ends, as two nodes would: nothing twice, nothing missing. */
Test(paths, a_tunnel_within_a_node_is_judged_and_told_as_one_between_nodes)
{
    const struct path *path = &paths[ARRAY_LEN(paths) - 1];
    open_path(path);
    send_all(path, 1000, 2000);
    expect_got(path, &served, 1000);
    expect_got(path, &client, 2000);
    cr_expect_eq(meter_total(METRIC_VERDICTS_ALLOWED), 1);
    cr_expect_eq(meter_total(METRIC_TUNNELS_OPEN), 1);
    cr_expect_eq(walk_flows(town.n1.walk), 2, "out, and in through the tunnel");
    tap_close(&client, -ERR_RESET);
    cr_expect(run_until(town.world.loop, is_quiet, NULL, PATIENCE_MS));
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"src.addr\":\"" CART ":40000\"",
                     "\"dst.hbone_addr\":\"" PAY1, "\"mtls\":true"));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"src.identity\":\"" ID_A "\"",
                     "\"dst.identity\":\"" ID_B "\"", "\"mtls\":true"));
    close_path(path);
}

Test(paths, a_tunnel_within_a_node_ends_where_policies_refuse_its_caller)
{
    const struct path *path = &paths[ARRAY_LEN(paths) - 1];
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-1", "n1", PAY1);
    snap_policy(&town.snap, "nobody", POLICY_DENY, NULL);
    town_learn(&town);
    town_walk(&town.n1, &path->options);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    cr_expect_eq(town.n_served, 0);
    cr_expect_eq(meter_total(METRIC_VERDICTS_DENIED), 1);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"tunnel_denied\""));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"denied\""));
    town_close_with(&town, &call);
}
