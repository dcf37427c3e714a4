/* Whether anything of a stream is still on this side of the wire. */
#include <linux/sockios.h>
#include <sys/ioctl.h>

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
