/* A client of ours against a server that is the test, frame by frame: what is no answer is none. */
#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "http2_kit.h"

TestSuite(http2_answers, .timeout = 60);

enum {
    HEAD_FRAME = NGHTTP2_HEADERS,
    END = NGHTTP2_FLAG_END_STREAM,
    WHOLE = NGHTTP2_FLAG_END_HEADERS
};

static struct duo duo;
static struct text wire;

static void put_frame(uint8_t type, uint8_t flags, int32_t stream_id, struct str payload)
{
    const uint8_t head[9] = {(uint8_t)(payload.len >> 16),
                             (uint8_t)(payload.len >> 8),
                             (uint8_t)payload.len,
                             type,
                             flags,
                             0,
                             0,
                             (uint8_t)(stream_id >> 8),
                             (uint8_t)stream_id};

    text_add(&wire, str_of(head, sizeof(head)));
    text_add(&wire, payload);
}

/* "name=value;" each, as literals that no table keeps. */
static void put_block(struct text *block, const char *fields)
{
    struct str rest = str_from(fields), field;

    while (str_split(rest, ';', &field, &rest)) {
        struct str name, value;

        cr_assert(str_split(field, '=', &name, &value));
        text_addc(block, 0);
        text_addc(block, (char)name.len);
        text_add(block, name);
        text_addc(block, (char)value.len);
        text_add(block, value);
    }
}

static void put_head(uint8_t flags, int32_t stream_id, const char *fields)
{
    struct text block = {0};

    put_block(&block, fields);
    put_frame(NGHTTP2_HEADERS, flags | WHOLE, stream_id, text_str(&block));
    text_fini(&block);
}

static void deliver(void)
{
    if (!duo.below_client->is_closed)
        fake_feed(duo.below_client, wire.ptr, wire.len);
    text_fini(&wire);
    run_turns(duo.loop, 6);
}

static void start(void)
{
    duo_open(&duo, NULL, NULL);
    put_frame(NGHTTP2_SETTINGS, 0, 0, (struct str){0});
    put_frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, (struct str){0});
    deliver();
}

static void finish(void)
{
    duo_close(&duo);
}

struct row {
    const char *name;
    const char *fields; /* of a head without END_STREAM */
};

Test(http2_answers, a_malformed_head_is_a_reset_and_never_shown)
{
    static const struct row rows[] = {
        {"no status", "x=y;"},
        {"a status that is no number", ":status=abc;"},
        {"a status of two digits", ":status=20;"},
        {"a status of four digits", ":status=2000;"},
        {"a status with a sign", ":status=+20;"},
        {"a status below 100", ":status=099;"},
        {"101, which HTTP/2 has not", ":status=101;"},
        {"an empty status", ":status=;"},
        {"two statuses", ":status=200;:status=200;"},
        {"a pseudo-field of requests", ":status=200;:path=/;"},
        {"an unknown pseudo-field", ":status=200;:what=x;"},
        {"a pseudo-field behind a field", "x=y;:status=200;"},
        {"a capital letter", ":status=200;X=y;"},
        {"an empty name", ":status=200;=y;"},
        {"a blank in a name", ":status=200;x y=z;"},
        {"a comma in a name", ":status=200;x,y=z;"},
        {"LF in a value", ":status=200;x=y\nz: 1;"},
        {"CR in a value", ":status=200;x=y\rz;"},
        {"a blank before a value", ":status=200;x= y;"},
        {"a tab behind a value", ":status=200;x=y\t;"},
        {"a control character in a value", ":status=200;x=y\x01z;"},
        {"connection", ":status=200;connection=close;"},
        {"keep-alive", ":status=200;keep-alive=timeout;"},
        {"proxy-connection", ":status=200;proxy-connection=close;"},
        {"transfer-encoding", ":status=200;transfer-encoding=chunked;"},
        {"upgrade", ":status=200;upgrade=websocket;"},
        {"te", ":status=200;te=gzip;"},
        {"a length that is no number", ":status=200;content-length=x;"},
        {"a length with a sign", ":status=200;content-length=+1;"},
        {"a list of lengths", ":status=200;content-length=1, 1;"},
        {"two lengths", ":status=200;content-length=1;content-length=1;"},
        {"a length of 204", ":status=204;content-length=5;"},
        {"a length of 100", ":status=100;content-length=5;"},
        {"a malformed 103", ":status=103;connection=x;"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct talk *asked;

        start();
        asked = duo_get(&duo, "/", NULL);
        run_turns(duo.loop, 3);
        put_head(0, 1, rows[i].fields);
        deliver();
        cr_expect_eq(asked->tap.err, -ERR_HTTP_RESPONSE, "%s: %d", rows[i].name, asked->tap.err);
        cr_expect_eq(asked->n_heads, 0, "%s", rows[i].name);
        cr_expect_str_eq(asked->interims, "", "%s", rows[i].name);
        cr_expect_eq(duo.n_client_dead, 0, "%s", rows[i].name);
        finish();
    }
}

enum outcome { FAILS_H2, FAILS_RESET, FAILS_REFUSED, DIES, GOOD };

static void put_story(char kind)
{
    static const char code[4][4] = {{0, 0, 0, 0}, {0, 0, 0, 1}, {0, 0, 0, 7}, {0, 0, 0, 8}};

    switch (kind) {
    case 'h': put_head(0, 1, ":status=200;"); break;
    case 'H': put_head(END, 1, ":status=200;"); break;
    case 'l': put_head(0, 1, ":status=200;content-length=3;"); break;
    case 'L': put_head(END, 1, ":status=200;content-length=3;"); break;
    case 'n': put_head(0, 1, ":status=204;"); break;
    case 'i': put_head(0, 1, ":status=103;"); break;
    case 'I': put_head(END, 1, ":status=103;"); break;
    case 't': put_head(END, 1, "x=y;"); break;
    case 'u': put_head(0, 1, "x=y;"); break;
    case 'v': put_head(END, 1, "content-length=1;"); break;
    case 'w': put_head(END, 1, ":status=200;"); break;
    case 'd': put_frame(NGHTTP2_DATA, 0, 1, STR("abc")); break;
    case 'D': put_frame(NGHTTP2_DATA, END, 1, STR("abc")); break;
    case 'E': put_frame(NGHTTP2_DATA, END, 1, STR("abcd")); break;
    case 'e': put_frame(NGHTTP2_DATA, END, 1, STR("")); break;
    case '0': put_frame(NGHTTP2_RST_STREAM, 0, 1, str_of(code[0], 4)); break;
    case '1': put_frame(NGHTTP2_RST_STREAM, 0, 1, str_of(code[1], 4)); break;
    case '7': put_frame(NGHTTP2_RST_STREAM, 0, 1, str_of(code[2], 4)); break;
    case '8': put_frame(NGHTTP2_RST_STREAM, 0, 1, str_of(code[3], 4)); break;
    case 'P': put_frame(NGHTTP2_PUSH_PROMISE, WHOLE, 1, str_of("\0\0\0\2", 4)); break;
    case '2': put_head(END, 2, ":status=200;"); break;
    case '3': put_head(END, 3, ":status=200;"); break;
    case '4': put_frame(NGHTTP2_DATA, END, 3, STR("x")); break;
    case '5': put_frame(NGHTTP2_DATA, END, 0, STR("x")); break;
    default: cr_assert(false, "%c", kind);
    }
}

Test(http2_answers, each_story_has_its_end)
{
    static const struct {
        const char *name, *story;
        enum outcome outcome;
    } rows[] = {
        {"a head and an end", "H", GOOD},
        {"a body", "hdD", GOOD},
        {"a body of its length", "lD", GOOD},
        {"an empty last frame", "hde", GOOD},
        {"trailers", "hdt", GOOD},
        {"interims", "iiH", GOOD},
        {"a reset that says nothing, behind the end", "H0", GOOD},
        {"204 that ends later", "ne", GOOD},
        {"a body without a head", "D", DIES},
        {"a body behind an interim", "iD", FAILS_H2},
        {"an interim that ends", "I", FAILS_H2},
        {"trailers without a head", "t", FAILS_H2},
        {"trailers that do not end", "hu", FAILS_H2},
        {"trailers with a length", "hv", FAILS_H2},
        {"two answers", "hw", FAILS_H2},
        {"a body of its length in two frames", "lde0", GOOD},
        {"less than its length", "le", FAILS_H2},
        {"more than its length", "lE", FAILS_H2},
        {"nothing of its length", "L", FAILS_H2},
        {"a body of 204", "nD", FAILS_H2},
        {"a reset before the head", "8", FAILS_RESET},
        {"a reset within the body", "hd8", FAILS_RESET},
        {"a reset that says nothing within the body", "hd0", FAILS_RESET},
        {"a reset for a fault of ours", "1", FAILS_H2},
        {"a refusal", "7", FAILS_REFUSED},
        {"a refusal behind a head", "h7", FAILS_RESET},
        {"a promise", "P", DIES},
        {"an answer on a stream of the server's", "2", DIES},
        {"an answer that nobody asked for", "3", DIES},
        {"a body that nobody asked for", "4", DIES},
        {"a body on stream 0", "5", DIES},
        {"a body behind the end", "HD", DIES},
        {"a head behind the end", "Hh", DIES},
        {"a body behind a reset of the server's", "8D", DIES},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static const int errs[] = {-ERR_HTTP_RESPONSE, -ERR_RESET, -ERR_H2_REFUSED};
        const struct tap *tap;
        struct talk *asked;

        start();
        asked = duo_get(&duo, "/", NULL);
        tap = &asked->tap;
        run_turns(duo.loop, 3);
        for (const char *at = rows[i].story; *at; at++)
            put_story(*at);
        deliver();
        cr_expect_eq(duo.n_client_dead, rows[i].outcome == DIES, "%s", rows[i].name);
        if (rows[i].outcome == DIES)
            cr_expect_eq(duo.client_err, -ERR_H2, "%s: %d", rows[i].name, duo.client_err);
        else if (rows[i].outcome == GOOD)
            cr_expect(tap->ended && !tap->err, "%s: %d %d", rows[i].name, tap->ended, tap->err);
        else
            cr_expect(!tap->ended && tap->err == errs[rows[i].outcome], "%s: %d", rows[i].name,
                      tap->err);
        finish();
    }
}

Test(http2_answers, a_body_of_head_is_no_body, .init = start, .fini = finish)
{
    struct talk *asked = duo_ask(&duo, &(struct http_request){.method = STR("HEAD"),
                                                              .authority = STR("a"),
                                                              .path = STR("/"),
                                                              .content_length = -1});

    run_turns(duo.loop, 3);
    put_head(0, 1, ":status=200;content-length=3;");
    put_frame(NGHTTP2_DATA, END, 1, STR("abc"));
    deliver();
    cr_expect_eq(asked->n_heads, 1);
    cr_expect_not(asked->has_body);
    cr_expect_eq(asked->tap.n_got, 0);
    cr_expect_eq(asked->tap.err, -ERR_HTTP_RESPONSE);
}

/* It waits for the server's SETTINGS. */
static struct talk *ask_for_an_upgrade(void)
{
    struct talk *asked;

    duo_open(&duo, NULL, NULL);
    asked = duo_ask(&duo, &(struct http_request){.method = STR("GET"),
                                                 .authority = STR("a"),
                                                 .path = STR("/"),
                                                 .protocol = STR("websocket"),
                                                 .content_length = -1,
                                                 .has_body = true});
    run_turns(duo.loop, 3);
    return asked;
}

Test(http2_answers, an_upgrade_waits_for_leave, .fini = finish)
{
    struct talk *asked = ask_for_an_upgrade();

    put_frame(NGHTTP2_SETTINGS, 0, 0, (struct str){0}); /* which give none */
    deliver();
    cr_expect_eq(asked->tap.err, -ERR_REFUSED);
    cr_expect_eq(http_client_open(duo.client), 0);
    cr_expect_eq(duo.n_client_dead, 0);
}

Test(http2_answers, an_upgrade_that_never_left_may_be_sent_again, .fini = finish)
{
    struct talk *asked = ask_for_an_upgrade();

    fake_fail(duo.below_client, -ERR_RESET);
    run_turns(duo.loop, 3);
    cr_expect_eq(asked->tap.err, -ERR_H2_REFUSED);
    cr_expect_eq(duo.client_err, -ERR_RESET);
}

Test(http2_answers, a_flood_of_interims_ends_the_connection, .init = start, .fini = finish)
{
    struct talk *asked = duo_get(&duo, "/", NULL);
    run_turns(duo.loop, 3);
    for (unsigned i = 0; i < 1100; i++)
        put_head(0, 1, ":status=103;");
    deliver();
    cr_expect_eq(duo.n_client_dead, 1);
    cr_expect_eq(asked->tap.err, -ERR_HTTP_RESPONSE, "a server that floods gives no answer");
    cr_expect_eq(duo.client_err, -ERR_H2_CONTROL_FLOOD);
}

Test(http2_answers, a_head_beyond_the_limit_fails, .fini = finish)
{
    static const struct http_limits limits = {.fields = 3};
    struct talk *asked;

    duo_open(&duo, &limits, NULL);
    put_frame(NGHTTP2_SETTINGS, 0, 0, (struct str){0});
    asked = duo_get(&duo, "/", NULL);
    run_turns(duo.loop, 3);
    put_head(END, 1, ":status=200;a=1;b=2;c=3;d=4;e=5;f=6;g=7;h=8;");
    deliver();
    cr_expect_eq(asked->tap.err, -ERR_HTTP_RESPONSE_LIMIT, "%d", asked->tap.err);
    cr_expect_eq(asked->n_heads, 0);
}

Test(http2_answers, a_goaway_lets_what_it_names_end, .init = start, .fini = finish)
{
    struct talk *named = duo_get(&duo, "/", NULL), *other = duo_get(&duo, "/", NULL);

    run_turns(duo.loop, 3);
    put_frame(NGHTTP2_GOAWAY, 0, 0, str_of("\0\0\0\1\0\0\0\0", 8));
    deliver();
    cr_expect_eq(other->tap.err, -ERR_H2_REFUSED);
    cr_expect_eq(named->tap.err, 0);
    cr_expect_not(http_client_can_open(duo.client));
    put_head(END, 1, ":status=200;");
    deliver();
    cr_expect(named->tap.ended);
    cr_expect_eq(duo.n_client_dead, 1);
    cr_expect_eq(duo.client_err, 0);
}
