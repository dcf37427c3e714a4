/*
 * http2_kit.h - a client and a server of HTTP/2 messages that record what they hear, with a wire
 * between them that the test carries byte by byte if it likes.
 *
 * Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_HTTP_HTTP2_KIT_H
#define ISTHMUS_TESTS_UNIT_PROXY_HTTP_HTTP2_KIT_H

#include "proxy/http/message.h"
#include "tests/unit/proxy_tls/tls_kit.h"

#define TALKS_MAX 2100

struct duo;

/* One exchange, as one end sees it. Texts are "name=value;" for each field. */
struct talk {
    struct tap tap; /* first: the owner of all its events */
    struct http_stream *stream;
    struct duo *duo;
    char head[4096]; /* "GET http a.example /path protocol" or "200", then the fields */
    char fields[4096];
    char trailers[512];
    char interims[512];
    unsigned n_heads, n_trailers;
    int64_t content_length;
    bool has_body;
};

struct duo {
    struct loop *loop;
    struct fake_stream *below_client, *below_server;
    struct http_client *client; /* NULL: closed */
    struct http_server *server;
    struct talk *asked[TALKS_MAX], *heard[TALKS_MAX]; /* of the client, of the server */
    unsigned n_asked, n_heard, n_refused, n_capacity;
    unsigned refused_status;
    char refused_why[256];
    unsigned n_client_dead, n_server_dead;
    int client_err, server_err;
    char server_why[256];
    size_t carried[2]; /* bytes of each direction: 0 to the server */
    /* What the server does with a request at once: 'e'cho, 'o' answer "ok", 0 nothing. */
    char manner;
};

void duo_open(struct duo *duo, const struct http_limits *client, const struct http_limits *server);
void duo_close(struct duo *duo);

/* Carries at most n_bytes to the server (or client); false when there were none. */
bool duo_carry(struct duo *duo, bool to_client, size_t n_bytes);
/* Carries everything both ways, in pieces of that size at most, until nobody says more. */
void duo_run(struct duo *duo, size_t piece);

struct talk *duo_ask(struct duo *duo, const struct http_request *head);
/* GET http://a.example/PATH with "name", "value", ... NULL. */
struct talk *duo_get(struct duo *duo, const char *path, const char *const *fields);
struct talk *duo_post(struct duo *duo, const char *path, int64_t length);
void talk_write(struct talk *talk, const char *text);
void talk_respond(struct talk *talk, unsigned status, int64_t length, bool has_body);
void talk_trailers(struct talk *talk, const char *name, const char *value);

#endif
