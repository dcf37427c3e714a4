/*
 * Any bytes as a client of the admin server, in two writes, over loopback. Every connection comes
 * to its end, and what handle() is shown is bounded and well formed.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/text.h"
#include "proxy/http/h1_server.h"
#include "proxy/io/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 100000

static void check_visible(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        ensure((uint8_t)text.ptr[i] > 0x20 && text.ptr[i] != 0x7f);
}

static void handle(void *owner, struct h1_exchange *exchange, const struct h1_request *request)
{
    struct arena arena = {0};

    (void)owner;
    ensure(request->path.len > 0 && request->path.ptr[0] == '/' && request->path.len < 16384);
    ensure(request->body.len <= 65536 && request->method.len > 0);
    check_visible(request->path);
    check_visible(request->query);
    (void)h1_query(&arena, request->query, "a");
    arena_fini(&arena);
    h1_answer(exchange, 200, "text/plain", request->path);
}

static int dial(const struct addr *addr)
{
    struct linger abort_on_close = {.l_onoff = 1}; /* leaves no TIME_WAIT behind */
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ensure(fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) == 0);
    ensure(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof(abort_on_close)) == 0);
    return fd;
}

/* Turns until the server has closed: it answers everything, and we said that no more comes. */
static void read_to_end(struct loop *loop, int fd)
{
    char room[4096];
    ssize_t n = -1;

    for (unsigned turn = 0; n != 0 && turn < 100000; turn++) {
        loop_turn(loop, false);
        n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    }
    ensure(n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    static struct h1_server *server;
    struct addr addr;
    size_t half;
    int fd;

    if (size == 0 || size > INPUT_MAX)
        return 0;
    if (!server) {
        int errnum;
        loop = loop_new();
        ensure(addr_parse(STR("127.0.0.1:0"), &addr) == 0);
        ensure(h1_server_open(loop, &addr, handle, NULL, &server, &errnum) == 0);
    }
    addr = h1_server_addr(server);
    fd = dial(&addr);
    half = data[0] * size / 256;
    (void)!send(fd, data, half, MSG_NOSIGNAL);
    loop_turn(loop, false);
    (void)!send(fd, data + half, size - half, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    read_to_end(loop, fd);
    close(fd);
    loop_turn(loop, false);
    return 0;
}
