#include "peers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/kit/loop_kit.h"

static uint8_t pattern(size_t offset)
{
    return (uint8_t)(offset * 31 + offset / 256);
}

static void note_event(struct end *end)
{
    end->n_inside += end->in_call;
}

static void on_data(void *owner, struct slice bytes)
{
    struct end *end = owner;
    note_event(end);
    for (size_t idx = 0; idx < bytes.len; idx++)
        end->n_wrong += bytes.ptr[idx] != pattern(end->n_got + idx);
    end->n_got += bytes.len;
    end->n_reads++;
    if (end->n_got <= 4096)
        text_add(&end->got, slice_str(bytes));
    if (end->echoes)
        stream_write(end->stream, slice_ref(bytes));
}

static void on_end(void *owner)
{
    struct end *end = owner;
    note_event(end);
    cr_assert_not(end->ended || end->failed);
    end->ended = true;
}

static void on_drain(void *owner)
{
    struct end *end = owner;
    note_event(end);
    cr_assert_not(end->failed);
    end->n_drains++;
}

static void on_fail(void *owner, int err)
{
    struct end *end = owner;
    note_event(end);
    cr_assert_not(end->failed);
    end->failed = true;
    end->err = err;
}

const struct stream_events end_events = {on_data, on_end, on_drain, on_fail};

void end_attach(struct end *end, struct stream *stream)
{
    end->stream = stream;
    stream_set_owner(stream, &end_events, end);
    stream_resume(stream);
}

void end_close(struct end *end, int err)
{
    stream_close(end->stream, err);
    end->stream = NULL;
}

void end_free(struct end *end)
{
    text_fini(&end->got);
}

bool end_write_pattern(struct end *end, size_t total)
{
    static uint8_t bytes[50000];
    end->in_call = true;
    bool go_on = true;
    while (go_on && end->n_wrote < total) {
        size_t len = total - end->n_wrote < sizeof(bytes) ? total - end->n_wrote : sizeof(bytes);
        for (size_t idx = 0; idx < len; idx++)
            bytes[idx] = pattern(end->n_wrote + idx);
        end->n_wrote += len;
        go_on = stream_write_copy(end->stream, bytes, len);
    }
    end->in_call = false;
    return end->n_wrote == total;
}

void door_on_accept(void *owner, struct stream *stream)
{
    struct door *door = owner;
    cr_assert_lt(door->n_accepted, door->n_ends);
    end_attach(&door->ends[door->n_accepted++], stream);
    if (door->closes_itself && door->n_accepted == 1)
        listener_close(door->listener);
}

struct addr loopback(const char *text)
{
    struct addr addr;
    cr_assert_eq(addr_parse(str_from(text), &addr), 0);
    return addr;
}

void door_open(struct door *door, struct loop *loop, const char *local, struct end *ends,
               unsigned n_ends)
{
    struct addr addr = loopback(local);
    int errnum = 0;
    door->ends = ends;
    door->n_ends = n_ends;
    cr_assert_eq(listener_open(loop, &addr, NULL, door_on_accept, door, &door->listener, &errnum),
                 0, "%s: %s", local, strerror(errnum));
    door->addr = listener_addr(door->listener);
}

static void on_connected(void *owner, int err, struct stream *stream)
{
    cr_assert_eq(err, 0, "%s", err_text(err));
    end_attach(owner, stream);
}

static bool are_connected(void *ctx)
{
    struct end **ends = ctx;
    return ends[0]->stream && ends[1]->stream;
}

void pair_open(struct loop *loop, struct end *a, struct end *b)
{
    struct door door = {0};
    door_open(&door, loop, "127.0.0.1:0", b, 1);
    tcp_connect(loop, &door.addr, NULL, on_connected, a);
    struct end *ends[] = {a, b};
    cr_assert(run_until(loop, are_connected, ends, 10000));
    listener_close(door.listener);
    loop_turn(loop, false);
}

int plain_connect(const struct addr *remote)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(remote, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    int rc = connect(fd, (const struct sockaddr *)&sa, len);
    cr_assert(rc == 0 || errno == EINPROGRESS, "%s", strerror(errno));
    return fd;
}

int plain_connected(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int err = 0;
    socklen_t len = sizeof(err);
    cr_assert_eq(poll(&wait, 1, 10000), 1);
    cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
    return err;
}
