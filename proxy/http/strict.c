#include "proxy/http/strict.h"

#include <endian.h>
#include <string.h>

#include "proxy/base/addr.h"
#include "proxy/base/percent.h"

#define AUTHORITY_MAX 512u /* a name of 253 characters and a port, with room to spare */
#define LENGTH_DIGITS 18u  /* less than INT64_MAX whatever they are */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_value_char(char c)
{
    return ((uint8_t)c >= 0x20 && c != 0x7f) || c == '\t';
}

typedef uint8_t block __attribute__((vector_size(16)));

/* Not zero where one of 16 bytes is a control character but a tab. */
static block bad_bytes(const char *at)
{
    block bytes;

    memcpy(&bytes, at, sizeof(bytes));
    return (block)(((bytes & 0xe0) == 0) & (bytes != '\t')) | (block)(bytes == 0x7f);
}

static bool is_zero(block bytes)
{
    uint64_t halves[2];

    memcpy(halves, &bytes, sizeof(halves));
    return (halves[0] | halves[1]) == 0;
}

static bool has_good_blocks(struct str value) /* of 16 bytes at least */
{
    block bad = bad_bytes(value.ptr + value.len - sizeof(block)); /* the rest, and some again */

    for (size_t at = 0; at + sizeof(block) <= value.len; at += sizeof(block))
        bad |= bad_bytes(value.ptr + at);
    return is_zero(bad);
}

bool strict_is_value(struct str value)
{
    if (value.len == 0)
        return true;
    if (is_blank(value.ptr[0]) || is_blank(value.ptr[value.len - 1]))
        return false;
    if (value.len >= sizeof(block))
        return has_good_blocks(value);
    for (size_t at = 0; at < value.len; at++)
        if (!is_value_char(value.ptr[at]))
            return false;
    return true;
}

/* How many of 16 bytes stand before the first bad one. */
static size_t good_bytes(const char *at)
{
    const block bad = bad_bytes(at);
    uint64_t halves[2];

    memcpy(halves, &bad, sizeof(halves));
    if (halves[0])
        return (size_t)__builtin_ctzll(le64toh(halves[0])) / 8;
    return halves[1] ? 8 + (size_t)__builtin_ctzll(le64toh(halves[1])) / 8 : sizeof(block);
}

size_t strict_value_len(const char *bytes, size_t len)
{
    size_t at = 0;

    while (len - at >= sizeof(block)) {
        const size_t n = good_bytes(bytes + at);
        at += n;
        if (n < sizeof(block))
            return at;
    }
    while (at < len && is_value_char(bytes[at]))
        at++;
    return at;
}

/* ---- targets ---- */

static bool is_host_name(struct str host)
{
    for (size_t i = 0; i < host.len; i++)
        if (!percent_is_unreserved((unsigned char)host.ptr[i]))
            return false;
    return host.len > 0;
}

static bool is_port(struct str port)
{
    uint64_t number;

    return port.len <= 5 && str_to_u64(port, UINT16_MAX, &number);
}

static bool is_bracketed(struct str authority)
{
    const char *close = memchr(authority.ptr, ']', authority.len);
    struct ip ip;

    if (!close)
        return false;
    const size_t len = (size_t)(close - authority.ptr) + 1;
    const struct str rest = str_sub(authority, len, authority.len);
    const struct str address = str_sub(authority, 1, len - 2);
    if (ip_parse(address, &ip) || !str_contains(address, STR(":")))
        return false;
    return rest.len == 0 || (rest.ptr[0] == ':' && is_port(str_sub(rest, 1, rest.len)));
}

bool strict_is_authority(struct str authority)
{
    struct str host = authority, port;

    if (authority.len == 0 || authority.len > AUTHORITY_MAX)
        return false;
    if (authority.ptr[0] == '[')
        return is_bracketed(authority);
    if (str_split(authority, ':', &host, &port) && !is_port(port))
        return false;
    return is_host_name(host);
}

bool strict_is_path(struct str method, struct str path)
{
    if (str_eq(path, STR("*")))
        return str_eq(method, STR("OPTIONS"));
    if (path.len == 0 || path.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < path.len; i++)
        if ((uint8_t)path.ptr[i] <= 0x20 || (uint8_t)path.ptr[i] >= 0x7f || path.ptr[i] == '#')
            return false;
    return true;
}

/* ---- values with a form ---- */

bool strict_length(struct str value, int64_t *out_length)
{
    uint64_t number;

    if (value.len > LENGTH_DIGITS || !str_to_u64(value, INT64_MAX, &number))
        return false;
    *out_length = (int64_t)number;
    return true;
}

bool strict_next_member(struct str *list, struct str *out_member)
{
    struct str member;

    if (!list->ptr)
        return false;
    if (!str_split(*list, ',', &member, list)) {
        member = *list;
        *list = (struct str){0};
    }
    while (member.len > 0 && is_blank(member.ptr[0]))
        member = str_sub(member, 1, member.len);
    while (member.len > 0 && is_blank(member.ptr[member.len - 1]))
        member.len--;
    *out_member = member;
    return true;
}

bool strict_is_hop_field(struct str name)
{
    static const struct str hop_fields[] = {
        {"te", 2},          {"upgrade", 7},           {"connection", 10},
        {"keep-alive", 10}, {"proxy-connection", 16}, {"transfer-encoding", 17}};

    for (size_t i = 0; i < ARRAY_LEN(hop_fields); i++)
        if (str_eq(name, hop_fields[i]))
            return true;
    return false;
}

bool strict_is_http_itself(struct str protocol)
{
    static const struct str names[] = {{"http", 4}, {"h2c", 3}, {"h2", 2}, {"h3", 2}, {"tls", 3}};
    struct str name = protocol, version;

    (void)str_split(protocol, '/', &name, &version);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_ci(name, names[i]))
            return true;
    return false;
}
