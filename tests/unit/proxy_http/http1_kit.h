/*
 * http1_kit.h - an owner of HTTP/1.1 connections that writes down what it is told, and answers.
 *
 * What came is a log of lines: "REQUEST GET a /x", " name: value", "DATA bytes" (pieces joined,
 * however they came), "END", "FAIL label", "REFUSED 400", "DEAD label". Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_HTTP1_KIT_H
#define ISTHMUS_TESTS_HTTP1_KIT_H

#include "proxy/base/text.h"
#include "proxy/http/message.h"
#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"

struct http1_seen {
    struct text log;
    struct text why; /* of the last refusal or death */
    struct http_stream *stream;
    struct http_server *server;
    struct http_client *client;
    unsigned n_requests, n_responses, n_ends, n_refused, n_capacity, n_drained, n_bytes;
    unsigned refused_status;
    int fail_err, dead_err;
    bool is_dead, is_head;
    enum http_version version;
    struct text protocol;

    /* What it does of itself. */
    bool answers;       /* a 200 with the body "ok" after the end of a request, and closes */
    bool refuses;       /* a 403 without a body from within on_request, and closes */
    bool stays_paused;  /* does not resume the stream */
    bool closes_at_end; /* of an answer */
    bool closes_at_fail;
};

extern const struct http_server_events http1_seen_server;
extern const struct http_client_events http1_seen_client;
extern const struct http_stream_events http1_seen_exchange;
extern const struct stream_events http1_seen_stream;

void http1_seen_fini(struct http1_seen *seen);
/* A line of the log; and whether it is there. */
void http1_note(struct http1_seen *seen, const char *format, ...) PRINTF_LIKE(2, 3);
bool http1_saw(const struct http1_seen *seen, const char *part);

/* A response without fields. */
struct http_response http1_plain(unsigned status, int64_t length);
/* Sends all of it and shuts the stream. */
void http1_say(struct http1_seen *seen, const char *body);
void http1_close(struct http1_seen *seen, int err);

#endif
