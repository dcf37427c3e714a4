/*
 * Both ends back to back: what a client asks and a server answers over a wire that stalls, breaks
 * and gives what it likes. A seed makes a run; its number is in the message of a failure.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "tests/unit/proxy_http/http1_kit.h"

TestSuite(http1_pair, .timeout = 300);

#define PIECE_MAX   SLAB_BYTES
#define TURNS_MAX   400000u
#define N_EXCHANGES 12u
#define BODY_MAX    200000u

enum body { BODY_NONE, BODY_LENGTH, BODY_UNKNOWN, BODY_KINDS };

/* One direction of an exchange: n bytes whose values say where they are. */
struct flow {
    size_t n_bytes, sent, received;
    enum body kind;
    bool has_trailers, is_shut, is_ended, has_seen_trailers, waits;
};

struct sim {
    struct loop *loop;
    struct rng rng;
    struct fake_stream *wires[2]; /* the client's, the server's */
    struct http_client *client;
    struct http_server *server;
    struct http_stream *asking, *answering;
    struct flow up, down;
    unsigned n_asked, n_answered, n_whole, n_failed;
    uint64_t seed;
    bool is_dead[2], has_head, may_break;
};

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static void check_bytes(struct sim *sim, struct flow *flow, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        cr_assert_eq(bytes.ptr[i], pattern(flow->received + i), "seed %llu: byte %zu",
                     (unsigned long long)sim->seed, flow->received + i);
    flow->received += bytes.len;
    cr_assert_leq(flow->received, flow->n_bytes);
}

static struct flow random_flow(struct sim *sim)
{
    struct flow flow = {.kind = rng_below(&sim->rng, BODY_KINDS)};

    if (flow.kind != BODY_NONE)
        flow.n_bytes =
            rng_below(&sim->rng, 3) ? rng_below(&sim->rng, BODY_MAX) : rng_below(&sim->rng, 20);
    if (flow.kind == BODY_LENGTH && flow.n_bytes == 0)
        flow.kind = BODY_NONE;
    flow.has_trailers = flow.kind == BODY_UNKNOWN && rng_below(&sim->rng, 2);
    return flow;
}

/* Writes a little; false when nothing more may be written. */
static void write_some(struct sim *sim, struct http_stream *stream, struct flow *flow)
{
    static const struct http_field field = {{"x-sum", 5}, {"1", 1}};
    static const struct http_fields trailers = {.at = &field, .len = 1};
    static uint8_t room[PIECE_MAX];
    const size_t left = flow->n_bytes - flow->sent;
    size_t len = 1 + rng_below(&sim->rng, rng_below(&sim->rng, 2) ? 100 : PIECE_MAX);

    if (!stream || flow->waits || flow->is_shut)
        return;
    if (left == 0) {
        flow->is_shut = true;
        if (flow->has_trailers)
            http_trailers(stream, &trailers);
        else
            stream_shutdown(&stream->stream);
        return;
    }
    len = len < left ? len : left;
    for (size_t i = 0; i < len; i++)
        room[i] = pattern(flow->sent + i);
    flow->sent += len;
    flow->waits = !stream_write_copy(&stream->stream, room, len);
}

static void move_on(struct sim *sim, struct http_stream *stream, struct flow *out)
{
    switch (rng_below(&sim->rng, 6)) {
    case 0:
        if (stream)
            stream_pause(&stream->stream);
        break;
    case 1:
    case 2:
        if (stream)
            stream_resume(&stream->stream);
        break;
    default: write_some(sim, stream, out); break;
    }
}

/* ------------------------------------------------------------------ the server's owner */

static void close_answer_if_over(struct sim *sim)
{
    struct http_stream *stream = sim->answering;

    if (!stream || !sim->up.is_ended || !sim->down.is_shut || stream_queued(&stream->stream) > 0)
        return; /* a wire that is held drops what was queued when its end closes */
    sim->answering = NULL;
    stream_close(&stream->stream, 0);
}

static void on_up_data(void *owner, struct slice bytes)
{
    struct sim *sim = owner;

    check_bytes(sim, &sim->up, bytes);
}

static void on_up_end(void *owner)
{
    struct sim *sim = owner;

    cr_assert(!sim->up.is_ended);
    cr_assert_eq(sim->up.received, sim->up.n_bytes, "seed %llu", (unsigned long long)sim->seed);
    cr_assert_eq(sim->up.has_seen_trailers, sim->up.has_trailers);
    sim->up.is_ended = true;
}

static void on_down_drain(void *owner)
{
    struct sim *sim = owner;

    sim->down.waits = false;
}

static void on_answer_fail(void *owner, int err)
{
    struct sim *sim = owner;
    struct http_stream *stream = sim->answering;

    cr_assert(sim->may_break, "seed %llu: %s", (unsigned long long)sim->seed, err_label(err));
    sim->answering = NULL;
    stream_close(&stream->stream, err);
}

static void on_up_trailers(void *owner, const struct http_fields *trailers)
{
    cr_assert_eq(trailers->len, 1);
    ((struct sim *)owner)->up.has_seen_trailers = true;
}

static const struct stream_events answer_events = {on_up_data, on_up_end, on_down_drain,
                                                   on_answer_fail};
static const struct http_stream_events answer_http = {.on_trailers = on_up_trailers};

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    struct sim *sim = owner;

    cr_assert(str_eq(http_find(&head->fields, "x-n"), STR("7")));
    sim->answering = stream;
    sim->n_answered++;
    http_stream_set_owner(stream, &answer_http, &answer_events, sim);
}

static void answer_head(struct sim *sim)
{
    const struct flow *down = &sim->down;
    const struct http_response head = {
        .status = 200,
        .has_body = down->kind != BODY_NONE,
        .content_length = down->kind == BODY_UNKNOWN ? HTTP_LENGTH_UNKNOWN : (int64_t)down->n_bytes,
    };

    if (rng_below(&sim->rng, 4) == 0)
        http_interim(sim->answering, &(struct http_response){.status = 103});
    http_respond(sim->answering, &head);
    sim->has_head = true;
    sim->down.is_shut = down->kind == BODY_NONE;
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    struct sim *sim = owner;

    (void)err;
    cr_assert(sim->may_break, "seed %llu: %u %.*s", (unsigned long long)sim->seed, status,
              STR_ARG(why));
}

static void on_server_dead(void *owner, int err, struct str why)
{
    struct sim *sim = owner;

    (void)err, (void)why;
    cr_assert(!sim->is_dead[1]);
    sim->is_dead[1] = true;
}

/* ------------------------------------------------------------------ the client's owner */

static void on_down_data(void *owner, struct slice bytes)
{
    struct sim *sim = owner;

    check_bytes(sim, &sim->down, bytes);
}

static void on_down_end(void *owner)
{
    struct sim *sim = owner;

    cr_assert(!sim->down.is_ended);
    cr_assert_eq(sim->down.received, sim->down.n_bytes, "seed %llu", (unsigned long long)sim->seed);
    cr_assert_eq(sim->down.has_seen_trailers, sim->down.has_trailers);
    sim->down.is_ended = true;
}

static void on_up_drain(void *owner)
{
    ((struct sim *)owner)->up.waits = false;
}

static void on_ask_fail(void *owner, int err)
{
    struct sim *sim = owner;
    struct http_stream *stream = sim->asking;

    cr_assert(sim->may_break, "seed %llu: %s", (unsigned long long)sim->seed, err_label(err));
    sim->n_failed++;
    sim->asking = NULL;
    stream_close(&stream->stream, err);
}

static void on_down_trailers(void *owner, const struct http_fields *trailers)
{
    cr_assert_eq(trailers->len, 1);
    ((struct sim *)owner)->down.has_seen_trailers = true;
}

static const struct stream_events ask_events = {on_down_data, on_down_end, on_up_drain,
                                                on_ask_fail};
static const struct http_stream_events ask_http = {.on_trailers = on_down_trailers};

static void on_client_dead(void *owner, int err, struct str why)
{
    struct sim *sim = owner;

    (void)err, (void)why;
    cr_assert(!sim->is_dead[0]);
    sim->is_dead[0] = true;
}

static void ask(struct sim *sim)
{
    static const struct http_field field = {{"x-n", 3}, {"7", 1}};
    struct http_request head = {.method = STR("POST"),
                                .authority = STR("a"),
                                .path = STR("/x"),
                                .fields = {.at = &field, .len = 1}};

    sim->up = random_flow(sim);
    sim->down = random_flow(sim);
    sim->has_head = false;
    head.has_body = sim->up.kind != BODY_NONE;
    head.content_length =
        sim->up.kind == BODY_UNKNOWN ? HTTP_LENGTH_UNKNOWN : (int64_t)sim->up.n_bytes;
    sim->asking = http_request(sim->client, &head, &ask_http, &ask_events, sim);
    cr_assert(sim->asking);
    sim->n_asked++;
    sim->up.is_shut = !head.has_body;
}

static void close_question_if_over(struct sim *sim)
{
    struct http_stream *stream = sim->asking;

    if (!stream || !sim->down.is_ended || !sim->up.is_shut || stream_queued(&stream->stream) > 0)
        return;
    sim->asking = NULL;
    sim->n_whole++;
    stream_close(&stream->stream, 0);
}

/* ------------------------------------------------------------------ runs */

static void connect_ends(struct sim *sim)
{
    static const struct http_server_events server_events = {on_request, on_refused, on_server_dead};
    static const struct http_client_events client_events = {.on_dead = on_client_dead};
    const struct http_limits limits = {0};

    sim->is_dead[0] = sim->is_dead[1] = false;
    fake_stream_pair(sim->loop, &sim->wires[0], &sim->wires[1]);
    sim->client = http1_client_new(sim->loop, &sim->wires[0]->stream, &limits, &client_events, sim);
    sim->server = http1_server_new(sim->loop, &sim->wires[1]->stream, &limits, &server_events, sim);
}

static void part_ends(struct sim *sim)
{
    http_client_close(sim->client, 0);
    http_server_close(sim->server, 0);
    run_turns(sim->loop, 20);
    for (unsigned i = 0; i < 2; i++)
        fake_stream_free(sim->wires[i]);
}

static void start_sim(struct sim *sim, uint64_t seed)
{
    *sim = (struct sim){.loop = loop_new(), .seed = seed};
    rng_seed(&sim->rng, seed);
    connect_ends(sim);
}

static void end_sim(struct sim *sim)
{
    if (sim->asking)
        stream_close(&sim->asking->stream, -ERR_SHUTDOWN);
    if (sim->answering)
        stream_close(&sim->answering->stream, -ERR_SHUTDOWN);
    part_ends(sim);
    loop_finish(sim->loop);
}

static void stall(struct sim *sim)
{
    struct fake_stream *wire = sim->wires[rng_below(&sim->rng, 2)];

    if (wire->is_closed)
        return;
    if (wire->is_held)
        fake_release(wire);
    else if (rng_below(&sim->rng, 4) == 0)
        fake_hold(wire);
}

static bool is_over(const struct sim *sim)
{
    return sim->is_dead[0] && sim->is_dead[1];
}

static void step(struct sim *sim)
{
    if (!sim->asking && !sim->answering && http_client_can_open(sim->client) &&
        sim->n_asked < N_EXCHANGES)
        ask(sim);
    if (sim->answering && !sim->has_head && rng_below(&sim->rng, 3) == 0)
        answer_head(sim);
    move_on(sim, sim->asking, &sim->up);
    if (sim->has_head)
        move_on(sim, sim->answering, &sim->down);
    else if (sim->answering)
        stream_resume(&sim->answering->stream);
    if (rng_below(&sim->rng, 10) == 0)
        stall(sim);
    if (rng_below(&sim->rng, 2))
        loop_turn(sim->loop, false);
    close_answer_if_over(sim);
    close_question_if_over(sim);
}

Test(http1_pair, every_exchange_is_whole_whatever_the_wire_does_with_time)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim sim;
        start_sim(&sim, seed);
        for (unsigned turn = 0; sim.n_whole < N_EXCHANGES; turn++) {
            cr_assert_lt(turn, TURNS_MAX,
                         "seed %llu: stuck after %u exchanges: up %zu/%zu of %zu, down %zu/%zu of "
                         "%zu",
                         (unsigned long long)seed, sim.n_whole, sim.up.received, sim.up.sent,
                         sim.up.n_bytes, sim.down.received, sim.down.sent, sim.down.n_bytes);
            step(&sim);
            if (is_over(&sim) && !sim.asking && !sim.answering) { /* an answer that came early */
                part_ends(&sim);
                connect_ends(&sim);
            }
        }
        cr_expect_eq(sim.n_answered, N_EXCHANGES);
        end_sim(&sim);
    }
}

/* A wire that breaks after so many bytes: what was not whole fails, once, at both ends. */
Test(http1_pair, every_exchange_is_whole_or_fails_when_the_wire_breaks_somewhere)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct sim sim;
        start_sim(&sim, seed);
        const unsigned at = rng_below(&sim.rng, 3000), which = rng_below(&sim.rng, 2);
        const bool is_reset = rng_below(&sim.rng, 2);
        sim.may_break = true;
        for (unsigned turn = 0; turn < TURNS_MAX && !is_over(&sim); turn++) {
            if (turn == at && is_reset) {
                fake_fail(sim.wires[0], -ERR_RESET);
                fake_fail(sim.wires[1], -ERR_RESET);
            } else if (turn == at) {
                fake_end(sim.wires[which]);
            } else if (turn > at + 2000) {
                break; /* an end was seen between exchanges by one alone */
            }
            step(&sim);
        }
        if (is_reset) {
            cr_expect(is_over(&sim), "seed %llu", (unsigned long long)seed);
            cr_expect(!sim.asking && !sim.answering, "seed %llu", (unsigned long long)seed);
        }
        end_sim(&sim);
    }
}

/* Every byte of an exchange in both directions: the wire breaks behind it. */
Test(http1_pair, a_reset_behind_every_byte_of_a_request_fails_it_or_comes_too_late)
{
    static const char request[] =
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";

    for (size_t at = 0; at < sizeof(request); at++) {
        for (unsigned is_end = 0; is_end < 2; is_end++) {
            struct loop *loop = loop_new();
            struct fake_stream *wire = fake_stream_new(loop);
            struct http1_seen seen = {.closes_at_fail = true};
            const struct http_limits limits = {0};

            seen.server = http1_server_new(loop, &wire->stream, &limits, &http1_seen_server, &seen);
            fake_feed(wire, request, at);
            run_turns(loop, 6);
            if (is_end)
                fake_end(wire);
            else
                fake_fail(wire, -ERR_RESET);
            run_turns(loop, 10);
            cr_assert(seen.is_dead, "at %zu", at);
            cr_assert_eq(seen.stream != NULL, 0, "at %zu", at);
            cr_assert_eq(seen.fail_err, seen.n_requests ? -ERR_CLIENT_RESET : 0, "at %zu", at);
            http1_seen_fini(&seen);
            run_turns(loop, 5);
            fake_stream_free(wire);
            loop_finish(loop);
        }
    }
}
