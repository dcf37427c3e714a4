/*
 * admin.h - the three HTTP ports of a process: metrics, readiness, and the admin port that `isthmus
 * ctl` asks.
 *
 *   metrics port  GET /metrics, /stats/prometheus      readiness port  GET /healthz/ready
 *   admin port    GET / (what there is), the owner's pages, POST /logging?level=..., POST
 * /quitquitquit
 *
 * A page is a path (GET, or POST when it changes something) with a function of the owner that
 * answers the exchange now or later (some must ask the workers first). Wrong method 405, unknown
 * path 404 with the list of pages. On the admin port a Host other than localhost and address
 * literals, and an Origin that is not that Host, are 403, so that a browser cannot be made to ask.
 *
 * Owner: proxy/run. Thread: the loop's.
 */
#ifndef ISTHMUS_ADMIN_ADMIN_H
#define ISTHMUS_ADMIN_ADMIN_H

#include "proxy/base/text.h"
#include "proxy/http/h1_server.h"

struct admin_page {
    const char *path; /* "/services" */
    const char *help; /* one line for the index */
    void (*answer)(void *owner, struct h1_exchange *exchange, const struct h1_request *request);
    bool is_post; /* asked with POST: it changes something */
};

struct admin_options {
    struct addr metrics, ready, admin; /* port 0 in tests */
    const struct admin_page *pages;
    size_t n_pages;
    /* Answers the metrics exchange, now or later, with admin_answer_metrics(). */
    void (*on_metrics)(void *owner, struct h1_exchange *exchange);
    /* True when ready; else what is pending, in *why ("control stream, certificates"). */
    bool (*is_ready)(void *owner, struct text *why);
    /* POST /quitquitquit. */
    void (*on_quit)(void *owner);
};

struct admin;

/* 0, or -ERR_SYSTEM with the port and the reason in *why. */
MUST_USE int admin_open(struct loop *loop, const struct admin_options *options, void *owner,
                        struct admin **out_admin, struct text *why);
struct addr admin_addr(const struct admin *admin);
struct addr admin_metrics_addr(const struct admin *admin);
struct addr admin_ready_addr(const struct admin *admin);
void admin_answer_metrics(struct h1_exchange *exchange, struct str page);
void admin_answer_json(struct h1_exchange *exchange, struct str json);
/* The beginning of one in pieces (h1_pieces_begin()). */
void admin_answer_json_begin(struct h1_exchange *exchange, void (*on_room)(void *owner),
                             void *owner);
/* A refusal: the sentence, to which a newline is added. */
void admin_answer_refusal(struct h1_exchange *exchange, unsigned status, struct str sentence);
void admin_close(struct admin *admin);

#endif
