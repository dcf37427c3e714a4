/*
 * addr.h - IP addresses, with and without a port, and CIDR ranges; IPv4 and IPv6 alike.
 *
 * An IPv4-mapped IPv6 address is made IPv4 wherever an address is read, so that one host has one
 * form. {0} is "none". Values, no ownership. Ports are in host order.
 */
#ifndef ISTHMUS_BASE_ADDR_H
#define ISTHMUS_BASE_ADDR_H

#include <string.h>
#include <sys/socket.h>

#include "proxy/base/str.h"

struct ip {
    uint8_t len; /* 0 none, 4, 16: also the number of bytes used */
    uint8_t bytes[16];
};

struct addr {
    struct ip ip;
    uint16_t port;
};

struct cidr {
    struct ip ip; /* host bits are zero */
    uint8_t prefix_len;
};

#define IP_TEXT_MAX   46 /* with NUL */
#define ADDR_TEXT_MAX 54

/* From text without brackets, scope or port ("10.0.0.1", "fd00::1"): 0 or -ERR_INVALID. */
MUST_USE int ip_parse(struct str text, struct ip *out_ip);
/* From network-order bytes: 4 or 16 of them, else -ERR_INVALID. */
MUST_USE int ip_from_bytes(const void *bytes, size_t len, struct ip *out_ip);
/* Into buf (IP_TEXT_MAX bytes), which is returned; "none" for {0}. */
const char *ip_text(const struct ip *ip, char *buf);
bool ip_is_loopback(const struct ip *ip);
struct ip ip_loopback(uint8_t len); /* 127.0.0.1 for 4, ::1 for 16 */

/* Inline, since each request compares some; four bytes are one comparison. */
static inline bool ip_eq(const struct ip *a, const struct ip *b)
{
    if (a->len == 4 && b->len == 4)
        return memcmp(a->bytes, b->bytes, 4) == 0;
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static inline bool ip_is_none(const struct ip *ip)
{
    return ip->len == 0;
}

static inline struct str ip_key(const struct ip *ip) /* the bytes, as a map key; borrowed from ip */
{
    return (struct str){(const char *)ip->bytes, ip->len};
}

/* "10.0.0.1:80" or "[fd00::1]:80", port 0 to 65535, nothing around it: 0 or -ERR_INVALID. */
MUST_USE int addr_parse(struct str text, struct addr *out_addr);
/* Into buf (ADDR_TEXT_MAX bytes), which is returned; IPv6 in brackets. */
const char *addr_text(const struct addr *addr, char *buf);
bool addr_eq(const struct addr *a, const struct addr *b);

void addr_from_sockaddr(const struct sockaddr *sa,
                        struct addr *out_addr); /* {0} for another family */
/* The length of what was written. A "none" address gives IPv6 any (::). */
socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *out_sa);

/* "10.0.0.0/8", "fd00::/64", or a single address: 0 or -ERR_INVALID (also when host bits are set).
 */
MUST_USE int cidr_parse(struct str text, struct cidr *out_cidr);
bool cidr_contains(const struct cidr *cidr, const struct ip *ip);

#endif
