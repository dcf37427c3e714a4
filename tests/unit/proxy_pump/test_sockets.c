/*
 * The pump between real sockets, on both of its paths: copied (splice 0) and moved by the kernel
 * from the first byte on (splice 1). What holds on one has to hold on the other.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/rng.h"
#include "proxy/pump/pump.h"
#include "tests/kit/loop_kit.h"
#include "tests/unit/proxy_io/peers.h"

TestSuite(pump_sockets, .timeout = 60);

#define SEC         NS_PER_SEC
#define PATIENCE_MS 10000
#define TURN_MAX_NS (20 * NS_PER_MS)
#define MIB         ((size_t)1 << 20)

/* client and server: the far ends, plain sockets; between them two streams and the pump. */
struct way {
    int fd;
    size_t to_send, n_sent, n_got, n_wrong, most_a_read;
    bool has_shut, ended;
    int err;
    uint8_t seed;
};

struct rig {
    struct loop *loop;
    struct way client, server;
    struct pump pump;
    bool is_done;
    struct totals totals;
};

static uint8_t pattern(uint8_t seed, size_t idx)
{
    return (uint8_t)(seed + idx * 7 + (idx >> 8) * 13 + (idx >> 16) * 31);
}

static void on_done(void *owner, const struct totals *totals)
{
    struct rig *rig = owner;
    rig->is_done = true;
    rig->totals = *totals;
}

static void rig_open(struct rig *rig, uint64_t splice_after)
{
    struct end ends[2] = {0};
    struct door door = {0};
    const struct pump_options options = {
        .idle_ns = 60 * SEC, .half_close_ns = 60 * SEC, .splice_after_bytes = splice_after};
    *rig = (struct rig){.loop = loop_new()};
    door_open(&door, rig->loop, "127.0.0.1:0", ends, 2);
    rig->client.fd = plain_connect(&door.addr);
    cr_assert(run_until_count(rig->loop, &door.n_accepted, 1, PATIENCE_MS));
    rig->server.fd = plain_connect(&door.addr);
    cr_assert(run_until_count(rig->loop, &door.n_accepted, 2, PATIENCE_MS));
    listener_close(door.listener);
    rig->client.seed = 1;
    rig->server.seed = 101;
    rig->client.most_a_read = rig->server.most_a_read = 65536;
    pump_start(&rig->pump, rig->loop, ends[0].stream, ends[1].stream, &options, on_done, rig);
}

static void rig_close(struct rig *rig)
{
    cr_expect_not(rig->pump.is_running);
    if (rig->client.fd >= 0)
        close(rig->client.fd);
    if (rig->server.fd >= 0)
        close(rig->server.fd);
    loop_finish(rig->loop);
}

static void way_send(struct way *way)
{
    uint8_t bytes[8192];
    if (way->fd < 0 || way->err)
        return;
    while (way->n_sent < way->to_send) {
        const size_t left = way->to_send - way->n_sent;
        const size_t len = left < sizeof bytes ? left : sizeof bytes;
        for (size_t i = 0; i < len; i++)
            bytes[i] = pattern(way->seed, way->n_sent + i);
        const ssize_t n_sent = send(way->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n_sent < 0) {
            if (errno != EAGAIN)
                way->err = errno;
            return;
        }
        way->n_sent += (size_t)n_sent;
    }
    if (!way->has_shut) {
        way->has_shut = true;
        cr_assert_eq(shutdown(way->fd, SHUT_WR), 0);
    }
}

/* from: whose bytes these are. */
static void way_receive(struct way *way, const struct way *from)
{
    static uint8_t bytes[65536];
    if (way->fd < 0 || way->err || way->ended || way->most_a_read == 0)
        return;
    const ssize_t len = recv(way->fd, bytes, way->most_a_read, MSG_DONTWAIT);
    if (len < 0) {
        if (errno != EAGAIN)
            way->err = errno;
        return;
    }
    way->ended = len == 0;
    for (ssize_t i = 0; i < len; i++)
        way->n_wrong += bytes[i] != pattern(from->seed, way->n_got + (size_t)i);
    way->n_got += (size_t)len;
}

static void rig_turn(struct rig *rig)
{
    way_send(&rig->client);
    way_send(&rig->server);
    loop_turn(rig->loop, false);
    way_receive(&rig->client, &rig->server);
    way_receive(&rig->server, &rig->client);
}

/* A turn in which the machine stands still counts as the longest that has to be waited for. */
static bool rig_run(struct rig *rig, bool (*is_over)(const struct rig *rig))
{
    uint64_t left_ns = PATIENCE_MS * NS_PER_MS;
    while (!is_over(rig) && left_ns > 0) {
        const uint64_t begun_ns = clock_mono_ns();
        rig_turn(rig);
        const uint64_t took_ns = clock_mono_ns() - begun_ns;
        const uint64_t counted_ns = took_ns < TURN_MAX_NS ? took_ns : TURN_MAX_NS;
        left_ns -= counted_ns < left_ns ? counted_ns : left_ns;
    }
    return is_over(rig);
}

static bool both_ended(const struct rig *rig)
{
    return rig->client.ended && rig->server.ended && rig->is_done;
}

static bool is_done(const struct rig *rig)
{
    return rig->is_done;
}

static bool a_mebibyte_came(const struct rig *rig)
{
    return rig->server.n_got >= MIB;
}

static void expect_whole(const struct rig *rig, const char *row)
{
    cr_expect_eq(rig->server.n_got, rig->client.to_send, "%s: %zu of %zu", row, rig->server.n_got,
                 rig->client.to_send);
    cr_expect_eq(rig->client.n_got, rig->server.to_send, "%s: %zu of %zu", row, rig->client.n_got,
                 rig->server.to_send);
    cr_expect_eq(rig->client.n_wrong + rig->server.n_wrong, 0, "%s", row);
    cr_expect_eq(rig->totals.err, 0, "%s: %s", row, err_text(rig->totals.err));
    cr_expect_eq(rig->totals.received, rig->client.to_send, "%s", row);
    cr_expect_eq(rig->totals.sent, rig->server.to_send, "%s", row);
}

Test(pump_sockets, bulk_both_ways_arrives_whole_on_both_paths)
{
    for (uint64_t splice = 0; splice < 2; splice++) {
        struct rig rig;
        rig_open(&rig, splice);
        rig.client.to_send = 9 * MIB + 3;
        rig.server.to_send = 7 * MIB + 1;
        cr_assert(rig_run(&rig, both_ended));
        expect_whole(&rig, splice ? "spliced" : "copied");
        if (splice)
            cr_expect_gt(rig.totals.spliced, 15 * MIB, "%zu", (size_t)rig.totals.spliced);
        else
            cr_expect_eq(rig.totals.spliced, 0);
        rig_close(&rig);
    }
}

Test(pump_sockets, a_threshold_is_copied_and_the_rest_moved)
{
    struct rig rig;
    rig_open(&rig, 2 * MIB);
    rig.client.to_send = 6 * MIB;
    rig.server.to_send = MIB;
    cr_assert(rig_run(&rig, both_ended));
    expect_whole(&rig, "threshold");
    cr_expect_gt(rig.totals.spliced, 3 * MIB);
    cr_expect_leq(rig.totals.spliced, 4 * MIB, "the small way stays copied");
    rig_close(&rig);
}

Test(pump_sockets, an_end_right_behind_the_last_byte_loses_none)
{
    struct rng rng;
    rng_seed(&rng, 20);
    for (int i = 0; i < 300; i++) {
        struct rig rig;
        char row[32];
        rig_open(&rig, 1);
        rig.client.to_send = rng_below(&rng, 300000);
        rig.server.to_send = rng_below(&rng, 3) ? rng_below(&rng, 3000) : rng_below(&rng, 300000);
        rig.client.most_a_read = 1 + rng_below(&rng, 65535);
        rig.server.most_a_read = 1000 + rng_below(&rng, 64000);
        snprintf(row, sizeof row, "run %d", i);
        cr_assert(rig_run(&rig, both_ended), "%s", row);
        expect_whole(&rig, row);
        rig_close(&rig);
    }
}

Test(pump_sockets, a_reader_that_stands_still_holds_the_writer_back_and_gets_all_later)
{
    for (uint64_t splice = 0; splice < 2; splice++) {
        struct rig rig;
        rig_open(&rig, splice);
        rig.server.most_a_read = 0;
        rig.client.to_send = 64 * MIB;
        rig.server.to_send = 2 * MIB;
        size_t before = SIZE_MAX;
        for (unsigned turns = 0; turns % 200 != 0 || rig.client.n_sent != before; turns++) {
            if (turns % 200 == 0)
                before = rig.client.n_sent;
            rig_turn(&rig);
        }
        cr_expect_lt(rig.client.n_sent, rig.client.to_send, "the writer has to wait");
        cr_expect_leq(stream_queued(rig.pump.up.to), 262144 + SLAB_BYTES);
        cr_expect_eq(rig.client.n_got, rig.server.to_send, "the other way flows on");
        rig.server.most_a_read = 65536;
        cr_assert(rig_run(&rig, both_ended));
        expect_whole(&rig, splice ? "spliced" : "copied");
        rig_close(&rig);
    }
}

static void reset(struct way *way)
{
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(way->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(way->fd);
    way->fd = -1;
}

Test(pump_sockets, a_reset_of_either_side_reaches_the_other_as_one)
{
    for (int row = 0; row < 4; row++) {
        struct rig rig;
        const bool of_server = row / 2;
        rig_open(&rig, row % 2);
        rig.client.to_send = rig.server.to_send = 64 * MIB;
        cr_assert(rig_run(&rig, a_mebibyte_came), "row %d", row);
        reset(of_server ? &rig.server : &rig.client);
        cr_assert(rig_run(&rig, is_done), "row %d", row);
        cr_expect_eq(rig.totals.err, of_server ? -ERR_UPSTREAM_RESET : -ERR_CLIENT_RESET,
                     "row %d: %s", row, err_text(rig.totals.err));
        const struct way *other = of_server ? &rig.client : &rig.server;
        for (int i = 0; i < 20000 && !other->err; i++)
            rig_turn(&rig);
        cr_expect_eq(other->err, ECONNRESET, "row %d: a broken transfer must not look whole", row);
        rig_close(&rig);
    }
}

Test(pump_sockets, cut_in_the_middle_it_leaves_nothing_behind)
{
    for (uint64_t splice = 0; splice < 2; splice++) {
        struct rig rig;
        rig_open(&rig, splice);
        rig.client.to_send = rig.server.to_send = 64 * MIB;
        cr_assert(rig_run(&rig, a_mebibyte_came));
        const struct totals totals = pump_cut(&rig.pump, -ERR_DENIED);
        cr_expect_geq(totals.received, MIB);
        cr_expect_not(rig.is_done);
        rig_close(&rig);
    }
}
