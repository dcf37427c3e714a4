/*
 * handshake.c - full mutual-TLS handshakes, one after the other on N connections: one thread,
 * epoll.
 *
 * TLS 1.3, X25519, ALPN h2, a client certificate, nothing that could be resumed. In TLS 1.3 a
 * client is done before the server has judged its certificate, so a handshake counts when the
 * server said its first word of HTTP/2 after it. The server is not verified here: what it costs to
 * be called is what is measured, not what calling costs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/macro/histogram.h"
#include "bench/macro/target.h"

#define SECOND_NS       UINT64_C(1000000000)
#define CONNECTIONS_MAX 1000
#define ERRORS_MAX      100
#define EVENTS          64

struct connection {
    int fd;
    SSL *ssl;
    bool has_spoken;
    uint64_t begun_ns;
};

static struct {
    struct sockaddr_in address;
    const char *credentials; /* PEM: the chain and its key */
    unsigned n_connections;
    double seconds, warm_seconds;
} options = {.n_connections = 1, .seconds = 2, .warm_seconds = 0.5};

static SSL_CTX *ctx;
static int epoll_fd;
static bool is_measuring;
static uint64_t n_errors;
static struct histogram latencies;

/* The client's part of HTTP/2's beginning: the preface and empty SETTINGS. */
static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

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

static void connection_open(struct connection *connection)
{
    const int one = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connection->ssl = SSL_new(ctx);
    connection->has_spoken = false;
    connection->begun_ns = now_ns();
    if (connection->fd < 0 || !connection->ssl || SSL_set_fd(connection->ssl, connection->fd) != 1)
        die("a connection");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL_set_connect_state(connection->ssl);
    if (connect(connection->fd, (const struct sockaddr *)&options.address, sizeof options.address) <
            0 &&
        errno != EINPROGRESS)
        die("connect");
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        die("epoll_ctl");
}

/* By a reset: ports do not wait. */
static void connection_close(struct connection *connection)
{
    const struct linger linger = {.l_onoff = 1};
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    SSL_free(connection->ssl);
    close(connection->fd);
}

static void fail(const char *why)
{
    if (n_errors == 0)
        fprintf(stderr, "handshake: %s\n", why);
    if (++n_errors > ERRORS_MAX) {
        fprintf(stderr, "handshake: more than %d errors\n", ERRORS_MAX);
        exit(1);
    }
}

/* 1: done, 0: it waits, -1: it failed. */
static int step(struct connection *connection)
{
    char answer[4096];
    int result = SSL_do_handshake(connection->ssl);
    if (result == 1 && !connection->has_spoken) {
        connection->has_spoken = true;
        result = SSL_write(connection->ssl, hello, sizeof hello - 1) > 0 ? 1 : -1;
    }
    if (result == 1)
        result = SSL_read(connection->ssl, answer, sizeof answer);
    if (result > 0)
        return 1;
    const int code = SSL_get_error(connection->ssl, result);
    return code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void on_event(struct connection *connection)
{
    const int result = step(connection);
    if (result == 0)
        return;
    if (result < 0)
        fail("a handshake failed");
    else if (is_measuring)
        histogram_add(&latencies, now_ns() - connection->begun_ns);
    connection_close(connection);
    connection_open(connection);
}

static void run(struct connection *connections)
{
    const uint64_t start_ns = now_ns();
    const uint64_t measure_ns = start_ns + (uint64_t)(options.warm_seconds * (double)SECOND_NS);
    const uint64_t end_ns = measure_ns + (uint64_t)(options.seconds * (double)SECOND_NS);
    struct epoll_event events[EVENTS];
    for (unsigned i = 0; i < options.n_connections; i++)
        connection_open(&connections[i]);
    for (uint64_t now = start_ns; now < end_ns; now = now_ns()) {
        is_measuring = now >= measure_ns;
        const int n = epoll_wait(epoll_fd, events, EVENTS, 10);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr);
    }
    for (unsigned i = 0; i < options.n_connections; i++)
        connection_close(&connections[i]);
}

static void report(void)
{
    printf("{\"rate\": %.1f, \"bytes_per_s\": 0, \"p50_us\": %.2f, \"p90_us\": %.2f, "
           "\"p99_us\": %.2f, \"max_us\": %.2f, \"n\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n",
           (double)latencies.n / options.seconds, (double)histogram_at(&latencies, 0.5) / 1e3,
           (double)histogram_at(&latencies, 0.9) / 1e3,
           (double)histogram_at(&latencies, 0.99) / 1e3, (double)latencies.max_ns / 1e3,
           latencies.n, n_errors);
}

static void make_context(void)
{
    static const unsigned char alpn[] = {2, 'h', '2'};
    ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519") != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn) != 0 ||
        SSL_CTX_use_certificate_chain_file(ctx, options.credentials) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, options.credentials, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "handshake: %s: no chain and key that TLS takes\n", options.credentials);
        exit(1);
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

static void usage(int status)
{
    fprintf(status ? stderr : stdout,
            "usage: bench_handshake handshake --to IPV4:PORT --credentials PEM [--connections N]\n"
            "                       [--seconds S] [--warm S]\n"
            "Full mutual-TLS handshakes, each on a new connection. Prints one line of JSON.\n");
    exit(status);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"to", required_argument, NULL, 't'},
        {"credentials", required_argument, NULL, 'k'},
        {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},
        {"warm", required_argument, NULL, 'w'},
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
        case 'k': options.credentials = optarg; break;
        case 'c': options.n_connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': options.seconds = strtod(optarg, NULL); break;
        case 'w': options.warm_seconds = strtod(optarg, NULL); break;
        case 'h': usage(0); break;
        default: usage(2);
        }
    }
    if (optind + 1 != argc || options.address.sin_port == 0 || !options.credentials ||
        options.n_connections == 0 || options.n_connections > CONNECTIONS_MAX ||
        options.seconds <= 0)
        usage(2);
}

int main(int argc, char **argv)
{
    static struct connection connections[CONNECTIONS_MAX];
    read_options(argc, argv);
    make_context();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    run(connections);
    report();
    SSL_CTX_free(ctx);
    return 0;
}
