/*
 * udp.h - UDP sockets that know where a packet was going, as DNS behind TPROXY needs.
 *
 * Happy path: udp_open() -> on_packet(bytes, from, to). to is the original destination
 * (IP_RECVORIGDSTADDR) when the socket is transparent, else the local address. Answers to captured
 * packets must come from the address that was asked: udp_send_from() uses a transparent socket
 * bound there, from a small per-socket cache (UDP_REPLY_SOCKETS, least recently used goes first).
 *
 * A packet that the socket does not take at once is dropped and counted: this is UDP.
 * Thread: the loop's.
 */
#ifndef ISTHMUS_IO_UDP_H
#define ISTHMUS_IO_UDP_H

#include "proxy/base/addr.h"
#include "proxy/base/err.h"
#include "proxy/io/loop.h"

#define UDP_PACKET_MAX    ((size_t)65535)
#define UDP_REPLY_SOCKETS 64

struct udp_options {
    bool transparent;
    bool reuse_port;
    uint32_t mark;
};

struct udp;

typedef void udp_on_packet(void *owner, struct str packet, const struct addr *from,
                           const struct addr *to);

/* Binds local (port 0: the kernel chooses). 0, or -ERR_SYSTEM with errno in *out_errno. packet is
 * borrowed for the call. */
MUST_USE int udp_open(struct loop *loop, const struct addr *local,
                      const struct udp_options *options, udp_on_packet *on_packet, void *owner,
                      struct udp **out_udp, int *out_errno);
/* A socket connected to remote from a random port: only packets of that address arrive. For relayed
 * queries. */
MUST_USE int udp_connect(struct loop *loop, const struct addr *remote,
                         const struct udp_options *options, udp_on_packet *on_packet, void *owner,
                         struct udp **out_udp);
struct addr udp_addr(const struct udp *udp);

/* Sends to an address (for a connected socket: remote is NULL). 0 or the error of the send. */
int udp_send(struct udp *udp, struct str packet, const struct addr *remote);
/* Sends to remote with source as the sender's address and port. */
int udp_send_from(struct udp *udp, struct str packet, const struct addr *remote,
                  const struct addr *source);

/* Packets that a socket did not take. */
uint64_t udp_dropped(const struct udp *udp);

void udp_close(struct udp *udp);

#endif
