/* What a client and a server of HTTP/2 messages take from each other, and for how long they wait.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "http2_kit.h"
#include "proxy/base/clock.h"
#include "proxy/http/h2.h"

TestSuite(http2_limits, .timeout = 60);

#define expect_text(got, wanted) cr_expect_str_eq(got, wanted)

static struct duo duo;

static void start(void)
{
    duo_open(&duo, NULL, NULL);
}

static void finish(void)
{
    duo_close(&duo);
}

static void run(void)
{
    duo_run(&duo, 65536);
}

/* How many requests of a connection can be reset before it is cut. */
static unsigned resets_until_cut(unsigned n_max)
{
    duo.manner = 0;
    run();
    for (unsigned i = 0; i < n_max; i++) {
        struct talk *asked = duo_get(&duo, "/", NULL);

        run();
        tap_close(&asked->tap, -ERR_CLIENT_RESET);
        run();
        if (duo.n_server_dead > 0)
            return i + 1;
    }
    return 0;
}

Test(http2_limits, resets_on_many_connections_of_a_client_count_together, .fini = finish)
{
    struct http_rate resets = {.window_start_ns = 1, .n = 0};
    const struct http_limits limits = {.resets = &resets};

    duo_open(&duo, NULL, &limits);
    resets =
        (struct http_rate){.window_start_ns = loop_now_ns(duo.loop), .n = H2_RESETS_OF_CLIENT - 10};
    const unsigned n_resets = resets_until_cut(60);
    cr_expect(n_resets > 10 && n_resets < 50, "cut after %u", n_resets);
    cr_expect_eq(duo.server_err, -ERR_H2_RESET_FLOOD);
}

Test(http2_limits, a_connection_has_the_resets_that_it_is_given, .fini = finish)
{
    const struct http_limits limits = {.resets_max = 10};

    duo_open(&duo, NULL, &limits);
    cr_expect_eq(resets_until_cut(60), 11);
}

Test(http2_limits, a_client_with_few_resets_is_not_held_to_it, .fini = finish)
{
    struct http_rate resets = {0};
    const struct http_limits limits = {.resets = &resets};

    duo_open(&duo, NULL, &limits);
    cr_expect_eq(resets_until_cut(60), 0);
}

/* ---- a client that asks and does not read ---- */

static char wide_value[60000];

/* As a server says it, of 60 KB. */
static struct http_response wide(unsigned status)
{
    static struct http_field field;

    memset(wide_value, 'w', sizeof(wide_value));
    field = (struct http_field){STR("x-wide"), str_of(wide_value, sizeof(wide_value))};
    return (struct http_response){
        .status = status, .fields = {&field, 1}, .content_length = HTTP_LENGTH_UNKNOWN};
}

static struct talk *ask_unread(const char *path)
{
    struct talk *asked = duo_get(&duo, path, NULL);

    for (unsigned i = 0; i < 3; i++) {
        (void)duo_carry(&duo, false, SIZE_MAX);
        run_turns(duo.loop, 2);
    }
    return asked;
}

Test(http2_limits, who_asks_and_resets_and_reads_nothing_is_cut_before_its_answers_fill_the_memory,
     .fini = finish)
{
    const struct http_response head = wide(200);
    unsigned n = 0;

    duo_open(&duo, NULL, NULL);
    duo.manner = 0;
    run();
    fake_hold(duo.below_server);
    for (; n < 400 && duo.n_server_dead == 0; n++) {
        struct talk *asked = ask_unread("/");
        http_respond(duo.heard[duo.n_heard - 1]->stream, &head);
        run_turns(duo.loop, 2);
        tap_close(&asked->tap, -ERR_CLIENT_RESET);
    }
    cr_expect(n > 100 && n < 200, "of as much as its streams may have it holds no more: %u", n);
    cr_expect_eq(duo.server_err, -ERR_H2_CONTROL_FLOOD);
}

/* What comes of an answer with 60 KB in one field and so many bytes in another. */
static struct talk *answer_wide(size_t n_bytes)
{
    static const struct http_limits client = {.head_bytes = 1 << 18};
    struct http_response head = wide(200);
    const struct http_field fields[] = {head.fields.at[0],
                                        {STR("x-added"), str_of(wide_value, n_bytes)}};
    struct talk *asked;

    duo_open(&duo, &client, NULL);
    duo.manner = 0;
    asked = duo_get(&duo, "/", NULL);
    run();
    head.fields = (struct http_fields){.at = fields, .len = 2};
    http_respond(duo.heard[0]->stream, &head);
    run();
    return asked;
}

Test(http2_limits, an_answer_that_became_larger_on_the_way_is_sent_all_the_same, .fini = finish)
{
    cr_expect_str_eq(answer_wide(9000)->head, "200");
}

Test(http2_limits, one_that_became_far_too_large_is_a_reset, .fini = finish)
{
    const struct talk *asked = answer_wide(60000);

    cr_expect_eq(asked->n_heads, 0);
    cr_expect_eq(asked->tap.err, -ERR_RESET);
    cr_expect_eq(duo.heard[0]->tap.err, -ERR_RESET);
    cr_expect_eq(duo.n_client_dead + duo.n_server_dead, 0);
}

Test(http2_limits, interims_are_not_kept_for_who_does_not_read, .fini = finish)
{
    const struct http_response hint = wide(103);

    duo_open(&duo, NULL, NULL);
    duo.manner = 0;
    run();
    fake_hold(duo.below_server);
    (void)ask_unread("/");
    for (unsigned i = 0; i < 1000; i++)
        http_interim(duo.heard[0]->stream, &hint);
    run_turns(duo.loop, 2);
    cr_expect_eq(duo.n_server_dead, 0, "it is no fault of the client");
    fake_release(duo.below_server);
    run();
    cr_expect(duo.carried[1] < 1000000, "%zu bytes", duo.carried[1]);
    talk_respond(duo.heard[0], 200, 0, false);
    run();
    cr_expect_str_eq(duo.asked[0]->head, "200");
}

Test(http2_limits, data_frames_of_padding_alone_are_empty_ones, .init = start, .fini = finish)
{
    static const uint8_t padding[] = {0, 0, 1, 0, 8, 0, 0, 0, 1, 0};
    struct text flood = {0};

    duo.manner = 0;
    (void)duo_post(&duo, "/", HTTP_LENGTH_UNKNOWN);
    run();
    for (unsigned i = 0; i < 3 * H2_CONTROL_PER_SEC; i++)
        text_add(&flood, str_of(padding, sizeof(padding)));
    fake_feed(duo.below_server, flood.ptr, flood.len);
    text_fini(&flood);
    run();
    cr_expect_eq(duo.server_err, -ERR_H2_EMPTY_FLOOD);
}

static char long_value[4096];

Test(http2_limits, a_head_that_is_too_large_is_431, .fini = finish)
{
    static const struct http_limits limits = {.head_bytes = 2048};
    static const char *const large[] = {"x-large", long_value, NULL};
    struct talk *asked, *next;

    duo_open(&duo, NULL, &limits);
    memset(long_value, 'x', 3000);
    asked = duo_get(&duo, "/", large);
    next = duo_get(&duo, "/", NULL);
    run();
    expect_text(asked->head, "431");
    cr_expect(asked->tap.ended);
    expect_text(next->head, "200");
    cr_expect_eq(duo.n_heard, 1);
    cr_expect_eq(duo.refused_status, 431);
    cr_expect_eq(duo.n_refused, 1);
}

Test(http2_limits, too_many_fields_are_431, .fini = finish)
{
    static const struct http_limits limits = {.fields = 3};
    static const char *const three[] = {"a", "1", "b", "2", "c", "3", NULL};
    static const char *const more[] = {"a", "1", "b", "2", "c", "3", "d", "4", "e", "5", NULL};
    struct talk *good, *bad;

    duo_open(&duo, NULL, &limits);
    good = duo_get(&duo, "/", three);
    bad = duo_get(&duo, "/", more);
    run();
    expect_text(good->head, "200");
    expect_text(bad->head, "431");
}

Test(http2_limits, the_peers_limit_of_streams_is_kept, .fini = finish)
{
    static const struct http_limits limits = {.streams = 2};

    duo_open(&duo, NULL, &limits);
    duo.manner = 0;
    run();
    duo_get(&duo, "/", NULL);
    duo_get(&duo, "/", NULL);
    cr_expect_not(http_client_can_open(duo.client));
    run();
    talk_respond(duo.heard[0], 204, 0, false);
    run();
    cr_expect(http_client_can_open(duo.client));
    cr_expect(duo.n_capacity > 0);
}

Test(http2_limits, after_so_many_requests_a_server_drains, .fini = finish)
{
    static const struct http_limits limits = {.requests = 3};
    struct talk *asked[3];

    duo_open(&duo, NULL, &limits);
    for (unsigned i = 0; i < 3; i++) {
        asked[i] = duo_get(&duo, "/", NULL);
        run();
    }
    for (unsigned i = 0; i < 3; i++)
        expect_text(asked[i]->head, "200");
    cr_expect_eq(duo.n_server_dead, 1);
    cr_expect_eq(duo.server_err, 0);
    cr_expect_eq(duo.n_client_dead, 1);
    cr_expect_eq(duo.client_err, 0);
}

Test(http2_limits, what_is_open_when_a_server_drains_goes_on, .init = start, .fini = finish)
{
    struct talk *asked;

    duo.manner = 'e';
    asked = duo_post(&duo, "/", HTTP_LENGTH_UNKNOWN);
    run();
    http_server_drain(duo.server);
    run();
    cr_expect_not(http_client_can_open(duo.client));
    cr_expect_eq(duo.n_server_dead + duo.n_client_dead, 0);
    talk_write(asked, "still here");
    stream_shutdown(asked->tap.stream);
    run();
    cr_expect(str_eq(text_str(&asked->tap.got), STR("still here")));
    cr_expect(asked->tap.ended);
    cr_expect_eq(duo.n_server_dead, 1);
    cr_expect_eq(duo.server_err, 0, "%s", duo.server_why);
}

static bool server_died(void *ctx)
{
    (void)ctx;
    duo_run(&duo, 65536);
    return duo.n_server_dead > 0;
}

Test(http2_limits, an_idle_connection_is_drained, .fini = finish)
{
    static const struct http_limits limits = {.idle_ns = 50 * NS_PER_MS};

    duo_open(&duo, NULL, &limits);
    duo_get(&duo, "/", NULL);
    cr_assert(run_until(duo.loop, server_died, NULL, 20000));
    cr_expect_eq(duo.server_err, 0);
}

static bool request_failed(void *ctx)
{
    (void)ctx;
    duo_run(&duo, 65536);
    return duo.heard[0]->tap.err != 0;
}

Test(http2_limits, a_body_that_stands_still_fails, .fini = finish)
{
    static const struct http_limits limits = {.body_ns = 50 * NS_PER_MS};
    struct talk *asked;

    duo_open(&duo, NULL, &limits);
    duo.manner = 0;
    asked = duo_post(&duo, "/", 10);
    talk_write(asked, "12345");
    run();
    cr_assert(run_until(duo.loop, request_failed, NULL, 20000));
    cr_expect_eq(duo.heard[0]->tap.err, -ERR_BODY_TIMEOUT);
    cr_expect_eq(duo.n_refused, 1, "it is counted as a slow one");
    run();
    cr_expect_eq(asked->tap.err, -ERR_RESET);
}

static bool is_set(void *ctx)
{
    return *(bool *)ctx;
}

static bool head_timed_out(void *ctx)
{
    (void)ctx;
    return duo.n_server_dead > 0;
}

Test(http2_limits, a_head_that_stands_still_ends_the_connection, .fini = finish)
{
    static const struct http_limits limits = {.head_ns = 50 * NS_PER_MS};

    duo_open(&duo, NULL, &limits);
    run();
    duo_get(&duo, "/", NULL);
    run_turns(duo.loop, 2);
    duo_carry(&duo, false, 12); /* the frame's head and a little more */
    cr_assert(run_until(duo.loop, head_timed_out, NULL, 20000));
    cr_expect_eq(duo.server_err, -ERR_HEAD_TIMEOUT);
    cr_expect_eq(duo.n_heard, 0);
}

static bool is_dead(void *ctx)
{
    (void)ctx;
    duo_run(&duo, 65536);
    return duo.n_server_dead > 0;
}

Test(http2_limits, trailers_that_are_ignored_are_no_head_that_stands_still, .fini = finish)
{
    static const struct http_limits limits = {.head_ns = 50 * NS_PER_MS};
    struct talk *asked;

    duo_open(&duo, NULL, &limits);
    duo.manner = 0;
    asked = duo_post(&duo, "/", HTTP_LENGTH_UNKNOWN);
    run();
    tap_close(&duo.heard[0]->tap, -ERR_UPSTREAM_RESET);
    run_turns(duo.loop, 2);
    talk_trailers(asked, "x", "y"); /* crosses the reset */
    cr_expect_not(run_until(duo.loop, is_dead, NULL, 200), "%s", duo.server_why);
    duo_get(&duo, "/", NULL);
    run();
    cr_expect_eq(duo.n_heard, 2);
}

static bool is_cut_though_heads_are_in_time(void)
{
    static const struct http_limits limits = {.head_ns = 200 * NS_PER_MS};
    uint64_t until_ns;

    duo_open(&duo, NULL, &limits);
    run();
    until_ns = loop_now_ns(duo.loop) + 500 * NS_PER_MS;
    for (unsigned i = 0; loop_now_ns(duo.loop) < until_ns && i < TALKS_MAX; i++) {
        size_t before = fake_written(duo.below_client).len;

        duo_get(&duo, "/", NULL);
        run_turns(duo.loop, 2);
        /* All of the last head, and a part of this one. */
        duo_carry(&duo, false, before - duo.carried[0] + 11);
        run_until(duo.loop, is_set, &(bool){false}, 1);
        while (duo_carry(&duo, true, 65536))
            run_turns(duo.loop, 2);
    }
    return duo.n_server_dead > 0;
}

Test(http2_limits, heads_that_keep_coming_in_pieces_are_in_time, .fini = finish)
{
    bool is_cut = is_cut_though_heads_are_in_time();

    for (unsigned i = 0; i < 5 && is_cut; i++) { /* the machine may be busy, but not always */
        duo_close(&duo);
        is_cut = is_cut_though_heads_are_in_time();
    }
    cr_expect_not(is_cut, "%s", duo.server_why);
}
