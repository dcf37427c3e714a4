/*
 * Happy path: readable -> recvmmsg of a batch -> on_packet for each, with the destination that
 * stands in the packet. Answers leave through the socket itself where its port is the one to
 * answer from (the address goes along as IP_PKTINFO), else through a reply socket that is bound to
 * the address that was called.
 *
 * Failure modes: a packet that is not taken at once is dropped and counted. A reply socket that
 * cannot be bound is an error of that send. What arrives at a reply socket, because the capture
 * rules did not redirect it, is delivered like any other packet.
 */
#include "proxy/io/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/mem.h"
#include "proxy/io/loop_uv.h"
#include "proxy/io/socket.h"

#define BATCH_PACKETS  16
#define BATCHES_A_TURN 4
#define CONTROL_BYTES                                                                              \
    256 /* room for the destination address of either family, with what the kernel adds */

#ifndef IPV6_ORIGDSTADDR /* <linux/in6.h>, which cannot be included beside <netinet/in.h> */
#define IPV6_ORIGDSTADDR 74
#endif

/* A socket of a udp: its own, or one that it answers from. */
struct port {
    struct list link; /* of a reply socket: udp.replies, the last used first */
    struct udp *udp;
    struct loop *loop;
    uv_poll_t poll;
    int fd;
    struct addr addr;
    bool closed;
};

struct udp {
    struct loop *loop;
    struct port *own;
    struct list replies;
    unsigned n_replies;
    struct udp_options options;
    udp_on_packet *on_packet;
    void *owner;
    uint64_t n_dropped;
    bool closed;
};

struct control {
    _Alignas(struct cmsghdr) uint8_t bytes[CONTROL_BYTES];
};

struct batch {
    struct mmsghdr messages[BATCH_PACKETS];
    struct iovec iov[BATCH_PACKETS];
    struct sockaddr_storage from[BATCH_PACKETS];
    struct control control[BATCH_PACKETS];
    char bytes[BATCH_PACKETS][UDP_PACKET_MAX];
};

/* ------------------------------------------------------------------ receiving */

static struct batch *prepare_batch(struct loop *loop)
{
    struct batch *batch = loop_scratch(loop, sizeof(*batch));
    for (size_t idx = 0; idx < BATCH_PACKETS; idx++) {
        batch->iov[idx] = (struct iovec){batch->bytes[idx], UDP_PACKET_MAX};
        batch->messages[idx].msg_hdr = (struct msghdr){.msg_name = &batch->from[idx],
                                                       .msg_namelen = sizeof(batch->from[idx]),
                                                       .msg_iov = &batch->iov[idx],
                                                       .msg_iovlen = 1,
                                                       .msg_control = &batch->control[idx],
                                                       .msg_controllen = CONTROL_BYTES};
    }
    return batch;
}

/* Where the packet was sent to, or fallback when the kernel does not say. */
static struct addr destination(struct msghdr *message, struct addr fallback)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        bool is_v4 = cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_ORIGDSTADDR;
        bool is_v6 = cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_ORIGDSTADDR;
        if (!is_v4 && !is_v6)
            continue;
        struct sockaddr_storage sa = {0};
        memcpy(&sa, CMSG_DATA(cmsg),
               is_v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        struct addr addr;
        addr_from_sockaddr((const struct sockaddr *)&sa, &addr);
        return addr;
    }
    return fallback;
}

static void deliver(struct port *port, struct mmsghdr *message)
{
    const struct msghdr *header = &message->msg_hdr;
    struct addr from;
    addr_from_sockaddr(header->msg_name, &from);
    struct addr to = destination(&message->msg_hdr, port->addr);
    struct str packet = str_of(header->msg_iov->iov_base, message->msg_len);
    port->udp->on_packet(port->udp->owner, packet, &from, &to);
}

/* True when there may be more. */
static bool receive_batch(struct port *port)
{
    struct batch *batch = prepare_batch(port->loop);
    int n_packets = recvmmsg(port->fd, batch->messages, BATCH_PACKETS, MSG_DONTWAIT, NULL);
    if (n_packets < 0) /* an ICMP error of an earlier send is taken out by reading it */
        return errno != EAGAIN;
    for (int idx = 0; idx < n_packets && !port->closed; idx++)
        deliver(port, &batch->messages[idx]);
    return n_packets == BATCH_PACKETS;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct port *port = poll->data;
    for (unsigned n_batches = 0; n_batches < BATCHES_A_TURN && !port->closed; n_batches++)
        if (!receive_batch(port))
            return;
}

/* ------------------------------------------------------------------ ports */

/* Watches fd, which belongs to the port from now on (also on failure): 0 or a negative errno. */
static int port_open(struct udp *udp, int fd, struct port **out_port)
{
    struct port *port = mem_new(struct port);
    *port = (struct port){.udp = udp, .loop = udp->loop, .fd = fd, .addr = socket_local(fd)};
    int status = uv_poll_init(loop_uv(udp->loop), &port->poll, fd);
    if (status < 0) {
        close(fd);
        mem_free(port);
        return status;
    }
    port->poll.data = port;
    loop_handle_opened(udp->loop);
    ensure(uv_poll_start(&port->poll, UV_READABLE, on_readable) == 0);
    *out_port = port;
    return 0;
}

static void on_port_closed(uv_handle_t *handle)
{
    struct port *port = handle->data;
    loop_handle_closed(port->loop);
    mem_free(port);
}

static void port_close(struct port *port)
{
    port->closed = true;
    list_remove(&port->link);
    uv_close((uv_handle_t *)&port->poll, on_port_closed);
    close(port->fd);
}

static struct port *find_reply(struct udp *udp, const struct addr *source)
{
    list_foreach(link, &udp->replies)
    {
        struct port *port = list_entry(link, struct port, link);
        if (addr_eq(&port->addr, source))
            return port;
    }
    return NULL;
}

static void make_room(struct udp *udp)
{
    if (udp->n_replies < UDP_REPLY_SOCKETS)
        return;
    port_close(list_entry(udp->replies.prev, struct port, link));
    udp->n_replies--;
}

/* 0 or a negative errno. */
static int open_reply(struct udp *udp, const struct addr *source, struct port **out_port)
{
    const struct socket_options options = {.mark = udp->options.mark,
                                           .transparent = udp->options.transparent,
                                           .reuse_addr = true, /* other workers answer, too */
                                           .v6_only = true};
    make_room(udp);
    int fd = socket_open(socket_family(source), SOCK_DGRAM, &options);
    if (fd < 0)
        return fd;
    int err = socket_bind(fd, source);
    if (err < 0) {
        close(fd);
        return err;
    }
    err = port_open(udp, fd, out_port);
    if (err == 0)
        udp->n_replies++;
    return err;
}

/* ------------------------------------------------------------------ sending */

static int send_message(struct udp *udp, int fd, const struct msghdr *message)
{
    ssize_t n_sent;
    do
        n_sent = sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n_sent < 0 && errno == EINTR);
    if (n_sent >= 0)
        return 0;
    udp->n_dropped++;
    return err_from_errno(errno);
}

static int send_to(struct udp *udp, int fd, struct str packet, const struct addr *remote,
                   struct control *control, size_t control_len)
{
    struct sockaddr_storage sa;

    const union { /* an iovec is not const, since it also receives */
        const char *given;
        char *taken;
    } bytes = {packet.ptr};
    struct iovec iov = {bytes.taken, packet.len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (remote) {
        message.msg_name = &sa;
        message.msg_namelen = addr_to_sockaddr(remote, &sa);
    }
    if (control_len > 0) {
        message.msg_control = control;
        message.msg_controllen = control_len;
    }
    return send_message(udp, fd, &message);
}

int udp_send(struct udp *udp, struct str packet, const struct addr *remote)
{
    return send_to(udp, udp->own->fd, packet, remote, NULL, 0);
}

/* Asks the kernel to send from the address; the length of the request. */
static size_t source_control(const struct ip *source, struct control *control)
{
    memset(control, 0, sizeof(*control));
    struct cmsghdr *cmsg = (struct cmsghdr *)(void *)control->bytes;
    if (source->len == 4) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, source->bytes, 4);
        cmsg->cmsg_level = SOL_IP;
        cmsg->cmsg_type = IP_PKTINFO;
        cmsg->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
        return CMSG_SPACE(sizeof(info));
    }
    struct in6_pktinfo info = {0};
    memcpy(&info.ipi6_addr, source->bytes, 16);
    cmsg->cmsg_level = SOL_IPV6;
    cmsg->cmsg_type = IPV6_PKTINFO;
    cmsg->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
    return CMSG_SPACE(sizeof(info));
}

int udp_send_from(struct udp *udp, struct str packet, const struct addr *remote,
                  const struct addr *source)
{
    if (source->port == udp->own->addr.port) {
        struct control control;
        size_t len = source_control(&source->ip, &control);
        return send_to(udp, udp->own->fd, packet, remote, &control, len);
    }
    struct port *port = find_reply(udp, source);
    if (!port) {
        int err = open_reply(udp, source, &port);
        if (err < 0) {
            udp->n_dropped++;
            return err_from_errno(-err);
        }
    }
    list_remove(&port->link);
    list_push_front(&udp->replies, &port->link);
    return send_to(udp, port->fd, packet, remote, NULL, 0);
}

/* ------------------------------------------------------------------ birth and death */

static struct udp *udp_new(struct loop *loop, const struct udp_options *options,
                           udp_on_packet *on_packet, void *owner)
{
    struct udp *udp = mem_new(struct udp);
    udp->loop = loop;
    udp->options = *options;
    udp->on_packet = on_packet;
    udp->owner = owner;
    list_init(&udp->replies);
    return udp;
}

/* Takes fd: 0 or a negative errno. */
static int udp_make(struct loop *loop, int fd, const struct udp_options *options,
                    udp_on_packet *on_packet, void *owner, struct udp **out_udp)
{
    struct udp *udp = udp_new(loop, options, on_packet, owner);
    int err = port_open(udp, fd, &udp->own);
    if (err < 0)
        mem_free(udp);
    else
        *out_udp = udp;
    return err;
}

/* 0 or a negative errno. */
static int ask_for_destinations(int fd, int family)
{
    const int on = 1;
    if (setsockopt(fd, SOL_IP, IP_RECVORIGDSTADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_ORIGDSTADDR, &on, sizeof(on)) < 0)
        return -errno;
    return 0;
}

/* A bound descriptor or a negative errno. */
static int open_bound(const struct addr *local, const struct udp_options *options)
{
    const struct socket_options socket_options = {.mark = options->mark,
                                                  .transparent = options->transparent,
                                                  .reuse_port = options->reuse_port};
    struct addr bind_to;
    int fd = socket_open_local(local, SOCK_DGRAM, &socket_options, &bind_to);
    if (fd < 0)
        return fd;
    int err = ask_for_destinations(fd, socket_family(&bind_to));
    if (err == 0)
        err = socket_bind(fd, &bind_to);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

/* A connected descriptor or a negative errno. */
static int open_connected(const struct addr *remote, const struct udp_options *options)
{
    const struct socket_options socket_options = {.mark = options->mark};
    int fd = socket_open(socket_family(remote), SOCK_DGRAM, &socket_options);
    if (fd < 0)
        return fd;
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(remote, &sa);
    if (connect(fd, (const struct sockaddr *)&sa, len) == 0)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

static const struct udp_options no_options;

int udp_open(struct loop *loop, const struct addr *local, const struct udp_options *options,
             udp_on_packet *on_packet, void *owner, struct udp **out_udp, int *out_errno)
{
    if (!options)
        options = &no_options;
    int fd = open_bound(local, options);
    int err = fd < 0 ? fd : udp_make(loop, fd, options, on_packet, owner, out_udp);
    if (err < 0) {
        *out_errno = -err;
        return -ERR_SYSTEM;
    }
    return 0;
}

int udp_connect(struct loop *loop, const struct addr *remote, const struct udp_options *options,
                udp_on_packet *on_packet, void *owner, struct udp **out_udp)
{
    if (!options)
        options = &no_options;
    int fd = open_connected(remote, options);
    int err = fd < 0 ? fd : udp_make(loop, fd, options, on_packet, owner, out_udp);
    return err < 0 ? err_from_errno(-err) : 0;
}

struct addr udp_addr(const struct udp *udp)
{
    return udp->own->addr;
}

uint64_t udp_dropped(const struct udp *udp)
{
    return udp->n_dropped;
}

void udp_close(struct udp *udp)
{
    ensure(!udp->closed);
    udp->closed = true;
    list_foreach(link, &udp->replies) port_close(list_entry(link, struct port, link));
    port_close(udp->own);
    loop_bury(udp->loop, udp, mem_free);
}
