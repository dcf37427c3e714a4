/* Connections on which nothing moves: their session is folded, and nobody can tell. */
#include <criterion/criterion.h>
#include <string.h>

#include "h2_kit.h"
#include "proxy/base/rng.h"
#include "proxy/http/h2_internal.h"

TestSuite(h2_still, .timeout = 60);

/* What a session needs while it waits, behind an exchange of a few fields. */
#define IMAGE_BYTES_MOST 1024

static const struct h2_options soon = {.still_ms = 5, .keepalive_ns = H2_NO_KEEPALIVE};
static const struct h2_options never = {.still_ms = H2_NEVER_STILL,
                                        .keepalive_ns = H2_NO_KEEPALIVE};
static const struct h2_options always = {.still_ms = H2_ALWAYS_STILL,
                                         .keepalive_ns = H2_NO_KEEPALIVE};

static bool are_folded(void *ctx)
{
    const struct link *link = ctx;

    return h2_nest_is_folded(link->client.h2->nest) && h2_nest_is_folded(link->server.h2->nest) &&
           !timer_is_running(&link->client.h2->still_timer) &&
           !timer_is_running(&link->server.h2->still_timer);
}

Test(h2_still, a_connection_is_folded_with_open_streams_until_something_comes)
{
    struct link link;
    struct call *client, *server;

    link_open(&link, &soon, &soon);
    link_tunnel(&link, &client, &server);
    for (size_t round = 1; round <= 3; round++) {
        cr_assert(run_until(link.loop, are_folded, &link, 10000), "round %zu", round);
        cr_expect_lt(link.server.h2->nest->image_len, IMAGE_BYTES_MOST, "%zu bytes",
                     link.server.h2->nest->image_len);
        cr_expect_lt(link.client.h2->nest->image_len, IMAGE_BYTES_MOST);
        cr_expect(h2_can_open(link.client.h2));
        cr_expect(are_folded(&link), "to be asked does not unfold a client");
        stream_write_copy(client->tap.stream, "there", 5);
        cr_assert(tap_got(link.loop, &server->tap, 5 * round));
        stream_write_copy(server->tap.stream, "and back", 8);
        cr_assert(tap_got(link.loop, &client->tap, 8 * round));
    }
    cr_assert(run_until(link.loop, are_folded, &link, 10000));
    link_close(&link);
}

Test(h2_still, what_the_peer_lets_a_client_open_is_known_while_it_is_folded)
{
    struct raw raw;
    const uint8_t two[] = {0, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0, 0, 0, 2};

    raw_open(&raw, false, &always);
    raw_greet(&raw);
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, two, sizeof(two));
    raw_run(&raw);
    for (unsigned n = 0; n < 2; n++) {
        cr_assert(h2_nest_is_folded(raw.peer.h2->nest));
        cr_expect(h2_can_open(raw.peer.h2), "%u are open", n);
        cr_expect(peer_request(&raw.peer, true, get_fields));
        raw_run(&raw);
    }
    cr_assert(h2_nest_is_folded(raw.peer.h2->nest));
    cr_expect(!h2_can_open(raw.peer.h2));
    raw_close(&raw);
}

Test(h2_still, a_flood_is_counted_over_folds)
{
    const uint8_t cancel[] = {0, 0, 0, NGHTTP2_CANCEL};
    struct raw raw;
    unsigned n_resets = 0;

    raw_open(&raw, true, &always);
    raw_greet(&raw);
    for (; raw.peer.n_dead == 0 && n_resets <= H2_RESETS_PER_SEC; n_resets++) {
        raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, (int32_t)(1 + 2 * n_resets), get_fields);
        raw_frame(&raw, NGHTTP2_RST_STREAM, 0, (int32_t)(1 + 2 * n_resets), cancel, sizeof(cancel));
        run_turns(raw.loop, 2);
        if (raw.peer.n_dead == 0)
            cr_assert(h2_nest_is_folded(raw.peer.h2->nest));
    }
    raw_run(&raw);
    cr_expect_eq(raw.peer.n_dead, 1);
    cr_expect_eq(raw.peer.dead_err, -ERR_H2_RESET_FLOOD, "%s after %u", raw.peer.dead_why,
                 n_resets);
    raw_close(&raw);
}

/* ------------------------------------------------------------------ nobody can tell */

struct talker { /* the peer: honest, but for a frame now and then */
    struct raw *raw;
    struct rng *rng;
    int32_t last_id, open_id; /* 0: none */
};

static void say_head(struct talker *t)
{
    static const char *const paths[] = {"/", "/a/longer/path?with=a&query", "/3"};
    const char *fields[] = {":method",   "POST",  ":scheme", "http", ":path",    NULL, ":authority",
                            "a.example", "x-one", NULL,      "te",   "trailers", NULL};
    const bool has_body = rng_below(t->rng, 2) == 0;
    char number[16];

    fields[5] = paths[rng_below(t->rng, ARRAY_LEN(paths))];
    fields[9] = number;
    snprintf(number, sizeof(number), "%u", (unsigned)rng_below(t->rng, 40));
    t->last_id += t->last_id ? 2 : 1;
    t->open_id = has_body ? t->last_id : 0;
    raw_headers(t->raw, has_body ? 0 : NGHTTP2_FLAG_END_STREAM, t->last_id, fields);
}

static void say_data(struct talker *t)
{
    const uint8_t bytes[300] = "bytes of a body";
    const bool ends = rng_below(t->rng, 3) == 0;

    if (!t->open_id && rng_below(t->rng, 30) > 0)
        return;
    raw_frame(t->raw, NGHTTP2_DATA, ends ? NGHTTP2_FLAG_END_STREAM : 0, t->open_id, bytes,
              rng_below(t->rng, sizeof(bytes)));
    if (ends)
        t->open_id = 0;
}

static void say_something(struct talker *t)
{
    const int32_t id =
        t->last_id ? 1 + 2 * ((int32_t)rng_below(t->rng, (uint32_t)t->last_id) / 2) : 0;
    const uint8_t number[4] = {0, 0, (uint8_t)rng_below(t->rng, 90),
                               (uint8_t)rng_below(t->rng, 200)};
    const uint8_t settings[] = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE,
                                NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE};
    const uint8_t setting[6] = {0, settings[rng_below(t->rng, 2)], 0, 0, number[2], number[3]};

    switch (rng_below(t->rng, 9)) {
    case 0:
    case 1:
    case 2: say_head(t); break;
    case 3:
    case 4: say_data(t); break;
    case 5: raw_frame(t->raw, NGHTTP2_PING, 0, 0, "pingping", 8); break;
    case 6: raw_frame(t->raw, NGHTTP2_WINDOW_UPDATE, 0, id, number, 4); break;
    case 7:
        if (id)
            raw_frame(t->raw, NGHTTP2_RST_STREAM, 0, id, number, 4);
        t->open_id = id == t->open_id ? 0 : t->open_id;
        break;
    default: raw_frame(t->raw, NGHTTP2_SETTINGS, 0, 0, setting, sizeof(setting)); break;
    }
}

/* Its owner does something as well: answers, echoes, ends. */
static void do_something(struct raw *raw, struct rng *rng)
{
    struct call *call =
        raw->peer.n_calls ? raw->peer.calls[rng_below(rng, raw->peer.n_calls)] : NULL;

    if (!call || !call->tap.stream)
        return;
    switch (rng_below(rng, 4)) {
    case 0: call_respond(call, "200", rng_below(rng, 3) == 0); break;
    case 1: stream_write_copy(call->tap.stream, "an answer", 9); break;
    case 2: stream_resume(call->tap.stream); break;
    default:
        if (rng_below(rng, 3) == 0)
            tap_close(&call->tap, 0);
        break;
    }
}

/* All that the peer saw, and how it ended. */
static void converse(uint64_t seed, const struct h2_options *options, struct text *out_seen,
                     unsigned *out_folds)
{
    struct raw raw;
    struct rng rng;
    struct talker talker = {.raw = &raw, .rng = &rng};

    rng_seed(&rng, seed);
    raw_open(&raw, true, options);
    raw_greet(&raw);
    for (unsigned step = 0; step < 60 && raw.peer.n_dead == 0; step++) {
        say_something(&talker);
        if (rng_below(&rng, 2) == 0)
            raw_run(&raw);
        if (raw.peer.n_dead == 0)
            do_something(&raw, &rng);
        run_turns(raw.loop, 1);
        *out_folds += raw.peer.n_dead == 0 && h2_nest_is_folded(raw.peer.h2->nest);
    }
    raw_run(&raw);
    text_add(out_seen, fake_written(raw.below));
    text_addf(out_seen, "calls %u dead %u %d %s", raw.peer.n_calls, raw.peer.n_dead,
              raw.peer.dead_err, raw.peer.dead_why);
    raw_close(&raw);
}

Test(h2_still, the_same_conversation_is_the_same_byte_by_byte)
{
    unsigned n_folds = 0, n_awake_folds = 0;

    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct text awake = {0}, folded = {0};

        converse(seed, &never, &awake, &n_awake_folds);
        converse(seed, &always, &folded, &n_folds);
        cr_assert_eq(awake.len, folded.len, "seed %u", (unsigned)seed);
        cr_assert_arr_eq(awake.ptr, folded.ptr, awake.len, "seed %u", (unsigned)seed);
        text_fini(&awake);
        text_fini(&folded);
    }
    cr_expect_eq(n_awake_folds, 0);
    cr_expect_gt(n_folds, 2000, "%u", n_folds);
}
