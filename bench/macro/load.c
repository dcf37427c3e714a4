/*
 * load.c - the load generator of the benchmarks: one thread, epoll, plain TCP.
 *
 * Modes: requests over connections that stay (http, pingpong), a connection for each request
 * (connect), bytes as fast as they go (download, upload), connections that do nothing (idle),
 * server-sent events (sse): how old each is when it comes, and the time to an answer's first byte.
 * With --streams http and idle speak HTTP/2, so many requests at once on each connection.
 * With --rate requests begin whatever the answers do, and latency counts from the time at which a
 * request should have begun: a stall is not hidden by waiting for it (coordinated omission). They
 * come as those of many users do, independently (a Poisson process, the same one in each run): at
 * even intervals they fall into step with the timers of what is measured, so that something that
 * takes 150 us ten times a second is met by ten requests of a thousand in one run and by none in
 * the next. Without --rate each connection sends its next request when it has the last answer.
 *
 * Happy path: warm up, measure for --seconds, print one JSON line. An answer that is not the
 * expected one is an error; more than ERRORS_MAX of them end the run with status 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/macro/arrivals.h"
#include "bench/macro/histogram.h"
#include "bench/macro/load_h2.h"
#include "bench/macro/target.h"

#define ERRORS_MAX      1000
#define CONNECTIONS_MAX 20000
#define EVENTS          256
#define IDLE_AT_ONCE                                                                               \
    32 /* are opened at once, so that it is not requests whose memory is counted                   \
        */
#define BLOCK_BYTES    262144
#define HEAD_BYTES_MAX 1024
#define SECOND_NS      UINT64_C(1000000000)

enum mode {
    MODE_HTTP,
    MODE_PINGPONG,
    MODE_CONNECT,
    MODE_DOWNLOAD,
    MODE_UPLOAD,
    MODE_IDLE,
    MODE_SSE,
    MODES
};

static const char *const mode_names[MODES] = {"http",   "pingpong", "connect", "download",
                                              "upload", "idle",     "sse"};

enum state { CONNECTING, RESTING, ANSWERING };

struct connection {
    int fd;
    enum state state;
    uint64_t begun_ns; /* when the request in progress began, or should have */
    size_t head_len;   /* of an answer's head that has arrived */
    int64_t body_left; /* -1: the head is not whole */
    struct connection *next_resting;
    struct load_h2 *h2;
    char head[HEAD_BYTES_MAX];
};

static struct {
    enum mode mode;
    struct sockaddr_in address;
    unsigned n_connections, n_streams; /* 0 streams: HTTP/1.1 */
    double seconds, warm_seconds, rate;
    size_t size; /* of an answer's body, or of a ping */
} options = {.n_connections = 1, .seconds = 2, .warm_seconds = 0.5, .size = 1024};

static int epoll_fd;
static char block[BLOCK_BYTES];
static char request[256];
static size_t request_len;
static struct histogram latencies, firsts;
static uint64_t n_bytes, n_errors, n_connected;
static bool is_measuring;
static struct connection *resting; /* open loop: connections without a request in progress */
static struct connection *connections;
static unsigned n_opened; /* of them */

/* Open loop: the same moments twice, as they come and, where connections are short, as requests
 * really begin. */
static struct arrivals coming, beginning;
static uint64_t n_due; /* came, and have not begun */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void begin(struct connection *connection, uint64_t begun_ns);
static void open_connection(struct connection *connection);

static void watch(struct connection *connection, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, how, connection->fd, &event) < 0)
        die("epoll_ctl");
}

/* A reset, not a FIN: a generator that opens ten thousands of connections a second would run out
 * of ports waiting for them to end. */
static void drop_connection(struct connection *connection)
{
    const struct linger linger = {.l_onoff = 1};
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(connection->fd);
    connection->fd = -1;
    load_h2_free(connection->h2);
    connection->h2 = NULL;
}

static void fail(struct connection *connection, const char *why)
{
    if (n_errors == 0)
        fprintf(stderr, "load: %s: %s\n", why, strerror(errno));
    if (++n_errors > ERRORS_MAX) {
        fprintf(stderr, "load: more than %d errors\n", ERRORS_MAX);
        exit(1);
    }
    drop_connection(connection);
    open_connection(connection);
}

static void open_connection(struct connection *connection)
{
    const int one = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection->state = CONNECTING;
    connection->begun_ns = now_ns();
    if (connect(connection->fd, (const struct sockaddr *)&options.address, sizeof options.address) <
            0 &&
        errno != EINPROGRESS)
        die("connect");
    watch(connection, EPOLL_CTL_ADD, EPOLLOUT);
}

static bool open_next(void)
{
    if (n_opened == options.n_connections)
        return false;
    open_connection(&connections[n_opened++]);
    return true;
}

/* ---- requests and answers ---- */

static void rest(struct connection *connection)
{
    connection->state = RESTING;
    connection->next_resting = resting;
    resting = connection;
}

static void begin_due(void)
{
    while (resting && n_due > 0) {
        struct connection *connection = resting;
        resting = connection->next_resting;
        begin(connection, arrivals_take(&beginning));
        n_due--;
    }
}

static void begin(struct connection *connection, uint64_t begun_ns)
{
    const bool is_ping = options.mode == MODE_PINGPONG;
    const size_t len = is_ping ? options.size : request_len;
    connection->state = ANSWERING;
    connection->begun_ns = begun_ns;
    connection->head_len = 0;
    connection->body_left = is_ping ? (int64_t)options.size : -1;
    if (send(connection->fd, is_ping ? block : request, len, MSG_NOSIGNAL) != (ssize_t)len)
        fail(connection, "a request could not be sent whole");
}

static void answered(struct connection *connection)
{
    const uint64_t now = now_ns();
    if (is_measuring)
        histogram_add(&latencies, now - connection->begun_ns);
    if (options.mode == MODE_CONNECT) {
        drop_connection(connection);
        open_connection(connection);
    } else if (options.mode == MODE_IDLE) {
        connection->state = RESTING;
        open_next();
    } else if (options.rate > 0) {
        rest(connection);
        begin_due();
    } else {
        begin(connection, now);
    }
}

static int64_t content_length(const char *head)
{
    const char *field = strcasestr(head, "\r\ncontent-length:");
    return field ? strtoll(field + 17, NULL, 10) : -1;
}

/* What is left of the answer's body, once its head is whole; false when the answer is wrong. */
static bool read_head(struct connection *connection)
{
    connection->head[connection->head_len] = '\0';
    const char *end = strstr(connection->head, "\r\n\r\n");
    if (!end)
        return connection->head_len < HEAD_BYTES_MAX - 1;
    const int64_t length = content_length(connection->head);
    if (strncmp(connection->head, "HTTP/1.1 200", 12) != 0 || length < 0)
        return false;
    const size_t head_len = (size_t)(end + 4 - connection->head);
    connection->body_left = length - (int64_t)(connection->head_len - head_len);
    return connection->body_left >= 0;
}

static void on_answer(struct connection *connection)
{
    static char body[BLOCK_BYTES];
    const bool in_head = connection->body_left < 0;
    char *into = in_head ? connection->head + connection->head_len : body;
    const size_t room = in_head ? HEAD_BYTES_MAX - 1 - connection->head_len : sizeof body;
    const ssize_t len = recv(connection->fd, into, room, 0);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0 || connection->state == RESTING) {
        fail(connection, "a connection ended or spoke out of turn");
        return;
    }
    if (is_measuring)
        n_bytes += (uint64_t)len;
    if (in_head) {
        connection->head_len += (size_t)len;
        if (!read_head(connection)) {
            fail(connection, "an answer is not the one that was expected");
            return;
        }
    } else {
        connection->body_left -= len;
    }
    if (connection->body_left == 0)
        answered(connection);
}

/* ---- HTTP/2 ---- */

static void on_h2_answer(void *owner, uint64_t begun_ns)
{
    (void)owner;
    if (is_measuring)
        histogram_add(&latencies, now_ns() - begun_ns);
    if (options.mode == MODE_IDLE)
        open_next();
}

static struct load_h2_plan h2_plan = {.now_ns = now_ns, .on_answer = on_h2_answer};

static void send_h2(struct connection *connection)
{
    bool is_blocked;
    if (!load_h2_send(connection->h2, connection->fd, &is_blocked)) {
        fail(connection, "an HTTP/2 connection broke");
        return;
    }
    if (is_blocked)
        watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    else if (connection->state == CONNECTING)
        watch(connection, EPOLL_CTL_MOD, EPOLLIN);
    connection->state = is_blocked ? CONNECTING : ANSWERING;
}

static void on_h2(struct connection *connection)
{
    static uint8_t bytes[BLOCK_BYTES];
    const ssize_t len = recv(connection->fd, bytes, sizeof bytes, 0);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0 || !load_h2_receive(connection->h2, bytes, (size_t)len)) {
        fail(connection, "an answer is not the one that was expected");
        return;
    }
    if (is_measuring)
        n_bytes += (uint64_t)len;
    send_h2(connection);
}

/* ---- events ---- */

static const char event_word[] = "data: ";
static const char last_chunk[] = "\r\n0\r\n\r\n";

/* An event says when it was sent: the clock is the same. */
static bool take_event(struct connection *connection)
{
    connection->head[connection->head_len] = '\0';
    const char *event = strstr(connection->head, event_word);
    const char *end = event ? strstr(event, "\n\n") : NULL;
    if (!end)
        return false;
    const uint64_t sent_ns = strtoull(event + sizeof event_word - 1, NULL, 10);
    if (is_measuring)
        histogram_add(&latencies, now_ns() - sent_ns);
    end += 2;
    connection->head_len -= (size_t)(end - connection->head);
    memmove(connection->head, end, connection->head_len);
    return true;
}

static void on_events(struct connection *connection)
{
    const size_t room = HEAD_BYTES_MAX - 1 - connection->head_len;
    const ssize_t len = recv(connection->fd, connection->head + connection->head_len, room, 0);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0) {
        fail(connection, "a stream of events ended, or is none");
        return;
    }
    if (connection->body_left < 0) { /* its first byte */
        connection->body_left = 0;
        if (is_measuring)
            histogram_add(&firsts, now_ns() - connection->begun_ns);
        if (len < 12 || memcmp(connection->head, "HTTP/1.1 200", 12) != 0) {
            fail(connection, "an answer is not the one that was expected");
            return;
        }
    }
    connection->head_len += (size_t)len;
    while (take_event(connection))
        ;
    if (strstr(connection->head, last_chunk))
        begin(connection, now_ns());
}

/* ---- bulk ---- */

static void on_download(struct connection *connection)
{
    for (int i = 0; i < 16; i++) {
        const ssize_t len = recv(connection->fd, block, sizeof block, 0);
        if (len < 0 && errno == EAGAIN)
            return;
        if (len <= 0) {
            fail(connection, "a download ended");
            return;
        }
        if (is_measuring)
            n_bytes += (uint64_t)len;
    }
}

static void on_upload(struct connection *connection, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR)) {
        fail(connection, "an upload ended");
        return;
    }
    for (int i = 0; i < 4; i++) {
        const ssize_t len = send(connection->fd, block, sizeof block, MSG_NOSIGNAL);
        if (len < 0 && errno == EAGAIN)
            return;
        if (len < 0) {
            fail(connection, "an upload ended");
            return;
        }
        if (is_measuring)
            n_bytes += (uint64_t)len;
    }
}

static void on_connected(struct connection *connection)
{
    int err = 0;
    socklen_t len = sizeof err;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err != 0) {
        errno = err;
        fail(connection, "a connection was refused");
        return;
    }
    n_connected++;
    if (options.n_streams > 0) {
        connection->h2 = load_h2_new(&h2_plan, connection);
        send_h2(connection);
        return;
    }
    watch(connection, EPOLL_CTL_MOD, options.mode == MODE_UPLOAD ? EPOLLOUT : EPOLLIN);
    switch (options.mode) {
    case MODE_CONNECT: begin(connection, connection->begun_ns); break;
    case MODE_DOWNLOAD:
    case MODE_UPLOAD: connection->state = ANSWERING; break;
    case MODE_HTTP:
    case MODE_PINGPONG:
        if (options.rate > 0)
            rest(connection);
        else
            begin(connection, now_ns());
        break;
    case MODE_IDLE:
    case MODE_SSE: begin(connection, now_ns()); break;
    case MODES: break;
    }
}

static void on_event(struct connection *connection, uint32_t events)
{
    if (connection->h2 && (events & EPOLLOUT))
        send_h2(connection);
    else if (connection->h2)
        on_h2(connection);
    else if (connection->state == CONNECTING)
        on_connected(connection);
    else if (options.mode == MODE_SSE)
        on_events(connection);
    else if (options.mode == MODE_DOWNLOAD)
        on_download(connection);
    else if (options.mode == MODE_UPLOAD)
        on_upload(connection, events);
    else
        on_answer(connection);
}

/* ---- the run ---- */

static void come_due(uint64_t now)
{
    for (; coming.next_ns <= now; n_due++)
        (void)arrivals_take(&coming);
    begin_due();
}

static bool is_over(uint64_t now, uint64_t end_ns)
{
    return now >= end_ns ||
           (options.mode == MODE_IDLE && is_measuring && latencies.n >= options.n_connections);
}

static void run(void)
{
    const uint64_t start_ns = now_ns();
    const uint64_t measure_ns = start_ns + (uint64_t)(options.warm_seconds * (double)SECOND_NS);
    const uint64_t end_ns = measure_ns + (uint64_t)(options.seconds * (double)SECOND_NS);
    struct epoll_event events[EVENTS];
    if (options.rate > 0) {
        arrivals_init(&coming, start_ns + (measure_ns - start_ns) / 4, options.rate);
        beginning = coming;
    }
    for (;;) {
        uint64_t now = now_ns();
        is_measuring = is_measuring || now >= measure_ns || options.mode == MODE_IDLE;
        if (is_over(now, end_ns))
            return;
        if (options.rate > 0)
            come_due(now);
        uint64_t until_ns = is_measuring ? end_ns : measure_ns;
        if (options.rate > 0 && coming.next_ns < until_ns)
            until_ns = coming.next_ns;
        const uint64_t wait_ns = until_ns > now ? until_ns - now : 0;
        const struct timespec wait = {.tv_sec = (time_t)(wait_ns / SECOND_NS),
                                      .tv_nsec = (long)(wait_ns % SECOND_NS)};
        const int n = epoll_pwait2(epoll_fd, events, EVENTS, &wait, NULL);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
    }
}

static void report(void)
{
    printf("{\"rate\": %.1f, \"bytes_per_s\": %.0f, \"p50_us\": %.2f, \"p90_us\": %.2f, "
           "\"p99_us\": %.2f, \"max_us\": %.2f, \"n\": %" PRIu64 ", \"errors\": %" PRIu64
           ", \"connected\": %" PRIu64 ", \"unbegun\": %" PRIu64 ", \"first_p50_us\": %.2f, "
           "\"first_p99_us\": %.2f}\n",
           (double)latencies.n / options.seconds, (double)n_bytes / options.seconds,
           (double)histogram_at(&latencies, 0.5) / 1e3, (double)histogram_at(&latencies, 0.9) / 1e3,
           (double)histogram_at(&latencies, 0.99) / 1e3, (double)latencies.max_ns / 1e3,
           latencies.n, n_errors, n_connected, n_due, (double)histogram_at(&firsts, 0.5) / 1e3,
           (double)histogram_at(&firsts, 0.99) / 1e3);
    fflush(stdout);
}

static void usage(int status)
{
    fprintf(
        status ? stderr : stdout,
        "usage: bench_load MODE --to IPV4:PORT [--connections N] [--seconds S] [--warm S]\n"
        "                  [--size BYTES] [--rate PER_SECOND] [--streams N]\n"
        "MODE: http, pingpong, connect, download, upload, sse, idle (holds the connections until\n"
        "standard input ends). Prints one line of JSON.\n");
    exit(status);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"to", required_argument, NULL, 't'},
        {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},
        {"warm", required_argument, NULL, 'w'},
        {"size", required_argument, NULL, 'b'},
        {"rate", required_argument, NULL, 'r'},
        {"streams", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 't':
            if (!target_read(optarg, &options.address))
                usage(2);
            break;
        case 'c': options.n_connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': options.seconds = strtod(optarg, NULL); break;
        case 'w': options.warm_seconds = strtod(optarg, NULL); break;
        case 'b': options.size = strtoul(optarg, NULL, 10); break;
        case 'r': options.rate = strtod(optarg, NULL); break;
        case 'm': options.n_streams = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'h': usage(0); break;
        default: usage(2);
        }
    }
    if (optind + 1 != argc || options.address.sin_port == 0 || options.n_connections == 0 ||
        options.n_connections > CONNECTIONS_MAX || options.size == 0 ||
        options.size > BLOCK_BYTES || options.seconds <= 0 || options.n_streams > 1000)
        usage(2);
    options.mode = MODES;
    for (unsigned i = 0; i < MODES; i++) {
        if (strcmp(argv[optind], mode_names[i]) == 0)
            options.mode = (enum mode)i;
    }
    if (options.mode == MODES)
        usage(2);
    const bool may_have_streams = options.mode == MODE_HTTP || options.mode == MODE_IDLE;
    if (options.n_streams > 0 && (!may_have_streams || options.rate > 0))
        usage(2);
    h2_plan.n_streams = options.n_streams;
    h2_plan.is_once = options.mode == MODE_IDLE;
    h2_plan.size = options.size;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1);
    memset(block, 'x', sizeof block);
    request_len = (size_t)snprintf(request, sizeof request,
                                   "GET /%zu HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\n"
                                   "Accept: */*\r\n\r\n",
                                   options.size);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(options.n_connections, sizeof *connections);
    if (epoll_fd < 0 || !connections)
        die("start");
    while (n_opened < (options.mode == MODE_IDLE ? IDLE_AT_ONCE : CONNECTIONS_MAX))
        if (!open_next())
            break;
    run();
    report();
    if (options.mode == MODE_IDLE)
        (void)getchar();
    free(connections);
    return 0;
}
