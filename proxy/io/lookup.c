/*
 * lookup.c - uv_getaddrinfo() with a deadline.
 *
 * The resolver's thread cannot be interrupted: when the asker is gone before it answers, the
 * request lives on alone and is freed by its callback. Until then the loop counts it as open.
 */
#include "proxy/io/lookup.h"

#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/io/loop_uv.h"

#define HOST_MAX_CHARS 254

struct lookup {
    uv_getaddrinfo_t req;
    struct loop *loop;
    struct timer timeout;
    struct task early; /* answers what needs no resolver */
    struct addr literal;
    uint16_t port;
    int early_err;
    bool is_asking; /* the resolver has the request */
    void (*on_done)(void *owner, int err, const struct addr *addrs, size_t n_addrs);
    void *owner; /* on_done NULL: nobody waits any more */
};

/* Nobody waits any more; the memory goes now or with the resolver's answer. */
static void let_go(struct lookup *lookup)
{
    timer_stop(&lookup->timeout);
    task_cancel(&lookup->early);
    lookup->on_done = NULL;
    if (lookup->is_asking)
        (void)uv_cancel((uv_req_t *)&lookup->req); /* fails when a thread works on it already */
    else
        loop_bury(lookup->loop, lookup, mem_free);
}

static void finish(struct lookup *lookup, int err, const struct addr *addrs, size_t n_addrs)
{
    void (*on_done)(void *owner, int err, const struct addr *addrs, size_t n_addrs) =
        lookup->on_done;
    void *owner = lookup->owner;

    let_go(lookup);
    on_done(owner, err, addrs, n_addrs);
}

static size_t collect(const struct addrinfo *list, uint16_t port, struct addr *out_addrs)
{
    size_t n = 0;

    for (const struct addrinfo *at = list; at && n < LOOKUP_ADDRESSES_MAX; at = at->ai_next) {
        addr_from_sockaddr(at->ai_addr, &out_addrs[n]);
        out_addrs[n].port = port;
        n += !ip_is_none(&out_addrs[n].ip);
    }
    return n;
}

static int err_of_status(int status)
{
    switch (status) {
    case 0:
    case UV_EAI_NONAME:
    case UV_EAI_NODATA: return -ERR_NOT_FOUND;
    default: return -ERR_SYSTEM;
    }
}

static void on_answer(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct lookup *lookup = container_of(req, struct lookup, req);
    struct addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n_addrs = status == 0 ? collect(list, lookup->port, addrs) : 0;

    uv_freeaddrinfo(list);
    lookup->is_asking = false;
    loop_handle_closed(lookup->loop);
    if (!lookup->on_done)
        loop_bury(lookup->loop, lookup, mem_free);
    else if (n_addrs > 0)
        finish(lookup, 0, addrs, n_addrs);
    else
        finish(lookup, err_of_status(status), NULL, 0);
}

static void on_timeout(struct timer *timer)
{
    finish(container_of(timer, struct lookup, timeout), -ERR_CONNECT_TIMEOUT, NULL, 0);
}

static void run_early(struct task *task)
{
    struct lookup *lookup = container_of(task, struct lookup, early);

    if (lookup->early_err)
        finish(lookup, lookup->early_err, NULL, 0);
    else
        finish(lookup, 0, &lookup->literal, 1);
}

/* 0 when the resolver has the question. */
static int ask(struct lookup *lookup, struct str host)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char name[HOST_MAX_CHARS + 1];

    if (host.len == 0 || host.len > HOST_MAX_CHARS || memchr(host.ptr, '\0', host.len))
        return -ERR_NOT_FOUND;
    memcpy(name, host.ptr, host.len);
    name[host.len] = '\0';
    if (uv_getaddrinfo(loop_uv(lookup->loop), &lookup->req, on_answer, name, NULL, &hints))
        return -ERR_SYSTEM;
    lookup->is_asking = true;
    loop_handle_opened(lookup->loop);
    return 0;
}

struct lookup *lookup_start(struct loop *loop, struct str host, uint16_t port,
                            void (*on_done)(void *owner, int err, const struct addr *addrs,
                                            size_t n_addrs),
                            void *owner)
{
    struct lookup *lookup = mem_new(struct lookup);
    bool is_literal = ip_parse(host, &lookup->literal.ip) == 0;

    lookup->loop = loop;
    lookup->literal.port = lookup->port = port;
    lookup->on_done = on_done;
    lookup->owner = owner;
    lookup->early.run = run_early;
    if (!is_literal)
        lookup->early_err = ask(lookup, host);
    if (lookup->is_asking)
        timer_start(loop, &lookup->timeout, LOOKUP_TIMEOUT_NS, on_timeout);
    else
        loop_defer(loop, &lookup->early);
    return lookup;
}

void lookup_cancel(struct lookup *lookup)
{
    let_go(lookup);
}
