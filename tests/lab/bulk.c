/*
 * bulk.c - gigabytes for the lab that are made and judged as they pass, and never stored.
 *
 *   lab_bulk give BYTES    so many bytes of the pattern on standard output
 *   lab_bulk sum           what comes on standard input: its length and its digest, as JSON
 *   lab_bulk serve PORT    HTTP/1.1: GET /BYTES gives the pattern, PUT /sum answers as sum does
 *
 * The pattern never repeats (a counter, mixed), so that a piece that is lost, doubled or in the
 * wrong place changes the digest (XXH3, 128 bits).
 *
 * Failure modes: a body that breaks off gets no answer, so that the client sees the end of the
 * connection. A connection is a process and serves one request.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#define PIECE_BYTES    65536
#define HEAD_MAX_BYTES 8192
#define LINE_MAX_BYTES 128

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int fd, const void *bytes, size_t len)
{
    for (const char *at = bytes; len > 0;) {
        const ssize_t n = write(fd, at, len);
        if (n < 0 && errno != EINTR)
            die("write");
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void give(int fd, uint64_t len)
{
    static uint64_t words[PIECE_BYTES / sizeof(uint64_t)];
    uint64_t counter = 0;

    while (len > 0) {
        const size_t piece = len < sizeof words ? (size_t)len : sizeof words;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            const uint64_t z = ++counter * UINT64_C(0x9E3779B97F4A7C15);
            words[i] = (z ^ z >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
        }
        write_all(fd, words, piece);
        len -= piece;
    }
}

/* ---- judging ---- */

struct input {
    int fd;
    size_t at, len;
    char bytes[PIECE_BYTES];
};

static bool fill(struct input *input)
{
    const ssize_t n = read(input->fd, input->bytes, sizeof input->bytes);
    if (n < 0)
        die("read");
    input->at = 0;
    input->len = (size_t)n;
    return n > 0;
}

struct sum {
    XXH3_state_t *state;
    uint64_t len;
};

/* True when so many bytes came. */
static bool add(struct sum *sum, struct input *input, uint64_t len)
{
    while (len > 0) {
        if (input->at == input->len && !fill(input))
            return false;
        const size_t here = input->len - input->at;
        const size_t part = len < here ? (size_t)len : here;
        XXH3_128bits_update(sum->state, input->bytes + input->at, part);
        sum->len += part;
        input->at += part;
        len -= part;
    }
    return true;
}

static int print_sum(const struct sum *sum, char *text, size_t cap)
{
    const XXH128_hash_t hash = XXH3_128bits_digest(sum->state);
    return snprintf(text, cap,
                    "{\"length\": %" PRIu64 ", \"xxh3\": \"%016" PRIx64 "%016" PRIx64 "\"}\n",
                    sum->len, hash.high64, hash.low64);
}

static struct sum new_sum(void)
{
    const struct sum sum = {.state = XXH3_createState()};
    if (!sum.state)
        die("XXH3_createState");
    XXH3_128bits_reset(sum.state);
    return sum;
}

/* ---- serving ---- */

/* A line without its CRLF; false when none comes. */
static bool read_line(struct input *input, char *line, size_t cap)
{
    for (size_t len = 0; len < cap; len++) {
        if (input->at == input->len && !fill(input))
            return false;
        line[len] = input->bytes[input->at++];
        if (line[len] == '\n') {
            line[len - (len > 0 && line[len - 1] == '\r')] = 0;
            return true;
        }
    }
    return false;
}

static bool add_chunks(struct sum *sum, struct input *input)
{
    char line[LINE_MAX_BYTES];

    for (;;) {
        if (!read_line(input, line, sizeof line))
            return false;
        const uint64_t len = strtoull(line, NULL, 16);
        if (!add(sum, input, len) || !read_line(input, line, sizeof line))
            return false;
        if (len == 0)
            return true; /* the line behind the last chunk is the end of no trailers */
    }
}

static void answer(struct input *input)
{
    char line[HEAD_MAX_BYTES], text[LINE_MAX_BYTES], head[256];
    uint64_t length = 0, wanted = 0;
    bool is_get, is_chunked = false;

    if (!read_line(input, line, sizeof line))
        return;
    is_get = strncmp(line, "GET /", 5) == 0;
    wanted = is_get ? strtoull(line + 5, NULL, 10) : 0;
    while (read_line(input, line, sizeof line) && line[0]) {
        is_chunked |= strcasecmp(line, "transfer-encoding: chunked") == 0;
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtoull(line + 15, NULL, 10);
        if (strcasecmp(line, "expect: 100-continue") == 0)
            write_all(input->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    if (is_get) {
        const int n = snprintf(
            head, sizeof head,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %" PRIu64 "\r\n\r\n", wanted);
        write_all(input->fd, head, (size_t)n);
        give(input->fd, wanted);
        return;
    }
    struct sum sum = new_sum();
    if (!(is_chunked ? add_chunks(&sum, input) : add(&sum, input, length)))
        return;
    const int n_text = print_sum(&sum, text, sizeof text);
    const int n_head = snprintf(
        head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
        n_text, text);
    write_all(input->fd, head, (size_t)n_head);
}

static void serve(uint16_t port)
{
    const struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    const int listener = socket(AF_INET6, SOCK_STREAM, 0);
    const int yes = 1;

    signal(SIGCHLD, SIG_IGN);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(listener, (const struct sockaddr *)&any, sizeof any) < 0 || listen(listener, 64) < 0)
        die("listen");
    for (;;) {
        static struct input input;
        input.fd = accept(listener, NULL, NULL);
        if (input.fd < 0)
            die("accept");
        if (fork() == 0) {
            answer(&input);
            _exit(0);
        }
        close(input.fd);
    }
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    if (strcmp(verb, "give") == 0 && argc == 3) {
        give(STDOUT_FILENO, strtoull(argv[2], NULL, 10));
    } else if (strcmp(verb, "sum") == 0 && argc == 2) {
        static struct input input = {.fd = STDIN_FILENO};
        struct sum sum = new_sum();
        char text[LINE_MAX_BYTES];
        (void)add(&sum, &input, UINT64_MAX);
        write_all(STDOUT_FILENO, text, (size_t)print_sum(&sum, text, sizeof text));
        XXH3_freeState(sum.state);
    } else if (strcmp(verb, "serve") == 0 && argc == 3) {
        serve((uint16_t)atoi(argv[2]));
    } else {
        fputs("usage: lab_bulk give BYTES | sum | serve PORT\n", stderr);
        return 2;
    }
    return 0;
}
