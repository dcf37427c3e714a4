/*
 * backend.c - the server behind the proxies of the benchmarks: one thread, epoll, plain TCP.
 *
 * Six ports in a row from the given one: HTTP/1.1 (GET /N answers N bytes, keep-alive), a sink, a
 * source, an echo, server-sent events (ten, 10 ms apart, each with the time at which it was sent),
 * HTTP/2. Quick rather than careful: it speaks to bench_load alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bench/macro/backend_h2.h"

#define BLOCK_BYTES 262144
#define INPUT_BYTES 4096
#define EVENTS      256
#define EVENT_NS    UINT64_C(10000000) /* between two that are sent to one client */
#define EVENTS_SENT 10

enum kind { KIND_HTTP, KIND_SINK, KIND_SOURCE, KIND_ECHO, KIND_EVENTS, KIND_HTTP2, KINDS };

struct peer {
    int fd;
    enum kind kind;
    bool is_listener;
    size_t in_len, echo_from, echo_len;
    char in[INPUT_BYTES]; /* a request, or what is to be echoed */
    char head[128];
    size_t head_len, head_sent;
    uint64_t body_left;
    struct backend_h2 *h2;
    /* events: */
    struct peer *next_streaming, **streaming_at; /* at: NULL when none is left to be sent */
    uint64_t next_event_ns;
    unsigned events_left;
};

static int epoll_fd;
static char block[BLOCK_BYTES];

static void watch(struct peer *peer, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(epoll_fd, how, peer->fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void leave_streaming(struct peer *peer)
{
    if (!peer->streaming_at)
        return;
    *peer->streaming_at = peer->next_streaming;
    if (peer->next_streaming)
        peer->next_streaming->streaming_at = peer->streaming_at;
    peer->streaming_at = NULL;
}

static void drop(struct peer *peer)
{
    leave_streaming(peer);
    backend_h2_free(peer->h2);
    close(peer->fd);
    free(peer);
}

enum progress { DONE, BLOCKED, BROKEN };

static enum progress blocked(struct peer *peer)
{
    if (errno != EAGAIN)
        return BROKEN;
    watch(peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    return BLOCKED;
}

/* ---- HTTP ---- */

static enum progress send_answer(struct peer *peer)
{
    while (peer->head_sent < peer->head_len || peer->body_left > 0) {
        const size_t head_left = peer->head_len - peer->head_sent;
        const size_t body = peer->body_left < sizeof block ? (size_t)peer->body_left : sizeof block;
        const struct iovec parts[2] = {{peer->head + peer->head_sent, head_left}, {block, body}};
        const ssize_t sent = writev(peer->fd, parts, 2);
        if (sent < 0)
            return blocked(peer);
        const size_t of_head = (size_t)sent < head_left ? (size_t)sent : head_left;
        peer->head_sent += of_head;
        peer->body_left -= (uint64_t)sent - of_head;
    }
    return DONE;
}

static enum progress answer_requests(struct peer *peer)
{
    for (;;) {
        const char *end = memmem(peer->in, peer->in_len, "\r\n\r\n", 4);
        if (!end)
            return peer->in_len < sizeof peer->in ? DONE : BROKEN;
        if (strncmp(peer->in, "GET /", 5) != 0)
            return BROKEN;
        peer->body_left = strtoull(peer->in + 5, NULL, 10);
        peer->head_len = (size_t)snprintf(
            peer->head, sizeof peer->head,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
            (unsigned long long)peer->body_left);
        peer->head_sent = 0;
        const size_t used = (size_t)(end + 4 - peer->in);
        memmove(peer->in, peer->in + used, peer->in_len - used);
        peer->in_len -= used;
        const enum progress progress = send_answer(peer);
        if (progress != DONE)
            return progress;
    }
}

static enum progress on_http(struct peer *peer, uint32_t events)
{
    if (events & EPOLLOUT) {
        enum progress progress = send_answer(peer);
        if (progress == DONE) {
            watch(peer, EPOLL_CTL_MOD, EPOLLIN);
            progress = answer_requests(peer);
        }
        if (progress != DONE)
            return progress;
    }
    if (peer->body_left > 0 || peer->head_sent < peer->head_len)
        return BLOCKED;
    const ssize_t len = recv(peer->fd, peer->in + peer->in_len, sizeof peer->in - peer->in_len, 0);
    if (len < 0 && errno == EAGAIN)
        return DONE;
    if (len <= 0)
        return BROKEN;
    peer->in_len += (size_t)len;
    return answer_requests(peer);
}

/* ---- the others ---- */

static enum progress on_sink(struct peer *peer)
{
    static char bin[BLOCK_BYTES];
    for (int i = 0; i < 16; i++) {
        const ssize_t len = recv(peer->fd, bin, sizeof bin, 0);
        if (len < 0 && errno == EAGAIN)
            return DONE;
        if (len <= 0)
            return BROKEN;
    }
    return DONE;
}

static enum progress on_source(struct peer *peer, uint32_t events)
{
    char ignored[64];
    if (events & (EPOLLHUP | EPOLLERR) ||
        (events & EPOLLIN && recv(peer->fd, ignored, sizeof ignored, 0) == 0))
        return BROKEN;
    for (int i = 0; i < 4; i++) {
        if (send(peer->fd, block, sizeof block, MSG_NOSIGNAL) < 0)
            return errno == EAGAIN ? DONE : BROKEN;
    }
    return DONE;
}

static enum progress send_echo(struct peer *peer)
{
    while (peer->echo_len > 0) {
        const ssize_t sent =
            send(peer->fd, peer->in + peer->echo_from, peer->echo_len, MSG_NOSIGNAL);
        if (sent < 0)
            return blocked(peer);
        peer->echo_from += (size_t)sent;
        peer->echo_len -= (size_t)sent;
    }
    return DONE;
}

static enum progress on_echo(struct peer *peer, uint32_t events)
{
    if (events & EPOLLOUT) {
        const enum progress progress = send_echo(peer);
        if (progress != DONE)
            return progress;
        watch(peer, EPOLL_CTL_MOD, EPOLLIN);
    }
    if (peer->echo_len > 0)
        return BLOCKED;
    const ssize_t len = recv(peer->fd, peer->in, sizeof peer->in, 0);
    if (len < 0 && errno == EAGAIN)
        return DONE;
    if (len <= 0)
        return BROKEN;
    peer->echo_from = 0;
    peer->echo_len = (size_t)len;
    return send_echo(peer);
}

/* ---- events, and HTTP/2 ---- */

static struct peer *streaming; /* to whom events are being sent */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* One chunk an event; the last one has the end of the answer behind it. False: the client is gone
 * or does not read, which it always does. */
static bool send_event(struct peer *peer, const char *head, uint64_t now)
{
    char text[256], event[64];
    const int n = snprintf(event, sizeof event, "data: %llu\n\n", (unsigned long long)now);
    const int len = snprintf(text, sizeof text, "%s%x\r\n%s\r\n%s", head, (unsigned)n, event,
                             peer->events_left == 1 ? "0\r\n\r\n" : "");
    peer->events_left--;
    peer->next_event_ns = now + EVENT_NS;
    return send(peer->fd, text, (size_t)len, MSG_NOSIGNAL) == len;
}

static enum progress on_events_asked(struct peer *peer)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    const ssize_t len = recv(peer->fd, peer->in + peer->in_len, sizeof peer->in - peer->in_len, 0);
    if (len < 0 && errno == EAGAIN)
        return DONE;
    if (len <= 0 || peer->events_left > 0)
        return BROKEN;
    peer->in_len += (size_t)len;
    if (!memmem(peer->in, peer->in_len, "\r\n\r\n", 4))
        return peer->in_len < sizeof peer->in ? DONE : BROKEN;
    peer->in_len = 0;
    peer->events_left = EVENTS_SENT;
    peer->next_streaming = streaming;
    peer->streaming_at = &streaming;
    if (streaming)
        streaming->streaming_at = &peer->next_streaming;
    streaming = peer;
    return send_event(peer, head, now_ns()) ? DONE : BROKEN;
}

/* Sends what is due; answers how long there is nothing to do, in ms, -1 for ever. */
static int send_events(void)
{
    const uint64_t now = now_ns();
    uint64_t next = UINT64_MAX;
    for (struct peer *peer = streaming, *after; peer; peer = after) {
        after = peer->next_streaming;
        if (peer->next_event_ns <= now) {
            if (!send_event(peer, "", now)) {
                drop(peer);
                continue;
            }
            if (peer->events_left == 0) {
                leave_streaming(peer);
                continue;
            }
        }
        next = peer->next_event_ns < next ? peer->next_event_ns : next;
    }
    return next == UINT64_MAX ? -1 : next <= now ? 0 : (int)((next - now + 999999) / 1000000);
}

static enum progress on_http2(struct peer *peer, uint32_t events)
{
    bool is_blocked;
    if (!peer->h2)
        peer->h2 = backend_h2_new(peer->fd);
    if (!backend_h2_run(peer->h2, &is_blocked))
        return BROKEN;
    if (is_blocked != ((events & EPOLLOUT) != 0))
        watch(peer, EPOLL_CTL_MOD, is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return DONE;
}

static void on_event(struct peer *peer, uint32_t events)
{
    enum progress progress = BROKEN;
    switch (peer->kind) {
    case KIND_HTTP: progress = on_http(peer, events); break;
    case KIND_SINK: progress = on_sink(peer); break;
    case KIND_SOURCE: progress = on_source(peer, events); break;
    case KIND_ECHO: progress = on_echo(peer, events); break;
    case KIND_EVENTS: progress = on_events_asked(peer); break;
    case KIND_HTTP2: progress = on_http2(peer, events); break;
    case KINDS: break;
    }
    if (progress == BROKEN)
        drop(peer);
}

/* ---- listening ---- */

static struct peer *new_peer(int fd, enum kind kind)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        exit(1);
    peer->fd = fd;
    peer->kind = kind;
    return peer;
}

static void accept_all(const struct peer *listener)
{
    const int one = 1;
    for (int i = 0; i < 64; i++) {
        const int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(new_peer(fd, listener->kind), EPOLL_CTL_ADD,
              listener->kind == KIND_SOURCE ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void listen_on(struct sockaddr_in address, enum kind kind)
{
    const int one = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, 4096) < 0) {
        perror("listen");
        exit(1);
    }
    struct peer *listener = new_peer(fd, kind);
    listener->is_listener = true;
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (argc != 2 || strtoul(argv[1], NULL, 10) == 0) {
        fprintf(stderr,
                "usage: bench_backend PORT: HTTP on PORT, sink on PORT+1, source on PORT+2, "
                "echo on PORT+3, events on PORT+4, HTTP/2 on PORT+5\n");
        return 2;
    }
    const uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    memset(block, 'y', sizeof block);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        address.sin_port = htons((uint16_t)(port + kind));
        listen_on(address, (enum kind)kind);
    }
    struct epoll_event events[EVENTS];
    for (;;) {
        const int n = epoll_wait(epoll_fd, events, EVENTS, streaming ? send_events() : -1);
        for (int i = 0; i < n; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer->is_listener)
                accept_all(peer);
            else
                on_event(peer, events[i].events);
        }
    }
}
