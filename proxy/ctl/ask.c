#include "proxy/ctl/ask.h"

#include "proxy/base/addr.h"
#include "proxy/base/err.h"
#include "proxy/http/h1_fetch.h"
#include "proxy/io/lookup.h"

#define BODY_BYTES_MAX ((size_t)512 << 20)

struct question {
    struct loop *loop;
    struct str path;
    struct addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n_addrs, next;
    bool is_done;
    int err;
    unsigned status;
    struct text *body;
};

static void finish(struct question *question, int err)
{
    question->err = err;
    question->is_done = true;
}

static void try_next(struct question *question);

static void on_answer(void *owner, int err, unsigned status, struct str body)
{
    struct question *question = owner;
    if (err < 0 && question->next < question->n_addrs) {
        try_next(question);
        return;
    }
    if (err == 0) {
        question->status = status;
        text_add(question->body, body);
        err = question->body->truncated ? -ERR_LIMIT : 0;
    }
    finish(question, err);
}

static void try_next(struct question *question)
{
    h1_fetch(question->loop, &question->addrs[question->next++], STR("GET"), question->path,
             ASK_TIMEOUT_NS, on_answer, question);
}

static void on_lookup(void *owner, int err, const struct addr *addrs, size_t n_addrs)
{
    struct question *question = owner;
    for (size_t i = 0; err == 0 && i < n_addrs && i < LOOKUP_ADDRESSES_MAX; i++)
        question->addrs[question->n_addrs++] = addrs[i];
    if (question->n_addrs > 0)
        try_next(question);
    else
        finish(question, err < 0 ? err : -ERR_NOT_FOUND);
}

/* "host:port" or "[v6]:port"; the host without brackets. */
static bool split_address(struct str address, struct str *out_host, uint16_t *out_port)
{
    struct addr literal;
    struct str host, port;
    uint64_t number;
    if (!str_rsplit(address, ':', &host, &port) || !str_to_u64(port, UINT16_MAX, &number) ||
        number == 0 || str_is_empty(host))
        return false;
    if (addr_parse(address, &literal) == 0 && str_starts_with(host, STR("[")))
        host = str_sub(host, 1, host.len - 2);
    else if (str_contains(host, STR(":")) || str_contains(host, STR("/")))
        return false;
    *out_host = host;
    *out_port = (uint16_t)number;
    return true;
}

static void explain(int err, struct str address, struct text *why)
{
    const int reason = -err;
    text_addf(why, "cannot reach %.*s: %s", STR_ARG(address), err_text(err));
    if (reason == ERR_REFUSED)
        text_addf(why, "; is `isthmus proxy` or `isthmus control` running there? "
                       "--address names another admin port");
    else if (reason == ERR_NOT_FOUND)
        text_addf(why, "; the host name does not resolve");
    else if (reason == ERR_CONNECT_TIMEOUT)
        text_addf(why, "; the admin port listens on loopback: run this on the node, "
                       "or through `kubectl port-forward`");
    else if (reason == ERR_INVALID)
        text_addf(why, "; what answers there does not speak HTTP, is it the admin port?");
}

static void complain(struct str address, struct text *why)
{
    text_addf(why, "\"%.*s\" is no address: expected HOST:PORT, such as 127.0.0.1:15000",
              STR_ARG(address));
}

int ask(struct str address, struct str path, unsigned *out_status, struct text *body,
        struct text *why)
{
    struct question question = {.path = path, .body = body};
    struct str host;
    uint16_t port;
    if (!split_address(address, &host, &port)) {
        complain(address, why);
        return -ERR_INVALID;
    }
    body->limit = BODY_BYTES_MAX;
    question.loop = loop_new();
    (void)lookup_start(question.loop, host, port, on_lookup, &question);
    while (!question.is_done)
        loop_turn(question.loop, true);
    while (loop_turn(question.loop, true))
        ;
    loop_free(question.loop);
    if (question.err < 0)
        explain(question.err, address, why);
    else
        *out_status = question.status;
    return question.err;
}

struct resolving {
    struct addr *out;
    int err;
    bool is_done;
};

static void on_resolved(void *owner, int err, const struct addr *addrs, size_t n_addrs)
{
    struct resolving *resolving = owner;
    resolving->is_done = true;
    resolving->err = err == 0 && n_addrs == 0 ? -ERR_NOT_FOUND : err;
    if (resolving->err == 0)
        *resolving->out = addrs[0];
}

int ask_resolve(struct str address, struct addr *out_addr, struct text *why)
{
    struct resolving resolving = {.out = out_addr};
    struct str host;
    uint16_t port;
    if (!split_address(address, &host, &port)) {
        complain(address, why);
        return -ERR_INVALID;
    }
    struct loop *loop = loop_new();
    (void)lookup_start(loop, host, port, on_resolved, &resolving);
    while (!resolving.is_done)
        loop_turn(loop, true);
    while (loop_turn(loop, true))
        ;
    loop_free(loop);
    if (resolving.err < 0)
        explain(resolving.err, address, why);
    return resolving.err;
}
