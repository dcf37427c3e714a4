#include "proxy/base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/err.h"

#define IP4_LEN     4
#define IP6_LEN     16
#define MAPPED_BITS 96

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static struct ip ip_of(const uint8_t *bytes, size_t len)
{
    struct ip ip = {0};

    if (len == IP6_LEN && memcmp(bytes, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        bytes += sizeof(mapped_prefix);
        len = IP4_LEN;
    }
    ip.len = (uint8_t)len;
    memcpy(ip.bytes, bytes, len);
    return ip;
}

int ip_from_bytes(const void *bytes, size_t len, struct ip *out_ip)
{
    if (len != IP4_LEN && len != IP6_LEN)
        return -ERR_INVALID;
    *out_ip = ip_of(bytes, len);
    return 0;
}

int ip_parse(struct str text, struct ip *out_ip)
{
    char terminated[IP_TEXT_MAX];
    uint8_t bytes[IP6_LEN];

    if (text.len == 0 || text.len >= sizeof(terminated) || memchr(text.ptr, '\0', text.len))
        return -ERR_INVALID;
    memcpy(terminated, text.ptr, text.len);
    terminated[text.len] = '\0';
    if (inet_pton(AF_INET, terminated, bytes) == 1)
        return ip_from_bytes(bytes, IP4_LEN, out_ip);
    if (inet_pton(AF_INET6, terminated, bytes) == 1)
        return ip_from_bytes(bytes, IP6_LEN, out_ip);
    return -ERR_INVALID;
}

static char *put_number(char *at, unsigned value)
{
    if (value >= 10)
        at = put_number(at, value / 10);
    *at = (char)('0' + value % 10);
    return at + 1;
}

/* By hand: it is in every line of every log, and inet_ntop() prints with printf. */
static void put_ip4(char *at, const uint8_t *bytes)
{
    for (int i = 0; i < IP4_LEN; i++) {
        at = put_number(at, bytes[i]);
        *at++ = i < IP4_LEN - 1 ? '.' : '\0';
    }
}

const char *ip_text(const struct ip *ip, char *buf)
{
    if (ip->len == IP4_LEN)
        put_ip4(buf, ip->bytes);
    else if (ip_is_none(ip))
        memcpy(buf, "none", sizeof("none"));
    else
        (void)inet_ntop(AF_INET6, ip->bytes, buf, IP_TEXT_MAX);
    return buf;
}

bool ip_is_loopback(const struct ip *ip)
{
    static const uint8_t loopback6[IP6_LEN] = {[IP6_LEN - 1] = 1};

    if (ip->len == IP4_LEN)
        return ip->bytes[0] == 127;
    return ip->len == IP6_LEN && memcmp(ip->bytes, loopback6, IP6_LEN) == 0;
}

struct ip ip_loopback(uint8_t len)
{
    static const struct ip v4 = {IP4_LEN, {127, 0, 0, 1}};
    static const struct ip v6 = {IP6_LEN, {[IP6_LEN - 1] = 1}};
    return len == IP4_LEN ? v4 : v6;
}

/* Splits "host:port" and "[host]:port"; a bare IPv6 address is refused, its last group is no port.
 */
static bool split_port(struct str text, struct str *out_host, struct str *out_port)
{
    struct str host, port;
    bool bracketed;

    if (!str_rsplit(text, ':', &host, &port))
        return false;
    bracketed = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (bracketed)
        host = str_sub(host, 1, host.len - 2);
    if (bracketed != str_contains(host, STR(":")))
        return false;
    *out_host = host;
    *out_port = port;
    return true;
}

int addr_parse(struct str text, struct addr *out_addr)
{
    struct str host, port;
    struct ip ip;
    uint64_t number;

    if (!split_port(text, &host, &port) || !str_to_u64(port, UINT16_MAX, &number))
        return -ERR_INVALID;
    if (ip_parse(host, &ip) < 0)
        return -ERR_INVALID;
    *out_addr = (struct addr){.ip = ip, .port = (uint16_t)number};
    return 0;
}

const char *addr_text(const struct addr *addr, char *buf)
{
    bool bracketed = addr->ip.len == IP6_LEN;
    char *at = buf;

    if (bracketed)
        *at++ = '[';
    at += strlen(ip_text(&addr->ip, at));
    if (bracketed)
        *at++ = ']';
    *at++ = ':';
    *put_number(at, addr->port) = '\0';
    return buf;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && ip_eq(&a->ip, &b->ip);
}

void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out_addr)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    *out_addr = (struct addr){0};
    if (sa->sa_family == AF_INET) {
        memcpy(&in, sa, sizeof(in));
        out_addr->ip = ip_of((const uint8_t *)&in.sin_addr, IP4_LEN);
        out_addr->port = ntohs(in.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(&in6, sa, sizeof(in6));
        out_addr->ip = ip_of(in6.sin6_addr.s6_addr, IP6_LEN);
        out_addr->port = ntohs(in6.sin6_port);
    }
}

socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *out_sa)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};

    memset(out_sa, 0, sizeof(*out_sa));
    if (addr->ip.len == IP4_LEN) {
        memcpy(&in.sin_addr, addr->ip.bytes, IP4_LEN);
        memcpy(out_sa, &in, sizeof(in));
        return sizeof(in);
    }
    memcpy(in6.sin6_addr.s6_addr, addr->ip.bytes, IP6_LEN);
    memcpy(out_sa, &in6, sizeof(in6));
    return sizeof(in6);
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned prefix_len)
{
    unsigned whole = prefix_len / 8, rest = prefix_len % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool host_bits_are_zero(const struct cidr *cidr)
{
    for (unsigned bit = cidr->prefix_len; bit < cidr->ip.len * 8u; bit++)
        if (cidr->ip.bytes[bit / 8] & (0x80u >> bit % 8))
            return false;
    return true;
}

int cidr_parse(struct str text, struct cidr *out_cidr)
{
    struct str host = text, length = {0};
    bool has_length = str_split(text, '/', &host, &length);
    struct cidr cidr;
    uint64_t bits;
    bool mapped;

    if (ip_parse(host, &cidr.ip) < 0)
        return -ERR_INVALID;
    mapped = cidr.ip.len == IP4_LEN && str_contains(host, STR(":"));
    bits = cidr.ip.len * 8u + (mapped ? MAPPED_BITS : 0);
    if (has_length && !str_to_u64(length, bits, &bits))
        return -ERR_INVALID;
    if (mapped && bits < MAPPED_BITS) /* wider than IPv4 itself */
        return -ERR_INVALID;
    cidr.prefix_len = (uint8_t)(mapped ? bits - MAPPED_BITS : bits);
    if (!host_bits_are_zero(&cidr))
        return -ERR_INVALID;
    *out_cidr = cidr;
    return 0;
}

bool cidr_contains(const struct cidr *cidr, const struct ip *ip)
{
    return !ip_is_none(ip) && cidr->ip.len == ip->len &&
           same_prefix(cidr->ip.bytes, ip->bytes, cidr->prefix_len);
}
