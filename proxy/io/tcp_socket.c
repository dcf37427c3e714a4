/* What a stream's owner asks of its socket, and sets. */
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proxy/io/socket.h"
#include "proxy/io/tcp.h"
#include "proxy/io/tcp_uv.h"

bool tcp_has_sent_all(struct stream *stream)
{
    const struct tcp *tcp = tcp_of_stream(stream);
    int unsent = 0;
    if (stream_queued(stream) > 0)
        return false;
    return !tcp || (ioctl(tcp->fd, SIOCOUTQNSD, &unsent) == 0 && unsent == 0);
}

void tcp_ack_now(struct stream *stream)
{
    const struct tcp *tcp = tcp_of_stream(stream);
    if (tcp && !tcp->closed)
        socket_ack_now(tcp->fd);
}

void tcp_bound_unsent(struct stream *stream, size_t bytes)
{
    const struct tcp *tcp = tcp_of_stream(stream);
    const int value = (int)bytes;
    ensure(tcp);
    (void)setsockopt(tcp->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value));
}
